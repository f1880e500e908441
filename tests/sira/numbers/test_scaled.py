"""Scaled integers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt, rebase

NUMBERS = st.fractions(min_value=-50, max_value=50, max_denominator=16)
POSITIVE = st.fractions(min_value=Fraction(1, 16), max_value=50, max_denominator=16)
BOUNDS = st.tuples(st.integers(-100, 100), st.integers(-100, 100)).map(sorted)


def values(x: ScaledInt) -> list[Fraction]:
    assert isinstance(x.scale, Exact) and isinstance(x.bias, Exact)
    scale, bias = x.scale.values.item(), x.bias.values.item()
    return [q * scale + bias for q in range(int(x.lo), int(x.hi) + 1)]


@given(BOUNDS, POSITIVE, NUMBERS, NUMBERS, NUMBERS)
def test_affine_maps_every_value(
    bounds: Any, scale: Fraction, bias: Fraction, factor: Fraction, offset: Fraction
) -> None:
    x = ScaledInt.of(bounds[0], bounds[1], Exact.of(scale), Exact.of(bias))
    y = x.affine(Exact.of(factor), Exact.of(offset))
    assert isinstance(y, ScaledInt) and isinstance(y.scale, Exact)
    assert y.scale.values.item() > 0
    assert sorted(values(y)) == sorted({factor * v + offset for v in values(x)})


@given(BOUNDS, POSITIVE, NUMBERS)
def test_interval_is_the_range_of_the_values(bounds: Any, scale: Fraction, bias: Fraction) -> None:
    x = ScaledInt.of(bounds[0], bounds[1], Exact.of(scale), Exact.of(bias))
    found = x.interval
    lo, hi = Fraction(found.lo.item()), Fraction(found.hi.item())
    assert lo <= min(values(x)) and max(values(x)) <= hi
    assert min(values(x)) - lo < Fraction(1, 2**35) and hi - max(values(x)) < Fraction(1, 2**35)


def test_an_enclosed_factor() -> None:
    x = ScaledInt.of(-2, 3, Exact.of(1), Exact.of(5))
    for lo, hi, expected in ((1.0, 2.0, (-2, 3)), (-2.0, -1.0, (-3, 2)), (0.0, 0.0, (0, 0))):
        y = x.affine(Interval(np.asarray(lo), np.asarray(hi)), Exact.of(0))
        assert isinstance(y, ScaledInt)
        assert (y.lo.item(), y.hi.item()) == expected
    unknown = x.affine(Interval(np.asarray(-1.0), np.asarray(1.0)), Exact.of(0))
    assert isinstance(unknown, Interval) and (unknown.lo, unknown.hi) == (-8, 8)


def test_a_point_stays_a_point() -> None:
    q = np.array([1, -2])
    x = ScaledInt.integers(q, q).affine(Exact.of([-3, 0]), Exact.of(1))
    assert isinstance(x, ScaledInt) and x.lo is x.hi and x.is_point
    assert x.exact.values.tolist() == [-2, 1]


@given(BOUNDS, POSITIVE, st.integers(1, 9), st.integers(-9, 9))
def test_another_lattice(bounds: Any, scale: Fraction, n: int, shift: int) -> None:
    x = ScaledInt.of(bounds[0], bounds[1], Exact.of(scale * n), Exact.of(scale * shift))
    y = rebase(x, Exact.of(scale), Exact.of(0))
    assert (y.lo.item(), y.hi.item()) == (bounds[0] * n + shift, bounds[1] * n + shift)
    back = rebase(y, Exact.of(scale * n), Exact.of(scale * shift))
    assert (back.lo.item(), back.hi.item()) == tuple(bounds)


def test_off_the_lattice() -> None:
    with pytest.raises(AssertionError, match="off the integer lattice"):
        rebase(ScaledInt.integers(1, 3), Exact.of(2), Exact.of(0))


@pytest.mark.parametrize("q, scale, bias", [
    (2**62, Fraction(1, 2), 0), (-(2**62) - 1, Fraction(1, 2), 0), (2**63 - 1, 1, 1),
    (1, Fraction(1, 2**70), 0), (3, Fraction(1, 3 * 2**62), Fraction(1, 2)),
])  # fmt: skip
def test_another_lattice_at_the_border_of_64_bits(q: int, scale: Any, bias: Any) -> None:
    with pytest.raises(SiraError, match="here: the integers do not fit into 64 bits"):
        rebase(ScaledInt.integers(q, q), Exact.of(Fraction(scale)), Exact.of(-bias), "here")


def test_another_lattice_just_inside_the_border() -> None:
    low, high = 1 - 2**62, 2**62 - 1
    found = rebase(ScaledInt.integers(low, high), Exact.of(Fraction(1, 2)), Exact.of(0))
    assert (found.lo.item(), found.hi.item()) == (2 * low, 2 * high)
    found = rebase(ScaledInt.integers(0, 2**63 - 2), Exact.of(1), Exact.of(-1))
    assert (found.lo.item(), found.hi.item()) == (1, 2**63 - 1)


def test_the_smallest_integer_has_no_negative() -> None:
    with pytest.raises(SiraError, match="64 bits"):
        ScaledInt.integers(-(2**63), 0).affine(Exact.of(-1), Exact.of(0))
