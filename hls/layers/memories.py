"""Packing integers into memory words, and checks shared by the layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints, Memory
from sira.errors import SiraError


def pack_words(lanes: Ints, bits: int) -> Memory:
    """A memory from ``lanes`` (words, lanes): ``bits`` a lane, lane 0 in the low bits."""
    if lanes.size and not (lanes.min() >= 0 and (bits >= 63 or lanes.max() < 1 << bits)):
        raise AssertionError(f"values outside 0..2**{bits}-1: {lanes.min()}..{lanes.max()}")
    words = tuple(
        sum(int(value) << (bits * lane) for lane, value in enumerate(word)) for word in lanes
    )
    return Memory(bits * lanes.shape[1], words)


def frozen(values: NDArray[np.generic] | Ints) -> Ints:
    """A read-only int64 copy, so that a frozen dataclass cannot change through its arrays."""
    result = np.array(values, dtype=np.int64)
    result.setflags(write=False)
    return result


def check_folding(layer: str, name: str, lanes: int, elements: int, of: str) -> None:
    """Raise `SiraError` unless ``lanes`` (a parallelism called ``name``) divides ``elements``."""
    if lanes < 1 or elements % lanes:
        divisors = [n for n in range(1, elements + 1) if elements % n == 0]
        raise SiraError(
            f"{name} does not divide the {elements} {of}",
            where=layer,
            expected=f"one of {', '.join(map(str, divisors))}",
            found=str(lanes),
            remedy="change the folding",
        )


def rom_cost(words: int, bits: int) -> tuple[int, int]:
    """LUTs and 18 kbit block RAMs of a memory that is read into a register.

    Yosys compares a LUT for each 64 bits with a cost of 129 for each block RAM, in the shape from
    512 x 36 to 16384 x 1 that takes the fewest.
    """
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    blocks = min(-(-bits // width) * -(-words // depth) for width, depth in shapes)
    if words * bits > 64 * 129 * blocks:
        return 0, blocks
    return (bits * -(-words // 64) if words > 1 else 0), 0
