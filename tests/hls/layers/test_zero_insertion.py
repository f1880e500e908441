"""Zero insertion against loops in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl

from hls.dataflow import Ints, Stream
from hls.layers.zero_insertion import ZeroInsertion
from hls.schedule import Phase
from sira.errors import SiraError

LAYERS = [
    ZeroInsertion("square", (3, 4, 4), (2, 2), 5, 3, 2),
    ZeroInsertion("serial", (3, 2, 3), (2, 3), 0, 4, 1),
    ZeroInsertion("rows_only", (3, 3, 2), (4, 1), 1, 1, 2),
    ZeroInsertion("columns_only", (3, 3, 2), (1, 2), 200, 8, 1),
    ZeroInsertion("nothing", (2, 3, 4), (1, 1), 3, 2, 4),
    ZeroInsertion("signal", (1, 5, 2), (1, 4), 7, 3, 2),
    ZeroInsertion("one_pixel", (1, 1, 6), (3, 3), 1, 2, 3),
    ZeroInsertion("wide", (2, 2, 20), (2, 2), 300, 9, 20),
]


def brute_force(layer: ZeroInsertion, frames: Ints) -> tuple[Ints]:
    height, width, channels = layer.shape
    down, right = layer.strides
    results = []
    for frame in frames.tolist():
        result = []
        for row in range((height - 1) * down + 1):
            for column in range((width - 1) * right + 1):
                if row % down or column % right:
                    result += [layer.fill] * channels
                else:
                    first = (row // down * width + column // right) * channels
                    result += frame[first : first + channels]
        results.append(result)
    return (np.array(results),)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


def test_streams_and_schedule() -> None:
    layer = ZeroInsertion("zero_insertion", (2, 2, 4), (3, 2), 1, 3, 2)
    assert layer.output_shape == (4, 3, 4)
    assert layer.inputs["in"] == Stream(16, 2, 3)
    assert layer.outputs["out"] == Stream(48, 2, 3) and layer.cycles == 24
    (process,) = layer.schedule().processes
    pass_on, fill = {"takes": {"in": 1}, "gives": {"out": 1}}, {"gives": {"out": 1}}
    row = (Phase(2, **pass_on), Phase(2, **fill), Phase(2, **pass_on))
    assert process.phases == (*row, Phase(12, **fill), *row)


def test_illegal_layers() -> None:
    with pytest.raises(SiraError, match="zero_insertion: lanes does not divide the 4 channels"):
        ZeroInsertion("zero_insertion", (2, 2, 4), (2, 2), 1, 3, 3)
    with pytest.raises(AssertionError):
        ZeroInsertion("zero_insertion", (2, 2, 4), (2, 2), 8, 3, 2)
