"""What the layers around `line_buffer.sv` share: its writer and its inventory."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hls.inventory import Counters, Inventory, Ram, Registers
from hls.schedule import Phase, Process


def writing(pixel_beats: int) -> Process:
    """The writer: a pixel claims room (``free``) with its first beat, is ``filled`` by its last."""
    claim, fill = {"in": 1, "free": 1}, {"filled": 1}
    if pixel_beats == 1:
        return Process((Phase(1, claim, fill),))
    return Process((Phase(1, claim), Phase(pixel_beats - 2, {"in": 1}), Phase(1, {"in": 1}, fill)))


def line_buffer(
    words: int, bits: int, count_bits: int, loops: Sequence[int], coordinate_bits: int = 0
) -> Inventory:
    """A line buffer of ``words`` of ``bits``, read by nested loops of ``loops`` steps.

    It has two addresses, two counts of pixels of ``count_bits``, the loops, and the coordinates.

    The factors were chosen on the Yosys counts of the 23 layers of
    tests/benchmarks/fit_estimates.py; on these same layers LUT is 8 % off in the mean and 25 % at
    worst, FF 2 % and 17 %, the block RAMs are exact.
    """
    return (
        Ram(words, bits),
        Counters(2 * (words - 1).bit_length()),
        Counters(2 * count_bits, Fraction(5, 2)),
        Counters(sum((steps - 1).bit_length() for steps in loops)),
        Counters(coordinate_bits, 3),
        Registers(2),
    )
