"""What the layers on a multiply-accumulate array share: start values, memories, kernel arrays.

The array is ``mac_array.sv`` in SystemVerilog and ``mac_array.hpp`` in C++.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from hls.dataflow import Instance, Ints, Kernel
from hls.layers.parts.cpp_constants import packed_words
from hls.layers.parts.memories import check_folding, pack_words
from hls.layers.parts.products import Product, code_bits, kernel_product, weight_codes
from hls.layers.parts.start_values import StartValues, check_start, start_values

MODULES = (
    "product_row",
    "adder_tree",
    "address_counter",
    "weight_memory",
    "border_class",
    "start_values",
    "accumulation_control",
    "accumulator",
    "mac_array",
)
"""The library modules of an array, innermost first."""


class MacLayer(Protocol):
    """A layer that sums products of K inputs for each of N outputs, ``pe`` outputs at a time.

    ``weights`` is (N, K), ``start`` (N,) or (classes, N) with the classes of an image's rows and
    columns; the sums are taken modulo 2**accumulator_bits.
    """

    @property
    def name(self) -> str: ...
    @property
    def weights(self) -> Ints: ...
    @property
    def start(self) -> Ints: ...
    @property
    def input_bits(self) -> int: ...
    @property
    def accumulator_bits(self) -> int: ...
    @property
    def pe(self) -> int: ...
    @property
    def vectors(self) -> int: ...
    @property
    def row_classes(self) -> tuple[int, ...]: ...
    @property
    def column_classes(self) -> tuple[int, ...]: ...
    @property
    def product(self) -> Product: ...


def check_layer(layer: MacLayer, outputs: int, of: str) -> None:
    """Check the fields that all layers on an array have.

    ``pe`` must divide ``outputs``, which are called ``of`` in the `SiraError` that says so.
    """
    classes = layer.row_classes, layer.column_classes
    check_start(layer.name, layer.start, len(layer.weights), layer.vectors, *classes)
    assert layer.input_bits >= 1 and 1 <= layer.accumulator_bits <= 62, layer.name
    assert layer.vectors >= 1 and layer.weights.shape[1] >= 1, layer.name
    check_folding(layer.name, "PE", layer.pe, outputs, of)


def layer_start(layer: MacLayer, added: Ints | int = 0) -> StartValues:
    """The start values plus ``added`` (N,), as the accumulators hold them."""
    modulus = 1 << layer.accumulator_bits
    constant = np.broadcast_to(np.asarray(added, dtype=object), (len(layer.weights),))
    return start_values(layer.start, constant, modulus, layer.row_classes, layer.column_classes)


def accumulated(layer: MacLayer, sums: Ints) -> Ints:
    """What leaves the accumulators, (frames, vectors * N), from the sums of products.

    ``sums`` are those of frames, vectors and outputs, the outputs fastest. They may have wrapped
    modulo 2**64, a multiple of the accumulators' modulus.
    """
    outputs = len(layer.weights)
    totals = sums.reshape(-1, layer.vectors, outputs) + layer_start(layer).of_vectors()
    wrapped = totals & ((1 << layer.accumulator_bits) - 1)
    return wrapped.reshape(-1, layer.vectors * outputs)


def array_instance(
    layer: MacLayer,
    module: str,
    parameters: Mapping[str, int],
    words: Callable[[Ints], Ints],
    shape: tuple[int, int],
    parts: tuple[str, ...] = (),
) -> Instance:
    """The instance of a module around an array, with ``parameters`` besides those of the array.

    ``words`` puts codes (N, K) into the order of the weight memory, (words, lanes), which is
    ``shape`` as the module has it; ``parts`` are library modules beside those of the array.
    """
    product, bits = layer.product, code_bits(layer.product, layer.weights)
    codes, constant = weight_codes(product, layer.weights, layer.input_bits)
    start = layer_start(layer, constant)
    sizes, memories, shapes = start.instance(layer.pe, layer.accumulator_bits)
    of_array = {
        "Pe": layer.pe,
        "InputBits": layer.input_bits,
        "WeightBits": bits,
        "AccumulatorBits": layer.accumulator_bits,
        "Product": int(product),
    }
    return Instance(
        module,
        {**parameters, **of_array, **sizes},
        {"weights": pack_words(words(codes), bits), **memories},
        {"weights": (shape[0], shape[1] * bits), **shapes},
        (*parts, *MODULES),
    )


def array_kernel(
    layer: MacLayer, function: str, sizes: Mapping[str, int], words: Callable[[Ints], Ints]
) -> Kernel:
    """The kernel of a C++ function around an array; ``words`` is that of `array_instance`.

    The template arguments are the product, ``sizes``, and those of the array, in this order.
    """
    product, weight_bits, weights, added = kernel_product(layer.weights, layer.input_bits)
    return Kernel(
        function,
        {
            "Product": product,
            **sizes,
            "InputBits": layer.input_bits,
            "WeightBits": weight_bits,
            "AccumulatorBits": layer.accumulator_bits,
            "Vectors": layer.vectors,
        },
        {
            "weights": ("unsigned long long", packed_words(words(weights), weight_bits)),
            **layer_start(layer, -added).kernel(layer.pe),
        },
    )
