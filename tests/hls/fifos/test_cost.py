"""What FIFOs are said to cost, against synthesis, and the depths that cost nothing more."""

from __future__ import annotations

import pytest
from toy_layers import Fifo

from hls.dataflow import Dataflow, Edge, Port, Stream
from hls.device import device_of
from hls.fifos.cost import fifo, fifo_bits, fifos, rounded_depth
from hls.implement.yosys import synthesize_layer
from hls.layers.width_converter import WidthConverter

PART = "xczu3eg-sbva484-1-e"
DEVICE = device_of(PART)


@pytest.mark.parametrize(
    "depth", [2, 33, *(pytest.param(d, marks=pytest.mark.slow) for d in (3, 65, 257))]
)
def test_estimates_are_the_counts_of_synthesis(depth: int) -> None:
    layer = Fifo("fifo", Stream(8, 8, 1), depth)
    assert synthesize_layer(layer, PART).resources == DEVICE.price(fifo(8, depth))


@pytest.mark.slow
def test_large_ones_are_block_ram() -> None:
    layer = Fifo("fifo", Stream(36, 36, 1), 513)
    measured, estimate = synthesize_layer(layer, PART).resources, DEVICE.price(fifo(36, 513))
    assert (measured.bram18, measured.ff) == (estimate.bram18, estimate.ff) == (1, 29)


def test_sums_over_the_edges() -> None:
    converter = WidthConverter("w", 12, 6, 2, 3)
    edges = (
        Edge(Port("", "x"), Port("w", "in"), 2),
        Edge(Port("w", "out"), Port("", "y"), 33),
    )
    dataflow = Dataflow("one", (converter,), edges)
    assert fifo_bits(dataflow) == 2 * 18 + 33 * 6
    assert fifos(dataflow) == fifo(18, 2) + fifo(6, 33)


@pytest.mark.parametrize(
    ("beats", "depth"),
    [(0, 2), (2, 2), (3, 3), (4, 5), (5, 5), (6, 9), (17, 17), (18, 33), (65, 65), (66, 129)],
)
def test_rounded_depth(beats: int, depth: int) -> None:
    assert rounded_depth(beats) == depth


@pytest.mark.parametrize("width", [1, 5, 8, 40])
def test_a_rounded_depth_takes_no_more_than_the_depth_itself(width: int) -> None:
    for depth in range(2, 400):
        rounded = DEVICE.price(fifo(width, rounded_depth(depth)))
        assert rounded == DEVICE.price(fifo(width, depth))
