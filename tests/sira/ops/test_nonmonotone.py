"""Functions with one lowest point: their range is that of the ends and of the lowest point."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from mpmath import iv
from scalar_rules import (
    EXTREMES,
    check_exact,
    check_sound,
    close,
    exactly,
    mpf,
    node,
    on_interval,
    signed,
)

from sira.errors import SiraError
from sira.numbers.exact import precision
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import nonmonotone, rule_of
from sira.ops.nonmonotone import Valley

Function = Callable[[Any], Any]


def gelu(x: Any) -> Any:
    if abs(x) > 1e5:  # mpmath's erfc has no range for it
        return max(x, mpmath.mpf(0))
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def gelu_tanh(x: Any) -> Any:
    u = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(44715) / 10**6 * x**3)
    return x / (1 + mpmath.exp(-2 * u))


def hard_swish(x: Any) -> Any:
    return x * max(mpmath.mpf(0), min(mpmath.mpf(1), x / 6 + mpmath.mpf(1) / 2))


def mish(x: Any) -> Any:
    return x * mpmath.tanh(max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x))))


def silu(x: Any) -> Any:
    return x / (1 + mpmath.exp(-x))


def swish(alpha: float) -> Function:
    return lambda x: x / (1 + mpmath.exp(-mpmath.mpf(float(np.float32(alpha))) * x))


CASES: list[tuple[str, dict[str, Any], Function, float]] = [
    ("Gelu", {}, gelu, -0.7517915246935645),
    ("Gelu", {"approximate": "none"}, gelu, -0.7517915246935645),
    ("Gelu", {"approximate": "tanh"}, gelu_tanh, -0.7524614220710163),
    ("HardSwish", {}, hard_swish, -1.5),
    ("Mish", {}, mish, -1.1924312145154954),
    ("Swish", {}, silu, -1.2784645427610738),
    ("Swish", {"alpha": 1.7}, swish(1.7), -1.2784645427610738 / float(np.float32(1.7))),
    ("Swish", {"alpha": -0.5}, swish(-0.5), 1.2784645427610738 / 0.5),
]
EACH = pytest.mark.parametrize(
    ("op", "attributes", "f", "valley"),
    CASES,
    ids=["-".join([op, *map(str, attributes.values())]) for op, attributes, *_ in CASES],
)
FLOATS = st.one_of(st.floats(-1e6, 1e6), st.floats(-8, 4), st.floats(-2, 0))


def check(made: Any, f: Function, valley: float, lo: float, hi: float) -> None:
    found = on_interval(made, lo, hi)
    values = check_sound(f, found, lo, hi)
    with mpmath.workprec(300):
        inner = [f(mpf(valley))] if lo <= valley <= hi else []
    ends = [values[0], values[-1], *inner]
    for bound, value in zip(found, (min(ends), max(ends)), strict=True):
        assert close(bound, value) or abs(mpmath.mpf(bound) - value) < 1e-300, (found, value)


@EACH
def test_extreme_intervals(op: str, attributes: Any, f: Function, valley: float) -> None:
    made = node(op, **attributes)
    for lo, hi in combinations_with_replacement(signed(EXTREMES)[::3], 2):
        check(made, f, valley, lo, hi)


@EACH
@examples(40)
@given(bounds=st.tuples(FLOATS, FLOATS).map(sorted))
def test_the_range_is_exact(
    op: str, attributes: Any, f: Function, valley: float, bounds: list[float]
) -> None:
    check(node(op, **attributes), f, valley, *bounds)


@EACH
@examples(20)
@given(x=st.fractions(-8, 8, max_denominator=1000))
def test_exact_values(op: str, attributes: Any, f: Function, valley: float, x: Fraction) -> None:
    with precision(240):
        check_exact(f, exactly(node(op, **attributes), x), x)


@EACH
def test_zero_is_exact(op: str, attributes: Any, f: Function, valley: float) -> None:
    assert exactly(node(op, **attributes), Fraction(0)) == 0
    assert on_interval(node(op, **attributes), 0, 0) == (0, 0)


@EACH
def test_unbounded(op: str, attributes: Any, f: Function, valley: float) -> None:
    lo, hi = on_interval(node(op, **attributes), -math.inf, math.inf)
    ends = (lo, hi) if attributes.get("alpha", 1) > 0 else (-hi, -lo)
    assert ends[1] == math.inf and close(ends[0], -abs(f(mpmath.mpf(valley))))
    if attributes.get("alpha", 1) > 0:
        assert on_interval(node(op, **attributes), -math.inf, -5)[1] == 0


@EACH
def test_slopes(op: str, attributes: Any, f: Function, valley: float) -> None:
    made = node(op, **attributes)
    slope = rule_of(made).slope
    assert slope is not None
    for lo, hi in ((-9.0, valley - 0.01), (valley + 0.01, 9.0), (valley - 0.5, valley + 0.5)):
        found = slope(made, [Interval(np.asarray(lo), np.asarray(hi))])
        values = [f(mpmath.mpf(v)) for v in np.linspace(lo, hi, 60)]
        if found is None:
            assert lo < valley < hi
            continue
        steps = [b - a for a, b in pairwise(values)]
        assert all(s * found.item() >= 0 for s in steps), (lo, hi)


VALLEYS = [
    (nonmonotone.GELU, gelu), (nonmonotone.GELU_TANH, gelu_tanh), (nonmonotone.MISH, mish),
    (nonmonotone.SILU, silu), (nonmonotone.HARD_SWISH, hard_swish),
]  # fmt: skip


@pytest.mark.parametrize(("valley", "f"), VALLEYS)
def test_the_stored_lowest_points_are_bounds_one_step_apart(valley: Valley, f: Function) -> None:
    """The derivative changes its sign inside ``place``; the value there lies in ``bottom``."""
    left, right = valley.place
    with mpmath.workprec(400):
        if f is not hard_swish:
            assert math.nextafter(left, math.inf) == right
            assert mpmath.diff(f, mpmath.mpf(left)) < 0 < mpmath.diff(f, mpmath.mpf(right))
        lowest = min(f(mpmath.mpf(left)), f(mpmath.mpf(right)))
        low, high = map(mpmath.mpf, valley.bottom)
        # Below the ends of ``place`` by less than the square of its width.
        assert low <= lowest - mpmath.mpf(right - left) ** 2 and lowest <= high
        assert high - low <= abs(low) * mpmath.mpf(2) ** -52


def _derivatives() -> list[tuple[str, Valley, Function]]:
    """Of a positive multiple of each function, in interval arithmetic."""

    def silu_(x: Any) -> Any:
        return 1 + iv.exp(-x) * (1 + x)

    def mish_(x: Any) -> Any:  # Misra, arXiv:1908.08681, eq. 2.2
        e = iv.exp(x)
        return 4 * (x + 1) + 4 * e**2 + e**3 + e * (4 * x + 6)

    def gelu_tanh_(x: Any) -> Any:
        c = iv.sqrt(8 / iv.pi)
        cubic = iv.mpf(44715) / 10**6
        return 1 + iv.exp(-c * (x + cubic * x**3)) * (1 + x * c * (1 + 3 * cubic * x**2))

    return [
        ("silu", nonmonotone.SILU, silu_), ("mish", nonmonotone.MISH, mish_),
        ("gelu_tanh", nonmonotone.GELU_TANH, gelu_tanh_),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "valley", "derivative"), _derivatives())
def test_the_derivative_has_one_sign_on_either_side(
    name: str, valley: Valley, derivative: Function
) -> None:
    """Proven by subdivision on [-30, 0]; for Gelu, phi(x) * (x + Phi/phi) is known to."""
    for lo, hi, sign in ((-30.0, valley.place[0] - 1e-3, -1), (valley.place[1] + 1e-3, 0.0, 1)):
        todo = [(lo, hi)]
        while todo:
            a, b = todo.pop()
            found = derivative(iv.mpf([a, b])) * sign
            if found.a > 0:
                continue
            assert b - a > 1e-6, (name, a, b)
            todo += [(a, (a + b) / 2), ((a + b) / 2, b)]


def test_hard_swish_by_hand() -> None:
    made = node("HardSwish")
    assert on_interval(made, -4, 4) == (-0.375, 4)
    assert on_interval(made, -1.5, 0) == (-0.375, 0)
    assert close(on_interval(made, 1, 3)[0], mpf(Fraction(2, 3)), ulps=8)
    assert exactly(made, Fraction(1)) == Fraction(2, 3)
    assert exactly(made, Fraction(-3, 2)) == Fraction(-3, 8)
    assert exactly(made, Fraction(-7)) == 0 and exactly(made, Fraction(7)) == 7


def test_integers_stay_integers_where_the_function_is_affine() -> None:
    for op, attributes, lo, hi, bounds in (
        ("HardSwish", {}, 3, 9, (3, 9)), ("HardSwish", {}, -9, -3, (0, 0)),
        ("Swish", {"alpha": 0.0}, -4, 6, (-4, 6)),
    ):  # fmt: skip
        made = node(op, **attributes)  # type: ignore[arg-type]
        x = ScaledInt.integers(np.asarray(lo), np.asarray(hi))
        [found] = rule_of(made).evaluate(made, [x])
        assert isinstance(found, ScaledInt)
        real = found.interval
        factor = 0.5 if op == "Swish" else 1
        assert (real.lo, real.hi) == (bounds[0] * factor, bounds[1] * factor)


def test_unknown_approximation() -> None:
    with pytest.raises(SiraError, match="Gelu n: unknown approximation, expected none or tanh"):
        on_interval(node("Gelu", approximate="fast"), -1, 1)


def test_per_channel_intervals() -> None:
    made = node("Mish")
    x = Interval(np.array([-5.0, -5.0, 0.0]), np.array([-2.0, 3.0, 3.0]))
    [found] = rule_of(made).evaluate(made, [x])
    assert isinstance(found, Interval)
    for i in range(3):
        one = on_interval(made, x.lo[i], x.hi[i])
        assert (found.lo[i], found.hi[i]) == one
