"""Intervals of real numbers in float64, rounded outward.

Every operation encloses the exact result for every point of its operands (Moore, Kearfott, Cloud,
"Introduction to Interval Analysis", 2009). Results that float64 holds exactly stay exact: the
rounding error of each operation is computed without error (Dekker 1971), and a bound is moved
outward only where that error is not zero. A point interval therefore stays a point for as long as
the arithmetic is exact, which is what decides most rounding ties.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_SPLIT = 134217729.0  # 2**27 + 1, Veltkamp's constant for a 53-bit significand
_TINY = 2.0**-960  # below this an error term may underflow
_LIBM_ULPS = 16  # margin for exp, tanh, ..., whose accuracy numpy does not state
_SMALLEST = 2.0**-1022  # upper bound of a positive result that underflows

_erf, _erfc = np.frompyfunc(math.erf, 1, 1), np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True, eq=False)
class Interval:
    """The set ``lo <= x <= hi``, elementwise; arrays broadcast to the tensor's shape.

    ``reason`` says why a tensor has no integer core, for the report.
    """

    lo: Floats
    hi: Floats
    reason: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        assert not (np.isnan(self.lo).any() or np.isnan(self.hi).any()), "NaN in an interval"

    @staticmethod
    def point(value: ArrayLike) -> Interval:
        """The single value; ``value`` must be exact in float64."""
        x = np.asarray(value, np.float64)
        return Interval(x, x)

    @staticmethod
    def everything() -> Interval:
        """All real numbers."""
        return Interval(np.asarray(-np.inf), np.asarray(np.inf))

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.lo.shape, self.hi.shape)

    @property
    def _ends(self) -> tuple[Floats, ...]:
        """Both bounds, or the one number of a point."""
        return (self.lo,) if self.lo is self.hi else (self.lo, self.hi)

    def because(self, reason: str) -> Interval:
        """The same set with a reason, unless it has one already."""
        return self if self.reason else Interval(self.lo, self.hi, reason)

    def map(self, f: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Interval:
        """Apply a re-arrangement of elements (reshape, transpose, ...) to both bounds."""
        lo = f(self.lo)
        return Interval(lo, lo if self.hi is self.lo else f(self.hi), self.reason)

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            _round(*_two_sum(self.lo, other.lo), -np.inf),
            _round(*_two_sum(self.hi, other.hi), np.inf),
        )

    def __sub__(self, other: Interval) -> Interval:
        return self + (-other)

    def __mul__(self, other: Interval) -> Interval:
        if other.lo is other.hi and (other.lo >= 0).all():
            return Interval(  # the common case, a non-negative constant: two products, not four
                _round(*_two_product(self.lo, other.lo), -np.inf),
                _round(*_two_product(self.hi, other.hi), np.inf),
            )
        pairs = [_two_product(a, b) for a in self._ends for b in other._ends]
        lows = [_round(p, e, -np.inf) for p, e in pairs]
        highs = [_round(p, e, np.inf) for p, e in pairs]
        return Interval(reduce(np.minimum, lows), reduce(np.maximum, highs))

    def __truediv__(self, other: Interval) -> Interval:
        spans_zero = (other.lo <= 0) & (other.hi >= 0)
        safe = other.map(lambda b: np.where(spans_zero, 1.0, b))
        lows, highs = [], []
        for a in self._ends:
            for b in safe._ends:
                with np.errstate(all="ignore"):
                    q = np.asarray(np.divide(a, b))
                    q = np.where(np.isnan(q), 0.0, q)
                    p, e = _two_product(q, b)
                    error = (a - p) - e  # sign of a - q*b; only zero or not matters here
                    error = np.where(np.isfinite(q) & np.isfinite(a), error, 1.0)
                    error = np.where((q == 0) & (a != 0) & np.isfinite(a), 1.0, error)
                lows.append(_round(q, np.where(error == 0, 0.0, -1.0), -np.inf))
                highs.append(_round(q, np.where(error == 0, 0.0, 1.0), np.inf))
        lo = np.where(spans_zero, -np.inf, np.minimum.reduce(np.broadcast_arrays(*lows)))
        hi = np.where(spans_zero, np.inf, np.maximum.reduce(np.broadcast_arrays(*highs)))
        return Interval(lo, hi)

    def sqrt(self) -> Interval:
        """Square root; the operand must not be negative."""
        assert (self.lo >= 0).all()
        bounds = []
        for x, direction in ((self.lo, -np.inf), (self.hi, np.inf)):
            r = np.sqrt(x)
            p, e = _two_product(r, r)
            bounds.append(np.where((p == x) & (e == 0), r, np.nextafter(r, direction)))
        return Interval(np.maximum(bounds[0], 0.0), bounds[1])

    def exp(self) -> Interval:
        with np.errstate(over="ignore", under="ignore"):
            lo, hi = np.exp(self.lo), np.exp(self.hi)
        lo = np.where(self.lo == 0, 1.0, np.maximum(_widen(lo, -1), 0.0))
        hi = np.where(self.hi == -np.inf, 0.0, np.maximum(_widen(hi, 1), _SMALLEST))
        return Interval(lo, np.where(self.hi == 0, 1.0, hi))

    def tanh(self) -> Interval:
        lo, hi = np.tanh(self.lo), np.tanh(self.hi)
        return Interval(np.maximum(_widen(lo, -1), -1.0), np.minimum(_widen(hi, 1), 1.0))

    def sigmoid(self) -> Interval:
        one = Interval.point(1.0)
        quotient = one / (one + (-self).exp())
        return quotient.maximum(Interval.point(0.0)).minimum(one)

    def expm1(self) -> Interval:
        """exp(x) - 1, accurate near 0."""
        with np.errstate(over="ignore"):
            lo, hi = np.expm1(self.lo), np.expm1(self.hi)
        return Interval(np.maximum(_widen(lo, -1), -1.0), np.maximum(_widen(hi, 1), -1.0))

    def log(self) -> Interval:
        """Natural logarithm of the positive part; the operand must not lie below it."""
        assert (self.hi > 0).all()
        with np.errstate(divide="ignore"):
            lo, hi = np.log(np.maximum(self.lo, 0.0)), np.log(self.hi)
        return Interval(_widen(lo, -1), _widen(hi, 1))

    def softplus(self) -> Interval:
        """log(1 + exp(x))."""
        lo, hi = np.logaddexp(0.0, self.lo), np.logaddexp(0.0, self.hi)
        hi = np.where(self.hi == -np.inf, 0.0, np.maximum(_widen(hi, 1), _SMALLEST))
        return Interval(np.maximum(_widen(lo, -1), np.maximum(self.lo, 0.0)), hi)

    def erf(self) -> Interval:
        lo, hi = _floats(_erf(self.lo)), _floats(_erf(self.hi))
        return Interval(np.maximum(_widen(lo, -1), -1.0), np.minimum(_widen(hi, 1), 1.0))

    def erfc(self) -> Interval:
        """1 - erf(x), accurate for large x."""
        lo, hi = _floats(_erfc(self.hi)), _floats(_erfc(self.lo))
        hi = np.where(self.lo == np.inf, 0.0, np.maximum(_widen(hi, 1), _SMALLEST))
        lo = np.where(self.hi == 0, 1.0, np.maximum(_widen(lo, -1), 0.0))
        return Interval(lo, np.where(self.lo == 0, 1.0, np.minimum(hi, 2.0)))

    def power(self, exponent: float) -> Interval:
        """``x ** exponent`` for a positive exponent and a non-negative operand."""
        assert exponent > 0 and (self.lo >= 0).all()
        if exponent == 0.5:
            return self.sqrt()
        if exponent == int(exponent) and exponent <= 1024:
            return self._whole_power(int(exponent))
        with np.errstate(over="ignore", under="ignore"):
            lo, hi = np.power(self.lo, exponent), np.power(self.hi, exponent)
        lo = np.where(self.lo == 1, 1.0, np.maximum(_widen(lo, -1), 0.0))
        hi = np.where(self.hi == 0, 0.0, np.maximum(_widen(hi, 1), _SMALLEST))
        return Interval(lo, np.where(self.hi == 1, 1.0, hi))

    def _whole_power(self, exponent: int) -> Interval:
        """By squaring, so that powers which float64 holds stay exact."""
        if exponent == 1:
            return self
        root = self._whole_power(exponent // 2)
        square = Interval(  # each bound with itself: the operand is one value
            _round(*_two_product(root.lo, root.lo), -np.inf),
            _round(*_two_product(root.hi, root.hi), np.inf),
        )
        square = Interval(np.maximum(square.lo, 0.0), square.hi)
        return square * self if exponent % 2 else square

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def intersection(self, other: Interval) -> Interval:
        """What both sets hold; they must overlap."""
        lo, hi = np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi)
        assert (lo <= hi).all(), "two enclosures of one number overlap"
        return Interval(lo, hi)

    def where(self, condition: NDArray[np.bool_], other: Interval) -> Interval:
        """This set where ``condition`` holds, the other elsewhere."""
        return Interval(
            np.where(condition, self.lo, other.lo), np.where(condition, self.hi, other.hi)
        )

    def maximum(self, other: Interval) -> Interval:
        return Interval(np.maximum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def minimum(self, other: Interval) -> Interval:
        return Interval(np.minimum(self.lo, other.lo), np.minimum(self.hi, other.hi))


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """``a + b`` rounded, and the exact error of that rounding (Knuth)."""
    with np.errstate(invalid="ignore", over="ignore"):
        s = a + b
        v = s - a
        return s, (a - (s - v)) + (b - v)


def _two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """``a * b`` rounded and an error term: zero only where the product is exact."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        p = a * b
        t = _SPLIT * a
        a1 = t - (t - a)
        a2 = a - a1
        t = _SPLIT * b
        b1 = t - (t - b)
        b2 = b - b1
        error = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
        zero = (a == 0) | (b == 0)  # zero times infinity bounds a product by zero
        inexact = ~np.isfinite(error) | ((np.abs(p) < _TINY) & ~zero)
        return np.where(zero, 0.0, p), np.where(zero, 0.0, np.where(inexact, np.nan, error))


def _round(value: Floats, error: Floats, direction: float) -> Floats:
    """Move ``value`` one step in ``direction`` unless the error shows that it need not."""
    sign = 1.0 if direction > 0 else -1.0
    with np.errstate(invalid="ignore"):
        keep = error * sign <= 0  # NaN compares false: an unknown error always moves
    return np.where(keep | np.isinf(value) & (value * sign > 0), value, _step(value, direction))


def _step(value: Floats, direction: float) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        return np.nextafter(value, direction)


def _widen(value: Floats, sign: int) -> Floats:
    """Move a library function's result outward by its error margin; exact zeros stay."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        moved = value + sign * (np.abs(value) * (_LIBM_ULPS * 2.0**-52) + 2.0**-1040)
    largest = np.copysign(np.finfo(float).max, value)
    moved = np.where(np.isinf(value), np.where(value * sign > 0, value, largest), moved)
    return np.asarray(np.where(value == 0, value, moved))


def _floats(objects: NDArray[np.object_] | float) -> Floats:
    """What `numpy.frompyfunc` returns, as float64."""
    return np.asarray(objects, np.float64)
