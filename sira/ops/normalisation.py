"""Softmax, LogSoftmax, LayerNormalization and InstanceNormalization: many inputs to one output.

Each element's range follows from the intervals of all elements it is normalised with. The bounds
are attained for Softmax and LogSoftmax; for the others they hold, and are narrow for points.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Floats, Interval
from sira.ops.base import (
    Arg,
    Args,
    Constants,
    OpRule,
    Shape,
    first_shape,
    numbers,
    real,
    register,
    with_channel_parameters,
)

_ULPS = 16
"""Margin for one step of `numpy.logaddexp`, relative to its result's size plus 1."""


def _interval(arg: Arg | None) -> Interval:
    assert arg is not None
    x = numbers(arg)
    return x.interval if isinstance(x, Exact) else x


def _shape(node: ir.Node) -> Shape:
    value = node.inputs[0]
    assert value is not None
    return g.shape(value)


def softmax_axes(node: ir.Node) -> tuple[int, ...]:
    """The axes that are divided by one sum, counted from the end.

    Before opset 13 these are the axis and all behind it.
    """
    rank = len(_shape(node))
    version = (node.graph.opset_imports.get("") if node.graph is not None else None) or 13
    axis = int(g.attribute(node, "axis", 1 if version < 13 else -1))
    axis = axis if axis < 0 else axis - rank
    return (axis,) if version >= 13 else tuple(range(axis, 0))


def _gathered(x: Interval, shape: Shape, axes: Sequence[int]) -> tuple[Interval, int]:
    """``x`` with the elements along ``axes`` in a last axis, and how many there are.

    That axis has size 1 where all its elements have the same interval.
    """
    n = prod(shape[a] for a in axes)
    rank = len(shape)

    def gather(b: Floats) -> Floats:
        b = b.reshape((1,) * (rank - b.ndim) + b.shape)
        if any(b.shape[a] != 1 for a in axes):
            sizes = list(b.shape)
            for a in axes:
                sizes[a] = shape[a]
            b = np.broadcast_to(b, sizes)
        moved = np.moveaxis(b, axes, range(-len(axes), 0))
        return moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1)

    return x.map(gather), n


def _scattered(y: Interval, shape: Shape, axes: Sequence[int]) -> Interval:
    """The inverse of `_gathered`."""

    def scatter(b: Floats) -> Floats:
        sizes = [1 if b.shape[-1] == 1 else shape[a] for a in axes]
        spread = b.reshape(*b.shape[:-1], *sizes)
        return np.moveaxis(spread, range(-len(axes), 0), axes)

    return y.map(scatter)


def _log_sum_of_others(x: Floats, n: int, direction: int) -> Floats:
    """log(sum of exp(x_j), j != i) along the last axis, rounded in ``direction``."""
    if x.shape[-1] == 1:
        total = x + np.log(n - 1) if n > 1 else np.full_like(x, -np.inf)
    else:
        empty = np.full((*x.shape[:-1], 1), -np.inf)
        before = np.logaddexp.accumulate(x[..., :-1], axis=-1)
        behind = np.logaddexp.accumulate(x[..., :0:-1], axis=-1)[..., ::-1]
        total = np.logaddexp(
            np.concatenate([empty, before], axis=-1), np.concatenate([behind, empty], axis=-1)
        )
    # The error of a step whose result lies t below the total counts with exp(-t) only, so the
    # steps' errors together are at most n times that of the last one.
    error = np.where(np.isfinite(total), (np.abs(total) + 1) * ((n + 2) * _ULPS * 2.0**-53), 0.0)
    return np.asarray(total + direction * error)


def _log_odds(node: ir.Node, x: Interval, axes: Sequence[int]) -> Interval:
    """log(sum of the others' exponentials) minus the element itself, in gathered layout."""
    gathered, n = _gathered(x, _shape(node), axes)
    if np.isinf(gathered.lo).any() or np.isinf(gathered.hi).any():
        return Interval.everything().map(lambda b: np.full(gathered.shape, b))
    if n == 1:
        return gathered.map(lambda b: np.full_like(b, -np.inf))
    # Each sum is taken relative to its largest element, in which the logarithm is accurate.
    highest, top = (
        Interval.point(b.max(axis=-1, keepdims=True)) for b in (gathered.lo, gathered.hi)
    )
    least = _log_sum_of_others((Interval.point(gathered.lo) - highest).lo, n, -1)
    most = _log_sum_of_others((Interval.point(gathered.hi) - top).hi, n, 1)
    low = Interval.point(least) + (highest - Interval.point(gathered.hi))
    high = Interval.point(most) + (top - Interval.point(gathered.lo))
    return Interval(low.lo, high.hi)


def _softmax(node: ir.Node, args: Args) -> list[Arg]:
    axes = softmax_axes(node)
    y = _scattered((-_log_odds(node, _interval(args[0]), axes)).sigmoid(), _shape(node), axes)
    return [y.because(f"{g.describe(node)} is not affine")]


def _log_softmax(node: ir.Node, args: Args) -> list[Arg]:
    axes = softmax_axes(node)
    y = _scattered(-_log_odds(node, _interval(args[0]), axes).softplus(), _shape(node), axes)
    return [y.because(f"{g.describe(node)} is not affine")]


def _mean(x: Interval) -> Interval:
    """Of the last axis; the error of the sums is at most n units of the largest partial sum."""
    n = x.shape[-1]
    lo, hi = (np.broadcast_to(b, x.shape) for b in (x.lo, x.hi))
    size = np.maximum(np.abs(lo), np.abs(hi)).sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        error = size * ((n + 2) * 2.0**-52) + n * 2.0**-1070
        sums = [b.sum(axis=-1, keepdims=True) for b in (lo, hi)]
        low, high = sums[0] - error, sums[1] + error
    low, high = np.where(np.isfinite(low), low, -np.inf), np.where(np.isfinite(high), high, np.inf)
    same = (lo == lo[..., :1]).all(axis=-1, keepdims=True) & (hi == hi[..., :1]).all(
        axis=-1, keepdims=True
    )
    sums_over_n = Interval(low, high) / Interval.point(float(n))
    return Interval(lo[..., :1], hi[..., :1]).where(same, sums_over_n)


def _normalised(
    x: Interval, shape: Shape, axes: Sequence[int], epsilon: Exact
) -> tuple[Interval, Interval, Interval]:
    """(x - mean) / sqrt(variance + epsilon), the mean, and 1 / sqrt(variance + epsilon).

    With d = x_i - mean the variance is at least d^2 / (n - 1), attained when all others are equal,
    so the result is at most d / sqrt(d^2 / (n - 1) + epsilon), which rises with d; the plain
    evaluation in interval arithmetic is narrower on points.
    """
    gathered, n = _gathered(x, shape, axes)
    eps, zero, one = epsilon.interval, Interval.point(0.0), Interval.point(1.0)
    if n == 1:
        inverse = one / eps.sqrt() if (eps.lo > 0).all() else Interval.everything()
        return gathered.map(np.zeros_like), gathered, inverse.map(np.atleast_1d)
    mean = _mean(gathered)
    one_value = gathered.shape[-1] == 1
    if one_value:  # x_i - mean = (1 - 1/n) (x_i - mean of the others)
        share = Interval.point(float(n - 1)) / Interval.point(float(n))
        difference = (gathered - gathered) * share
    else:
        difference = gathered - mean
    up, down = difference.maximum(zero), (-difference).maximum(zero)
    bound = Interval(-_steepest(down, n, eps).hi, _steepest(up, n, eps).hi)
    spread = gathered.hi.max(axis=-1, keepdims=True), gathered.lo.min(axis=-1, keepdims=True)
    half = (Interval.point(spread[0]) - Interval.point(spread[1])) * Interval.point(0.5)
    variance = Interval(zero.lo, half.power(2.0).hi)  # Popoviciu 1935
    if not one_value:
        squares = difference.maximum(zero).power(2.0).hull((-difference).maximum(zero).power(2.0))
        squares = Interval(_least_square(difference), squares.hi)
        variance = variance.intersection(_mean(squares).maximum(zero))
    deviation = (variance + eps).sqrt()
    positive = bool((deviation.lo > 0).all())
    if positive:
        inverse = one / deviation
    else:
        least = one / Interval.point(np.maximum(deviation.hi, 2.0**-1000))
        inverse = Interval(least.lo, np.full_like(least.hi, np.inf))
    if positive and not one_value:
        bound = bound.intersection(difference * inverse)
    return bound, mean, inverse


def _least_square(x: Interval) -> Floats:
    nearest = np.maximum(np.maximum(x.lo, -x.hi), 0.0)
    return Interval.point(nearest).power(2.0).lo


def _steepest(d: Interval, n: int, epsilon: Interval) -> Interval:
    """d / sqrt(d^2 / (n - 1) + epsilon) for the upper end of d >= 0, at most sqrt(n - 1)."""
    limit = Interval.point(float(n - 1)).sqrt()
    top = Interval.point(np.minimum(d.hi, 1e150))
    root = (top.power(2.0) / Interval.point(float(n - 1)) + epsilon).sqrt()
    safe = root.lo > 0
    ratio = top / Interval(np.where(safe, root.lo, 1.0), np.where(safe, root.hi, 1.0))
    value = np.where(safe, np.minimum(ratio.hi, limit.hi), limit.hi)
    value = np.where(d.hi > 1e150, limit.hi, np.where(d.hi == 0, 0.0, value))
    return Interval(np.zeros_like(value), value)


def _epsilon(node: ir.Node) -> Exact:
    epsilon = Exact.of(np.float32(g.attribute(node, "epsilon", 1e-5)))
    if epsilon.signs() < 0:
        raise SiraError(
            "epsilon must not be negative",
            where=g.describe(node),
            expected="epsilon >= 0",
            found=str(g.attribute(node, "epsilon")),
        )
    return epsilon


def _layer_normalization(node: ir.Node, args: Args) -> list[Arg]:
    shape = _shape(node)
    axis = int(g.attribute(node, "axis", -1))
    axes = tuple(range(axis if axis < 0 else axis - len(shape), 0))
    y, mean, inverse = _normalised(_interval(args[0]), shape, axes, _epsilon(node))
    y = _scattered(y, shape, axes) * real(args[1]).interval
    if len(args) > 2 and args[2] is not None:
        y = y + real(args[2]).interval
    others = [_scattered(v, shape, axes) for v in (mean, inverse)]
    reason = f"{g.describe(node)} divides by a computed deviation"
    return [v.because(reason) for v in (y, *others)[: len(node.outputs)]]


def _layer_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    shape = shapes[0]
    axis = int(g.attribute(node, "axis", -1))
    kept = shape[: axis if axis >= 0 else axis + len(shape)]
    reduced = (*kept, *(1 for _ in shape[len(kept) :]))
    return [shape, reduced, reduced][: len(node.outputs)]


def _instance_normalization(node: ir.Node, args: Args) -> list[Arg]:
    shape = _shape(node)
    if len(shape) < 3:
        raise SiraError(
            "InstanceNormalization needs an axis to normalise along",
            where=g.describe(node),
            expected="a tensor of rank 3 or more",
            found=str(shape),
        )
    axes = tuple(range(2 - len(shape), 0))
    y, *_ = _normalised(_interval(args[0]), shape, axes, _epsilon(node))
    factor, offset = (
        real(a).interval.map(lambda b: b.reshape((-1,) + (1,) * len(axes))) for a in args[1:3]
    )
    y = _scattered(y, shape, axes) * factor + offset
    return [y.because(f"{g.describe(node)} divides by a computed deviation")]


register("Softmax", rule=OpRule("other", _softmax, first_shape))
register("LogSoftmax", rule=OpRule("other", _log_softmax, first_shape))
register("LayerNormalization", rule=OpRule("other", _layer_normalization, _layer_shapes))
register(
    "InstanceNormalization",
    rule=OpRule("other", _instance_normalization, with_channel_parameters(1, 2)),
)
