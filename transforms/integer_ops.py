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
from sira.analysis import Ranges
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops import Constant
from sira.ops.conv import IntegerConv, convolution_of, integer_conv
from sira.scaled import Ints, Real, ScaledInt, divide
from transforms.builder import weights_type, whole

if TYPE_CHECKING:
    from transforms.integer_graph import IntegerGraph

_SELECTING = {"MaxPool", "GlobalMaxPool", "Concat", "Slice", "Gather", "Expand", "Tile"}
_SELECTING |= {"DepthToSpace", "SpaceToDepth", "Resize", "Upsample"}
_POOLED_SUMS = frozenset(("AveragePool", "GlobalAveragePool"))
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
        case "Add" if len(inputs) == 2:
            return _sum(graph, node, value, range_)
        case op if op in _SELECTING:
            return _selected(graph, node, value, range_)
        case op if op in _POOLED_SUMS:
            return _pooled_sum(graph, node, value, range_)
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
    return _same(before.scale, after.scale) and _same(before.bias, after.bias)


def on_lattice(graph: IntegerGraph, value: ir.Value, scale: Real, bias: Real) -> ir.Value:
    """The integers of ``value`` written on another scale and bias, which must hold them."""
    own = graph.scaled(value)
    u = graph.core(value)
    if own.scale is scale and own.bias is bias:
        return u
    ratio, offset = _relation(own, scale, bias, value)
    b, name, shape = graph.b, g.name(value), g.shape(value)
    if (ratio != 1).any():
        u = b.node(
            "Mul", [u, b.constant(f"{name}_multiple", whole(ratio))], f"{name}_multiplied", shape
        )
    if (offset != 0).any():
        u = b.node("Add", [u, b.constant(f"{name}_shift", whole(offset))], f"{name}_shifted", shape)
    return u


def _relation(own: ScaledInt, scale: Real, bias: Real, value: ir.Value) -> tuple[Ints, Ints]:
    """Integers (ratio, offset) with ``q_new = ratio * q + offset``."""
    if all(isinstance(x, Exact) for x in (own.scale, own.bias, scale, bias)):
        assert isinstance(own.scale, Exact) and isinstance(own.bias, Exact)
        assert isinstance(scale, Exact) and isinstance(bias, Exact)
        ratio, offset = own.scale / scale, (own.bias - bias) / scale
        if all(x.denominator == 1 for x in (*ratio.values.ravel(), *offset.values.ravel())):
            return ratio.values.astype(np.int64), offset.values.astype(np.int64)
    elif _same(own.scale, scale) and _same(own.bias, bias):
        return np.asarray(1), np.asarray(0)
    raise SiraError(
        "the integers of this tensor are not on the lattice of what it flows into",
        where=f"tensor {g.name(value)}",
        expected="scales in integer ratio and biases that differ by multiples of the scale",
        remedy="quantize the operands with one scale",
    )


def _same(a: Real, b: Real) -> bool:
    """Whether two enclosures stem from one number: only if they are the same arrays."""
    if isinstance(a, Exact) or isinstance(b, Exact):
        return isinstance(a, Exact) and isinstance(b, Exact) and bool((a.values == b.values).all())
    return a.lo is b.lo and a.hi is b.hi


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
        assert (flat == flat[:, :1]).all(), "signs differ within a channel"
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
    """``m a + n b`` with the small integers that bring both operands on one lattice."""
    a, b = node.inputs
    assert a is not None and b is not None
    left = on_lattice(graph, a, range_.scale, graph.scaled(a).bias)
    right = on_lattice(graph, b, range_.scale, graph.scaled(b).bias)
    return graph.b.node("Add", [left, right], graph.name(value), g.shape(value), name=node.name)


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


def _selected(graph: IntegerGraph, node: ir.Node, value: ir.Value, range_: ScaledInt) -> ir.Value:
    """The same operator on integers that all lie on one lattice."""
    uniform = set(range_.scale.shape + range_.bias.shape) <= {1}
    if not uniform and node.op_type not in ("MaxPool", "GlobalMaxPool"):
        raise SiraError(
            "scales that differ between channels cannot be rearranged yet",
            where=g.describe(node),
            expected="one scale and bias for the tensor",
            remedy="quantize the operands with one scale",
        )
    inputs: list[ir.Value | None] = []
    for v in node.inputs:
        contents = g.array(v)
        if v is None:
            inputs.append(None)
        elif contents is not None:
            inputs.append(graph.b.constant(g.name(v), contents))
        else:
            inputs.append(on_lattice(graph, v, range_.scale, range_.bias))
    assert len(node.outputs) == 1, "several outputs"
    return graph.b.node(
        node.op_type, inputs, graph.name(value), g.shape(value), name=node.name,
        attributes=_attributes(node), custom=bool(node.domain),
    )  # fmt: skip


def _pooled_sum(graph: IntegerGraph, node: ir.Node, value: ir.Value, range_: ScaledInt) -> ir.Value:
    """The sum over each window, as a convolution with ones for each channel."""
    x = node.inputs[0]
    assert x is not None
    shape, own = g.shape(x), graph.scaled(x)
    kernel = tuple(g.attribute(node, "kernel_shape", shape[2:]))
    count = int(np.prod(kernel))
    plain = (
        not any(g.attribute(node, "pads", ()))
        and not g.attribute(node, "ceil_mode", 0)
        and g.attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and set(g.attribute(node, "dilations", ())) <= {1}
    )
    averaged = divide(own.scale, Exact.of(count))
    if not plain or not _same(averaged, range_.scale):
        raise SiraError(
            "only averages over windows without padding have hardware integers",
            where=g.describe(node),
            expected="pads=0, ceil_mode=0",
        )
    u = graph.core(x)
    ones = graph.b.constant(
        f"{g.name(value)}_ones", whole(np.ones((shape[1], 1, *kernel), np.int64))
    )
    attributes = {"group": shape[1], "kernel_shape": kernel}
    strides = g.attribute(node, "strides")
    if strides:
        attributes["strides"] = tuple(strides)
    return graph.b.node(
        "Conv", [u, ones], graph.name(value), g.shape(value), name=node.name, attributes=attributes
    )


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: a.value for name, a in node.attributes.items()}
