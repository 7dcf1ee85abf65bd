"""The house: a module imports only from floors below its own, and speaks only its languages."""

import ast
import sys
from pathlib import Path

import pytest

import skvae

# name: (floor, packages that it may import at its top)
HOUSE = {
    "__init__": (5, set()),
    "_estimator": (4, {"numpy", "pandas", "sklearn"}),
    "_display": (4, {"numpy", "sklearn"}),
    "_training": (3, {"torch", "skorch", "tqdm"}),
    "_inference": (3, {"numpy", "torch"}),
    "_batches": (2, {"numpy", "torch"}),
    "_state": (2, {"numpy"}),
    "_network": (1, {"numpy", "torch"}),
    "_elbo": (1, {"torch"}),
    "_images": (1, {"numpy"}),
    "_persistence": (1, {"numpy"}),
    "_version": (0, set()),
}
# What a function may import when it is called.
INSIDE = {"_display": {"matplotlib"}}
STANDARD = set(sys.stdlib_module_names) - {"pickle", "marshal", "shelve"}
SOURCE = Path(skvae.__file__).parent


def imports(tree):
    """Names of the packages, and of the modules of skvae, that a tree imports."""
    packages, modules = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1
            modules |= {node.module} if node.module else {alias.name for alias in node.names}
    return packages, modules


def violations(name, source):
    floor, languages = HOUSE[name]
    packages, modules = imports(ast.parse(source))
    allowed = languages | INSIDE.get(name, set()) | STANDARD
    yield from (f"{name} speaks {package}" for package in packages - allowed)
    yield from (
        f"{name} (floor {floor}) imports {other}" for other in modules if HOUSE[other][0] >= floor
    )
    top = ast.Module(
        [n for n in ast.parse(source).body if isinstance(n, (ast.Import, ast.ImportFrom))], []
    )
    yield from (f"{name} imports {p} at its top" for p in imports(top)[0] & INSIDE.get(name, set()))


def test_every_module_has_its_floor():
    assert {path.stem for path in SOURCE.glob("*.py")} == set(HOUSE)
    assert not [path for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"]


@pytest.mark.parametrize("name", HOUSE)
def test_floors(name):
    assert list(violations(name, (SOURCE / f"{name}.py").read_text())) == []


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("_elbo", "from ._training import train", "_elbo (floor 1) imports _training"),
        ("_network", "from . import _elbo", "_network (floor 1) imports _elbo"),
        ("_images", "import torch", "_images speaks torch"),
        ("_persistence", "import pickle", "_persistence speaks pickle"),
        ("_estimator", "from torch import nn", "_estimator speaks torch"),
        ("_display", "import matplotlib.pyplot", "_display imports matplotlib at its top"),
    ],
)
def test_a_violation_would_be_found(name, line, expected):
    assert expected in list(violations(name, line))


def test_every_module_has_its_tests():
    tests = {path.stem.removeprefix("test") for path in Path(__file__).parent.glob("test_*.py")}
    assert set(HOUSE) - {"__init__", "_version"} <= tests
