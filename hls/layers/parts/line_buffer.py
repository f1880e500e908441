"""What the layers around `line_buffer.sv` share: its writer and its cost."""

from __future__ import annotations

from collections.abc import Sequence

from hls.dataflow import Resources
from hls.layers.parts.memories import ram_cost
from hls.schedule import Phase, Process


def writing(pixel_beats: int) -> Process:
    """The writer: a pixel claims room (``free``) with its first beat, is ``filled`` by its last."""
    claim, fill = {"in": 1, "free": 1}, {"filled": 1}
    if pixel_beats == 1:
        return Process((Phase(1, claim, fill),))
    return Process((Phase(1, claim), Phase(pixel_beats - 2, {"in": 1}), Phase(1, {"in": 1}, fill)))


def line_buffer_cost(
    words: int, bits: int, count_bits: int, loops: Sequence[int], coordinate_bits: int = 0
) -> Resources:
    """A line buffer of ``words`` of ``bits``, read in the order of ``loops`` of so many steps.

    FF: two addresses, two counts of pixels, the loops and coordinates, and a word unless the
    register is that of a block RAM. LUT: adders, and multiplexers of what is added.

    The factors were chosen on the Yosys counts of the 23 layers of
    tests/benchmarks/fit_estimates.py; on these same layers LUT is 8 % off in the mean and 25 % at
    worst, FF 2 % and 17 %, the block RAMs are exact.
    """
    lut, blocks = ram_cost(words, bits)
    addresses = (words - 1).bit_length()
    loop_bits = sum((steps - 1).bit_length() for steps in loops)
    lut += 2 * addresses + 5 * count_bits + loop_bits + 3 * coordinate_bits
    ff = 2 * addresses + 2 * count_bits + loop_bits + coordinate_bits + 2
    return Resources(lut=lut, ff=ff + (0 if blocks else bits), bram18=blocks)
