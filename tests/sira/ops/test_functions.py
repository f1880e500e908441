"""Elementary functions against mpmath: enclosed everywhere, and no wider than a few ulps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from scalar_rules import (
    EXTREMES,
    check_exact,
    check_sound,
    close,
    exactly,
    inside,
    mpf,
    node,
    on_interval,
    signed,
)

from sira.errors import SiraError
from sira.numbers.exact import Exact, Undecided, precision
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import Constant, rule_of


@dataclass(frozen=True)
class Case:
    """An operator and what it means; ``slope`` is None where it rises and falls."""

    op: str
    f: Callable[[Any], Any]
    slope: int | None = 1
    lowest: float = -math.inf
    constants: tuple[float, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def node(self) -> Any:
        return node(self.op, 1 + len(self.constants), **self.attributes)

    def __str__(self) -> str:
        return "-".join([self.op, *map(str, (*self.constants, *self.attributes.values()))])


def f32(x: float) -> Any:
    return mpmath.mpf(float(np.float32(x)))


def elu(alpha: float) -> Callable[[Any], Any]:
    return lambda x: x if x > 0 else f32(alpha) * mpmath.expm1(x)


def celu(alpha: float) -> Callable[[Any], Any]:
    return lambda x: max(x, 0) + min(0, f32(alpha) * mpmath.expm1(x / f32(alpha)))


def selu(alpha: float, gamma: float) -> Callable[[Any], Any]:
    return lambda x: f32(gamma) * (x if x > 0 else f32(alpha) * mpmath.expm1(x))


def softplus(x: Any) -> Any:
    return max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x)))


def hard_sigmoid(alpha: float, beta: float) -> Callable[[Any], Any]:
    return lambda x: max(mpmath.mpf(0), min(mpmath.mpf(1), f32(alpha) * x + f32(beta)))


def power(exponent: float) -> Callable[[Any], Any]:
    return lambda x: mpmath.power(x, mpmath.mpf(exponent))


def power_case(exponent: float, slope: int | None, lowest: float = -math.inf) -> Case:
    return Case("Pow", power(exponent), slope, lowest, (exponent,))


CASES = [
    Case("Exp", mpmath.exp),
    Case("Erf", mpmath.erf),
    Case("Softplus", softplus),
    Case("Sqrt", mpmath.sqrt, lowest=0),
    Case("Log", mpmath.log, lowest=5e-324),
    Case("Elu", elu(1)),
    Case("Elu", elu(0.3), attributes={"alpha": 0.3}),
    Case("Elu", elu(-0.5), None, attributes={"alpha": -0.5}),
    Case("Selu", selu(1.67326319217681884765625, 1.05070102214813232421875)),
    Case("Selu", selu(0.5, -2), -1, attributes={"alpha": 0.5, "gamma": -2.0}),
    Case("Celu", celu(1)),
    Case("Celu", celu(0.3), attributes={"alpha": 0.3}),
    Case("Celu", celu(-0.7), attributes={"alpha": -0.7}),
    Case("HardSigmoid", hard_sigmoid(0.2, 0.5)),
    Case("HardSigmoid", hard_sigmoid(-0.3, 0.1), -1, attributes={"alpha": -0.3, "beta": 0.1}),
    Case("Reciprocal", lambda x: 1 / x, -1, lowest=5e-324),
    power_case(2.0, None),
    power_case(3.0, 1),
    power_case(6.0, None),
    power_case(0.5, 1, 0),
    power_case(1.5, 1, 0),
    power_case(0.3, 1, 0),
    power_case(-1.0, -1, 5e-324),
    power_case(-2.0, -1, 5e-324),
    power_case(-0.75, -1, 5e-324),
]  # fmt: skip

EACH = pytest.mark.parametrize("case", CASES, ids=str)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(-50, 50), st.floats(-2, 2)
)


def check(case: Case, lo: float, hi: float) -> None:
    lo, hi = max(lo, case.lowest), max(hi, case.lowest)
    found = on_interval(case.node, lo, hi, *case.constants)
    values = check_sound(case.f, found, lo, hi)
    if case.slope is None:
        return
    least, most = (values[0], values[-1])[:: case.slope]
    assert close(found[0], least) and close(found[1], most), (found, least, most)


@EACH
def test_extreme_intervals(case: Case) -> None:
    for lo, hi in combinations_with_replacement(signed(EXTREMES)[1::3], 2):
        if hi >= case.lowest:
            check(case, lo, hi)


@EACH
@examples(30)
@given(bounds=st.tuples(FLOATS, FLOATS).map(sorted))
def test_the_range_holds_every_value_and_is_tight(case: Case, bounds: list[float]) -> None:
    check(case, *bounds)


@EACH
@examples(20)
@given(x=st.fractions(-30, 30, max_denominator=1000))
def test_exact_values(case: Case, x: Fraction) -> None:
    x = max(x, Fraction(0)) + Fraction(1, 7) if case.lowest >= 0 else x
    with precision(200):
        check_exact(case.f, exactly(case.node, x, *case.constants), x)


@EACH
def test_slopes(case: Case) -> None:
    rule = rule_of(case.node)
    assert rule.slope is not None
    constants = [Constant(np.asarray(c)) for c in case.constants]
    spans = [(0.5, 3.0), (-3.0, 3.0), (-3.0, -0.5)]
    for lo, hi in spans:
        if lo < case.lowest:
            continue
        x = Interval(np.asarray(lo), np.asarray(hi))
        slope = rule.slope(case.node, [x, *constants])
        values = [case.f(mpmath.mpf(v)) for v in np.linspace(lo, hi, 50)]
        rises = all(a <= b for a, b in pairwise(values))
        falls = all(a >= b for a, b in pairwise(values))
        if slope is not None:
            assert rises if slope.item() > 0 else falls
        else:
            assert case.slope is None
        if lo < 0 < hi:
            assert (slope is None) == (not rises and not falls)


def test_even_powers_and_reciprocals_know_the_sign_of_their_range() -> None:
    for op, exponent, span, expected in (
        ("Pow", 2.0, (0.0, 3.0), 1), ("Pow", 2.0, (-3.0, 0.0), -1), ("Pow", 2.0, (-1.0, 1.0), None),
        ("Pow", -2.0, (-3.0, -1.0), 1), ("Pow", -3.0, (-3.0, -1.0), -1),
        ("Pow", -1.0, (-1.0, 1.0), None), ("Pow", 0.0, (-1.0, 1.0), 0),
        ("Reciprocal", None, (-3.0, -1.0), -1), ("Reciprocal", None, (-1.0, 1.0), None),
    ):  # fmt: skip
        made = node(op)
        x = Interval(np.asarray(span[0]), np.asarray(span[1]))
        rule = rule_of(made)
        assert rule.slope is not None
        slope = rule.slope(made, [x] if exponent is None else [x, Constant(np.asarray(exponent))])
        assert (None if slope is None else slope.item()) == expected


def test_exact_ranges() -> None:
    """By hand; what float64 holds is met exactly."""
    inf, top = math.inf, np.finfo(float).max
    assert on_interval(node("Pow"), -1, 1, 2.0) == (0, 1)
    assert on_interval(node("Pow"), -3, 2, 2.0) == (0, 9)
    assert on_interval(node("Pow"), -3, -2, 2.0) == (4, 9)
    assert on_interval(node("Pow"), -3, 2, 3.0) == (-27, 8)
    assert on_interval(node("Pow"), -3, 2, 0.0) == (1, 1)
    assert on_interval(node("Pow"), 4, 16, 0.5) == (2, 4)
    assert on_interval(node("Pow"), -4, 2, -2.0) == (1 / 16, inf)
    assert on_interval(node("Pow"), -4, 2, -1.0) == (-inf, inf)
    assert on_interval(node("Reciprocal"), -1, 1) == (-inf, inf)
    assert on_interval(node("Reciprocal"), 0, 2) == (0.5, inf)
    assert on_interval(node("Reciprocal"), -4, 0) == (-inf, -0.25)
    assert on_interval(node("Reciprocal"), 0, 5e-324) == (top, inf)
    assert on_interval(node("Reciprocal"), -inf, -2) == (-0.5, 0)
    assert on_interval(node("Exp"), -inf, inf) == (0, inf)
    assert on_interval(node("Exp"), -inf, 0) == (0, 1)
    assert on_interval(node("Log"), 0, 1) == (-inf, 0)
    assert on_interval(node("Log"), -1, 1) == (-inf, 0)
    assert on_interval(node("Log"), 1, inf) == (0, inf)
    assert on_interval(node("Sqrt"), -1, 4) == (0, 2)
    assert on_interval(node("Sqrt"), 4, inf) == (2, inf)
    assert on_interval(node("Erf"), -inf, inf) == (-1, 1)
    assert on_interval(node("Erf"), 0, inf) == (0, 1)
    assert on_interval(node("Softplus"), -inf, inf) == (0, inf)
    assert on_interval(node("Elu"), -inf, inf) == (-1, inf)
    assert on_interval(node("Elu"), 2, 3) == (2, 3)
    assert on_interval(node("Elu", alpha=-0.5), -inf, 0.25) == (0, 0.5)
    assert on_interval(node("Celu", alpha=0.5), -inf, 3) == (-0.5, 3)
    assert on_interval(node("HardSigmoid", alpha=0.25), -1, 1) == (0.25, 0.75)
    assert on_interval(node("HardSigmoid"), -inf, inf) == (0, 1)


def test_exact_points() -> None:
    for op, x, value in (
        ("Exp", 0, 1), ("Log", 1, 0), ("Erf", 0, 0), ("Sqrt", Fraction(9, 4), Fraction(3, 2)),
        ("Elu", 0, 0), ("Elu", 3, 3), ("Selu", 0, 0), ("Celu", 5, 5),
        ("Reciprocal", Fraction(3, 7), Fraction(7, 3)),
        ("HardSigmoid", 0, Fraction(1, 2)), ("HardSigmoid", 100, 1), ("HardSigmoid", -100, 0),
    ):  # fmt: skip
        assert exactly(node(op), Fraction(x)) == value, op
    for x, exponent, value in (
        (-3, 2.0, 9), (-2, 3.0, -8), (2, -2.0, Fraction(1, 4)), (0, 0.0, 1), (0, 0.5, 0),
        (1, 0.3, 1), (Fraction(9, 4), 1.5, Fraction(27, 8)), (16, -0.75, Fraction(1, 8)),
    ):  # fmt: skip
        assert exactly(node("Pow", 2), Fraction(x), exponent) == value, (x, exponent)


@pytest.mark.parametrize("x", [Fraction(1, 3), Fraction(-5, 2), Fraction(40), Fraction(10**6)])
def test_erf_lies_strictly_between_its_bounds_and_below_one(x: Fraction) -> None:
    for bits in (64, 300):
        with precision(bits):
            found = exactly(node("Erf"), x)
            low, high = found.bounds
            with mpmath.workprec(6000):
                assert mpf(low) < mpmath.erf(mpf(x)) < mpf(high) or abs(x) > 64
            assert low < high <= 1 and low >= -1
            assert found.compare(Fraction(1)) == -1 and found.compare(Fraction(-1)) == 1


def test_an_irrational_power_is_never_a_tie_but_roots_of_fractions_are() -> None:
    root = exactly(node("Pow", 2), Fraction(2), 0.5)
    low, high = root.bounds
    assert (root.compare(low), root.compare(high)) == (1, -1)
    with pytest.raises(Undecided):
        root.compare((low + high) / 2)
    square = (Exact.of(2).sqrt().power(Fraction(2))).values.item()
    with pytest.raises(Undecided):
        square.compare(Fraction(2))


def test_exponents_per_channel() -> None:
    made = node("Pow", 2)
    exponents = Constant(np.array([2.0, 1.0, 0.0, -1.0]))
    x = Interval(np.asarray(-2.0), np.array([1.0, 1.0, 1.0, -0.5]))
    [found] = rule_of(made).evaluate(made, [x, exponents])
    assert isinstance(found, Interval)
    assert found.lo.tolist() == [0, -2, 1, -2] and found.hi.tolist() == [4, 1, 1, -0.5]
    [exact] = rule_of(made).evaluate(made, [Exact.of(Fraction(-1, 2)), exponents])
    assert isinstance(exact, Exact)
    assert exact.values.tolist() == [Fraction(1, 4), Fraction(-1, 2), 1, -2]
    rule = rule_of(made)
    assert rule.slope is not None
    positive = Interval(np.asarray(1.0), np.asarray(2.0))
    slope = rule.slope(made, [positive, exponents])
    assert slope is not None and slope.tolist() == [1, 1, 0, -1]


def test_integers_stay_integers_where_the_function_is_affine() -> None:
    x = ScaledInt.of(np.asarray(0), np.asarray(5), Exact.of(Fraction(1, 2)), Exact.of(1))
    for made, *constants in (
        (node("Elu"),), (node("Selu"),), (node("Celu"),), (node("Pow", 2), 1.0),
        (node("HardSigmoid", alpha=0.125, beta=0.25),),
    ):  # fmt: skip
        arguments = [x, *(Constant(np.asarray(c)) for c in constants)]
        [found] = rule_of(made).evaluate(made, arguments)  # type: ignore[arg-type]
        assert isinstance(found, ScaledInt), made.op_type
        assert (found.lo, found.hi) == (0, 5)
    below = ScaledInt.of(np.asarray(-5), np.asarray(5), Exact.of(1), Exact.of(0))
    [found] = rule_of(node("Elu")).evaluate(node("Elu"), [below])
    assert isinstance(found, Interval) and "not affine" in found.reason


@pytest.mark.parametrize(
    ("op", "span", "constants", "text"),
    [
        ("Log", (-2.0, 0.0), (), "can be positive"),
        ("Log", (-2.0, -1.0), (), "can be positive, found one that cannot"),
        ("Sqrt", (-2.0, -1.0), (), "can be 0 or more"),
        ("Pow", (-2.0, -1.0), (0.5,), "can be 0 or more"),
        ("Pow", (0.0, 0.0), (-1.0,), "other than 0"),
        ("Reciprocal", (0.0, 0.0), (), "other than 0"),
    ],
)
def test_operands_outside_the_domain(
    op: str, span: tuple[float, float], constants: tuple[float, ...], text: str
) -> None:
    made = node(op, 1 + len(constants))
    with pytest.raises(SiraError, match=f"{op} n: .*outside its domain.*{text}"):
        on_interval(made, *span, *constants)
    with pytest.raises(SiraError, match=text):
        exactly(made, Fraction(span[0]), *constants)


def test_a_range_that_reaches_below_zero_says_so() -> None:
    x = Interval(np.asarray(-1.0), np.asarray(4.0))
    [found] = rule_of(node("Sqrt")).evaluate(node("Sqrt"), [x])
    assert isinstance(found, Interval) and "may fall below 0" in found.reason


def test_attributes_without_meaning() -> None:
    with pytest.raises(SiraError, match="alpha must not be 0"):
        on_interval(node("Celu", alpha=0.0), -1, 1)
    with pytest.raises(SiraError, match="alpha must be finite"):
        on_interval(node("Elu", alpha=math.inf), -1, 1)


def test_elements_nobody_asked_for_stay_unknown() -> None:
    x = Exact(np.array([np.nan, Fraction(2)], object))
    for case in CASES:
        constants = [Constant(np.asarray(c)) for c in case.constants]
        [found] = rule_of(case.node).evaluate(case.node, [x, *constants])
        assert isinstance(found, Exact)
        assert isinstance(found.values[0], float) and math.isnan(found.values[0])
        assert not isinstance(found.values[1], float)


@given(x=st.floats(-1e3, 1e3), width=st.floats(0, 5))
@examples(30)
def test_complementary_error_function(x: float, width: float) -> None:
    found = Interval(np.asarray(x), np.asarray(x + width)).erfc()
    with mpmath.workprec(300):
        for v in (x, x + width):
            assert inside((found.lo.item(), found.hi.item()), mpmath.erfc(mpmath.mpf(v)))
    assert Interval.point(0.0).erfc().lo == Interval.point(0.0).erfc().hi == 1
