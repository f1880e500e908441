"""A design synthesised in parts: what lies between the layers, the sums, and the cache."""

from __future__ import annotations

import functools
import operator

import pytest

import hls.implement.yosys
from hls.dataflow import Dataflow, Edge, Port, Resources
from hls.device import device_of
from hls.implement.yosys import DesignSynthesis, synthesize_design
from hls.layers.width_converter import WidthConverter

PART = "xc7z020clg400-1"
LAYERS = (WidthConverter("widen", 12, 1, 3, 5), WidthConverter("narrow", 12, 3, 1, 5))
DESIGN = Dataflow(
    "design",
    LAYERS,
    (
        Edge(Port("", "x"), Port("widen", "in"), 2),
        Edge(Port("widen", "out"), Port("narrow", "in"), 20),
        Edge(Port("narrow", "out"), Port("", "y"), 2),
    ),
)


@pytest.fixture(scope="module")
def synthesis() -> DesignSynthesis:
    return synthesize_design(DESIGN, PART)


def test_what_lies_between_the_layers_is_counted(synthesis: DesignSynthesis) -> None:
    cells = synthesis.fifos.cells
    # Two registers of 5 bits and their valid bits, twice; an output register of 15 bits and its
    # valid bit, two addresses and a count of 19 words; a counter of the 12 beats of a frame.
    assert synthesis.fifos.resources.ff == 2 * (2 * 5 + 2) + (15 + 1 + 5 + 5 + 5) + 4
    assert cells["RAM32M"] == 3  # of 6 bits each
    assert synthesis.fifos.lutram == 12


def test_the_parts_are_the_whole(synthesis: DesignSynthesis) -> None:
    parts = [*(result.resources for result in synthesis.layers.values()), synthesis.fifos.resources]
    assert list(synthesis.layers) == ["widen", "narrow"]
    assert synthesis.sum == functools.reduce(operator.add, parts, Resources())
    assert synthesis.whole is not None
    assert synthesis.whole.resources.ff == synthesis.sum.ff
    assert synthesis.whole.lutram == synthesis.fifos.lutram


def test_an_unchanged_design_is_not_synthesised_again(
    synthesis: DesignSynthesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls.implement.yosys, "synthesize", None)
    assert synthesize_design(DESIGN, PART) == synthesis


def test_a_large_design_is_not_synthesised_in_one_piece(
    synthesis: DesignSynthesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls.implement.yosys, "synthesize", None)
    estimated = sum(device_of(PART).price(layer.inventory()).lut for layer in LAYERS)
    monkeypatch.setattr(hls.implement.yosys, "WHOLE_DESIGN_LUT", estimated - 1)
    again = synthesize_design(DESIGN, PART)
    assert again.whole is None
    assert (again.layers, again.fifos) == (synthesis.layers, synthesis.fifos)
