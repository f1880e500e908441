"""FloatTail of the original tails in float64, executed by code that is not ours.

Samples touch few of the thresholds of a layer; here the tail in front of a quantizer is executed on
chosen integers, on both sides of every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.exact import Exact
from sira.numbers.scaled import Ints, ScaledInt
from sira.verification import golden
from sira.verification.float_execution import nearest
from sira.verification.oracle import Oracle

_EVERY_INTEGER = 256
"""Ranges up to this size are checked at every integer, not only around the thresholds."""

_CHUNK = 2**18
"""Elements of a tail that are evaluated at once."""


@dataclass(frozen=True, eq=False)
class FloatTail:
    """The original tail between an integer tensor and a quantizer's output, in float64.

    Elements are arranged (C, K): channels along ``axis``, and places, one for each way in which
    scale, bias and bounds differ between the positions of a channel (K is 1 but for convolutions
    whose padding is off the lattice). ``lo`` and ``hi`` are the bounds of the source.
    """

    start: ir.Value
    sink: ir.Value
    axis: int
    places: Ints  # (K,) positions, counted along all axes but ``axis``
    lo: Ints
    hi: Ints
    source: ScaledInt
    target: ScaledInt

    @property
    def channels(self) -> int:
        return len(self.lo)

    def execute(self, oracle: Oracle, q: Ints) -> Ints:
        """The integers (P, C, K) at the sink for integers ``q`` (P, C, K) at the source."""
        chunk = max(_CHUNK // max(q[0].size, 1), 1)
        parts = [self._execute(oracle, q[i : i + chunk]) for i in range(0, len(q), chunk)]
        return np.concatenate(parts)

    def _execute(self, oracle: Oracle, q: Ints) -> Ints:
        reals = self.placed(self.reals(q))
        found = oracle.run_tail(g.name(self.start), g.name(self.sink), reals)
        return nearest(self.taken(found), self.target)

    def reals(self, q: Ints) -> NDArray[np.float64]:
        """The real numbers of integers ``q`` (P, C, K) at the source."""
        return golden.decode(ScaledInt(q, q, self.source.scale, self.source.bias), q)

    def placed(self, values: NDArray[Any]) -> NDArray[Any]:
        """(P, C, K) as (P, *shape of the tensor), but with only K positions, along one axis."""
        rank = len(g.shape(self.start))
        if rank == 1:
            return values[..., 0]
        p, c, k = values.shape
        shape = [1] * rank
        shape[self.axis] = c
        shape[self._places_axis] = k
        if self._places_axis < self.axis:
            values = np.moveaxis(values, 2, 1)
        return values.reshape(p, *shape)

    def taken(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `placed`."""
        if values.ndim == 2:
            return values[..., None]
        moved = np.moveaxis(values, (self.axis + 1, self._places_axis + 1), (-2, -1))
        return moved.reshape(len(values), *moved.shape[-2:])

    def arranged(self, a: Ints) -> Ints:
        """An array that broadcasts to the source's tensor as (C or 1, K or 1)."""
        return _at(_by_channel(a, g.shape(self.start), self.axis), self.places)

    def widest(self) -> FloatTail:
        """With one place for all, where no more than the bounds differ between them."""
        lo, hi = self.lo.min(axis=1, keepdims=True), self.hi.max(axis=1, keepdims=True)
        source, target = (r.map(lambda a: a[:, :1]) for r in (self.source, self.target))
        return replace(self, places=self.places[:1], lo=lo, hi=hi, source=source, target=target)

    @property
    def _places_axis(self) -> int:
        """The last axis that is not the channels'."""
        rank = len(g.shape(self.start))
        return rank - 1 if self.axis != rank - 1 else rank - 2


def steps_between(
    start: ir.Value, sink: ir.Value, axis: int, ranges: Ranges, also: Sequence[Ints] = ()
) -> FloatTail:
    """The tail from ``start`` to ``sink``, both of the original graph and with integers.

    Positions at which the arrays of ``also``, which broadcast to ``start``, differ have places of
    their own.
    """
    source, target = ranges.scaled(start), ranges.scaled(sink)
    assert source is not None and target is not None
    shape = g.shape(start)
    arranged = source.map(lambda a: _by_channel(a, shape, axis))
    aimed = target.map(lambda a: _by_channel(a, g.shape(sink), axis))
    fields = [*_fields(arranged), *_fields(aimed), *(_by_channel(a, shape, axis) for a in also)]
    places = _distinct(fields)
    arranged, aimed = (r.map(lambda a: _at(a, places)) for r in (arranged, aimed))
    full = (shape[axis] if shape else 1, len(places))
    lo, hi = (np.broadcast_to(q, full) for q in (arranged.lo, arranged.hi))
    return FloatTail(start, sink, axis, places, lo, hi, arranged, aimed)


def points_around(steps: Ints, lo: Ints, hi: Ints) -> tuple[Ints, int]:
    """Integers (P, C, K) where a staircase is checked, and the number of reachable thresholds.

    ``steps`` (C, K or 1, n) are the first integers on the far side of each step, in the order of q.
    The points are both sides of each, and the ends of the range; all integers where it is small.
    """
    steps = np.broadcast_to(steps, (*lo.shape, steps.shape[-1]))  # places share their thresholds
    inside = (steps > lo[..., None]) & (steps <= hi[..., None])
    reachable = int(inside.any(axis=1).sum())
    span = int((hi - lo).max())
    if span < _EVERY_INTEGER:
        return np.minimum(lo + np.arange(span + 1)[:, None, None], hi), reachable
    around = np.concatenate([steps - 1, steps, lo[..., None], hi[..., None]], axis=-1)
    return np.moveaxis(np.clip(around, lo[..., None], hi[..., None]), -1, 0), reachable


def _by_channel(a: NDArray[Any], shape: tuple[int, ...], axis: int) -> NDArray[Any]:
    """An array that broadcasts to ``shape`` as (C or 1, positions or 1)."""
    if not shape:
        return a.reshape(1, 1)
    a = np.moveaxis(a.reshape((1,) * (len(shape) - a.ndim) + a.shape), axis, 0)
    if a[0].size > 1:
        others = (*shape[:axis], *shape[axis + 1 :])
        a = np.broadcast_to(a, (len(a), *others))
    return a.reshape(len(a), -1)


def _fields(range_: ScaledInt) -> list[NDArray[Any]]:
    reals = (range_.scale, range_.bias)
    parts = [[x.values] if isinstance(x, Exact) else [x.lo, x.hi] for x in reals]
    return [range_.lo, range_.hi, *parts[0], *parts[1]]


def _distinct(arrays: list[NDArray[Any]]) -> Ints:
    """The first position of each kind, of arrays (C or 1, positions or 1)."""
    varying = [a for a in arrays if a.shape[1] > 1]
    if not varying:
        return np.zeros(1, np.int64)
    first: dict[tuple[object, ...], int] = {}
    for i, columns in enumerate(zip(*(a.T.tolist() for a in varying), strict=True)):
        first.setdefault(tuple(map(tuple, columns)), i)
    return np.array(list(first.values()))


def _at(a: NDArray[Any], places: Ints) -> NDArray[Any]:
    return a if a.shape[1] == 1 else a[:, places]
