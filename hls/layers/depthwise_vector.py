"""The depthwise vector unit: every channel of a window times weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Matrix, Stream, WindowOrder
from hls.inventory import Adders, Inventory, Logic, Registers, Rom
from hls.layers.parts.folding import Defaults
from hls.layers.parts.mac_array import (
    accumulated,
    array_instance,
    array_kernel,
    check_layer,
    layer_start,
)
from hls.layers.parts.memories import frozen
from hls.layers.parts.products import Product, choose_product, code_bits, product_rows
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True, eq=False)
class DepthwiseVector(Defaults):
    """out[c] = (start[c] + sum_k weights[c, k] * u[k, c]) mod 2**accumulator_bits, every vector.

    ``weights`` (C, K) and ``start`` (C,) are signed int64, the inputs u are counts of
    ``input_bits``. A vector arrives as C / pe blocks of ``pe`` channels, each of K beats: the order
    of `SlidingWindow` with blocks = C / pe and lanes = pe. So it takes (C / pe) * K cycles, each
    lane has an accumulator of its own and one output beat leaves for each block. Where all weights
    of a lane are alike, as those of an average are, there is no weight memory.

    ``start`` may be (classes, C) and depend on the border, as that of `MatrixVector` may.
    """

    kind: ClassVar[str] = "depthwise_vector"

    name: str
    weights: Ints
    start: Ints
    input_bits: int
    accumulator_bits: int
    pe: int
    vectors: int = 1
    row_classes: tuple[int, ...] = ()
    column_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen(self.weights))
        object.__setattr__(self, "start", frozen(self.start))
        check_layer(self, len(self.weights), "channels")

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(self.vectors * self.weights.size, self.pe, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * len(self.weights)
        return {"out": Stream(elements, self.pe, self.accumulator_bits)}

    @property
    def positions(self) -> int:
        """Beats of a block, K."""
        return int(self.weights.shape[1])

    @property
    def blocks(self) -> int:
        """Output beats of a vector, C / pe."""
        return len(self.weights) // self.pe

    @property
    def cycles(self) -> int:
        return self.vectors * self.blocks * self.positions

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"pe": len(self.weights)}

    @property
    def products(self) -> int:
        return self.vectors * self.weights.size

    @property
    def matrix(self) -> Matrix:
        n, k = self.weights.shape
        return Matrix(n, k, self.accumulator_bits)

    @property
    def window_order(self) -> WindowOrder:
        return "depthwise"

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        positions = self.positions
        windows = frames.reshape(-1, self.blocks, positions, self.pe)
        weights = self._by_beat(self.weights)
        sums = np.zeros((len(windows), self.blocks, self.pe), np.int64)
        for position in range(positions):  # int64 wraps modulo 2**64, which the mask divides
            sums += windows[:, :, position] * weights[:, position]
        return (accumulated(self, sums),)

    def _by_beat(self, values: Ints) -> Ints:
        """Values (C, K) in the order of the beats, (C / pe, K, pe)."""
        return values.reshape(self.blocks, self.pe, -1).transpose(0, 2, 1)

    @property
    def product(self) -> Product:
        """The product variant that costs least for these weights; see product_row.sv."""
        return choose_product(self.weights, lambda product: self._lane_cost(product)[0])

    def _weight_words(self, codes: Ints) -> Ints:
        """Words of the weight memory (words, pe): one where all are equal."""
        words = self._by_beat(codes).reshape(-1, self.pe)
        return words[:1] if np.all(words == words[0]) else words

    def instance(self) -> Instance:
        words = len(self._weight_words(self.weights))
        return array_instance(
            self,
            "depthwise_vector_unit",
            {"Channels": len(self.weights), "Positions": self.positions, "WeightWords": words},
            self._weight_words,
            (words, self.pe),
        )

    def kernel(self) -> Kernel:
        return array_kernel(
            self,
            "depthwise_vector_unit",
            {"Channels": len(self.weights), "Positions": self.positions, "Pe": self.pe},
            self._weight_words,
        )

    def schedule(self) -> Schedule:
        phases = (Phase(self.positions - 1, {"in": 1}), Phase(1, {"in": 1}, {"out": 1}))
        return Schedule((Process(phases, self._stages() + 2),))

    def _stages(self) -> int:
        """Registers between the rows of a product and the accumulator."""
        rows, _ = product_rows(self.product, self.weights, self.input_bits)
        return max((rows - 1).bit_length(), 1)

    def inventory(self) -> Inventory:
        """Products and accumulators of the lanes, weights, start values and control, and the
        registers of weights, inputs, products, start values and accumulators.

        The quantities were chosen on the Yosys counts of the 9 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is 5 % off in the mean and
        9 % at worst, FF 2 % at worst.
        """
        words = len(self._weight_words(self.weights))
        adders, registers = self._lane_cost(self.product)
        if words == 1:
            adders //= 2
        counters = [(n - 1).bit_length() for n in (self.positions, self.blocks, words)]
        control = counters[0] + 2 * counters[1] + 2 * counters[2] + self._stages() + 3
        return (
            Adders(adders, self.pe),
            Adders(self.accumulator_bits, self.pe),
            Registers(self.pe * (registers + self.accumulator_bits + self.input_bits)),
            Rom(words, self.pe * code_bits(self.product, self.weights)),
            Logic("counters and control", sum(counters) + 4, control),
            *layer_start(self).inventory(self.pe, self.accumulator_bits),
        )

    def _lane_cost(self, product: Product) -> tuple[int, int]:
        """LUTs and FFs of one lane's product: a tree over its rows.

        Of the two rows that a first adder takes, one is formed in LUTs of its own.
        """
        nodes, bits = product_rows(product, self.weights, self.input_bits)
        step = 2 if product is Product.DIGITS else 1
        if nodes == 1:
            return bits, bits
        lut, ff = nodes // 2 * bits, 0
        while nodes > 1:
            lut += nodes // 2 * (bits + 1)
            bits = min(bits + step + 1, self.accumulator_bits)
            step, nodes = 2 * step, (nodes + 1) // 2
            ff += nodes * bits
        return lut, ff
