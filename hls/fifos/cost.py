"""What FIFOs cost: bits, what they are built of, and the depths that make the most of them."""

from __future__ import annotations

from hls.dataflow import Dataflow
from hls.inventory import Inventory, Logic, Multiplexers, Queue, Registers

REGISTERS = 2
"""Depth of a FIFO of two registers, the least there is."""
_STEP = 64
"""Words in which deep memories grow; depths are rounded alike for all devices."""


def rounded_depth(depth: int) -> int:
    """The depth of at least ``depth`` beats that costs no more than that.

    A FIFO in a memory holds one beat in its output register. Its counters are as wide as for the
    next power of two; from 64 words on, a LUT of Xilinx more for each bit and 64 words.
    """
    if depth <= REGISTERS:
        return REGISTERS
    words = depth - 1
    if words > _STEP:
        return 1 + -(-words // _STEP) * _STEP
    return 1 + (1 << (words - 1).bit_length())


def fifo_bits(dataflow: Dataflow) -> int:
    """Bits in the FIFOs on all edges."""
    return sum(edge.depth * dataflow.stream(edge).width for edge in dataflow.edges)


def fifo(width: int, depth: int) -> Inventory:
    """What a FIFO of ``depth`` beats of ``width`` bits is built of; see stream_fifo.sv.

    Registers: two beats and their valid bits, and a multiplexer in front of one. Deeper ones are a
    memory, and the register into which it is read holds one of the beats.

    Within 2 LUTs and exact in FF over 19 FIFOs in Yosys counts for UltraScale+.
    """
    if depth <= REGISTERS:
        return Multiplexers(width), Registers(2 * width), Logic("handshakes", 4, 2)
    return (Queue(depth - 1, width),)


def fifos(dataflow: Dataflow) -> Inventory:
    """Of the FIFOs on all edges."""
    found = (fifo(dataflow.stream(edge).width, edge.depth) for edge in dataflow.edges)
    return tuple(item for items in found for item in items)
