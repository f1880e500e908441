"""The integer model against the original: equal integers, and equal steps of every threshold.

Both are executed by code that is not ours (`sira.verification.oracle`), in float64, which holds
every integer of a stage. The original's integers are golden (`sira.verification.golden`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira import provenance
from sira.analysis.ranges import Analyzed, Ranges, whole_tensors
from sira.numbers.scaled import Ints, ScaledInt, Value
from sira.ops.quant import threshold_axis
from sira.verification.check import Check, compare
from sira.verification.float_execution import nearest
from sira.verification.oracle import Oracle
from sira.verification.oracle_steps import points_around, steps_between

_PAIRS = 2**18
"""About how many pairs of integers are checked behind a sum of two that has none itself."""

_NO_INTEGER = np.iinfo(np.int64).min


def check_integers(
    integer: Analyzed, executed: Oracle, ours: Mapping[str, Value], first: int = 0
) -> list[Check]:
    """Golden values ``ours`` of the original at every tensor of the ``integer`` model that has any.

    ``executed`` is the integer model's file, ``first`` the number of the first sample.
    """
    sent = provenance.of(integer.input).origin_in(ours)
    assert sent is not None
    x = ours[sent]
    assert isinstance(x, ScaledInt)
    compared = {}
    outputs = set(integer.model.graph.outputs)
    for value in whole_tensors(integer):
        if value in outputs:  # a real number for the host, by chance an integer
            continue
        origin = provenance.of(value).origin_in(ours)
        if origin is not None and isinstance(golden := ours[origin], ScaledInt):
            compared[g.name(value)] = value, origin, golden
    assert compared, "no tensor of the integer model has a record of what it was made for"
    found = executed.run(x.lo, compared)
    return [
        compare(
            f"integer model against golden at {name}",
            _flat(provenance.of(value).restored(_integers(found[name]), origin)),
            _flat(provenance.of(value).left(golden.lo)),
            first=first,
        )
        for name, (value, origin, golden) in compared.items()
    ]


def _flat(q: Ints) -> Ints:
    """(samples, *shape) as (samples, elements)."""
    return q.reshape(len(q), -1)


def _integers(values: NDArray[np.float64]) -> Ints:
    """As integers; what is none becomes one that nothing equals."""
    q = np.rint(values)
    return np.where(q == values, q, _NO_INTEGER).astype(np.int64)


def check_steps(
    integer: Analyzed, executed: Oracle, original: Analyzed, oracle: Oracle
) -> tuple[list[Check], int]:
    """Each threshold of each channel: the original tail steps between T - 1 and T, and only there.

    Compared are what a MultiThreshold node of the ``integer`` model counts and what the original
    makes of the same integers: at both ends of the range, on both sides of every
    reachable threshold, and at every integer of a small range. Returns the checks and the number of
    reachable thresholds.
    """
    values = {g.name(v): v for n in original.model.graph for v in n.outputs}
    values |= {g.name(v): v for v in original.model.graph.inputs}
    checks, reachable = [], 0
    for node in integer.model.graph:
        if node.op_type == "MultiThreshold" and g.dynamic_inputs(node):
            check, count = _check_node(node, executed, values, original.ranges, oracle)
            checks.append(check)
            reachable += count
    return checks, reachable


def _check_node(
    node: ir.Node, executed: Oracle, values: Mapping[str, ir.Value], ranges: Ranges, oracle: Oracle
) -> tuple[Check, int]:
    counted, result = node.inputs[0], node.outputs[0]
    thresholds = g.array(node.inputs[1])
    assert counted is not None and thresholds is not None
    sink = _original(result, values, ranges)
    assert sink is not None, f"{g.describe(node)} counts what the original does not have"
    axis = threshold_axis(node)
    term = _term(counted, values, ranges)
    if isinstance(term, _Sum):
        return _check_sum(node, term, sink, axis, executed, ranges, oracle)
    steps = steps_between(term.value, sink, axis, ranges, (term.factor, term.offset))
    record = provenance.of(result)
    channels = np.arange(steps.channels) if record.channels is None else record.channels
    a, b = steps.arranged(term.factor), steps.arranged(term.offset)
    lo, hi = steps.lo[channels], steps.hi[channels]  # (C, K)
    points, reachable = points_around(_far_sides(thresholds.astype(np.int64), a, b), lo, hi)
    everywhere = np.tile(steps.lo, (len(points), 1, 1))  # other channels stay where they are
    everywhere[:, channels] = points
    wanted = steps.execute(oracle, everywhere)[:, channels]
    q = (a * points + b).astype(np.float64)
    counts = executed.run_tail(g.name(counted), g.name(result), steps.placed(q))
    found = _integers(steps.taken(counts)) + record.shift[:, None]
    return _compared(node, found, wanted), reachable


def _compared(node: ir.Node, found: Ints, wanted: Ints) -> Check:
    name = f"thresholds of {g.label(node)} against float64"
    rows = len(found), -1
    return compare(name, found.reshape(rows), wanted.reshape(rows), oracle=True)


@dataclass(frozen=True, eq=False)
class _Term:
    """``factor`` times the integers of a tensor of the original, plus ``offset``."""

    value: ir.Value
    factor: Ints
    offset: Ints


@dataclass(frozen=True, eq=False)
class _Sum:
    """``factor`` times the sum of two operands, plus ``offset``."""

    one: _Term
    two: _Term
    factor: Ints
    offset: Ints


def _original(value: ir.Value, values: Mapping[str, ir.Value], ranges: Ranges) -> ir.Value | None:
    """The tensor of the original whose integers, up to their sign, ``value`` has."""
    found = (values[o] for o in provenance.of(value).origins if o in values)
    return next((v for v in found if ranges.scaled(v) is not None), None)


def _term(value: ir.Value, values: Mapping[str, ir.Value], ranges: Ranges) -> _Term | _Sum:
    """What a tensor of the integer model is in integers of the original ``values``."""
    chain: list[tuple[str, Ints]] = []
    while (original := _original(value, values, ranges)) is None:
        node = value.producer()
        assert node is not None and node.op_type in ("Mul", "Add"), g.name(value)
        operands = g.dynamic_inputs(node)
        if len(operands) == 2:
            one, two = (_term(v, values, ranges) for v in operands)
            assert node.op_type == "Add" and isinstance(one, _Term) and isinstance(two, _Term)
            return _Sum(one, two, *_collapsed(chain))
        (constant,) = (c for v in node.inputs if (c := g.array(v)) is not None)
        chain.append((node.op_type, constant.astype(np.int64)))
        (value,) = operands
    a, b = _collapsed(chain)
    record = provenance.of(value)
    sign = record.sign(g.name(original))
    sign = np.where(sign == 0, 1, sign)  # the original is constant there
    return _Term(original, a * sign, b - a * record.column(record.shift))


def _collapsed(chain: Sequence[tuple[str, Ints]]) -> tuple[Ints, Ints]:
    """Factor and offset of multiplications and additions, the last one first."""
    a, b = np.ones((), np.int64), np.zeros((), np.int64)
    for op, c in reversed(chain):
        a, b = (a * c, b * c) if op == "Mul" else (a, b + c)
    return a, b


def _check_sum(
    node: ir.Node,
    plane: _Sum,
    sink: ir.Value,
    axis: int,
    executed: Oracle,
    ranges: Ranges,
    oracle: Oracle,
) -> tuple[Check, int]:
    """The steps along the second operand, for each of some values of the first.

    All of them, where they are few.
    """
    thresholds = g.array(node.inputs[1])
    assert thresholds is not None
    one, two = (
        steps_between(t.value, sink, axis, ranges, (t.factor, t.offset, plane.offset))
        for t in (plane.one, plane.two)
    )
    one, two = one.widest(), two.widest()
    a, b = one.arranged(plane.factor), one.arranged(plane.offset)
    a1, a2 = a * one.arranged(plane.one.factor), a * two.arranged(plane.two.factor)
    b = b + a * (one.arranged(plane.one.offset) + two.arranged(plane.two.offset))
    full = np.broadcast_shapes(*(x.shape for x in (one.lo, two.lo, a1, a2, b)))
    lo, hi = (np.broadcast_to(x, full) for x in (two.lo, two.hi))
    span, size = int((one.hi - one.lo).max()), 2 * thresholds.shape[1] * full[0]
    lines = np.linspace(0, span, min(span + 1, max(_PAIRS // size, 3))).astype(np.int64)
    pairs, reached = [], np.zeros((), bool)
    for line in np.unique(lines):
        p1 = np.minimum(one.lo + line, one.hi)
        steps = _far_sides(thresholds.astype(np.int64), a2, b + a1 * p1)
        p2, _ = points_around(np.broadcast_to(steps, (*full, steps.shape[-1])), lo, hi)
        reached = reached | ((steps > lo[..., None]) & (steps <= hi[..., None]))
        pairs.append((np.broadcast_to(p1, p2.shape), p2))
    q1, q2 = (np.concatenate(side) for side in zip(*pairs, strict=True))
    reals = {g.name(s.start): s.placed(s.reals(q)) for s, q in ((one, q1), (two, q2))}
    wanted = nearest(two.taken(oracle.run_between(reals, g.name(sink))), two.target)
    counted, result = node.inputs[0], node.outputs[0]
    assert counted is not None
    q = (a1 * q1 + a2 * q2 + b).astype(np.float64)
    found = _integers(two.taken(executed.run_tail(g.name(counted), g.name(result), two.placed(q))))
    return _compared(node, found, np.broadcast_to(wanted, found.shape)), int(reached.sum())


def _far_sides(thresholds: Ints, a: Ints, b: Ints) -> Ints:
    """The first integers q (C, K, n), in the order of q, on the far side of ``a q + b >= T``."""
    a, b, t = a[..., None], b[..., None], thresholds[:, None]
    assert (a != 0).all()
    # a q + b >= t holds from ceil((t - b) / a) on, or up to floor((t - b) / a)
    return np.where(a > 0, -((b - t) // a), (t - b) // a + 1)
