"""Frames of counts as the beats of a stream, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints, Stream


def pack_beats(frames: Ints, stream: Stream, bits: int) -> NDArray[np.uint8]:
    """Counts (n, elements) as beats (n * beats, bytes), little-endian, padded to ``bits`` each."""
    assert frames.ndim == 2 and frames.shape[1] == stream.elements, (frames.shape, stream)
    assert frames.size == 0 or (frames.min() >= 0 and int(frames.max()) < 1 << stream.bits), stream
    lanes = frames.astype(np.uint64).reshape(-1, stream.lanes, 1)
    ones = (lanes >> np.arange(stream.bits, dtype=np.uint64)) & np.uint64(1)
    padded = np.zeros((len(lanes), (bits + 7) // 8 * 8), dtype=np.uint8)
    padded[:, : stream.width] = ones.reshape(len(lanes), stream.width)
    return np.packbits(padded, axis=1, bitorder="little")


def unpack_beats(beats: NDArray[np.uint8], stream: Stream) -> Ints:
    """The reverse of `pack_beats`."""
    ones = np.unpackbits(beats, axis=1, bitorder="little")[:, : stream.width]
    lanes = ones.reshape(-1, stream.elements, stream.bits).astype(np.int64)
    values: Ints = (lanes << np.arange(stream.bits)).sum(axis=2)
    return values
