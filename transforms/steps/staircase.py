"""The steps of a monotone function of an integer and its quantizer.

For each channel and each level the threshold is the smallest integer at which the exact tail
reaches the level, found by bisection (SIRA, sec. 5). Falling channels count on the negated integer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import Tail, decide, evaluate
from sira.errors import SiraError
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import rule_of
from sira.provenance import channel_axis

_MAX_ENUMERATED = 2**22
"""Values up to which a tail that is not monotone by its operators is tried out in full."""

MAX_LEVELS = 2**12
"""Thresholds a channel may have."""


@dataclass(frozen=True, eq=False)
class Staircase:
    """``q_out = base + #{t in thresholds[c] : sign[c] * q_in >= t}`` for every channel c.

    ``thresholds`` (C, n) rise along n, ``sign`` (C,) is 1 or -1; C is 1 where all channels agree.
    ``axis`` is the axis of the channels.
    """

    thresholds: Ints
    sign: Ints
    base: int
    axis: int


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of each place of a tensor: ``first[c, k]`` is the smallest ``sign[c] * q``, which
    lies in [lowest[c], highest[c]], at which the quantizer puts out ``base + k + 1`` or more;
    highest + 1 where it never does.
    """

    first: Ints
    sign: Ints
    base: int
    lowest: Ints
    highest: Ints


def staircase(tail: Tail, ranges: Ranges) -> Staircase:
    """The exact steps of a tail over the whole range of its source."""
    rank = len(g.shape(tail.source))
    source = ranges.scaled(tail.source)
    assert source is not None
    source = _by_channel(tail.source, source)
    axis, channels = _channels(tail, ranges, source)
    found = steps_of(tail, ranges, source, (channels,) + (1,) * (rank - 1 - axis))
    return Staircase(found.first, found.sign, found.base, axis)


def steps_of(tail: Tail, ranges: Ranges, source: ScaledInt, places: tuple[int, ...]) -> Steps:
    """The steps for ``places``, the shape of the last axes along which the tail differs.

    ``source`` is the range at the source, broadcastable to ``places``.
    """
    rank, count = len(g.shape(tail.source)), prod(places)
    lo, hi = (
        np.broadcast_to(q.reshape(q.shape[-len(places) :]), places).reshape(-1)
        for q in (source.lo, source.hi)
    )
    sign = np.broadcast_to(_direction(tail, ranges, source, lo, hi, places), (count,))

    def level(m: Ints) -> Ints:
        """Quantizer outputs (P, C) at the integers ``sign * m``, m of shape (P, C)."""
        q = (m * sign).reshape((-1,) + (1,) * (rank - len(places)) + places)
        point = ScaledInt(q, q, source.scale, source.bias)
        return decide(tail, ranges, point).reshape(len(m), count)

    first, last = np.where(sign > 0, lo, -hi), np.where(sign > 0, hi, -lo)
    ends = level(np.stack([first, last]))
    base, top = int(ends[0].min()), int(ends[1].max())
    if top - base > MAX_LEVELS:
        raise SiraError(
            "too many levels for thresholds",
            where=g.describe(tail.nodes[-1]),
            expected=f"up to {MAX_LEVELS}",
            found=str(top - base),
            remedy="quantize to fewer bits",
        )
    levels = np.arange(base + 1, max(top, base + 1) + 1)[:, None]
    low = np.broadcast_to(first, (len(levels), count)).copy()
    high = np.broadcast_to(last + 1, (len(levels), count)).copy()
    while (low < high).any():  # the smallest m in [low, high] whose level is reached
        middle = low + (high - low) // 2
        reached = level(np.minimum(middle, last)) >= levels
        high = np.where(reached & (low < high), middle, high)
        low = np.where(~reached & (low < high), middle + 1, low)
    return Steps(low.T.copy(), sign, base, first, last)


def _by_channel(value: ir.Value, source: ScaledInt) -> ScaledInt:
    """With bounds that differ between channels alone, the worst of each.

    Channels are where scale and bias differ; where they do not, where the operators say.
    """
    rank = len(g.shape(value))
    sizes = (np.atleast_1d(q).shape for q in (source.lo, source.hi))
    varying = {i - len(s) for s in sizes for i, d in enumerate(s) if d != 1}
    of_scale = np.broadcast_shapes(source.scale.shape, source.bias.shape)
    kept = {i - len(of_scale) for i, d in enumerate(of_scale) if d != 1}
    kept = kept or {channel_axis(value) - rank}
    if varying <= kept:
        return source

    def worst(bound: Ints, f: Callable[..., Ints]) -> Ints:
        others = (i for i in range(bound.ndim) if i - bound.ndim not in kept)
        return f(bound, axis=tuple(others), keepdims=True)

    lo, hi = worst(source.lo, np.min), worst(source.hi, np.max)
    return ScaledInt(lo, hi, source.scale, source.bias)


def _channels(tail: Tail, ranges: Ranges, source: ScaledInt) -> tuple[int, int]:
    """The axis along which the tail differs, and the number of channels (1: it does not)."""
    rank = len(g.shape(tail.source))
    point = ScaledInt(source.lo, source.lo, source.scale, source.bias)
    shape = np.broadcast_shapes(source.shape, evaluate(tail, ranges, point).shape)
    error = SiraError(
        "thresholds must not differ within a channel",
        where=g.describe(tail.nodes[-1]),
        expected="constants for each tensor or each channel",
        found=f"values of shape {tuple(shape)} for {g.shape(tail.source)}",
        remedy="use quantizers and offsets for whole channels",
    )
    return varying_axis(shape, rank, error)


def varying_axis(shape: tuple[int, ...], rank: int, error: SiraError) -> tuple[int, int]:
    """The one axis of a tensor of ``rank`` axes along which values of ``shape`` differ, and the
    channels there; ``error`` where there are several, or another one than channels may have.

    Values that do not differ have one channel.
    """
    padded = (1,) * (rank - len(shape)) + tuple(shape)
    varying = [i for i, d in enumerate(padded) if d != 1]
    if not varying:
        return 1 if rank > 1 else 0, 1
    if len(varying) == 1 and varying[0] in (1, rank - 1):
        return varying[0], padded[varying[0]]
    raise error


def _direction(
    tail: Tail, ranges: Ranges, source: ScaledInt, lo: Ints, hi: Ints, column: tuple[int, ...]
) -> Ints:
    """1 where the tail rises or is constant, -1 where it falls, for each channel."""
    sign = np.asarray(1)
    for node in tail.nodes:
        rule = rule_of(node)
        assert rule.slope is not None
        one = len(set(g.dynamic_inputs(node))) == 1
        slope = rule.slope(node, ranges.arguments(node)) if one else None
        if slope is None:
            return _tried(tail, ranges, source, lo, hi, column, node)
        sign = sign * slope
    return np.where(
        np.broadcast_to(sign, np.broadcast_shapes(sign.shape, column)) < 0, -1, 1
    ).reshape(-1)


def _tried(
    tail: Tail,
    ranges: Ranges,
    source: ScaledInt,
    lo: Ints,
    hi: Ints,
    column: tuple[int, ...],
    node: ir.Node,
) -> Ints:
    """The direction found by evaluating the tail at every integer of its range."""
    span = int((hi - lo).max()) + 1
    rank = len(g.shape(tail.source))
    error = SiraError(
        "the function in front of a quantizer is not monotone",
        where=g.describe(node),
        expected="a function that rises or falls over the whole range of its accumulator",
        found=f"{node.op_type} with a negative slope",
        remedy="use a monotone activation (Relu, LeakyRelu, Sigmoid, Tanh, Clip)",
    )
    if span * len(lo) > _MAX_ENUMERATED:
        raise error
    q = np.minimum(lo + np.arange(span)[:, None], hi)
    points = q.reshape((-1,) + (1,) * (rank - len(column)) + column)
    levels = decide(tail, ranges, ScaledInt(points, points, source.scale, source.bias))
    steps = np.diff(levels.reshape(span, -1), axis=0)
    rises, falls = (steps >= 0).all(axis=0), (steps <= 0).all(axis=0)
    if not (rises | falls).all():
        raise error
    return np.where(rises, 1, -1)
