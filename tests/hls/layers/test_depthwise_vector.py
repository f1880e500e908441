"""The depthwise vector unit against arithmetic in Python integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl, random_inputs

from hls.dataflow import Ints, Layer
from hls.device import default_device
from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.matrix_vector import MatrixVector
from hls.layers.parts.products import Product
from sira.errors import SiraError


def reference(layer: Layer, frames: Ints) -> tuple[Ints, ...]:
    """What the layer computes, one Python integer at a time."""
    assert isinstance(layer, DepthwiseVector)
    channels, positions = layer.weights.shape
    weights, starts, pe = layer.weights.tolist(), layer.start.tolist(), layer.pe
    width = len(layer.column_classes)
    results = []
    for frame in frames.tolist():
        for v in range(layer.vectors):
            start = starts
            if layer.row_classes:
                row, column = layer.row_classes[v // width], layer.column_classes[v % width]
                start = starts[row * (max(layer.column_classes) + 1) + column]
            for c in range(channels):
                first = v * channels * positions + (c // pe) * pe * positions + c % pe
                inputs = frame[first : first + pe * positions : pe]
                assert len(inputs) == positions
                total = start[c] + sum(w * u for w, u in zip(weights[c], inputs, strict=True))
                results.append(total % 2**layer.accumulator_bits)
    return (np.array(results, dtype=np.int64).reshape(len(frames), -1),)


def unit(
    name: str,
    shape: tuple[int, int],
    low_high: tuple[int, int] = (-8, 7),
    *,
    pe: int = 1,
    image: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    vectors: int = 3,
    input_bits: int = 3,
    accumulator_bits: int = 9,
) -> DepthwiseVector:
    """Random weights low..high (without 0 for -1, 1) and random start values, also by class."""
    random = np.random.default_rng(len(name) * 1000 + shape[0])
    weights = random.integers(low_high[0], low_high[1] + 1, shape)
    if low_high == (-1, 1):
        weights = np.where(weights < 0, -1, 1)
    rows, columns = image or ((), ())
    if image:
        vectors = len(rows) * len(columns)
        start = random.integers(-300, 300, ((max(rows) + 1) * (max(columns) + 1), shape[0]))
    else:
        start = random.integers(-300, 300, shape[0])
    return DepthwiseVector(
        name, weights, start, input_bits, accumulator_bits, pe, vectors, rows, columns
    )


LAYERS: list[DepthwiseVector] = [
    unit("digits", (4, 9), pe=2),
    unit("all channels", (4, 9), pe=4, accumulator_bits=5),
    unit("one position", (6, 1), pe=2),
    unit("a vector a cycle", (4, 1), pe=4),
    unit("wide weights", (4, 3), (-128, 127), pe=2, input_bits=8, accumulator_bits=18),
    unit("planes", (4, 4), (-128, 127), pe=1, input_bits=1, accumulator_bits=10),
    unit("ternary", (4, 4), (-1, 0), pe=2),
    unit("signs", (4, 4), (-1, 1), pe=2),
    unit("xnor", (4, 4), (-1, 1), pe=2, input_bits=1),
    unit("ones", (4, 4), (1, 1), pe=2),
    unit("alike", (4, 4), (-5, -5), pe=4),
    unit("narrow sum", (2, 3), pe=1, input_bits=5, accumulator_bits=2),
    unit("borders", (6, 9), pe=2, image=((0, 1, 1, 2), (0, 1, 2))),
    unit("turned borders", (4, 1), pe=4, image=((3, 1, 0), (2, 2, 0, 1))),
    unit("average with borders", (4, 4), (1, 1), pe=4, image=((0, 1, 0), (0, 0))),
]


def test_in_verilator(tmp_path):
    check_rtl(LAYERS, reference, tmp_path)


def test_hls(tmp_path):
    check_hls(LAYERS, reference, tmp_path)


@pytest.mark.parametrize("weight", [2**40, -(2**61)])
def test_wide_sums_wrap(weight):
    weights = np.array([[weight, -1, 1], [1, weight, weight]])
    layer = DepthwiseVector("d", weights, np.array([2**62 - 1, -5]), 12, 62, 2, 2)
    (frames,) = random_inputs(layer, 6, 1)
    np.testing.assert_array_equal(layer.execute(frames)[0], reference(layer, frames)[0])


def test_is_a_matrix_vector_unit_with_a_group_for_each_channel():
    layer = unit("d", (6, 5), pe=1)
    grouped = MatrixVector(
        "m", layer.weights, layer.start, 3, 9, 1, 1, layer.vectors, groups=6
    )  # fmt: skip
    (frames,) = random_inputs(layer, 9, 3)
    np.testing.assert_array_equal(layer.execute(frames)[0], grouped.execute(frames)[0])
    assert layer.cycles == grouped.cycles
    assert layer.outputs == grouped.outputs


def test_equal_weights_need_no_memory():
    ones = unit("ones", (8, 9), (1, 1), pe=2)
    assert ones.product is Product.SIGN
    assert ones.instance().shapes["weights"] == (1, 2)
    one_other = ones.weights.copy()
    one_other[7, 8] = -1
    assert replace(ones, weights=one_other).instance().shapes["weights"] == (36, 2)
    device = default_device()
    other = replace(ones, weights=one_other)
    assert device.price(ones.inventory()).lut < device.price(other.inventory()).lut


def test_folding_that_does_not_divide():
    with pytest.raises(SiraError, match=r"d: PE does not divide the 6 channels.*1, 2, 3, 6.*4"):
        unit("d", (6, 9), pe=4)
