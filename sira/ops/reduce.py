"""ReduceSum, ReduceMean, ReduceMax and ReduceMin.

A sum keeps the integers: its scale is that of the operand, that of a mean of n elements is 1/n of
it. Bounds are exact, the elements being independent.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce as fold
from math import prod
from typing import Literal, TypeVar

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import Real, ScaledInt, Value, divide
from sira.ops.axes import (
    Array,
    aligned,
    arrays,
    both,
    check_sum,
    common_lattice,
    need,
    negative,
    shape_after,
)
from sira.ops.base import Arg, Args, Constants, OpRule, Shape, numbers, operand, register

Reals = TypeVar("Reals", Exact, Interval)
Extreme = Literal["max", "min"]


def reduce_axes(node: ir.Node, rank: int, constants: Constants) -> list[int]:
    """The axes to reduce, from the end: the second input, the attribute, or all of them."""
    axes = need(node, constants, 1, "axes")
    if axes is None:
        axes = [int(a) for a in g.attribute(node, "axes", ())]
    if not axes:
        return [] if g.attribute(node, "noop_with_empty_axes", 0) else list(range(-rank, 0))
    return [negative(node, a, rank) for a in axes]


def total(x: Value, axes: Sequence[int], shape: Shape) -> Value:
    """Sum over ``axes`` of a tensor of ``shape``; they remain with size 1.

    The scale of a `ScaledInt` must not vary along the axes.
    """
    rank = len(shape)
    match x:
        case ScaledInt():
            lo = _sum_integers(x.lo, axes, shape)
            hi = lo if x.hi is x.lo else _sum_integers(x.hi, axes, shape)
            bias = total_real(x.bias, axes, shape)
            return ScaledInt(lo, hi, x.scale.map(lambda a: aligned(a, rank)), bias)
        case _:
            return total_real(x, axes, shape)


def _sum_integers(q: Array, axes: Sequence[int], shape: Shape) -> Array:
    q = aligned(q, len(shape))
    still = prod(shape[a] for a in axes if q.shape[a] == 1)
    return np.asarray(q.sum(axis=tuple(axes), keepdims=True) * still)


def total_real(x: Real, axes: Sequence[int], shape: Shape) -> Real:
    """`total` of real numbers."""
    rank = len(shape)
    still = prod(shape[a] for a in axes if _size(x, rank, a) == 1)
    if isinstance(x, Exact):
        exact = x.map(lambda a: aligned(a, rank))
        for axis in axes:
            exact = fold(operator.add, slices(exact, axis))
        return exact * Exact.of(still) if still != 1 else exact
    bounds = both(x, rank)
    for axis in axes:
        bounds = fold(operator.add, slices(bounds, axis))
    return bounds * Interval.point(still) if still != 1 else bounds


def _size(x: Real, rank: int, axis: int) -> int:
    return (*(1,) * rank, *x.shape)[axis]


def slices(x: Reals, axis: int) -> list[Reals]:
    """The elements along ``axis``, each of size 1 along it."""

    def at(i: int) -> Callable[[Array], Array]:
        return lambda a: a.take([i], axis)

    return [x.map(at(i)) for i in range(x.shape[axis])]


def extreme(x: Value, axes: Sequence[int], shape: Shape, which: Extreme) -> Value:
    """The largest or smallest element along ``axes``, which remain with size 1.

    Scale and bias of a `ScaledInt` must not vary along the axes.
    """
    rank, pick = len(shape), np.max if which == "max" else np.min

    def each(a: Array) -> Array:
        return np.asarray(pick(aligned(a, rank), axis=tuple(axes), keepdims=True))

    match x:
        case ScaledInt():
            lo = each(x.lo)
            return ScaledInt(lo, lo if x.hi is x.lo else each(x.hi), x.scale, x.bias)
        case Interval():
            return x.map(each)
        case Exact():
            y = x.map(lambda a: aligned(a, rank))
            for axis in axes:
                y = fold(Exact.maximum if which == "max" else Exact.minimum, slices(y, axis))
            return y


def summed(node: ir.Node, x: Value, axes: Sequence[int], shape: Shape, divisor: int) -> Value:
    """Sum over ``axes`` divided by ``divisor``, with the integer core if there is one."""
    reason = f"{g.describe(node)}: its input has no integer core"
    if isinstance(x, ScaledInt):
        check_sum(node, x, prod(shape[a] for a in axes))
        aligned_scale = common_lattice(node, x, axes, len(shape), with_bias=False)
        if isinstance(aligned_scale, ScaledInt):
            y = total(aligned_scale, axes, shape)
            assert isinstance(y, ScaledInt)
            n = Exact.of(divisor)
            return ScaledInt(y.lo, y.hi, divide(y.scale, n), divide(y.bias, n))
        reason = f"{g.describe(node)}: {aligned_scale}"
    y = total(numbers(x), axes, shape)
    if isinstance(y, Exact):
        return y / Exact.of(divisor)
    assert isinstance(y, Interval)
    return (y / Interval.point(divisor)).because(getattr(x, "reason", "") or reason)


def picked(node: ir.Node, x: Value, axes: Sequence[int], shape: Shape, which: Extreme) -> Value:
    """`extreme`, with the integer core if there is one."""
    if not isinstance(x, ScaledInt):
        return extreme(x, axes, shape, which)
    lattice = common_lattice(node, x, axes, len(shape), with_bias=True)
    if isinstance(lattice, ScaledInt):
        return extreme(lattice, axes, shape, which)
    y = extreme(x.interval, axes, shape, which)
    assert isinstance(y, Interval)
    return y.because(f"{g.describe(node)}: {lattice}")


def _evaluate(
    compute: Callable[[ir.Node, Value, Sequence[int], Shape], Value],
) -> Callable[[ir.Node, Args], list[Arg]]:
    def evaluate(node: ir.Node, args: Args) -> list[Arg]:
        shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
        axes = reduce_axes(node, len(shape), arrays(node))
        y = compute(node, operand(args[0]), axes, shape) if axes else operand(args[0])
        if g.attribute(node, "keepdims", 1) or not axes:
            return [y]
        return [y.map(lambda a: _without(aligned(a, len(shape)), axes))]

    return evaluate


def _without(a: Array, axes: Sequence[int]) -> Array:
    """Without ``axes``, whose size is 1 (also for a scale, which does not vary along them)."""
    return np.squeeze(a, tuple(a.ndim + axis for axis in axes))


def _shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axes = reduce_axes(node, len(shapes[0]), constants)
    return [shape_after(shapes[0], axes, bool(g.attribute(node, "keepdims", 1)))]


_sum = _evaluate(lambda node, x, axes, shape: summed(node, x, axes, shape, 1))
_mean = _evaluate(
    lambda node, x, axes, shape: summed(node, x, axes, shape, prod(shape[a] for a in axes))
)
_max = _evaluate(lambda node, x, axes, shape: picked(node, x, axes, shape, "max"))
_min = _evaluate(lambda node, x, axes, shape: picked(node, x, axes, shape, "min"))

register("ReduceSum", rule=OpRule("other", _sum, _shapes))
register("ReduceMean", rule=OpRule("other", _mean, _shapes))
register("ReduceMax", rule=OpRule("other", _max, _shapes))
register("ReduceMin", rule=OpRule("other", _min, _shapes))
