"""What the families of Xilinx with LUTs of six inputs have in common, in Yosys' eyes.

The prices were fitted to the Yosys counts of tests/benchmarks/fit_estimates.py on UltraScale+; the
`inventory` of each layer tells the errors. The 7 series has the same prices, though block RAM
begins a little sooner there.
"""

from __future__ import annotations

from typing import assert_never

from hls.dataflow import Resources
from hls.device.base import Synthesis
from hls.inventory import (
    Adders,
    Comparators,
    Counters,
    Item,
    Logic,
    Maxima,
    Multiplexers,
    Multipliers,
    MultiplyAdds,
    Queue,
    Ram,
    Registers,
    Rom,
)

BLOCK_RAM_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a block RAM of 18 kbit."""
LUT_WORDS = 64
"""Words of one bit that a LUT holds."""
LUT_RAM_SHAPES = ((32, 14), (64, 7))
"""Words and bits of a RAM of eight LUTs."""

_BLOCK_COST = 129
"""What a block RAM of 18 kbit costs in Yosys' eyes; a LUT as ROM costs 1, as RAM 2."""
_QUEUE_LUTS = 96
"""LUTs up to which a queue of more than one block of 64 words is built of them."""


def synthesis(family: str) -> Synthesis:
    """Out of context, with the name of the family in Yosys.

    What is counted:

    - ``lut``: LUT1 to LUT6 and INV (a LUT unless the placer absorbs it) one each, plus the LUTs
      that work as memory: a RAM32M is 4, a RAM32M16 8, an SRL16E 1, and so on;
    - ``ff``: FDRE, FDSE, FDCE, FDPE; ``dsp``: DSP48E1, DSP48E2;
    - ``bram18``: RAMB18 one, RAMB36 two.
    """
    return Synthesis(
        command=f"synth_xilinx -family {family} -noiopad -noclkbuf -flatten",
        technology="xilinx",
        path_ends=("FD*", "SRL*", "RAM*", "DSP*"),
        cells={
            r"LUT\d|LUT6_2|INV": Resources(lut=1),
            r"FD[RSCP]E": Resources(ff=1),
            r"DSP48E[12]": Resources(dsp=1),
            r"RAMB18E[12]": Resources(bram18=1),
            r"RAMB36E[12]": Resources(bram18=2),
        },
        memory_luts={
            **dict.fromkeys(("SRL16", "SRL16E", "SRLC16", "SRLC16E", "SRLC32E"), 1),
            **dict.fromkeys(("RAM32X1S", "RAM64X1S"), 1),
            **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1S"), 2),
            **dict.fromkeys(("RAM128X1D", "RAM256X1S", "RAM32M", "RAM64M"), 4),
            **dict.fromkeys(("RAM256X1D", "RAM512X1S", "RAM32M16", "RAM64M8", "RAM64X8SW"), 8),
        },
        memories="RAM(?!B)|SRL",
        carries=r"CARRY[48]",
        models="xilinx/cells_sim.v",
    )


def cost(item: Item) -> Resources:
    """The resources of an item."""
    match item:
        case Adders(bits, count):
            return Resources(lut=bits * count)
        case Comparators(bits, count, words):
            if words is None:
                return Resources(lut=count * _comparator(bits))
            return _searched(bits, count, words)
        case Maxima(bits, count):
            return Resources(lut=count * (bits + bits // 2))
        case Multiplexers(bits, ways):  # one of up to four inputs is a LUT
            return Resources(lut=bits * -(-(ways - 1) // 3))
        case Multipliers(left, right, count):
            return _multipliers(left, right, count)
        case MultiplyAdds(_, _, bits, count):  # a DSP takes in a part of the adder
            return Resources(lut=count * (3 * bits // 4), dsp=count)
        case Rom():
            return _rom(item)
        case Ram():
            return _ram(item)
        case Queue(words, bits):
            return _queue(words, bits)
        case Counters(bits, functions):
            return Resources(lut=int(bits * functions), ff=bits)
        case Registers(bits):
            return Resources(ff=bits)
        case Logic(_, lut, ff):
            return Resources(lut=lut, ff=ff)
        case _:
            assert_never(item)


def block_rams(words: int, bits: int) -> int:
    """Block RAMs of 18 kbit in the shape that takes the fewest."""
    return min(-(-bits // width) * -(-words // depth) for depth, width in BLOCK_RAM_SHAPES)


def _comparator(bits: int) -> int:
    """LUTs of a comparator: two for three bits."""
    return 2 * -(-bits // 3)


def _searched(bits: int, count: int, words: int) -> Resources:
    """Comparators with ``words`` constants.

    One takes in a memory of up to 8 words, one of 16 words with a LUT a bit, of 32 words with two.
    A larger one stands apart, and holds the constants of all comparators when it is block RAM.
    """
    if words > LUT_WORDS:
        blocks = _blocks_of_rom(words, count * bits)
        if blocks:
            return Resources(lut=count * _comparator(bits), bram18=count * blocks)
        memory = bits * -(-words // LUT_WORDS)
        # Multiplexers between many words rarely find the dedicated ones.
        memory = memory * 3 // 2 if words > 2 * LUT_WORDS else memory
        return Resources(lut=count * (_comparator(bits) + memory), ff=count * bits)
    if words > 32:
        return Resources(lut=count * (_comparator(bits) + bits))
    if words > 8:
        return Resources(lut=count * bits * (2 if words > 16 else 1))
    return Resources(lut=count * (_comparator(bits) if words > 1 else (bits + 1) // 2))


def _multipliers(left: int, right: int, count: int) -> Resources:
    """Products of 9 bits or more are a DSP, narrower ones LUTs."""
    if left + right >= 9 and min(left, right) >= 2:
        return Resources(dsp=count)
    return Resources(lut=count * left * right * 4 // 3)


def _blocks_of_rom(words: int, bits: int) -> int:
    """Block RAMs of a memory of constants, 0 where it is built of LUTs.

    Yosys compares a LUT for each 64 bits with the cost of the block RAMs.
    """
    blocks = block_rams(words, bits)
    return blocks if words * bits > LUT_WORDS * _BLOCK_COST * blocks else 0


def _rom(rom: Rom) -> Resources:
    if rom.words == 1:
        return Resources()
    blocks = 0 if rom.distributed else _blocks_of_rom(rom.words, rom.bits)
    if blocks:  # it has the register inside
        return Resources(bram18=blocks)
    return Resources(lut=rom.bits * -(-rom.words // LUT_WORDS), ff=rom.bits)


def _ram(ram: Ram) -> Resources:
    """Eight LUTs hold 32 words of 14 bits or 64 of 7.

    One more selects a bit of deeper memories from four of these. Yosys compares a cost of 16 for
    each full eight, and half of one for each bit that is selected from, with that of a block RAM.
    """
    words, bits = ram.words, ram.bits
    if ram.distributed:
        depth, width = LUT_RAM_SHAPES[0]
        return Resources(lut=8 * -(-bits // width) * -(-words // depth))
    options = []
    for depth, width in LUT_RAM_SHAPES:
        rows = -(-words // depth)
        cost = 16 * rows * bits / width + bits * (rows - 1) / 2
        options.append((cost, 8 * rows * -(-bits // width) + bits * -(-(rows - 1) // 3)))
    cost, luts = min(options)
    blocks = block_rams(words, bits)
    if cost > _BLOCK_COST * blocks:  # it has the register inside
        return Resources(bram18=blocks)
    return Resources(lut=luts, ff=bits)


def _queue(words: int, bits: int) -> Resources:
    """Multiplexers stand between blocks of 64 words; block RAM is taken where LUTs are many more.

    Within 2 LUTs and exact in FF over 19 FIFOs in Yosys counts for UltraScale+, 4 LUTs off for one
    in block RAM.
    """
    address = max((words - 1).bit_length(), 1)
    rows = -(-words // LUT_WORDS)
    (shallow, wide), (_, narrow) = LUT_RAM_SHAPES
    memory = rows * 8 * -(-bits // (wide if words <= shallow else narrow))
    if rows > 1 and memory > _QUEUE_LUTS:
        blocks = block_rams(words, bits)
        return Resources(lut=9 + 3 * address // 2, ff=3 * address + 2, bram18=blocks)
    if rows > 1:
        memory += 2 * rows + bits * -(-(rows - 1).bit_length() // 2)
    control = 12 + address if address > 1 else 8
    return Resources(lut=memory + control, ff=bits + 3 * address + 2)
