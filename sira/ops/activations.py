"""Relu, LeakyRelu, PRelu, Clip, Sigmoid and Tanh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.numbers.exact import Exact
from sira.numbers.int64 import INT64_MAX
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, ZERO, Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    OpRule,
    curved,
    first_shape,
    like,
    numbers,
    operand,
    real,
    register,
    rising,
    with_parameters,
)

_FLAT, _UP = Interval.point(0.0), Interval.point(1.0)


def _zero(x: ScaledInt) -> ScaledInt:
    return ScaledInt.of(z := np.asarray(0), z, ONE, ZERO)


def _relu(node: ir.Node, args: Args) -> list[Arg]:
    x = operand(args[0])
    if isinstance(x, ScaledInt):
        range_ = x.interval
        if (range_.lo >= 0).all():
            return [x]
        if (on_lattice := clip_integers(x, ZERO, None)) is not None:
            return [on_lattice]
        if (range_.hi <= 0).all():
            return [_zero(x)]
    y = numbers(x)
    return [curved(node, y.maximum(like(y, ZERO)))]


def leaky(x: Arg, slope: Exact) -> Any:
    """x where it is positive, ``slope * x`` where it is negative."""
    if isinstance(x, ScaledInt):
        range_ = x.interval
        if (range_.lo >= 0).all():
            return x
        if (range_.hi <= 0).all():
            return x.affine(slope, ZERO)
    y = numbers(x)
    zero = like(y, ZERO)
    positive, negative = y.maximum(zero), y.minimum(zero) * like(y, slope)
    if isinstance(y, Exact) or (slope.signs() >= 0).all():
        return positive + negative
    # With a negative slope the two halves are not reached together: their hull, not their sum.
    assert isinstance(positive, Interval) and isinstance(negative, Interval)
    has_positive, has_negative = y.hi > 0, y.lo < 0
    lo = np.where(
        has_negative,
        np.where(has_positive, np.minimum(negative.lo, positive.lo), negative.lo),
        positive.lo,
    )
    hi = np.where(
        has_negative,
        np.where(has_positive, np.maximum(negative.hi, positive.hi), negative.hi),
        positive.hi,
    )
    return Interval(lo, hi)


def _leaky_relu(node: ir.Node, args: Args) -> list[Arg]:
    slope = Exact.of(g.attribute(node, "alpha", 0.01))
    return [curved(node, leaky(operand(args[0]), slope))]


def _prelu(node: ir.Node, args: Args) -> list[Arg]:
    return [curved(node, leaky(operand(args[0]), real(args[1])))]


def _clip_bounds(node: ir.Node, args: Args) -> tuple[Exact | None, Exact | None]:
    """From inputs (opset 11 and later) or attributes (before)."""
    low, high = (real(a) if len(args) > i and (a := args[i]) is not None else None for i in (1, 2))
    if low is None and (value := g.attribute(node, "min")) is not None:
        low = Exact.of(value)
    if high is None and (value := g.attribute(node, "max")) is not None:
        high = Exact.of(value)
    return low, high


def _clip(node: ir.Node, args: Args) -> list[Arg]:
    x = operand(args[0])
    low, high = _clip_bounds(node, args)
    if isinstance(x, ScaledInt):
        on_lattice = clip_integers(x, low, high)
        if on_lattice is not None:
            return [on_lattice]
    y = numbers(x)
    if low is not None:
        y = y.maximum(like(y, low))
    if high is not None:
        y = y.minimum(like(y, high))
    return [curved(node, y)]


def clip_integers(x: ScaledInt, low: Exact | None, high: Exact | None) -> ScaledInt | None:
    """Clipping keeps the integers where the bounds are on their lattice or out of reach."""
    if not isinstance(x.scale, Exact) or not isinstance(x.bias, Exact):
        return None
    lo, hi, reach = x.lo, x.hi, x.interval
    for bound, side in ((low, np.maximum), (high, np.minimum)):
        if bound is None:
            continue
        b = bound.interval
        idle = (reach.lo >= b.hi) if side is np.maximum else (reach.hi <= b.lo)
        if idle.all():
            continue
        places = np.asarray(((bound - x.bias) / x.scale).values)
        idle, places = np.broadcast_arrays(idle, places)
        if any(v.denominator != 1 or abs(v) > INT64_MAX for v in places[~idle]):
            return None
        q = np.asarray(np.where(idle, 0, places), np.int64)
        lo, hi = np.where(idle, lo, side(lo, q)), np.where(idle, hi, side(hi, q))
    return ScaledInt.of(lo, lo if x.hi is x.lo else hi, x.scale, x.bias)


def _sigmoid(node: ir.Node, args: Args) -> list[Arg]:
    return [curved(node, numbers(operand(args[0])).sigmoid())]


def _tanh(node: ir.Node, args: Args) -> list[Arg]:
    return [curved(node, numbers(operand(args[0])).tanh())]


def _relu_slope(node: ir.Node, args: Args) -> Ints | None:
    return _bent_slope(args, ZERO)


def _leaky_slope(node: ir.Node, args: Args) -> Ints | None:
    return _bent_slope(args, Exact.of(g.attribute(node, "alpha", 0.01)))


def _prelu_slope(node: ir.Node, args: Args) -> Ints | None:
    return _bent_slope(args, real(args[1]))


def _bent_slope(args: Args, negative: Exact) -> Ints | None:
    """The sign of the slope on the range of the operand, with ``negative`` below zero."""
    x = numbers(operand(args[0]))
    range_ = x.interval if isinstance(x, Exact) else x
    if (range_.lo >= 0).all():
        return np.asarray(1)
    if (range_.hi <= 0).all():
        return negative.signs()
    return np.asarray(1) if (negative.signs() >= 0).all() else None


def _bend(x: Interval, negative: Interval) -> Interval:
    """The slope of a function that is x where x is positive, with ``negative`` below zero."""
    hull = negative.hull(_UP)
    return negative.where(x.hi < 0, _UP.where(x.lo > 0, hull))


def _relu_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    return [_bend(operands[0], _FLAT)]


def _leaky_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    alpha = Interval.point(float(np.float32(g.attribute(node, "alpha", 0.01))))
    return [_bend(operands[0], alpha)]


def _prelu_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    x, slope = operands
    return [_bend(x, slope), Interval.everything()]


def _clip_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    x, *bounds = operands
    low, high = g.attribute(node, "min"), g.attribute(node, "max")
    if bounds or low is not None or high is not None:
        inside = (y.lo == x.lo) & (y.hi == x.hi)
        flat = y.lo == y.hi
        slope = Interval(np.where(inside, 1.0, 0.0), np.where(flat & ~inside, 0.0, 1.0))
    else:
        slope = _UP
    return [slope, *(Interval.everything() for _ in bounds)]


def _logistic_slope(x: Interval) -> Interval:
    """s(x) s(-x), which rises up to 0 and falls behind."""
    far, near = np.maximum(np.abs(x.lo), np.abs(x.hi)), np.maximum(np.maximum(x.lo, -x.hi), 0.0)
    least, most = (v.sigmoid() * (-v).sigmoid() for v in map(Interval.point, (far, near)))
    return Interval(np.maximum(least.lo, 0.0), most.hi)


def _sigmoid_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    return [_logistic_slope(operands[0])]


def _tanh_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    return [Interval.point(4.0) * _logistic_slope(Interval.point(2.0) * operands[0])]


register(
    "Relu",
    rule=OpRule(
        "elementwise",
        _relu,
        first_shape,
        _relu_slope,
        partials=_relu_partials,
        affine=True,
        clips=True,
    ),
)
register(
    "LeakyRelu",
    rule=OpRule(
        "elementwise", _leaky_relu, first_shape, _leaky_slope, partials=_leaky_partials, affine=True
    ),
)
register(
    "PRelu",
    rule=OpRule(
        "elementwise",
        _prelu,
        with_parameters(1),
        _prelu_slope,
        partials=_prelu_partials,
        affine=True,
    ),
)
register(
    "Clip",
    rule=OpRule(
        "elementwise", _clip, with_parameters(1, 2), rising, partials=_clip_partials, clips=True
    ),
)
register(
    "Sigmoid", rule=OpRule("elementwise", _sigmoid, first_shape, rising, partials=_sigmoid_partials)
)
register("Tanh", rule=OpRule("elementwise", _tanh, first_shape, rising, partials=_tanh_partials))
