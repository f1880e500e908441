"""What FIFOs cost: bits, resources, and the depths that make the most of them."""

from __future__ import annotations

from hls.dataflow import Dataflow, Resources

REGISTERS = 2
"""Depth of a FIFO of two registers, the least there is."""
_LUTRAM = 64
"""Words of the deepest memory of one LUT."""
_BLOCK_RAM = 96
"""LUTs up to which a memory of more than one block of 64 words is built of them."""


def rounded_depth(depth: int) -> int:
    """The depth of at least ``depth`` beats that costs no more than that.

    A FIFO in a memory holds one beat in its output register. Its counters are as wide as for the
    next power of two; from 64 words on, a LUT more for each bit and 64 words.
    """
    if depth <= REGISTERS:
        return REGISTERS
    words = depth - 1
    if words > _LUTRAM:
        return 1 + -(-words // _LUTRAM) * _LUTRAM
    return 1 + (1 << (words - 1).bit_length())


def fifo_bits(dataflow: Dataflow) -> int:
    """Bits in the FIFOs on all edges."""
    return sum(edge.depth * dataflow.stream(edge).width for edge in dataflow.edges)


def fifo_resources(width: int, depth: int) -> Resources:
    """What a FIFO of ``depth`` beats of ``width`` bits takes; see stream_fifo.sv.

    Registers: two beats and their valid bits, and a multiplexer in front of one. A memory: its
    output register and three counters; LUTRAM of 32 words by 14 bits or 64 words by 7 bits in 8
    LUTs, with multiplexers between blocks of 64 words, or block RAM where that takes many more.

    Within 2 LUTs and exact in FF over 19 FIFOs in Yosys counts for UltraScale+, 4 LUTs off for one
    in block RAM; a 7-series part begins with block RAM a little sooner.
    """
    if depth <= REGISTERS:
        return Resources(lut=width + 4, ff=2 * width + 2)
    words = depth - 1
    address = max((words - 1).bit_length(), 1)
    blocks = -(-words // _LUTRAM)
    memory = blocks * 8 * -(-width // (14 if words <= _LUTRAM // 2 else 7))
    if blocks > 1 and memory > _BLOCK_RAM:
        return Resources(9 + 3 * address // 2, 3 * address + 2, bram18=_block_rams(width, words))
    if blocks > 1:
        memory += 2 * blocks + width * -(-(blocks - 1).bit_length() // 2)
    control = 12 + address if address > 1 else 8
    return Resources(lut=memory + control, ff=width + 3 * address + 2)


def _block_rams(width: int, words: int) -> int:
    """Block RAMs of 18 kbit, as wide as their depth allows."""
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    return min(-(-width // bits) * -(-words // depth) for bits, depth in shapes)


def fifo_estimate(dataflow: Dataflow) -> Resources:
    """Of the FIFOs on all edges."""
    total = Resources()
    for edge in dataflow.edges:
        total += fifo_resources(dataflow.stream(edge).width, edge.depth)
    return total
