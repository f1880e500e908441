"""Rounding modes against definitions in fractions and against qonnx's functions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qonnx.custom_op.general.quant import resolve_rounding_mode

from sira.errors import SiraError
from sira.numbers.exact import Exact, Undecided, precision
from sira.numbers.rounding import RoundingMode, parse_mode, round_exact, round_floats

MODES = get_args(RoundingMode)
HALF = Fraction(1, 2)


def reference(x: Fraction, mode: str) -> int:
    """The nearest or next integer by the definition of each mode."""
    below, above = math.floor(x), math.ceil(x)
    towards_zero, away = (below, above) if x > 0 else (above, below)
    fixed = {"CEIL": above, "FLOOR": below, "UP": away, "DOWN": towards_zero}
    if mode in fixed:
        return fixed[mode]
    if abs(x - below) != abs(above - x):
        return min((below, above), key=lambda n: abs(x - n))
    if below == above:
        return below
    even = below if below % 2 == 0 else above
    return {"HALF_UP": away, "HALF_DOWN": towards_zero}.get(mode, even)


@pytest.mark.parametrize("mode", MODES)
@given(x=st.one_of(st.fractions(max_denominator=64), st.integers(-99, 99).map(lambda n: n * HALF)))
def test_fractions(mode: RoundingMode, x: Fraction) -> None:
    assert round_exact(x, mode) == reference(x, mode)


@pytest.mark.parametrize("mode", MODES)
@given(x=st.one_of(st.floats(-(2.0**50), 2.0**50), st.integers(-99, 99).map(lambda n: n / 2)))
def test_floats(mode: RoundingMode, x: float) -> None:
    assert round_floats(np.asarray(x), mode) == reference(Fraction(x), mode)


@pytest.mark.parametrize("mode", MODES)
def test_as_qonnx_rounds(mode: RoundingMode) -> None:
    """Ties, integers, and all quarters between -40 and 40."""
    x = np.arange(-160, 161) / 4.0
    assert np.array_equal(round_floats(x, mode), resolve_rounding_mode(mode)(x))


def test_the_float_below_a_half_does_not_round_up() -> None:
    x = np.array([np.nextafter(0.5, 0), -np.nextafter(0.5, 0), 4503599627370497.5])
    assert round_floats(x, "HALF_UP").tolist() == [0, 0, 4503599627370498]
    assert round_floats(x, "ROUND").tolist() == [0, 0, 4503599627370498]


@pytest.mark.parametrize("mode", MODES)
def test_infinities_stay(mode: RoundingMode) -> None:
    x = np.array([-np.inf, np.inf])
    assert np.array_equal(round_floats(x, mode), x)


@pytest.mark.parametrize("mode", MODES)
@given(x=st.fractions(min_value=0, max_value=10**4, max_denominator=100))
def test_irrational_numbers(mode: RoundingMode, x: Fraction) -> None:
    root = Exact.of(x).sqrt().values.item()
    if isinstance(root, Fraction):
        return
    with precision(256):
        found = round_exact(Exact.of(x).sqrt().values.item(), mode)
    n = math.isqrt(x.numerator // x.denominator)  # n < sqrt(x) < n + 1
    nearest = n if x < (n + HALF) ** 2 else n + 1
    expected = {"CEIL": n + 1, "UP": n + 1, "FLOOR": n, "DOWN": n}.get(mode, nearest)
    assert found == expected


def test_saturated_functions_stay_below_their_limit() -> None:
    for x in (40, 3000):
        one = Exact.of(x).tanh().values.item()
        assert one.bounds[1] == 1
        assert round_exact(one, "FLOOR") == round_exact(one, "DOWN") == 0
        assert round_exact(one, "ROUND") == round_exact(one, "CEIL") == 1
        assert round_exact(-one, "CEIL") == 0 and round_exact(-one, "FLOOR") == -1


def test_what_is_not_decided_is_said() -> None:
    almost = (Exact.of(2).sqrt() * Exact.of(2).sqrt()).values.item()
    with pytest.raises(Undecided):
        round_exact(almost, "FLOOR")
    assert round_exact(almost, "ROUND") == 2


def test_names() -> None:
    assert parse_mode("half_even", "here") == "HALF_EVEN"
    with pytest.raises(SiraError, match=r"^here: unknown rounding mode, expected ROUND .* STOCH"):
        parse_mode("STOCHASTIC", "here")
