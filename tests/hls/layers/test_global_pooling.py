"""Global pooling against maxima and sums of Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl

from hls.dataflow import Ints, Layer, Stream
from hls.layers.global_pooling import GlobalPooling
from sira.errors import SiraError


def reference(layer: Layer, frames: Ints) -> tuple[Ints, ...]:
    """The maximum or sum of each channel, from lists of Python integers."""
    assert isinstance(layer, GlobalPooling)
    reduce = {"max": max, "sum": sum}[layer.operation]
    results = [
        [reduce(frame[channel :: layer.channels]) for channel in range(layer.channels)]
        for frame in frames.tolist()
    ]
    return (np.array(results, dtype=np.int64),)


LAYERS = [
    GlobalPooling("sum", "sum", 6, 9, 3, 2),
    GlobalPooling("maximum", "max", 6, 9, 3, 2),
    GlobalPooling("two folds", "sum", 4, 5, 8, 2),
    GlobalPooling("two folds of maxima", "max", 4, 5, 8, 2),
    GlobalPooling("all channels", "sum", 4, 7, 4, 4),
    GlobalPooling("maxima of all channels", "max", 4, 7, 4, 4),
    GlobalPooling("one position", "sum", 6, 1, 4, 2),
    GlobalPooling("one beat", "max", 2, 1, 4, 2),
    GlobalPooling("two positions, many folds", "sum", 40, 2, 1, 1),
    GlobalPooling("one bit", "max", 6, 4, 1, 3),
]


def test_in_verilator(tmp_path):
    check_rtl(LAYERS, reference, tmp_path)


def test_hls(tmp_path):
    check_hls(LAYERS, reference, tmp_path)


def test_output_bits_hold_the_largest_sum_and_no_more():
    assert GlobalPooling("p", "sum", 8, 49, 4, 2).outputs == {"out": Stream(8, 2, 10)}  # 735
    assert GlobalPooling("p", "sum", 8, 64, 4, 2).output_bits == 10  # 960
    assert GlobalPooling("p", "sum", 8, 69, 4, 2).output_bits == 11  # 1035
    assert GlobalPooling("p", "max", 8, 49, 4, 2).output_bits == 4


def test_folding_that_does_not_divide():
    with pytest.raises(SiraError, match=r"p: lanes does not divide the 6 channels.*1, 2, 3, 6.*4"):
        GlobalPooling("p", "sum", 6, 9, 3, 4)
