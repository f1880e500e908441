"""The fork: every output carries the input, whatever the others do."""

from __future__ import annotations

from pathlib import Path

import pytest
from layer_checks import check_hls, check_rtl, graph_ports

from hls.dataflow import Ints, Stream
from hls.layers.fork import Fork
from hls.schedule import Phase
from sira.errors import SiraError

LAYERS = [
    Fork("one", 6, 1, 3, 1),
    Fork("two", 12, 3, 4, 2),
    Fork("serial", 7, 1, 1, 3),
    Fork("wide", 40, 20, 9, 4),
    Fork("single_beat", 4, 4, 2, 11),
]


def copies(layer: Fork, frames: Ints) -> tuple[Ints, ...]:
    return tuple(frames.copy() for _ in range(layer.copies))


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, copies, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, copies, tmp_path)


def test_streams_and_cycles() -> None:
    layer = LAYERS[1]
    assert layer.inputs == {"in": Stream(12, 3, 4)}
    assert layer.outputs == {"out0": Stream(12, 3, 4), "out1": Stream(12, 3, 4)}
    assert layer.cycles == 4
    (process,) = layer.schedule().processes
    assert process.phases == (Phase(1, {"in": 1}, {"out0": 1, "out1": 1}),)


def test_ports_of_many_copies_stay_in_order() -> None:
    """``out10`` is behind ``out9``, not behind ``out1``: as the module packs them."""
    layer = LAYERS[-1]
    assert list(layer.outputs) == [f"out{i}" for i in range(11)]
    assert graph_ports(layer)[1]["out10"] == "single_beat_out10"


def test_lanes_that_do_not_divide() -> None:
    with pytest.raises(SiraError, match=r"f: lanes does not divide the 6 elements"):
        Fork("f", 6, 4, 3, 2)
