"""Whether an execution in floating point differs from exact arithmetic by rounding alone.

Layer by layer, on the integers that the run itself produced: the exact result is that of golden
arithmetic, and the run's result must be one that rounding can explain, by an a-priori bound
(Higham, "Accuracy and Stability of Numerical Algorithms", sec. 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import Arg, Constant, arguments, mac_of, rule_of
from sira.ops.base import per_channel

FLOAT32 = 2.0**-24
"""Its unit roundoff."""

FLOAT64 = 2.0**-53

_FUNCTION_ULPS = 64
"""Roundings granted to an elementwise function, whose implementation is not ours to know."""

_ADDING = frozenset(
    ("AveragePool", "GlobalAveragePool", "QuantAvgPool2d", "ReduceSum", "ReduceMean")
)
"""Operators that add up many elements; other ones that combine elements only select."""

_TINY = 2.0**-140
"""Absolute error granted for results below float32's normal range."""


def explained(
    model: ir.Model,
    ranges: Ranges,
    run: Mapping[str, NDArray[Any]],
    outputs: tuple[str, ...],
    unit: float = FLOAT32,
) -> NDArray[np.bool_]:
    """For each sample of a ``run`` whether rounding explains every one of ``outputs``.

    ``run`` maps tensor names to values (samples, *shape) of a type with unit roundoff ``unit``.
    Quantizer outputs are lifted to their exact values ``scale * q + bias`` before the next layer is
    computed from them.
    """
    good = np.ones(len(next(iter(run.values()))), bool)
    for fits, _ in _examined(model, ranges, run, outputs, unit):
        good &= fits.reshape(len(good), -1).all(axis=1)
    return good


def near_steps(
    model: ir.Model,
    ranges: Ranges,
    run: Mapping[str, NDArray[Any]],
    outputs: tuple[str, ...],
    unit: float,
) -> dict[str, NDArray[np.bool_]]:
    """Elements of ``outputs``, of quantizers, that rounding may have moved across a step."""
    found = _examined(model, ranges, run, outputs, unit)
    return {name: near for name, (_, near) in zip(outputs, found, strict=True)}


def _examined(
    model: ir.Model,
    ranges: Ranges,
    run: Mapping[str, NDArray[Any]],
    outputs: tuple[str, ...],
    unit: float,
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each output where it is within the bounds of rounding, and where these leave a choice."""
    values = {g.name(v): v for n in model.graph for v in n.outputs}
    execution = _Run(ranges, run, unit)
    for name in outputs:
        bounds = execution.computed(values[name])
        assert isinstance(bounds, ScaledInt | Interval)
        found = np.asarray(run[name], np.float64)
        if isinstance(bounds, ScaledInt):
            found = np.rint((found - bounds.bias_float) / bounds.scale_float)
        fits = (found >= bounds.lo) & (found <= bounds.hi)
        yield fits, np.broadcast_to(bounds.lo != bounds.hi, found.shape)


@dataclass(frozen=True, eq=False)
class _Run:
    """An execution: ``values`` (samples, *shape) by name, computed with unit roundoff ``unit``."""

    ranges: Ranges
    values: Mapping[str, NDArray[Any]]
    unit: float
    known: dict[ir.Value, Arg] = field(default_factory=dict)

    def computed(self, value: ir.Value) -> Arg:
        """What rounding can make of ``value``, from the run's values behind the last quantizers."""
        node = value.producer()
        assert node is not None
        operands = arguments(node, self.operand)
        match rule_of(node).kind:
            case "elementwise" | "quantizer":
                return _rounded(node, operands, self.unit)
            case "mac":
                return _dot_product(node, operands, self.unit)
            case _:
                return _combined(node, operands, self.unit, node.outputs.index(value))

    def operand(self, value: ir.Value) -> Arg:
        """An operand; quantized ones are the exact values behind what the run has."""
        if g.is_constant(value):
            return self.ranges[value]
        if value not in self.known:
            node = value.producer()
            exact = node is None or rule_of(node).kind == "quantizer"
            self.known[value] = self._lifted(value) if exact else self.computed(value)
        return self.known[value]

    def _lifted(self, value: ir.Value) -> Arg:
        found = np.asarray(self.values[g.name(value)], np.float64)
        range_ = self.ranges.scaled(value)
        if range_ is None:
            return Interval.point(found)
        q = np.rint((found - range_.bias_float) / range_.scale_float).astype(np.int64)
        return ScaledInt(q, q, range_.scale, range_.bias)


def _interval(x: Arg | None) -> Interval:
    """The real numbers of an operand."""
    match x:
        case ScaledInt():
            return x.interval
        case Constant():
            return x.real_interval
    assert isinstance(x, Interval)
    return x


def _dot_product(node: ir.Node, operands: list[Arg | None], unit: float) -> Interval:
    """``x * w`` within gamma_(K+2) * sum |x||w|, plus the rounding of a bias behind it."""
    rule = rule_of(node)
    exact = _interval(rule.evaluate(node, operands)[0])
    sizes = [np.abs(_magnitude(_interval(a))) for a in operands[:2]]
    absolute: list[Arg | None] = [
        Constant(size) if isinstance(a, Constant) else Interval.point(size)
        for a, size in zip(operands[:2], sizes, strict=True)
    ]
    bias = operands[2] if len(operands) > 2 else None
    largest = _magnitude(
        _interval(rule.evaluate(node, [*absolute, *[None] * (bias is not None)])[0])
    )
    # Two roundings more for each operand that is not held exactly, one for the scale.
    mac = mac_of(node)
    assert mac is not None
    k = mac.summands
    gamma = (k + 6) * unit / (1 - (k + 6) * unit)
    slack = gamma * largest * (1 + 1e-6)
    if bias is not None:
        added = _magnitude(_interval(bias))
        if added.ndim == 1:
            added = added.reshape(-1, *(1,) * (-mac.axis - 1))
        slack = slack + 4 * unit * (largest + added)
    return _widen(exact, slack)


def _combined(node: ir.Node, operands: list[Arg | None], unit: float, output: int) -> Interval:
    """The result of a pool, a sum over axes, or a rearrangement, which does not round.

    Sums and averages of n numbers have n roundings.
    """
    exact = _interval(rule_of(node).evaluate(node, operands)[output])
    x = next(v for v in node.inputs if v is not None and not g.is_constant(v))
    n = prod(g.shape(x)) // max(prod(g.shape(node.outputs[output])), 1)
    n = max(n, prod(g.attribute(node, "kernel_shape", (1,))), 1)
    if node.op_type not in _ADDING:
        return exact
    largest = float(_magnitude(_interval(operands[0])).max(initial=0)) * n
    return _widen(exact, np.asarray((n + 8) * unit * largest))


def _rounded(node: ir.Node, operands: list[Arg | None], unit: float) -> Arg:
    """The result of an elementwise node on enclosures, widened by rounding."""
    widened: list[Arg | None] = [
        a if a is None or isinstance(a, Constant) else _interval(a) for a in operands
    ]
    x = next(a for a in widened if isinstance(a, Interval))
    kind = rule_of(node).kind
    if kind == "quantizer":  # it divides and adds before it rounds
        x = _widen(x, 4 * unit * (_magnitude(x) + _offset_of(node, operands)))
        widened = [x if isinstance(a, Interval) else a for a in widened]
    result = rule_of(node).evaluate(node, widened)[0]
    if kind == "quantizer" or not isinstance(result, Interval):
        return result
    slack = _FUNCTION_ULPS * unit * (_magnitude(result) + _cancelled(node, x, widened))
    return _widen(result, slack)


def _offset_of(node: ir.Node, operands: list[Arg | None]) -> NDArray[np.float64] | float:
    """The zero point of a Quant node in units of its input, whose addition rounds."""
    if node.op_type not in ("Quant", "IntQuant"):
        return 0.0
    scale, zero = operands[1], operands[2]
    assert isinstance(scale, Constant) and isinstance(zero, Constant)
    return _magnitude((scale.real * zero.real).interval)


def _cancelled(
    node: ir.Node, x: Interval, operands: list[Arg | None]
) -> NDArray[np.float64] | float:
    """Size of the terms that an addition may cancel, on whose size its rounding depends."""
    if node.op_type in ("Add", "Sub"):
        return sum((_magnitude(a) for a in operands if isinstance(a, Interval)), np.zeros(()))
    if node.op_type == "BatchNormalization":
        rank = len(g.shape(node.outputs[0]))
        gamma, beta, mean, var = (
            per_channel(a, rank).real.interval for a in operands[1:5] if isinstance(a, Constant)
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
