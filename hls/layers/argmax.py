"""Argmax: the index of the largest scaled count of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np

from hls.dataflow import Instance, Ints, Resources, Stream
from hls.layers.memories import check_folding, frozen, pack_words


@dataclass(frozen=True, eq=False)
class ArgMax:
    """Index of the largest scale[c] * u[c] + offset[c]; the lower index on a tie.

    ``scale`` (C,) is positive and ``offset`` (C,) any int64; ``lanes`` channels arrive in a cycle.
    The comparator tree over the lanes has a register behind each level.
    """

    name: str
    scale: Ints
    offset: Ints
    input_bits: int
    lanes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", frozen(self.scale))
        object.__setattr__(self, "offset", frozen(self.offset))
        assert self.scale.ndim == 1 and self.scale.shape == self.offset.shape, self.name
        assert self.scale.min() >= 1 and self.input_bits >= 1, self.name
        check_folding(self.name, "lanes", self.lanes, len(self.scale), "channels")

    @property
    def index_bits(self) -> int:
        return max(1, (len(self.scale) - 1).bit_length())

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(len(self.scale), self.lanes, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(1, 1, self.index_bits)}

    @property
    def cycles(self) -> int:
        return len(self.scale) // self.lanes

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        scores = self.scale.astype(object) * frames.astype(object) + self.offset.astype(object)
        # numpy's argmax takes the first of equal values
        return (np.argmax(scores, axis=1).astype(np.int64)[:, None],)

    def reduced(self) -> tuple[list[int], list[int]]:
        """Scale and offset with the same order of scores: offsets from 0, common factor removed."""
        lowest = int(self.offset.min())
        offset = [int(value) - lowest for value in self.offset]
        scale = [int(value) for value in self.scale]
        factor = gcd(*scale, *offset)
        return [s // factor for s in scale], [o // factor for o in offset]

    def _widths(self) -> tuple[int, int, int]:
        """Bits of a scale, an offset and a score."""
        scale, offset = self.reduced()
        largest = ((1 << self.input_bits) - 1) * np.array(scale, object) + np.array(offset, object)
        return (
            max(scale).bit_length(),
            max(1, max(offset).bit_length()),
            max(int(largest.max()).bit_length(), self.input_bits + max(scale).bit_length() - 1),
        )

    @property
    def affine(self) -> bool:
        """Whether scores differ from the counts themselves."""
        scale, offset = self.reduced()
        return max(scale) > 1 or max(offset) > 0

    def instance(self) -> Instance:
        scale, offset = self.reduced()
        scale_bits, offset_bits, value_bits = self._widths()
        parameters = {
            "Channels": len(scale),
            "Lanes": self.lanes,
            "InputBits": self.input_bits,
            "ScaleBits": scale_bits,
            "OffsetBits": offset_bits,
            "ValueBits": value_bits if self.affine else self.input_bits,
            "IndexBits": self.index_bits,
            "Affine": int(self.affine),
        }
        if not self.affine:
            return Instance("argmax", parameters)
        words = [s | o << scale_bits for s, o in zip(scale, offset, strict=True)]
        lanes = np.array(words, dtype=object).reshape(-1, self.lanes)
        return Instance(
            "argmax", parameters, {"affine": pack_words(lanes, scale_bits + offset_bits)}
        )

    def estimate(self) -> Resources:
        """LUT: a comparator and a multiplexer of value_bits per lane, and the products (input_bits
        times scale_bits) with their offsets where there are any; FF: the registers between."""
        scale_bits, offset_bits, value_bits = self._widths()
        if not self.affine:
            scale_bits = offset_bits = 0
            value_bits = self.input_bits
        score = self.input_bits * scale_bits + (value_bits + offset_bits if self.affine else 0)
        node = value_bits + self.index_bits
        return Resources(
            lut=self.lanes * (2 * node + score) + 10,
            ff=self.lanes * (self.input_bits + 2 * node + score) + 10,
        )
