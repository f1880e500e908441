"""Threshold conversion: a monotone function of an integer and its quantizer become a staircase.

For each channel and each level the threshold is the smallest integer at which the exact tail
reaches the level, found by bisection (SIRA, sec. 5). Falling channels count on the negated integer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis import Ranges
from sira.datatypes import smallest_type
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops import rule_of
from sira.scaled import Ints, ScaledInt
from sira.tail import Tail, decide, evaluate, find_tail
from transforms.builder import whole
from transforms.integer_graph import IntegerGraph

_MAX_ENUMERATED = 2**22
"""Values up to which a tail that is not monotone by its operators is tried out in full."""

_MAX_DENOMINATOR = 2**16
"""Factor by which a lattice may be refined to hold the biases of all border positions."""

_MAX_LEVELS = 2**12
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


def to_thresholds(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Rebuild a canonical ``model`` from integer accumulators and MultiThreshold nodes."""
    return IntegerGraph(model, ranges, _multithreshold).finish()


def _multithreshold(graph: IntegerGraph, sink: ir.Value) -> ir.Value:
    tail = find_tail(sink)
    if graph.quantized_by_host(tail.source):
        integer = [n.outputs[0] for n in tail.nodes if graph.ranges.scaled(n.outputs[0])]
        if integer[0] is sink:
            return graph.host_input(sink)
        start = [n.outputs[0] for n in tail.nodes].index(integer[0]) + 1
        tail = Tail(integer[0], tail.nodes[start:], sink)
    value, source = _one_bias(graph, tail.source)
    steps = staircase(tail, graph.ranges, source)
    b, name, shape = graph.b, graph.name(sink), g.shape(sink)
    if (steps.sign < 0).any():
        column = steps.sign.reshape((-1,) + (1,) * (len(shape) - 1 - steps.axis))
        factor = b.constant(f"{name}_sign", whole(column))
        value = b.node("Mul", [value, factor], f"{name}_flipped", shape)
    thresholds = b.constant(f"{name}_thresholds", whole(steps.thresholds))
    attributes: dict[str, object] = {
        "out_dtype": smallest_type(steps.base, steps.base + steps.thresholds.shape[1]),
        "out_scale": 1.0,
        "out_bias": float(steps.base),
    }
    layout = {(3, 1): "NCW", (3, 2): "NWC", (4, 3): "NHWC"}.get((len(shape), steps.axis))
    if layout:  # otherwise axis 1, which is the default
        attributes["data_layout"] = layout
    return b.node(
        "MultiThreshold",
        [value, thresholds],
        name,
        shape,
        name=tail.nodes[-1].name,
        attributes=attributes,
        custom=True,
    )


def _one_bias(graph: IntegerGraph, value: ir.Value) -> tuple[ir.Value, ScaledInt]:
    """The integers of ``value``, on a finer lattice where its bias differs within a channel.

    At the borders of a convolution whose padding is off the lattice the bias over the scale is a
    fraction that differs between positions. With their common denominator D the integers
    ``D * q + D * bias / scale`` have one scale and no bias.
    """
    range_ = graph.scaled(value)
    u = graph.core(value)
    spatial = range_.bias.shape[-(len(g.shape(value)) - 2) :] if len(g.shape(value)) > 2 else ()
    if all(d == 1 for d in spatial):
        return u, range_
    if not isinstance(range_.bias, Exact) or not isinstance(range_.scale, Exact):
        return u, range_
    shift = (range_.bias / range_.scale).values
    distinct = set(shift.ravel().tolist())
    d = lcm(*(x.denominator for x in distinct))
    if d > _MAX_DENOMINATOR:
        return u, range_
    moved = (shift * d).astype(np.int64)  # (C, *positions)
    places = tuple(range(1, moved.ndim))
    low, high = (f(moved, axis=places, keepdims=True) for f in (np.min, np.max))
    b, name, shape = graph.b, graph.name(value), g.shape(value)
    factor, offset = b.constant(f"{name}_finer", whole(np.asarray(d))), whole(moved)
    u = b.node("Mul", [u, factor], f"{name}_scaled", shape)
    u = b.node("Add", [u, b.constant(f"{name}_border", offset)], f"{name}_on_border", shape)
    finer = ScaledInt.of(
        range_.lo * d + low, range_.hi * d + high, range_.scale / Exact.of(d), Exact.of(0)
    )
    return u, finer


def staircase(tail: Tail, ranges: Ranges, source: ScaledInt | None = None) -> Staircase:
    """The exact steps of a tail over the whole range of its source.

    ``source`` is that range where it is not the one that analysis found for the tensor.
    """
    rank = len(g.shape(tail.source))
    source = source or ranges.scaled(tail.source)
    assert source is not None
    source = _by_channel(source, rank)
    axis, channels = _channels(tail, ranges, source)
    column = (channels,) + (1,) * (rank - 1 - axis)
    lo, hi = (np.broadcast_to(q.reshape(-1), (channels,)) for q in (source.lo, source.hi))
    sign = np.broadcast_to(_direction(tail, ranges, source, lo, hi, column), (channels,))

    def level(m: Ints) -> Ints:
        """Quantizer outputs (P, C) at the integers ``sign * m``, m of shape (P, C)."""
        q = (m * sign).reshape((-1,) + (1,) * axis + column)
        point = ScaledInt(q, q, source.scale, source.bias)
        return decide(tail, ranges, point).reshape(len(m), channels)

    first, last = np.where(sign > 0, lo, -hi), np.where(sign > 0, hi, -lo)
    ends = level(np.stack([first, last]))
    base, top = int(ends[0].min()), int(ends[1].max())
    if top - base > _MAX_LEVELS:
        raise SiraError(
            "too many levels for thresholds",
            where=g.describe(tail.nodes[-1]),
            expected=f"up to {_MAX_LEVELS}",
            found=str(top - base),
            remedy="quantize to fewer bits",
        )
    levels = np.arange(base + 1, max(top, base + 1) + 1)[:, None]
    low = np.broadcast_to(first, (len(levels), channels)).copy()
    high = np.broadcast_to(last + 1, (len(levels), channels)).copy()
    while (low < high).any():  # the smallest m in [low, high] whose level is reached
        middle = low + (high - low) // 2
        reached = level(np.minimum(middle, last)) >= levels
        high = np.where(reached & (low < high), middle, high)
        low = np.where(~reached & (low < high), middle + 1, low)
    return Staircase(low.T.copy(), sign, base, axis)


def _by_channel(source: ScaledInt, rank: int) -> ScaledInt:
    """With bounds that differ between channels alone, the worst of each.

    Channels are where scale and bias differ; where they do not, along axis 1.
    """
    sizes = (np.atleast_1d(q).shape for q in (source.lo, source.hi))
    varying = {i - len(s) for s in sizes for i, d in enumerate(s) if d != 1}
    if len(varying) < 2:
        return source
    of_scale = np.broadcast_shapes(source.scale.shape, source.bias.shape)
    kept = {i - len(of_scale) for i, d in enumerate(of_scale) if d != 1} or {1 - rank}

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
    padded = (1,) * (rank - len(shape)) + tuple(shape)
    varying = [i for i, d in enumerate(padded) if d != 1]
    if not varying:
        return 1 if rank > 1 else 0, 1
    if len(varying) == 1 and varying[0] in (1, rank - 1):
        return varying[0], padded[varying[0]]
    raise SiraError(
        "thresholds must not differ within a channel",
        where=g.describe(tail.nodes[-1]),
        expected="constants for each tensor or each channel",
        found=f"values that differ along axes {varying} of {g.shape(tail.source)}",
        remedy="use quantizers and offsets for whole channels",
    )


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
