"""Sliding windows against loops in Python, with the least line buffer for full throughput."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from layer_checks import check_hls, check_rtl, independent, random_inputs, vectors

from hls.dataflow import Dataflow, Edge, Ints, Layer, Port, Stream
from hls.device import device_of
from hls.emit.rtl import emit_rtl
from hls.fifos.simulation import Deadlock, simulate
from hls.layers.sliding_window import SlidingWindow
from hls.schedule import Schedule
from hls.simulate.verilator import build
from sira.errors import SiraError


def window(
    name: str,
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    fill: int = 5,
    blocks: int = 1,
    bits: int = 3,
    lanes: int = 1,
) -> SlidingWindow:
    return SlidingWindow(
        name, shape, kernel, strides, dilations, pads, fill, blocks, bits, lanes
    )  # fmt: skip


LAYERS = [
    window("same", (8, 7, 4), (3, 3), pads=(1, 1, 1, 1), lanes=2),
    window("valid", (7, 6, 4), (3, 3), lanes=4),
    window("stride 2", (8, 8, 2), (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    window("depthwise", (6, 5, 6), (3, 3), pads=(1, 1, 1, 1), blocks=3, lanes=2),
    window("depthwise, two beats a block", (5, 5, 8), (2, 2), blocks=2, lanes=2, bits=5),
    window("pooling", (6, 8, 2), (2, 2), strides=(2, 2), blocks=2, fill=0),
    window("overlapping pooling", (9, 9, 2), (3, 3), strides=(2, 2), blocks=2),
    window("dilated", (9, 8, 2), (3, 2), dilations=(2, 3), pads=(2, 1, 2, 2), lanes=2),
    window("pads all different", (4, 5, 3), (2, 3), pads=(1, 0, 2, 3), lanes=3, fill=7),
    window("signal", (1, 20, 4), (1, 5), pads=(0, 2, 0, 2), lanes=2),
    window("signal, strided", (1, 21, 2), (1, 4), strides=(1, 3), dilations=(1, 2), lanes=2),
    window("column", (12, 1, 2), (4, 1), pads=(2, 0, 1, 0), lanes=2),
    window("strides beyond the kernel", (10, 11, 2), (2, 2), strides=(4, 3)),
    window("image smaller than kernel", (3, 2, 2), (5, 5), pads=(2, 2, 2, 2), lanes=2),
    window("kernel as large as image", (4, 3, 4), (4, 3), lanes=2),
    window("only padding", (4, 5, 4), (1, 1), pads=(1, 2, 3, 4), lanes=2, fill=3),
    window("padding and strides", (5, 6, 2), (1, 1), strides=(2, 3), pads=(3, 1, 2, 5)),
    window("every second", (6, 6, 4), (1, 1), strides=(2, 2), lanes=2),
    window("as it is", (3, 3, 2), (1, 1), lanes=2, bits=1, fill=0),
    window("single", (1, 1, 1), (1, 1)),
    window("pads beyond the kernel", (3, 3, 1), (2, 2), pads=(4, 4, 4, 4)),
    window("no pixel is read", (1, 1, 2), (2, 1), dilations=(2, 1), pads=(1, 0, 1, 0)),
]


def brute_force(layer: Layer, frames: Ints) -> tuple[Ints]:
    assert isinstance(layer, SlidingWindow)
    (height, width, channels), (rows, columns) = layer.shape, layer.kernel_size
    top, left, bottom, right = layer.pads
    size = channels // layer.blocks
    results = []
    for image in frames.reshape(-1, height, width, channels).tolist():
        result: list[int] = []
        first_row = -top
        while first_row + (rows - 1) * layer.dilations[0] < height + bottom:
            first = -left
            while first + (columns - 1) * layer.dilations[1] < width + right:
                for g, i, j, c in product(
                    range(layer.blocks), range(rows), range(columns), range(size)
                ):
                    y = first_row + i * layer.dilations[0]
                    x = first + j * layer.dilations[1]
                    inside = 0 <= y < height and 0 <= x < width
                    result.append(image[y][x][g * size + c] if inside else layer.fill)
                first += layer.strides[1]
            first_row += layer.strides[0]
        results.append(result)
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


@st.composite
def windows(draw: st.DrawFn) -> SlidingWindow:
    def numbers(low: int, high: int, count: int = 2) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(low, high)] * count))

    blocks, block_lanes = numbers(1, 3)
    pads = draw(st.one_of(st.just((0, 0, 0, 0)), st.tuples(*[st.integers(0, 4)] * 4)))
    try:
        return SlidingWindow(
            "w", (*numbers(1, 8), blocks * block_lanes), numbers(1, 4), numbers(1, 4),
            numbers(1, 3), pads, 1, blocks, 2, 1,
        )  # fmt: skip
    except AssertionError:  # the kernel is larger than the image and its padding
        assume(False)
        raise


@examples(150)
@given(windows())
def test_any_window(layer: SlidingWindow) -> None:
    (frames,) = random_inputs(layer, 2, 1)
    np.testing.assert_array_equal(layer.execute(frames)[0], brute_force(layer, frames)[0])


@examples(150)
@given(windows())
def test_nothing_is_freed_that_is_still_needed(layer: SlidingWindow) -> None:
    plan = layer.plan
    assert np.all(np.diff(plan.oldest) >= 0)
    assert plan.oldest[-1] - plan.oldest[0] == plan.pixels
    for number, (taps, inside) in enumerate(zip(plan.positions, plan.inside, strict=True)):
        assert np.all(taps[inside] >= plan.oldest[number])


class OnePixelLess(SlidingWindow):
    """A line buffer with room for a pixel less."""

    def schedule(self) -> Schedule:
        schedule = super().schedule()
        free = schedule.buffers["free"]
        smaller = replace(free, initial=free.initial - 1)
        return replace(schedule, buffers={**schedule.buffers, "free": smaller})


def cycles_per_frame(layer: SlidingWindow) -> float:
    simulation = simulate(alone(layer))
    assert simulation.period is not None
    return float(simulation.cycles_per_frame)


@examples(40)
@given(windows())
def test_full_throughput_from_the_least_buffer(layer: SlidingWindow) -> None:
    assert cycles_per_frame(layer) == layer.cycles
    with suppress(Deadlock):
        assert cycles_per_frame(OnePixelLess(**vars(layer))) > layer.cycles


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "pixels"),
    [
        # What a window spans. Without padding, the last windows of a frame hold a row more than
        # with it, and by then the first of the next frame need a row more, too.
        ((3, 3), (1, 1), (1, 1, 1, 1), 2 * 40 + 3),
        ((5, 5), (1, 1), (2, 2, 2, 2), 4 * 40 + 5),
        ((3, 3), (1, 1), (0, 0, 0, 0), 4 * 40 + 4),
        # While one row of windows is read, the rows of the next are written.
        ((2, 2), (2, 2), (0, 0, 0, 0), 2 * 40 + 4),
        ((3, 3), (2, 2), (1, 1, 1, 1), 3 * 40 + 3),
        ((1, 5), (1, 1), (0, 2, 0, 2), 5),
        ((1, 1), (1, 1), (0, 0, 0, 0), 2),
        ((1, 1), (1, 1), (2, 2, 2, 2), 2),
        ((1, 1), (2, 2), (0, 0, 0, 0), 2),
    ],
)
def test_pixels_of_the_line_buffer(kernel, strides, pads, pixels) -> None:
    layer = window("w", (30, 40, 4), kernel, strides=strides, pads=pads, blocks=4)
    assert layer.plan.capacity == pixels


@pytest.mark.parametrize(
    ("shape", "stride", "blocks", "bits", "lanes", "registers", "block_rams"),
    [
        ((32, 32, 64), 1, 1, 2, 32, 62, 2),
        ((112, 112, 32), 1, 8, 4, 4, 82, 2),
        ((224, 224, 3), 2, 1, 8, 3, 78, 2),
        ((16, 16, 16), 1, 1, 3, 16, 98, 0),
    ],
)
def test_estimate_of_what_yosys_counts(
    shape, stride, blocks, bits, lanes, registers, block_rams
) -> None:
    layer = window(
        "w", shape, (3, 3), strides=(stride, stride), pads=(1, 1, 1, 1), fill=1,
        blocks=blocks, bits=bits, lanes=lanes,
    )  # fmt: skip
    estimate = device_of("xczu7ev-ffvc1156-2-e").price(layer.inventory())
    assert (estimate.ff, estimate.bram18) == (registers, block_rams)


def test_streams() -> None:
    layer = window("w", (5, 6, 8), (3, 2), strides=(2, 1), pads=(1, 0, 0, 1), blocks=2, lanes=4)
    assert layer.output_size == (2, 6)
    assert layer.inputs["in"] == Stream(5 * 6 * 8, 4, 3)
    assert layer.outputs["out"] == Stream(2 * 6 * 3 * 2 * 8, 4, 3)
    assert layer.cycles == 2 * 6 * 3 * 2 * 2
    assert replace(layer, strides=(9, 9)).cycles == 5 * 6 * 2


def test_illegal_windows() -> None:
    with pytest.raises(SiraError, match="w: lanes does not divide the 4 channels of a block"):
        window("w", (5, 5, 8), (3, 3), blocks=2, lanes=8)
    for wrong in ({"fill": 8}, {"blocks": 3}, {"pads": (0, -1, 0, 0)}, {"strides": (0, 1)}):
        with pytest.raises(AssertionError):
            window("w", (5, 5, 8), (3, 3), **wrong)
    with pytest.raises(AssertionError):
        window("w", (5, 5, 8), (6, 1))
