"""Quant, IntQuant, BipolarQuant and MultiThreshold against qonnx's functions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
from onnx_models import Net, check, fractions, integers, real, run
from qonnx.custom_op.general.bipolar_quant import binary_quant
from qonnx.custom_op.general.multithreshold import multithreshold
from qonnx.custom_op.general.quant import quant

from sira.errors import SiraError
from sira.numbers.rounding import RoundingMode
from sira.numbers.scaled import ScaledInt
from sira.ops.quant import quantize_float32

MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
INPUT = integers(-40, 40, 0.25)
ALL = np.arange(-40, 41)[:, None, None] * np.ones((1, 1, 4), np.int64)
SCALES = np.array([0.25, 0.5, 1.0, 2.0], np.float32)


def scaled(value: Any) -> ScaledInt:
    assert isinstance(value, ScaledInt)
    return value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signed, narrow, bits", [
    (1, 0, 4), (1, 1, 4), (0, 0, 3), (0, 1, 3), (1, 0, 1), (0, 0, 1), (1, 1, 2), (1, 0, 8),
])  # fmt: skip
@pytest.mark.parametrize("zero", [0.0, 3.0, -0.5])
@pytest.mark.parametrize("scale", [0.5, SCALES])
def test_quant(mode: str, signed: int, narrow: int, bits: int, zero: float, scale: Any) -> None:
    """All 81 inputs, half of them ties, as qonnx's function quantizes them in float64."""
    net = Net((1, 4))
    y = net.quant("x", scale, bits, signed, narrow, zero, mode)
    ranges, exact = run(net, INPUT, ALL)
    expected = quant(
        ALL * 0.25, np.asarray(scale, float), np.asarray(zero), np.asarray(float(bits)),
        signed, narrow, mode,
    )  # fmt: skip
    found, static = scaled(exact[y]), scaled(ranges[y])
    assert np.array_equal(fractions(found), real(expected))
    # the ends of a rising function's range are its values at the ends
    assert np.array_equal(np.broadcast_to(static.lo, (1, 4)), found.lo.min(axis=0))
    assert np.array_equal(np.broadcast_to(static.hi, (1, 4)), found.hi.max(axis=0))


def test_int_quant_is_the_same_operator() -> None:
    net = Net((1, 4))
    net.node("IntQuant", "x", 0.5, 0.0, 3.0, signed=0, narrow=0, rounding_mode="ROUND")
    found = check(net, INPUT)[0]["t0"]
    assert (scaled(found).lo, scaled(found).hi) == (0, 7)


def test_scales_that_no_float_holds_are_divided_exactly() -> None:
    """0.3f / 0.1f is below 3 and above 2.5: a tie would be at 2.5 * 0.1f exactly."""
    tie = Fraction(float(np.float32(0.1))) * Fraction(5, 2)
    net = Net((1, 1))
    y = net.quant("x", np.float32(0.1), bits=4)
    step = Fraction(1, 2**80)
    for offset, expected in ((-step, 2), (Fraction(0), 2), (step, 3)):
        _, exact = run(net, integers(0, 1, 1, tie + offset), np.zeros((1, 1, 1), np.int64))
        assert scaled(exact[y]).lo == expected


@pytest.mark.parametrize("scale", [0.5, SCALES])
def test_bipolar_quant(scale: Any) -> None:
    net = Net((1, 4))
    y = net.node("BipolarQuant", "x", scale)
    ranges, exact = run(net, INPUT, ALL)
    assert np.array_equal(
        fractions(scaled(exact[y])), real(binary_quant(ALL * 0.25, np.asarray(scale, float)))
    )
    static = scaled(ranges[y])
    assert (static.lo.min(), static.hi.max()) == (0, 1)  # one step, not two


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("scale, bias", [(1.0, 0.0), (2.0, -3.0), (0.5, -1.5), (1.0, 0.25)])
def test_multithreshold(rows: int, scale: float, bias: float) -> None:
    rng = np.random.default_rng(rows)
    steps = np.sort(rng.integers(-40, 41, (rows, 6)), axis=1) / 4
    net = Net((1, 4))
    y = net.node("MultiThreshold", "x", steps, out_scale=scale, out_bias=bias, out_dtype="INT4")
    ranges, exact = run(net, INPUT, ALL)
    expected = multithreshold(ALL[:, 0] * 0.25, steps, scale, bias)[:, None]
    found, static = scaled(exact[y]), scaled(ranges[y])
    assert np.array_equal(fractions(found), real(expected))
    assert np.array_equal(np.broadcast_to(static.lo, (1, 4)), found.lo.min(axis=0))
    assert np.array_equal(np.broadcast_to(static.hi, (1, 4)), found.hi.max(axis=0))


@pytest.mark.parametrize("layout, shape, axis", [
    ("", (1, 3, 5), 2), ("NCW", (1, 3, 5), 1), ("NWC", (1, 3, 5), 2), ("NHWC", (1, 2, 3, 5), 3),
    ("NCHW", (1, 2, 3, 5), 1), ("", (1, 2, 3, 5), 1), ("NC", (1, 5), 1),
])  # fmt: skip
def test_multithreshold_channels(layout: str, shape: tuple[int, ...], axis: int) -> None:
    """The oracle is qonnx's executor, which knows the same layouts."""
    steps = np.sort(np.random.default_rng(1).integers(-9, 10, (shape[axis], 4)), axis=1)
    net = Net(shape)
    options = {"data_layout": layout} if layout else {}
    net.node("MultiThreshold", "x", steps.astype(np.float32), out_dtype="UINT3", **options)
    check(net, integers(-10, 10))


def test_counts_do_not_scale_with_the_input() -> None:
    """Thresholding is not linear: 7 thresholds give at most 7, whatever the input's scale."""
    net = Net((1, 4))
    net.node("MultiThreshold", "x", np.arange(7.0)[None] * 1000, out_dtype="UINT3")
    found = check(net, integers(-784, 784, 128))[0]["t0"]
    assert (scaled(found).lo.min(), scaled(found).hi.max()) == (0, 7)


def test_multithreshold_with_a_negative_scale() -> None:
    net = Net((1, 4))
    net.node("MultiThreshold", "x", np.ones((1, 2)), out_scale=-1.0, out_dtype="INT2")
    with pytest.raises(SiraError, match=r"expected out_scale > 0, found -1\.0"):
        check(net, INPUT)


def test_weights_are_folded_as_qonnx_does() -> None:
    """Float32 first, then exact: integers times the exact scale, less the zero point."""
    rng = np.random.default_rng(0)
    w = rng.normal(0, 1, (5, 4)).astype(np.float32)
    scale = np.array([[0.1, 0.3, 0.7, 0.013]], np.float32)
    for zero in (0.0, 2.0, 0.5):
        net = Net((1, 5))
        net.node("MatMul", "x", net.quant(w, scale, bits=4, zero=zero), output="y")
        if zero == 0.5:
            continue
        ranges, _ = run(net, integers(0, 3), np.zeros((1, 1, 5), np.int64))
        constant = ranges["t0"]
        q = np.clip(np.rint(w / scale + np.float32(zero)), -8, 7).astype(np.int64)
        exact = (real(q) - Fraction(zero)) * real(scale)
        assert np.array_equal(constant.real.values, exact)  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", get_args(RoundingMode))
@pytest.mark.parametrize("bits, signed, narrow", [(1, 1, 0), (1, 0, 0), (4, 1, 1), (8, 0, 1)])
def test_float32_rounding_is_that_of_qonnx(
    mode: RoundingMode, bits: int, signed: int, narrow: int
) -> None:
    """Bit for bit, beside ties too, where float32 itself rounds."""
    rng = np.random.default_rng(bits)
    scale = rng.uniform(0.01, 1, (1, 50)).astype(np.float32)
    ties = (rng.integers(-40, 300, (400, 50)) / 2).astype(np.float32) * scale
    x = np.concatenate(
        [ties, np.nextafter(ties, np.float32(9)), np.nextafter(ties, np.float32(-9))]
    )
    for zero in (np.float32([0]), np.float32([3]), np.float32([0.3])):
        found = quantize_float32(x, scale, zero, bits, bool(signed), bool(narrow), mode)
        expected = quant(x, scale, zero, np.float32(bits), signed, narrow, mode)
        assert found.dtype == expected.dtype == np.float32
        assert np.array_equal(found, expected)


def test_weights_with_a_fractional_zero_point() -> None:
    net = Net((1, 1))
    net.node("Add", "x", net.quant([[0.8]], 0.5, bits=4, zero=0.25))
    ranges, _ = run(net, integers(0, 3), np.zeros((1, 1, 1), np.int64))
    # 0.8 / 0.5 + 0.25 = 1.85 -> 2, less 0.25, times 0.5
    assert ranges["t0"].real.values.item() == Fraction(7, 8)  # type: ignore[union-attr]


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_scale_must_be_positive(scale: float) -> None:
    net = Net((1, 4))
    net.quant("x", scale)
    with pytest.raises(SiraError, match=r"Quant_0: a quantizer's scale must be positive.*found"):
        check(net, INPUT)


@pytest.mark.parametrize("bits", [0.0, 2.5, 33.0, np.array([2.0, 3.0], np.float32)])
def test_bit_width_must_be_an_integer(bits: Any) -> None:
    net = Net((1, 4))
    net.node("Quant", "x", 1.0, 0.0, bits, signed=1, narrow=0, rounding_mode="ROUND")
    with pytest.raises(
        SiraError, match=r"the bit width must be a constant integer, expected 1\.\."
    ):
        run(net, INPUT, ALL)
