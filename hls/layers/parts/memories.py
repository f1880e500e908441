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


def distinct_columns(words: int, bits: int) -> int:
    """Bits of a memory's word that are not alike in all words, where its contents are random.

    Synthesis builds columns that are alike once, with one register.
    """
    return bits if words > 16 else round(2**words * (1 - (1 - 2.0**-words) ** bits))
