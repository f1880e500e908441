"""The matrix-vector unit: integer weights times counts, plus a start value per output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hls.dataflow import Instance, Ints, Kernel, Matrix, Stream, WindowOrder
from hls.inventory import Adders, Inventory, Logic, Ram, Registers, Rom
from hls.layers.parts.folding import Defaults, divisors
from hls.layers.parts.mac_array import (
    accumulated,
    array_instance,
    array_kernel,
    check_layer,
    layer_start,
)
from hls.layers.parts.matrix_vector_cost import sum_cost, tree_stages
from hls.layers.parts.memories import check_folding, frozen
from hls.layers.parts.products import Product, choose_product, code_bits, product_rows
from hls.schedule import Buffer, Phase, Process, Schedule


@dataclass(frozen=True, eq=False)
class MatrixVector(Defaults):
    """out[n] = (start[n] + sum_k weights[n, k] * u[g, k]) mod 2**accumulator_bits, every vector.

    ``weights`` (N, K) and ``start`` (N,) are signed int64, the inputs u are counts of
    ``input_bits``. A vector is ``groups`` subvectors of K inputs, and output n belongs to group
    g = n // (N / groups). ``pe`` outputs of a group and ``simd`` inputs are handled in a cycle, so
    a vector takes (N / pe) * (K / simd) cycles. The accumulator wraps, which is exact whenever the
    final sum lies in 0 .. 2**accumulator_bits - 1.

    Where the vectors are the pixels of an image, ``start`` may be (classes, N) and depend on the
    border: vector (row, column) of the image len(row_classes) x len(column_classes) starts at
    start[row_classes[row] * (max(column_classes) + 1) + column_classes[column]].

    ``levels_per_stage`` adders are chained between two registers of the adder trees: the longest
    path is that many carry chains with one LUT level in front.
    More than 1 saves registers and latency, but costs LUTs where synthesis merges the adders.
    """

    kind: ClassVar[str] = "matrix_vector"

    name: str
    weights: Ints
    start: Ints
    input_bits: int
    accumulator_bits: int
    pe: int
    simd: int
    vectors: int = 1
    levels_per_stage: int = 1
    groups: int = 1
    row_classes: tuple[int, ...] = ()
    column_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen(self.weights))
        object.__setattr__(self, "start", frozen(self.start))
        outputs, inputs = self.weights.shape
        assert self.groups >= 1 and outputs % self.groups == 0, (self.name, self.groups)
        assert self.levels_per_stage >= 1, self.name
        of_group = "" if self.groups == 1 else " of a group"
        check_layer(self, outputs // self.groups, f"outputs{of_group}")
        check_folding(self.name, "SIMD", self.simd, inputs, f"inputs{of_group}")

    @property
    def inputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * self.groups * self.weights.shape[1]
        return {"in": Stream(elements, self.simd, self.input_bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        elements = self.vectors * self.weights.shape[0]
        return {"out": Stream(elements, self.pe, self.accumulator_bits)}

    @property
    def folds(self) -> tuple[int, int]:
        """Output beats of a vector, and beats of a subvector: (N / pe, K / simd)."""
        outputs, inputs = self.weights.shape
        return outputs // self.pe, inputs // self.simd

    @property
    def cycles(self) -> int:
        neuron_folds, synapse_folds = self.folds
        return self.vectors * neuron_folds * synapse_folds

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {"pe": len(self.weights) // self.groups, "simd": self.weights.shape[1]}

    @property
    def products(self) -> int:
        return self.vectors * self.weights.size

    @property
    def matrix(self) -> Matrix:
        n, k = self.weights.shape
        return Matrix(n, k, self.accumulator_bits)

    @property
    def window_order(self) -> WindowOrder:
        return "dense"

    def folding(self, target: int, lanes: int, block: int | None = None) -> Mapping[str, int]:
        """Fewest multipliers that meet the target; of those no width converter, then more SIMD.

        SIMD costs less than PE: more inputs share an accumulator, more outputs need one each. A
        window generator has as many lanes as it is asked for, up to the channels of a block.
        """
        sizes = self.dimensions
        pairs = [(pe, simd) for pe in divisors(sizes["pe"]) for simd in divisors(sizes["simd"])]
        fit = [(pe, simd) for pe, simd in pairs if self.products <= target * pe * simd]

        def converted(simd: int) -> bool:
            return simd != lanes if block is None else block % simd != 0

        fit = fit or [(sizes["pe"], sizes["simd"])]
        pe, simd = min(fit, key=lambda p: (p[0] * p[1], converted(p[1]), -p[1]))
        return {"pe": pe, "simd": simd}

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        (frames,) = inputs
        vectors = frames.reshape(-1, self.groups, self.weights.shape[1])
        return (accumulated(self, _product(vectors, self.weights, self.input_bits)),)

    @property
    def product(self) -> Product:
        """The product variant that costs least for these weights; see mac_array.sv."""
        return choose_product(self.weights, lambda product: self._sum_cost(product)[0])

    @property
    def code_bits(self) -> int:
        """Bits of one weight in the weight memory."""
        return code_bits(self.product, self.weights)

    def _weight_words(self, codes: Ints) -> Ints:
        """Words of the weight memory, (N / pe * K / simd, pe * simd)."""
        neuron_folds, synapse_folds = self.folds
        order = codes.reshape(neuron_folds, self.pe, synapse_folds, self.simd)
        return order.transpose(0, 2, 1, 3).reshape(-1, self.pe * self.simd)

    def instance(self) -> Instance:
        outputs, inputs = self.weights.shape
        neuron_folds, synapse_folds = self.folds
        return array_instance(
            self,
            "matrix_vector_unit",
            {
                "Outputs": outputs,
                "Inputs": inputs,
                "Groups": self.groups,
                "Simd": self.simd,
                "LevelsPerStage": self.levels_per_stage,
            },
            self._weight_words,
            (neuron_folds * synapse_folds, self.pe * self.simd),
            ("replay_buffer",),
        )

    def kernel(self) -> Kernel:
        neurons, inputs = self.weights.shape
        return array_kernel(
            self,
            "matrix_vector_unit",
            {
                "Neurons": neurons,
                "Inputs": inputs,
                "Groups": self.groups,
                "Pe": self.pe,
                "Simd": self.simd,
            },
            self._weight_words,
        )

    def schedule(self) -> Schedule:
        """The beats of a group go to the replay buffer, which holds two groups rounded up to a
        power of two, and are taken from there once for each output beat of the group."""
        folds, beats = self.folds[0] // self.groups, self.folds[1]
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
        rows = product_rows(self.product, self.weights, self.input_bits)
        return tree_stages(self.product, rows, self.simd, self.levels_per_stage)

    def inventory(self) -> Inventory:
        """Sums of products, accumulators, weights, start values, control and replay buffer, and
        the registers of weights, inputs, adder trees, start values and accumulators.

        - sums of a PE: see `_sum_cost`;
        - start values: see `StartValues.inventory`;
        - replay buffer, where a group has several folds.

        The quantities were chosen on the Yosys counts of the 25 layers of
        tests/benchmarks/fit_estimates.py; on these same layers LUT is 4 % off in the mean and
        20 % at worst, FF 2 % and 17 %. Errors on layers of real models are in the README.
        """
        neuron_folds, synapse_folds = self.folds
        adders, registers = self._sum_cost(self.product)
        found: Inventory = (
            Adders(adders, self.pe),
            Adders(self.accumulator_bits, self.pe),
            Registers(self.pe * (registers + self.accumulator_bits)),
            Registers(self.simd * self.input_bits),
            Rom(neuron_folds * synapse_folds, self.pe * self.simd * self.code_bits),
            Logic("control", 20, 45),
        )
        if neuron_folds > self.groups:
            depth = 2 << (synapse_folds - 1).bit_length()
            buffer = Ram(depth, self.simd * self.input_bits, distributed=True)
            found += (buffer, Logic("replay", 15))
        return found + layer_start(self).inventory(self.pe, self.accumulator_bits)

    def _sum_cost(self, product: Product) -> tuple[int, int]:
        rows = product_rows(product, self.weights, self.input_bits)
        return sum_cost(product, rows, self.simd, self.accumulator_bits)


def _product(vectors: Ints, weights: Ints, input_bits: int) -> Ints:
    """vectors (n, groups, K) times weights (groups * M, K), modulo 2**64: (n, groups, M)."""
    _, groups, k = vectors.shape
    # Where no partial sum can leave the integers that a float type holds exactly, BLAS is right.
    largest = float(np.abs(weights).sum(axis=1, dtype=float).max()) * 2.0**input_bits
    dtype = np.float32 if largest < 2**23 else np.float64 if largest < 2**52 else np.int64
    left = vectors.transpose(1, 0, 2).astype(dtype)
    right = weights.reshape(groups, -1, k).transpose(0, 2, 1).astype(dtype)
    sums: Ints = np.matmul(left, right).astype(np.int64).transpose(1, 0, 2)
    return sums
