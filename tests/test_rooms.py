"""Imports go downwards only, from room to room, and never in a circle.

A room is a folder, or a module that stands loose in its package. Every import counts: at the top of
a file, inside a function and behind ``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
from sympy.utilities.iterables import strongly_connected_components

ROOT = Path(__file__).parents[1]

ROOMS = (
    ("sira.errors", "sira.names", "sira.progress", "sira.version"),
    ("sira.numbers",),
    ("sira.graph", "sira.datatypes", "sira.model_file", "sira.schema"),
    ("sira.ops",),
    ("sira.provenance",),
    ("sira.load",),
    ("sira.analysis",),
    ("sira.verification", "sira.certificate"),
    ("transforms.builder",),
    ("transforms.integer",),
    ("transforms.steps",),
    (
        "transforms.accumulators",
        "transforms.aggregate",
        "transforms.canonical",
        "transforms.constant_channels",
        "transforms.thresholds",
    ),
    ("transforms.specification",),
    ("transforms.stages",),
    ("transforms.__init__", "hls.__init__"),
    ("hls.schedule", "hls.inventory", "hls.cache"),
    ("hls.dataflow",),
    ("hls.device",),
    ("hls.layers",),
    ("hls.fifos", "hls.emit"),
    ("hls.lower", "hls.fold"),
    ("hls.simulate",),
    ("hls.implement",),
    ("hls.verify",),
    ("hls.report",),
    ("sira.driver",),
    ("sira.__init__", "sira.__main__"),
)
"""From the lowest room up; those in one row do not know each other."""

OF_GRAPHS = {"networkx", "onnx", "onnx_ir", "onnxruntime", "qonnx"}
"""Packages that know graphs."""

LOOSE = {"sira": 12, "hls": 8}
"""How many modules may stand loose in a package before some of them make a room."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {
    _name(path): path
    for package in ("sira", "transforms", "hls")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def room(module: str) -> str:
    """The room of a module of the project."""
    found = [name for row in ROOMS for name in row if f"{module}.".startswith(f"{name}.")]
    assert len(found) == 1, f"{module} is in the rooms {found}: name its one room in ROOMS"
    return found[0]


@cache
def imported(module: str) -> frozenset[str]:
    """What a module imports: modules of the project by file, of others as they are called.

    A name imported from a package is the module of that name where there is one.
    """
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        match node:
            case ast.Import():
                found |= {_file(alias.name) for alias in node.names}
            case ast.ImportFrom(module=str(source), level=0):
                names = (f"{source}.{alias.name}" for alias in node.names)
                found |= {name if name in FILES else _file(source) for name in names}
            case ast.ImportFrom():
                raise AssertionError(f"{module}: relative import in line {node.lineno}")
    return frozenset(found)


def _file(name: str) -> str:
    package = f"{name}.__init__"
    return package if package in FILES else name


def circles(modules: list[str]) -> list[list[str]]:
    """Groups of modules, each of which imports itself by way of the others."""
    edges = [(a, b) for a in modules for b in imported(a) if b in modules]
    groups = strongly_connected_components((modules, edges))
    return [sorted(group) for group in groups if len(group) > 1 or (group[0], group[0]) in edges]


def test_the_rules_see_what_is_there() -> None:
    assert {"sira.numbers.interval", "transforms.thresholds", "hls.lower.lower"} <= FILES.keys()
    assert "sira.numbers.interval" in imported("sira.numbers.exact")
    assert "sira.ops.__init__" in imported("sira.load")
    assert {room(module) for module in FILES} <= {name for row in ROOMS for name in row}


@pytest.mark.parametrize("module", FILES)
def test_a_room_imports_only_those_below(module: str) -> None:
    own = room(module)
    below = {name for row in takewhile(lambda row: own not in row, ROOMS) for name in row}
    wrong = [n for n in imported(module) if n in FILES and room(n) not in below | {own}]
    assert not wrong, f"{module} imports {wrong}"


def test_a_circle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "a"}, "d": {"a"}, "e": {"e"}}
    monkeypatch.setattr(f"{__name__}.imported", edges.__getitem__)
    assert sorted(circles(list(edges))) == [["a", "b", "c"], ["e"]]


@pytest.mark.parametrize("name", [name for row in ROOMS for name in row])
def test_no_circle_inside_of_a_room(name: str) -> None:
    """Nor is there one through several rooms, as a room imports only those below."""
    assert not circles([module for module in FILES if room(module) == name])


def test_numbers_know_no_graph() -> None:
    modules = [module for module in FILES if room(module) == "sira.numbers"]
    packages = {name.split(".")[0] for module in modules for name in imported(module)}
    assert modules and not packages & OF_GRAPHS


@pytest.mark.parametrize("name", ["boxes", "checker", "model"])
def test_the_checker_of_certificates_shares_nothing_with_the_analysis(name: str) -> None:
    own = {name for name in imported(f"sira.certificate.{name}") if name in FILES}
    assert {room(name) for name in own} <= {"sira.certificate"}
    assert "sira.certificate.writer" not in own


@pytest.mark.parametrize("package", LOOSE)
def test_few_modules_stand_loose(package: str) -> None:
    loose = [path.name for path in (ROOT / package).glob("*.py")]
    assert len(loose) <= LOOSE[package], loose
