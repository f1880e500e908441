"""The matrix-vector unit: integer weights times counts, plus a start value per output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Resources, Stream
from hls.layers.cpp_constants import packed_words, signed_bits, sized
from hls.layers.memories import check_folding, frozen, pack_words, rom_cost
from hls.schedule import Buffer, Phase, Process, Schedule


class Product(IntEnum):
    """How the RTL forms a product as a sum of rows; the numbers are its parameter ``Product``."""

    SIGN = 0
    TERNARY = 1
    DIGITS = 2
    PLANES = 3


@dataclass(frozen=True, eq=False)
class MatrixVector:
    """out[n] = (start[n] + sum_k weights[n, k] * u[k]) mod 2**accumulator_bits, for every vector.

    ``weights`` (N, K) and ``start`` (N,) are signed int64, the inputs u are counts of
    ``input_bits``. ``pe`` outputs and ``simd`` inputs are handled in a cycle, so a vector takes
    (N / pe) * (K / simd) cycles. The accumulator wraps, which is exact whenever the final sum lies
    in 0 .. 2**accumulator_bits - 1.

    ``levels_per_stage`` adders are chained between two registers of the adder trees: the longest
    path is that many carry chains with one LUT level in front.
    More than 1 saves registers and latency, but costs LUTs where synthesis merges the adders.
    """

    name: str
    weights: Ints
    start: Ints
    input_bits: int
    accumulator_bits: int
    pe: int
    simd: int
    vectors: int = 1
    levels_per_stage: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen(self.weights))
        object.__setattr__(self, "start", frozen(self.start))
        outputs, inputs = self.weights.shape
        assert self.start.shape == (outputs,), (self.name, self.start.shape)
        assert self.input_bits >= 1 and 1 <= self.accumulator_bits <= 62, self.name
        assert self.vectors >= 1 and self.levels_per_stage >= 1, self.name
        check_folding(self.name, "PE", self.pe, outputs, "outputs")
        check_folding(self.name, "SIMD", self.simd, inputs, "inputs")

    @property
    def inputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * self.weights.shape[1]
        return {"in": Stream(elements, self.simd, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * self.weights.shape[0]
        return {"out": Stream(elements, self.pe, self.accumulator_bits)}

    @property
    def folds(self) -> tuple[int, int]:
        """Groups of outputs, and beats of a vector: (N / pe, K / simd)."""
        outputs, inputs = self.weights.shape
        return outputs // self.pe, inputs // self.simd

    @property
    def cycles(self) -> int:
        neuron_folds, synapse_folds = self.folds
        return self.vectors * neuron_folds * synapse_folds

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        outputs, k = self.weights.shape
        vectors = frames.reshape(-1, k)
        sums = _exact_product(vectors, self.weights, self.input_bits)
        modulus = 1 << self.accumulator_bits
        wrapped = (sums + self.start % modulus) % modulus
        return (wrapped.astype(np.int64).reshape(len(frames), self.vectors * outputs),)

    @property
    def product(self) -> Product:
        """The product variant that costs least for these weights; see matrix_vector_unit.sv."""
        low, high = int(self.weights.min()), int(self.weights.max())
        if np.all(np.abs(self.weights) == 1):
            return Product.SIGN
        if low >= -1 and high <= 1:
            return Product.TERNARY
        candidates = (Product.DIGITS, Product.PLANES)
        return min(candidates, key=lambda product: self._sum_cost(product)[0])

    @property
    def code_bits(self) -> int:
        """Bits of one weight in the weight memory."""
        match self.product:
            case Product.SIGN:
                return 1
            case Product.TERNARY:
                return 2
            case Product.DIGITS | Product.PLANES:
                return _signed_bits(int(self.weights.min()), int(self.weights.max()))

    def instance(self) -> Instance:
        outputs, inputs = self.weights.shape
        neuron_folds, synapse_folds = self.folds
        codes, constant = self._coded()
        order = (neuron_folds, self.pe, synapse_folds, self.simd)
        words = codes.reshape(order).transpose(0, 2, 1, 3)
        # The Python integers of object arrays cannot overflow.
        start = (self.start.astype(object) + constant) % (1 << self.accumulator_bits)
        return Instance(
            "matrix_vector_unit",
            {
                "Outputs": outputs,
                "Inputs": inputs,
                "Pe": self.pe,
                "Simd": self.simd,
                "InputBits": self.input_bits,
                "WeightBits": self.code_bits,
                "AccumulatorBits": self.accumulator_bits,
                "Product": int(self.product),
                "LevelsPerStage": self.levels_per_stage,
            },
            {
                "weights": pack_words(words.reshape(-1, self.pe * self.simd), self.code_bits),
                "start": pack_words(start.reshape(-1, self.pe), self.accumulator_bits),
            },
            {
                "weights": (neuron_folds * synapse_folds, self.pe * self.simd * self.code_bits),
                "start": (neuron_folds, self.pe * self.accumulator_bits),
            },
            ("replay_buffer", "product_row", "adder_tree"),
        )

    def _coded(self) -> tuple[Ints, Ints]:
        """Weight codes (N, K), and what the rows' sign bits add to each output (N,), as objects.

        A row holds (|d| * u) xor (d < 0) in R bits, which is d * u + (d < 0) * (2**R - 1).
        """
        weights, bits = self.weights, self.code_bits
        match self.product:
            case Product.SIGN:
                excess = (weights < 0) * ((1 << self.input_bits) - 1)
                codes = (weights > 0).astype(np.int64)
            case Product.TERNARY:
                excess = (weights < 0) * ((1 << self.input_bits) - 1)
                codes = np.abs(weights) | (weights < 0) << 1
            case Product.DIGITS:
                codes = weights & ((1 << bits) - 1)
                negative = np.zeros(weights.shape, dtype=object)
                for row in range((bits + 1) // 2):
                    high = min(2 * row + 1, bits - 1)
                    negative += ((codes >> high) & 1).astype(object) * 4**row
                excess = negative * ((2 << self.input_bits) - 1)
            case Product.PLANES:
                codes = weights & ((1 << bits) - 1)
                planes = (1 << self.input_bits) - 1
                excess = np.full(weights.shape, planes << (bits - 1), dtype=object)
        return codes, -excess.astype(object).sum(axis=1)

    def kernel(self) -> Kernel:
        neurons, inputs = self.weights.shape
        pe, simd = self.pe, self.simd
        weights, start = self.weights, self.start
        if not np.all(np.abs(weights) == 1):
            product, weight_bits = "SignedProduct", signed_bits(weights)
        else:
            product, weight_bits = "SignProduct", 1
            if self.input_bits == 1:
                # The popcount of the XNORs exceeds the dot product by the number of weights -1.
                product, start = "XnorProduct", start - np.sum(weights < 0, axis=1)
            weights = (weights + 1) // 2
        # (neuron fold, PE, input fold, SIMD) -> (neuron fold, input fold, PE * SIMD)
        folds = weights.reshape(neurons // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3)
        wrapped = start & ((1 << self.accumulator_bits) - 1)
        return Kernel(
            "matrix_vector_unit",
            {
                "Product": product,
                "Neurons": neurons,
                "Inputs": inputs,
                "Pe": pe,
                "Simd": simd,
                "InputBits": self.input_bits,
                "WeightBits": weight_bits,
                "AccumulatorBits": self.accumulator_bits,
                "Vectors": self.vectors,
            },
            {
                "weights": (
                    "unsigned long long",
                    packed_words(folds.reshape(-1, pe * simd), weight_bits),
                ),
                "start": sized(wrapped.reshape(-1, pe)),
            },
        )

    def schedule(self) -> Schedule:
        """A vector's beats go to the replay buffer, which holds two vectors rounded up to a power
        of two, and are taken from there once for each group of outputs."""
        folds, beats = self.folds
        latency = self._stages() + 2
        last = {"out": 1}
        if folds == 1:
            phases = (Phase(beats - 1, {"in": 1}), Phase(1, {"in": 1}, last))
            return Schedule((Process(phases, latency),))
        capacity = 2 << (beats - 1).bit_length()
        group = (Phase(beats - 1), Phase(1, gives=last))
        first = (Phase(beats - 1, {"filled": 1}), Phase(1, {"filled": 1}, last))
        final = (Phase(beats - 1), Phase(1, gives=last | {"free": beats}))
        write = Process((Phase(1, {"in": 1, "free": 1}, {"filled": 1}),))
        read = Process((*first, *group * (folds - 2), *final), latency)
        buffers = {"filled": Buffer(capacity), "free": Buffer(capacity, capacity)}
        return Schedule((write, read), buffers)

    def _stages(self) -> int:
        """Registers of the adder trees, as matrix_vector_unit.sv counts them."""
        rows, _ = self._rows(self.product)
        full_row = {Product.DIGITS: self.input_bits + 1, Product.PLANES: self.code_bits}
        one_bit = full_row.get(self.product, self.input_bits) == 1
        group = (3 if self.product is Product.SIGN else 2) if one_bit else 1
        leaves = -(-self.simd // group)
        lanes = max((leaves - 1).bit_length(), 1)
        per_stage = self.levels_per_stage
        return -(-lanes // per_stage) + -(-(rows - 1).bit_length() // per_stage)

    def estimate(self) -> Resources:
        """LUT: sums of products, accumulators, weights, start values, control and replay buffer.

        - sums of a PE: see `_sum_cost`;
        - accumulator: accumulator_bits per PE, start values the same again for each 64 folds;
        - weight memory, a word a cycle: see `rom_cost`;
        - replay buffer, where there is more than one fold: 32 words by 14 bits in 8 LUTs of RAM.

        FF: the registers of weights, inputs, adder trees, start values and accumulators.

        The constants were chosen on the Yosys counts of the 25 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is 4 % off in the mean and
        20 % at worst, FF 2 % and 17 %. Errors on layers of real models are in the README.
        """
        neuron_folds, synapse_folds = self.folds
        sum_lut, sum_ff = self._sum_cost(self.product)
        word_bits, words = self.pe * self.simd * self.code_bits, neuron_folds * synapse_folds
        weight_lut, bram = rom_cost(words, word_bits)
        lut = self.pe * (sum_lut + self.accumulator_bits) + weight_lut + 20
        ff = self.pe * (sum_ff + self.accumulator_bits) + self.simd * self.input_bits + 45
        if words > 1 and not bram:  # a block RAM has the register inside
            ff += word_bits
        if neuron_folds > 1:
            lut += self.pe * self.accumulator_bits * -(-neuron_folds // 64)
            ff += self.pe * self.accumulator_bits
            depth = 2 << (synapse_folds - 1).bit_length()
            lut += -(-self.simd * self.input_bits // 14) * 8 * -(-depth // 32) + 15
        return Resources(lut=lut, ff=ff, bram18=bram)

    def _sum_cost(self, product: Product) -> tuple[int, int]:
        """LUTs and FFs of one PE's sum of products.

        A tree over n leaves of R bits takes n * R LUTs for leaves and first adders (the LUTs of an
        adder form one of its operands), then one LUT for each bit of the operands of every adder.
        One-bit rows are counted two or three at a time by two LUTs that no adder can take in.
        """
        rows, bits = self._rows(product)
        leaves, lut, ff = self.simd, 0, 0
        if bits == 1:
            leaves, bits = -(-self.simd // (3 if product is Product.SIGN else 2)), 2
            lut = rows * leaves * bits - leaves // 2 * bits
        lut += rows * (leaves + 1) // 2 * bits
        while leaves > 1:
            lut += rows * (leaves // 2) * bits
            leaves, bits = (leaves + 1) // 2, min(bits + 1, self.accumulator_bits)
            ff += rows * leaves * bits
        joins = (rows - 1) * min(bits + 1, self.accumulator_bits)
        return lut + joins, max(ff, rows * bits) + joins

    def _rows(self, product: Product) -> tuple[int, int]:
        """Rows of a product, and bits of a row."""
        weight_bits = _signed_bits(int(self.weights.min()), int(self.weights.max()))
        match product:
            case Product.SIGN | Product.TERNARY:
                return 1, min(self.input_bits, self.accumulator_bits)
            case Product.DIGITS:
                return (weight_bits + 1) // 2, min(self.input_bits + 1, self.accumulator_bits)
            case Product.PLANES:
                return self.input_bits, min(weight_bits, self.accumulator_bits)


def _signed_bits(low: int, high: int) -> int:
    """Bits of two's complement that hold low..high."""
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1


def _exact_product(vectors: Ints, weights: Ints, input_bits: int) -> Ints:
    """vectors (n, K) times weights (N, K) transposed, exact; the dtype is int64 or object."""
    largest = int(np.abs(weights).astype(object).sum(axis=1).max()) << input_bits
    if largest < 1 << 53:  # every partial sum is an integer that float64 holds exactly
        return np.asarray(vectors.astype(float) @ weights.T.astype(float)).astype(np.int64)
    exact: Ints = vectors.astype(object) @ weights.T.astype(object)
    return exact
