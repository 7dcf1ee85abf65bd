"""The house: which room may import which, through which face, and which packages it speaks."""

import ast
import re
import sys
from pathlib import Path

import pytest

import skvae

SOURCE = Path(skvae.__file__).parent
STANDARD = set(sys.stdlib_module_names) - {"pickle", "marshal", "shelve"}

# Rooms that each room may import. "": the estimators and what else stands at the top, among them
# `LEAVES`, which import nothing of skvae and are open to all.
ALLOWED = {
    "_model": set(),
    "_data": {"_model"},
    "_files": {"_data", "_model"},
    "_displays": {"_data"},
    "_training": {"_data", "_files", "_model"},
    "": {"_data", "_displays", "_files", "_model", "_training"},
}
LEAVES = {"_atomic", "_compat", "_counts", "_history", "_version", "_warnings"}

# Packages that each room speaks. Linear algebra of scikit-learn is welcome everywhere.
SPEAKS = {
    "_model": {"numpy", "torch", "sklearn"},
    "_data": {"numpy", "torch", "sklearn", "pandas", "tqdm", "PIL"},
    "_files": {"numpy", "sklearn"},
    "_displays": {"numpy", "sklearn", "matplotlib", "pandas"},
    "_training": {"numpy", "torch", "skorch", "sklearn", "tqdm"},
    "": {"numpy", "torch", "sklearn", "pandas", "onnx", "onnxscript", "skl2onnx"},
}

# Imported when they are used, so that `import skvae` need not: slow ones, and extras.
LATE = {"matplotlib", "pandas", "PIL", "onnx", "onnxscript", "skl2onnx"}

MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path):
    return str(path.relative_to(SOURCE).with_suffix(""))


def room_of(path):
    parent = path.relative_to(SOURCE).parent
    return "" if str(parent) == "." else str(parent)


def imports_of(path, nodes=None):
    """(packages, {(room, module or None)}) that the import statements of a file name."""
    packages, inside = set(), set()
    for node in nodes or ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            at_top = node.level == (1 if room_of(path) == "" else 2)
            first, *rest = (node.module or "").split(".")
            if at_top:
                inside.add((first, ".".join(rest)) if first in ALLOWED else ("", first))
            else:
                inside.add((room_of(path), first))
    return packages - STANDARD, inside


def test_the_rooms_are_those_of_the_plan():
    assert {room_of(path) for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_the_rooms_that_it_may(path):
    room = room_of(path)
    _, inside = imports_of(path)
    for other, module in inside:
        if other == "" and room != "":
            assert module in LEAVES, module
        elif other != room:
            assert other in ALLOWED[room], other


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_is_entered_by_its_face(path):
    _, inside = imports_of(path)
    assert [(other, module) for other, module in inside if other != room_of(path) and module] == [
        ("", module) for other, module in inside if other == "" and room_of(path) != "" and module
    ]


def test_the_drawing_of_the_house_has_every_file():
    page = Path(__file__).parents[2] / "docs" / "contributing.md"
    words = set(re.findall(r"\w+", page.read_text()))
    assert {path.stem for path in MODULES} - {"__init__"} <= words


def test_leaves_import_nothing_of_the_house():
    for name in LEAVES:
        assert imports_of(SOURCE / f"{name}.py")[1] == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_speaks_only_the_languages_of_its_room(path):
    packages, _ = imports_of(path)
    assert packages <= SPEAKS[room_of(path)]
    top, _ = imports_of(path, ast.parse(path.read_text()).body)
    assert not top & LATE


def test_only_the_training_speaks_skorch():
    assert [room for room, packages in SPEAKS.items() if "skorch" in packages] == ["_training"]


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - {""}))
def test_no_circle_within_a_room(room):
    paths = {path.stem: path for path in MODULES if room_of(path) == room}
    needs = {
        name: {module or None for other, module in imports_of(path)[1] if other == room}
        for name, path in paths.items()
        if name != "__init__"
    }
    # `from . import a` names no module: the names are those of the files.
    for name, path in paths.items():
        if name != "__init__" and None in needs[name]:
            needs[name] |= {
                alias.name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom) and node.level == 1 and not node.module
                for alias in node.names
            }
        needs.get(name, set()).discard(None)
    done = set()
    while ready := {name for name in needs if name not in done and needs[name] <= done}:
        done |= ready
    assert done == set(needs)


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - {""}))
def test_a_face_says_what_belongs_there_and_shows_what_others_use(room):
    face = ast.parse((SOURCE / room / "__init__.py").read_text())
    assert len(ast.get_docstring(face)) > 40
    used = {
        alias.name
        for path in MODULES
        if room_of(path) != room
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == room
        for alias in node.names
    }
    shown = {
        alias.name for node in face.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert shown == used
