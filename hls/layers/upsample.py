"""Nearest-neighbour upsampling by whole factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Inventory
from hls.layers.parts.folding import Defaults
from hls.layers.parts.line_buffer import line_buffer, writing
from hls.layers.parts.memories import check_folding
from hls.schedule import Buffer, Phase, Process, Schedule


@dataclass(frozen=True)
class Upsample(Defaults):
    """Each pixel of an image of ``shape`` (height, width, channels) becomes a block of ``scales``.

    ``scales`` are (rows, columns); the output has shape (height*rows, width*columns, channels).
    A row of pixels is held, or two pixels where rows are not repeated.
    """

    kind: ClassVar[str] = "upsample"

    name: str
    shape: tuple[int, int, int]
    scales: tuple[int, int]
    bits: int
    lanes: int

    def __post_init__(self) -> None:
        assert min(*self.shape, *self.scales, self.bits) >= 1, self
        check_folding(self.name, "lanes", self.lanes, self.shape[2], "channels")

    @property
    def pixels(self) -> int:
        """Pixels that are held: the next row is written while the last repetition frees this one,
        but a pixel must be complete before it is read."""
        return max(2, self.shape[1] if self.scales[0] > 1 else 1)

    @property
    def pixel_beats(self) -> int:
        return self.shape[2] // self.lanes

    @property
    def inputs(self) -> Mapping[str, Stream]:
        height, width, channels = self.shape
        return {"in": Stream(height * width * channels, self.lanes, self.bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        elements = self.inputs["in"].elements * self.scales[0] * self.scales[1]
        return {"out": Stream(elements, self.lanes, self.bits)}

    @property
    def cycles(self) -> int:
        return self.outputs["out"].beats

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.shape[2]}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        images = frames.reshape(-1, *self.shape)
        rows = np.repeat(images, self.scales[0], axis=1)
        return (np.repeat(rows, self.scales[1], axis=2).reshape(len(frames), -1),)

    @property
    def _parameters(self) -> dict[str, int]:
        """Those that the RTL and the C++ have in common."""
        return {
            "Columns": self.shape[1],
            "PixelBeats": self.pixel_beats,
            "ScaleRows": self.scales[0],
            "ScaleColumns": self.scales[1],
            "Lanes": self.lanes,
            "Bits": self.bits,
        }

    def instance(self) -> Instance:
        parameters = {**self._parameters, "Pixels": self.pixels}
        return Instance("upsample", parameters, parts=("frame_counter", "line_buffer"))

    def kernel(self) -> Kernel:
        return Kernel("upsample", {"Rows": self.shape[0], **self._parameters})

    def schedule(self) -> Schedule:
        """The reader's period is a row of the input: it takes a pixel when it comes to it for the
        first time, and frees it when it leaves it for the last."""
        repeats, columns = self.scales[0], self.shape[1]
        beats = self.scales[1] * self.pixel_beats

        def pixel(first: bool, last: bool) -> tuple[Phase, ...]:
            takes, frees = {"filled": 1} if first else {}, {"free": 1} if last else {}
            out = {"out": 1}
            if beats == 1:
                return (Phase(1, takes, out | frees),)
            return Phase(1, takes, out), Phase(beats - 2, gives=out), Phase(1, gives=out | frees)

        if repeats == 1:
            reading = pixel(first=True, last=True)
        else:
            between = Phase(beats * columns * (repeats - 2), gives={"out": 1})
            first, last = pixel(first=True, last=False), pixel(first=False, last=True)
            reading = (*first * columns, between, *last * columns)
        buffers = {"filled": Buffer(self.pixels), "free": Buffer(self.pixels, self.pixels)}
        return Schedule((writing(self.pixel_beats), Process(reading)), buffers)

    def inventory(self) -> Inventory:
        words, width = self.pixels * self.pixel_beats, self.lanes * self.bits
        loops = (self.pixel_beats, *self.scales, self.shape[1], self.pixel_beats)
        return line_buffer(words, width, self.pixels.bit_length() + 1, loops)
