"""Threshold conversion against brute force over the whole range of the accumulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx_models import Net, annotated, integers
from qonnx.custom_op.general.multithreshold import multithreshold

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec
from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from sira.verification.oracle import Oracle
from transforms.canonical import to_canonical
from transforms.thresholds import to_thresholds

INPUT = integers(-60, 67, 0.25, 0.5)
ALL = np.arange(-60, 68)
BN = ([1.5, -0.5, 0.0, 3.0], [0.5, -1.0, 2.0, 0.0], [0.25, 0.0, 1.0, -2.0], [2.0, 0.3, 5.0, 90.0])


def converted(net: Net, spec: InputSpec = INPUT) -> tuple[ir.Model, onnx.ModelProto]:
    proto = annotated(net.proto())
    model = to_canonical(prepare(proto))
    return to_thresholds(model, analyze(model, {"x": spec})), proto


def steps(model: ir.Model, q: NDArray[np.int64]) -> NDArray[np.float64]:
    """The integers at the output of the one MultiThreshold, by qonnx's function."""
    value: NDArray[np.float64] = q.astype(np.float64)
    for node in model.graph:
        operand = g.array(node.inputs[1])
        assert operand is not None
        if node.op_type == "Mul":
            value = value * operand
        elif node.op_type == "MultiThreshold":
            bias = g.attribute(node, "out_bias", 0.0)
            assert (np.diff(operand, axis=1) >= 0).all()
            return np.asarray(multithreshold(value, operand, 1.0, bias))
    raise AssertionError("no thresholds")


def check(net: Net, spec: InputSpec = INPUT) -> ir.Model:
    """Every integer of every channel: thresholds, golden integers and float64 execution."""
    rebuilt, proto = converted(net, spec)
    source = prepare(proto).graph
    channels = g.shape(source.inputs[0])[1]
    q = np.arange(spec.datatype.lo, spec.datatype.hi + 1)
    q = q[:, None].repeat(channels, axis=1)
    ranges = analyze(prepare(proto), {"x": spec})
    static = ranges.scaled(source.inputs[0])
    assert static is not None
    x = golden.decode(static, q[:, None])
    exact = golden.run(prepare(proto), ranges, {"x": golden.encode(ranges, source.inputs[0], x)})
    value = exact[g.name(source.outputs[0])]
    assert isinstance(value, ScaledInt)
    assert np.array_equal(steps(rebuilt, q), value.lo[:, 0])
    name = g.name(source.outputs[0])
    floats = Oracle(proto).run(x)[name]
    assert np.array_equal(golden.decode(value, value.lo), floats)
    return rebuilt


def affine(net: Net) -> str:
    return net.node("Add", net.node("Mul", "x", [0.5, -1.0, 2.0, -0.125]), [0.0, 1.0, -3.0, 0.25])


TAILS: dict[str, Callable[[Net], Any]] = {
    "quant": lambda n: n.quant("x", 1.0),
    "per channel": lambda n: n.quant("x", np.array([0.25, 0.5, 1.0, 8.0])),
    "unsigned narrow": lambda n: n.quant("x", 0.5, bits=5, signed=0, narrow=1),
    "bipolar": lambda n: n.node("BipolarQuant", affine(n), 1.0),
    "one signed bit": lambda n: n.quant(affine(n), 0.5, bits=1),
    "falling channels": lambda n: n.quant(affine(n), 1.0, bits=5),
    "all falling": lambda n: n.quant(n.node("Neg", "x"), 0.75, bits=5),
    "from a constant": lambda n: n.quant(n.node("Sub", 1.5, "x"), 0.5),
    "batch normalisation": lambda n: n.quant(n.node("BatchNormalization", "x", *BN), 0.25, bits=6),
    "relu": lambda n: n.quant(n.node("Relu", affine(n)), 0.5, signed=0),
    "leaky": lambda n: n.quant(n.node("LeakyRelu", affine(n), alpha=0.125), 0.25, bits=6),
    "prelu": lambda n: n.quant(n.node("PRelu", "x", [0.5, 0.0, 2.0, 0.25]), 0.5, bits=6),
    "clip": lambda n: n.quant(n.node("Clip", affine(n), -1.3, 2.2), 0.25, bits=6),
    "sigmoid": lambda n: n.quant(n.node("Sigmoid", affine(n)), 2.0**-8, bits=8, signed=0),
    "tanh": lambda n: n.quant(n.node("Tanh", affine(n)), 2.0**-7, bits=8),
    "two quantizers": lambda n: n.quant(n.quant("x", 0.75, bits=6), 2.0, bits=4),
    "two qdq": lambda n: n.dequantized(n.dequantized(
        "x", 0.375, np.asarray(3, np.int8)), 0.75, np.asarray(-7, np.int8)),
    "multithreshold": lambda n: n.node(
        "MultiThreshold", affine(n), np.sort(np.random.default_rng(0).normal(0, 5, (4, 7))),
        out_scale=0.5, out_bias=-1.5, out_dtype="INT4"),
    "a fold that a clip straightens": lambda n: n.quant(n.node("Clip", n.node(
        "PRelu", "x", [-0.5, 0.5, 0.0, 1.0]), -100.0, 0.0), 0.5, bits=6),
    "dead": lambda n: n.quant(n.node("Relu", n.node("Add", "x", -500.0)), 0.5, signed=0),
    "constant channels": lambda n: n.quant(n.node("Mul", "x", [0.0, 1.0, 0.0, -1.0]), 0.5),
    "difference of one": lambda n: n.quant(n.node("Sub", "x", "x"), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_tails(name: str) -> None:
    net = Net((1, 4))
    TAILS[name](net)
    rebuilt = check(net)
    assert [n.op_type for n in rebuilt.graph][-3:-2] == ["MultiThreshold"]


@pytest.mark.parametrize("mode", [
    "ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN",
])  # fmt: skip
@pytest.mark.parametrize("negative", [False, True])
def test_ties_follow_the_mode(mode: str, negative: bool) -> None:
    """Half of all inputs are ties, and the tail may fall."""
    net = Net((1, 4))
    x = net.node("Neg", "x") if negative else "x"
    net.quant(x, 0.5, bits=6, mode=mode, zero=1.0)
    check(net)


def test_ties_of_products_that_float32_cannot_hold() -> None:
    """Multiples of 0.1f quantized at 0.2f: every odd one is a tie in exact arithmetic."""
    tenth = np.float32(0.1)
    for scale, spec_scale in ((2 * tenth, tenth), (np.float32(0.3) * 4, np.float32(0.3) * 2)):
        net = Net((1, 1))
        net.quant("x", scale, bits=7)
        spec = integers(-60, 67, float(spec_scale))
        model, _ = converted(net, spec)
        found = steps(model, ALL[:, None])
        assert np.array_equal(found.ravel(), np.clip(np.round(ALL / 2), -64, 63))


def test_constants_for_a_whole_tensor_give_one_row() -> None:
    net = Net((1, 4))
    net.quant(net.node("Add", "x", 0.3), 0.5)
    model, _ = converted(net)
    [node] = [n for n in model.graph if n.op_type == "MultiThreshold"]
    assert g.shape(node.inputs[1]) == (1, 15)  # type: ignore[arg-type]


def test_falling_channels_count_on_the_negated_integer() -> None:
    net = Net((1, 2))
    net.quant(net.node("Mul", "x", [1.0, -1.0]), 0.25, bits=9)
    model, _ = converted(net)
    assert [n.op_type for n in model.graph][:2] == ["Mul", "MultiThreshold"]
    signs = g.array(next(iter(model.graph)).inputs[1])
    assert signs is not None and signs.tolist() == [1, -1]


def test_thresholds_beyond_float32_stay_exact() -> None:
    net = Net((1, 1))
    net.quant("x", 2.0**20 + 1, bits=8)
    model, _ = converted(net, integers(-(2**27), 2**27))
    [node] = [n for n in model.graph if n.op_type == "MultiThreshold"]
    found = g.array(node.inputs[1])
    assert found is not None
    levels = np.arange(-127, 128)
    ties = (2 * levels - 1) * (2**20 + 1)  # of q / scale = level - 1/2, times two
    expected = np.where(levels % 2 == 0, -(-ties // 2), ties // 2 + 1)
    expected = np.where(ties % 2 == 0, expected, -(-ties // 2))
    assert np.array_equal(found[0, 1:].astype(np.int64), np.minimum(expected, 2**27 + 1)[1:])


@pytest.mark.parametrize("make, message", [
    (lambda n: n.quant(n.node("PRelu", "x", [-1.0, 1, 1, 1])),
     "PRelu PRelu_0: the function in front of a quantizer is not monotone.*use a monotone"),
    (lambda n: n.quant(n.node("Mul", "x", "x")), "Mul Mul_0: the function .* is not monotone"),
    (lambda n: n.quant("x", 2.0**-30, bits=32), "Quant_0: too many levels .* quantize to few"),
    (lambda n: n.quant(n.node("Div", "x", n.node("MatMul", "x", np.eye(4)[::-1]))),
     "Div_1.*(several computed tensors|has no integers)"),
])  # fmt: skip
def test_what_cannot_become_thresholds(make: Callable[[Net], Any], message: str) -> None:
    net = Net((1, 4))
    make(net)
    with pytest.raises(SiraError, match=message):
        converted(net)


def test_constants_that_differ_within_a_channel() -> None:
    net = Net((1, 2, 3))
    net.quant(net.node("Add", "x", np.arange(6.0).reshape(2, 3)))
    with pytest.raises(SiraError, match="thresholds must not differ within a channel"):
        converted(net)
