"""The rounding modes of QONNX, on float64, on fractions and on enclosures.

ROUND and HALF_EVEN take the even neighbour of a tie; HALF_UP, HALF_DOWN, UP and DOWN are symmetric
about zero.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sira.errors import SiraError
from sira.numbers.exact import Enclosure, Undecided

RoundingMode = Literal["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


def parse_mode(text: str, where: str) -> RoundingMode:
    """The mode named ``text``, in any case."""
    for mode in get_args(RoundingMode):
        if text.upper() == mode:
            return mode  # type: ignore[no-any-return]
    raise SiraError(
        "unknown rounding mode",
        where=where,
        expected=" | ".join(get_args(RoundingMode)),
        found=text,
    )


def round_floats(x: NDArray[np.float64], mode: RoundingMode) -> NDArray[np.float64]:
    """Round each element to an integer; every step is exact in float64 (infinities stay)."""
    match mode:
        case "ROUND" | "HALF_EVEN":
            return np.asarray(np.rint(x))
        case "CEIL":
            return np.ceil(x)
        case "FLOOR":
            return np.floor(x)
        case "UP":
            return np.asarray(np.copysign(np.ceil(np.abs(x)), x))
        case "DOWN":
            return np.trunc(x)
        case "HALF_UP" | "HALF_DOWN":
            whole = np.floor(np.abs(x))
            with np.errstate(invalid="ignore"):
                rest = np.where(np.isinf(x), 0.0, np.abs(x) - whole)
            up = rest >= 0.5 if mode == "HALF_UP" else rest > 0.5
            return np.asarray(np.copysign(whole + up, x))


def round_exact(x: Any, mode: RoundingMode) -> int:
    """Round a fraction; an enclosure must round to one integer or `Undecided` is raised."""
    if not isinstance(x, Enclosure):
        return _round_fraction(x, mode)
    low, high = x.bounds
    if x.irrational:  # strictly between the bounds, so a bound that is a step is out of reach
        low, high = _off_step(low, 1), _off_step(high, -1)
    result = _round_fraction(low, mode)
    if result != _round_fraction(high, mode):
        raise Undecided
    return result


def _off_step(x: Fraction, direction: int) -> Fraction:
    """A number that rounds as what lies just beside ``x``; all steps are multiples of 1/2."""
    return x + Fraction(direction, 4) if (2 * x).denominator == 1 else x


def _round_fraction(x: Fraction, mode: RoundingMode) -> int:
    sign = -1 if x < 0 else 1
    match mode:
        case "ROUND" | "HALF_EVEN":
            return round(x)
        case "CEIL":
            return math.ceil(x)
        case "FLOOR":
            return math.floor(x)
        case "UP":
            return sign * math.ceil(abs(x))
        case "DOWN":
            return sign * math.floor(abs(x))
        case "HALF_UP":
            return sign * math.floor(abs(x) + Fraction(1, 2))
        case "HALF_DOWN":
            return sign * math.ceil(abs(x) - Fraction(1, 2))
