"""Concatenation of channels against lists in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl

from hls.dataflow import Ints, Stream
from hls.layers.concat import Concat
from hls.schedule import Phase
from sira.errors import SiraError

LAYERS = [
    Concat("two", (4, 6), (3, 3), 2, 4),
    Concat("narrow_and_wide", (3, 1), (2, 9), 1, 3),
    Concat("wide_and_narrow", (4, 4), (30, 1), 4, 2),
    Concat("three", (2, 6, 4), (5, 3, 4), 2, 3),
    Concat("five", (1, 2, 3, 4, 1), (1, 2, 3, 4, 5), 1, 2),
    Concat("one", (6,), (3,), 3, 2),
    Concat("single_beats", (3, 3, 3), (4, 2, 4), 3, 5),
    Concat("vector", (5, 4), (2, 3), 1, 1),
]


def brute_force(layer: Concat, *inputs: Ints) -> tuple[Ints]:
    results = []
    for frames in zip(*(frames.tolist() for frames in inputs), strict=True):
        result: list[int] = []
        for vector in range(layer.vectors):
            for channels, frame in zip(layer.channels, frames, strict=True):
                result += frame[vector * channels : (vector + 1) * channels]
        results.append(result)
    return (np.array(results),)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


def test_streams_and_schedule() -> None:
    layer = Concat("cat", (2, 6, 4), (5, 3, 4), 2, 3)
    assert layer.inputs == {
        "in0": Stream(6, 2, 5),
        "in1": Stream(18, 2, 3),
        "in2": Stream(12, 2, 4),
    }
    assert layer.outputs == {"out": Stream(36, 2, 5)}
    assert layer.cycles == 18
    (process,) = layer.schedule().processes
    assert process.phases == tuple(
        Phase(n, {f"in{i}": 1}, {"out": 1}) for i, n in enumerate((1, 3, 2))
    )


def test_lanes_divide_every_input() -> None:
    with pytest.raises(SiraError, match=r"cat: lanes does not divide the 2 channels common.*1, 2"):
        Concat("cat", (4, 6), (3, 3), 4, 1)
