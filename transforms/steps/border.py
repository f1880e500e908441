"""Thresholds behind a padded convolution whose padding is off the lattice of its input.

Positions fall into border classes, by the taps that read padding; the bias differs from class to
class. One staircase serves them all on ``u = D m + b[class]`` with small integers: step k, which
class j takes from m = t_jk - 1 to t_jk, is kept by a common threshold if for all classes i and j

    D (t_ik - 1) + b_i < D t_jk + b_j.

These are difference constraints on b, solved by shortest paths (Cormen et al., "Introduction to
Algorithms", sec. 24.4). The true biases satisfy them in real numbers, so that a cycle of n of them
leaves a slack of at least D, and integers exist for some D up to the number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import Tail, evaluate
from sira.errors import SiraError
from sira.numbers.exact import Exact, distinct
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Arg
from sira.provenance import channel_axis
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph
from transforms.steps.staircase import Staircase, Steps, steps_of

_NONE = 2**40
"""In place of a constraint that there is not; beyond all sums."""


def has_border(graph: IntegerGraph, value: ir.Value) -> bool:
    """Whether the bias of ``value`` (N, C, ...) differs within its channels."""
    range_, rank = graph.scaled(value), len(g.shape(value))
    if rank < 3 or len(range_.bias.shape) < rank - 1 or channel_axis(value) != 1:
        return False
    spatial = range_.bias.shape[2 - rank :]
    return any(d != 1 for d in spatial) and isinstance(range_.bias, Exact)


def build_border(graph: IntegerGraph, tail: Tail) -> tuple[ir.Value, Staircase]:
    """The integers ``D q + sign b[class]`` of a tail's source, and the tail's steps on them."""
    value, source = tail.source, graph.scaled(tail.source)
    rank, channels = len(g.shape(value)), g.shape(value)[1]
    assert isinstance(source.bias, Exact)
    _check_constants(graph.ranges, tail)
    members = _classes(source.bias, g.shape(value)[2:])
    firsts = [np.unique(m, return_index=True)[1] for m in members]
    places = (channels, *(len(f) for f in firsts))
    steps = steps_of(tail, _compact(graph.ranges, tail, firsts), _at(source, firsts), places)
    first, sign = _one_direction(steps, channels)
    d, b = _offsets(first, *_ends(steps, sign))
    b = b.reshape(places)
    b = b - _at_positions(b, [m[[len(m) // 2]] for m in members])  # none in the middle
    thresholds = _thresholds(first, d, b.reshape(channels, -1), *_ends(steps, sign))
    builder, name, shape = graph.b, graph.name(tail.sink), g.shape(value)
    u = graph.core(value)
    if d != 1:
        factor = builder.constant(f"{name}_multiple", as_floats(np.asarray(d)))
        u = builder.node("Mul", [u, factor], f"{name}_multiplied", shape)
    full = as_floats(_at_positions(b, members) * sign.reshape(-1, *(1,) * (rank - 2)))
    u = builder.node("Add", [u, builder.constant(f"{name}_border", full)], f"{name}_moved", shape)
    return u, Staircase(thresholds, sign, steps.base, 1)


def _check_constants(ranges: Ranges, tail: Tail) -> None:
    """The functions of a tail must be the same at all positions."""
    rank = len(g.shape(tail.source))
    shape = evaluate(tail, ranges, Interval.point(0.0)).shape
    padded = (1,) * (rank - len(shape)) + tuple(shape)
    varying = [i for i, d in enumerate(padded) if d != 1]
    if any(i > 1 for i in varying):
        raise SiraError(
            "thresholds must not differ within a channel",
            where=g.describe(tail.nodes[-1]),
            expected="constants for each tensor or each channel",
            found=f"values that differ along axes {varying} of {g.shape(tail.source)}",
            remedy="use quantizers and offsets for whole channels",
        )


def _classes(bias: Exact, size: Sequence[int]) -> list[Ints]:
    """For each spatial axis the class of each position: positions of a class have equal biases."""
    numbers: dict[object, int] = {}
    objects, place = distinct(bias.values)
    codes = np.array([numbers.setdefault(v, len(numbers)) for v in objects])
    codes = codes[place].reshape(bias.shape)
    members = []
    for axis, length in enumerate(size, -len(size)):
        rows = np.moveaxis(codes, axis, 0)
        found = np.unique(rows.reshape(len(rows), -1), axis=0, return_inverse=True)[1].reshape(-1)
        members.append(np.broadcast_to(found, (length,)))
    return members


def _at(range_: ScaledInt, firsts: Sequence[Ints]) -> ScaledInt:
    """The range at one position of each class."""

    def picked(a: Any) -> Any:
        for axis, places in enumerate(firsts, -len(firsts)):
            if a.ndim >= -axis and a.shape[axis] != 1:
                a = a.take(places, axis)
        return a

    return range_.map(picked)


def _at_positions(b: Ints, members: Sequence[Ints]) -> Ints:
    """What belongs to each class (C, ...) at the positions of these classes."""
    for axis, classes in enumerate(members, -len(members)):
        b = b.take(classes, axis)
    return b


def _compact(ranges: Ranges, tail: Tail, firsts: Sequence[Ints]) -> Ranges:
    """Ranges with those of the tail's tensors at one position of each class."""
    values: dict[str, Arg] = dict(ranges.values)
    for node in tail.nodes:
        for value in node.outputs:
            range_ = ranges.scaled(value)
            if range_ is not None:
                values[g.name(value)] = _at(range_, firsts)
    return Ranges(values)


def _one_direction(steps: Steps, channels: int) -> tuple[Ints, Ints]:
    """Steps (C, classes, k) in the one direction of each channel (C,).

    Where a class is constant, its direction is that of the others.
    """
    signs = steps.sign.reshape(channels, -1)
    sign = signs.min(axis=1)
    turned = (signs != sign[:, None])[..., None]
    always = steps.first == steps.lowest[:, None]
    other_way = np.where(always, -steps.highest[:, None], 1 - steps.lowest[:, None])
    shape = (*signs.shape, steps.first.shape[1])
    return np.where(turned, other_way.reshape(shape), steps.first.reshape(shape)), sign


def _ends(steps: Steps, sign: Ints) -> tuple[Ints, Ints]:
    """The smallest and largest ``sign * q`` (C, classes, 1)."""
    signs = steps.sign.reshape(len(sign), -1)
    low, high = (v.reshape(signs.shape) for v in (steps.lowest, steps.highest))
    turned = signs != sign[:, None]
    return np.where(turned, -high, low)[..., None], np.where(turned, -low, high)[..., None]


def _offsets(first: Ints, lowest: Ints, highest: Ints) -> tuple[int, Ints]:
    """The smallest D for which there are offsets b (C, classes), and these."""
    classes = first.shape[1]
    below = np.where(first > lowest, first - 1, -_NONE)  # (C, i, k)
    above = np.where(first <= highest, first, _NONE)
    # b_i - b_j < D * slack[i, j] for all steps
    slack = (above[:, None] - below[:, :, None]).min(axis=3)
    slack = np.where(np.eye(classes, dtype=bool), 1, slack)
    for d in range(1, classes + 1):
        distance = np.where(slack >= _NONE // 2, _NONE, d * slack - 1)
        for k in range(classes):
            through = distance[:, :, k, None] + distance[:, None, k]
            distance = np.minimum(distance, np.minimum(through, _NONE))
        if (np.diagonal(distance, axis1=1, axis2=2) >= 0).all():
            return d, np.minimum(distance.min(axis=2), 0)
    raise AssertionError("the number of classes is enough")


def _thresholds(first: Ints, d: int, b: Ints, lowest: Ints, highest: Ints) -> Ints:
    """The smallest ``D m + b`` (C, k) above each step."""
    reached = np.where(first <= highest, d * first + b[..., None], _NONE).min(axis=1)
    never = np.where(first > lowest, d * (first - 1) + b[..., None], -_NONE).max(axis=1) + 1
    return np.asarray(np.where(reached < _NONE, reached, never))
