"""Upsampling against loops in Python."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl, independent, vectors

from hls.dataflow import Dataflow, Edge, Ints, Layer, Port, Stream
from hls.emit.rtl import emit_rtl
from hls.fifos.simulation import Deadlock, simulate
from hls.layers.upsample import Upsample
from hls.schedule import Schedule
from hls.simulate.verilator import build
from sira.errors import SiraError

LAYERS = [
    Upsample("double", (4, 5, 4), (2, 2), 3, 2),
    Upsample("all lanes", (4, 8, 3), (2, 2), 3, 3),
    Upsample("rows", (3, 4, 2), (3, 1), 4, 1),
    Upsample("rows, all lanes", (3, 4, 2), (2, 1), 4, 2),
    Upsample("columns", (3, 4, 6), (1, 3), 2, 2),
    Upsample("columns, all lanes", (2, 4, 2), (1, 2), 2, 2),
    Upsample("uneven", (2, 3, 4), (4, 3), 3, 1),
    Upsample("one column", (4, 1, 2), (2, 2), 3, 2),
    Upsample("one column, rows", (4, 1, 2), (3, 1), 3, 2),
    Upsample("one pixel", (1, 1, 4), (7, 7), 5, 2),
    Upsample("as it is", (2, 3, 2), (1, 1), 3, 1),
]


def brute_force(layer: Layer, frames: Ints) -> tuple[Ints]:
    assert isinstance(layer, Upsample)
    (height, width, channels), (rows, columns) = layer.shape, layer.scales
    results = [
        [
            image[y // rows][x // columns][c]
            for y in range(height * rows)
            for x in range(width * columns)
            for c in range(channels)
        ]
        for image in frames.reshape(-1, height, width, channels).tolist()
    ]
    return (np.array(results),)


def alone(layer: Layer) -> Dataflow:
    edges = (
        Edge(Port("", "x"), Port(layer.name, "in")),
        Edge(Port(layer.name, "out"), Port("", "y")),
    )
    return Dataflow("alone", (layer,), edges)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_schedule_is_that_of_the_rtl(tmp_path: Path) -> None:
    """Every frame of every layer ends in the predicted cycle."""
    dataflow = independent(LAYERS)
    emit_rtl(dataflow, tmp_path)
    inputs, _ = vectors(LAYERS, brute_force, 12)
    result = build(tmp_path, dataflow).run(inputs)
    for layer in LAYERS:
        predicted = simulate(alone(layer), frames=12).completed["y"]
        measured = tuple(result.completed[layer.name].tolist())
        assert predicted == measured[: len(predicted)], layer.name


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


class OnePixelLess(Upsample):
    """A line buffer with room for a pixel less."""

    def schedule(self) -> Schedule:
        schedule = super().schedule()
        free = schedule.buffers["free"]
        smaller = replace(free, initial=free.initial - 1)
        return replace(schedule, buffers={**schedule.buffers, "free": smaller})


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_full_throughput_from_the_least_buffer(layer: Upsample) -> None:
    assert simulate(alone(layer)).cycles_per_frame == layer.cycles
    smaller = OnePixelLess(**vars(layer))
    with suppress(Deadlock):
        assert simulate(alone(smaller)).cycles_per_frame > layer.cycles


def test_streams() -> None:
    layer = Upsample("up", (4, 6, 8), (2, 3), 5, 4)
    assert layer.inputs["in"] == Stream(4 * 6 * 8, 4, 5)
    assert layer.outputs["out"] == Stream(8 * 18 * 8, 4, 5)
    assert layer.cycles == 8 * 18 * 2


def test_lanes() -> None:
    with pytest.raises(SiraError, match="up: lanes does not divide the 8 channels"):
        Upsample("up", (4, 6, 8), (2, 3), 5, 3)
