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
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops.base import Arg, Args, OpRule, first_shape, numbers, real, register, rising
from sira.ops.quant import integer_range, integers
from sira.rounding import parse_mode, round_floats
from sira.scaled import ZERO, Ints, ScaledInt


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
    scale, zero = _positive(node, args[1]), real(args[2])
    step = Exact.of(Fraction(2) ** (_bits(node, args[3]) - _bits(node, args[4])))
    lo, hi = _truncated(node, args[0], scale, zero, step, None)
    return _scaled(lo, hi, scale, zero)


def _version_2(node: ir.Node, args: Args) -> ScaledInt:
    scale, zero, out_scale = _positive(node, args[1]), real(args[2]), _positive(node, args[4])
    signed, narrow = (bool(g.attribute(node, k, d)) for k, d in (("signed", 1), ("narrow", 0)))
    limits = integer_range(signed, narrow, _bits(node, args[5]))
    step = (out_scale / scale).elementwise(nearest_power_of_two)
    lo, hi = _truncated(node, args[0], scale, zero, step, limits)
    return _scaled(lo, hi, out_scale, zero / step)


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
    if limits is None and not (np.isfinite(whole.lo).all() and np.isfinite(whole.hi).all()):
        raise SiraError(
            "Trunc of an unbounded tensor",
            where=g.describe(node),
            expected="an operand with a range",
            found="any real number",
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


def _scaled(lo: Ints, hi: Ints, scale: Exact, zero: Exact) -> ScaledInt:
    """``scale * (q - zero)``: an integer zero point moves into q, any other into the bias."""
    if all(z.denominator == 1 for z in zero.values.ravel()):
        offset = zero.values.astype(np.int64)
        moved = lo - offset
        return ScaledInt.of(moved, moved if hi is lo else hi - offset, scale, ZERO)
    return ScaledInt.of(lo, hi, scale, -(scale * zero))


def _positive(node: ir.Node, arg: Arg | None) -> Exact:
    scale = real(arg)
    if (scale.signs() <= 0).any():
        raise SiraError(
            "a quantizer's scale must be positive",
            where=g.describe(node),
            expected="scale > 0",
            found=str(min(float(s) for s in scale.values.ravel())),
        )
    return scale


def _bits(node: ir.Node, arg: Arg | None) -> int:
    widths = real(arg).values.ravel()
    if len(widths) != 1 or widths[0] not in range(1, 33):
        raise SiraError(
            "the bit width must be a constant integer",
            where=g.describe(node),
            expected="1..32",
            found=", ".join(str(w) for w in widths[:4]),
        )
    return int(widths[0])


register("Trunc", rule=OpRule("quantizer", _trunc, first_shape, rising))
