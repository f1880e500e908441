"""Imports go downwards only: sira's number and graph modules <- transforms <- hls."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT_DOOR = re.compile(r"sira/(__init__|__main__|driver/\w+)\.py")
FILES = sorted(
    str(path.relative_to(ROOT))
    for package in ("sira", "transforms", "hls")
    for path in (ROOT / package).rglob("*.py")
)


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
            case ast.ImportFrom():
                raise AssertionError(f"{path}: relative import")
    return found


def test_there_are_files() -> None:
    found = {"sira/numbers/interval.py", "transforms/thresholds.py", "hls/lower/lower.py"}
    assert found <= set(FILES)


@pytest.mark.parametrize("name", [f for f in FILES if not FRONT_DOOR.fullmatch(f)])
def test_imports(name: str) -> None:
    above = {"sira": {"transforms", "hls"}, "transforms": {"hls"}, "hls": set[str]()}
    modules = imported(ROOT / name)
    assert not {m.split(".")[0] for m in modules} & above[name.split("/")[0]]
    assert not [m for m in modules if FRONT_DOOR.fullmatch(m.replace(".", "/") + ".py")]
