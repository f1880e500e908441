"""Sums of a convolution over its window: bounds, biases, exact values, real bounds.

All sums know the border classes of `sira.ops.windows`: which taps read padding, where a tap adds
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sira.errors import SiraError
from sira.exact import Exact
from sira.interval import Interval
from sira.ops.windows import Axis
from sira.scaled import INT64_MAX, ZERO, Ints, Real, ScaledInt

R = TypeVar("R", Exact, Interval)


@dataclass(frozen=True, eq=False)
class IntegerConv:
    """Integer weights (O, C/groups, *kernel) without common factor, and the output's scale.

    ``scale`` is one number or (O, 1, ...). ``zero`` (C,) is the integer that means real zero, which
    is subtracted from the input before the taps sum it; None where real zero is no integer, or
    where it does not matter.
    """

    weights: Ints
    groups: int
    scale: Real
    zero: Ints | None


def compact(x: Real, channels: int, rank: int) -> Real | None:
    """``x`` as () or (C,) where it does not differ within a channel, else None."""
    size = int(np.prod(x.shape))
    if size == 1:
        return x.map(lambda a: a.reshape(()))
    padded = (1,) * (rank - len(x.shape)) + tuple(x.shape)
    if len(padded) == rank and padded[1] == channels == size:
        return x.map(lambda a: np.broadcast_to(a, x.shape).reshape(channels))
    return None


def is_zero(bias: Real) -> bool:
    """Whether a bias is exactly 0 everywhere."""
    return isinstance(bias, Exact) and all(b == 0 for b in bias.values.ravel())


def full_shape(q: Ints, channels: int, size: list[int]) -> tuple[int, ...]:
    """Shape of a point's integers: leading axes, channels, positions."""
    rank = 2 + len(size)
    lead = q.shape[: q.ndim - rank + 1] if q.ndim >= rank else (1,)
    return (*lead, channels, *size)


def _worst(
    bound: NDArray[Any], f: Callable[..., NDArray[Any]], channels: int, rank: int
) -> NDArray[Any]:
    """The worst bound (C,) over the positions of each channel; ``f`` is np.min or np.max."""
    if bound.size == 1:
        return np.broadcast_to(bound.reshape(()), (channels,))
    padded = bound.reshape((1,) * (rank - bound.ndim) + bound.shape)
    return np.broadcast_to(f(padded, axis=tuple(i for i in range(rank) if i != 1)), (channels,))


def bounds(
    lo: Ints, hi: Ints, conv: IntegerConv, axes: list[Axis], rank: int, where: str
) -> tuple[Ints, Ints]:
    """Smallest and largest sum (O, 1, ..., 1), over all border classes."""
    w = conv.weights
    outputs, inputs = w.shape[:2]
    channels = inputs * conv.groups
    low, high = _worst(lo, np.min, channels, rank), _worst(hi, np.max, channels, rank)
    per_group = outputs // conv.groups
    low, high = (
        np.repeat(b.reshape(conv.groups, inputs), per_group, axis=0) for b in (low, high)
    )  # (O, I)
    largest = float(np.abs(w.astype(np.float64)).reshape(outputs, -1).sum(axis=1).max(initial=0))
    if (
        largest * float(max(np.abs(low).max(initial=0), np.abs(high).max(initial=0)))
        > INT64_MAX / 2
    ):
        raise SiraError(
            "the accumulator does not fit into 64 bits",
            where=where,
            remedy="use narrower weights or activations",
        )
    flat = w.reshape(outputs, inputs, -1)
    results = []
    # With 0 inside every range a tap on padding is a special case of one on input.
    interior = bool((low <= 0).all() and (high >= 0).all()) and all(a.has_interior for a in axes)
    whole = np.ones(w.shape[2:], bool)
    for mask in [whole] if interior else border_masks(axes):
        chosen = flat[:, :, mask.reshape(-1)] if not mask.all() else flat
        up = np.maximum(chosen, 0).sum(axis=2)
        down = np.minimum(chosen, 0).sum(axis=2)
        results.append(((up * low + down * high).sum(axis=1), (up * high + down * low).sum(axis=1)))
    column = (-1,) + (1,) * (rank - 2)
    smallest = np.minimum.reduce([r[0] for r in results]).reshape(column)
    return smallest, np.maximum.reduce([r[1] for r in results]).reshape(column)


def border_masks(axes: list[Axis]) -> list[NDArray[np.bool_]]:
    """For each border class, in order, which taps read input: (*kernel)."""
    masks = []
    for patterns in product(*(axis.classes[0] for axis in axes)):
        mask = np.ones((), bool)
        for pattern in patterns:
            mask = mask[..., None] & pattern
        masks.append(mask)
    return masks


def bias_through(bias: Real, weights: ScaledInt, groups: int, axes: list[Axis]) -> Real:
    """``bias`` (() or (C,)) convolved with the real weights: (O, 1, ...), or (O, *outputs).

    The second where padding cuts taps off, since a tap on padding adds real zero.
    """
    if is_zero(bias):
        return ZERO
    assert isinstance(weights.scale, Exact)
    outputs, inputs = weights.lo.shape[:2]
    rank = weights.lo.ndim
    padding = (1,) * (rank - weights.scale.values.ndim)
    scale = weights.scale.values.reshape(padding + weights.scale.shape)
    scale = scale.reshape((*scale.shape[:2], -1))  # (O|1, I|1, taps|1)
    per_output = bool((scale == scale[:, :1, :1]).all())
    taps: NDArray[Any] = weights.lo.reshape(outputs, inputs, -1)
    if not per_output:
        taps = taps * scale
    padded = any(axis.padded for axis in axes)
    masks = border_masks(axes) if padded else [np.ones(weights.lo.shape[2:], bool)]
    sums = np.stack([taps[:, :, mask.reshape(-1)].sum(axis=2) for mask in masks])
    sums = sums.astype(object) * (scale[:, :1, 0] if per_output else 1)  # (classes, O, I)

    def spread(a: NDArray[Any]) -> NDArray[Any]:
        by_group = np.broadcast_to(a, (inputs * groups,)).reshape(groups, inputs)
        return np.repeat(by_group, outputs // groups, axis=0)

    if isinstance(bias, Exact):
        total: Real = Exact((sums * spread(bias.values)).sum(axis=-1))
    else:
        total = sum_of(Exact(sums).interval * bias.map(spread), (2,))
    return _place(total, axes, padded, rank)


def sum_of(terms: Interval, axes: tuple[int, ...]) -> Interval:
    """Sum along ``axes``, with the a-priori error of a float64 sum (Higham, eq. 4.4)."""
    count = int(np.prod([terms.shape[axis] for axis in axes]))
    size = np.maximum(np.abs(terms.lo), np.abs(terms.hi)).sum(axis=axes)
    finite = np.isfinite(size)
    slack = np.where(finite, size, 0.0) * ((count + 2) * 2.0**-52)
    with np.errstate(invalid="ignore"):
        lo = np.where(finite, np.nextafter(terms.lo.sum(axis=axes) - slack, -np.inf), -np.inf)
        hi = np.where(finite, np.nextafter(terms.hi.sum(axis=axes) + slack, np.inf), np.inf)
    return Interval(lo, hi)


def _place(total: Real, axes: list[Axis], padded: bool, rank: int) -> Real:
    """Values (classes, O) of the border classes at their positions: (O, *outputs)."""
    if not padded:
        return total.map(lambda a: a[0].reshape((-1,) + (1,) * (rank - 2)))
    counts = [len(axis.classes[0]) for axis in axes]
    index = np.ix_(*(axis.classes[1] for axis in axes))
    number = np.ravel_multi_index(np.broadcast_arrays(*index), counts)
    return total.map(lambda a: np.moveaxis(a[number], -1, 0))


def slide(q: Ints, conv: IntegerConv, axes: list[Axis], where: str) -> Ints:
    """The convolution of integers (..., C, *size), exactly."""
    lead = q.shape[: q.ndim - 1 - len(axes)]
    outputs, inputs = conv.weights.shape[:2]
    x = q.reshape(-1, conv.groups, inputs, *(axis.size for axis in axes))
    matrix = conv.weights.reshape(conv.groups, outputs // conv.groups, -1)
    largest = int(np.abs(x).max(initial=0))
    heaviest = int(np.abs(matrix).sum(axis=2).max(initial=0))
    if largest * heaviest > INT64_MAX:
        raise SiraError("the accumulator does not fit into 64 bits", where=where)
    exact = np.float64 if largest * heaviest < 2**53 else np.int64
    sums = []
    for sample in x.astype(exact):
        patches = _patches(sample, axes)  # (G, I, *taps, *outputs)
        columns = patches.reshape(conv.groups, matrix.shape[2], -1)
        sums.append(matrix.astype(exact) @ columns)
    result = np.stack(sums).astype(np.int64)
    return result.reshape(*lead, outputs, *(axis.outputs for axis in axes))


def _patches(sample: NDArray[Any], axes: list[Axis]) -> NDArray[Any]:
    """im2col of (G, I, *size): (G, I, *taps, *outputs); padding reads 0."""
    n = len(axes)
    for i, axis in enumerate(axes):
        # Taps gather in front, the rest of the spatial axes stays where it is.
        position = 2 + 2 * i
        if axis.padded:
            width = [(0, 0)] * sample.ndim
            width[position] = (0, 1)  # index -1 reads this zero
            sample = np.pad(sample, width)
        sample = np.take(sample, axis.index, axis=position)  # ..., outputs, taps, ...
    order = (0, 1, *(3 + 2 * i for i in range(n)), *(2 + 2 * i for i in range(n)))
    return sample.transpose(order)


def real_bounds(x: Interval, w: Interval, groups: int, axes: list[Axis]) -> Interval:
    """Bounds (O, 1, ...) of real sums for weights ``w``; padding adds 0 to each channel's range."""
    rank = w.lo.ndim
    outputs, inputs = w.lo.shape[:2]
    low, high = (_worst(b, f, inputs * groups, rank) for b, f in ((x.lo, np.min), (x.hi, np.max)))
    if any(axis.padded for axis in axes):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    low, high = (
        np.repeat(b.reshape(groups, inputs), outputs // groups, axis=0).reshape(
            (outputs, inputs) + (1,) * (rank - 2)
        )
        for b in (low, high)
    )
    total = sum_of(Interval(low, high) * w, tuple(range(1, rank)))
    return total.map(lambda a: a.reshape((-1,) + (1,) * (rank - 2)))
