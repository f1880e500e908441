"""Integers written on another scale and bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import from_objects
from sira.numbers.scaled import Ints, Real, ScaledInt, same
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph


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
            "Mul",
            [u, b.constant(f"{name}_multiple", as_floats(ratio))],
            f"{name}_multiplied",
            shape,
        )
    if (offset != 0).any():
        u = b.node(
            "Add", [u, b.constant(f"{name}_shift", as_floats(offset))], f"{name}_shifted", shape
        )
    return u


def _relation(own: ScaledInt, scale: Real, bias: Real, value: ir.Value) -> tuple[Ints, Ints]:
    """Integers (ratio, offset) with ``q_new = ratio * q + offset``."""
    if all(isinstance(x, Exact) for x in (own.scale, own.bias, scale, bias)):
        assert isinstance(own.scale, Exact) and isinstance(own.bias, Exact)
        assert isinstance(scale, Exact) and isinstance(bias, Exact)
        ratio, offset = own.scale / scale, (own.bias - bias) / scale
        if all(x.denominator == 1 for x in (*ratio.values.ravel(), *offset.values.ravel())):
            where = f"tensor {g.name(value)}"
            return from_objects(ratio.values, where), from_objects(offset.values, where)
    elif same(own.scale, scale) and same(own.bias, bias):
        return np.asarray(1), np.asarray(0)
    raise SiraError(
        "the integers of this tensor are not on the lattice of what it flows into",
        where=f"tensor {g.name(value)}",
        expected="scales in integer ratio and biases that differ by multiples of the scale",
        remedy="quantize the operands with one scale",
    )
