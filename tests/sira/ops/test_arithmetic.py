"""Add, Sub, Mul, Div and Neg."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx_models import Net, check, integers, run

from sira.errors import SiraError
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt

INPUT = integers(-3, 9, 0.5, 0.25)
CHANNELS = np.array([2.0, -1.5, 0.0, 0.25], np.float32)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("constant", [-0.5, 4.0, CHANNELS, CHANNELS[None]])
@pytest.mark.parametrize("first", [False, True])
def test_with_a_constant(op: str, constant: Any, first: bool) -> None:
    if op == "Div":
        constant = np.where(np.asarray(constant) == 0, 8, constant).astype(np.float32)
        constant = np.where(constant == -1.5, -2, constant).astype(np.float32)
        if first:
            return
    net = Net((1, 4))
    net.node(op, *((constant, "x") if first else ("x", constant)))
    ranges, _ = check(net, INPUT)
    result = ranges["t0"]
    assert isinstance(result, ScaledInt)
    assert (result.scale.signs() > 0).all()  # type: ignore[union-attr]


def test_a_negative_factor_swaps_the_bounds_and_zero_makes_a_constant() -> None:
    net = Net((1, 4))
    net.node("Mul", "x", CHANNELS)
    result = check(net, INPUT)[0]["t0"]
    assert isinstance(result, ScaledInt)
    assert result.lo.tolist() == [-3, -9, 0, -3] and result.hi.tolist() == [9, 3, 0, 9]
    assert result.scale.values.tolist() == [1, 0.75, 1, 0.125]  # type: ignore[union-attr]
    assert result.bias.values.tolist() == [0.5, -0.375, 0, 0.0625]  # type: ignore[union-attr]


def test_neg() -> None:
    net = Net((1, 4))
    net.node("Neg", "x")
    result = check(net, INPUT)[0]["t0"]
    assert isinstance(result, ScaledInt)
    assert (result.lo, result.hi) == (-9, 3)


def test_both_operands_are_one_tensor() -> None:
    """They move together: x*x is never negative, x-x is 0, x+x has even steps."""
    for op, lo, hi in (("Mul", 0, 25), ("Sub", 0, 0), ("Add", -10, 10)):
        net = Net((1, 4))
        net.node(op, "x", "x")
        found = check(net, integers(-5, 5))[0]["t0"]
        bounds = found.interval if isinstance(found, ScaledInt) else found
        assert isinstance(bounds, Interval)
        assert (bounds.lo.min(), bounds.hi.max()) == (lo, hi), op


def test_one_over_a_range_with_zero_is_unbounded() -> None:
    net = Net((1, 4))
    net.node("Div", 1.0, "x")
    ranges, _ = run(net, integers(-4, 4), np.array([[[1, 2, 4, -2]]]))
    found = ranges["t0"]
    assert isinstance(found, Interval) and (found.lo, found.hi) == (-np.inf, np.inf)
    net = Net((1, 4))
    net.node("Div", 1.0, "x")
    found = run(net, integers(1, 4), np.array([[[1, 2, 4, 2]]]))[0]["t0"]
    assert isinstance(found, Interval) and (found.lo, found.hi) == (0.25, 1)


def test_division_by_a_zero_constant() -> None:
    net = Net((1, 4))
    net.node("Div", "x", CHANNELS)
    with pytest.raises(SiraError, match=r"^Div Div_0: division by zero$"):
        check(net, INPUT)


@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize("scales", [(1, 1), (0.25, 1), (0.75, 0.5), (3, 0.125)])
def test_two_tensors_whose_scales_are_in_integer_ratio(op: str, scales: tuple[float, ...]) -> None:
    net = Net((1, 4))
    a = net.quant(net.node("Mul", "x", 0.5), scales[0], bits=3)
    b = net.quant(net.node("Neg", "x"), scales[1], bits=3, zero=1.0)
    total = net.node(op, a, b)
    found = check(net, INPUT)[0][total]
    assert isinstance(found, ScaledInt)
    step = found.scale.values.item()  # type: ignore[union-attr]
    assert all((Fraction(s) / step).denominator == 1 for s in scales)


def test_two_tensors_whose_scales_are_in_no_ratio() -> None:
    net = Net((1, 4))
    a, b = net.quant("x", 1.0), net.quant(net.node("Neg", "x"), np.float32(0.3))
    total = net.node("Add", a, b)
    ranges, _ = run(net, INPUT, np.zeros((1, 1, 4), np.int64))
    found = ranges[total]
    assert isinstance(found, Interval) and "ratio" in found.reason


def test_product_of_two_tensors_covers_all_corners() -> None:
    net = Net((1, 4))
    other = net.node("MatMul", "x", np.eye(4, dtype=np.float32)[::-1])
    product = net.node("Mul", net.quant("x", 1.0), net.node("Add", other, 0.5))
    found = check(net, integers(-3, 5))[0][product]
    assert isinstance(found, Interval)
    assert (found.lo == -16.5).all() and (found.hi == 27.5).all()
    assert "multiplies two tensors without common zero" in found.reason


@pytest.mark.parametrize("a, b, bounds", [
    ((1, 0.0), (0.25, 0.0), (-27, 81)), ((0.5, 0.5), (1, -2.0), (-50, 70)),
    ((1, 0.0), (-1, 0.0), (-81, 27)),
])  # fmt: skip
def test_product_of_two_tensors_with_integer_zeros(
    a: tuple[float, float], b: tuple[float, float], bounds: tuple[int, int]
) -> None:
    """Random integers -3..9, the two operands in different orders."""
    net = Net((1, 4))
    x = net.node("Add", net.node("Mul", "x", a[0]), a[1])
    reverse = net.node("MatMul", "x", np.eye(4, dtype=np.float32)[::-1])
    y = net.node("Add", net.node("Mul", reverse, b[0]), b[1])
    product = net.node("Mul", x, y)
    found = check(net, integers(-3, 9))[0][product]
    assert isinstance(found, ScaledInt)
    assert (found.lo == bounds[0]).all() and (found.hi == bounds[1]).all()


@pytest.mark.parametrize("lo, hi, least, most", [
    (-3, 9, 0, 81), (-9, 3, 0, 81), (2, 9, 4, 81), (-9, -2, 4, 81), (-9, 0, 0, 81),
])  # fmt: skip
def test_squares_are_exact(lo: int, hi: int, least: int, most: int) -> None:
    net = Net((1, 4))
    half = net.node("Mul", "x", -0.5)
    square = net.node("Mul", half, half)
    found = check(net, integers(lo, hi))[0][square]
    assert isinstance(found, ScaledInt)
    assert (found.lo.item(), found.hi.item()) == (least, most)
    assert found.scale.values.item() == Fraction(1, 4)  # type: ignore[union-attr]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_ranks_that_differ(op: str) -> None:
    """(3,) against (1, 2, 3), with as many samples as rows."""
    net = Net((1, 2, 3))
    y = net.node("Add", net.node("ReduceMax", "x", axes=[0, 1], keepdims=0), 8.0)
    y = net.node("Mul", y, 0.0 if op == "Div" else 1.0)
    y = net.node("Add", y, 4.0 if op == "Div" else 0.0)
    net.node(op, "x", y)
    check(net, integers(-2, 5), samples=2)


def test_products_at_the_border_of_64_bits() -> None:
    for factor, kept in ((1.0, True), (2.0, False)):
        net = Net((1, 1))
        other = net.node("MatMul", "x", np.float32([[1]]))
        net.node("Mul", "x", net.node("MatMul", other, np.float32([[1]])))
        big = 3037000499  # the largest integer whose square is below 2**63
        found = run(net, integers(0, int(big * factor)), np.full((1, 1, 1), big))
        assert isinstance(found[0]["t2"], ScaledInt) is kept
        if kept:
            value = found[1]["t2"]
            assert isinstance(value, ScaledInt) and value.lo.item() == big**2


def test_sums_at_the_border_of_64_bits() -> None:
    """Both operands reach half of the border."""
    for excess in (0, 1):
        net = Net((1, 1))
        net.node("Add", "x", net.node("MatMul", "x", np.float32([[1]])))
        spec = integers(-(2**62), 2**62 - 1 + excess)
        q = np.full((1, 1, 1), 2**62 - 1)
        if excess:
            with pytest.raises(SiraError, match="Add_1: the integers do not fit into 64 bits"):
                run(net, spec, q)
            continue
        ranges, values = run(net, spec, q)
        found, value = ranges["t1"], values["t1"]
        assert isinstance(found, ScaledInt) and isinstance(value, ScaledInt)
        assert (found.lo.item(), found.hi.item()) == (-(2**63), 2**63 - 2)
        assert value.lo.item() == 2**63 - 2


def test_cancellation_does_not_touch_the_integers() -> None:
    """A bias of a million beside a scale of 0.0037 leaves q in 0..255 through a Reshape."""
    net = Net((1, 4))
    y = net.node("Add", net.node("Mul", "x", 0.0037), 1e6)
    net.node("Reshape", y, np.array([2, 2]))
    ranges, _ = run(net, integers(0, 255), np.zeros((1, 1, 4), np.int64))
    found = ranges["t2"]
    assert isinstance(found, ScaledInt) and (found.lo, found.hi) == (0, 255)
    assert found.scale.values.item() == Fraction(float(np.float32(0.0037)))  # type: ignore[union-attr]


def test_parameters_must_be_constant() -> None:
    net = Net((1, 4))
    net.node("Quant", "x", "x", 0.0, 4.0, signed=1, narrow=0, rounding_mode="ROUND")
    with pytest.raises(SiraError, match="Quant_0: a parameter is computed from the input"):
        check(net, INPUT)
