"""The depthwise vector unit: every channel of a window times weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Matrix, Resources, Stream, WindowOrder
from hls.layers.parts.cpp_constants import packed_words
from hls.layers.parts.folding import Defaults
from hls.layers.parts.memories import check_folding, frozen, pack_words, rom_cost
from hls.layers.parts.products import (
    Product,
    choose_product,
    code_bits,
    kernel_product,
    product_rows,
    weight_codes,
)
from hls.layers.parts.start_values import StartValues, check_start, start_values
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
        channels, positions = self.weights.shape
        classes = self.row_classes, self.column_classes
        check_start(self.name, self.start, channels, self.vectors, *classes)
        assert self.input_bits >= 1 and 1 <= self.accumulator_bits <= 62, self.name
        assert self.vectors >= 1 and positions >= 1, self.name
        check_folding(self.name, "PE", self.pe, channels, "channels")

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
        channels, positions = len(self.weights), self.positions
        windows = frames.reshape(-1, self.blocks, positions, self.pe)
        weights = self._by_beat(self.weights)
        sums = np.zeros((len(windows), self.blocks, self.pe), np.int64)
        for position in range(positions):  # int64 wraps modulo 2**64, which the mask divides
            sums += windows[:, :, position] * weights[:, position]
        totals = sums.reshape(len(frames), -1, channels) + self._start(0).of_vectors()
        wrapped = totals & ((1 << self.accumulator_bits) - 1)
        return (wrapped.reshape(len(frames), self.vectors * channels),)

    def _by_beat(self, values: Ints) -> Ints:
        """Values (C, K) in the order of the beats, (C / pe, K, pe)."""
        return values.reshape(self.blocks, self.pe, -1).transpose(0, 2, 1)

    def _start(self, added: Ints | int) -> StartValues:
        """The start values plus ``added`` (C,), as the accumulator holds them."""
        modulus = 1 << self.accumulator_bits
        constant = np.broadcast_to(np.asarray(added, dtype=object), (len(self.weights),))
        return start_values(self.start, constant, modulus, self.row_classes, self.column_classes)

    @property
    def product(self) -> Product:
        """The product variant that costs least for these weights; see product_row.sv."""
        return choose_product(self.weights, lambda product: self._lane_cost(product)[0])

    def _weight_words(self, codes: Ints) -> Ints:
        """Words of the weight memory (words, pe): one where all are equal."""
        words = self._by_beat(codes).reshape(-1, self.pe)
        return words[:1] if np.all(words == words[0]) else words

    def instance(self) -> Instance:
        product = self.product
        bits = code_bits(product, self.weights)
        codes, constant = weight_codes(product, self.weights, self.input_bits)
        words = self._weight_words(codes)
        sizes, memories, shapes = self._start(constant).instance(self.pe, self.accumulator_bits)
        return Instance(
            "depthwise_vector_unit",
            {
                "Channels": len(self.weights),
                "Positions": self.positions,
                "Pe": self.pe,
                "InputBits": self.input_bits,
                "WeightBits": bits,
                "WeightWords": len(words),
                "AccumulatorBits": self.accumulator_bits,
                "Product": int(product),
            }
            | sizes,
            {"weights": pack_words(words, bits)} | memories,
            {"weights": (len(words), self.pe * bits)} | shapes,
            ("product_row", "adder_tree", "weight_memory", "border_class", "start_values"),
        )

    def kernel(self) -> Kernel:
        product, weight_bits, weights, added = kernel_product(self.weights, self.input_bits)
        words = self._weight_words(weights)
        return Kernel(
            "depthwise_vector_unit",
            {
                "Product": product,
                "Channels": len(self.weights),
                "Positions": self.positions,
                "Pe": self.pe,
                "InputBits": self.input_bits,
                "WeightBits": weight_bits,
                "AccumulatorBits": self.accumulator_bits,
                "Vectors": self.vectors,
            },
            {
                "weights": ("unsigned long long", packed_words(words, weight_bits)),
                **self._start(-added).kernel(self.pe),
            },
        )

    def schedule(self) -> Schedule:
        phases = (Phase(self.positions - 1, {"in": 1}), Phase(1, {"in": 1}, {"out": 1}))
        return Schedule((Process(phases, self._stages() + 2),))

    def _stages(self) -> int:
        """Registers between the rows of a product and the accumulator."""
        rows, _ = product_rows(self.product, self.weights, self.input_bits)
        return max((rows - 1).bit_length(), 1)

    def estimate(self) -> Resources:
        """LUT: products and accumulators of the lanes, weights, start values and control.

        FF: the registers of weights, inputs, products, start values and accumulators.

        The constants were chosen on the Yosys counts of the 9 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is 5 % off in the mean and
        9 % at worst, FF 2 % at worst.
        """
        bits = code_bits(self.product, self.weights)
        words = len(self._weight_words(self.weights))
        lane_lut, lane_ff = self._lane_cost(self.product)
        if words == 1:
            lane_lut //= 2
        weight_lut, bram = rom_cost(words, self.pe * bits)
        counters = [(n - 1).bit_length() for n in (self.positions, self.blocks, words)]
        lut = self.pe * (lane_lut + self.accumulator_bits) + weight_lut + sum(counters) + 4
        ff = self.pe * (lane_ff + self.accumulator_bits + self.input_bits)
        ff += counters[0] + 2 * counters[1] + 2 * counters[2] + 3 * self._stages() + 4
        if words > 1 and not bram:  # a block RAM has the register inside
            ff += self.pe * bits
        start = self._start(0).estimate(self.pe, self.accumulator_bits)
        return Resources(lut=lut, ff=ff, bram18=bram) + start

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
