"""Depth to space: blocks of channels become blocks of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Inventory, Logic, Multiplexers, Ram, Registers
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding
from hls.schedule import Buffer, Phase, Process, Schedule


@dataclass(frozen=True)
class DepthToSpace(Defaults):
    """An image (height, width, channels) to (height*block, width*block, channels/block**2).

    As in ONNX: input channel (i*block + j)*C + c in mode ``DCR``, (c*block + i)*block + j in mode
    ``CRD``, with C = channels/block**2 the channels of the output, goes to channel c of the pixel
    at row i and column j of the block. ``lanes`` divide C.

    Two rows of the input are held, so that one is filled while the other is read.
    """

    kind: ClassVar[str] = "depth_to_space"

    name: str
    shape: tuple[int, int, int]
    block: int
    mode: Literal["DCR", "CRD"]
    bits: int
    lanes: int

    def __post_init__(self) -> None:
        assert self.mode in ("DCR", "CRD") and self.block >= 2 and self.bits >= 1, self
        assert min(self.shape) >= 1 and self.shape[2] % self.block**2 == 0, self
        check_folding(self.name, "lanes", self.lanes, self.output_shape[2], "output channels")

    @property
    def output_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.shape
        return height * self.block, width * self.block, channels // self.block**2

    @property
    def inputs(self) -> Mapping[str, Stream]:
        height, width, channels = self.shape
        return {"in": Stream(height * width * channels, self.lanes, self.bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": self.inputs["in"]}

    @property
    def cycles(self) -> int:
        return self.inputs["in"].beats

    @property
    def row_beats(self) -> int:
        """Beats of a row of the input, which are those of ``block`` rows of the output."""
        return self.cycles // self.shape[0]

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.output_shape[2]}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        height, width, _ = self.shape
        block, channels = self.block, self.output_shape[2]
        if self.mode == "DCR":
            image = frames.reshape(-1, height, width, block, block, channels)
            image = image.transpose(0, 1, 3, 2, 4, 5)
        else:
            image = frames.reshape(-1, height, width, channels, block, block)
            image = image.transpose(0, 1, 4, 2, 5, 3)
        return (image.reshape(len(frames), -1),)

    @property
    def _gathers(self) -> bool:
        """Whether a beat of the output has lanes from several beats of the input."""
        return self.mode == "CRD" and self.lanes > 1

    def instance(self) -> Instance:
        parameters = {
            "Crd": int(self.mode == "CRD"),
            "Columns": self.shape[1],
            "Groups": self.output_shape[2] // self.lanes,
            "Block": self.block,
            "Lanes": self.lanes,
            "Bits": self.bits,
        }
        return Instance(
            "depth_to_space", parameters, parts=("frame_counter", "stream_width_converter")
        )

    def kernel(self) -> Kernel:
        return Kernel(
            "depth_to_space",
            {
                "Crd": int(self.mode == "CRD"),
                "Rows": self.shape[0],
                "Columns": self.shape[1],
                "Groups": self.output_shape[2] // self.lanes,
                "Block": self.block,
                "Lanes": self.lanes,
                "Bits": self.bits,
            },
        )

    def schedule(self) -> Schedule:
        beats = self.row_beats
        source = "gathered" if self._gathers else "in"
        write = Process(
            (
                Phase(1, {source: 1, "room": 1}),
                Phase(beats - 2, {source: 1}),
                Phase(1, {source: 1}, {"row": 1}),
            )
        )
        read = Process(
            (
                Phase(1, {"row": 1}, {"out": 1}),
                Phase(beats - 2, {}, {"out": 1}),
                Phase(1, {}, {"out": 1, "room": 1}),
            )
        )
        rows = {"row": Buffer(2), "room": Buffer(2, 2)}
        if not self._gathers:
            return Schedule((write, read), rows)
        group = self.block**2
        widen = Process((Phase(group - 1, {"in": 1}), Phase(1, {"in": 1}, {"group": 1})))
        narrow = Process(
            (Phase(1, {"group": 1}, {"gathered": 1}), Phase(group - 1, {}, {"gathered": 1}))
        )
        gathering = {"group": Buffer(1), "gathered": Buffer(2)}
        return Schedule((widen, narrow, write, read), gathering | rows)

    def inventory(self) -> Inventory:
        """The memory of two rows, addresses and counters, and the registers that gather lanes.

        Exact in FF and block RAM and 13 % off in LUT in the mean (21 % at worst) over the 5 layers
        of tests/benchmarks/fit_estimates.py, in Yosys counts.
        """
        width, words = self.lanes * self.bits, 2 * self.row_beats
        groups = self.output_shape[2] // self.lanes
        counted = (self.row_beats, groups, self.block, self.shape[1], self.block)
        counters = 2 * (words - 1).bit_length() + sum((n - 1).bit_length() for n in counted)
        found: Inventory = (Ram(words, width), Logic("addresses and counters", 30, counters + 3))
        if self._gathers:
            area = self.block**2
            found += (
                Multiplexers((area - 1) * width),
                Registers(2 * area * width),
                Logic("gathering", 10, 2 * area.bit_length()),
            )
        return found
