"""QuantizeLinear and DequantizeLinear.

QuantizeLinear rounds half to even, then adds the zero point, then saturates, so it differs from
Quant for odd zero points; its output is a plain integer.
"""

from __future__ import annotations

from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.datatypes import IntegerType
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.rounding import round_floats
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    Constants,
    OpRule,
    Shape,
    affine,
    check_parameter,
    numbers,
    real,
    register,
    rising,
)
from sira.ops.quant import check_positive, integers


def storage_range(node: ir.Node) -> tuple[int, int]:
    """The range of the integer type that a QuantizeLinear node saturates to."""
    zero = g.array(node.inputs[2]) if len(node.inputs) > 2 else None
    code = g.attribute(node, "output_dtype", 0)
    kind = zero.dtype if zero is not None else ir.DataType(code).numpy() if code else np.uint8
    try:
        info: Any = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]  # numpy's does not know of 4 bits
    except ValueError:
        raise SiraError(
            "only integer types are supported", where=g.describe(node), found=str(kind)
        ) from None
    return int(info.min), int(info.max)


def _parameter(node: ir.Node, arg: Arg | None, default: int) -> Exact:
    """Scale or zero point, per tensor or along ``axis``, laid out against the input."""
    if arg is None:
        return Exact.of(default)
    rank = len(g.shape(node.outputs[0]))
    axis = int(g.attribute(node, "axis", 1)) % max(rank, 1)
    values = real(arg)
    if values.values.ndim == 1 and values.values.size > 1:
        return values.map(lambda a: np.reshape(a, (-1,) + (1,) * (rank - 1 - axis)))
    return values.map(lambda a: np.reshape(a, ()) if a.size == 1 else a)


def _quantize(node: ir.Node, args: Args) -> list[Arg]:
    scale = _parameter(node, args[1], 1)
    zero = _parameter(node, args[2] if len(args) > 2 else None, 0)
    low, high = storage_range(node)
    check_positive(node, scale)
    assert args[0] is not None
    x = numbers(args[0])
    z = zero.values.astype(np.int64)
    if isinstance(x, Exact):
        lo = hi = np.clip(integers(x / scale, "ROUND") + z, low, high)
    else:
        y = x / scale.interval
        lo, hi = (
            np.clip(
                round_floats(np.clip(b, -(2.0**40), 2.0**40), "ROUND").astype(np.int64) + z,
                low,
                high,
            )
            for b in (y.lo, y.hi)
        )
    result = ScaledInt.integers(lo, hi)
    return [Constant(quantized=result) if isinstance(args[0], Constant) else result]


def _dequantize(node: ir.Node, args: Args) -> list[Arg]:
    scale = _parameter(node, args[1], 1)
    zero = _parameter(node, args[2] if len(args) > 2 else None, 0)
    x = args[0]
    assert x is not None
    if isinstance(x, Constant) and x.scaled is not None:
        q = x.scaled.lo - zero.values.astype(np.int64)
        return [Constant(quantized=ScaledInt.of(q, q, scale, Exact.of(0)))]
    return [affine(x, scale, -(scale * zero))]


def _shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    """As the input; scale and zero point are numbers, or vectors along ``axis``."""
    shape = shapes[0]
    axis = int(g.attribute(node, "axis", 1))
    along = shape[axis : axis + 1 or None]
    for i in range(1, len(shapes)):
        if prod(shapes[i]) != 1:
            check_parameter(node, i, shapes[i], shapes[i] == along, along)
    return [shape]


def _sign_of_scale(node: ir.Node, args: Args) -> Ints:
    return _parameter(node, args[1], 1).signs()


register(
    "QuantizeLinear",
    rule=OpRule(
        "quantizer",
        _quantize,
        _shapes,
        rising,
        datatype=lambda node: IntegerType("", *storage_range(node)),
    ),
)
register(
    "DequantizeLinear",
    rule=OpRule("elementwise", _dequantize, _shapes, _sign_of_scale, affine=True),
)
