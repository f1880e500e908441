"""Integers of the operators that combine or select elements.

Convolutions, pools, sums of two tensors and rearrangements are each built from the integers of
their operands. An operator that selects elements (a maximum, a concatenation, a slice) selects
integers alike, once all operands are on the lattice of its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.exact import Exact
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Constant
from sira.ops.conv import IntegerConv, convolution_of, integer_conv
from transforms.builder import weights_type, whole
from transforms.integer.lattice import on_lattice, same
from transforms.integer.pooled_sums import POOLED_SUMS, pooled_sum
from transforms.integer.selection import SELECTING, selected

if TYPE_CHECKING:
    from transforms.integer.graph import IntegerGraph

_CLIPPING = frozenset(("Relu", "Clip", "Max", "Min"))

_FEW_LEVELS = 2**8 - 1
"""Up to so many, clipped integers are counted by thresholds, for which there is a layer anyway."""


def build(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The integers of ``value``, or None for an operator that has none here."""
    range_ = graph.scaled(value)
    inputs = list(dict.fromkeys(g.dynamic_inputs(node)))
    match node.op_type:
        case "Conv" | "ConvTranspose":
            return _conv(graph, node, value)
        case "Add" | "Sub" if len(inputs) == 2:
            return _sum(graph, node, value, range_)
        case "Mul" if len(inputs) == 2:
            return _product(graph, node, value)
        case op if op in SELECTING:
            return selected(graph, node, value, range_)
        case op if op in POOLED_SUMS:
            return pooled_sum(graph, node, value, range_)
        case op if op in _CLIPPING and clips(graph.ranges, node):
            return _clipped(graph, node, value, range_)
        case _:
            return None


def clips(ranges: Ranges, node: ir.Node) -> bool:
    """Whether the node cuts off integers of its operand and changes nothing else."""
    inputs = g.dynamic_inputs(node)
    if node.op_type not in _CLIPPING or len(inputs) != 1:
        return False
    before, after = ranges.scaled(inputs[0]), ranges.scaled(node.outputs[0])
    if before is None or after is None or before is after:
        return False
    return same(before.scale, after.scale) and same(before.bias, after.bias)


def _conv(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    weights = graph.ranges[w]
    assert isinstance(weights, Constant)
    convolution = convolution_of(node, weights)
    conv, groups = integer_conv(graph.scaled(x), convolution), convolution.groups
    assert isinstance(conv, IntegerConv)
    shifted = conv.zero is not None and bool(conv.zero.any())
    u, sign = (graph.core(x), np.asarray(1)) if shifted else graph.signed_core(x)
    matrix = conv.weights
    if (sign != 1).any():  # a channel's sign goes into the weights that read it
        per_channel = np.broadcast_to(sign, (1, *g.shape(x)[1:]))[0]
        flat = per_channel.reshape(len(per_channel), -1)
        if (flat != flat[:, :1]).any():
            u, flat = graph.core(x), np.ones_like(flat)
        by_group = np.repeat(flat[:, 0].reshape(groups, -1), len(matrix) // groups, axis=0)
        matrix = matrix * by_group.reshape(*matrix.shape[:2], *(1,) * (matrix.ndim - 2))
    b, name = graph.b, g.name(value)
    if shifted:  # so that padding with 0 pads with real zero
        assert conv.zero is not None
        shift = whole(-conv.zero.reshape((-1,) + (1,) * (matrix.ndim - 2)))
        u = b.node("Add", [u, b.constant(f"{name}_zero", shift)], f"{name}_shifted", g.shape(x))
    kind = weights_type(matrix, int(matrix.min()), int(matrix.max()))
    if node.op_type == "ConvTranspose":
        matrix = _inputs_first(matrix, groups)
    constant = b.constant(f"{name}_weights", whole(matrix), kind)
    return b.node(
        node.op_type, [u, constant], graph.name(value), g.shape(value), name=node.name,
        attributes=_attributes(node),
    )  # fmt: skip


def _inputs_first(weights: Ints, groups: int) -> Ints:
    """Weights (O, C / G, *kernel) of Conv as those of ConvTranspose, (C, O / G, *kernel)."""
    split = weights.reshape(groups, -1, *weights.shape[1:]).swapaxes(1, 2)
    return split.reshape(-1, *split.shape[2:])


def _sum(graph: IntegerGraph, node: ir.Node, value: ir.Value, range_: ScaledInt) -> ir.Value:
    """``m a + n b``, or with minus, with the small integers that bring both on one lattice."""
    a, b = node.inputs
    assert a is not None and b is not None
    left = on_lattice(graph, a, range_.scale, graph.scaled(a).bias)
    right = on_lattice(graph, b, range_.scale, graph.scaled(b).bias)
    operands, name = [left, right], graph.name(value)
    return graph.b.node(node.op_type, operands, name, g.shape(value), name=node.name)


def _clipped(
    graph: IntegerGraph, node: ir.Node, value: ir.Value, range_: ScaledInt
) -> ir.Value | None:
    """Max and Min with the ends of the range; None where thresholds are few enough."""
    source = g.dynamic_inputs(node)[0]
    own, b = graph.scaled(source), graph.b
    if int((range_.hi - range_.lo).max()) <= _FEW_LEVELS:
        return None
    sides = [("Max", range_.lo, own.lo), ("Min", range_.hi, own.hi)]
    needed = [(op, bound) for op, bound, before in sides if (bound != before).any()]
    name, u = graph.name(value), graph.core(source)
    for op, bound in needed:
        stem = name if op == needed[-1][0] else f"{name}_{op.lower()}"
        limit = b.constant(f"{name}_{op.lower()}_bound", whole(bound))
        u = b.node(op, [u, limit], stem, g.shape(value), name=node.name)
    return u


def _product(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    """The product of two tensors of integers counted from real zero."""
    factors = []
    for v in g.dynamic_inputs(node):
        factors.append(on_lattice(graph, v, graph.scaled(v).scale, Exact.of(0)))
    return graph.b.node("Mul", factors, graph.name(value), g.shape(value), name=node.name)


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: a.value for name, a in node.attributes.items()}
