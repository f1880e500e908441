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
