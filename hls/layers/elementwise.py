"""Elementwise sums and products of two streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Memory, Resources, Stream
from hls.layers.cpp_constants import signed_bits, sized
from hls.layers.memories import check_folding, frozen, pack_words
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True, eq=False)
class Elementwise:
    """out = (product*l*r + left[c]*l + right[c]*r + start[c]) mod 2**output_bits.

    l and r are the counts at the inputs ``left`` and ``right``, of ``left_bits`` and
    ``right_bits``. ``left``, ``right`` and ``start`` (channels or 1,) and ``product`` are signed
    int64. ``lanes`` channels are handled in a cycle.
    """

    name: str
    channels: int
    left_bits: int
    right_bits: int
    product: int
    left: Ints
    right: Ints
    start: Ints
    output_bits: int
    lanes: int
    vectors: int = 1

    def __post_init__(self) -> None:
        for field in ("left", "right", "start"):
            constants = frozen(getattr(self, field))
            assert constants.shape in ((1,), (self.channels,)), (self.name, field, constants.shape)
            object.__setattr__(self, field, constants)
        assert 1 <= self.left_bits <= 62 and 1 <= self.right_bits <= 62, self.name
        assert 1 <= self.output_bits <= 62 and self.vectors >= 1, self.name
        assert -(1 << 63) <= self.product < 1 << 63, self.name
        check_folding(self.name, "lanes", self.lanes, self.channels, "channels")

    @property
    def inputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * self.channels
        return {
            "left": Stream(elements, self.lanes, self.left_bits),
            "right": Stream(elements, self.lanes, self.right_bits),
        }

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(self.vectors * self.channels, self.lanes, self.output_bits)}

    @property
    def cycles(self) -> int:
        return self.vectors * self.channels // self.lanes

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        left, right = (frames.reshape(-1, self.channels) for frames in inputs)
        # int64 wraps, which is exact modulo 2**output_bits.
        total = left * self.left + right * self.right + self.start
        if self.product:
            total += np.int64(self.product) * left * right
        total &= (1 << self.output_bits) - 1
        return (total.reshape(inputs[0].shape),)

    def _reduced(self, constants: Ints) -> Ints:
        """The same constants modulo 2**output_bits, from the least negative half; 1 if alike."""
        half = np.int64(1 << self.output_bits - 1)
        reduced = (constants + half & (1 << self.output_bits) - 1) - half
        return reduced[:1] if np.all(reduced == reduced[0]) else reduced

    def _constants(self) -> dict[str, Ints]:
        """Product and the three coefficients, reduced, by the name of the RTL's parameter."""
        constants = {
            "Product": np.array([self.product], np.int64),
            "LeftFactor": self.left,
            "RightFactor": self.right,
            "Start": self.start,
        }
        return {key: self._reduced(values) for key, values in constants.items()}

    @property
    def latency(self) -> int:
        """Cycles from a beat in to a beat out, see the RTL: a stage of the pipeline for each of
        reading the memories, multiplying, multiplying by ``product``, and the sum."""
        constants = self._constants()
        product = int(constants["Product"][0])
        per_channel = [key for key, values in constants.items() if len(values) > 1]
        coefficients = [constants[key] for key in ("LeftFactor", "RightFactor")]
        multiplies = product != 0 or any(
            len(c) > 1 or int(c[0]) not in (-1, 0, 1) for c in coefficients
        )
        return 1 + bool(per_channel) + multiplies + (product not in (-1, 0, 1))

    def instance(self) -> Instance:
        parameters: dict[str, int | tuple[int, ...]] = {
            "Rows": self.channels // self.lanes,
            "Lanes": self.lanes,
            "LeftBits": self.left_bits,
            "RightBits": self.right_bits,
            "OutputBits": self.output_bits,
        }
        memories: dict[str, Memory] = {}
        shapes = {}
        names = {"LeftFactor": "left", "RightFactor": "right", "Start": "start"}
        for key, values in self._constants().items():
            if len(values) == 1:
                value = int(values[0]) & (1 << 64) - 1
                parameters[key] = (value & (1 << 32) - 1, value >> 32)
                continue
            bits = signed_bits(values)
            rows = values.reshape(-1, self.lanes) & (1 << bits) - 1
            memories[names[key]] = pack_words(rows, bits)
            shapes[names[key]] = (len(rows), self.lanes * bits)
            parameters[f"{key}Bits"] = bits
        parts = ("constant_product", "variable_product")
        return Instance("elementwise", parameters, memories, shapes, parts)

    def kernel(self) -> Kernel:
        constants = self._constants()
        arrays = {}
        for key, name in (("LeftFactor", "left"), ("RightFactor", "right"), ("Start", "start")):
            rows = np.resize(constants[key], max(self.lanes, len(constants[key])))
            arrays[name] = sized(rows.reshape(-1, self.lanes))
        return Kernel(
            "elementwise",
            {
                "Channels": self.channels,
                "Lanes": self.lanes,
                "LeftBits": self.left_bits,
                "RightBits": self.right_bits,
                "OutputBits": self.output_bits,
                "Product": f"{int(constants['Product'][0])}LL",
                "Vectors": self.vectors,
            },
            arrays,
        )

    def schedule(self) -> Schedule:
        step = Phase(1, {"left": 1, "right": 1}, {"out": 1})
        return Schedule((Process((step,), self.latency),))

    def estimate(self) -> Resources:
        """An adder for each term but the first, and the registers of the pipeline."""
        terms = sum(bool(np.any(values)) for values in self._constants().values())
        lut = self.lanes * self.output_bits * max(terms - 1, 0) + 4
        ff = self.lanes * self.output_bits + self.latency
        return Resources(lut=lut, ff=ff)
