"""Thresholding: how many thresholds of its channel a count reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Instance, Ints, Memory, Resources, Stream
from hls.layers.memories import check_folding, frozen, pack_words


@dataclass(frozen=True, eq=False)
class Thresholding:
    """out[c] = #{j : v >= thresholds[c, j]}, v = 2**input_bits - 1 - u where falling[c], else u.

    ``thresholds`` (channels or 1, n) are ascending in 0 .. 2**input_bits: 0 always counts and
    2**input_bits never does. ``falling`` (channels or 1,) is bool. Any n >= 1. ``pe`` channels are
    handled in a cycle. The longest path is one memory read of up to 64 words and one comparator;
    larger memories have a register behind them.
    """

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
        return Instance("thresholding", parameters, memories)

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

    def estimate(self) -> Resources:
        """LUT, per lane and stage: a comparator of threshold_bits, one LUT a bit, which takes in
        a memory of up to 32 words; a larger one costs a LUT per 64 words and bit, and beyond 1024
        words block RAM of 18 kbit. FF, per lane and stage: the operand and the bits decided.
        """
        searched, _ = self._searched()
        rows, bits = len(searched) // self.pe, self._threshold_bits(searched)
        total = Resources(lut=8, ff=rows.bit_length() * self.output_bits)
        for stage in range(self.output_bits):
            words = rows << stage
            memory = bram = 0
            if words > 1024:
                bram = -(-words * bits // 18432)
            elif words > 32:
                memory = bits * -(-words // 64)
            state = (self.input_bits + stage + 1) * (2 if words > 64 else 1)
            lane = Resources(lut=bits + memory, ff=state, bram18=bram)
            total += Resources(lane.lut * self.pe, lane.ff * self.pe, 0, lane.bram18 * self.pe)
        return total
