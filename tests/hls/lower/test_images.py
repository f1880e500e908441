"""Lowering of convolutional networks: every tensor in hardware equals exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from lowering import lowered
from onnx_models import Net, integers

from hls.layers.concat import Concat
from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.global_pooling import GlobalPooling
from hls.layers.matrix_vector import MatrixVector
from hls.layers.pooling import Pooling
from hls.layers.slice import Slice
from hls.layers.sliding_window import SlidingWindow
from hls.layers.zero_insertion import ZeroInsertion
from sira.datatypes import InputSpec
from sira.errors import SiraError

RNG = np.random.default_rng(1)
PIXELS = integers(0, 7, 0.5)
SIGNED = integers(-4, 3, 0.5)


def weights(net: Net, *shape: int, scale: float = 0.25) -> str:
    return net.quant(RNG.integers(-7, 8, shape) * scale, scale)


def kinds(result: Any) -> list[type]:
    return [type(layer) for layer in result.dataflow.layers]


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((1, 3, 6, 5), (4, 3, 3, 3), {}),
    "padded": ((1, 3, 6, 5), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "asymmetric": ((1, 2, 6, 5), (3, 2, 3, 2), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    "same": ((1, 2, 7, 5), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "dilated": ((1, 2, 8, 8), (3, 2, 3, 3), {"dilations": [2, 3], "pads": [1, 2, 1, 2]}),
    "pointwise": ((1, 4, 3, 3), (5, 4, 1, 1), {}),
    "pointwise, strided": ((1, 4, 5, 6), (5, 4, 1, 1), {"strides": [2, 3]}),
    "pointwise, padded": ((1, 4, 3, 3), (5, 4, 1, 1), {"pads": [1, 0, 0, 1]}),
    "whole image": ((1, 4, 3, 5), (2, 4, 3, 5), {}),
    "depthwise": ((1, 4, 5, 5), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "multiplied": ((1, 3, 5, 5), (6, 1, 3, 3), {"group": 3}),
    "grouped": ((1, 6, 5, 5), (4, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "line": ((1, 3, 9), (4, 3, 3), {"pads": [1, 1]}),
    "line, strided": ((1, 3, 9), (4, 3, 4), {"strides": [2], "dilations": [2]}),
    "larger than the image": ((1, 2, 2, 2), (3, 2, 5, 5), {"pads": [2, 2, 2, 2]}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("spec", [PIXELS, SIGNED], ids=["unsigned", "signed"])
def test_convolutions(name: str, spec: InputSpec) -> None:
    shape, kernel, attributes = CONVOLUTIONS[name]
    net = Net(shape)
    net.quant(net.node("Conv", "x", weights(net, *kernel), **attributes), 2.0)
    lowered(net, spec)


PADDING_ALONE: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "rows": ((1, 1, 1, 2), (1, 1, 1, 1), {"pads": [1, 0, 1, 0], "strides": [2, 1]}),
    "columns": ((1, 2, 3, 1), (3, 2, 2, 1), {"pads": [0, 1, 0, 1], "strides": [1, 2]}),
    "both": ((1, 2, 1, 1), (3, 2, 1, 1), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "depthwise": (
        (1, 3, 1, 4),
        (3, 1, 1, 2),
        {"pads": [1, 0, 1, 0], "strides": [2, 1], "group": 3},
    ),
    "dilated": ((1, 2, 2, 4), (3, 2, 2, 2), {"pads": [3, 0, 3, 0], "dilations": [7, 1]}),
    "line": ((1, 2, 1), (3, 2, 1), {"pads": [2, 2], "strides": [4]}),
}


@pytest.mark.parametrize("name", PADDING_ALONE)
@pytest.mark.parametrize("bias", [0, Fraction(5, 2)])
def test_kernels_that_read_nothing_but_padding(name: str, bias: int | Fraction) -> None:
    shape, kernel, attributes = PADDING_ALONE[name]
    net = Net(shape)
    net.quant(net.node("Conv", "x", weights(net, *kernel), np.ones(kernel[0]), **attributes), 2.0)
    lowered(net, InputSpec(PIXELS.datatype, PIXELS.scale, (Fraction(bias),)))


@pytest.mark.parametrize(
    "name", ["padded", "asymmetric", "dilated", "depthwise", "grouped", "line"]
)
@pytest.mark.parametrize("bias", [Fraction(-7, 3), Fraction(5, 2), Fraction(10)])
def test_padding_that_is_no_integer_of_the_input(name: str, bias: Fraction) -> None:
    """Start values for each border class: 0 lies between the integers, or beyond them."""
    shape, kernel, attributes = CONVOLUTIONS[name]
    net = Net(shape)
    net.quant(net.node("Conv", "x", weights(net, *kernel), **attributes), 2.0)
    spec = InputSpec(PIXELS.datatype, PIXELS.scale, (bias,))
    result = lowered(net, spec)
    (mac,) = (la for la in result.dataflow.layers if isinstance(la, MatrixVector | DepthwiseVector))
    assert mac.start.ndim == 2 and len(mac.start) > 1


def test_layers_that_a_convolution_becomes() -> None:
    expected = {
        "plain": [SlidingWindow, MatrixVector],
        "pointwise": [MatrixVector],
        "pointwise, strided": [Slice, MatrixVector],
        "whole image": [MatrixVector],
        "depthwise": [SlidingWindow, DepthwiseVector],
        "grouped": [SlidingWindow, MatrixVector],
    }
    for name, layers in expected.items():
        shape, kernel, attributes = CONVOLUTIONS[name]
        net = Net(shape)
        net.quant(net.node("Conv", "x", weights(net, *kernel), **attributes), 2.0)
        assert kinds(lowered(net, PIXELS))[:-1] == layers, name


@pytest.mark.parametrize("attributes", [
    {"strides": [2, 2]}, {"strides": [2, 1], "pads": [1, 1, 0, 1]}, {"strides": [1, 1]},
    {"strides": [3, 2], "output_padding": [1, 1]}, {"strides": [2, 2], "dilations": [2, 1]},
])  # fmt: skip
@pytest.mark.parametrize("spec", [PIXELS, SIGNED], ids=["unsigned", "signed"])
def test_transposed_convolutions(attributes: dict[str, Any], spec: InputSpec) -> None:
    net = Net((1, 2, 4, 3))
    net.quant(net.node("ConvTranspose", "x", weights(net, 2, 3, 3, 3), **attributes), 2.0)
    result = lowered(net, spec)
    assert (ZeroInsertion in kinds(result)) == (attributes["strides"] != [1, 1])


@pytest.mark.parametrize("make, layer", [
    (lambda n, x: n.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), Pooling),
    (lambda n, x: n.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), Pooling),
    (lambda n, x: n.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1), Pooling),
    (lambda n, x: n.node("MaxPool", x, kernel_shape=[6, 6]), GlobalPooling),
    (lambda n, x: n.node("GlobalMaxPool", x), GlobalPooling),
    (lambda n, x: n.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), Pooling),
    (lambda n, x: n.node("GlobalAveragePool", x), GlobalPooling),
])  # fmt: skip
@pytest.mark.parametrize("channels_differ", [False, True])
def test_pools(make: Callable[[Net, str], str], layer: type, channels_differ: bool) -> None:
    net = Net((1, 4, 6, 6))
    x = net.node("Conv", "x", weights(net, 4, 4, 1, 1))
    scale = np.reshape([0.5, 1.0, 0.75, 2.0], (1, 4, 1, 1)) if channels_differ else 1.0
    net.quant(make(net, net.quant(x, scale)), 0.75, bits=6)
    assert layer in kinds(lowered(net, SIGNED))


@pytest.mark.parametrize("left, right", [(1.0, 1.0), (1.0, 0.5), (0.75, 0.5)])
def test_residual_sums(left: float, right: float) -> None:
    """Branches with different scales and different offsets, and the input used twice."""
    net = Net((1, 3, 4, 4))
    first = net.quant(net.node("Conv", "x", weights(net, 3, 3, 3, 3), pads=[1, 1, 1, 1]), left)
    second = net.quant(net.node("Conv", first, weights(net, 3, 3, 1, 1)), right, signed=0)
    net.quant(net.node("Add", second, first), 1.0, bits=5)
    result = lowered(net, SIGNED)
    assert Elementwise in kinds(result) and Fork in kinds(result)


def test_differences_and_products() -> None:
    for op in ("Sub", "Mul"):
        net = Net((1, 3, 4, 4))
        first = net.quant(net.node("Conv", "x", weights(net, 3, 3, 1, 1)), 1.0)
        second = net.quant(net.node("Conv", "x", weights(net, 3, 3, 1, 1)), 1.0, signed=0)
        net.quant(net.node(op, first, second), 1.5, bits=5)
        assert Elementwise in kinds(lowered(net, SIGNED)), op


def test_concatenation_of_branches_with_different_ranges() -> None:
    net = Net((1, 3, 4, 4))
    first = net.quant(net.node("Conv", "x", weights(net, 2, 3, 1, 1)), 1.0)
    second = net.quant(net.node("Conv", "x", weights(net, 3, 3, 1, 1)), 1.0, bits=2, signed=0)
    joined = net.node("Concat", first, second, axis=1)
    net.quant(net.node("Conv", joined, weights(net, 4, 5, 3, 3)), 2.0)
    assert Concat in kinds(lowered(net, SIGNED))


REARRANGED: dict[str, Callable[[Net, str], str]] = {
    "channels": lambda n, x: n.node(
        "Slice", x, np.array([1]), np.array([3]), np.array([1]), np.array([1])),
    "crop": lambda n, x: n.node("Slice", x, np.array([1, 2]), np.array([5, 6]), np.array([2, 3])),
    "steps": lambda n, x: n.node(
        "Slice", x, np.array([1, 0]), np.array([6, 6]), np.array([2, 3]), np.array([2, 3])),
    "pad": lambda n, x: n.node("Pad", x, np.array([0, 0, 1, 0, 0, 0, 2, 1])),
    "depth to space": lambda n, x: n.node("DepthToSpace", x, blocksize=2),
    "depth to space, columns first": lambda n, x: n.node(
        "DepthToSpace", x, blocksize=2, mode="CRD"),
    "nearest": lambda n, x: n.node("Upsample", x, np.array([1, 1, 2, 3], np.float32)),
    "space to depth": lambda n, x: n.node("SpaceToDepth", x, blocksize=2),
}  # fmt: skip


@pytest.mark.parametrize("name", REARRANGED)
def test_rearrangements(name: str) -> None:
    net = Net((1, 3, 6, 6), opset=13)
    x = net.quant(net.node("Conv", "x", weights(net, 4, 3, 1, 1)), 1.0)
    x = REARRANGED[name](net, x)
    channels = {"channels": 2, "depth to space": 1, "space to depth": 16}.get(name.split(",")[0], 4)
    net.quant(net.node("Conv", x, weights(net, 5, channels, 1, 1)), 2.0)
    lowered(net, SIGNED)


def test_split_branches() -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant(net.node("Conv", "x", weights(net, 4, 3, 1, 1)), 1.0)
    second = net.node("Split", x, np.array([1, 3]), axis=1, outputs=2)
    first = second.removesuffix("_1") + "_0"
    a = net.quant(net.node("Conv", first, weights(net, 2, 1, 1, 1)), 1.0)
    b = net.quant(net.node("Conv", second, weights(net, 2, 3, 1, 1)), 1.0)
    net.quant(net.node("Add", a, b), 1.0)
    lowered(net, SIGNED)


@pytest.mark.parametrize("shrink", [False, True])
def test_flatten_in_front_of_a_dense_layer(shrink: bool) -> None:
    net = Net((1, 2, 3, 4))
    x = net.quant(net.node("Conv", "x", weights(net, 3, 2, 1, 1)), 1.0)
    net.quant(net.node("MatMul", net.node("Flatten", x), weights(net, 36, 5)), 2.0)
    lowered(net, SIGNED, shrink=shrink)


def test_channels_last_input() -> None:
    net = Net((1, 4, 5, 3))
    x = net.node("Transpose", "x", perm=[0, 3, 1, 2])
    x = net.quant(net.node("Conv", x, weights(net, 4, 3, 3, 3)), 2.0)
    net.node("Transpose", x, perm=[0, 2, 3, 1])
    result = lowered(net, SIGNED)
    assert result.wires[result.input].layout.order == (0, 1, 2, 3)
    assert kinds(result)[0] is SlidingWindow


def test_several_outputs() -> None:
    net = Net((1, 3, 4, 4))
    first = net.quant(net.node("Conv", "x", weights(net, 2, 3, 1, 1)), 1.0)
    second = net.quant(net.node("Conv", first, weights(net, 4, 2, 3, 3)), 1.0)
    result = lowered(net, SIGNED, first, second)
    assert len(result.outputs) == 2 and set(result.outputs) == set(result.dataflow.outputs)


def test_all_that_has_no_hardware_is_named_at_once() -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant(net.node("Conv", "x", weights(net, 2, 3, 1, 1)), 1.0)
    a = net.node("Resize", x, None, np.array([1, 1, 1.5, 1.5], np.float32), mode="nearest")
    b = net.node("Concat", x, x, axis=2)
    a = net.quant(net.node("Conv", a, weights(net, 2, 2, 3, 3)), 1.0)
    b = net.quant(net.node("Conv", b, weights(net, 2, 2, 3, 3)), 1.0)
    with pytest.raises(SiraError, match=r"Resize_\d.*Concat_\d.*only channels can be concat") as e:
        lowered(net, SIGNED, a, b)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("padded", [False, True])
def test_one_channel(padded: bool) -> None:
    """A single channel stays the channel, though the columns are what comes last in the stream.

    Padding gives columns ranges of their own, which must not become offsets of channels.
    """
    net = Net((1, 1, 4, 4))
    kernel = net.quant(np.full((1, 1, 3, 3), 0.25), 0.25)
    x = net.quant(net.node("Conv", "x", kernel, pads=[1] * 4), 1.0)
    added = net.node("Add", net.node("Mul", "x", -2.0), x)
    net.quant(net.node("Conv", net.node("Concat", added, x, axis=1), weights(net, 1, 2, 2, 2)), 1.0)
    lowered(net, integers(-3, 4, 0.5, Fraction(7, 4) if padded else 0))


def test_names_of_nodes_that_layers_between_would_take() -> None:
    net = Net((1, 3, 5, 5))
    left = net.quant(net.node("Conv", "x", weights(net, 2, 3, 3, 3)), 1.0)
    right = net.quant(net.node("Conv", "x", weights(net, 2, 3, 3, 3)), 1.0)
    net.quant(net.node("Add", left, right), 1.0)
    for node, name in zip(
        (n for n in net.nodes if n.op_type in ("Conv", "Add")),
        ("input_fork", "a", "a_window"),
        strict=True,
    ):
        node.name = name
    result = lowered(net, SIGNED)
    names = [layer.name for layer in result.dataflow.layers]
    assert len(set(names)) == len(names)
    assert {"input_fork_2", "a_window_2", "input_fork_window"} <= set(names)


def test_a_constant_operand_of_concat_is_refused() -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant(net.node("Conv", "x", weights(net, 3, 3, 1, 1)), 1.0)
    joined = net.node("Concat", x, np.ones((1, 2, 4, 4)), axis=1)
    net.quant(net.node("Conv", joined, weights(net, 2, 5, 1, 1)), 1.0)
    with pytest.raises(SiraError, match="a constant cannot be concatenated"):
        lowered(net, SIGNED)


def test_a_dense_layer_makes_an_image() -> None:
    """Rows, columns and channels in the order of the stream, so that nothing is rearranged."""
    net = Net((1, 12))
    x = net.quant(net.node("MatMul", "x", weights(net, 12, 24)), 1.0)
    x = net.node("Transpose", net.node("Reshape", x, np.array([1, 2, 2, 6])), perm=[0, 3, 1, 2])
    net.quant(net.node("Conv", x, weights(net, 3, 6, 2, 1)), 1.0)
    assert kinds(lowered(net, SIGNED)).count(MatrixVector) == 2


def test_one_channel_whose_columns_were_channels_is_refused() -> None:
    """Between two Reshapes the columns are channels with offsets of their own."""
    net = Net((1, 1, 4, 4))
    kernel = net.quant(np.full((1, 1, 3, 3), 0.25), 0.25)
    x = net.quant(net.node("Conv", "x", kernel, pads=[1] * 4), 1.0)
    lines = [net.node("Reshape", v, np.array([1, 4, 4])) for v in (x, "x")]
    added = net.node("Add", lines[0], net.node("Mul", lines[1], -2.0))
    image = net.node("Reshape", added, np.array([1, 1, 4, 4]))
    net.quant(net.node("Conv", image, weights(net, 1, 1, 2, 2)), 1.0)
    with pytest.raises(SiraError, match="what were channels are positions"):
        lowered(net, integers(-3, 4, 0.5, Fraction(7, 4)))


def test_pads_that_are_attributes() -> None:
    net = Net((1, 3, 4, 4), opset=10)
    x = net.quant(net.node("Conv", "x", weights(net, 3, 3, 1, 1)), 1.0)
    x = net.node("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 0], value=2.0)
    net.quant(net.node("Conv", x, weights(net, 2, 3, 2, 2)), 1.0)
    assert kinds(lowered(net, SIGNED)).count(SlidingWindow) == 2


def test_transposed_convolution_of_a_line_off_the_lattice() -> None:
    net = Net((1, 4, 5))
    net.quant(net.node("ConvTranspose", "x", weights(net, 4, 3, 3), strides=[2]), 2.0)
    lowered(net, integers(-3, 4, 0.5, Fraction(7, 4)))
