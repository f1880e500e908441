"""Integers of operators that select, repeat, re-order, surround and sum elements.

Every stage is executed by qonnx and compared with the golden integers; the last stage is all
integers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from certificates import certified
from onnx_models import Net
from stage_checks import check

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.certificate import checker
from sira.errors import SiraError
from transforms import to_canonical, to_thresholds

Build = Callable[[Net, str], str]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def stage(net: Net) -> ir.Model:
    canonical = to_canonical(net.model())
    model = to_thresholds(canonical, analyze(canonical))
    ranges = analyze(model)
    for node in model.graph:
        if node.outputs[0] not in model.graph.outputs:
            assert ranges.scaled(node.outputs[0]) is not None, g.describe(node)
    return model


def compare(net: Net, low: float = -4.0, high: float = 4.0, samples: int = 3) -> Counter[str]:
    """Check all stages on random inputs, and the certificate; operators of the integer stage."""
    found = Counter(node.op_type for node in stage(net).graph)
    case = certified(net.model())
    checker.check(case.data, case.claims)
    data = np.random.default_rng(0).uniform(low, high, (samples, *net.shape))
    check(net.model(), {}, data)
    return found


def weights(net: Net, *shape: int) -> str:
    q = np.random.default_rng(len(net.nodes)).integers(-3, 4, shape)
    return net.quant(q * np.float32(0.3137), 0.3137, 3)


def by_channel(net: Net, x: str, channels: int) -> str:
    """With a scale and a bias of its own in each channel, some negative; in no simple ratio."""
    rng = np.random.default_rng(channels)
    signs = np.where(np.arange(channels) % 3 == 2, -1, 1)
    factor, offset = rng.uniform(0.2, 2, channels) * signs, rng.normal(0, 1, channels)
    column = (channels, *(1,) * (len(net.shape) - 2))
    scaled = net.node("Mul", x, factor.reshape(column))
    return net.node("Add", scaled, offset.reshape(column))


def ints(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


SELECTING: list[tuple[str, Build]] = [
    ("MaxPool", lambda n, x: n.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 0, 1, 2])),
    ("GlobalMaxPool", lambda n, x: n.node("GlobalMaxPool", x)),
    ("Slice", lambda n, x: n.node("Slice", x, ints(0, 1), ints(5, 6), ints(1, 2), ints(2, 2))),
    ("Slice", lambda n, x: n.node("Split", x, ints(2, 1, 3), axis=1, outputs=3)),
    ("Gather", lambda n, x: n.node("Gather", x, ints(5, 0, 0, 2), axis=1)),
    ("Concat", lambda n, x: n.node("Concat", x, n.node("Neg", x), axis=1)),
    ("Concat", lambda n, x: n.node("Concat", x, n.node("Mul", x, 0.37), axis=1)),
    ("Concat", lambda n, x: n.node("Concat", x, x, axis=3)),
    ("Transpose", lambda n, x: n.node("Transpose", x, perm=[0, 1, 3, 2])),
    ("SpaceToDepth", lambda n, x: n.node("SpaceToDepth", x, blocksize=2)),
    ("Pad", lambda n, x: n.node("Pad", x, ints(0, 0, 1, 0, 0, 0, 2, 1), mode="edge")),
    ("Tile", lambda n, x: n.node("Tile", x, ints(1, 2, 1, 1))),
    (
        "Resize",
        lambda n, x: n.node(
            "Resize", x, None, np.float32([1, 1, 2, 3]),
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize("uneven", [False, True], ids=["one scale", "scales by channel"])
@pytest.mark.parametrize(
    ("op", "build"), SELECTING, ids=[f"{o}{i}" for i, (o, _) in enumerate(SELECTING)]
)
def test_selections_in_front_of_thresholds(op: str, build: Build, uneven: bool) -> None:
    net = Net((1, 6, 6, 4))
    x = net.quant("x", 0.25, 5)
    x = by_channel(net, x, 6) if uneven else x
    net.quant(net.node("Relu", net.node("Add", build(net, x), 0.3)), 0.4, 4, signed=0)
    assert compare(net)[op] >= 1


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    net = Net((1, 2, 3, 4))
    hidden = net.node("Conv", net.quant("x", 0.25, 4), weights(net, 12, 2, 1, 1))
    shuffled = net.node("DepthToSpace", hidden, blocksize=2, mode=mode)
    net.quant(net.node("Relu", shuffled), 0.4, 4, signed=0)
    assert compare(net)["DepthToSpace"] == 1


@pytest.mark.parametrize("zero", [0.0, 3.0])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_padding_with_a_value_of_the_lattice(zero: float, value: float) -> None:
    net = Net((1, 2, 4, 4))
    x = net.quant("x", 0.25, 4, signed=0, zero=zero)
    x = net.node("Pad", x, ints(0, 0, 1, 0, 0, 0, 2, 1), np.float32(value))
    net.quant(net.node("Conv", x, weights(net, 3, 2, 3, 3)), 0.5, 4)
    assert compare(net)["Pad"] == 1


@pytest.mark.parametrize("value", [-3.4e38, 0.1])
def test_padding_off_the_lattice_is_refused(value: float) -> None:
    net = Net((1, 2, 4, 4))
    x = net.node("Pad", net.quant("x", 0.25, 4), ints(0, 0, 1, 0, 0, 0, 2, 1), np.float32(value))
    net.quant(net.node("MaxPool", x, kernel_shape=[2, 2]), 0.5, 4)
    model = to_canonical(net.model())
    with pytest.raises(SiraError, match=r"no integers|not on its lattice"):
        to_thresholds(model, analyze(model))


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(("axes", "keepdims"), [([2, 3], 0), ([-1], 1), ([2], 0)])
@pytest.mark.parametrize("uneven", [False, True])
def test_extremes_over_positions(op: str, axes: list[int], keepdims: int, uneven: bool) -> None:
    net = Net((1, 2, 3, 4))
    x = net.quant("x", 0.25, 4)
    x = by_channel(net, x, 2) if uneven else x
    net.quant(net.node("Add", net.node(op, x, axes=axes, keepdims=keepdims), 0.3), 0.4, 4)
    assert compare(net)["MaxPool"] == 1


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes_over_channels_are_refused(op: str) -> None:
    net = Net((1, 2, 3, 4))
    net.quant(net.node(op, net.quant("x", 0.25, 4), axes=[1]), 0.5, 4)
    model = to_canonical(net.model())
    with pytest.raises(SiraError, match=f"{op} has no hardware"):
        to_thresholds(model, analyze(model))


def test_every_output_of_a_split() -> None:
    net = Net((1, 6, 4, 4))
    x = net.quant(net.node("Conv", net.quant("x", 0.25, 4), weights(net, 6, 6, 1, 1)), 0.5, 4)
    last = net.node("Split", x, ints(1, 2, 3), axis=1, outputs=3)
    first, middle = (last[:-1] + str(i) for i in (0, 1))
    joined = net.node("Concat", last, first, middle, axis=1)
    net.quant(net.node("Conv", joined, weights(net, 4, 6, 3, 3)), 1.0, 4)
    assert compare(net)["Slice"] == 3


def test_concat_of_scales_in_ratio_in_front_of_a_convolution() -> None:
    """Multiples of a common scale go into the weights, for each input channel."""
    net = Net((1, 4, 4, 4))
    x = net.quant("x", 0.25, 4)
    joined = net.node("Concat", x, net.node("Mul", x, 3.0), net.node("Mul", x, -0.5), axis=1)
    net.quant(net.node("Conv", joined, weights(net, 3, 12, 3, 3), pads=[1, 1, 1, 1]), 1.0, 4)
    found = compare(net)
    assert found["Concat"] == 1 and found["Conv"] == 1


def test_concat_of_other_scales_in_front_of_a_convolution_is_refused() -> None:
    net = Net((1, 4, 4, 4))
    x = net.quant("x", 0.25, 4)
    joined = net.node("Concat", x, net.node("Mul", x, 0.37), axis=1)
    net.quant(net.node("Conv", joined, weights(net, 3, 8, 3, 3)), 1.0, 4)
    canonical = to_canonical(net.model())
    with pytest.raises(SiraError, match="scales along the summed axis"):
        to_thresholds(canonical, analyze(canonical))


def test_interpolation_is_refused() -> None:
    net = Net((1, 2, 4, 4))
    x = net.quant("x", 0.25, 4)
    net.quant(net.node("Resize", x, None, np.float32([1, 1, 2, 2]), mode="linear"), 0.5, 4)
    canonical = to_canonical(net.model())
    with pytest.raises(SiraError, match="no hardware for interpolation"):
        to_thresholds(canonical, analyze(canonical))


POOLS: list[Build] = [
    lambda n, x: n.node("AveragePool", x, kernel_shape=[2, 3], strides=[2, 1]),
    lambda n, x: n.node(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    lambda n, x: n.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    lambda n, x: n.node("AveragePool", x, kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    lambda n, x: n.node(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"
    ),
    lambda n, x: n.node("GlobalAveragePool", x),
    lambda n, x: n.node("ReduceMean", x, axes=[2, 3], keepdims=0),
    lambda n, x: n.node("ReduceMean", x, axes=[3], keepdims=1),
    lambda n, x: n.node("ReduceSum", x, ints(-1, -2), keepdims=1),
]  # fmt: skip


@pytest.mark.parametrize("uneven", [False, True], ids=["one scale", "scales by channel"])
@pytest.mark.parametrize("build", POOLS, ids=[str(i) for i in range(len(POOLS))])
def test_averages_and_sums(build: Build, uneven: bool) -> None:
    net = Net((1, 6, 6, 5))
    x = net.quant("x", 0.25, 4)
    if uneven:
        x = by_channel(net, x, 6)
    net.node("Mul", net.quant(net.node("Relu", build(net, x)), 0.15, 4, signed=0), 2.0)
    assert compare(net)["Conv"] == 1


@pytest.mark.parametrize("axes", [[1], [1, 2], [1, 2, 3]])
def test_sums_over_channels(axes: list[int]) -> None:
    net = Net((1, 6, 3, 4))
    net.quant(net.node("ReduceSum", net.quant("x", 0.25, 4), ints(*axes)), 0.5, 5)
    assert compare(net)["Conv"] == 1


def test_sum_of_a_vector() -> None:
    net = Net((1, 9))
    net.quant(net.node("ReduceMean", net.quant("x", 0.25, 4), axes=[1]), 0.1, 4)
    assert compare(net)["MatMul"] == 1


@pytest.mark.parametrize("bits", [(4, 4), (4, 2)])
def test_shifted_sums(bits: tuple[int, int]) -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant("x", 1.0, bits[0], signed=0)
    pooled = net.node(
        "QuantAvgPool2d", x, kernel=2, stride=2, ibits=bits[0], obits=bits[1], signed=0
    )
    net.quant(net.node("Conv", pooled, weights(net, 2, 3, 1, 1)), 1.0, 5)
    assert compare(net, 0, 15)["Conv"] == 2


def test_trunc_behind_an_average() -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant("x", 0.5, 4, signed=0)
    pooled = net.node("Mul", net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 4.0)
    net.node("Trunc", pooled, 0.5, 0.0, 6.0, 4.0, rounding_mode="FLOOR")
    assert compare(net, 0, 8)["Conv"] == 1


@pytest.mark.parametrize("op", ["Mul", "Sub", "Add"])
def test_two_computed_tensors(op: str) -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant("x", 0.25, 4)
    a = net.quant(net.node("Conv", x, weights(net, 4, 3, 1, 1)), 0.5, 4)
    b = net.quant(net.node("Conv", x, weights(net, 4, 3, 1, 1)), 0.75, 4, signed=0, zero=3.0)
    net.quant(net.node(op, a, b), 0.6, 4)
    assert compare(net)[op] >= 1


def test_three_way_residual_of_one_scale() -> None:
    net = Net((1, 3, 5, 5))
    x = net.quant("x", 0.25, 4)
    a = net.quant(net.node("Conv", x, weights(net, 3, 3, 1, 1)), 0.5, 4)
    b = net.quant(net.node("Conv", x, weights(net, 3, 3, 3, 3), pads=[1, 1, 1, 1]), 1.0, 3)
    net.quant(net.node("Relu", net.node("Add", net.node("Add", a, x), b)), 0.3, 4, signed=0)
    assert compare(net)["Add"] >= 2
