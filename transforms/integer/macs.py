"""Integers of products with constant weights: matrices and convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.scaled import Ints
from sira.ops import Constant
from sira.ops.conv import IntegerConv, convolution_of, integer_conv
from sira.ops.matmul import integer_mac
from sira.ops.products import IntegerMac
from transforms.builder import as_floats, weights_type
from transforms.integer.graph import IntegerGraph, Rule, Rules


def _matmul(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    x = node.inputs[0]
    weights = graph.ranges[node.inputs[1]]  # type: ignore[index]
    assert x is not None
    if not isinstance(weights, Constant) or len(weights.real_shape) != 2 or g.is_constant(x):
        raise SiraError(
            "only a computed tensor times one constant matrix can be written with integers",
            where=g.describe(node),
            expected="a computed first operand and constant weights (K, N)",
            remedy="transpose the product, or cut the model in front of it",
        )
    x_range = graph.scaled(x)
    mac = integer_mac(x_range, weights)
    assert isinstance(mac, IntegerMac)
    u, sign = graph.signed_core(x)
    rows = np.broadcast_to(sign, g.shape(x)).reshape(-1, g.shape(x)[-1])
    if (rows != rows[0]).any():  # along an axis that is not summed
        u, rows = graph.core(x), np.ones_like(rows)
    matrix = mac.weights * rows[0][:, None]
    low, high = int(matrix.min()), int(matrix.max())
    w = graph.b.constant(
        f"{g.name(value)}_weights", as_floats(matrix), weights_type(matrix, low, high)
    )
    return graph.b.node("MatMul", [u, w], graph.name(value), g.shape(value), name=node.name)


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
        shift = as_floats(-conv.zero.reshape((-1,) + (1,) * (matrix.ndim - 2)))
        u = b.node("Add", [u, b.constant(f"{name}_zero", shift)], f"{name}_shifted", g.shape(x))
    kind = weights_type(matrix, int(matrix.min()), int(matrix.max()))
    if node.op_type == "ConvTranspose":
        matrix = _inputs_first(matrix, groups)
    constant = b.constant(f"{name}_weights", as_floats(matrix), kind)
    return b.node(
        node.op_type, [u, constant], graph.name(value), g.shape(value), name=node.name,
        attributes=_attributes(node),
    )  # fmt: skip


def _inputs_first(weights: Ints, groups: int) -> Ints:
    """Weights (O, C / G, *kernel) of Conv as those of ConvTranspose, (C, O / G, *kernel)."""
    split = weights.reshape(groups, -1, *weights.shape[1:]).swapaxes(1, 2)
    return split.reshape(-1, *split.shape[2:])


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: a.value for name, a in node.attributes.items()}


RULES: Rules = {op: Rule(_matmul) for op in ("MatMul", "Gemm")}
RULES |= {op: Rule(_conv) for op in ("Conv", "ConvTranspose")}
