"""Constants of layers as C++ arrays for the HLS kernels."""

from __future__ import annotations

from typing import cast

import numpy as np

from hls.dataflow import Ints


def integer_type(values: Ints) -> str:
    """The narrowest C integer type that holds all values."""
    low, high = int(values.min()), int(values.max())
    for name, bits in (("char", 8), ("short", 16), ("int", 32), ("long long", 64)):
        if low >= 0 and high < 1 << bits:
            return f"unsigned {name}"
        if low >= -(1 << bits - 1) and high < 1 << bits - 1:
            return f"signed {name}"
    raise AssertionError(f"no 64-bit type holds {low} .. {high}")


def sized(values: Ints) -> tuple[str, Ints]:
    return integer_type(values), values


def signed_bits(values: Ints) -> int:
    """Bits of the two's complement that holds all values."""
    ends = int(values.min()), int(values.max())
    return max(v.bit_length() if v >= 0 else (~v).bit_length() for v in ends) + 1


def packed_words(values: Ints, bits: int) -> Ints:
    """Rows of ``bits``-bit values as rows of 64-bit words; no value straddles two words."""
    per_word = 64 // bits
    rows, columns = values.shape
    padded = np.zeros((rows, -(-columns // per_word) * per_word), np.uint64)
    padded[:, :columns] = values.astype(np.uint64) & np.uint64((1 << bits) - 1)
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    words = np.bitwise_or.reduce(padded.reshape(rows, -1, per_word) << shifts, axis=2)
    return cast(Ints, words)


def by_lane(values: Ints, pe: int) -> Ints:
    """Per-channel rows (C or 1, ...) as (PE, folds, ...); a single row is repeated on each lane."""
    if len(values) == 1:
        return np.repeat(values[None], pe, axis=0)
    return values.reshape(-1, pe, *values.shape[1:]).swapaxes(0, 1)
