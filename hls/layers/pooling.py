"""Pooling of windows: the largest or the sum of each channel's counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Stream, WindowOrder
from hls.inventory import Adders, Counters, Inventory, Logic, Registers
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True)
class Pooling(Defaults):
    """The largest (``max``) or the sum (``sum``) over the ``positions`` of each window and channel.

    For each of ``vectors`` windows and each block of ``lanes`` channels, ``positions`` beats of
    ``lanes`` counts arrive (as from `SlidingWindow` with ``blocks = channels / lanes``), and one
    beat leaves. The output has the bits of the largest possible value.
    """

    kind: ClassVar[str] = "pooling"

    name: str
    operation: Literal["max", "sum"]
    channels: int
    positions: int
    input_bits: int
    lanes: int
    vectors: int

    def __post_init__(self) -> None:
        assert self.operation in ("max", "sum"), self
        assert self.positions >= 1 and self.vectors >= 1, self
        assert self.input_bits >= 1 and self.output_bits <= 62, self
        check_folding(self.name, "lanes", self.lanes, self.channels, "channels")

    @property
    def output_bits(self) -> int:
        if self.operation == "max":
            return self.input_bits
        return (self.positions * ((1 << self.input_bits) - 1)).bit_length()

    @property
    def inputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * self.channels * self.positions
        return {"in": Stream(elements, self.lanes, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(self.vectors * self.channels, self.lanes, self.output_bits)}

    @property
    def cycles(self) -> int:
        return self.vectors * self.channels // self.lanes * self.positions

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.channels}

    @property
    def window_order(self) -> WindowOrder:
        return "depthwise"

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        windows = frames.reshape(-1, self.positions, self.lanes)
        pooled = np.max(windows, axis=1) if self.operation == "max" else np.sum(windows, axis=1)
        return (pooled.reshape(len(frames), -1),)

    def instance(self) -> Instance:
        parameters = {
            "Sum": int(self.operation == "sum"),
            "Positions": self.positions,
            "Lanes": self.lanes,
            "InputBits": self.input_bits,
            "OutputBits": self.output_bits,
        }
        return Instance("pooling", parameters, parts=("frame_counter",))

    def kernel(self) -> Kernel:
        return Kernel(
            "pooling",
            {
                "Sum": int(self.operation == "sum"),
                "Windows": self.vectors * self.channels // self.lanes,
                "Positions": self.positions,
                "Lanes": self.lanes,
                "InputBits": self.input_bits,
                "OutputBits": self.output_bits,
            },
        )

    def schedule(self) -> Schedule:
        phases = (Phase(self.positions - 1, {"in": 1}), Phase(1, {"in": 1}, {"out": 1}))
        return Schedule((Process(phases, 1),))

    def inventory(self) -> Inventory:
        """A register for each lane, with an adder, or a comparator that decides its clock enable.

        Within 1 LUT and exact in FF over the 5 layers of tests/benchmarks/fit_estimates.py, in
        Yosys counts.
        """
        return (
            Adders(self.output_bits, self.lanes if self.positions > 1 else 0),
            Registers(self.lanes * self.output_bits),
            Counters((self.positions - 1).bit_length()),
            Logic("control", 4, 2),
        )
