"""Parameters of a wrong shape are refused in one line that says what was expected and found."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx_models import Net, annotated, integers

from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.load import prepare

Build = Callable[[Net], Any]
ONES = np.ones(3, np.float32)
STEP = np.array([0.5, 0.25, 1.0], np.float32)


def refused(shape: tuple[int, ...], build: Build, message: str) -> None:
    net = Net(shape, opset=13)
    build(net)
    with pytest.raises(SiraError, match=message):
        analyze(prepare(annotated(net.proto())), {"x": integers(-8, 7)})


def fits(shape: tuple[int, ...], build: Build) -> None:
    net = Net(shape, opset=13)
    build(net)
    analyze(prepare(annotated(net.proto())), {"x": integers(-8, 7)})


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("length", [1, 2, 4])
def test_batch_normalization(position: int, length: int) -> None:
    vectors = [ONES] * 4
    fits((1, 3, 2, 2), lambda net: net.node("BatchNormalization", "x", *vectors))
    vectors[position] = np.ones(length, np.float32)
    refused(
        (1, 3, 2, 2),
        lambda net: net.node("BatchNormalization", "x", *vectors),
        rf"BatchNormalization_0, input {position + 1}: a parameter does not fit, expected shape "
        rf"\(3,\), or one that broadcasts to it, found \({length},\)",
    )


COLUMN = STEP.reshape(1, 3, 1, 1)
QUANTIZERS: dict[str, Callable[[Net, Any, Any], Any]] = {
    "Quant": lambda net, s, z: net.quant("x", s, zero=z),
    "IntQuant": lambda net, s, z: net.node(
        "IntQuant", "x", s, z, 4.0, signed=1, narrow=0, rounding_mode="ROUND"
    ),
    "Trunc": lambda net, s, z: net.node("Trunc", "x", s, z, 4.0, 2.0, rounding_mode="FLOOR"),
}


@pytest.mark.parametrize("op", QUANTIZERS)
@pytest.mark.parametrize("bad", [STEP[:2].reshape(1, 2, 1, 1), STEP, COLUMN[None]])
def test_quantizers(op: str, bad: Any) -> None:
    shape = (1, 3, 2, 2)
    build = QUANTIZERS[op]
    for scale, zero in ((COLUMN, 0.0), (0.5, COLUMN * 0), (np.full((1, 1, 1, 1), 0.5), 0.0)):
        fits(shape, lambda net, s=scale, z=zero: build(net, s, z))  # type: ignore[misc]
    refused(shape, lambda net: build(net, bad, 0.0), f"{op}_0, input 1: a parameter does not fit")
    refused(shape, lambda net: build(net, 0.5, bad), f"{op}_0, input 2: a parameter does not fit")


def test_bipolar_quantizer() -> None:
    fits((1, 3), lambda net: net.node("BipolarQuant", "x", STEP))
    refused((1, 1), lambda net: net.node("BipolarQuant", "x", STEP), "BipolarQuant_0, input 1")
    refused((1, 3), lambda net: net.node("BipolarQuant", "x", -STEP), "scale must be positive")


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
def test_quantize_linear(op: str) -> None:
    zero = np.zeros(3, np.int8)

    def build(scale: Any, zero: Any, axis: int) -> Build:
        return lambda net: net.node(op, "x", scale, zero, axis=axis)

    fits((1, 3, 2), build(STEP, zero, 1))
    fits((1, 3, 3), build(STEP, zero, -1))
    refused((1, 3, 2), build(STEP[:2], zero[:2], 1), rf"{op}_0, input 1: .* found \(2,\)")
    refused((1, 3, 2), build(STEP, zero, 2), rf"{op}_0, input 1: .* found \(3,\)")
    refused((1, 3, 2), build(STEP, zero[:2], 1), rf"{op}_0, input 2: .* found \(2,\)")
    refused((1, 3, 2), build(STEP, zero, 3), rf"{op}_0, input 1")
    refused((1, 3, 2), build(STEP.reshape(1, 3, 1), zero.reshape(1, 3, 1), 1), f"{op}_0, input 1")


def test_thresholds() -> None:
    def build(rows: int) -> Build:
        return lambda net: net.node("MultiThreshold", "x", np.zeros((rows, 2)), out_dtype="UINT2")

    fits((1, 3, 2, 2), build(1))
    fits((1, 3, 2, 2), build(3))
    refused(
        (1, 3, 2, 2),
        build(2),
        r"MultiThreshold_0: the thresholds do not fit, expected shape \(C, n\) with C = 1 or 3, "
        r"found \(2, 2\)",
    )


def test_slopes_and_limits() -> None:
    fits((1, 3, 2), lambda net: net.node("PRelu", "x", STEP.reshape(3, 1)))
    refused((1, 3, 2), lambda net: net.node("PRelu", "x", STEP), "PRelu_0, input 1")
    refused((1, 2), lambda net: net.node("Clip", "x", STEP), "Clip_0, input 1")


def test_biases() -> None:
    w = np.ones((4, 3, 1, 1), np.float32)
    fits((1, 3, 2, 2), lambda net: net.node("Conv", "x", w, np.ones(4, np.float32)))
    for length in (1, 3, 5):
        bias = np.ones(length, np.float32)
        refused((1, 3, 2, 2), lambda net, b=bias: net.node("Conv", "x", w, b), "Conv_0, input 2")  # type: ignore[misc]
    up = w.transpose(1, 0, 2, 3)
    refused((1, 3, 2, 2), lambda net: net.node("ConvTranspose", "x", up, ONES), "input 2")
    square = np.ones((3, 4), np.float32)
    fits((1, 3), lambda net: net.node("Gemm", "x", square, np.ones(4, np.float32)))
    refused((1, 3), lambda net: net.node("Gemm", "x", square, ONES), "Gemm_0")
    refused((1, 3), lambda net: net.node("Gemm", "x", square, np.ones((2, 4))), "Gemm_0, input 2")


@pytest.mark.parametrize("perm", [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, 2, 3]])
def test_permutations(perm: list[int]) -> None:
    refused(
        (1, 3, 2),
        lambda net: net.node("Transpose", "x", perm=perm),
        "Transpose_0: perm is no permutation of the axes, expected each of 0..2 once",
    )


def test_squeezed_axes() -> None:
    fits((1, 3, 1), lambda net: net.node("Squeeze", "x", np.array([-1])))
    for axis in (1, -2):
        refused(
            (1, 3, 1),
            lambda net, a=axis: net.node("Squeeze", "x", np.array([a])),  # type: ignore[misc]
            r"Squeeze_0: only axes of size 1 can be squeezed, expected size 1, found axes \[1\]",
        )
    refused((1, 3, 1), lambda net: net.node("Squeeze", "x", np.array([3])), "no such axis")


@pytest.mark.parametrize("scale", [0, -1])
def test_the_scale_of_an_input(scale: int) -> None:
    net = Net((1, 3))
    net.node("Relu", "x")
    spec = InputSpec(IntegerType("test", 0, 3), (Fraction(scale),))
    message = f"input x: the scale must be positive, expected scale > 0, found {scale}"
    with pytest.raises(SiraError, match=message):
        analyze(prepare(annotated(net.proto())), {"x": spec})


@pytest.mark.parametrize("op", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_random_constants_are_not_folded(op: str) -> None:
    net = Net((1, 3), opset=15)
    net.node("Add", "x", net.node(op, np.full(3, 0.5, np.float32)))
    with pytest.raises(SiraError, match=f"operator {op} is not supported"):
        prepare(annotated(net.proto()))


def test_dropout_in_training() -> None:
    def build(training: bool) -> Build:
        return lambda net: net.node("Dropout", "x", 0.5, np.array(training))

    refused((1, 3), build(True), "Dropout_0: Dropout is in training mode")
    fits((1, 3), build(False))
