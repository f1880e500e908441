"""Groups and border classes of the matrix-vector unit; test_layers.py has the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl, random_inputs

from hls.dataflow import Ints, Layer
from hls.layers.matrix_vector import MatrixVector
from hls.layers.parts.products import Product
from sira.errors import SiraError


def reference(layer: Layer, frames: Ints) -> tuple[Ints, ...]:
    """What the layer computes, one Python integer at a time."""
    assert isinstance(layer, MatrixVector)
    outputs, k = layer.weights.shape
    weights = layer.weights.tolist()
    starts = layer.start.tolist()
    width = len(layer.column_classes)
    results = []
    for frame in frames.tolist():
        for v in range(layer.vectors):
            vector = frame[v * layer.groups * k : (v + 1) * layer.groups * k]
            start = starts
            if layer.row_classes:
                row, column = layer.row_classes[v // width], layer.column_classes[v % width]
                start = starts[row * (max(layer.column_classes) + 1) + column]
            for n in range(outputs):
                group = n * layer.groups // outputs
                inputs = vector[group * k : (group + 1) * k]
                total = start[n] + sum(w * u for w, u in zip(weights[n], inputs, strict=True))
                results.append(total % 2**layer.accumulator_bits)
    return (np.array(results, dtype=np.int64).reshape(len(frames), -1),)


def unit(
    name: str,
    shape: tuple[int, int],
    low_high: tuple[int, int] = (-8, 7),
    *,
    pe: int = 1,
    simd: int = 1,
    groups: int = 1,
    image: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    vectors: int = 3,
    input_bits: int = 3,
    accumulator_bits: int = 9,
) -> MatrixVector:
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
    return MatrixVector(
        name, weights, start, input_bits, accumulator_bits, pe, simd, vectors,
        groups=groups, row_classes=rows, column_classes=columns,
    )  # fmt: skip


# Every kernel position another class of border; one class of rows, or of columns; a class that no
# pixel has; rows or columns whose first class is not 0; one row or column; a single pixel.
IMAGES = {
    "three by three": ((0, 1, 1, 2), (0, 1, 2)),
    "rows alike": ((0, 0, 0), (0, 1, 1, 2)),
    "columns alike": ((0, 1, 2, 1), (0, 0)),
    "turned": ((3, 1, 0), (2, 2, 0, 1)),
    "one row": ((0,), (1, 0, 2)),
    "one column": ((0, 2, 1), (0,)),
    "pixel": ((1,), (1,)),
}

LAYERS: list[MatrixVector] = [
    unit("two groups", (6, 4), pe=1, simd=2, groups=2),
    unit("group unfolded", (6, 4), pe=3, simd=4, groups=2),
    unit("no replay", (6, 4), pe=2, simd=2, groups=3),
    unit("depthwise", (6, 9), groups=6, simd=3),
    unit("depthwise, a cycle each", (4, 2), groups=4, simd=2),
    unit("signs", (8, 6), (-1, 1), pe=2, simd=3, groups=2, input_bits=1),
    *(
        unit(f"{name}, {pe} x {simd}", (6, 4), pe=pe, simd=simd, groups=groups, image=image)
        for number, (name, image) in enumerate(IMAGES.items())
        # Many beats and folds; one output beat per vector; a vector in each cycle; three groups.
        for pe, simd, groups in [((1, 2, 2), (6, 2, 1), (6, 4, 1), (2, 4, 3))[number % 4]]
    ),
    unit("five folds", (5, 2), pe=1, simd=2, image=((0, 1, 2), (0, 1, 2, 3, 4))),
    unit("xnor", (4, 6), (-1, 1), pe=2, simd=6, image=((0, 1), (0, 1)), input_bits=1),
]


def test_in_verilator(tmp_path):
    check_rtl(LAYERS, reference, tmp_path)


def test_hls(tmp_path):
    check_hls(LAYERS, reference, tmp_path)


def test_groups_are_a_block_diagonal_matrix():
    grouped = unit("grouped", (8, 3), groups=4, pe=2, simd=3)
    weights = np.zeros((8, 12), dtype=np.int64)
    for n in range(8):
        weights[n, n // 2 * 3 : n // 2 * 3 + 3] = grouped.weights[n]
    same = replace(grouped, weights=weights, groups=1)
    (frames,) = random_inputs(grouped, 9, 3)
    np.testing.assert_array_equal(grouped.execute(frames)[0], same.execute(frames)[0])
    assert grouped.inputs == same.inputs and grouped.outputs == same.outputs
    assert grouped.cycles * 4 == same.cycles


@pytest.mark.parametrize("weight", [1, 2**22, 2**40, -(2**61)])
def test_every_way_to_multiply_is_exact(weight):
    """float32, float64 and wrapping int64, each up to where it still holds every sum."""
    weights = np.array([[weight, -1, 1], [1, weight - 1, 1], [0, 1, -1], [1, 1, 1]])
    start = np.array([2**62 - 1, -5, 0, 1])
    layer = MatrixVector("m", weights, start, 12, 62, 1, 1, 2, groups=2)
    (frames,) = random_inputs(layer, 6, 1)
    np.testing.assert_array_equal(layer.execute(frames)[0], reference(layer, frames)[0])


def test_memories_without_classes_are_as_they_were():
    instance = unit("plain", (6, 4), pe=2, simd=2).instance()
    assert set(instance.memories) == {"weights", "start"}
    assert "RowClasses" not in instance.parameters
    assert instance.shapes["start"] == (3, 18)


def test_classes_that_no_pixel_has_take_no_memory():
    layer = unit("m", (2, 1), image=((2, 2), (0, 3, 0)))
    instance = layer.instance()
    assert instance.parameters["RowClasses"] == 1 and instance.parameters["ColumnClasses"] == 2
    assert instance.shapes["start"] == (4, 9) and instance.shapes["column_classes"] == (3, 1)
    assert instance.memories["column_classes"].words == (0, 1, 0)
    without = replace(layer, start=layer.start[8], row_classes=(), column_classes=())
    assert instance.memories["start"].words[:2] == without.instance().memories["start"].words


def test_product_of_all_groups_together():
    assert unit("m", (6, 4), (-1, 1), groups=3).product is Product.SIGN


def test_folding_of_a_group():
    with pytest.raises(SiraError, match=r"m: PE does not divide the 3 outputs of a group.*1, 3.*2"):
        unit("m", (6, 4), groups=2, pe=2)
    with pytest.raises(SiraError, match=r"m: SIMD does not divide the 4 inputs of a group"):
        unit("m", (6, 4), groups=2, simd=8)


@pytest.mark.parametrize(
    ("start", "rows", "columns"),
    [
        ((2, 3), (0, 1), (0,)),
        ((4, 3), (0, 1), (0, 2)),
        ((2, 4), (0, 1), (0, 0)),
        ((3,), (0,), (0,)),
    ],
)
def test_start_values_that_do_not_fit(start, rows, columns):
    with pytest.raises(AssertionError, match="m"):
        MatrixVector(
            "m", np.ones((3, 2)), np.zeros(start), 2, 4, 1, 1, 4,
            row_classes=rows, column_classes=columns,
        )  # fmt: skip
