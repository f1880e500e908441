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

from sira.errors import SiraError
from sira.exact import Exact
from sira.interval import Interval

Ints = NDArray[np.int64]
Real = Exact | Interval
"""Scales and biases: exact fractions, or an enclosure where they are irrational."""

INT64_MAX = 2**63 - 1


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
        lo, hi = self.lo * sign, self.hi * sign
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


def rebase(value: ScaledInt, scale: Exact, bias: Exact) -> ScaledInt:
    """The same reals written with another scale and bias, on which they must lie."""
    assert isinstance(value.scale, Exact) and isinstance(value.bias, Exact)
    ratio, shift = value.scale / scale, (value.bias - bias) / scale

    def move(q: Ints) -> Ints:
        if all(x.denominator == 1 for x in (*ratio.values.ravel(), *shift.values.ravel())):
            return q * ratio.values.astype(np.int64) + shift.values.astype(np.int64)
        moved = Exact.of(q) * ratio + shift
        assert all(x.denominator == 1 for x in moved.values.ravel()), "off the integer lattice"
        return moved.values.astype(np.int64)

    lo = move(value.lo)
    return ScaledInt(lo, lo if value.hi is value.lo else move(value.hi), scale, bias)


def integer_matmul(x: Ints, weights: Ints, where: str = "") -> Ints:
    """``x @ weights`` exactly, for x (..., K) and weights (..., K, N).

    Sums below 2**53 go through float64, whose products and sums are then exact; up to the border of
    int64 integer arithmetic is used; beyond it a `SiraError` is raised.
    """
    if not x.any() or not weights.any():
        shape = (x.shape[:-2], weights.shape[:-2])
        return np.zeros(
            (*np.broadcast_shapes(*shape), *x.shape[-2:-1], weights.shape[-1]), np.int64
        )
    largest = max(abs(int(x.max())), abs(int(x.min())))
    heaviest = max(abs(int(weights.max())), abs(int(weights.min()))) * x.shape[-1]
    if largest * heaviest >= 2**53:  # that bound is rough: look at each column
        # The sum in float64 is less than 2**-20 of it too low.
        column = np.abs(weights.astype(np.float64)).sum(axis=-2).max()
        heaviest = int(column * (1 + 2.0**-20)) + 1
    if largest * heaviest < 2**53:
        return np.rint(x.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64)
    if largest * heaviest > INT64_MAX:
        raise too_wide(where, largest * heaviest)
    return np.asarray(x @ weights)


def too_wide(where: str, found: int) -> SiraError:
    """The error for sums beyond int64."""
    return SiraError(
        "the accumulator does not fit into 64 bits",
        where=where,
        expected="sum |w||x| below 2**63",
        found=f"up to {found}",
        remedy="use narrower weights or activations",
    )


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
