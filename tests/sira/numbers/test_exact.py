"""Fractions and enclosures."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira.numbers.exact import Enclosure, Exact, Undecided, precision, rational_gcd

RATIONALS = st.fractions(min_value=-1000, max_value=1000, max_denominator=10**6)
FUNCTIONS = {
    "sqrt": mpmath.sqrt,
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


@given(RATIONALS, RATIONALS)
def test_rational_arithmetic(a: Fraction, b: Fraction) -> None:
    x, y = Exact.of(a), Exact.of(b)
    assert (x + y).values.item() == a + b
    assert (x - y).values.item() == a - b
    assert (x * y).values.item() == a * b
    assert (-x).values.item() == -a
    if b:
        assert (x / y).values.item() == a / b
    assert x.maximum(y).values.item() == max(a, b)
    assert x.minimum(y).values.item() == min(a, b)
    assert x.signs().item() == (a > 0) - (a < 0)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_the_number_it_encodes(x: float) -> None:
    assert Exact.of(x).values.item() == Fraction(x)
    assert Exact.of(np.float32(0.1)).values.item() == Fraction(float(np.float32(0.1)))


@given(st.fractions())
def test_tightest_float_enclosure(x: Fraction) -> None:
    found = Exact.of(x).interval
    lo, hi = found.lo.item(), found.hi.item()
    assert Fraction(lo) <= x <= Fraction(hi)
    assert lo == hi if Fraction(float(x)) == x else math.nextafter(lo, math.inf) == hi


def test_enclosure_of_what_float64_cannot_hold() -> None:
    found = Exact.of(Fraction(10) ** 400).interval
    assert found.lo == np.finfo(float).max and found.hi == math.inf
    found = Exact.of(-(Fraction(10) ** 400)).interval
    assert found.lo == -math.inf and found.hi == -np.finfo(float).max


@pytest.mark.parametrize("bits", (53, 128, 1024))
@pytest.mark.parametrize("name", FUNCTIONS)
@given(x=RATIONALS)
def test_functions_enclose_at_every_precision(name: str, bits: int, x: Fraction) -> None:
    """The bounds have the precision asked for, whatever mpmath's own precision is."""
    x = abs(x) if name == "sqrt" else x
    with precision(bits):
        found = getattr(Exact.of(x), name)().values.item()
    if isinstance(found, Fraction):
        assert x == 0 or (name == "sqrt" and found * found == x)
        return
    low, high = found.bounds
    with mpmath.workprec(3200):
        exact = FUNCTIONS[name](mpmath.mpf(x.numerator) / x.denominator)
        assert mpmath.mpf(low.numerator) / low.denominator <= exact
        assert exact <= mpmath.mpf(high.numerator) / high.denominator
    assert low < high
    assert high - low < abs(low + high) * Fraction(1, 2 ** (bits - 24))


def test_known_exact_points_of_the_functions() -> None:
    assert Exact.of(0).tanh().values.item() == 0
    assert Exact.of(0).exp().values.item() == 1
    assert Exact.of(0).sigmoid().values.item() == Fraction(1, 2)
    assert Exact.of(Fraction(9, 16)).sqrt().values.item() == Fraction(3, 4)


def test_an_irrational_number_is_never_equal() -> None:
    root = Exact.of(2).sqrt().values.item()
    low, high = root.bounds
    assert (root.compare(low), root.compare(high)) == (1, -1)
    with pytest.raises(Undecided):
        root.compare((low + high) / 2)
    one = Exact.of(40).tanh().values.item()  # 1 - 3.6e-35, beyond 53 bits
    assert one.bounds[1] == 1 and one.compare(Fraction(1)) == -1


def test_two_roots_may_make_a_rational_number() -> None:
    two = (Exact.of(2).sqrt() * Exact.of(2).sqrt()).values.item()
    assert isinstance(two, Enclosure) and not two.irrational
    with pytest.raises(Undecided):
        two.compare(Fraction(2))


@given(RATIONALS.filter(bool), RATIONALS)
def test_enclosures_with_fractions(a: Fraction, b: Fraction) -> None:
    root, with_fraction = Exact.of(2).sqrt(), Exact.of(a)
    for found, exact in (
        ((root * with_fraction + Exact.of(b)), lambda r: r * a + b),
        ((with_fraction - root), lambda r: a - r),
        ((with_fraction / root), lambda r: a / r),
        ((root / with_fraction), lambda r: r / a),
    ):
        value = found.values.item()
        low, high = value.bounds
        ends = [exact(bound) for bound in Exact.of(2).sqrt().values.item().bounds]
        assert value.irrational and low <= min(ends) and max(ends) <= high


def test_zero_times_a_root_is_zero() -> None:
    assert (Exact.of(0) * Exact.of(2).sqrt()).values.item() == 0
    assert (Exact.of(2).sqrt() * Exact.of(0)).values.item() == 0
    assert (Exact.of(0) / Exact.of(2).sqrt()).values.item() == 0


def test_elements_nobody_asked_for_stay_unknown() -> None:
    x = Exact(np.array([np.nan, Fraction(2)], object))
    for result in (x + x, x * Exact.of(3), x.sqrt(), x.maximum(Exact.of(5)), Exact.of(1) / x):
        assert isinstance(result.values[0], float) and math.isnan(result.values[0])
        assert not isinstance(result.values[1], float)


@given(st.lists(st.fractions(max_denominator=1000), min_size=1, max_size=5))
def test_rational_gcd(values: list[Fraction]) -> None:
    found = rational_gcd(np.array(values, object))
    if not any(values):
        assert found == 0
        return
    multiples = [v / found for v in values]
    assert found > 0 and all(m.denominator == 1 for m in multiples)
    assert math.gcd(*(m.numerator for m in multiples)) == 1


def test_results_without_dimensions_are_arrays() -> None:
    assert (Exact.of(1) + Exact.of(2)).shape == ()
    assert Exact.of([1, 2]).map(lambda a: a[0]).shape == ()


def test_equal_objects_of_a_large_array_are_computed_once() -> None:
    """Element by element the same as one by one, with as many new objects as there were pairs."""
    numbers = np.array([Fraction(n, 7) for n in range(5)], object)
    large = Exact(numbers[np.arange(2 * 60 * 60) % 5].reshape(2, 60, 60))
    column = Exact.of(np.array([3, -2]).reshape(2, 1, 1))
    for found, one in [
        (large + column, lambda a, b: a + b),
        (large - column, lambda a, b: a - b),
        (large * column, lambda a, b: a * b),
        (large / column, lambda a, b: a / b),
    ]:
        expected = [one(a, b) for a, b in np.broadcast(large.values, column.values)]
        assert found.values.ravel().tolist() == expected
        assert len(set(map(id, found.values.ravel()))) == 10
    assert (-large).values.ravel().tolist() == [-v for v in large.values.ravel()]
    assert np.array_equal(large.signs(), (large.interval.lo > 0).astype(int))
    assert np.array_equal(large.interval.lo <= large.interval.hi, np.ones(large.shape, bool))
