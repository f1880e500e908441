"""Concatenation of the channels of several streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Counters, Inventory, Multiplexers
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True)
class Concat(Defaults):
    """For each vector, all channels of ``in0``, then all of ``in1``, and so on.

    ``channels`` and ``input_bits`` are those of the inputs; the output has the most bits of any.
    ``lanes`` divides every entry of ``channels``.
    """

    kind: ClassVar[str] = "concat"

    name: str
    channels: tuple[int, ...]
    input_bits: tuple[int, ...]
    lanes: int
    vectors: int

    def __post_init__(self) -> None:
        assert len(self.channels) == len(self.input_bits) >= 1, self
        assert min(self.channels) >= 1 and min(self.input_bits) >= 1 and self.vectors >= 1, self
        common = gcd(*self.channels)
        check_folding(self.name, "lanes", self.lanes, common, "channels common to all inputs")

    @property
    def inputs(self) -> Mapping[str, Stream]:
        pairs = zip(self.channels, self.input_bits, strict=True)
        return {
            f"in{i}": Stream(self.vectors * channels, self.lanes, bits)
            for i, (channels, bits) in enumerate(pairs)
        }

    @property
    def outputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * sum(self.channels)
        return {"out": Stream(elements, self.lanes, max(self.input_bits))}

    @property
    def cycles(self) -> int:
        return self.vectors * sum(self.channels) // self.lanes

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": gcd(*self.channels)}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        parts = [frames.reshape(len(frames), self.vectors, -1) for frames in inputs]
        return (np.concatenate(parts, axis=2).reshape(len(inputs[0]), -1),)

    @property
    def _beats(self) -> tuple[int, ...]:
        """Beats of a vector at each input."""
        return tuple(channels // self.lanes for channels in self.channels)

    def instance(self) -> Instance:
        inputs = len(self.channels)
        parameters: dict[str, int | tuple[int, ...]] = {
            "Inputs": inputs,
            "Lanes": self.lanes,
            "Beats": self._beats,
            "MostBeats": max(self._beats),
            "InputBits": self.input_bits,
            "Offsets": tuple(self.lanes * sum(self.input_bits[:i]) for i in range(inputs)),
            "InputWidth": self.lanes * sum(self.input_bits),
            "OutputBits": max(self.input_bits),
        }
        return Instance("stream_concat", parameters)

    def kernel(self) -> Kernel:
        arguments: dict[str, int | str] = {
            "Vectors": self.vectors,
            "Lanes": self.lanes,
            "OutputBits": max(self.input_bits),
        }
        pairs = zip(self._beats, self.input_bits, strict=True)
        for i, (beats, bits) in enumerate(pairs):
            arguments[f"Input{i}"] = f"ConcatInput</*Beats=*/{beats}, /*Bits=*/{bits}>"
        return Kernel("stream_concat", arguments)

    def schedule(self) -> Schedule:
        phases = tuple(Phase(n, {f"in{i}": 1}, {"out": 1}) for i, n in enumerate(self._beats))
        return Schedule((Process(phases, 0),))

    def inventory(self) -> Inventory:
        """A multiplexer for each bit, and the counters.

        Within 2 LUTs and exact in FF over the 2 layers of tests/benchmarks/fit_estimates.py, in
        Yosys counts.
        """
        inputs = len(self.channels)
        counters = (max(self._beats) - 1).bit_length() + (inputs - 1).bit_length()
        return (
            Multiplexers(self.lanes * max(self.input_bits), inputs),
            Counters(counters, 2),
        )
