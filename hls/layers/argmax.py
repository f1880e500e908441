"""Argmax: the index of the largest scaled count of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Comparators, Inventory, Logic, Multiplexers, MultiplyAdds, Registers
from hls.layers.parts.cpp_constants import sized
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding, frozen, pack_words
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True, eq=False)
class ArgMax(Defaults):
    """Index of the largest scale[c] * u[c] + offset[c]; the lower index on a tie.

    ``scale`` (C,) is positive and ``offset`` (C,) any int64; ``lanes`` channels arrive in a cycle.
    The comparator tree over the lanes has a register behind each level.
    """

    kind: ClassVar[str] = "argmax"

    name: str
    scale: Ints
    offset: Ints
    input_bits: int
    lanes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", frozen(self.scale))
        object.__setattr__(self, "offset", frozen(self.offset))
        assert self.scale.ndim == 1 and self.scale.shape == self.offset.shape, self.name
        assert self.scale.min() >= 1 and self.input_bits >= 1, self.name
        check_folding(self.name, "lanes", self.lanes, len(self.scale), "channels")

    @property
    def index_bits(self) -> int:
        return max(1, (len(self.scale) - 1).bit_length())

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(len(self.scale), self.lanes, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(1, 1, self.index_bits)}

    @property
    def cycles(self) -> int:
        return len(self.scale) // self.lanes

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": len(self.scale)}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        scores = self.scale.astype(object) * frames.astype(object) + self.offset.astype(object)
        # numpy's argmax takes the first of equal values
        return (np.argmax(scores, axis=1).astype(np.int64)[:, None],)

    def reduced(self) -> tuple[list[int], list[int]]:
        """Scale and offset with the same order of scores: offsets from 0, common factor removed."""
        lowest = int(self.offset.min())
        offset = [int(value) - lowest for value in self.offset]
        scale = [int(value) for value in self.scale]
        factor = gcd(*scale, *offset)
        return [s // factor for s in scale], [o // factor for o in offset]

    def _widths(self) -> tuple[int, int, int]:
        """Bits of a scale, an offset and a score."""
        scale, offset = self.reduced()
        largest = ((1 << self.input_bits) - 1) * np.array(scale, object) + np.array(offset, object)
        return (
            max(scale).bit_length(),
            max(1, max(offset).bit_length()),
            max(int(largest.max()).bit_length(), self.input_bits + max(scale).bit_length() - 1),
        )

    @property
    def affine(self) -> bool:
        """Whether scores differ from the counts themselves."""
        scale, offset = self.reduced()
        return max(scale) > 1 or max(offset) > 0

    def instance(self) -> Instance:
        scale, offset = self.reduced()
        scale_bits, offset_bits, value_bits = self._widths()
        parameters = {
            "Channels": len(scale),
            "Lanes": self.lanes,
            "InputBits": self.input_bits,
            "ScaleBits": scale_bits,
            "OffsetBits": offset_bits,
            "ValueBits": value_bits if self.affine else self.input_bits,
            "IndexBits": self.index_bits,
            "Affine": int(self.affine),
        }
        if not self.affine:
            return Instance("argmax", parameters)
        words = [s | o << scale_bits for s, o in zip(scale, offset, strict=True)]
        lanes = np.array(words, dtype=object).reshape(-1, self.lanes)
        bits = scale_bits + offset_bits
        shapes = {"affine": (len(scale) // self.lanes, self.lanes * bits)}
        return Instance("argmax", parameters, {"affine": pack_words(lanes, bits)}, shapes)

    def kernel(self) -> Kernel:
        scale, offset = (np.array(v, np.int64) for v in self.reduced())
        largest = ((1 << self.input_bits) - 1) * int(scale.max()) + int(offset.max())
        assert largest < 1 << 63, f"{self.name}: scores of {largest.bit_length()} bits"
        return Kernel(
            "argmax",
            {
                "Channels": len(scale),
                "Lanes": self.lanes,
                "InputBits": self.input_bits,
                "ScoreBits": largest.bit_length(),
                "IndexBits": self.index_bits,
            },
            {
                "scale": sized(scale.reshape(-1, self.lanes)),
                "offset": sized(offset.reshape(-1, self.lanes)),
            },
        )

    def schedule(self) -> Schedule:
        beats = len(self.scale) // self.lanes
        latency = (4 if self.affine else 2) + (self.lanes - 1).bit_length()
        phases = (Phase(beats - 1, {"in": 1}), Phase(1, {"in": 1}, {"out": 1}))
        return Schedule((Process(phases, latency),))

    def inventory(self) -> Inventory:
        """A comparator and a multiplexer for each joint of the tree, a comparator and counters for
        several beats. Registers of inputs, joints, the largest so far and its index, and what goes
        beside them. For scores a product and sum in each lane, and the memory.

        The quantities were chosen on the Yosys counts of the 6 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is 6 % off in the mean and 10 %
        at worst, FF 8 % and 17 %.
        """
        scale_bits, offset_bits, value_bits = self._widths()
        affine = self.affine
        if not affine:
            value_bits = self.input_bits
        joints, stages = self.lanes - 1, (3 if affine else 1) + (self.lanes - 1).bit_length()
        found: Inventory = (
            Registers(self.lanes * self.input_bits),
            Comparators(value_bits, joints),
            Multiplexers(joints * (value_bits + 1)),
            Registers(joints * (value_bits + 2)),
            Registers(value_bits + self.index_bits + stages + 1),
            Logic("control", 5),
        )
        if self.cycles > 1:
            beside = (stages + 1) * (self.index_bits + 2) + 2
            found += (Comparators(value_bits), Logic("several beats", 8, beside))
        if affine:
            memory = scale_bits + offset_bits
            coefficients = self.lanes * memory if self.cycles > 2 else 0
            found += (
                MultiplyAdds(self.input_bits, scale_bits, value_bits, self.lanes),
                Logic("choice of the coefficients", coefficients, self.lanes * memory),
                Registers(self.lanes * value_bits),
            )
        return found
