"""Beats against bits read one at a time from their integers."""

from __future__ import annotations

import numpy as np
import pytest

from hls.dataflow import Stream
from hls.simulate.beats import pack_beats, unpack_beats


@pytest.mark.parametrize(("lanes", "bits"), [(1, 1), (3, 5), (7, 9), (2, 60), (16, 16)])
def test_beats_round_trip(lanes, bits):
    stream = Stream(2 * lanes, lanes, bits)
    frames = np.random.default_rng(0).integers(0, 2**bits, (5, 2 * lanes))
    beats = pack_beats(frames, stream, stream.width)
    assert beats.shape == (10, (lanes * bits + 7) // 8)
    first = int.from_bytes(beats[0].tobytes(), "little")
    assert [first >> (bits * i) & (2**bits - 1) for i in range(lanes)] == frames[0, :lanes].tolist()
    np.testing.assert_array_equal(unpack_beats(beats, stream), frames)


def test_beats_are_padded_to_whole_bytes() -> None:
    stream = Stream(4, 2, 3)
    beats = pack_beats(np.array([[1, 2, 7, 7]]), stream, 16)
    assert beats.tolist() == [[0b010001, 0], [0b111111, 0]]
    np.testing.assert_array_equal(unpack_beats(beats, stream), [[1, 2, 7, 7]])


@pytest.mark.parametrize("frames", [[[0, 8]], [[0, -1]], [[0, 1, 2]]])
def test_counts_that_do_not_fit(frames: list[list[int]]) -> None:
    with pytest.raises(AssertionError, match="Stream"):
        pack_beats(np.array(frames), Stream(2, 1, 3), 8)
