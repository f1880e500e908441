"""Global pooling: the maximum or the sum of every channel over a whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Adders, Counters, Inventory, Logic, Maxima, Ram, Registers
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True)
class GlobalPooling(Defaults):
    """out[c] = max or sum over p of u[p, c]; a frame is ``positions`` x ``channels`` counts.

    ``lanes`` channels are handled in a cycle. The results so far stand in a memory of
    channels / lanes words, and leave while the last position arrives: a frame takes as many cycles
    as it has beats, and the next one follows without a gap.
    """

    kind: ClassVar[str] = "global_pooling"

    name: str
    operation: Literal["max", "sum"]
    channels: int
    positions: int
    input_bits: int
    lanes: int

    def __post_init__(self) -> None:
        assert self.operation in ("max", "sum"), (self.name, self.operation)
        assert min(self.channels, self.positions, self.input_bits) >= 1, self.name
        assert self.output_bits <= 62, (self.name, self.output_bits)
        check_folding(self.name, "lanes", self.lanes, self.channels, "channels")

    @property
    def output_bits(self) -> int:
        if self.operation == "max":
            return self.input_bits
        return (self.positions * ((1 << self.input_bits) - 1)).bit_length()

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(self.positions * self.channels, self.lanes, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(self.channels, self.lanes, self.output_bits)}

    @property
    def folds(self) -> int:
        """Beats of one position, channels / lanes."""
        return self.channels // self.lanes

    @property
    def cycles(self) -> int:
        return self.positions * self.folds

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.channels}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        values = frames.reshape(len(frames), self.positions, self.channels)
        reduce = np.max if self.operation == "max" else np.sum
        return (reduce(values, axis=1),)

    def instance(self) -> Instance:
        return Instance(
            "global_pooling",
            {
                "Positions": self.positions,
                "Folds": self.folds,
                "Lanes": self.lanes,
                "InputBits": self.input_bits,
                "OutputBits": self.output_bits,
                "Maximum": int(self.operation == "max"),
            },
        )

    def kernel(self) -> Kernel:
        return Kernel(
            "global_pooling",
            {
                "Maximum": int(self.operation == "max"),
                "Positions": self.positions,
                "Folds": self.folds,
                "Lanes": self.lanes,
                "InputBits": self.input_bits,
                "OutputBits": self.output_bits,
            },
        )

    def schedule(self) -> Schedule:
        waiting = Phase(self.folds * (self.positions - 1), {"in": 1})
        leaving = Phase(self.folds, {"in": 1}, {"out": 1})
        return Schedule((Process((waiting, leaving), 2),))

    def inventory(self) -> Inventory:
        """An adder, or a comparator and a choice, for each lane; the memory; the counters; the
        registers of input, word read and output.

        The quantities were chosen on the Yosys counts of the 5 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is at most 9 off, FF 1.
        """
        width, address = self.lanes * self.output_bits, (self.folds - 1).bit_length()
        reduction = Maxima if self.operation == "max" else Adders
        found: Inventory = (
            reduction(self.output_bits, self.lanes),
            Counters((self.positions - 1).bit_length() + address),
            Registers(self.lanes * self.input_bits + width),
            Logic("control", 8, 5),
        )
        if self.folds > 1 and self.positions > 1:
            found += (Ram(self.folds, width), Registers(address))
        return found
