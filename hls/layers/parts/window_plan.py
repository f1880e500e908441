"""Which pixels the windows of an image need, when, and how many a line buffer has to hold.

A pixel's position is its number in the frame, ``row * columns + column``; windows and positions of
later frames continue the count. Positions of taps in the padding lie on the same lines, in front
of or behind the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints


@dataclass(frozen=True)
class PlannedAxis:
    """Windows along rows or columns: output ``o`` has taps at o*stride - before + k*dilation."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def outputs(self) -> int:
        reach = (self.kernel - 1) * self.dilation + 1
        return (self.size + self.before + self.after - reach) // self.stride + 1

    @property
    def taps(self) -> Ints:
        """Coordinates (outputs, kernel); outside 0 .. size - 1 is padding."""
        first = np.arange(self.outputs)[:, None] * self.stride - self.before
        return first + np.arange(self.kernel) * self.dilation

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which of the taps lie in the image (outputs, kernel)."""
        return (self.taps >= 0) & (self.taps < self.size)

    @property
    def phase(self) -> int:
        """How far the first stride begins in front of the image."""
        return self.before % self.stride

    @property
    def first_free(self) -> int:
        """The first output after which the coordinates of a stride are no longer needed."""
        return self.before // self.stride


@dataclass(frozen=True)
class WindowPlan:
    """The order of windows over the pixels of an image, and what follows for its line buffer.

    ``blocks`` rounds over the taps of a window are made, each of ``block_beats`` beats a tap. In
    the line buffer lie the pixels from the oldest one that a window still needs to the newest one
    that was written.
    """

    rows: PlannedAxis
    columns: PlannedAxis
    blocks: int
    block_beats: int

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.rows.size * self.columns.size

    @property
    def windows(self) -> int:
        return self.rows.outputs * self.columns.outputs

    @property
    def window_beats(self) -> int:
        return self.rows.kernel * self.columns.kernel * self.pixel_beats

    @property
    def pixel_beats(self) -> int:
        return self.blocks * self.block_beats

    @property
    def freeing_columns(self) -> int:
        """Windows of a row that free a stride of columns when they end."""
        axis = self.columns
        return max(0, min(axis.outputs - 1 - axis.first_free, axis.size // axis.stride))

    @property
    def freeing_rows(self) -> int:
        """Rows of windows that free a stride of rows while they pass."""
        axis = self.rows
        rows = max(0, axis.outputs - axis.first_free)
        return rows if (rows - 1) * axis.stride < axis.size else axis.size // axis.stride

    @cached_property
    def oldest(self) -> Ints:
        """The oldest pixel in the buffer during each window (windows + 1,), then the next frame's.

        Within a row of windows it moves a stride of columns with each window, unless the next row
        needs the same rows; from row to row a stride of rows. It begins up to a stride in front of
        the image, so that it always moves by whole strides.
        """
        rows, columns = self.rows, self.columns
        row = np.arange(rows.outputs)[:, None] - rows.first_free
        column = np.arange(columns.outputs) - columns.first_free
        frees = (row >= 0) & (row < self.freeing_rows)
        row_start = np.clip(row, 0, self.freeing_rows) * rows.stride - rows.phase
        moved = np.clip(column, 0, self.freeing_columns) * columns.stride * frees
        oldest = row_start * columns.size + moved - columns.phase
        next_frame = self.pixels - rows.phase * columns.size - columns.phase
        return np.append(oldest.ravel(), next_frame)

    @cached_property
    def positions(self) -> Ints:
        """Positions of the taps, padding included (windows, taps)."""
        lines = self.rows.taps * self.columns.size
        grid = lines[:, None, :, None] + self.columns.taps[None, :, None, :]
        return grid.reshape(self.windows, -1)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which taps lie in the image (windows, taps)."""
        grid = self.rows.inside[:, None, :, None] & self.columns.inside[None, :, None, :]
        return grid.reshape(self.windows, -1)

    @cached_property
    def needed(self) -> Ints:
        """Pixels of the frame that must have been written for each tap or one before (steps,).

        One at least: padding in front of the first pixel waits for that pixel.
        """
        return np.maximum.accumulate(np.where(self.inside, self.positions + 1, 1).ravel())

    @property
    def steps(self) -> Ints:
        """The beat of the output frame in which each tap is read first (windows * taps,)."""
        window = np.arange(self.windows)[:, None] * self.window_beats
        return (window + np.arange(self.inside.shape[1]) * self.block_beats).ravel()

    @cached_property
    def capacity(self) -> int:
        """The fewest pixels with which neither side waits for the other but at its own pace.

        The slower side, in beats of a frame, runs without a pause: that is one schedule that takes
        max(input beats, output beats) cycles a frame. Each pixel is held from the cycle in which
        its first beat is written to the end of the last window that needs it or an older one. The
        hardware does every step as early as it can, which is never slower than this schedule.

        That is what a window spans, (kernel rows - 1) * row dilation rows and a few pixels, with a
        stride of s rows up to s - 1 rows more. At the end of a frame the first windows of the next
        must be there, too: without padding these are as many rows again.
        """
        input_beats, output_beats = self.pixels * self.pixel_beats, self.windows * self.window_beats
        pixel = np.arange(self.pixels)
        if output_beats >= input_beats:
            # Windows without a pause; pixels are written as late as they can be.
            starts = self._latest_writes(output_beats)
            ended = starts // self.window_beats
        else:
            # Pixels without a pause; windows are read as early as they can be. From the second
            # frame on, the windows' times are those of the frame before plus a frame.
            starts = pixel * self.pixel_beats + input_beats
            ended = np.searchsorted(self._earliest_ends(input_beats), starts - 1, side="right")
            ended -= self.windows
        frame, window = np.divmod(ended, self.windows)
        held_from = self.oldest[window] + frame * self.pixels
        return int(np.max(pixel + 1 - held_from))

    @cached_property
    def count_bits(self) -> int:
        """Bits of a signed number of pixels: from a tap to the newest pixel, or room for more."""
        # Pixels written when a tap comes to be read: at least those that taps before it needed.
        written = np.append(self.needed[-1] - self.pixels, self.needed)
        fewest = written[:-1].reshape(self.windows, -1)
        most = self.oldest[:-1, None] + self.capacity
        behind = int(np.max(self.positions + 1 - fewest))
        ahead = int(np.max(most - self.positions))
        room = self.capacity + int(np.max(self.oldest - written[:: self.inside.shape[1]]))
        return max(behind, ahead, room).bit_length() + 1

    def _latest_writes(self, output_beats: int) -> Ints:
        """Cycle in which each pixel's first beat is written, windows starting in cycle 0."""
        first_read = np.full(self.pixels, np.iinfo(np.int64).max // 2)
        inside = self.inside.ravel()
        np.minimum.at(first_read, self.positions.ravel()[inside], self.steps[inside])
        first_read[0] = 0  # see `needed`
        # A pixel is complete a cycle before it is read, and the next one pixel_beats later.
        two_frames = np.concatenate([first_read, first_read + output_beats])
        lead = np.arange(len(two_frames)) * self.pixel_beats
        slack = np.minimum.accumulate((two_frames - lead)[::-1])[::-1]
        return (slack + lead)[: self.pixels] - self.pixel_beats

    def _earliest_ends(self, input_beats: int) -> Ints:
        """Cycle in which each window of two frames ends, beats arriving from cycle 0 on."""
        frames = np.arange(2)[:, None]
        available = self.needed * self.pixel_beats + frames * input_beats
        steps = self.steps + frames * self.windows * self.window_beats
        taps = self.inside.shape[1]
        wait = np.maximum.accumulate((available - steps).ravel()).reshape(-1, taps)[:, -1]
        return np.arange(1, 2 * self.windows + 1) * self.window_beats - 1 + wait


@lru_cache(maxsize=64)  # plans of large images hold some megabytes
def window_plan(
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    blocks: int,
    lanes: int,
) -> WindowPlan:
    """The plan of a sliding window; arguments as `hls.layers.sliding_window.SlidingWindow`."""
    height, width, channels = shape
    top, left, bottom, right = pads
    rows = PlannedAxis(height, kernel[0], strides[0], dilations[0], top, bottom)
    columns = PlannedAxis(width, kernel[1], strides[1], dilations[1], left, right)
    return WindowPlan(rows, columns, blocks, channels // blocks // lanes)
