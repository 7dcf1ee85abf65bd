"""The house: a module imports only from floors below its own, and speaks only its languages."""

import ast
import re
import sys
from pathlib import Path

import pytest

import skvae

ROOT = Path(__file__).parents[1]
SOURCE = Path(skvae.__file__).parent
STANDARD = set(sys.stdlib_module_names) - {"pickle", "marshal", "shelve"}

# What a function may import when it is called, so that `import skvae` need not; and what is no
# requirement, so that its absence is caught.
INSIDE = {
    "_chart_displays": {"matplotlib", "pandas"},
    "_estimator": {"pandas"},
    "_export": {"onnx", "onnxscript"},
    "_graphs": {"onnx"},
    "_picture_files": {"PIL"},
    "_reconstruction_display": {"matplotlib"},
    "_start": {"sklearn"},
    "_traversal_displays": {"matplotlib"},
    "onnx": {"onnxscript", "skl2onnx"},
}


def house():
    """Floor, packages and purpose of each module, as docs/contributing.md draws them."""
    text = (ROOT / "docs" / "contributing.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `(\w+)\.py` \| ([^|]*) \| ([^|]+) \|$", text, re.M)
    return {name: (int(floor), set(words.split(", ")) - {""}) for floor, name, words, _ in rows}


PACKAGES = {
    "NumPy": "numpy",
    "torch": "torch",
    "skorch": "skorch",
    "scikit-learn": "sklearn",
    "tqdm": "tqdm",
}
HOUSE = house()


def imports(nodes):
    """Names of the packages, and of the modules of skvae, that import statements name."""
    packages, modules = set(), set()
    for node in nodes:
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1
            modules |= {node.module} if node.module else {alias.name for alias in node.names}
    return packages - STANDARD, modules


def imports_of(name):
    """Packages imported at the top, packages imported inside, modules of skvae."""
    tree = ast.parse((SOURCE / f"{name}.py").read_text())
    top, modules = imports(tree.body)
    everywhere, all_modules = imports(ast.walk(tree))
    assert modules == all_modules  # modules of skvae are imported at the top
    return top, everywhere - top, modules


def test_the_page_has_every_module():
    assert set(HOUSE) == {path.stem for path in SOURCE.glob("*.py")}
    assert not [path for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    floors = [floor for floor, _ in HOUSE.values()]
    assert floors == sorted(floors, reverse=True)
    assert set(floors) == set(range(max(floors) + 1))


@pytest.mark.parametrize("name", HOUSE)
def test_imports_come_from_floors_below(name):
    _, _, modules = imports_of(name)
    above = {other for other in modules if HOUSE[other][0] >= HOUSE[name][0]}
    assert above == set()


@pytest.mark.parametrize("name", HOUSE)
def test_a_module_stands_as_low_as_it_can(name):
    _, _, modules = imports_of(name)
    below = max((HOUSE[other][0] for other in modules), default=-1)
    assert HOUSE[name][0] == below + 1


@pytest.mark.parametrize("name", HOUSE)
def test_a_module_speaks_the_languages_of_the_page(name):
    top, inside, _ = imports_of(name)
    assert top == {PACKAGES[word] for word in HOUSE[name][1]}
    assert inside == INSIDE.get(name, set())


def test_every_module_has_its_tests():
    tests = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    modules = set(HOUSE) - {"__init__", "_version"}
    assert {f"test_{name.removeprefix('_')}" for name in modules} <= tests
