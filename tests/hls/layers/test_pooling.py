"""Pooling of windows against Python's max and sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl

from hls.dataflow import Ints, Stream
from hls.layers.pooling import Pooling
from sira.errors import SiraError

LAYERS = [
    Pooling("largest", "max", 6, 4, 3, 2, 5),
    Pooling("largest_serial", "max", 3, 9, 4, 1, 2),
    Pooling("largest_all_lanes", "max", 8, 2, 1, 8, 3),
    Pooling("largest_of_one", "max", 4, 1, 5, 2, 3),
    Pooling("total", "sum", 6, 4, 3, 3, 4),
    Pooling("total_serial", "sum", 2, 49, 8, 1, 1),
    Pooling("total_of_one", "sum", 4, 1, 3, 4, 2),
    Pooling("total_of_bits", "sum", 4, 7, 1, 2, 3),
    Pooling("wide", "sum", 20, 3, 30, 10, 1),
]


def brute_force(layer: Pooling, frames: Ints) -> tuple[Ints]:
    blocks = layer.channels // layer.lanes
    reduce = {"max": max, "sum": sum}[layer.operation]
    results = []
    for frame in frames.tolist():
        result = []
        for window in range(layer.vectors * blocks):
            first = window * layer.positions * layer.lanes
            for lane in range(layer.lanes):
                beats = range(layer.positions)
                result.append(reduce([frame[first + b * layer.lanes + lane] for b in beats]))
        results.append(result)
    return (np.array(results),)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


@pytest.mark.parametrize(
    ("operation", "positions", "bits", "expected"),
    [("max", 9, 4, 4), ("sum", 1, 4, 4), ("sum", 2, 4, 5), ("sum", 9, 4, 8), ("sum", 8, 1, 4)],
)
def test_output_bits_hold_the_largest_result(operation, positions, bits, expected) -> None:
    layer = Pooling("pool", operation, 2, positions, bits, 1, 3)
    assert layer.outputs["out"] == Stream(6, 1, expected)
    assert layer.cycles == 6 * positions
    largest = np.full((1, 6 * positions), 2**bits - 1)
    assert 2 ** (expected - 1) <= int(layer.execute(largest)[0].max()) < 2**expected


def test_illegal_layers() -> None:
    with pytest.raises(SiraError, match="pool: lanes does not divide the 6 channels"):
        Pooling("pool", "max", 6, 4, 3, 4, 1)
    with pytest.raises(AssertionError):
        Pooling("pool", "mean", 6, 4, 3, 2, 1)  # type: ignore[arg-type]
