"""Relu, LeakyRelu, PRelu, Clip, Sigmoid and Tanh."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from onnx_models import Net, check, integers, run

from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops.base import numbers

RANGES = [(-7, 9), (0, 9), (2, 9), (-7, 0), (-7, -2)]
SLOPES = np.array([0.5, 0.0, 1.0, -0.25], np.float32)


@pytest.mark.parametrize("lo, hi", RANGES)
@pytest.mark.parametrize("op, inputs, attributes", [
    ("Relu", (), {}), ("LeakyRelu", (), {"alpha": 0.125}), ("LeakyRelu", (), {"alpha": -0.5}),
    ("PRelu", (SLOPES,), {}), ("PRelu", (0.5,), {}), ("PRelu", (-2.0,), {}),
    ("Clip", (-1.0, 2.5), {}), ("Clip", (-1.25, 2.0), {}), ("Clip", (None, 1.0), {}),
    ("Clip", (0.5,), {}),
])  # fmt: skip
def test_exactly(op: str, inputs: Any, attributes: Any, lo: int, hi: int) -> None:
    net = Net((1, 4))
    net.node(op, "x", *inputs, **attributes)
    check(net, integers(lo, hi, 0.5))


@pytest.mark.parametrize("lo, hi", RANGES)
def test_clip_by_attributes(lo: int, hi: int) -> None:
    net = Net((1, 4), opset=9)
    net.node("Clip", "x", min=-1.5, max=2.0)
    found = check(net, integers(lo, hi, 0.5))[0]["t0"]
    assert isinstance(found, ScaledInt)  # both bounds are on the lattice
    assert (found.lo, found.hi) == (min(max(lo, -3), 4), max(min(hi, 4), -3))


def test_clip_off_the_lattice_has_no_integers() -> None:
    net = Net((1, 4))
    net.node("Clip", "x", -1.25, 2.0)
    found = check(net, integers(-7, 9, 0.5))[0]["t0"]
    assert isinstance(found, Interval) and (found.lo, found.hi) == (-1.25, 2)
    assert "Clip_0 is not affine" in found.reason


def test_bounds_are_tight() -> None:
    """Every bound is reached by some integer."""
    for op, inputs in (("Relu", ()), ("PRelu", (SLOPES,)), ("PRelu", (np.float32(-2),))):
        net = Net((1, 4))
        net.node(op, "x", *inputs)
        q = np.arange(-7, 10)[:, None, None] * np.ones((1, 1, 4), np.int64)
        ranges, exact = run(net, integers(-7, 9), q)
        found, values = numbers(ranges["t0"]), numbers(exact["t0"])
        assert isinstance(found, Interval) and isinstance(values, Interval)
        assert np.array_equal(np.broadcast_to(found.lo, (1, 4)), values.lo.min(axis=0))
        assert np.array_equal(np.broadcast_to(found.hi, (1, 4)), values.hi.max(axis=0))


@pytest.mark.parametrize("op, limits", [("Relu", ()), ("Clip", (0.0,)), ("Clip", (-1.0, 2.0))])
def test_clipping_on_the_lattice_keeps_the_integers(op: str, limits: tuple[float, ...]) -> None:
    """Real zero is the integer 3 of this lattice, -1 is 1, and 2 is 7."""
    net = Net((1, 4))
    net.node(op, "x", *limits)
    found = check(net, integers(-7, 9, 0.5, -1.5))[0]["t0"]
    assert isinstance(found, ScaledInt)
    assert (found.lo, found.hi) == ((1, 7) if limits == (-1.0, 2.0) else (3, 9))


def test_only_channels_that_are_clipped_must_be_on_the_lattice() -> None:
    net = Net((1, 4))
    net.node("Relu", net.node("Add", "x", [0.0, 1.5, 4.75, 100.25]))
    found = check(net, integers(-7, 9, 0.5))[0]["t1"]
    assert isinstance(found, ScaledInt)
    assert found.lo.ravel().tolist() == [0, -3, -7, -7]
    net = Net((1, 4))
    net.node("Relu", net.node("Add", "x", [0.0, 1.5, 2.75, 100.25]))
    assert isinstance(check(net, integers(-7, 9, 0.5))[0]["t1"], Interval)


def test_clipping_far_off_the_integers_of_64_bits() -> None:
    net = Net((1, 1))
    net.node("Clip", net.node("Mul", "x", 2.0**-70), 1.0, None)
    found = check(net, integers(0, 9))[0]["t1"]
    assert isinstance(found, Interval) and (found.lo, found.hi) == (1, 1)


def test_relu_of_what_is_never_negative_keeps_the_integers() -> None:
    net = Net((1, 4))
    net.node("Relu", "x")
    ranges, _ = check(net, integers(0, 9, 0.5))
    assert ranges["t0"] is ranges["x"]


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_smooth_functions_enclose_the_exact_value(op: str) -> None:
    net = Net((1, 4))
    net.node(op, "x")
    q = np.array([[[-6000, -37, 0, 1]], [[17, 40, 700, 6000]]])
    ranges, exact = run(net, integers(-6000, 6000, 0.125), q)
    static, values = ranges["t0"], exact["t0"]
    assert isinstance(static, Interval) and isinstance(values, Interval)
    with mpmath.workprec(4000):
        for x, lo, hi in zip(q.ravel(), values.lo.ravel(), values.hi.ravel(), strict=True):
            real = mpmath.mpf(int(x)) / 8
            y = 1 / (1 + mpmath.exp(-real)) if op == "Sigmoid" else mpmath.tanh(real)
            assert mpmath.mpf(lo) <= y <= mpmath.mpf(hi)
            assert static.lo.item() <= lo and hi <= static.hi.item()


@pytest.mark.parametrize("op, expected", [("Sigmoid", 127), ("Tanh", 127)])
def test_a_saturated_function_does_not_reach_the_step_at_its_limit(op: str, expected: int) -> None:
    """128 * sigmoid(x) is below 128 for every x, so its floor is 127."""
    net = Net((1, 4))
    y = net.quant(net.node(op, "x"), 2.0**-7, bits=8, signed=0, mode="FLOOR")
    _, exact = run(net, integers(-5000, 5000), np.full((1, 1, 4), 5000))
    found = exact[y]
    assert isinstance(found, ScaledInt) and (found.lo == expected).all()
