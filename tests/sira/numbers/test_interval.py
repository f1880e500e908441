"""Intervals against fractions: every operation encloses, and what is exact stays a point."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira.numbers.interval import Interval

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
MODERATE = st.floats(-1e6, 1e6, allow_nan=False, width=32)
PAIR = st.tuples(FLOATS, FLOATS).map(sorted)


def interval(bounds: Any) -> Interval:
    return Interval(np.asarray(float(bounds[0])), np.asarray(float(bounds[1])))


def holds(found: Interval, value: Fraction) -> bool:
    lo, hi = found.lo.item(), found.hi.item()
    above = lo == -math.inf or Fraction(lo) <= value
    return above and (hi == math.inf or value <= Fraction(hi))


OPERATIONS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=("add", "sub", "mul"))
@given(a=PAIR, b=PAIR)
def test_encloses_every_corner(operation: Callable[[Any, Any], Any], a: Any, b: Any) -> None:
    found = operation(interval(a), interval(b))
    for x in a:
        for y in b:
            assert holds(found, operation(Fraction(x), Fraction(y)))


@given(a=PAIR, b=PAIR)
def test_quotient_encloses_every_corner(a: Any, b: Any) -> None:
    found = interval(a) / interval(b)
    if b[0] <= 0 <= b[1]:
        assert found.lo.item() == -math.inf and found.hi.item() == math.inf
        return
    for x in a:
        for y in b:
            assert holds(found, Fraction(x) / Fraction(y))


@given(a=st.integers(-(2**25), 2**25), b=st.integers(-(2**25), 2**25), e=st.integers(-40, 40))
def test_exact_results_stay_points(a: int, b: int, e: int) -> None:
    x, y = Interval.point(a * 2.0**e), Interval.point(float(b))
    for found, exact in (
        (x + y, Fraction(a) * Fraction(2) ** e + b),
        (x - y, Fraction(a) * Fraction(2) ** e - b),
        (x * y, Fraction(a) * Fraction(2) ** e * b),
    ):
        if Fraction(float(exact)) == exact:
            assert found.lo.item() == found.hi.item() == float(exact)
    if b:
        quotient = (x * y) / y
        assert quotient.lo.item() == quotient.hi.item() == a * 2.0**e


@given(x=st.floats(0, 1e300), y=st.integers(0, 2**26))
def test_square_root(x: float, y: int) -> None:
    found = Interval.point(x).sqrt()
    lo, hi = Fraction(found.lo.item()), Fraction(found.hi.item())
    assert lo * lo <= Fraction(x) <= hi * hi
    square = Interval.point(float(y * y)).sqrt()
    assert square.lo.item() == square.hi.item() == y


FUNCTIONS = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(x=st.floats(-800, 800))
def test_functions_enclose_the_exact_value_strictly(name: str, x: float) -> None:
    found = getattr(Interval.point(x), name)()
    with mpmath.workprec(2600):
        exact = FUNCTIONS[name](mpmath.mpf(x))
        assert mpmath.mpf(found.lo.item()) <= exact <= mpmath.mpf(found.hi.item())
    if name != "exp":
        assert abs(found.lo.item()) <= 1 and abs(found.hi.item()) <= 1
    if x != 0 and abs(x) > 1e-300:  # an irrational number is no float64
        assert found.lo.item() < found.hi.item()
    assert (found.lo.item() >= 0) or name == "tanh"


def test_functions_at_zero_and_at_infinity() -> None:
    zero, everything = Interval.point(0.0), Interval.everything()
    assert zero.exp().lo == zero.exp().hi == 1
    assert zero.tanh().lo == zero.tanh().hi == 0
    assert zero.sigmoid().lo == zero.sigmoid().hi == 0.5
    assert (everything.sigmoid().lo, everything.sigmoid().hi) == (0, 1)
    assert (everything.tanh().lo, everything.tanh().hi) == (-1, 1)
    assert (everything.exp().lo, everything.exp().hi) == (0, np.inf)


def test_zero_times_infinity_and_overflow() -> None:
    everything, big = Interval.everything(), Interval.point(1e300)
    product = everything * Interval.point(0.0)
    assert product.lo == product.hi == 0
    square = big * big
    assert square.lo == np.finfo(float).max and square.hi == np.inf
    total = Interval.point(np.finfo(float).max) + Interval.point(np.finfo(float).max)
    assert total.lo == np.finfo(float).max and total.hi == np.inf


def test_a_reason_is_kept_once() -> None:
    first = Interval.point(1.0).because("first")
    assert first.because("second").reason == "first"
    with pytest.raises(AssertionError, match="NaN"):
        Interval.point(np.nan)


def test_a_rearranged_point_is_a_point() -> None:
    moved = Interval.point([1.0, 2.0]).map(lambda a: a[::-1])
    assert moved.lo is moved.hi and moved.lo.tolist() == [2, 1]
    assert Interval(np.zeros(2), np.ones(2)).map(lambda a: a[:1]).hi.tolist() == [1]


def test_bounds_of_different_shapes() -> None:
    """A point, a scalar bound and one for each channel."""
    x = Interval(np.asarray(-1.0), np.array([2.0, 3.0]))
    for product in (x * Interval.point(-2.0), Interval.point(-2.0) * x):
        assert product.lo.tolist() == [-4, -6] and (product.hi == 2).all()
    square = x * x
    assert square.lo.tolist() == [-2, -3] and square.hi.tolist() == [4, 9]
    quotient = Interval.point(6.0) / Interval(np.asarray(1.0), np.array([2.0, 3.0]))
    assert quotient.lo.tolist() == [3, 2] and (quotient.hi == 6).all()
