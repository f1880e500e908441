"""Integers of sums and products of two tensors, and of operators that clip integers."""

from __future__ import annotations

import onnx_ir as ir

from sira import graph as g
from sira.numbers.exact import Exact
from transforms.builder import as_floats
from transforms.integer.affine import clips
from transforms.integer.graph import IntegerGraph, Rule, Rules
from transforms.integer.lattice import on_lattice

_FEW_LEVELS = 2**8 - 1
"""Levels up to which clipped integers are counted by thresholds, which have a layer anyway."""


def _sum(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value | None:
    """``m a + n b``, or with minus, with the small integers that bring both on one lattice."""
    if len(set(g.dynamic_inputs(node))) != 2:
        return None
    range_ = graph.scaled(value)
    a, b = node.inputs
    assert a is not None and b is not None
    left = on_lattice(graph, a, range_.scale, graph.scaled(a).bias)
    right = on_lattice(graph, b, range_.scale, graph.scaled(b).bias)
    operands, name = [left, right], graph.name(value)
    return graph.b.node(node.op_type, operands, name, g.shape(value), name=node.name)


def _clipped(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value | None:
    """Max and Min with the ends of the range; None where thresholds are few enough."""
    if not clips(graph.ranges, node):
        return None
    range_ = graph.scaled(value)
    source = g.dynamic_inputs(node)[0]
    own, b = graph.scaled(source), graph.b
    if int((range_.hi - range_.lo).max()) <= _FEW_LEVELS:
        return None
    sides = [("Max", range_.lo, own.lo), ("Min", range_.hi, own.hi)]
    needed = [(op, bound) for op, bound, before in sides if (bound != before).any()]
    name, u = graph.name(value), graph.core(source)
    for op, bound in needed:
        stem = name if op == needed[-1][0] else f"{name}_{op.lower()}"
        limit = b.constant(f"{name}_{op.lower()}_bound", as_floats(bound))
        u = b.node(op, [u, limit], stem, g.shape(value), name=node.name)
    return u


def _product(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The product of two tensors of integers counted from real zero."""
    inputs = list(dict.fromkeys(g.dynamic_inputs(node)))
    if len(inputs) != 2:
        return None
    factors = []
    for v in inputs:
        factors.append(on_lattice(graph, v, graph.scaled(v).scale, Exact.of(0)))
    return graph.b.node("Mul", factors, graph.name(value), g.shape(value), name=node.name)


RULES: Rules = {"Add": Rule(_sum), "Sub": Rule(_sum), "Mul": Rule(_product)}
RULES |= {op: Rule(_clipped) for op in ("Relu", "Clip", "Max", "Min")}
