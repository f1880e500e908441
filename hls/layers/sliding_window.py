"""The sliding window: the windows of an image, padding included, from a line buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Layer, Stream
from hls.inventory import Inventory, Logic, Multiplexers
from hls.layers.parts.folding import Defaults, divisors, fewest_lanes
from hls.layers.parts.line_buffer import line_buffer, writing
from hls.layers.parts.memories import check_folding
from hls.layers.parts.window_plan import WindowPlan, window_plan
from hls.schedule import Buffer, Phase, Process, Schedule


@dataclass(frozen=True)
class SlidingWindow(Defaults):
    """The windows of an image of ``shape`` (height, width, channels), one for each output pixel.

    ``kernel_size``, ``strides`` and ``dilations`` are (rows, columns), ``pads`` (top, left, bottom,
    right); the size of the output is that of ONNX, rounded down. Positions in the padding carry the
    count ``fill`` in every channel.

    For each window, row by row: for each of ``blocks`` equal blocks of channels, for each kernel
    row, for each kernel column, the channels of the block, ``lanes`` in a beat. One block is the
    order of a dense convolution, ``channels / lanes`` blocks that of depthwise layers.

    The line buffer holds whole pixels, as few as will do for max(input beats, output beats) cycles
    a frame, see `WindowPlan.capacity`: the span of a window, what it moves at a time, and what
    must have been collected of the next row or frame when the last window of one ends.
    """

    kind: ClassVar[str] = "sliding_window"

    name: str
    shape: tuple[int, int, int]
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    fill: int
    blocks: int
    bits: int
    lanes: int

    def __post_init__(self) -> None:
        assert min(*self.shape, *self.kernel_size, *self.strides, *self.dilations) >= 1, self
        assert min(self.pads) >= 0 and 0 <= self.fill < 1 << min(self.bits, 32), self
        channels = self.shape[2]
        assert self.blocks >= 1 and channels % self.blocks == 0, self
        check_folding(
            self.name, "lanes", self.lanes, channels // self.blocks, "channels of a block"
        )
        assert self.plan.rows.outputs >= 1 and self.plan.columns.outputs >= 1, self

    @property
    def plan(self) -> WindowPlan:
        return window_plan(
            self.shape,
            self.kernel_size,
            self.strides,
            self.dilations,
            self.pads,
            self.blocks,
            self.lanes,
        )

    @property
    def output_size(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return self.plan.rows.outputs, self.plan.columns.outputs

    @property
    def inputs(self) -> Mapping[str, Stream]:
        height, width, channels = self.shape
        return {"in": Stream(height * width * channels, self.lanes, self.bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        elements = self.plan.windows * self.plan.window_beats * self.lanes
        return {"out": Stream(elements, self.lanes, self.bits)}

    @property
    def cycles(self) -> int:
        return max(self.inputs["in"].beats, self.outputs["out"].beats)

    @property
    def block_channels(self) -> int:
        return self.shape[2] // self.blocks

    def folding(self, target: int, lanes: int, block: int | None = None) -> Mapping[str, int]:
        return fewest_lanes(self, {"lanes": self.block_channels}, target, lanes)

    def following(self, reader: Layer, target: int) -> SlidingWindow:
        lanes = next(iter(reader.inputs.values())).lanes
        if reader.window_order == "depthwise":
            return replace(self, lanes=lanes, blocks=self.shape[2] // lanes)
        block = self.block_channels
        fit = [d for d in divisors(block) if replace(self, lanes=d).cycles <= target] or [block]
        even = [d for d in fit if lanes % d == 0 or d % lanes == 0]
        return replace(self, lanes=lanes if lanes in fit else (even or fit)[0])

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        (height, width, channels), (rows, columns) = self.shape, self.output_size
        top, left, bottom, right = self.pads
        images = frames.reshape(-1, height, width, channels)
        margins = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(images, margins, constant_values=self.fill)
        block = channels // self.blocks
        windows = np.empty(
            (len(frames), rows, columns, self.blocks, *self.kernel_size, block), dtype=np.int64
        )
        for y, x in np.ndindex(self.kernel_size):
            first_row, first_column = y * self.dilations[0], x * self.dilations[1]
            taps = padded[
                :,
                first_row : first_row + (rows - 1) * self.strides[0] + 1 : self.strides[0],
                first_column : first_column + (columns - 1) * self.strides[1] + 1 : self.strides[1],
            ]
            windows[..., y, x, :] = taps.reshape(len(frames), rows, columns, self.blocks, block)
        return (windows.reshape(len(frames), -1),)

    def schedule(self) -> Schedule:
        """A writer that claims room for a pixel with its first beat, and a reader of beats.

        ``filled`` counts pixels that are complete, ``free`` those for which there is room.
        """
        plan = self.plan
        unread = plan.pixels - int(plan.needed[-1])
        room = plan.capacity + int(plan.oldest[0])
        most = plan.capacity + plan.pixels
        buffers = {"filled": Buffer(most, unread), "free": Buffer(most, room)}
        return Schedule((writing(plan.pixel_beats), Process(self._reading(unread))), buffers)

    def _reading(self, unread: int) -> tuple[Phase, ...]:
        """A frame of the reader: it takes pixels when it needs them, and frees them with windows.

        The ``unread`` pixels at the end of a frame are taken by the next one.
        """
        plan = self.plan
        taken = np.diff(plan.needed, prepend=0)
        taken[0] += unread
        freed = np.diff(plan.oldest)
        ends = np.arange(1, plan.windows + 1) * plan.window_beats - 1
        takes = dict(zip(plan.steps[taken > 0].tolist(), taken[taken > 0].tolist(), strict=True))
        frees = dict(zip(ends[freed > 0].tolist(), freed[freed > 0].tolist(), strict=True))

        @cache  # as few as there are different ones, of some ten thousand
        def phase(steps: int, take: int = 0, free: int = 0) -> Phase:
            moves = {"free": free} if free else {}
            return Phase(steps, {"filled": take} if take else {}, {"out": 1} | moves)

        phases, done = [], 0
        for step in sorted({*takes, *frees}):
            phases += [phase(step - done), phase(1, takes.get(step, 0), frees.get(step, 0))]
            done = step + 1
        phases.append(phase(plan.windows * plan.window_beats - done))
        return tuple(phase for phase in phases if phase.steps)

    @property
    def _parameters(self) -> dict[str, int]:
        """Those that the RTL and the C++ have in common."""
        plan = self.plan
        top, left, bottom, right = self.pads
        return {
            "Rows": self.shape[0],
            "Columns": self.shape[1],
            "Blocks": self.blocks,
            "BlockBeats": plan.block_beats,
            "KernelRows": self.kernel_size[0],
            "KernelColumns": self.kernel_size[1],
            "StrideRows": self.strides[0],
            "StrideColumns": self.strides[1],
            "DilationRows": self.dilations[0],
            "DilationColumns": self.dilations[1],
            "PadTop": top,
            "PadLeft": left,
            "PadBottom": bottom,
            "PadRight": right,
            "Lanes": self.lanes,
            "Bits": self.bits,
            "Fill": self.fill,
            "Pixels": plan.capacity,
        }

    def instance(self) -> Instance:
        return Instance(
            "sliding_window",
            {**self._parameters, "CountBits": self.plan.count_bits},
            parts=("frame_counter", "window_counter", "line_buffer"),
        )

    def kernel(self) -> Kernel:
        return Kernel("sliding_window", self._parameters)

    def inventory(self) -> Inventory:
        """The line buffer and the loops around it, see `line_buffer`; where a word more for the
        padding does not pay, a choice for each bit behind it."""
        plan = self.plan
        words, width = plan.capacity * plan.pixel_beats, self.lanes * self.bits
        top, left, bottom, right = self.pads
        rows = (self.shape[0] + top + bottom).bit_length() if top + bottom else 0
        columns = (self.shape[1] + left + right).bit_length() if left + right else 0
        stored = width > (words - 1).bit_length() and words % 32 != 0
        loops = (
            plan.block_beats,
            *self.kernel_size,
            self.blocks,
            *self.output_size,
            plan.pixel_beats,
        )
        chosen = width if any(self.pads) and not stored else 0
        return (
            *line_buffer(
                words + (stored and any(self.pads)), width, plan.count_bits, loops, rows + columns
            ),
            Multiplexers(chosen),
            Logic("padding and control", 10),
        )
