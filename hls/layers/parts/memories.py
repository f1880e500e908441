"""Packing integers into memory words, and checks shared by the layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints, Memory
from hls.layers.parts.folding import divisors
from sira.errors import SiraError


def pack_words(lanes: Ints, bits: int) -> Memory:
    """A memory from ``lanes`` (words, lanes): ``bits`` a lane, lane 0 in the low bits."""
    if lanes.size and not (lanes.min() >= 0 and (bits >= 63 or lanes.max() < 1 << bits)):
        raise AssertionError(f"values outside 0..2**{bits}-1: {lanes.min()}..{lanes.max()}")
    ones = np.empty((*lanes.shape, bits), dtype=np.uint8)
    for bit in range(bits):
        ones[..., bit] = lanes >> bit & 1
    packed = np.packbits(ones.reshape(len(lanes), -1), axis=1, bitorder="little")
    words = tuple(int.from_bytes(word.tobytes(), "little") for word in packed)
    return Memory(bits * lanes.shape[1], words)


def frozen(values: NDArray[np.generic] | Ints) -> Ints:
    """A read-only int64 copy, so that a frozen dataclass cannot change through its arrays."""
    result = np.array(values, dtype=np.int64)
    result.setflags(write=False)
    return result


def check_folding(layer: str, name: str, lanes: int, elements: int, of: str) -> None:
    """Raise `SiraError` unless ``lanes`` (a parallelism called ``name``) divides ``elements``."""
    if lanes < 1 or elements % lanes:
        raise SiraError(
            f"{name} does not divide the {elements} {of}",
            where=layer,
            expected=f"one of {', '.join(map(str, divisors(elements)))}",
            found=str(lanes),
            remedy="change the folding",
        )


_BLOCK_COST = 129
"""What a block RAM of 18 kbit costs in Yosys' eyes; a LUT as ROM costs 1, as RAM 2."""


def rom_cost(words: int, bits: int) -> tuple[int, int]:
    """LUTs and 18 kbit block RAMs of a memory that is read into a register.

    Yosys compares a LUT for each 64 bits with the cost of the block RAMs.
    """
    blocks = _block_rams(words, bits)
    if words * bits > 64 * _BLOCK_COST * blocks:
        return 0, blocks
    return (bits * -(-words // 64) if words > 1 else 0), 0


def distinct_columns(words: int, bits: int) -> int:
    """Bits of a memory's word that are not alike in all words, where its contents are random.

    Synthesis builds columns that are alike once, with one register.
    """
    return bits if words > 16 else round(2**words * (1 - (1 - 2.0**-words) ** bits))


def ram_cost(words: int, bits: int) -> tuple[int, int]:
    """LUTs and 18 kbit block RAMs of a memory with one write port, read into a register.

    Eight LUTs hold 32 words of 14 bits or 64 of 7, and one more selects a bit of deeper memories
    from four of these. Yosys compares a cost of 16 for each full eight, and half of one for each
    bit that is selected from, with that of a block RAM.
    """
    blocks = _block_rams(words, bits)
    options = []
    for depth, width in ((32, 14), (64, 7)):
        rows = -(-words // depth)
        cost = 16 * rows * bits / width + bits * (rows - 1) / 2
        options.append((cost, 8 * rows * -(-bits // width) + bits * -(-(rows - 1) // 3)))
    cost, luts = min(options)
    return (0, blocks) if cost > _BLOCK_COST * blocks else (luts, 0)


def _block_rams(words: int, bits: int) -> int:
    """Block RAMs of 18 kbit in the shape from 512 x 36 to 16384 x 1 that takes the fewest."""
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    return min(-(-bits // width) * -(-words // depth) for width, depth in shapes)
