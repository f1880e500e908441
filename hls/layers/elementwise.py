"""Elementwise sums and products of two streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Memory, Stream
from hls.inventory import Adders, Counters, Inventory, Logic, Multipliers, Registers, Rom
from hls.layers.parts.cpp_constants import signed_bits, sized
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding, frozen, pack_words
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True, eq=False)
class Elementwise(Defaults):
    """out = (product*l*r + left[c]*l + right[c]*r + start[c]) mod 2**output_bits.

    l and r are the counts at the inputs ``left`` and ``right``, of ``left_bits`` and
    ``right_bits``. ``left``, ``right`` and ``start`` (channels or 1,) and ``product`` are signed
    int64. ``lanes`` channels are handled in a cycle.
    """

    kind: ClassVar[str] = "elementwise"

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

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"lanes": self.channels}

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

    def inventory(self) -> Inventory:
        """Memories, products, sums, and the registers between them.

        - a memory for each coefficient that differs between channels;
        - products, those by constants as sums where `constant_product.sv` forms them so;
        - an adder for each term but the first, to which a constant start value adds nothing;
        - registers of the operands and coefficients, of the terms once or twice, and of the sum.

        On the 10 layers of tests/benchmarks/fit_estimates.py, LUT is 8 % off in the mean and 20 %
        at worst, FF exact but for one (6 %), DSP exact; in Yosys counts.
        """
        left, right = (1 << self.left_bits) - 1, (1 << self.right_bits) - 1
        constants = self._constants()
        stages = self.latency
        scale = abs(int(constants["Product"][0]))
        rows = self.channels // self.lanes
        found: Inventory = (Logic("control", 4, stages),)
        term_bits: list[int] = []
        for key, largest in (("LeftFactor", left), ("RightFactor", right), ("Start", 1)):
            values = constants[key]
            bits = (int(np.abs(values).max()) * largest).bit_length()
            bits = min(self.output_bits, bits + bool(len(values) > 1 and values.min() < 0))
            if len(values) > 1:
                found += (self._memory(rows, signed_bits(values) - bool(values.min() >= 0)),)
            if key == "Start":
                term_bits += [bits] * (len(values) > 1)
            elif bits:
                term_bits.append(bits)
                found += (self._product(values, largest.bit_length(), bits),)
        if scale:
            bits = self.left_bits + self.right_bits
            term_bits.append(min(bits, self.output_bits))
            found += (Multipliers(self.left_bits, self.right_bits, self.lanes),)
            scaled = min(self.output_bits, (scale * left * right).bit_length())
            found += (self._product(constants["Product"], bits, scaled),)
        registers = self.output_bits
        if any(len(values) > 1 for values in constants.values()):
            registers += self.left_bits + self.right_bits
            address = (rows - 1).bit_length()
            found += (Counters(address), Registers(address))
        multiplies = stages - 1 - (registers > self.output_bits) - (scale > 1)
        registers += (multiplies + (scale > 1)) * sum(term_bits)
        sum_bits = min(self.output_bits, max(term_bits, default=0) + 1)
        adders = Adders(sum_bits, self.lanes * max(len(term_bits) - 1, 0))
        return (*found, adders, Registers(self.lanes * registers))

    def _memory(self, rows: int, bits: int) -> Rom | Registers:
        """A memory of all lanes and the register of its word, which stays where one word is all."""
        return Rom(rows, self.lanes * bits) if rows > 1 else Registers(self.lanes * bits)

    def _product(self, factors: Ints, count_bits: int, bits: int) -> Multipliers | Adders:
        """A count times a coefficient in every lane, ``bits`` wide; see constant_product.sv."""
        if len(factors) > 1:
            return Multipliers(count_bits, signed_bits(factors), self.lanes)
        factor = abs(int(factors[0]))
        ones, signed = factor.bit_count(), (factor ^ 3 * factor).bit_count()
        if min(ones, signed) > 4:
            return Multipliers(count_bits, factor.bit_length(), self.lanes)
        if signed + 1 < ones:
            return Adders(self.output_bits, self.lanes * (signed - 1))
        return Adders(bits - 1, self.lanes * max(ones - 1, 0))
