"""Lowering: layers, offsets and widths from the integer graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lowering import lowered
from onnx_models import Net, integers

from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from sira.errors import SiraError

INPUT = integers(-8, 7, 0.5)
RNG = np.random.default_rng(0)


def weights(k: int, n: int) -> Any:
    return RNG.integers(-7, 8, (k, n)) * 0.25


def test_a_dense_layer_and_its_quantizer() -> None:
    net = Net((1, 6))
    net.quant(net.node("MatMul", "x", net.quant(weights(6, 4), 0.25)), 1.5)
    result = lowered(net, INPUT)
    mac, steps = result.dataflow.layers
    assert isinstance(mac, MatrixVector) and isinstance(steps, Thresholding)
    assert (mac.name, steps.name) == ("MatMul_1", "Quant_2")
    assert mac.weights.shape == (4, 6) and (mac.pe, mac.simd) == (1, 1)
    widest = 15 * np.abs(mac.weights).sum(axis=1).max()
    assert mac.accumulator_bits == int(widest).bit_length() == steps.input_bits
    assert result.wires[result.input].offset == -8 and mac.input_bits == 4


def test_start_values_carry_the_offset_of_the_input() -> None:
    """The smallest accumulator counts as 0, whatever the sign of the weights."""
    net = Net((1, 6))
    net.quant(net.node("MatMul", "x", net.quant(weights(6, 4), 0.25)))
    mac = lowered(net, INPUT).dataflow.layers[0]
    assert isinstance(mac, MatrixVector)
    assert mac.start.tolist() == (15 * -np.minimum(mac.weights, 0).sum(axis=1)).tolist()


def test_bipolar_networks_use_one_bit() -> None:
    net = Net((1, 8))
    w = net.node("BipolarQuant", RNG.normal(0, 1, (8, 4)), 0.5)
    net.node("BipolarQuant", net.node("MatMul", net.node("BipolarQuant", "x", 1.0), w), 1.0)
    mac = lowered(net, None).dataflow.layers[0]
    assert isinstance(mac, MatrixVector)
    assert (mac.input_bits, mac.code_bits, mac.accumulator_bits) == (1, 1, 4)


@pytest.mark.parametrize("make", [
    lambda n: n.quant(n.node("Neg", n.node("MatMul", "x", n.quant(weights(6, 4), 0.25))), 2.0),
    lambda n: n.quant(n.node("Mul", n.node("MatMul", "x", n.quant(weights(6, 4), 0.25)),
                             [1.0, -1.0, 0.0, 0.5]), 1.5),
    lambda n: n.quant(n.node("MatMul", n.node("Mul", "x", [1.0, -2.0, 0, 3, -1, 1]),
                             n.quant(np.array([[2.0], [1], [7], [2], [2], [4]]), 1.0)), 9.0),
    lambda n: n.quant(n.node("MatMul", n.node("MatMul", "x", n.quant(weights(6, 4), 0.25)),
                             n.quant(weights(4, 3), 0.25)), 9.0, bits=6),
    lambda n: n.node("Reshape", n.quant(n.node("MatMul", "x", n.quant(weights(6, 4), 0.25)), 2.0),
                     np.array([1, 2, 2])),
])  # fmt: skip
def test_other_chains(make: Callable[[Net], Any]) -> None:
    net = Net((1, 6))
    make(net)
    lowered(net, INPUT)


def test_several_vectors_a_frame_and_a_reshape_of_their_offsets() -> None:
    for quantized in (True, False):
        net = Net((1, 3, 4))
        x = net.node("MatMul", net.quant("x"), net.quant(weights(4, 2), 0.25))
        x = net.node("Flatten", net.quant(x) if quantized else x)
        net.quant(net.node("MatMul", x, net.quant(weights(6, 3), 0.25)), 4.0)
        first = lowered(net, None).dataflow.layers[0]
        assert isinstance(first, MatrixVector) and first.vectors == 3


@pytest.mark.parametrize("op", ["ArgMax", "TopK"])
@pytest.mark.parametrize("softmax", [False, True])
def test_decisions(op: str, softmax: bool) -> None:
    net = Net((1, 6))
    x = net.node(
        "Gemm", "x", net.quant(weights(6, 4), [[0.25, 0.5, 1.0, 0.125]]), [0.1, -3.0, 0.1, 2.0]
    )
    x = net.node("Softmax", x, axis=1) if softmax else x
    if op == "TopK":
        net.node("TopK", x, np.array([1]), axis=1, outputs=2)
    else:
        net.node("ArgMax", x, axis=1)
    result = lowered(net, INPUT)
    last = result.dataflow.layers[-1]
    assert isinstance(last, ArgMax) and len(last.scale) == 4
    assert result.host == ("Mul", "Add")


def test_what_is_left_to_the_host() -> None:
    net = Net((1, 6))
    x = net.node("MatMul", "x", net.quant(weights(6, 4), 0.25))
    net.node("Softmax", net.node("Sigmoid", x), axis=1)
    result = lowered(net, INPUT)
    assert [type(layer) for layer in result.dataflow.layers] == [MatrixVector]
    assert result.host == ("Mul", "Add", "Sigmoid", "Softmax")


def test_nodes_of_one_name_become_different_layers() -> None:
    net = Net((1, 6))
    x = net.quant(net.node("MatMul", "x", net.quant(weights(6, 4), 0.25)))
    net.quant(net.node("MatMul", x, net.quant(weights(4, 2), 0.25)))
    for node in net.nodes:
        node.name = "layer"
    names = [layer.name for layer in lowered(net, INPUT).dataflow.layers]
    assert len(set(names)) == 4


@pytest.mark.parametrize("make, message", [
    (lambda n: n.node("MatMul", n.quant(n.node("MatMul", "x", n.quant(weights(6, 4), 0.25))),
                      weights(4, 2)), "MatMul MatMul_3: no hardware for these operators"),
    (lambda n: n.quant(n.node("MatMul", "x", weights(6, 4))),
     "MatMul_0: tensor t0 has no integers.* found .*the weights are not quantized; quantize it"),
    (lambda n: n.node("Softmax", n.node("Mul", "x", 0.5)), "no hardware for these operators"),
])  # fmt: skip
def test_what_has_no_hardware(make: Callable[[Net], Any], message: str) -> None:
    net = Net((1, 6))
    make(net)
    with pytest.raises(SiraError, match=message) as caught:
        lowered(net, INPUT)
    assert "\n" not in str(caught.value)


def test_an_input_that_nobody_quantizes() -> None:
    net = Net((1, 6))
    net.quant(net.node("MatMul", "x", net.quant(weights(6, 4), 0.25)))
    with pytest.raises(SiraError, match=r"has no integers.*declare the input with --input"):
        lowered(net, None)
