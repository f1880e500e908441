"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx_models import Net, check, fractions, integers, real, run

from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt
from sira.ops import Constant

INPUT = integers(-1000, 1000, 0.25)
SCALES = np.array([0.25, 0.5, 1.0, 4.0], np.float32)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("zero", [0, 1, 7, 100])
@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_per_tensor(dtype: Any, zero: int, scale: float) -> None:
    net = Net((1, 4), opset=21)
    net.dequantized("x", scale, np.asarray(zero, dtype))
    ranges, exact = check(net, INPUT)
    q = ranges["t0"]
    assert isinstance(q, ScaledInt)
    info = np.iinfo(dtype)
    assert q.lo == max(info.min, round(-250 / scale) + zero)
    assert q.hi == min(info.max, round(250 / scale) + zero)
    assert isinstance(exact["t1"], ScaledInt)


def test_rounds_before_it_adds_the_zero_point() -> None:
    """With an odd zero point the even neighbour of a tie differs from that of Quant."""
    net = Net((1, 4))
    net.dequantized("x", 1.0, np.asarray(1, np.int8))
    q = np.array([[[1, 3, 5, -1]]])
    _, exact = run(net, integers(-9, 9, Fraction(1, 2)), q)
    found = exact["t0"]
    assert isinstance(found, ScaledInt)
    assert found.lo.tolist() == [[[1, 3, 3, 1]]]  # 0.5 1.5 2.5 -0.5 -> 0 2 2 0, plus 1
    net = Net((1, 4))
    y = net.quant("x", 1.0, bits=8, zero=1.0)
    found = run(net, integers(-9, 9, Fraction(1, 2)), q)[1][y]
    assert isinstance(found, ScaledInt)
    assert (found.lo + 1).tolist() == [[[2, 2, 4, 0]]]  # 1.5 2.5 3.5 0.5


@pytest.mark.parametrize("axis, shape", [(1, (1, 4)), (-1, (1, 4)), (1, (1, 4, 3)), (2, (1, 3, 4))])
def test_per_axis(axis: int, shape: tuple[int, ...]) -> None:
    net = Net(shape)
    net.dequantized("x", SCALES, np.array([0, 1, -3, 100], np.int8), axis=axis)
    check(net, INPUT)


def test_without_zero_point() -> None:
    net = Net((1, 4))
    net.node("DequantizeLinear", net.node("QuantizeLinear", "x", 0.5), 0.5)
    q = check(net, INPUT)[0]["t0"]
    assert isinstance(q, ScaledInt) and (q.lo, q.hi) == (0, 255)


def test_saturates_far_outside() -> None:
    net = Net((1, 4))
    net.dequantized("x", 2.0**-20, np.asarray(-3, np.int8))
    q = check(net, integers(-(2**30), 2**30, 2**20))[0]["t0"]
    assert isinstance(q, ScaledInt) and (q.lo, q.hi) == (-128, 127)


@pytest.mark.parametrize("dtype, lo, hi", [
    (ml_dtypes.int4, -8, 7), (ml_dtypes.uint4, 0, 15),
])  # fmt: skip
def test_four_bits(dtype: Any, lo: int, hi: int) -> None:
    """By hand: onnxruntime cannot execute 4-bit types from Python."""
    net = Net((1, 4), opset=21)
    net.dequantized("x", 0.5, np.asarray(3, dtype))
    ranges, exact = run(net, INPUT, np.array([[[-1000, -3, 1, 5]]]))
    q, found = ranges["t0"], exact["t0"]
    assert isinstance(q, ScaledInt) and (q.lo, q.hi) == (lo, hi)
    assert isinstance(found, ScaledInt)
    assert found.lo.tolist() == [[[lo, 1, 3, 5]]]  # -1.5 0.5 2.5 -> -2 0 2, plus 3


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, ml_dtypes.int4])
def test_weights(dtype: Any) -> None:
    q = np.array([[1, 2, 3, 4], [7, 6, 5, 0]], dtype)
    zero = np.array([0, 1, 2, 3], dtype)
    net = Net((1, 2), opset=21)
    w = net.node("DequantizeLinear", net.constant(q), net.constant(SCALES), net.constant(zero))
    net.node("MatMul", "x", w)
    ranges, exact = run(net, integers(-3, 3), np.array([[[2, -3]]]))
    values = (q.astype(int) - zero.astype(int)) * SCALES
    assert np.array_equal(fractions(exact["t1"]).ravel(), real([2.0, -3.0] @ values))
    constant = ranges["t0"]
    assert isinstance(constant, Constant) and constant.scaled is not None
    assert np.array_equal(constant.scaled.lo, q.astype(int) - zero.astype(int))


def test_float_types_are_refused() -> None:
    net = Net((1, 4), opset=21)
    net.dequantized("x", 0.5, np.asarray(0, ml_dtypes.float8_e4m3fn))
    with pytest.raises(SiraError, match="only integer types are supported, found float8"):
        run(net, INPUT, np.zeros((1, 1, 4), np.int64))
