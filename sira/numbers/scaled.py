"""Scaled integers: what range analysis knows of a tensor.

``real = scale * q + bias`` with an integer ``lo <= q <= hi`` (SIRA, arXiv:2508.21493, sec. 3).
The scale is positive; a negative factor negates q and swaps its bounds; a factor of zero makes q
the constant 0 and moves the value into the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sira.numbers.exact import Exact
from sira.numbers.int64 import Ints as Ints
from sira.numbers.int64 import from_objects, plus, times, whole_numbers
from sira.numbers.interval import Interval

Real = Exact | Interval
"""Scales and biases: exact fractions, or an enclosure where they are irrational."""


@dataclass(frozen=True, eq=False)
class ScaledInt:
    """``real = scale * q + bias`` with ``lo <= q <= hi``, elementwise.

    All arrays broadcast to the tensor's shape. ``lo is hi`` for a known value (a *point*).
    """

    lo: Ints
    hi: Ints
    scale: Real
    bias: Real

    @staticmethod
    def of(lo: ArrayLike, hi: ArrayLike, scale: Real, bias: Real) -> ScaledInt:
        low = np.asarray(lo, np.int64)
        return ScaledInt(low, low if hi is lo else np.asarray(hi, np.int64), scale, bias)

    @staticmethod
    def integers(lo: ArrayLike, hi: ArrayLike) -> ScaledInt:
        """Plain integers: scale 1, bias 0."""
        return ScaledInt.of(lo, hi, Exact.of(1), Exact.of(0))

    @property
    def is_whole(self) -> bool:
        """Whether the real numbers are integers themselves: scale and bias are."""
        return all(
            isinstance(x, Exact) and all(v.denominator == 1 for v in x.values.ravel())
            for x in (self.scale, self.bias)
        )

    @property
    def is_point(self) -> bool:
        return self.lo is self.hi or bool((self.lo == self.hi).all())

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.lo.shape, self.hi.shape, self.scale.shape, self.bias.shape)

    @property
    def scale_float(self) -> NDArray[np.float64]:
        """The scale as float64, for display and for the host."""
        return _midpoint(self.scale)

    @property
    def bias_float(self) -> NDArray[np.float64]:
        """The bias as float64, for display and for the host."""
        return _midpoint(self.bias)

    @property
    def interval(self) -> Interval:
        """The real interval ``scale * [lo, hi] + bias``."""
        q = Interval(_floats(self.lo, -np.inf), _floats(self.hi, np.inf))
        return q * enclose(self.scale) + enclose(self.bias)

    @property
    def exact(self) -> Exact:
        """The exact values of a point with rational scale and bias."""
        assert self.is_point and isinstance(self.scale, Exact) and isinstance(self.bias, Exact)
        return Exact.of(self.lo) * self.scale + self.bias

    def map(self, f: Callable[[Any], Any]) -> ScaledInt:
        """Apply a re-arrangement of elements (reshape, transpose, ...) to every field."""
        lo = f(self.lo)
        hi = lo if self.hi is self.lo else f(self.hi)
        return ScaledInt(lo, hi, self.scale.map(f), self.bias.map(f))

    def affine(self, factor: Real, offset: Real) -> ScaledInt | Interval:
        """``factor * real + offset``, with the scale kept positive."""
        sign = signs(factor)
        if sign is None:  # an enclosure around zero: the factor's sign is not known
            return self.interval * enclose(factor) + enclose(offset)
        lo, hi = times(self.lo, sign), times(self.hi, sign)
        negative = sign < 0
        if negative.any():
            lo, hi = np.where(negative, hi, lo), np.where(negative, lo, hi)
        scale = multiply(self.scale, times_sign(factor, sign))
        if (sign == 0).any():
            scale = where_real(sign == 0, Exact.of(1), scale)
        bias = add(multiply(self.bias, factor), offset)
        return ScaledInt(lo, lo if self.hi is self.lo else hi, scale, bias)


Value = ScaledInt | Interval | Exact
"""A range, or in exact evaluation the values themselves."""


def enclose(x: Real) -> Interval:
    """The float64 enclosure of a scale or bias."""
    return x if isinstance(x, Interval) else x.interval


def add(a: Real, b: Real) -> Real:
    if a is ZERO or b is ZERO:
        return b if a is ZERO else a
    if isinstance(a, Exact) and isinstance(b, Exact):
        return a + b
    return enclose(a) + enclose(b)


def multiply(a: Real, b: Real) -> Real:
    if a is ONE or b is ONE:
        return b if a is ONE else a
    if isinstance(a, Exact) and isinstance(b, Exact):
        return a * b
    return enclose(a) * enclose(b)


def divide(a: Real, b: Real) -> Real:
    if a is ZERO or b is ONE:
        return a
    if isinstance(a, Exact) and isinstance(b, Exact):
        return a / b
    return enclose(a) / enclose(b)


def same(a: Real, b: Real) -> bool:
    """Whether two enclosures stem from one number: only if they are the same arrays."""
    if isinstance(a, Exact) or isinstance(b, Exact):
        return isinstance(a, Exact) and isinstance(b, Exact) and bool((a.values == b.values).all())
    return a.lo is b.lo and a.hi is b.hi


def signs(x: Real) -> Ints | None:
    """-1, 0 or 1 elementwise, or None where an enclosure does not decide it."""
    if isinstance(x, Exact):
        return x.signs()
    if ((x.lo < 0) & (x.hi > 0)).any() or (((x.lo == 0) | (x.hi == 0)) & (x.lo != x.hi)).any():
        return None
    return np.sign(x.lo).astype(np.int64)


def times_sign(x: Real, sign: Ints) -> Real:
    """``x * sign`` for sign in -1, 0, 1: exact in either representation."""
    if isinstance(x, Exact):
        return x * Exact(sign.astype(object)) if (sign != 1).any() else x
    lo, hi = np.where(sign < 0, -x.hi, x.lo), np.where(sign < 0, -x.lo, x.hi)
    return Interval(np.where(sign == 0, 0.0, lo), np.where(sign == 0, 0.0, hi))


def where_real(condition: NDArray[np.bool_], a: Real, b: Real) -> Real:
    """Elementwise choice."""
    if isinstance(a, Exact) and isinstance(b, Exact):
        return Exact(np.where(condition, a.values, b.values))
    x, y = enclose(a), enclose(b)
    return Interval(np.where(condition, x.lo, y.lo), np.where(condition, x.hi, y.hi))


def rebase(value: ScaledInt, scale: Exact, bias: Exact, where: str = "") -> ScaledInt:
    """The same reals written with another scale and bias, on which they must lie."""
    assert isinstance(value.scale, Exact) and isinstance(value.bias, Exact)
    ratio, shift = value.scale / scale, (value.bias - bias) / scale

    factor, offset = whole_numbers(ratio), whole_numbers(shift)

    def move(q: Ints) -> Ints:
        if factor is not None and offset is not None:
            return plus(times(q, factor, where), offset, where)
        moved = Exact.of(q) * ratio + shift
        assert all(x.denominator == 1 for x in moved.values.ravel()), "off the integer lattice"
        return from_objects(moved.values, where)

    lo = move(value.lo)
    return ScaledInt(lo, lo if value.hi is value.lo else move(value.hi), scale, bias)


def from_zero(x: ScaledInt) -> tuple[Ints, Ints] | None:
    """The integers written with bias 0 (``lo is hi`` for a point); None where 0 is not on them."""
    zero = whole_numbers(divide(x.bias, x.scale))
    if zero is None:
        return None
    lo = plus(x.lo, zero)
    return lo, lo if x.hi is x.lo else plus(x.hi, zero)


def _midpoint(x: Real) -> NDArray[np.float64]:
    if isinstance(x, Exact):
        return np.array([float(v) for v in x.values.ravel()]).reshape(x.shape)
    return x.lo + (x.hi - x.lo) / 2


def _floats(q: Ints, direction: float) -> NDArray[np.float64]:
    f = q.astype(np.float64)
    if f.size and np.abs(f).max() >= 2.0**53:
        return np.nextafter(f, direction)
    return f


ONE = Exact.of(1)
ZERO = Exact.of(0)
