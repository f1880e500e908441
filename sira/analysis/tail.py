"""Tails: the elementwise functions of one integer between an accumulator and a quantizer.

A tail is evaluated in float64 interval arithmetic. Where a value comes so close to a step that the
enclosure does not decide, it is evaluated again with fractions, and with enclosures of rising
precision where it is irrational; a tie is decided exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.composite import find_composite
from sira.analysis.ranges import Ranges
from sira.errors import SiraError
from sira.numbers.exact import Exact, Undecided, precision
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt, Value, rebase
from sira.ops import Arg, apply, known, rule_of

Mask = NDArray[np.bool_]

_PRECISIONS = (128, 256, 512, 1024, 4096)


@dataclass(frozen=True, eq=False)
class Tail:
    """The nodes from ``source`` (exclusive) to ``sink`` (inclusive), in order."""

    source: ir.Value
    nodes: tuple[ir.Node, ...]
    sink: ir.Value


def find_tail(sink: ir.Value, through_quantizers: bool = True) -> Tail:
    """The longest chain of elementwise nodes that ends in ``sink``.

    It starts behind the last node that is not elementwise or combines several tensors, at a graph
    input, or at a quantizer whose output something else reads too (at any quantizer unless
    ``through_quantizers``). Tensors that are functions of a common one, as in x * Sigmoid(x), count
    as one: all nodes between are links of the chain, which continues behind that tensor.
    """
    nodes: list[ir.Node] = []
    value = sink
    while (node := value.producer()) is not None:
        if rule_of(node).kind not in ("elementwise", "quantizer"):
            break
        inputs = list(dict.fromkeys(g.dynamic_inputs(node)))
        composite = find_composite(node) if len(inputs) > 1 else None
        if composite is not None and (
            through_quantizers
            or all(rule_of(n).kind == "elementwise" for n in composite.nodes[:-1])
        ):
            nodes += reversed(composite.nodes)
            value = composite.source
            continue
        if len(inputs) != 1 and nodes:
            break
        if len(inputs) != 1:
            raise SiraError(
                "an elementwise function of several computed tensors cannot become thresholds",
                where=g.describe(node),
                expected="one computed operand",
                found=", ".join(g.name(v) for v in inputs),
                remedy="there is no hardware for it yet: cut the model in front of it",
            )
        shared = len(set(g.consumers(value))) > 1
        if nodes and rule_of(node).kind == "quantizer" and (shared or not through_quantizers):
            break
        nodes.append(node)
        value = inputs[0]
    return Tail(value, tuple(reversed(nodes)), sink)


def evaluate(tail: Tail, ranges: Ranges, source: Value) -> Value:
    """The value at the sink for values at the source, in the arithmetic of ``source``."""
    values: dict[str, Arg] = {g.name(tail.source): source}
    for node in tail.nodes:
        output = node.outputs[0]
        value = apply(node, known(values, ranges.values))[0]
        if output is tail.sink or isinstance(ranges[output], Interval):
            value = settle(value, ranges[output])
        if isinstance(source, Exact) and isinstance(value, ScaledInt) and output is not tail.sink:
            value = value.exact  # a quantizer's: as integers its reals would be enclosures again
        values[g.name(output)] = value
    result = values[g.name(tail.sink)]
    assert isinstance(result, ScaledInt | Interval | Exact)
    return result


def settle(value: Arg, static: Arg) -> Arg:
    """``value`` in the form that range analysis found for its tensor.

    Rules may find more structure on single values than on a range (a Relu of a positive value is
    the identity), so values are written on the scale and bias of the range.
    """
    if isinstance(static, Interval) and isinstance(value, ScaledInt):
        return value.interval
    if (
        isinstance(static, ScaledInt)
        and isinstance(value, ScaledInt)
        and isinstance(static.scale, Exact)
        and isinstance(static.bias, Exact)
        and isinstance(value.scale, Exact)
    ):
        if value.scale is static.scale and value.bias is static.bias:
            return value
        return rebase(value, static.scale, static.bias)
    return value


def decide(
    tail: Tail, ranges: Ranges, source: Value, given: Mapping[str, Arg] | None = None
) -> Ints:
    """The integers at the sink, for points at the source; exact.

    ``source`` has a leading axis for the points that are evaluated at once. Where it is an
    enclosure, ``given`` has the points of tensors, by name, from which it follows exactly.
    """
    result = evaluate(tail, ranges, source)
    assert isinstance(result, ScaledInt)
    # Where the tail is constant, its rules may have dropped axes; the points are put back.
    shape = np.broadcast_shapes(result.lo.shape, result.hi.shape, source.shape)
    lo, hi = np.broadcast_to(result.lo, shape), np.broadcast_to(result.hi, shape)
    open_ = lo != hi
    if not open_.any():
        return lo
    decided = lo.copy()
    given = {g.name(tail.source): source} if given is None else given
    decided[open_] = _decide_exactly(tail, ranges, given, open_)
    return decided


def points(source: Value) -> int:
    """The number of points of a value: the length of its leading axis."""
    match source:
        case ScaledInt():
            return len(source.lo)
        case Interval():
            return len(source.lo)
        case Exact():
            return len(source.values)


def _decide_exactly(tail: Tail, ranges: Ranges, given: Mapping[str, Arg], open_: Mask) -> Ints:
    """The integers of the elements in ``open_``, in order."""
    rows = np.asarray(open_.reshape(len(open_), -1).any(axis=1))
    asked = np.asarray(open_[rows])
    for bits in _PRECISIONS:
        try:
            with precision(bits):
                exact = exact_value(tail.source, ranges, given, rows)
                wanted = _inverse(tail, asked, exact.shape)
                exact = Exact(np.where(wanted, exact.values, np.nan))
                result = evaluate(tail, ranges, exact)
        except Undecided:
            continue
        assert isinstance(result, ScaledInt)
        lo, hi = (np.broadcast_to(q, asked.shape)[asked] for q in (result.lo, result.hi))
        assert np.array_equal(lo, hi), "exact values leave nothing open"
        return np.asarray(lo)
    raise SiraError(
        f"a value cannot be told from a rounding tie with {_PRECISIONS[-1]} bits",
        where=f"tensor {g.name(tail.sink)}",
    )


def exact_value(value: ir.Value, ranges: Ranges, given: Mapping[str, Arg], rows: Mask) -> Exact:
    """Exact numbers of a tensor, in the selected rows of the leading axis.

    They are computed from the nearest tensors with exact points in ``given``, of which it must be
    an elementwise function.
    """
    match given.get(g.name(value)):
        case ScaledInt(scale=Exact(), bias=Exact()) as found:
            q = found.lo[rows]
            return ScaledInt.of(q, q, found.scale, found.bias).exact
        case Exact() as found:
            return Exact(found.values[rows])
        case Interval() as found if np.array_equal(found.lo, found.hi):
            return Exact.of(found.lo[rows])
    node = value.producer()
    if node is None or rule_of(node).kind not in ("elementwise", "quantizer"):
        raise SiraError(
            "a value lies too close to a rounding tie",
            expected="a quantizer behind functions of integers",
            found="one behind real numbers that float64 does not hold",
            remedy="quantize in front of the functions that combine tensors",
        )
    operands = {g.name(v): exact_value(v, ranges, given, rows) for v in g.dynamic_inputs(node)}
    result = apply(node, known(operands, ranges.values))[0]
    if isinstance(result, ScaledInt):
        return result.exact
    assert isinstance(result, Exact)
    return result


def _inverse(tail: Tail, asked: Mask, shape: tuple[int, ...]) -> Mask:
    """Which elements of the source the asked elements of the sink depend on (elementwise).

    The others become NaN, which exact arithmetic passes over (`sira.numbers.exact`); ``shape`` is
    that of the source, whose axes of size 1 serve all elements of the sink along them.
    """
    mask = asked
    while mask.ndim > len(shape):
        mask = np.asarray(mask.any(axis=0))
    for axis, size in enumerate(shape):
        if size == 1 and mask.ndim == len(shape) and mask.shape[axis] != 1:
            mask = np.asarray(mask.any(axis=axis, keepdims=True))
    return np.broadcast_to(mask, shape)
