"""Abs, Sign, Floor, Ceil and Round: functions whose values are integers, or stay so."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.numbers.exact import Exact
from sira.numbers.int64 import INT64_MAX, largest
from sira.numbers.interval import Interval
from sira.numbers.rounding import RoundingMode, round_floats
from sira.numbers.scaled import ZERO, Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    Evaluate,
    OpRule,
    first_shape,
    numbers,
    operand,
    register,
    rising,
    sides,
)
from sira.ops.quant import integers

_LARGEST = 2.0**62


def _rational(x: Arg) -> tuple[Exact, Exact] | None:
    """Scale and bias, if both are rational."""
    if isinstance(x, ScaledInt) and isinstance(x.scale, Exact) and isinstance(x.bias, Exact):
        return x.scale, x.bias
    return None


def _abs(node: ir.Node, args: Args) -> list[Arg]:
    x = operand(args[0])
    if isinstance(x, Exact):
        return [x.maximum(-x)]
    side = sides(x)
    if isinstance(x, ScaledInt):
        if (side == 1).all():
            return [x]
        if side.all():
            return [x.affine(Exact.of(side), ZERO)]
        if (folded := _fold(x)) is not None:
            return [folded]
    y = numbers(x)
    assert isinstance(y, Interval)
    lo = np.maximum(np.maximum(y.lo, -y.hi), 0.0)
    result = Interval(lo, lo if y.lo is y.hi else np.maximum(-y.lo, y.hi), y.reason)
    return [result.because(f"{g.describe(node)}: zero is not on the lattice, nor half-way")]


def _fold(x: ScaledInt) -> ScaledInt | None:
    """|x| in integers, where the lattice is symmetric about 0: it has 0, or 0 is half-way."""
    if (found := _rational(x)) is None:
        return None
    scale, bias = found
    twice = np.asarray((bias / scale).values * 2)
    if any(v.denominator != 1 for v in np.ravel(twice)):
        return None
    if max(abs(v) for v in twice.ravel()) + 2 * largest(x.lo, x.hi) > INT64_MAX:
        return None
    shift = np.asarray(twice, np.int64)
    odd = shift % 2  # x = scale/2 * m with m = 2*q + shift, which is always even or always odd

    def halved(m: Ints) -> Ints:
        return np.asarray((np.abs(m) - odd) // 2)

    low, high = 2 * x.lo + shift, 2 * x.hi + shift
    to_bias = scale * Exact.of(odd) / Exact.of(2)
    if x.lo is x.hi:
        return ScaledInt.of(q := halved(low), q, scale, to_bias)
    nearest = np.where((low <= 0) & (high >= 0), 0, np.minimum(halved(low), halved(high)))
    return ScaledInt.of(nearest, np.maximum(halved(low), halved(high)), scale, to_bias)


def _abs_slope(node: ir.Node, args: Args) -> Ints | None:
    side = sides(operand(args[0]))
    return side if side.all() else None


def _sign(node: ir.Node, args: Args) -> list[Arg]:
    x = operand(args[0])
    if isinstance(x, Exact):
        return [ScaledInt.integers(q := x.signs(), q)]
    if isinstance(x, ScaledInt) and (found := _rational(x)) is not None:
        return [_lattice_sign(x, -(found[1] / found[0]))]
    y = numbers(x)
    assert isinstance(y, Interval)
    lo, hi = np.sign(y.lo).astype(np.int64), np.sign(y.hi).astype(np.int64)
    return [ScaledInt.integers(lo, lo if y.lo is y.hi else hi)]


def _lattice_sign(x: ScaledInt, zero: Exact) -> ScaledInt:
    """Sign of integers against the place of real zero among them."""
    limit = INT64_MAX  # no integer lies beyond
    floors = zero.elementwise(lambda v: min(max(v.__floor__(), -limit), limit))
    below = np.asarray(floors.values, np.int64)
    between = np.array([v.denominator != 1 for v in zero.values.ravel()]).reshape(zero.shape)

    def sign(q: Ints) -> Ints:
        return np.where(between, np.where(q > below, 1, -1), (q > below) * 1 - (q < below) * 1)

    lo = sign(x.lo)
    hi = lo if x.hi is x.lo else sign(x.hi)
    if x.hi is not x.lo and (between | (lo * hi == 1)).all():  # -1 and 1 only: one bit
        return ScaledInt.of((lo + 1) // 2, (hi + 1) // 2, Exact.of(2), Exact.of(-1))
    return ScaledInt.integers(lo, hi)


def _rounded(mode: RoundingMode) -> Evaluate:
    def evaluate(node: ir.Node, args: Args) -> list[Arg]:
        x = operand(args[0])
        if isinstance(x, Exact):
            return [ScaledInt.integers(q := integers(x, mode), q)]
        found = _rational(x)
        if found is not None and all(v.denominator == 1 for r in found for v in r.values.ravel()):
            return [x]
        y = numbers(x)
        assert isinstance(y, Interval)
        bounded = bool((np.abs(y.lo) < _LARGEST).all() and (np.abs(y.hi) < _LARGEST).all())
        if bounded and found is not None and isinstance(x, ScaledInt) and x.lo is not x.hi:
            lo, hi = (integers(Exact.of(q) * found[0] + found[1], mode) for q in (x.lo, x.hi))
            return [ScaledInt.integers(lo, hi)]
        low, high = round_floats(y.lo, mode), round_floats(y.hi, mode)
        if bounded:
            lo = low.astype(np.int64)
            return [ScaledInt.integers(lo, lo if y.lo is y.hi else high.astype(np.int64))]
        return [Interval(low, high, y.reason).because(f"{g.describe(node)}: not bounded")]

    return evaluate


register("Abs", rule=OpRule("elementwise", _abs, first_shape, _abs_slope))
register("Sign", rule=OpRule("elementwise", _sign, first_shape, rising))
register("Floor", rule=OpRule("elementwise", _rounded("FLOOR"), first_shape, rising))
register("Ceil", rule=OpRule("elementwise", _rounded("CEIL"), first_shape, rising))
register("Round", rule=OpRule("elementwise", _rounded("ROUND"), first_shape, rising))
