"""The integer model against the original: equal integers, and equal steps of every threshold.

Both are executed by code that is not ours (`sira.verification.oracle`), in float64, which holds
every integer of a stage. The original's integers are golden (`sira.verification.golden`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.exact import Exact
from sira.numbers.scaled import Ints, ScaledInt, Value
from sira.verification.check import Check, compare
from sira.verification.float_execution import flat, nearest
from sira.verification.oracle import Oracle
from sira.verification.oracle_steps import integer_start, points_around, steps_between
from transforms.constant_channels import kept_channels, shift_of

_PAIRS = 2**18
"""About how many pairs of integers are checked behind a sum of two that has none itself."""

_NO_INTEGER = np.iinfo(np.int64).min


def original_name(tensor: str, names: Container[str]) -> str:
    """What a tensor of the integer graph is called in the graph it was built from."""
    return tensor if tensor in names else tensor.removesuffix("_integers")


def check_integers(
    stage: ir.Model,
    ranges: Ranges,
    executed: Oracle,
    ours: Mapping[str, Value],
    first: int = 0,
) -> list[Check]:
    """Golden values ``ours`` of the original at every tensor of an integer ``stage`` that has any.

    ``ranges`` are those of the stage, ``executed`` is its file, ``first`` the number of the first
    sample.
    """
    (source,) = stage.graph.inputs
    x = ours[g.name(source)]
    assert isinstance(x, ScaledInt)
    compared = {}
    for value in _integers(stage, ranges):
        golden = ours.get(original_name(g.name(value), ours))
        if isinstance(golden, ScaledInt):
            compared[g.name(value)] = value, golden
    found = executed.run(x.lo, compared)
    return [
        compare(
            f"integer model against golden at {name}",
            _whole(found[name]).reshape(len(x.lo), -1),
            flat(_remaining(golden, value)),
            first=first,
        )
        for name, (value, golden) in compared.items()
    ]


def _integers(stage: ir.Model, ranges: Ranges) -> list[ir.Value]:
    """Tensors that are computed from integers alone; the host's real numbers lie behind them."""
    found = set(stage.graph.inputs)
    for node in stage.graph:
        if found.issuperset(g.dynamic_inputs(node)):
            found.update(v for v in node.outputs if _is_whole(ranges.values.get(g.name(v))))
    outputs = set(stage.graph.outputs)
    return [v for n in stage.graph for v in n.outputs if v in found and v not in outputs]


def _is_whole(range_: object) -> bool:
    return isinstance(range_, ScaledInt) and all(
        isinstance(x, Exact) and all(f.denominator == 1 for f in x.values.ravel())
        for x in (range_.scale, range_.bias)
    )


def _remaining(golden: ScaledInt, value: ir.Value) -> ScaledInt:
    """Golden integers as the stage has them: less constant channels, and shifted."""
    kept, shift, q = kept_channels(value), shift_of(value), golden.lo
    shape = g.shape(value)
    axis = len(shape) - 1
    if kept is not None:
        axis = next(i for i, (a, b) in enumerate(zip(q.shape[1:], shape, strict=True)) if a != b)
        q = np.take(q, kept, axis + 1)
    if shift.size > 1:
        shift = shift.reshape((-1,) + (1,) * (len(shape) - 1 - axis))
    return ScaledInt(q - shift, q - shift, golden.scale, golden.bias)


def _whole(values: NDArray[np.float64]) -> Ints:
    """As integers; what is none becomes one that nothing equals."""
    q = np.rint(values)
    return np.where(q == values, q, _NO_INTEGER).astype(np.int64)


def check_steps(
    stage: ir.Model, executed: Oracle, original: ir.Model, ranges: Ranges, oracle: Oracle
) -> tuple[list[Check], int]:
    """Each threshold of each channel: the original tail steps between T - 1 and T, and only there.

    Compared are what a MultiThreshold node of the ``stage`` counts and what the original, with its
    ``ranges``, makes of the same integers: at both ends of the range, on both sides of every
    reachable threshold, and at every integer of a small range. Returns the checks and the number of
    reachable thresholds.
    """
    values = {g.name(v): v for n in original.graph for v in n.outputs}
    values |= {g.name(v): v for v in original.graph.inputs}
    checks, reachable = [], 0
    for node in stage.graph:
        if node.op_type == "MultiThreshold" and g.dynamic_inputs(node):
            check, count = _check_node(node, executed, values, ranges, oracle)
            checks.append(check)
            reachable += count
    return checks, reachable


def _check_node(
    node: ir.Node, executed: Oracle, values: Mapping[str, ir.Value], ranges: Ranges, oracle: Oracle
) -> tuple[Check, int]:
    counted, result = node.inputs[0], node.outputs[0]
    thresholds = g.array(node.inputs[1])
    assert counted is not None and thresholds is not None
    sink = values[original_name(g.name(result), values)]
    layout = g.attribute(node, "data_layout", "")
    axis = layout.index("C") if layout else min(1, len(g.shape(result)) - 1)
    source, factor, offset = _affine(counted, values)
    if (terms := _terms(source, values, ranges)) is not None:
        plane = _Plane(*terms, factor, offset, axis)
        return _check_plane(node, plane, sink, executed, ranges, oracle)
    start = values.get(original_name(g.name(source), values))
    if start is None or ranges.scaled(start) is None:  # only the canonical form has this tensor
        start = integer_start(sink, ranges)
    steps = steps_between(start, sink, axis, ranges, (factor, offset))
    kept, shift = kept_channels(source), shift_of(source)[:, None]
    channels = np.arange(steps.channels) if kept is None else kept
    a, b = (steps.arranged(x) for x in (factor, offset))
    lo, hi = steps.lo[channels] - shift, steps.hi[channels] - shift  # (C, K)
    points, reachable = points_around(_far_sides(thresholds.astype(np.int64), a, b), lo, hi)
    everywhere = np.tile(steps.lo, (len(points), 1, 1))  # other channels stay where they are
    everywhere[:, channels] = points + shift
    wanted = steps.execute(oracle, everywhere)[:, channels]
    q = (a * points + b).astype(np.float64)
    counts = executed.run_tail(g.name(counted), g.name(result), steps.placed(q))
    found = _whole(steps.taken(counts)) + shift_of(result)[:, None]
    return _compared(node, found, wanted), reachable


def _compared(node: ir.Node, found: Ints, wanted: Ints) -> Check:
    name = f"thresholds of {g.label(node)} against float64"
    rows = len(found), -1
    return compare(name, found.reshape(rows), wanted.reshape(rows), oracle=True)


@dataclass(frozen=True, eq=False)
class _Term:
    """One operand of a sum: ``factor`` times the integers of ``value``, plus ``offset``."""

    value: ir.Value
    factor: Ints
    offset: Ints


@dataclass(frozen=True, eq=False)
class _Plane:
    """What is counted: ``factor`` times the sum of two operands, plus ``offset``."""

    one: _Term
    two: _Term
    factor: Ints
    offset: Ints
    axis: int


def _terms(
    source: ir.Value, values: Mapping[str, ir.Value], ranges: Ranges
) -> tuple[_Term, _Term] | None:
    """The operands of a sum that has integers in this model but none in the original."""
    node = source.producer()
    known = values.get(original_name(g.name(source), values))
    if known is not None or node is None or node.op_type != "Add":
        return None
    operands = g.dynamic_inputs(node)
    if len(operands) != 2:
        return None
    terms = []
    for operand in operands:
        value, factor, offset = _affine(operand, values)
        original = values.get(original_name(g.name(value), values))
        if original is None or ranges.scaled(original) is None:
            return None
        terms.append(_Term(original, factor, offset))
    return terms[0], terms[1]


def _check_plane(
    node: ir.Node, plane: _Plane, sink: ir.Value, executed: Oracle, ranges: Ranges, oracle: Oracle
) -> tuple[Check, int]:
    """The steps along the second operand, for each of some values of the first.

    All of them, where they are few.
    """
    thresholds = g.array(node.inputs[1])
    assert thresholds is not None
    one, two = (
        steps_between(t.value, sink, plane.axis, ranges, (t.factor, t.offset, plane.offset))
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
    found = _whole(two.taken(executed.run_tail(g.name(counted), g.name(result), two.placed(q))))
    return _compared(node, found, np.broadcast_to(wanted, found.shape)), int(reached.sum())


def _affine(value: ir.Value, known: Container[str]) -> tuple[ir.Value, Ints, Ints]:
    """A tensor of the original and integers a, b such that ``value`` is a times it plus b."""
    chain: list[tuple[str, Ints]] = []
    while original_name(g.name(value), known) not in known:
        node = value.producer()
        if node is None or node.op_type not in ("Mul", "Add"):
            break
        constants = [c for v in node.inputs if (c := g.array(v)) is not None]
        if len(constants) != 1:
            break
        chain.append((node.op_type, constants[0].astype(np.int64)))
        (value,) = g.dynamic_inputs(node)
    a, b = np.ones((), np.int64), np.zeros((), np.int64)
    for op, c in reversed(chain):
        a, b = (a * c, b * c) if op == "Mul" else (a, b + c)
    return value, a, b


def _far_sides(thresholds: Ints, a: Ints, b: Ints) -> Ints:
    """The first integers q (C, K, n), in the order of q, on the far side of ``a q + b >= T``."""
    a, b, t = a[..., None], b[..., None], thresholds[:, None]
    assert (a != 0).all()
    # a q + b >= t holds from ceil((t - b) / a) on, or up to floor((t - b) / a)
    return np.where(a > 0, -((b - t) // a), (t - b) // a + 1)
