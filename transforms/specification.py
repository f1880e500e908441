"""What the graph of each stage may hold, checked at its border.

A graph that breaks its specification is a fault of the pass that made it, not of the user's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira import provenance
from sira.analysis.ranges import Analyzed, Ranges, whole_tensors
from sira.ops import RULES, rule_of
from sira.ops.quant import threshold_axis

INTEGER_OPERATORS = frozenset(
    (
        *("MatMul", "Conv", "ConvTranspose", "MultiThreshold", "ArgMax", "Cast"),
        *("Add", "Sub", "Mul", "Max", "Min", "Reshape", "Transpose"),
        *(op for op, rule in RULES.items() if rule.kind == "selection" and op != "Split"),
    )
)
"""Operators that an integer graph has between integers; behind them the host computes reals. A
Split is a Slice for each output."""

_ARITHMETIC = frozenset(
    (
        *("MatMul", "Conv", "ConvTranspose", "MultiThreshold"),
        *("Add", "Sub", "Mul", "Max", "Min"),
    )
)
"""Those whose constants are integers like their operands."""


@dataclass(frozen=True)
class Specification:
    """What a graph may hold.

    ``without`` are operators that it must not hold. ``integer``: whatever is computed from integers
    and has integers is made by `INTEGER_OPERATORS` with integer constants.
    """

    without: frozenset[str] = frozenset()
    integer: bool = False


def check(
    stage: str, specification: Specification, model: ir.Model, ranges: Ranges | None = None
) -> None:
    """Raise `AssertionError` with the first breach; integer graphs need their ``ranges``."""
    breach = next(_structure(model, specification), None)
    if breach is None and specification.integer:
        assert ranges is not None
        breach = next(_integers(Analyzed(model, ranges)), None)
    if breach is not None:
        raise AssertionError(f"stage {stage}: {breach}")


def _structure(model: ir.Model, specification: Specification) -> Iterator[str]:
    """Names, shapes, and operators."""
    graph, names = model.graph, set[str]()
    made = [v for node in graph for v in node.outputs]
    for value in (*graph.inputs, *graph.initializers.values(), *made):
        if not value.name or value.name in names:
            yield f"two tensors, or none, are called {value.name!r}"
        if value.shape is None or not all(isinstance(d, int) for d in value.shape.dims):
            yield f"tensor {value.name} has no static shape"
        names.add(value.name or "")
    for node in graph:
        rule_of(node)  # an operator without a rule is the user's error
        if node.op_type in specification.without:
            yield f"{g.describe(node)} is not canonical"
        if missing := [v.name for v in node.inputs if v is not None and v.name not in names]:
            yield f"{g.describe(node)} reads {missing}, which nothing makes"


def _integers(graph: Analyzed) -> Iterator[str]:
    found = set(whole_tensors(graph))
    for node in graph.model.graph:
        value = node.outputs[0]
        if value not in found or not g.dynamic_inputs(node):
            continue
        if node.op_type not in INTEGER_OPERATORS:
            yield f"{g.describe(node)} is no operator of an integer graph"
        constants = (g.array(v) for v in node.inputs if node.op_type in _ARITHMETIC)
        if any(c is not None and (np.rint(c) != c).any() for c in constants):
            yield f"{g.describe(node)} has a constant that is no integer"
        if node.op_type == "MultiThreshold":
            yield from _thresholds(node)


def _thresholds(node: ir.Node) -> Iterator[str]:
    rows = g.array(node.inputs[1])
    channels = g.shape(node.outputs[0])[threshold_axis(node)]
    if rows is None or rows.ndim != 2 or len(rows) not in (1, channels):
        yield f"{g.describe(node)} has no thresholds (C, n) for {channels} channels"
    elif (np.diff(rows, axis=1) < 0).any():
        yield f"{g.describe(node)} has thresholds that fall"
    if g.attribute(node, "out_scale", 1.0) != 1 or g.attribute(node, "out_bias", 0.0) % 1:
        yield f"{g.describe(node)} does not count integers"
    if provenance.of(node.outputs[0]).origin is None:
        yield f"{g.describe(node)} is not said to be a tensor of the original"
