"""Trunc: drop low bits of an integer, as behind an average, in both versions of QONNX.

Version 1 has five inputs (x, scale, zero point, bits before, bits after), version 2 has six (x,
scale, zero point, bits before, output scale, bits after). Both round ``x / scale + zero point``
half to even and divide by a power of two. Version 1 then rounds by its mode and goes back with the
same scale and zero point. Version 2 clamps, rounds by its mode, and has a scale of its own.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor, log2

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.datatypes import IntegerType, parse_datatype
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.rounding import parse_mode, round_floats
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    OpRule,
    numbers,
    real,
    register,
    rising,
    with_parameters,
)
from sira.ops.quant import bit_width, check_positive, integer_range, integers, with_zero_point

_LARGEST = 2.0**62


def _trunc(node: ir.Node, args: Args) -> list[Arg]:
    match len(args):
        case 5:
            return [_version_1(node, args)]
        case 6:
            return [_version_2(node, args)]
        case n:
            raise SiraError(
                "Trunc of no known version", where=g.describe(node), expected="5 or 6 inputs",
                found=str(n),
            )  # fmt: skip


def _version_1(node: ir.Node, args: Args) -> ScaledInt:
    scale, zero = real(args[1]), real(args[2])
    check_positive(node, scale)
    step = Exact.of(Fraction(2) ** (bit_width(node, 3) - bit_width(node, 4)))
    lo, hi = _truncated(node, args[0], scale, zero, step, None)
    return with_zero_point(lo, hi, scale, zero)


def _version_2(node: ir.Node, args: Args) -> ScaledInt:
    scale, zero, out_scale = real(args[1]), real(args[2]), real(args[4])
    check_positive(node, scale)
    check_positive(node, out_scale)
    signed, narrow = (bool(g.attribute(node, k, d)) for k, d in (("signed", 1), ("narrow", 0)))
    limits = integer_range(signed, narrow, bit_width(node, 5))
    step = (out_scale / scale).elementwise(nearest_power_of_two)
    lo, hi = _truncated(node, args[0], scale, zero, step, limits)
    return with_zero_point(lo, hi, out_scale, zero / step)


def _truncated(
    node: ir.Node,
    x: Arg | None,
    scale: Exact,
    zero: Exact,
    step: Exact,
    limits: tuple[int, int] | None,
) -> tuple[Ints, Ints]:
    """The integers; ``step`` is a power of two, so that dividing by it is exact in float64."""
    assert x is not None
    mode = parse_mode(g.attribute(node, "rounding_mode", "FLOOR"), g.describe(node))
    y = numbers(x)
    if isinstance(y, Exact):
        z = Exact.of(integers(y / scale + zero, "ROUND")) / step
        if limits is not None:
            z = z.maximum(Exact.of(limits[0])).minimum(Exact.of(limits[1]))
        q = integers(z, mode)
        return q, q
    whole = y / scale.interval + zero.interval
    divisor = step.interval.lo
    if limits is None and not ((whole.lo >= -_LARGEST).all() and (whole.hi <= _LARGEST).all()):
        raise SiraError(
            "Trunc of an unbounded tensor",
            where=g.describe(node),
            expected="an operand whose integers fit into 64 bits",
            found=f"{whole.lo.min():g}..{whole.hi.max():g}",
            remedy="quantize in front of it, or declare the input",
        )
    bounds = []
    for bound in (whole.lo, whole.hi):
        z_bound = np.rint(bound) / divisor
        z_bound = z_bound if limits is None else np.clip(z_bound, *limits)
        bounds.append(round_floats(z_bound, mode).astype(np.int64))
    return bounds[0], bounds[1]


def nearest_power_of_two(ratio: Fraction) -> Fraction:
    """``2 ** round(log2(ratio))``, exactly: no fraction is half-way between two powers."""
    power = Fraction(2) ** floor(log2(ratio))
    while ratio < power:
        power /= 2
    while ratio >= 2 * power:
        power *= 2
    return 2 * power if ratio * ratio > 2 * power * power else power


def _datatype(node: ir.Node) -> IntegerType | None:
    """Of version 2, which has a width of its own."""
    if len(node.inputs) < 6 or (width := g.array(node.inputs[5])) is None:
        return None
    kind = "INT" if g.attribute(node, "signed", 1) else "UINT"
    return parse_datatype(f"{kind}{int(width.item())}", "")


register(
    "Trunc",
    rule=OpRule("quantizer", _trunc, with_parameters(1, 2, 4), rising, datatype=_datatype),
)
