"""Thresholding: how many thresholds of its channel a count reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Instance, Ints, Kernel, Memory, Stream
from hls.inventory import Comparators, Inventory, Logic, Registers
from hls.layers.parts.cpp_constants import by_lane, sized
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding, frozen, pack_words
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True, eq=False)
class Thresholding(Defaults):
    """out[c] = #{j : v >= thresholds[c, j]}, v = 2**input_bits - 1 - u where falling[c], else u.

    ``thresholds`` (channels or 1, n) are ascending in 0 .. 2**input_bits: 0 always counts and
    2**input_bits never does. ``falling`` (channels or 1,) is bool. Any n >= 1. ``pe`` channels are
    handled in a cycle. The longest path is one memory read of up to 64 words and one comparator;
    larger memories have a register behind them.
    """

    kind: ClassVar[str] = "thresholding"

    name: str
    thresholds: Ints
    falling: NDArray[np.bool_]
    channels: int
    input_bits: int
    pe: int
    vectors: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", frozen(self.thresholds))
        falling = np.array(self.falling, dtype=bool)
        falling.setflags(write=False)
        object.__setattr__(self, "falling", falling)
        rows, count = self.thresholds.shape
        assert rows in (1, self.channels) and falling.shape in ((1,), (self.channels,)), self.name
        assert count >= 1 and 1 <= self.input_bits <= 62 and self.vectors >= 1, self.name
        assert np.all(np.diff(self.thresholds, axis=1) >= 0), f"{self.name}: not ascending"
        assert self.thresholds.min() >= 0, self.name
        assert self.thresholds.max() <= 1 << self.input_bits, self.name
        check_folding(self.name, "PE", self.pe, self.channels, "channels")

    @property
    def output_bits(self) -> int:
        return int(self.thresholds.shape[1]).bit_length()

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(self.vectors * self.channels, self.pe, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(self.vectors * self.channels, self.pe, self.output_bits)}

    @property
    def cycles(self) -> int:
        return self.vectors * self.channels // self.pe

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"pe": self.channels}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        values = frames.reshape(-1, self.channels)
        values = np.where(self.falling, (1 << self.input_bits) - 1 - values, values)
        counts = np.empty_like(values)
        thresholds = np.broadcast_to(self.thresholds, (self.channels, self.thresholds.shape[1]))
        for channel, steps in enumerate(thresholds):
            counts[:, channel] = np.searchsorted(steps, values[:, channel], side="right")
        return (counts.reshape(frames.shape),)

    def instance(self) -> Instance:
        searched, falling = self._searched()
        rows, bits = len(searched) // self.pe, self._threshold_bits(searched)
        memories: dict[str, Memory] = {}
        for stage in range(self.output_bits):
            # The search asks for thresholds 1, 3, 5, ... in units of 2**(bits not yet decided).
            step = 1 << (self.output_bits - 1 - stage)
            asked = searched[:, step - 1 :: 2 * step]
            words = asked.reshape(rows, self.pe, 1 << stage).transpose(0, 2, 1)
            memories[f"thresholds_{stage:02d}"] = pack_words(words.reshape(-1, self.pe), bits)
        if falling.all():
            direction = 2
        elif falling.any():
            direction = 1
            memories["falling"] = pack_words(falling.reshape(rows, self.pe).astype(np.int64), 1)
        else:
            direction = 0
        parameters = {
            "Rows": rows,
            "Pe": self.pe,
            "InputBits": self.input_bits,
            "ThresholdBits": bits,
            "OutputBits": self.output_bits,
            "Falling": direction,
        }
        stages = range(self.output_bits)
        shapes = {f"thresholds_{stage:02d}": (rows << stage, self.pe * bits) for stage in stages}
        if direction == 1:
            shapes["falling"] = (rows, self.pe)
        return Instance("thresholding", parameters, memories, shapes, ("thresholding_stage",))

    def _searched(self) -> tuple[Ints, NDArray[np.bool_]]:
        """Thresholds for the hardware's search (rows * pe, 2**output_bits - 1), and who falls.

        Missing thresholds are never reached. A falling channel asks whether u < 2**input_bits - t
        instead of turning u around. Where all channels are alike, one row stays.
        """
        count = (1 << self.output_bits) - 1
        padding = ((0, 0), (0, count - self.thresholds.shape[1]))
        never = 1 << self.input_bits
        thresholds = np.pad(self.thresholds, padding, constant_values=never)
        thresholds = np.broadcast_to(thresholds, (self.channels, count))
        falling = np.broadcast_to(self.falling, (self.channels,))
        if np.all(thresholds == thresholds[0]) and np.all(falling == falling[0]):
            thresholds, falling = thresholds[: self.pe], falling[: self.pe]
        return np.where(falling[:, None], never - thresholds, thresholds), falling

    def _threshold_bits(self, searched: Ints) -> int:
        return self.input_bits + int(searched.max() == 1 << self.input_bits)

    def kernel(self) -> Kernel:
        rows, count = self.thresholds.shape
        stages = count.bit_length()
        # A full tree: the missing thresholds are never reached.
        tree = np.full((rows, (1 << stages) - 1), 1 << self.input_bits, np.int64)
        tree[:, :count] = self.thresholds
        lanes = by_lane(tree, self.pe)
        falling = self.falling
        if np.all(falling == falling[0]):
            falling = falling[:1]
        arrays = {"falling": ("bool", by_lane(falling.astype(np.int64), self.pe))}
        for stage in range(stages):
            step = 1 << stages - stage  # Distance of the thresholds that this stage compares with.
            words = lanes[:, :, step // 2 - 1 :: step]
            arrays[f"stage{stage}"] = sized(words.reshape(self.pe, -1))
        return Kernel(
            "thresholding",
            {
                "Channels": self.channels,
                "Pe": self.pe,
                "InputBits": self.input_bits,
                "CountBits": stages,
                "Vectors": self.vectors,
                "ThresholdFolds": lanes.shape[1],
                "FallingFolds": arrays["falling"][1].shape[1],
            },
            arrays,
        )

    def schedule(self) -> Schedule:
        searched, _ = self._searched()
        rows = len(searched) // self.pe
        registered = sum(rows << stage > 64 for stage in range(self.output_bits))
        step = Phase(1, {"in": 1}, {"out": 1})
        return Schedule((Process((step,), self.output_bits + registered),))

    def inventory(self) -> Inventory:
        """A comparator with the thresholds of its stage for each lane and stage.

        Registers, for each stage: the operand and the bits decided of every lane, the row, and once
        more where the memory is read into a register. The last stage keeps the count alone.

        The quantities were chosen on the Yosys counts of the 14 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is 5 % off in the mean and
        13 % at worst, FF 1 %. Errors on layers of real models are in the README.
        """
        searched, _ = self._searched()
        rows, bits = len(searched) // self.pe, self._threshold_bits(searched)
        row_bits = (rows - 1).bit_length()
        found: Inventory = (Logic("control", 4, 2 * row_bits),)
        for stage in range(self.output_bits):
            last = stage == self.output_bits - 1
            lane = stage + 1 + (0 if last else self.input_bits)
            shared = 1 + (0 if last else row_bits)
            if rows << stage > 64:
                lane += self.input_bits + stage
                shared += 1 + (0 if last else row_bits)
            comparators = Comparators(bits, self.pe, rows << stage)
            found += (comparators, Registers(self.pe * lane + shared))
        return found
