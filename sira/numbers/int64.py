"""Arithmetic on arrays of int64 that never wraps: beyond the border it raises a `SiraError`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sira.errors import SiraError
from sira.numbers.exact import Exact

Ints = NDArray[np.int64]

INT64_MAX = 2**63 - 1


def largest(*arrays: Ints) -> int:
    """The largest magnitude among all elements; 0 if there are none."""
    return max((abs(int(b)) for q in arrays if q.size for b in (q.min(), q.max())), default=0)


def plus(a: Ints, b: Ints, where: str = "") -> Ints:
    """``a + b``."""
    with np.errstate(over="ignore"):
        total = np.asarray(a + b)
    if (((a ^ total) & (b ^ total)) < 0).any():  # a sign that neither operand has: it has wrapped
        raise too_wide(where, largest(a) + largest(b))
    return total


def times(a: Ints, b: Ints, where: str = "") -> Ints:
    """``a * b``."""
    if largest(a) * largest(b) <= INT64_MAX:
        return np.asarray(a * b)
    product = np.asarray(a.astype(object) * b.astype(object))
    return from_objects(product, where)


def from_objects(integers: NDArray[Any], where: str = "") -> Ints:
    """An array of Python's integers, or of fractions that are whole."""
    found = max((abs(int(v)) for v in integers.ravel()), default=0)
    if found > INT64_MAX:
        raise too_wide(where, found)
    return np.asarray(integers.astype(np.int64))


def whole_numbers(x: object) -> Ints | None:
    """A scale or bias as integers; None where it has others, or some of more than 64 bits."""
    if not isinstance(x, Exact):
        return None
    if any(v.denominator != 1 or abs(v) > INT64_MAX for v in x.values.ravel()):
        return None
    return x.values.astype(np.int64)


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
    highest = largest(x)
    heaviest = largest(weights) * x.shape[-1]
    if highest * heaviest >= 2**53:  # that bound is rough: look at each column
        if heaviest <= INT64_MAX:
            heaviest = int(np.abs(weights).sum(axis=-2).max())
        else:  # the sum in float64 is less than 2**-20 of it too low
            column = np.abs(weights.astype(np.float64)).sum(axis=-2).max()
            heaviest = int(column * (1 + 2.0**-20)) + 1
    if highest * heaviest < 2**53:
        return np.rint(x.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64)
    if highest * heaviest > INT64_MAX:
        raise too_wide(where, highest * heaviest)
    return np.asarray(x @ weights)


def too_wide(where: str, found: int) -> SiraError:
    """The error for integers beyond int64."""
    return SiraError(
        "the integers do not fit into 64 bits",
        where=where,
        expected="magnitudes below 2**63",
        found=f"up to {found}",
        remedy="use narrower weights or activations",
    )
