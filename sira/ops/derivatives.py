"""Derivatives of elementwise operators over intervals, for `sira.analysis.composite`.

A derivative encloses every slope between two points of the operands' box, so that of a kink is the
hull of its two sides. An operator without an entry has unknown slopes, except where its output is
one number; that costs tightness, never soundness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval

Operands = Sequence[Interval]
Partials = Callable[[ir.Node, Operands, Interval], list[Interval]]
"""(node, operands, output) -> the slope with respect to each operand."""

_ZERO, _ONE, _TWO = (Interval.point(v) for v in (0.0, 1.0, 2.0))


def partials(node: ir.Node, operands: Operands, output: Interval) -> list[Interval]:
    """Enclosures of the slopes of a node's output with respect to each operand."""
    rule = PARTIALS.get(node.op_type)
    if rule is not None:
        return rule(node, operands, output)
    constant = output.lo == output.hi
    slope = Interval(np.where(constant, 0.0, -np.inf), np.where(constant, 0.0, np.inf))
    return [slope] * len(operands)


def _between(x: Interval, bend: Interval, before: Interval, behind: Interval) -> Interval:
    """The slope of a function with a bend, for x on either side of it."""
    hull = before.hull(behind)
    return before.where(x.hi < bend.lo, behind.where(x.lo > bend.hi, hull))


def _square(x: Interval) -> Interval:
    return (x * x).maximum(_ZERO)


def _div(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    b = operands[1]
    return [_ONE / b, -(y / b)]


def _sigmoid_slope(x: Interval) -> Interval:
    """s(x) s(-x), which rises up to 0 and falls behind."""
    far, near = np.maximum(np.abs(x.lo), np.abs(x.hi)), np.maximum(np.maximum(x.lo, -x.hi), 0.0)
    least, most = (v.sigmoid() * (-v).sigmoid() for v in map(Interval.point, (far, near)))
    return Interval(np.maximum(least.lo, 0.0), most.hi)


def _tanh(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    [x] = operands
    return [Interval.point(4.0) * _sigmoid_slope(_TWO * x)]


def _erf(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    factor = Interval(np.asarray(1.1283791670955123), np.asarray(1.1283791670955128))
    return [factor * (-_square(operands[0])).exp()]


def _pow(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    x, exponent = operands
    unknown = Interval.everything()
    if exponent.lo.size != 1 or exponent.lo.item() not in (1.0, 2.0, 3.0):
        return [unknown, unknown]
    n = exponent.lo.item()
    slope = {1.0: _ONE, 2.0: _TWO * x, 3.0: Interval.point(3.0) * _square(x)}[n]
    return [slope, unknown]


def _relu(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    return [_between(operands[0], _ZERO, _ZERO, _ONE)]


def _leaky_relu(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    alpha = Interval.point(float(np.float32(g.attribute(node, "alpha", 0.01))))
    return [_between(operands[0], _ZERO, alpha, _ONE)]


def _prelu(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    x, slope = operands
    return [_between(x, _ZERO, slope, _ONE), Interval.everything()]


def _clip(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    x, *bounds = operands
    low, high = g.attribute(node, "min"), g.attribute(node, "max")
    if bounds or low is not None or high is not None:
        inside = (y.lo == x.lo) & (y.hi == x.hi)
        flat = y.lo == y.hi
        slope = Interval(np.where(inside, 1.0, 0.0), np.where(flat & ~inside, 0.0, 1.0))
    else:
        slope = _ONE
    return [slope, *(Interval.everything() for _ in bounds)]


def _hard_sigmoid(node: ir.Node, operands: Operands, y: Interval) -> list[Interval]:
    alpha = Exact.of(np.float32(g.attribute(node, "alpha", 0.2))).interval
    inside, flat = (y.lo > 0) & (y.hi < 1), y.lo == y.hi
    return [alpha.where(inside, _ZERO.where(flat, _ZERO.hull(alpha)))]


PARTIALS: dict[str, Partials] = {
    "Add": lambda node, xs, y: [_ONE, _ONE],
    "Sub": lambda node, xs, y: [_ONE, -_ONE],
    "Mul": lambda node, xs, y: [xs[1], xs[0]],
    "Div": _div,
    "Neg": lambda node, xs, y: [-_ONE],
    "Sigmoid": lambda node, xs, y: [_sigmoid_slope(xs[0])],
    "Tanh": _tanh,
    "Exp": lambda node, xs, y: [y],
    "Log": lambda node, xs, y: [(_ONE / xs[0]).maximum(_ZERO)],
    "Sqrt": lambda node, xs, y: [(_ONE / (_TWO * y)).maximum(_ZERO)],
    "Erf": _erf,
    "Softplus": lambda node, xs, y: [xs[0].sigmoid()],
    "Reciprocal": lambda node, xs, y: [-(_ONE / _square(xs[0]))],
    "Pow": _pow,
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
}
