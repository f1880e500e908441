"""Expressions in which one tensor is used several times, such as ``x * Sigmoid(x)``.

Interval arithmetic takes the operands of a node for independent, so its range of such an expression
is too wide. Where all operands are elementwise functions of one common tensor, the expression is a
function of one number, and its range is found by branch and bound: the interval is subdivided, each
piece bounded by the operators' own rules and by the mean value form f(m) + f'(X)(X - m) (Moore,
Kearfott, Cloud, 2009, ch. 6), and only pieces that may hold an extreme value are divided further. A
piece on which f' keeps its sign has its extremes at its ends, and is done.

Any outcome encloses the range. For operators with derivatives (`OpRule.partials`) on a bounded
interval it is wider by at most 2^-28 of its width, plus the rounding of float64. Others, and
unbounded intervals, may keep some of the excess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.interval import Floats, Interval
from sira.numbers.scaled import ScaledInt, enclose
from sira.ops import Arg, Constant, apply, known, rule_of
from sira.ops.base import numbers

_MAX_NODES = 64
_MAX_ROUNDS = 64
_MAX_PIECES = 512
"""Pieces of one interval that are bounded at a time."""
_HALVINGS = 4
"""How often each piece is halved in a round, as long as rounds are cheap."""
_CHEAP = 2**12
"""Numbers of all pieces together up to which a round is cheap."""
_MAX_NUMBERS = 2**20
"""Pieces of all intervals together."""
_TOLERANCE = 2.0**-30

_UNKNOWN = Interval.everything()


@dataclass(frozen=True, eq=False)
class Composite:
    """The nodes from ``source`` (exclusive) to the last one (inclusive), in order."""

    source: ir.Value
    nodes: tuple[ir.Node, ...]


def find_composite(node: ir.Node) -> Composite | None:
    """The nearest tensor of which all operands of an elementwise node are functions, if any."""
    pending = set(g.dynamic_inputs(node))
    if len(pending) < 2 or node.graph is None:
        return None
    order = {n: i for i, n in enumerate(node.graph)}
    nodes = [node]
    while len(pending) > 1:
        latest = max(pending, key=lambda v: order.get(v.producer(), -1))  # type: ignore[arg-type]
        producer = latest.producer()
        if producer is None or len(nodes) == _MAX_NODES:
            return None
        if rule_of(producer).kind not in ("elementwise", "quantizer"):
            return None
        nodes.append(producer)
        pending.remove(latest)
        pending.update(g.dynamic_inputs(producer))
    [source] = pending
    ranks = {len(g.shape(v)) for v in (source, *(n.outputs[0] for n in nodes))}
    if len(ranks) > 1:  # the points that are evaluated at once need an axis of their own
        return None
    return Composite(source, tuple(sorted(nodes, key=lambda n: order[n])))


def refine(node: ir.Node, ranges: Mapping[str, Arg], result: Arg) -> Arg:
    """The range of the node's output where its operands depend on one tensor.

    ``result`` is the range for independent operands; ``ranges`` those of the tensors before it.
    """
    composite = find_composite(node)
    if composite is None or not isinstance(result, Interval | ScaledInt):
        return result
    source = numbers(ranges[g.name(composite.source)])
    assert isinstance(source, Interval)
    try:
        found = _branch_and_bound(_Function(composite, ranges), source)
    except SiraError:  # the function is not defined on a piece; what the rules found holds
        return result
    if isinstance(result, Interval):
        return found.intersection(Interval(result.lo, result.hi)).because(result.reason)
    q = (found - enclose(result.bias)) / enclose(result.scale)
    lo, hi = (np.where(np.abs(b) < 2.0**62, b, 0.0) for b in (np.ceil(q.lo), np.floor(q.hi)))
    return ScaledInt(
        np.where(np.abs(q.lo) < 2.0**62, np.maximum(result.lo, lo.astype(np.int64)), result.lo),
        np.where(np.abs(q.hi) < 2.0**62, np.minimum(result.hi, hi.astype(np.int64)), result.hi),
        result.scale,
        result.bias,
    )


@dataclass(frozen=True, eq=False)
class _Function:
    """A composite on boxes (boxes, *shape of the source)."""

    composite: Composite
    ranges: Mapping[str, Arg]

    @property
    def rank(self) -> int:
        return len(g.shape(self.composite.source))

    def __call__(self, x: Interval) -> Interval:
        return self._walk(x, slopes=False)[0]

    def with_slope(self, x: Interval) -> tuple[Interval, Interval]:
        """Enclosures of the values and of the slopes."""
        return self._walk(x, slopes=True)

    def _walk(self, x: Interval, slopes: bool) -> tuple[Interval, Interval]:
        values: dict[str, Arg] = {g.name(self.composite.source): x}
        of = known(values, self.ranges)
        slope: dict[ir.Value, Interval] = {self.composite.source: Interval.point(1.0)}
        for node in self.composite.nodes:
            output = node.outputs[0]
            [found, *_] = apply(node, of)
            values[g.name(output)] = found
            if not slopes:
                continue
            present = [v for v in node.inputs if v is not None]
            by = _partials(node, [_interval(of(v)) for v in present], _interval(found))
            terms = [p * slope[v] for v, p in zip(present, by, strict=True) if v in slope]
            slope[output] = terms[0]
            for term in terms[1:]:
                slope[output] = slope[output] + term
        last = self.composite.nodes[-1].outputs[0]
        return self._shaped(_interval(values[g.name(last)])), self._shaped(
            slope.get(last, _UNKNOWN)
        )

    def _shaped(self, x: Interval) -> Interval:
        """With all axes: a constant has one row for all boxes."""
        return x.map(lambda b: b.reshape((1,) * (self.rank + 1 - b.ndim) + b.shape))


def _partials(node: ir.Node, operands: Sequence[Interval], output: Interval) -> list[Interval]:
    """Enclosures of the slopes of a node's output with respect to each operand.

    Where an operator has no derivatives, they are unknown unless its output is one number.
    """
    rule = rule_of(node)
    if rule.partials is not None:
        return rule.partials(node, operands, output)
    constant = output.lo == output.hi
    slope = Interval(np.where(constant, 0.0, -np.inf), np.where(constant, 0.0, np.inf))
    return [slope] * len(operands)


def _interval(x: Arg) -> Interval:
    match x:
        case Constant():
            return x.real.interval
        case _:
            y = numbers(x)
            return y if isinstance(y, Interval) else y.interval


def _branch_and_bound(f: _Function, source: Interval) -> Interval:
    """An enclosure of the range of ``f`` over each interval of ``source``."""
    shape = (1,) * (f.rank - len(source.shape)) + source.shape
    lo, hi = (np.broadcast_to(b, source.shape).reshape(1, *shape) for b in (source.lo, source.hi))
    found = f(Interval.point(np.concatenate([lo, hi])))
    # What the extremes are at least: points at which f was evaluated.
    least, most = found.lo.min(axis=0), found.hi.max(axis=0)
    low, high = least, most  # the enclosure, of what is done
    limit = max(2, min(_MAX_PIECES, _MAX_NUMBERS // max(least.size, 1)))
    for step in range(_MAX_ROUNDS):
        for halving in range(_HALVINGS):
            if halving == 0 or 2 * len(lo) <= min(limit, _CHEAP // max(least.size, 1)):
                middle = _middle(lo, hi)
                lo, hi = np.concatenate([lo, middle]), np.concatenate([middle, hi])
        pieces = Interval(lo, hi)
        values, slopes = f.with_slope(pieces)
        centre = _middle(lo, hi)
        points = f(Interval.point(np.concatenate([lo, hi, centre])))
        count = len(lo)
        at_lo, at_hi, at_centre = (
            Interval(_rows(points.lo, i, count), _rows(points.hi, i, count)) for i in range(3)
        )
        mean_value = at_centre + slopes * (pieces - Interval.point(centre))
        monotone = (slopes.lo >= 0) | (slopes.hi <= 0)
        ends = at_lo.hull(at_hi)
        bounds = ends.where(monotone, values.intersection(mean_value))
        least = np.minimum(least, points.lo.min(axis=0))
        most = np.maximum(most, points.hi.max(axis=0))
        below, above = _slack(least, most, least), _slack(least, most, most)
        done = monotone | ((bounds.lo >= least - below) & (bounds.hi <= most + above))
        done = done | (lo == hi)
        low = np.minimum(low, np.where(done, bounds.lo, np.inf).min(axis=0))
        high = np.maximum(high, np.where(done, bounds.hi, -np.inf).max(axis=0))
        open_ = np.broadcast_to(~done, np.broadcast_shapes(done.shape, lo.shape))
        kept = int(open_.sum(axis=0).max())
        if not kept:
            break
        if 2 * kept > limit or step == _MAX_ROUNDS - 1:
            low = np.minimum(low, np.where(done, np.inf, bounds.lo).min(axis=0))
            high = np.maximum(high, np.where(done, -np.inf, bounds.hi).max(axis=0))
            break
        lo, hi = _compact(lo, open_, kept), _compact(hi, open_, kept)
    return Interval(np.minimum(low, least), np.maximum(high, most))


def _slack(least: Floats, most: Floats, bound: Floats) -> Floats:
    """How far beyond ``bound`` a piece may reach and yet be done."""
    with np.errstate(invalid="ignore", over="ignore"):
        slack = np.minimum(np.abs(bound), most - least) * _TOLERANCE + 2.0**-1000
    return np.where(np.isfinite(slack), slack, 0.0)


def _rows(a: Floats, block: int, count: int) -> Floats:
    """One of three blocks of rows; a constant output has one row for all."""
    return a if a.shape[0] == 1 else a[block * count : (block + 1) * count]


def _compact(a: Floats, open_: Any, kept: int) -> Floats:
    """The open pieces of each interval, moved to the first rows; others fill what is left."""
    order = np.argsort(~open_, axis=0, kind="stable")[:kept]
    return np.take_along_axis(np.broadcast_to(a, open_.shape), order, axis=0)


def _middle(lo: Floats, hi: Floats) -> Floats:
    """A point between, such that repeated halving soon reaches every order of magnitude."""
    top = np.finfo(float).max
    a, b = np.clip(lo, -top, top), np.clip(hi, -top, top)
    size, largest = np.minimum(np.abs(a), np.abs(b)), np.maximum(np.abs(a), np.abs(b))
    half = a / 2 + b / 2
    geometric = np.sqrt(np.maximum(size, 0.0625)) * np.sqrt(largest)
    wide = largest / 16 > np.maximum(size, 0.0625)
    one_sided = np.where(wide, np.where(a >= 0, geometric, -geometric), half)
    straddling = np.where((largest / 16 > size) | np.isinf(lo) | np.isinf(hi), 0.0, half)
    return np.clip(np.where((a < 0) & (b > 0), straddling, one_sided), a, b)
