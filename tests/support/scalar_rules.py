"""Rules of functions of one number, called without a graph, against mpmath."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import onnx_ir as ir

from sira.numbers.exact import Enclosure, Exact
from sira.numbers.interval import Interval
from sira.ops import Arg, Constant, rule_of

BITS = 300
"""mpmath's precision as oracle: far beyond what is compared."""

EXTREMES = [
    0.0, 5e-324, 1e-310, 2.0**-1022, 1e-160, 1e-20, 0.1, 0.5, 1.0, 1.5, 3.0, 6.0, 37.0,
    40.0, 708.0, 710.0, 746.0, 1e4, 1e100, 1.7e308,
]  # fmt: skip
"""Numbers at which float64 functions underflow, saturate or overflow."""


def node(op_type: str, inputs: int = 1, **attributes: Any) -> ir.Node:
    """A node outside of any graph."""
    made = [ir.Attr(k, _kind(v), v) for k, v in attributes.items()]
    values = [ir.Value(name=f"x{i}") for i in range(inputs)]
    return ir.Node("", op_type, values, made, outputs=[ir.Value(name="y")], name="n")


def _kind(value: Any) -> ir.AttributeType:
    match value:
        case str():
            return ir.AttributeType.STRING
        case int():
            return ir.AttributeType.INT
        case _:
            return ir.AttributeType.FLOAT


def on_interval(made: ir.Node, lo: float, hi: float, *constants: float) -> tuple[float, float]:
    """The range of the node's output, where its input lies in [lo, hi]."""
    x = Interval(np.asarray(lo), np.asarray(hi))
    [found] = rule_of(made).evaluate(made, [x, *map(constant, constants)])
    bounds = found if isinstance(found, Interval) else numbers(found)
    assert bounds.reason or not isinstance(found, Interval) or found is x
    return bounds.lo.item(), bounds.hi.item()


def numbers(found: Any) -> Interval:
    assert isinstance(found.interval, Interval)
    return found.interval


def constant(value: float) -> Constant:
    return Constant(np.asarray(value, np.float64))


def exactly(made: ir.Node, x: Fraction, *constants: float) -> Any:
    """The exact value of the node's output: a fraction or an enclosure."""
    arguments: list[Arg | None] = [Exact.of(x), *map(constant, constants)]
    [found] = rule_of(made).evaluate(made, arguments)
    assert isinstance(found, Exact)
    return found.values.item()


def mpf(x: Fraction | float) -> Any:
    exact = Fraction(x) if math.isfinite(x) else x
    if not isinstance(exact, Fraction):
        return mpmath.mpf(exact)
    return mpmath.mpf(exact.numerator) / exact.denominator


def inside(found: tuple[float, float], value: Any) -> bool:
    return bool(mpmath.mpf(found[0]) <= value <= mpmath.mpf(found[1]))


def check_sound(
    f: Callable[[Any], Any], found: tuple[float, float], lo: float, hi: float
) -> list[Any]:
    """f at the ends of [lo, hi] and at points between lies in ``found``; returns the values."""
    points = {lo, hi, *(lo * (1 - k / 8) + hi * (k / 8) for k in range(1, 8))}
    if lo < 0 < hi:
        points |= {0.0, 1e-300, -1e-300, lo * 1e-9, hi * 1e-9}
    with mpmath.workprec(BITS):
        values = [f(mpf(min(max(x, lo), hi))) for x in sorted(points) if math.isfinite(x)]
        for value in values:
            assert inside(found, value), (found, value)
    return values


def check_exact(f: Callable[[Any], Any], found: Any, x: Fraction) -> None:
    """A fraction or an enclosure around f(x), which must be narrow."""
    with mpmath.workprec(BITS):
        value = f(mpf(x))
        if isinstance(found, Fraction):
            assert abs(mpf(found) - value) <= abs(value) * mpmath.mpf(2) ** (20 - BITS)
            return
        assert isinstance(found, Enclosure)
        low, high = map(mpf, found.bounds)
        slack = (abs(value) + mpmath.mpf(2) ** -2000) * mpmath.mpf(2) ** (20 - BITS)
        assert low - slack <= value <= high + slack
        assert low < high and high - low <= max(abs(low), abs(high)) * mpmath.mpf(2) ** -90


def close(bound: float, value: Any, ulps: float = 512) -> bool:
    """Within some units in the last place, or of the smallest normal number, or overflowed."""
    with mpmath.workprec(BITS):
        if abs(bound) >= 2.0**1022:
            return bool(abs(value) >= 2.0**1022)
        error = abs(mpmath.mpf(bound) - value)
        return bool(error <= abs(value) * ulps * 2.0**-53 + 2.0**-1021)


def signed(values: Sequence[float]) -> list[float]:
    """The values and their negatives, in order."""
    return sorted({*values, *(-v for v in values)})
