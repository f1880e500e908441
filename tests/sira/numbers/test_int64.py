"""Arithmetic on int64 that never wraps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import from_objects, integer_matmul, largest, plus, times, whole_numbers


@pytest.mark.parametrize("bits", [4, 20, 26, 28, 30])
def test_integer_products(bits: int) -> None:
    """Through float64 below 2**53, through int64 above: both equal Python's integers."""
    rng = np.random.default_rng(bits)
    x = rng.integers(-(2**bits), 2**bits + 1, (3, 5, 7))
    w = rng.integers(-(2**bits), 2**bits + 1, (7, 4))
    expected = x.astype(object) @ w.astype(object)
    assert (integer_matmul(x, w).astype(object) == expected).all()


def test_the_border_of_64_bits() -> None:
    x = np.full((1, 2), 2**31)
    assert integer_matmul(x, np.full((2, 1), 2**30)).item() == 2**62
    with pytest.raises(SiraError, match="here: the integers do not fit into 64 bits"):
        integer_matmul(x, np.full((2, 1), 2**31), "here")


def test_without_elements() -> None:
    assert integer_matmul(np.zeros((2, 0), np.int64), np.zeros((0, 3), np.int64)).shape == (2, 3)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_sums_and_products_never_wrap(a: int, b: int) -> None:
    for f, expected in ((plus, a + b), (times, a * b)):
        x, y = np.array([0, a]), np.array([[1], [b]])
        if -(2**63) < expected < 2**63 and abs(a) + abs(b) < 2**63:
            assert f(x, y)[1, 1] == expected
        elif not -(2**63) <= expected < 2**63:
            with pytest.raises(SiraError, match="64 bits"):
                f(x, y)


def test_the_largest_magnitude() -> None:
    assert largest(np.array([3, -(2**63)]), np.array([5])) == 2**63
    assert largest(np.zeros((0, 3), np.int64)) == 0


def test_whole_numbers() -> None:
    assert whole_numbers(Exact.of([3.0, -(2.0**62)])).tolist() == [3, -(2**62)]  # type: ignore[union-attr]
    for bad in ([0.5, 1.0], [2.0**63]):
        assert whole_numbers(Exact.of(bad)) is None


def test_from_python_integers() -> None:
    assert from_objects(np.array([2**63 - 1, -5], object)).tolist() == [2**63 - 1, -5]
    with pytest.raises(SiraError, match="here: the integers do not fit into 64 bits"):
        from_objects(np.array([2**63], object), "here")
