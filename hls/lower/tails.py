"""Tails: what a staircase of counts means, and the table of ways to build one.

A MultiThreshold of the integer graph says which function of a count each channel is. A candidate
is one way to build that function. A module of this package that registers one with `candidate` is
all that a further one takes beside its layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints, Layer
from hls.device import Device
from hls.layers.thresholding import Thresholding


@dataclass(frozen=True, eq=False)
class TailFunction:
    """out[c] = #{j : v >= thresholds[c, j]}, v = 2**input_bits - 1 - u where falling[c], else u.

    u is a count of ``input_bits`` bits on port ``in``, out one on port ``out``. ``thresholds``
    (channels or 1, n) are ascending in 0 .. 2**input_bits: 0 always counts and 2**input_bits never
    does; ``falling`` (channels or 1,) is bool. A frame has ``vectors`` times all channels, channels
    fastest. The layer has the tail's ``name``.
    """

    name: str
    thresholds: Ints
    falling: NDArray[np.bool_]
    channels: int
    input_bits: int
    vectors: int


Candidate = Callable[[TailFunction], Layer | None]
"""Builds a tail with one lane, equal to it at every count; None where it cannot."""

Price = Callable[[Layer], float]

CANDIDATES: dict[str, Candidate] = {}
"""The ways to build a tail, by what the field calls them."""


def candidate(name: str) -> Callable[[Candidate], Candidate]:
    """Enter the decorated function into the table."""

    def register(build: Candidate) -> Candidate:
        assert name not in CANDIDATES, name
        CANDIDATES[name] = build
        return build

    return register


def estimated_lut(device: Device) -> Price:
    """LUTs by the prices of a family of devices."""
    return lambda layer: device.price(layer.inventory()).lut


def cheapest(tail: TailFunction, price: Price) -> Layer:
    """The candidate of the least price; of several the one that was registered first."""
    built = [layer for build in CANDIDATES.values() if (layer := build(tail)) is not None]
    return min(built, key=price)


@candidate("thresholds")
def binary_search(tail: TailFunction) -> Layer:
    """A binary search of the thresholds, which builds every tail."""
    return Thresholding(
        name=tail.name,
        thresholds=tail.thresholds,
        falling=tail.falling,
        channels=tail.channels,
        input_bits=tail.input_bits,
        pe=1,
        vectors=tail.vectors,
    )
