"""Elementwise sums and products against Python integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl, random_inputs

from hls.dataflow import Ints, Stream
from hls.layers.elementwise import Elementwise
from sira.errors import SiraError

RANDOM = np.random.default_rng(3)


def layer(name: str, channels: int, bits: tuple[int, int, int], lanes: int, **more: object):
    """A layer of (left, right, output) bits; constants 0 unless given."""
    left_bits, right_bits, output_bits = bits
    fields = {"product": 0, "left": [0], "right": [0], "start": [0], "vectors": 1} | more
    for field in ("left", "right", "start"):
        fields[field] = np.array(fields[field], dtype=np.int64)
    return Elementwise(
        name, channels, left_bits, right_bits, output_bits=output_bits, lanes=lanes, **fields
    )


def each(low: int, high: int, channels: int) -> Ints:
    return RANDOM.integers(low, high + 1, channels)


LAYERS = [
    layer("sum", 6, (3, 4, 5), 2, left=[1], right=[1], vectors=3),
    layer("difference", 4, (4, 4, 5), 4, left=[1], right=[-1], start=[15]),
    layer("multiples", 4, (4, 3, 9), 1, left=[5], right=[-12], start=[100]),
    layer("many_digits", 4, (4, 6, 16), 2, left=[341], right=[-999], start=[-3]),
    layer("signed_digits", 4, (4, 5, 11), 2, left=[63], right=[-31], start=[961]),
    layer("product", 6, (3, 5, 8), 3, product=1),
    layer("minus_product", 3, (3, 3, 7), 1, product=-1, start=[49]),
    layer("scaled_product", 4, (4, 2, 9), 2, product=7, left=[-1], right=[3], start=[20]),
    layer("gate", 6, (5, 4, 12), 2, product=1, left=each(-9, 9, 6), right=[-4], vectors=2),
    layer("wraps", 6, (6, 6, 3), 2, product=5, left=each(-99, 99, 6), start=each(-99, 99, 6)),
    layer("starts", 6, (3, 4, 6), 1, left=[1], right=[1], start=each(0, 30, 6)),
    layer("one_row", 3, (3, 4, 11), 3, left=each(-20, 20, 3), right=each(-20, 20, 3), vectors=4),
    layer("alike", 4, (3, 4, 7), 2, left=[3] * 4, right=[5] * 4, start=[1] * 4),
    layer("one_bit", 4, (1, 1, 1), 2, left=[1], right=[1]),
    layer("right_only", 4, (7, 2, 4), 2, right=[3]),
    layer("wide", 2, (30, 31, 62), 1, product=2**61 + 3, left=[2**62 + 1], right=[-(2**63)]),
    layer("large", 2, (20, 20, 60), 1, left=each(-(2**60), 2**60, 2), start=[2**63 - 1]),
]


def brute_force(layer: Elementwise, left: Ints, right: Ints) -> tuple[Ints]:
    results = []
    for lefts, rights in zip(left.tolist(), right.tolist(), strict=True):
        frame = []
        for i, (l, r) in enumerate(zip(lefts, rights, strict=True)):  # noqa: E741
            channel = i % layer.channels
            a, b, c = (
                int(values[channel if len(values) > 1 else 0])
                for values in (layer.left, layer.right, layer.start)
            )
            frame.append((layer.product * l * r + a * l + b * r + c) % 2**layer.output_bits)
        results.append(frame)
    return (np.array(results),)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_execute(layer: Elementwise) -> None:
    frames = random_inputs(layer, 30, 7)
    np.testing.assert_array_equal(layer.execute(*frames)[0], brute_force(layer, *frames)[0])


def test_streams() -> None:
    gate = next(layer for layer in LAYERS if layer.name == "gate")
    assert gate.inputs == {"left": Stream(12, 2, 5), "right": Stream(12, 2, 4)}
    assert gate.outputs == {"out": Stream(12, 2, 12)}
    assert gate.cycles == 6


def test_constants_are_kept_modulo_the_output() -> None:
    """Multiples of the modulus vanish, and constants that are alike need no memory."""
    one = layer("one", 4, (3, 3, 4), 2, left=[17, 1, -15, 33], right=[1], start=[16, 0, 32, -16])
    assert one.instance().memories == {} and one.latency == 1
    assert one.instance().parameters["LeftFactor"] == (1, 0)
    assert one.instance().parameters["Start"] == (0, 0)


def test_illegal_layers() -> None:
    with pytest.raises(SiraError, match="sum: lanes does not divide the 6 channels"):
        layer("sum", 6, (3, 4, 5), 4, left=[1], right=[1])
    with pytest.raises(AssertionError, match="start"):
        layer("sum", 6, (3, 4, 5), 2, start=[1, 2])
