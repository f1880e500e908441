"""Zero insertion: a constant between the pixels of an image, for transposed convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Counters, Inventory, Logic, Multiplexers
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding
from hls.layers.parts.phases import periodic_phases
from hls.schedule import Process, Schedule


@dataclass(frozen=True)
class ZeroInsertion(Defaults):
    """Pixel (row, column) goes to (row * strides[0], column * strides[1]); the others are ``fill``.

    ``shape`` = (height, width, channels) becomes ((height - 1) * strides[0] + 1,
    (width - 1) * strides[1] + 1, channels). ``fill`` is a count in every channel.
    """

    kind: ClassVar[str] = "spread"

    name: str
    shape: tuple[int, int, int]
    strides: tuple[int, int]
    fill: int
    bits: int
    lanes: int

    def __post_init__(self) -> None:
        assert min(self.shape) >= 1 and min(self.strides) >= 1, self
        assert self.bits >= 1 and 0 <= self.fill < 1 << self.bits, self
        check_folding(self.name, "lanes", self.lanes, self.shape[2], "channels")

    @property
    def output_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.shape
        down, right = self.strides
        return (height - 1) * down + 1, (width - 1) * right + 1, channels

    @property
    def inputs(self) -> Mapping[str, Stream]:
        height, width, channels = self.shape
        return {"in": Stream(height * width * channels, self.lanes, self.bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        height, width, channels = self.output_shape
        return {"out": Stream(height * width * channels, self.lanes, self.bits)}

    @property
    def cycles(self) -> int:
        return self.outputs["out"].beats

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.shape[2]}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        count = len(frames)
        down, right = self.strides
        image = np.full((count, *self.output_shape), self.fill, dtype=np.int64)
        image[:, ::down, ::right] = frames.reshape(count, *self.shape)
        return (image.reshape(count, -1),)

    def instance(self) -> Instance:
        height, width, channels = self.output_shape
        # The beat that stands between pixels, in words of 32 bits, as for any packed parameter.
        beat = sum(self.fill << self.bits * lane for lane in range(self.lanes))
        words = -(-self.lanes * self.bits // 32)
        parameters: dict[str, int | tuple[int, ...]] = {
            "Width": self.lanes * self.bits,
            "FillWords": words,
            "Fill": tuple(beat >> 32 * word & 0xFFFFFFFF for word in range(words)),
            "Rows": height,
            "Columns": width,
            "Beats": channels // self.lanes,
            "RowStride": self.strides[0],
            "ColumnStride": self.strides[1],
        }
        return Instance(
            "stream_zero_insertion", parameters, parts=("frame_counter", "stride_counter")
        )

    def kernel(self) -> Kernel:
        height, width, channels = self.output_shape
        return Kernel(
            "stream_zero_insertion",
            {
                "Lanes": self.lanes,
                "Bits": self.bits,
                "Fill": f"{self.fill}ULL",
                "RowAxis": f"StrideAxis<{height}, 0, {height - 1}, {self.strides[0]}>",
                "ColumnAxis": f"StrideAxis<{width}, 0, {width - 1}, {self.strides[1]}>",
                "Beats": channels // self.lanes,
            },
        )

    def schedule(self) -> Schedule:
        height, width, channels = self.output_shape
        takes = np.zeros((height, width, channels // self.lanes), dtype=bool)
        takes[:: self.strides[0], :: self.strides[1]] = True
        phases = periodic_phases({"in": takes.ravel()}, {"out": np.ones(takes.size, dtype=bool)})
        return Schedule((Process(phases, 0),))

    def inventory(self) -> Inventory:
        """A choice for each bit of a beat, and counters of the rows, columns and beats of the
        output.

        With them, the next row and column from the input. Exact in FF and 2 LUTs off over the 2
        layers of tests/benchmarks/fit_estimates.py, in Yosys counts.
        """
        height, width, channels = self.output_shape
        bits = (channels // self.lanes - 1).bit_length() if max(self.strides) > 1 else 0
        for size, stride in zip((height, width), self.strides, strict=True):
            bits += (size - 1).bit_length() * (1 + (stride > 1))
        choices = Multiplexers(self.lanes * self.bits)
        return choices, Counters(bits, Fraction(3, 2)), Logic("control", 3)
