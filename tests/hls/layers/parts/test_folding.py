"""The choice of lanes, and a window generator that is no layer of the library."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from hls.dataflow import Dataflow, Edge, Port, Stream
from hls.fold import fold
from hls.layers.parts.folding import Defaults, divisors


@dataclass(frozen=True)
class Reader(Defaults):
    """Takes the windows of four pixels of 12 channels, and gives one beat for each."""

    name: str
    lanes: int = 1
    order: str | None = None

    @property
    def inputs(self):
        return {"in": Stream(48, self.lanes, 2)}

    @property
    def outputs(self):
        return {"out": Stream(48, self.lanes, 2)}

    @property
    def cycles(self):
        return 48 // self.lanes

    @property
    def dimensions(self):
        return {"lanes": 12}

    @property
    def window_order(self):
        return self.order


@dataclass(frozen=True)
class Generator(Reader):
    """Follows its reader with its own lanes."""

    block_channels: int = 12

    @property
    def dimensions(self):
        return {}

    def following(self, reader, target):
        return replace(self, lanes=reader.lanes)


def in_a_row(*layers):
    ports = [Port("", "in")]
    edges = []
    for layer in layers:
        edges.append(Edge(ports[-1], Port(layer.name, "in")))
        ports.append(Port(layer.name, "out"))
    return Dataflow("row", layers, (*edges, Edge(ports[-1], Port("", "out"))))


@pytest.mark.parametrize("n", [1, 7, 12, 36])
def test_divisors(n):
    assert divisors(n) == [d for d in range(1, n + 1) if n // d * d == n]


@pytest.mark.parametrize(
    ("target", "lanes", "chosen"),
    [(48, 1, 1), (47, 1, 2), (24, 1, 2), (24, 3, 3), (24, 5, 2), (4, 2, 12), (0, 1, 12)],
)
def test_fewest_lanes_that_meet_the_target(target, lanes, chosen):
    assert Reader("r").folding(target, lanes) == {"lanes": chosen}


def test_nothing_to_fold():
    assert Generator("g").folding(1, 1) == {}


def test_a_generator_follows_a_reader_of_windows():
    folded = fold(in_a_row(Generator("g"), Reader("r", order="dense")), 12)
    assert [(layer.name, layer.lanes) for layer in folded.layers] == [("g", 4), ("r", 4)]


def test_a_generator_in_front_of_another_layer_is_folded_alone():
    folded = fold(in_a_row(Generator("g"), Reader("r")), 48)
    assert [(layer.name, layer.lanes) for layer in folded.layers] == [("g", 1), ("r", 1)]
