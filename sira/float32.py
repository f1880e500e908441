"""Whether a float32 execution that differs from exact arithmetic differs by rounding alone.

Layer by layer, on the integers that the float32 run itself produced: the exact result is that of
golden arithmetic, and the float32 result must be one that rounding can explain, by an a-priori
bound (Higham, "Accuracy and Stability of Numerical Algorithms", sec. 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis import Ranges
from sira.interval import Interval
from sira.ops import Arg, Constant, rule_of
from sira.ops.base import per_channel
from sira.scaled import ScaledInt
from sira.tail import find_tail

_UNIT = 2.0**-24
"""Unit roundoff of float32."""

_FUNCTION_ULPS = 64
"""Roundings granted to an elementwise function, whose implementation is not ours to know."""

_TINY = 2.0**-140
"""Absolute error granted for results below float32's normal range."""


def explained(
    model: ir.Model, ranges: Ranges, run: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]
) -> NDArray[np.bool_]:
    """For each sample of a float32 ``run`` whether rounding explains every one of ``outputs``.

    ``run`` maps tensor names to float32 values (samples, *shape). Quantizer outputs are lifted to
    their exact values ``scale * q + bias`` before the next layer is computed from them.
    """
    nodes = {g.name(v): n for n in model.graph for v in n.outputs}
    good: NDArray[np.bool_] | None = None
    for name in outputs:
        value = next(v for v in nodes[name].outputs if v.name == name)
        bounds = _bounds(value, ranges, run)
        found = np.asarray(run[name], np.float64)
        if isinstance(bounds, ScaledInt):
            q = np.rint((found - bounds.bias_float) / bounds.scale_float)
            fits = (q >= bounds.lo) & (q <= bounds.hi)
        else:
            fits = (found >= bounds.lo) & (found <= bounds.hi)
        each = np.asarray(fits.reshape(len(found), -1).all(axis=1))
        good = each if good is None else good & each
    assert good is not None
    return good


def _bounds(
    value: ir.Value, ranges: Ranges, run: Mapping[str, NDArray[Any]]
) -> ScaledInt | Interval:
    """What rounding can make of ``value``, from the float32 run's values at the layer's input."""
    tail = find_tail(value, through_quantizers=False)
    values: dict[ir.Value, Arg] = {tail.source: _source(tail.source, ranges, run)}
    for node in tail.nodes:
        arguments = [
            None if v is None else values[v] if v in values else ranges[v] for v in node.inputs
        ]
        values[node.outputs[0]] = _rounded(node, arguments)
    result = values[tail.sink]
    assert isinstance(result, ScaledInt | Interval)
    return result


def _source(value: ir.Value, ranges: Ranges, run: Mapping[str, NDArray[Any]]) -> Arg:
    """The exact value behind what the float32 run has, or its enclosure behind a dot product."""
    node = value.producer()
    if node is not None and rule_of(node).kind == "layout":
        inner = node.inputs[0]
        assert inner is not None
        return rule_of(node).evaluate(node, [_source(inner, ranges, run)])[0]
    if node is not None and rule_of(node).kind == "mac":
        return _dot_product(node, ranges, run)
    return _lifted(value, ranges, run)


def _lifted(value: ir.Value, ranges: Ranges, run: Mapping[str, NDArray[Any]]) -> Arg:
    found = np.asarray(run[g.name(value)], np.float64)
    range_ = ranges.scaled(value)
    if range_ is None:
        return Interval.point(found)
    q = np.rint((found - range_.bias_float) / range_.scale_float).astype(np.int64)
    return ScaledInt(q, q, range_.scale, range_.bias)


def _dot_product(node: ir.Node, ranges: Ranges, run: Mapping[str, NDArray[Any]]) -> Interval:
    """``x @ w`` within gamma_(K+2) * sum |x||w|, plus the rounding of a bias behind it."""
    x = node.inputs[0]
    assert x is not None
    source = _source(x, ranges, run)
    exact = rule_of(node).evaluate(node, [source, *ranges.arguments(node)[1:]])[0]
    weights = ranges[node.inputs[1]]  # type: ignore[index]
    assert isinstance(exact, ScaledInt | Interval) and isinstance(weights, Constant)
    enclosed = exact.interval if isinstance(exact, ScaledInt) else exact
    assert isinstance(source, ScaledInt | Interval)
    magnitude = _magnitude(source.interval if isinstance(source, ScaledInt) else source)
    w = _magnitude(weights.real.interval)
    if node.op_type == "Gemm" and g.attribute(node, "transB", 0):
        w = w.T
    k = w.shape[0]
    absolute = np.broadcast_to(magnitude, (*magnitude.shape[:-1], k)) @ w
    # Two roundings more for each operand that float32 does not hold exactly, one for the scale.
    gamma = (k + 6) * _UNIT / (1 - (k + 6) * _UNIT)
    slack = gamma * absolute * (1 + 1e-6)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = ranges[node.inputs[2]]
        assert isinstance(bias, Constant)
        slack = slack + 4 * _UNIT * (absolute + _magnitude(bias.real.interval))
    return _widen(enclosed, slack)


def _rounded(node: ir.Node, arguments: list[Arg | None]) -> Arg:
    """The result of an elementwise node on enclosures, widened by float32 rounding."""
    x = next(a for a in arguments if not isinstance(a, Constant) and a is not None)
    x = x.interval if isinstance(x, ScaledInt) else x
    assert isinstance(x, Interval)
    kind = rule_of(node).kind
    if kind == "quantizer":  # it divides and adds before it rounds
        x = _widen(x, 4 * _UNIT * (_magnitude(x) + _offset_of(node, arguments)))
    widened = [x if a is not None and not isinstance(a, Constant) else a for a in arguments]
    result = rule_of(node).evaluate(node, widened)[0]
    if kind == "quantizer" or not isinstance(result, Interval):
        return result
    slack = _FUNCTION_ULPS * _UNIT * (_magnitude(result) + _cancelled(node, x, arguments))
    return _widen(result, slack)


def _offset_of(node: ir.Node, arguments: list[Arg | None]) -> NDArray[np.float64] | float:
    """The zero point of a Quant node in units of its input, whose addition rounds."""
    if node.op_type not in ("Quant", "IntQuant"):
        return 0.0
    scale, zero = arguments[1], arguments[2]
    assert isinstance(scale, Constant) and isinstance(zero, Constant)
    return _magnitude((scale.real * zero.real).interval)


def _cancelled(
    node: ir.Node, x: Interval, arguments: list[Arg | None]
) -> NDArray[np.float64] | float:
    """Size of the terms that an addition may cancel, on whose size its rounding depends."""
    if node.op_type in ("Add", "Sub"):
        return _magnitude(x)
    if node.op_type == "BatchNormalization":
        rank = len(g.shape(node.outputs[0]))
        gamma, beta, mean, var = (
            per_channel(a, rank).real.interval for a in arguments[1:5] if isinstance(a, Constant)
        )
        factor = _magnitude(gamma) / np.sqrt(var.lo + g.attribute(node, "epsilon", 1e-5))
        return np.asarray((_magnitude(x) + _magnitude(mean)) * factor + _magnitude(beta))
    return 0.0


def _magnitude(x: Interval) -> NDArray[np.float64]:
    return np.maximum(np.abs(x.lo), np.abs(x.hi))


def _widen(x: Interval, slack: NDArray[np.float64]) -> Interval:
    return Interval(
        np.nextafter(x.lo - slack - _TINY, -np.inf), np.nextafter(x.hi + slack + _TINY, np.inf)
    )
