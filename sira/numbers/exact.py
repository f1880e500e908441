"""Exact real numbers: fractions, and enclosures of rising precision where a value is irrational.

An `Exact` is an array of Python objects. Each element is a `fractions.Fraction`, or an `Enclosure`
where a square root or a transcendental function was taken, or a float NaN.

NaN is no number here but the mark of an element nobody asked for. Fractions are slow, and usually a
few elements of a tensor lie near a step; `sira.analysis.tail` asks for those alone and marks the
others. Whatever is computed from a marked element is marked, too, so that no time is spent on it,
its sign is 0, and no domain error is raised for it. A function that turns an array into integers
puts any integer there, which its caller must not read. NaN never comes from a model: `Exact.of`
takes finite numbers alone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from mpmath import iv
from numpy.typing import ArrayLike, NDArray

from sira.numbers.interval import Interval

Objects = NDArray[np.object_]


_LARGEST = float(np.finfo(np.float64).max)


class Undecided(Exception):
    """A comparison needs more bits than the current precision."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Significand bits of every `Enclosure` made inside."""
    before = iv.prec
    iv.prec = bits
    try:
        yield
    finally:
        iv.prec = before


class Enclosure:
    """A number between two floats of the current `precision`.

    ``irrational``: it is known to be no fraction, so it lies strictly between its bounds. That
    holds for roots, exponentials and what rational operations make of one of them, but not for
    what they make of two: sqrt(2) * sqrt(2) is rational. Nobody knows whether erf of a fraction
    is one; it is marked so too, because its bounds are made to lie strictly around it, and only
    that is ever used.
    """

    __slots__ = ("irrational", "mpi")

    def __init__(self, mpi: Any, irrational: bool) -> None:
        self.mpi, self.irrational = mpi, irrational

    @staticmethod
    def of(x: Fraction | Enclosure) -> Enclosure:
        if isinstance(x, Enclosure):
            return x
        return Enclosure(iv.mpf(x.numerator) / iv.mpf(x.denominator), irrational=False)

    @property
    def bounds(self) -> tuple[Fraction, Fraction]:
        low, high = self.mpi._mpi_  # converting to mpmath.mpf would round to its own precision
        return _fraction(low), _fraction(high)

    def __neg__(self) -> Enclosure:
        return Enclosure(-self.mpi, self.irrational)

    def __add__(self, other: Any) -> Any:
        return _combine(self, other, lambda a, b: a + b)

    def __sub__(self, other: Any) -> Any:
        return _combine(self, other, lambda a, b: a - b)

    def __mul__(self, other: Any) -> Any:
        if other == 0:
            return Fraction(0)
        return _combine(self, other, lambda a, b: a * b)

    def __truediv__(self, other: Any) -> Any:
        return _combine(self, other, lambda a, b: a / b)

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __rtruediv__(self, other: Any) -> Any:
        if unasked(other) or other == 0:
            return other
        return _combine(self, other, lambda a, b: b / a)

    def compare(self, bound: Fraction) -> int:
        """-1 or 1 as the number is below or above ``bound``."""
        low, high = self.bounds
        if high < bound or (high == bound and self.irrational):
            return -1
        if low > bound or (low == bound and self.irrational):
            return 1
        raise Undecided


@dataclass(frozen=True, eq=False)
class Exact:
    """An array of exact real numbers."""

    values: Objects

    def __post_init__(self) -> None:
        # numpy makes a bare object of a result without dimensions
        object.__setattr__(self, "values", np.asarray(self.values, dtype=object))

    @staticmethod
    def of(value: ArrayLike | Fraction) -> Exact:
        """From integers, floats (each the exact number it encodes) or fractions."""
        array = np.asarray(value)
        if array.dtype != object:
            array = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype)
        flat = [x if isinstance(x, Fraction) else Fraction(x) for x in array.ravel().tolist()]
        return Exact(_objects(flat, array.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @cached_property
    def interval(self) -> Interval:
        """The tightest float64 enclosure."""
        found, place = distinct(self.values)
        bounds = np.array([_float_bounds(x) for x in found]).reshape(-1, 2)
        lo, hi = (bounds[:, i][place].reshape(self.shape) for i in (0, 1))
        return Interval(lo, lo if np.array_equal(lo, hi) else hi)

    @property
    def has_rational_root(self) -> bool:
        """Whether every square root is a fraction."""
        return all(isinstance(x, Fraction) and _is_square(x) for x in self.values.ravel())

    @property
    def has_zero(self) -> bool:
        """Whether an element that somebody asked for is 0."""
        return not all(unasked(x) for x in self.values[self.signs() == 0])

    def map(self, f: Callable[[Any], Any]) -> Exact:
        """Apply a re-arrangement of elements (reshape, transpose, ...)."""
        return Exact(f(self.values))

    def elementwise(self, f: Callable[[Any], Any]) -> Exact:
        """Apply ``f`` to every element that somebody asked for."""
        found, place = distinct(self.values)
        flat = [x if unasked(x) else f(x) for x in found]
        return Exact(_objects(flat, (len(flat),))[place].reshape(self.shape))

    def signs(self) -> NDArray[np.int64]:
        """-1, 0 or 1 for each element."""
        found, place = distinct(self.values)
        flat = np.array([_sign(x) for x in found], np.int64)[place]
        return np.asarray(flat.reshape(self.shape))

    def __neg__(self) -> Exact:
        return self.elementwise(lambda x: -x)

    def __add__(self, other: Exact) -> Exact:
        return _pairwise(operator.add, self, other)

    def __sub__(self, other: Exact) -> Exact:
        return _pairwise(operator.sub, self, other)

    def __mul__(self, other: Exact) -> Exact:
        return _pairwise(operator.mul, self, other)

    def __truediv__(self, other: Exact) -> Exact:
        return _pairwise(operator.truediv, self, other)

    def sqrt(self) -> Exact:
        return self.elementwise(_sqrt)

    def exp(self) -> Exact:
        return self.elementwise(lambda x: _function(iv.exp, x, Fraction(1)))

    def log(self) -> Exact:
        """Natural logarithm of positive numbers; irrational at every fraction but 1."""
        return self.elementwise(
            lambda x: Fraction(0) if x == 1 else Enclosure(iv.log(Enclosure.of(x).mpi), True)
        )

    def softplus(self) -> Exact:
        """log(1 + exp(x)), irrational at every fraction (Lindemann 1882)."""
        return self.elementwise(
            lambda x: Enclosure(iv.log(1 + iv.exp(Enclosure.of(x).mpi)), irrational=True)
        )

    def erf(self) -> Exact:
        return self.elementwise(lambda x: _function(_iv_erf, x, Fraction(0)))

    def power(self, exponent: Fraction) -> Exact:
        """``x ** exponent``; where the exponent is no integer, for x >= 0."""
        return self.elementwise(lambda x: _power(x, exponent))

    def tanh(self) -> Exact:
        return self.elementwise(lambda x: _function(_iv_tanh, x, Fraction(0)))

    def sigmoid(self) -> Exact:
        one = Exact.of(1)
        return one / (one + (-self).exp())

    def maximum(self, other: Exact) -> Exact:
        return Exact(np.frompyfunc(lambda a, b: _choose(a, b, 1), 2, 1)(self.values, other.values))

    def minimum(self, other: Exact) -> Exact:
        return Exact(np.frompyfunc(lambda a, b: _choose(a, b, -1), 2, 1)(self.values, other.values))


_SHARED = 2**12
"""Elements from which on an array is searched for those that are one object."""


def distinct(values: Objects) -> tuple[list[Any], NDArray[np.int64]]:
    """The different objects in an array, and the place of each element among them, flat.

    A number for each position of a large image is one object for each class of positions.
    """
    flat = values.ravel()
    if flat.size < _SHARED:
        return flat.tolist(), np.arange(flat.size)
    ids = np.fromiter(map(id, flat), np.int64, flat.size)
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    return flat[first].tolist(), place.reshape(-1)


def _pairwise(f: Callable[[Any, Any], Any], a: Exact, b: Exact) -> Exact:
    """``f`` for all elements, once for each pair of objects."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    if prod(shape) < _SHARED:
        return Exact(f(a.values, b.values))
    numbers, codes = [], np.zeros((), np.int64)
    for x in (a, b):
        found, place = distinct(x.values)
        numbers.append(_objects(found, (len(found),)))
        codes = codes * len(found) + place.reshape(x.shape)
    pairs, place = np.unique(codes, return_inverse=True)
    left, right = np.divmod(pairs, max(len(numbers[1]), 1))
    return Exact(f(numbers[0][left], numbers[1][right])[place.reshape(-1)].reshape(shape))


def rational_gcd(values: Objects) -> Fraction:
    """The largest g > 0 such that every value is an integer multiple of it; 0 if all are zero."""
    fractions = [x for x in values.ravel().tolist() if x]
    if not fractions:
        return Fraction(0)
    denominator = math.lcm(*(x.denominator for x in fractions))
    numerator = math.gcd(*(x.numerator * (denominator // x.denominator) for x in fractions))
    return Fraction(numerator, denominator)


def _objects(flat: list[Any], shape: tuple[int, ...]) -> Objects:
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(shape)


def unasked(x: Any) -> bool:
    """Whether an element is marked with NaN as one that nobody asked for."""
    return isinstance(x, float)


def _combine(a: Enclosure, b: Any, f: Callable[[Any, Any], Any]) -> Any:
    if unasked(b):
        return b
    rational = isinstance(b, Fraction)
    return Enclosure(f(a.mpi, Enclosure.of(b).mpi), a.irrational and rational)


def _sign(x: Any) -> int:
    if isinstance(x, Enclosure):
        return x.compare(Fraction(0))
    return 0 if unasked(x) else (x.numerator > 0) - (x.numerator < 0)


def _choose(a: Any, b: Any, sign: int) -> Any:
    """The larger of a and b for sign 1, the smaller for -1."""
    if unasked(a) or unasked(b):
        return math.nan
    return a if _sign(a - b) * sign >= 0 else b


def _is_square(x: Fraction) -> bool:
    top, bottom = x.as_integer_ratio()
    return math.isqrt(top) ** 2 == top and math.isqrt(bottom) ** 2 == bottom


def _sqrt(x: Any) -> Any:
    if isinstance(x, Fraction) and _is_square(x):
        return Fraction(math.isqrt(x.numerator), math.isqrt(x.denominator))
    return Enclosure(iv.sqrt(Enclosure.of(x).mpi), irrational=True)


def _function(f: Callable[[Any], Any], x: Any, at_zero: Fraction) -> Any:
    """exp and tanh are irrational at every algebraic point but 0 (Lindemann 1882)."""
    return at_zero if x == 0 else Enclosure(f(Enclosure.of(x).mpi), irrational=True)


def _iv_tanh(x: Any) -> Any:
    e = iv.exp(2 * x)
    return 1 - 2 / (e + 1)


def _iv_erf(x: Any) -> Any:
    """Bounds strictly around erf(x), from those at both ends; x is not 0.

    erf(t) = 2/sqrt(pi) exp(-t^2) sum 2^n t^(2n+1) / (1 * 3 * ... * (2n+1)), of which every term has
    the sign of t; far out, 1 - exp(-t^2) < erf(t) < 1 (Abramowitz and Stegun, 7.1.6 and 7.1.13).
    """
    low, high = _erf_at(iv.mpf(x.a)), _erf_at(iv.mpf(x.b))
    slack = iv.mpf([1 - iv.mpf(2) ** -iv.prec, 1 + iv.mpf(2) ** -iv.prec])
    low, high = low * slack, high * slack
    return iv.mpf([max(low.a, iv.mpf(-1).a), min(high.b, iv.mpf(1).b)])


def _erf_at(t: Any) -> Any:
    if t.a < 0:
        return -_erf_at(-t)
    square = t * t
    if square.a > iv.prec:  # exp(-t^2) is below the precision
        return iv.mpf([(1 - iv.exp(-square)).a, 1])
    term = total = t
    n, small = 0, iv.mpf(2) ** -(iv.prec + 8)
    while (term.b > (total * small).a) or 4 * square.b > 2 * n + 3:
        n += 1
        term = term * (2 * square) / (2 * n + 1)
        total = total + term
    # Each later term is less than half of the one before it.
    total = total + iv.mpf([0, term.b])
    return 2 / iv.sqrt(iv.pi) * iv.exp(-square) * total


def _power(x: Any, exponent: Fraction) -> Any:
    """A fraction where the result is one, as far as square roots show it."""
    if exponent.denominator == 1:
        n = abs(exponent.numerator)
        if isinstance(x, Fraction):
            power: Any = x**n
        else:
            power = Enclosure(x.mpi**n, x.irrational and n == 1)
        return power if exponent > 0 else 1 / power
    if x == 0 or x == 1:
        return x
    root, denominator = x, exponent.denominator
    while isinstance(root, Fraction) and denominator % 2 == 0:
        root, denominator = _sqrt(root), denominator // 2
    if denominator == 1 and isinstance(root, Fraction):
        return root**exponent.numerator
    p = iv.mpf(exponent.numerator) / iv.mpf(exponent.denominator)
    # A power of two as the denominator: rational only if the chain of roots is, seen above.
    irrational = isinstance(x, Fraction) and denominator & (denominator - 1) == 0
    return Enclosure(iv.exp(p * iv.log(Enclosure.of(x).mpi)), irrational)


def _fraction(x: Any) -> Fraction:
    """The number of mpmath's (sign, mantissa, exponent, bits); infinities are beyond float64."""
    sign, mantissa, exponent, _ = x
    if not mantissa and exponent:
        raise Undecided
    value = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -value if sign else value


def _float_bounds(x: Any) -> tuple[float, float]:
    if isinstance(x, Enclosure):
        low, high = x.bounds
        return _float_bounds(low)[0], _float_bounds(high)[1]
    top, bottom = x.as_integer_ratio()
    try:
        nearest = top / bottom  # rounded once
    except OverflowError:
        return (_LARGEST, math.inf) if top > 0 else (-math.inf, -_LARGEST)
    n, d = nearest.as_integer_ratio()
    error = n * bottom - top * d
    if not error:
        return nearest, nearest
    if error < 0:
        return nearest, math.nextafter(nearest, math.inf)
    return math.nextafter(nearest, -math.inf), nearest
