"""Integers of convolutions, pools and residual sums: equal to golden in qonnx's executor."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from certificates import certified
from numpy.typing import NDArray
from onnx_models import Net
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from stage_checks import check

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.certificate import checker
from sira.datatypes import InputSpec, parse_datatype, parse_input
from sira.errors import SiraError
from sira.load import load
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from transforms import aggregate, annotate_accumulators, to_canonical, to_thresholds

PIXELS = parse_input("UINT8,scale=1/255", [])[1]


def compare(model: ir.Model, spec: InputSpec | None, samples: NDArray[Any]) -> Counter[str]:
    """Execute the integer stage on samples; how many tensors of each operator were equal."""
    canonical = to_canonical(model)
    (source,) = canonical.graph.inputs
    ranges = analyze(canonical, {g.name(source): spec} if spec else {})
    thresholds = to_thresholds(canonical, ranges)
    integer = annotate_accumulators(thresholds, analyze(thresholds))
    values = golden.run(canonical, ranges, {g.name(source): golden.encode(ranges, source, samples)})
    (first,) = integer.graph.inputs
    start = values[g.name(first)]
    assert isinstance(start, ScaledInt)
    proto = ir.to_proto(integer).SerializeToString()
    compared: Counter[str] = Counter()
    for i in range(len(samples)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapper = ModelWrapper(onnx.load_from_string(proto))
            inputs = {g.name(first): start.lo[i].astype(np.float32)}
            context = execute_onnx(wrapper, inputs, True)
        for node in integer.graph:
            name = g.name(node.outputs[0])
            expected = values.get(name.removesuffix("_integers"))
            if node.outputs[0] in integer.graph.outputs:
                continue  # real numbers for the host
            if isinstance(expected, ScaledInt) and node.op_type in _INTEGER:
                found = np.asarray(context[name], np.float64)
                np.testing.assert_array_equal(found, expected.lo[i], err_msg=node.op_type)
                compared[node.op_type] += 1
    return compared


_INTEGER = ("Conv", "MatMul", "MultiThreshold", "MaxPool", "Add", "Concat")


def weights(net: Net, *shape: int, seed: int = 0) -> str:
    q = np.random.default_rng(seed).integers(-3, 4, shape)
    return net.quant(q.astype(np.float32) * np.float32(0.3), 0.3, 3)


def normalized(net: Net, x: str, channels: int) -> str:
    random = np.random.default_rng(channels)
    gamma = random.normal(0, 1, channels).astype(np.float32)
    beta, mean = (random.normal(0, 1, channels).astype(np.float32) for _ in range(2))
    var = random.uniform(0.5, 2, channels).astype(np.float32)
    return net.node("BatchNormalization", x, gamma, beta, mean, var)


def pixels(*shape: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, 256, shape)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [2, 0, 1, 1]])
def test_padding_off_the_lattice(pads: list[int]) -> None:
    """(x / 255 - mean) / std: real zero is no integer, so borders have biases of their own."""
    net = Net((1, 3, 6, 7))
    hidden = net.node("Conv", "x", weights(net, 4, 3, 3, 3), kernel_shape=[3, 3], pads=pads)
    net.quant(normalized(net, hidden, 4), 0.5, 3)
    scale = Fraction(100, 5763)
    bias = tuple(-Fraction(m) / Fraction("0.226") for m in ("0.485", "0.456", "0.406"))
    spec = InputSpec(parse_datatype("UINT8", ""), (scale,), bias)
    offset = np.array([float(b) for b in bias]).reshape(3, 1, 1)
    samples = pixels(3, 1, 3, 6, 7) * float(scale) + offset
    assert compare(net.model(), spec, samples)["MultiThreshold"] == 3


def test_residual_and_pools() -> None:
    net = Net((1, 2, 8, 8))
    x = net.quant("x", 1 / 16, 4, signed=0)
    a = net.quant(net.node("Conv", x, weights(net, 4, 2, 3, 3), pads=[1, 1, 1, 1]), 0.25, 3)
    c = weights(net, 4, 1, 3, 3, seed=1)
    b = net.quant(net.node("Conv", a, c, group=4, pads=[1, 1, 1, 1]), 0.125, 3)
    pooled = net.node("MaxPool", net.node("Add", a, b), kernel_shape=[2, 2], strides=[2, 2])
    q = net.quant(pooled, 0.5, 3)
    mean = net.node("GlobalAveragePool", q)
    net.quant(mean, 0.1, 4)
    compared = compare(net.model(), None, np.random.default_rng(2).random((4, 1, 2, 8, 8)))
    assert compared["Conv"] >= 12 and compared["MaxPool"] == 4 and compared["MultiThreshold"] >= 12


def test_concat_of_two_branches() -> None:
    net = Net((1, 2, 5, 5))
    x = net.quant("x", 1 / 16, 4, signed=0)
    branches = [
        net.quant(net.node("Conv", x, weights(net, 3, 2, 1, 1, seed=i)), 0.25, 3) for i in (1, 2)
    ]
    joined = net.node("Concat", *branches, axis=1)
    net.quant(net.node("Conv", joined, weights(net, 2, 6, 3, 3, seed=3)), 1.0, 3)
    compared = compare(net.model(), None, np.random.default_rng(3).random((3, 1, 2, 5, 5)))
    assert compared["Concat"] == 3 and compared["MultiThreshold"] == 9


def test_zero_point_of_the_input_is_subtracted_in_front_of_padding() -> None:
    net = Net((1, 1, 5, 5))
    hidden = net.node("Conv", "x", weights(net, 2, 1, 3, 3), pads=[1, 1, 1, 1])
    net.quant(normalized(net, hidden, 2), 0.5, 3)
    spec = InputSpec(parse_datatype("UINT8", ""), (Fraction(1, 16),), (Fraction(-127, 16),))
    samples = (pixels(3, 1, 1, 5, 5) - 127) / 16
    assert compare(net.model(), spec, samples)["MultiThreshold"] == 3


@pytest.mark.parametrize("name", ["CNV_w2a2", "RN8_w3a3", "digits_cnn_s0_w4a4"])
def test_recorded_networks(name: str) -> None:
    if "SIRA_MODELS" not in os.environ:
        pytest.skip("SIRA_MODELS is not set")
    folder = Path(os.environ["SIRA_MODELS"])
    with np.load(folder / f"{name}_io.npz") as data:
        x = data["x"][:1]
    spec = None if name.startswith("digits") else PIXELS
    compared = compare(load(folder / f"{name}.onnx"), spec, x)
    assert compared["Conv"] >= 3 and compared["MultiThreshold"] >= 3


def test_products_of_two_computed_tensors_are_refused() -> None:
    net = Net((1, 4, 4))
    x = net.quant("x", 1.0, 3)
    net.quant(net.node("MatMul", x, net.node("Transpose", x, perm=[0, 2, 1])), 1.0, 3)
    canonical = to_canonical(net.model())
    with pytest.raises(SiraError, match="only a computed tensor times one constant matrix"):
        to_thresholds(canonical, analyze(canonical))


def test_thresholds_of_a_one_dimensional_convolution() -> None:
    """As many channels as positions: rows on the wrong axis would go unnoticed by shapes."""
    net = Net((1, 2, 5))
    hidden = net.node("Conv", net.quant("x", 0.25, 4), weights(net, 3, 2, 3))
    net.quant(normalized(net, hidden, 3), 0.5, 3)
    samples = np.random.default_rng(4).uniform(-2, 2, (5, 1, 2, 5))
    assert compare(net.model(), None, samples)["MultiThreshold"] == 5


def test_signs_in_front_of_shifted_padding() -> None:
    net = Net((1, 2, 5, 5))
    signed = net.node("Mul", net.quant("x", 1.0, 3), np.float32([[[-1.0]], [[1.0]]]))
    moved = net.node("Add", signed, 2.0)
    hidden = net.node("Conv", moved, weights(net, 2, 2, 3, 3), pads=[1, 1, 1, 1])
    net.quant(normalized(net, hidden, 2), 0.5, 3)
    samples = np.random.default_rng(5).uniform(-5, 5, (4, 1, 2, 5, 5))
    assert compare(net.model(), None, samples)["MultiThreshold"] == 4


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("signs", [(1.0, -1, 1), (-1.0, -1, 1)])
def test_signs_that_differ_within_a_channel(signs: tuple[float, ...], pads: int) -> None:
    net = Net((1, 2, 3, 3))
    x = net.node("Mul", net.quant("x", 0.5, 3), np.float32(signs))
    w = net.quant(np.random.default_rng(0).integers(-3, 4, (2, 2, 2, 2)) * 1.0, 1.0, 3)
    net.quant(net.node("Conv", x, w, pads=[pads] * 4), 1.0, 4)
    case = certified(net.model())
    assert checker.check(case.data, case.claims) == 2
    check(net.model(), {}, np.random.default_rng(1).uniform(-2, 2, (6, 1, 2, 3, 3)))


@pytest.mark.parametrize("signs", [(1.0, -1, 1), (1.0, 0, -1)])
def test_signs_that_differ_between_rows(signs: tuple[float, ...]) -> None:
    net = Net((1, 3, 4))
    x = net.node("Mul", net.quant("x", 0.5, 3), np.float32(signs).reshape(3, 1))
    w = net.quant(np.random.default_rng(0).integers(-3, 4, (4, 2)) * 1.0, 1.0, 3)
    net.quant(net.node("MatMul", x, w), 1.0, 4)
    case = certified(net.model())
    assert checker.check(case.data, case.claims) == 2
    check(net.model(), {}, np.random.default_rng(1).uniform(-2, 2, (6, 1, 3, 4)))


def test_transposed_operand_of_gemm() -> None:
    net = Net((1, 9))
    square = net.node("Reshape", net.quant("x", 0.25, 4), np.array([3, 3]))
    net.quant(net.node("Gemm", square, weights(net, 3, 3), transA=1), 0.5, 4)
    samples = np.random.default_rng(7).uniform(-2, 2, (4, 1, 9))
    assert compare(net.model(), None, samples)["MultiThreshold"] == 4


def test_negative_scale_of_a_dequantizer() -> None:
    net = Net((1, 4))
    plain = net.node("QuantizeLinear", "x", 0.5, np.array(0, np.int8))
    x = net.node("DequantizeLinear", plain, -0.5, np.array(0, np.int8))
    net.quant(net.node("MatMul", x, weights(net, 4, 3)), 1.0, 4)
    samples = np.random.default_rng(6).uniform(-3, 3, (6, 1, 4))
    assert compare(net.model(), None, samples)["MultiThreshold"] == 6


def test_squares_are_thresholds() -> None:
    net = Net((1, 4))
    x = net.quant("x", 0.25, 4, signed=0)
    square = net.quant(net.node("Mul", net.node("Mul", x, x), 1.5), 0.5, 4)
    net.quant(net.node("MatMul", square, weights(net, 4, 3)), 0.5, 4)
    samples = np.random.default_rng(8).uniform(0, 4, (4, 1, 4))
    compared = compare(net.model(), None, samples)
    assert compared["MultiThreshold"] == 8 and compared["MatMul"] == 4
    aggregated = aggregate(canonical := to_canonical(net.model()), analyze(canonical))
    squares = [n for n in aggregated.graph if n.op_type == "Mul" and n.inputs[0] is n.inputs[1]]
    assert len(squares) == 1
