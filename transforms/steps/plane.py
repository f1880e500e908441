"""Sums of two integers whose scales are in no ratio of small integers, in front of quantizers.

``f(s1 p1 + s2 p2 + b)`` with a monotone f that ends in a quantizer is a staircase over a plane. It
is the same staircase over ``a1 p1 + a2 p2`` with small integers a1, a2 if these still separate all
pairs (p1, p2) below a step from those above it. With r = a1 / a2 that takes
``r (p1' - p1) + (p2' - p2) > 0`` for each pair below and each pair above (primed): an open interval
of r. The true ratio s1 / s2 lies in it, and the simplest fraction in it is the answer. Its ends
have denominators and numerators up to the spans of p1 and p2, so that a1 and a2 are at most twice
the span of the other operand. Cutting planes find it: a fraction that mixes up two pairs yields a
bound that excludes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import Tail, decide, evaluate, find_tail
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Arg, rule_of
from sira.ops.base import numbers
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph
from transforms.steps.staircase import MAX_LEVELS, Staircase, varying_axis

_MAX_PAIRS = 2**22
"""Pairs of integers, of all channels together, that are tried."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A sum ``core = a1 p1 + a2 p2`` of multiples of two integers, and its readers' steps on it."""

    core: ir.Value
    steps: dict[ir.Value, Staircase]


@dataclass(frozen=True, eq=False)
class _Operand:
    """One operand: p in [lo, hi] (C,) is ``sign`` times the integer of ``value``.

    ``root`` is the nearest tensor before it whose scale and bias are rational, and ``turn`` the
    sign of the integers of ``value`` to those of ``root``, 0 where they do not depend on it.
    """

    value: ir.Value
    sign: int
    lo: Ints
    hi: Ints
    root: ir.Value
    turn: Ints


@dataclass(frozen=True, eq=False)
class _PlaneSteps:
    """Where a quantizer steps. Its integer, times ``sign`` (C,), rises with p1 and p2.

    ``first[c, k, i]`` counts the p2, from the smallest, at which step k is not reached with the
    i-th p1.
    """

    first: Ints
    sign: Ints
    base: int


def is_plane(ranges: Ranges, value: ir.Value) -> bool:
    """Whether ``value`` is a sum or difference of two tensors of integers, but has none itself."""
    node = value.producer()
    if node is None or node.op_type not in ("Add", "Sub") or ranges.scaled(value) is not None:
        return False
    inputs = g.dynamic_inputs(node)
    return len(set(inputs)) == 2 and all(ranges.scaled(v) is not None for v in inputs)


def build_plane(graph: IntegerGraph, value: ir.Value) -> Plane:
    """The sum in hardware for a tensor that `is_plane`, and the steps of the quantizers behind."""
    node, ranges, rank = value.producer(), graph.ranges, len(g.shape(value))
    assert node is not None
    tails = [find_tail(sink) for sink in _sinks(value)]
    axis, channels = _channels(ranges, node, tails)
    operands = [_operand(ranges, node, i, axis - rank, channels) for i in (0, 1)]
    one, two = operands
    column = (channels,) + (1,) * (rank - 1 - axis)
    found = [_steps(ranges, tail, node, (one, two), column) for tail in tails]
    scales = [graph.scaled(o.value).scale for o in operands]
    if all(np.prod(s.shape) == 1 for s in scales):  # one ratio for all channels
        multiples = np.array([_multiples(node, found, one, two, range(channels))] * channels)
    else:
        multiples = np.array([_multiples(node, found, one, two, [c]) for c in range(channels)])
    steps = {
        tail.sink: _staircase(s, one, two, multiples, axis)
        for tail, s in zip(tails, found, strict=True)
    }
    return Plane(_core(graph, node, operands, multiples, column), steps)


def _sinks(value: ir.Value) -> list[ir.Value]:
    """The quantizers whose tails begin at ``value``; in a chain of them, the last."""
    found: list[ir.Value] = []
    pending, seen = list(g.consumers(value)), set()
    while pending:
        node = pending.pop(0)
        if node in seen or rule_of(node).kind not in ("elementwise", "quantizer"):
            continue
        seen.add(node)
        output = node.outputs[0]
        if rule_of(node).kind == "quantizer" and find_tail(output).source is value:
            found.append(output)
        pending += g.consumers(output)
    inner = {n.outputs[0] for v in found for n in find_tail(v).nodes[:-1]}
    return [v for v in found if v not in inner or len(set(g.consumers(v))) > 1]


def _channels(ranges: Ranges, node: ir.Node, tails: Sequence[Tail]) -> tuple[int, int]:
    """The axis along which the sum and the functions behind it differ, and the channels there."""
    rank = len(g.shape(node.outputs[0]))
    shapes: list[tuple[int, ...]] = [(1,)]
    for value in g.dynamic_inputs(node):
        own = ranges.scaled(value)
        assert own is not None
        shapes += [own.scale.shape, own.bias.shape]
    shapes += [evaluate(tail, ranges, Interval.point(0.0)).shape for tail in tails]
    shape = np.broadcast_shapes(*shapes)
    error = SiraError(
        "the multiples of a sum must not differ within a channel",
        where=g.describe(node),
        expected="operands and thresholds for each tensor or each channel",
        found=f"values of shape {tuple(shape)} for {g.shape(node.outputs[0])}",
        remedy="quantize the operands of the sum",
    )
    return varying_axis(shape, rank, error)


def _operand(ranges: Ranges, node: ir.Node, index: int, axis: int, channels: int) -> _Operand:
    value = node.inputs[index]
    assert value is not None
    own = ranges.scaled(value)
    assert own is not None
    sign = -1 if node.op_type == "Sub" and index == 1 else 1
    lo, hi = (_worst(q, axis, channels, f) for q, f in ((own.lo, np.min), (own.hi, np.max)))
    root, turn = value, np.asarray(1)
    while not (isinstance(own.scale, Exact) and isinstance(own.bias, Exact)):
        producer = root.producer()
        rule = None if producer is None else rule_of(producer)
        slope = (
            rule.slope(producer, ranges.arguments(producer))
            if producer and rule and rule.slope
            else None
        )
        before = ranges.scaled(g.dynamic_inputs(producer)[0]) if producer else None
        assert producer is not None and slope is not None and before is not None
        root, turn, own = g.dynamic_inputs(producer)[0], turn * slope, before
    return _Operand(value, sign, lo if sign > 0 else -hi, hi if sign > 0 else -lo, root, turn)


def _worst(bound: Ints, axis: int, channels: int, f: Callable[..., Ints]) -> Ints:
    """The worst bound of each channel (C,); ``axis`` counts from the end."""
    a = bound.reshape((1,) * (-axis - bound.ndim) + bound.shape)
    others = None if channels == 1 else tuple(i for i in range(a.ndim) if i != a.ndim + axis)
    return np.broadcast_to(f(a, axis=others), (channels,))


def _steps(
    ranges: Ranges,
    tail: Tail,
    node: ir.Node,
    operands: tuple[_Operand, _Operand],
    column: tuple[int, ...],
) -> _PlaneSteps:
    """The steps of a quantizer, found by trying all pairs."""
    sizes = [int((o.hi - o.lo).max()) + 1 for o in operands]
    pairs = sizes[0] * sizes[1] * len(operands[0].lo)
    if pairs > _MAX_PAIRS:
        raise _refused(node, f"up to {_MAX_PAIRS} pairs of integers", str(pairs))
    grids = np.meshgrid(*map(np.arange, sizes), indexing="ij")
    p = [
        np.minimum(grid.reshape(-1, 1) + o.lo, o.hi)
        for grid, o in zip(grids, operands, strict=True)
    ]
    levels = _levels(ranges, tail, node, operands, p, column).reshape(*sizes, -1)
    sign = np.where(levels[-1, -1] < levels[0, 0], -1, 1)
    rising = levels * sign
    if (np.diff(rising, axis=0) < 0).any() or (np.diff(rising, axis=1) < 0).any():
        raise SiraError(
            "the function between a sum and a quantizer is not monotone",
            where=g.describe(node),
            expected="a function that rises or falls",
            remedy="use a monotone activation (Relu, LeakyRelu, Sigmoid, Tanh, Clip)",
        )
    base, top = int(levels.min()), int(levels.max())
    if top - base > MAX_LEVELS:
        raise _refused(node, f"up to {MAX_LEVELS} levels of the quantizer", str(top - base))
    k = np.arange(base + 1, max(top, base + 1) + 1)
    reached = np.where(sign[:, None] > 0, k, 1 - k)  # (C, k): falling levels below k
    first = [(rising < reached[:, i]).sum(axis=1).T for i in range(len(k))]  # each (C, p1)
    return _PlaneSteps(np.stack(first, axis=1), sign, base)


def _levels(
    ranges: Ranges,
    tail: Tail,
    node: ir.Node,
    operands: tuple[_Operand, _Operand],
    p: list[Ints],
    column: tuple[int, ...],
) -> Ints:
    """The quantizer's integers for pairs (P, C) of p1 and p2."""
    rank = len(g.shape(node.outputs[0]))
    known: dict[str, Arg] = {}
    arguments: list[Arg | None] = []
    for o, each in zip(operands, p, strict=True):
        q = (each * o.sign).reshape((-1,) + (1,) * (rank - len(column)) + column)
        own, root = ranges.scaled(o.value), ranges.scaled(o.root)
        assert own is not None and root is not None
        arguments.append(ScaledInt(q, q, own.scale, own.bias))
        at_root = np.where(o.turn == 0, root.lo, q * o.turn)
        known[g.name(o.root)] = ScaledInt(at_root, at_root, root.scale, root.bias)
    total = numbers(rule_of(node).evaluate(node, arguments)[0])
    assert isinstance(total, Interval)
    shape = np.broadcast_shapes(total.shape, arguments[0].shape)  # type: ignore[union-attr]
    return decide(tail, ranges, total.map(lambda a: np.broadcast_to(a, shape)), known)


def _multiples(
    node: ir.Node,
    found: Sequence[_PlaneSteps],
    one: _Operand,
    two: _Operand,
    channels: Sequence[int] | range,
) -> tuple[int, int]:
    """The smallest (a1, a2) that keep every step of every quantizer in ``channels``."""
    low, high = Fraction(0), None
    while True:
        ratio = _simplest(low, high)
        a = ratio.numerator, ratio.denominator
        bounds = [b for s in found for c in channels for b in _mixed_up(s, one, two, c, a)]
        if not bounds:
            return a
        low = max([low, *(b for b, is_lower in bounds if is_lower)])
        uppers = [b for b, is_lower in bounds if not is_lower]
        high = min(uppers if high is None else [high, *uppers], default=None)
        assert high is None or low < high, "the true ratio lies between the bounds"


def _mixed_up(
    s: _PlaneSteps, one: _Operand, two: _Operand, c: int, a: tuple[int, int]
) -> list[tuple[Fraction, bool]]:
    """Bounds of a1 / a2 from steps that ``a`` does not keep, and whether each is a lower one."""
    p1, below, above, has_below, has_above = _borders(s, one, two, c)
    lower = np.where(has_below, a[0] * p1 + a[1] * below, np.iinfo(np.int64).min)
    upper = np.where(has_above, a[0] * p1 + a[1] * above, np.iinfo(np.int64).max)
    i, j = lower.argmax(axis=1), upper.argmin(axis=1)
    bounds = []
    for k in np.flatnonzero(lower.max(axis=1) >= upper.min(axis=1)):
        across = int(p1[j[k]] - p1[i[k]])
        bounds.append((Fraction(int(below[k, i[k]] - above[k, j[k]]), across), across > 0))
    return bounds


def _borders(
    s: _PlaneSteps, one: _Operand, two: _Operand, c: int
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """p1 (i,); and for each step k and p1 the largest p2 below it and the smallest above (k, i).

    The last two say where there are such.
    """
    first, size = s.first[c], int(two.hi[c] - two.lo[c]) + 1
    p1 = np.minimum(one.lo[c] + np.arange(first.shape[1]), one.hi[c])
    below, above = two.lo[c] + np.minimum(first, size) - 1, two.lo[c] + first
    return p1, below, above, first > 0, first < size


def _simplest(low: Fraction, high: Fraction | None) -> Fraction:
    """The fraction of smallest terms between two bounds, which it does not attain."""
    floor = low.numerator // low.denominator
    if high is None or floor + 1 < high:
        return Fraction(floor + 1)
    rest = _simplest(1 / (high - floor), 1 / (low - floor) if low != floor else None)
    return floor + 1 / rest


def _staircase(
    s: _PlaneSteps, one: _Operand, two: _Operand, multiples: Ints, axis: int
) -> Staircase:
    """The steps on ``a1 p1 + a2 p2``: the smallest sum above each."""
    rows = []
    for c, a in enumerate(multiples):
        p1, below, above, has_below, has_above = _borders(s, one, two, c)
        never = (np.where(has_below, a[0] * p1 + a[1] * below, np.iinfo(np.int64).min)).max(axis=1)
        sums = np.where(has_above, a[0] * p1 + a[1] * above, np.iinfo(np.int64).max).min(axis=1)
        steps = np.where(has_above.any(axis=1), sums, never + 1)
        rows.append(steps if s.sign[c] > 0 else 1 - steps)
    return Staircase(np.stack(rows), s.sign, s.base, axis)


def _core(
    graph: IntegerGraph,
    node: ir.Node,
    operands: Sequence[_Operand],
    multiples: Ints,
    column: tuple[int, ...],
) -> ir.Value:
    b, value = graph.b, node.outputs[0]
    name = f"{g.name(value)}_plane"  # its integers are not those of the value, which has none
    terms = []
    for o, a, side in zip(operands, multiples.T, ("left", "right"), strict=True):
        u, sign = graph.signed_core(o.value)
        factor = np.asarray((a if (a != a[0]).any() else a[:1]).reshape(
            column if (a != a[0]).any() else ()) * o.sign * sign)  # fmt: skip
        if (factor != 1).any():
            constant = b.constant(f"{name}_{side}_multiple", as_floats(factor))
            u = b.node("Mul", [u, constant], f"{name}_{side}", g.shape(o.value))
        terms.append(u)
    return b.node("Add", terms, name, g.shape(value), name=node.name)


def _refused(node: ir.Node, expected: str, found: str) -> SiraError:
    return SiraError(
        "the scales of a sum are in no ratio of small integers, and its integers are too many",
        where=g.describe(node),
        expected=f"{expected} in front of a quantizer",
        found=found,
        remedy="quantize both operands with one scale, or with scales in a small ratio",
    )
