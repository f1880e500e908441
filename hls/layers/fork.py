"""The fork: every beat to several streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Inventory, Logic
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True)
class Fork(Defaults):
    """``copies`` outputs ``out0``, ``out1``, ... that each carry the ``elements`` of the input.

    Each output takes a beat in its own time; the next beat is there once all have taken it.
    """

    kind: ClassVar[str] = "fork"

    name: str
    elements: int
    lanes: int
    bits: int
    copies: int

    def __post_init__(self) -> None:
        assert self.copies >= 1 and self.bits >= 1, self
        check_folding(self.name, "lanes", self.lanes, self.elements, "elements")

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(self.elements, self.lanes, self.bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        stream = Stream(self.elements, self.lanes, self.bits)
        return {f"out{copy}": stream for copy in range(self.copies)}

    @property
    def cycles(self) -> int:
        return self.elements // self.lanes

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.elements}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        return (frames,) * self.copies

    def instance(self) -> Instance:
        return Instance("stream_fork", {"Width": self.lanes * self.bits, "Copies": self.copies})

    def kernel(self) -> Kernel:
        return Kernel("stream_fork", {"Beats": self.cycles, "Width": self.lanes * self.bits})

    def schedule(self) -> Schedule:
        """All outputs at once: no output is ahead of another by more than the beat in hand."""
        gives = dict.fromkeys(self.outputs, 1)
        return Schedule((Process((Phase(1, {"in": 1}, gives),), 0),))

    def inventory(self) -> Inventory:
        """For each output a flip-flop that says it has taken the beat, and its control.

        Exact for the two layers of tests/benchmarks/fit_estimates.py, in Yosys counts.
        """
        return (Logic("handshakes", 3 * self.copies - 1, self.copies),)
