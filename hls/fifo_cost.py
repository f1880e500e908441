"""What FIFOs cost: bits, resources, and the depths that make the most of them."""

from __future__ import annotations

from hls.dataflow import Dataflow

REGISTERS = 2
"""Depth of a FIFO of two registers, the least there is."""
_LUTRAM = 64
"""Words of the deepest memory of one LUT."""


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
