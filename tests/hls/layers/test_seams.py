"""A layer is known by what it answers, not by its type."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from layer_examples import example_layers

import hls
import hls.layers

ROOT = Path(hls.__file__).parents[1]


def layer_types() -> dict[str, type[Any]]:
    """The layers' types by the names of their modules."""
    found = {}
    for module in iter_modules(hls.layers.__path__):
        if not module.ispkg:
            path = f"hls.layers.{module.name}"
            names = vars(import_module(path)).values()
            (found[module.name],) = (
                t for t in names if getattr(t, "__module__", "") == path and hasattr(t, "kind")
            )
    return found


REPORTED = {
    *("argmax", "concat", "depth_to_space", "depthwise_vector", "elementwise", "fork"),
    *("global_pooling", "matrix_vector", "pooling", "slice", "sliding_window", "thresholding"),
    *("upsample", "width_converter", "zero_insertion"),
}
"""Kinds that stand in reports which others read; further ones need not be listed."""


def test_kinds_are_what_reports_have_always_called_them() -> None:
    assert {layer.kind for layer in layer_types().values()} >= REPORTED


def test_a_kind_is_the_name_of_its_module() -> None:
    assert {name: layer.kind for name, layer in layer_types().items() if layer.kind != name} == {}


def test_layers_of_tests_are_found() -> None:
    """Those of them that no other test names are linted and read by all front-ends, too."""
    found = {name: {layer.kind for layer in tested} for name, tested in example_layers().items()}
    assert all(kinds == {name} for name, kinds in found.items())
    assert len(found) >= 12 and found.keys() <= layer_types().keys()


def test_nothing_but_its_lowering_rule_names_a_layer() -> None:
    """Folding names the width converter, which it inserts."""
    names = {layer.__name__ for layer in layer_types().values()}
    rooms = [p for top in ("hls", "sira/driver") for p in (ROOT / top).rglob("*.py")]
    named = {}
    for path in rooms:
        file = path.relative_to(ROOT).as_posix()
        used = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        if names & used and not file.startswith(("hls/layers/", "hls/lower/")):
            named[file] = names & used
    assert len(rooms) > 50
    assert named == {"hls/fold.py": {"WidthConverter"}}
