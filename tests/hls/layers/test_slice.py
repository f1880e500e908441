"""Slicing against loops in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl

from hls.dataflow import Ints, Stream
from hls.layers.slice import Slice
from hls.schedule import Phase
from sira.errors import SiraError

LAYERS = [
    Slice("whole", (3, 4, 2), (0, 0, 0), (3, 4, 2), (1, 1, 1), 3, 2),
    Slice("crop", (5, 6, 4), (1, 2, 0), (4, 5, 4), (1, 1, 1), 4, 2),
    Slice("strided", (5, 6, 4), (0, 0, 0), (5, 6, 4), (2, 2, 1), 4, 4),
    Slice("strided_to_the_end", (7, 7, 2), (0, 0, 0), (7, 7, 2), (3, 2, 1), 2, 1),
    Slice("odd", (5, 7, 3), (1, 1, 0), (5, 6, 3), (3, 4, 1), 5, 1),
    Slice("low_channels", (2, 3, 8), (0, 0, 0), (2, 3, 4), (1, 1, 1), 3, 4),
    Slice("high_channels", (2, 3, 8), (0, 0, 6), (2, 3, 8), (1, 1, 1), 3, 2),
    Slice("every_third_channel", (2, 2, 7), (0, 0, 1), (2, 2, 7), (1, 1, 3), 3, 1),
    Slice("one_element", (3, 4, 2), (1, 3, 1), (2, 4, 2), (1, 1, 1), 6, 1),
    Slice("first_element", (3, 4, 2), (0, 0, 0), (1, 1, 1), (1, 1, 1), 6, 1),
    Slice("vector", (1, 1, 12), (0, 0, 4), (1, 1, 12), (1, 1, 1), 2, 4),
    Slice("signal", (1, 9, 2), (0, 1, 0), (1, 9, 2), (1, 2, 1), 3, 2),
    Slice("step_beyond_the_end", (4, 4, 2), (1, 2, 0), (3, 4, 2), (5, 9, 7), 3, 1),
]


def brute_force(layer: Slice, frames: Ints) -> tuple[Ints]:
    _, width, channels = layer.shape
    kept = [
        (row * width + column) * channels + channel
        for row in range(layer.starts[0], layer.stops[0], layer.steps[0])
        for column in range(layer.starts[1], layer.stops[1], layer.steps[1])
        for channel in range(layer.starts[2], layer.stops[2], layer.steps[2])
    ]
    return (np.array([[frame[i] for i in kept] for frame in frames.tolist()]),)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


def test_streams_and_schedule() -> None:
    layer = Slice("strided", (4, 4, 4), (0, 0, 0), (4, 4, 4), (2, 2, 1), 3, 2)
    assert layer.inputs["in"] == Stream(64, 2, 3) and layer.cycles == 32
    assert layer.outputs["out"] == Stream(16, 2, 3)
    (process,) = layer.schedule().processes
    pass_on, drop = {"takes": {"in": 1}, "gives": {"out": 1}}, {"takes": {"in": 1}}
    assert process.phases == (
        Phase(2, **pass_on), Phase(2, **drop), Phase(2, **pass_on), Phase(10, **drop)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("start", "stop", "step", "most"),
    [(0, 12, 1, 12), (4, 12, 1, 4), (0, 6, 1, 6), (6, 9, 1, 3), (0, 12, 2, 1), (4, 6, 6, 1)],
)
def test_lanes_that_keep_channels_together(start, stop, step, most) -> None:
    layer = Slice("cut", (1, 1, 12), (0, 0, start), (1, 1, stop), (1, 1, step), 3, 1)
    assert layer.most_lanes == most
    with pytest.raises(SiraError, match="cut: lanes does not divide"):
        Slice("cut", (1, 1, 12), (0, 0, start), (1, 1, stop), (1, 1, step), 3, 2 * most)


def test_illegal_boxes() -> None:
    for starts, stops, steps in (
        ((0, 0, 0), (5, 4, 2), (1, 1, 1)),
        ((2, 0, 0), (2, 4, 2), (1, 1, 1)),
        ((0, 0, 0), (4, 4, 2), (1, 0, 1)),
    ):
        with pytest.raises(AssertionError):
            Slice("cut", (4, 4, 2), starts, stops, steps, 3, 1)
