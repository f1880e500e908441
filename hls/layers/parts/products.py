"""Products of signed integer weights and counts, formed as sums of rows; see product_row.sv."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints
from hls.layers.parts.cpp_constants import signed_bits


class Product(IntEnum):
    """How the RTL forms a product as a sum of rows; the numbers are its parameter ``Product``."""

    SIGN = 0
    TERNARY = 1
    DIGITS = 2
    PLANES = 3


def choose_product(weights: Ints, cost: Callable[[Product], int]) -> Product:
    """The variant that costs least for these weights; ``cost`` decides where several would do."""
    low, high = int(weights.min()), int(weights.max())
    if np.all(np.abs(weights) == 1):
        return Product.SIGN
    if low >= -1 and high <= 1:
        return Product.TERNARY
    return min((Product.DIGITS, Product.PLANES), key=cost)


def code_bits(product: Product, weights: Ints) -> int:
    """Bits of one weight in the weight memory."""
    match product:
        case Product.SIGN:
            return 1
        case Product.TERNARY:
            return 2
        case Product.DIGITS | Product.PLANES:
            return signed_bits(weights)


def product_rows(product: Product, weights: Ints, input_bits: int) -> tuple[int, int]:
    """Rows of a product, and bits of a row."""
    weight_bits = signed_bits(weights)
    match product:
        case Product.SIGN | Product.TERNARY:
            return 1, input_bits
        case Product.DIGITS:
            return (weight_bits + 1) // 2, input_bits + 1
        case Product.PLANES:
            return input_bits, weight_bits


def weight_codes(product: Product, weights: Ints, input_bits: int) -> tuple[Ints, Ints]:
    """Weight codes (N, K), and what the rows' sign bits add to each output (N,), as objects.

    A row holds (|d| * u) xor (d < 0) in R bits, which is d * u + (d < 0) * (2**R - 1). The Python
    integers of object arrays cannot overflow.
    """

    def count(negative: NDArray[np.bool_]) -> Ints:
        return np.asarray(negative.sum(axis=1).astype(object))

    bits = code_bits(product, weights)
    ones = (1 << input_bits) - 1
    match product:
        case Product.SIGN:
            return (weights > 0).astype(np.int64), -ones * count(weights < 0)
        case Product.TERNARY:
            return np.abs(weights) | (weights < 0) << 1, -ones * count(weights < 0)
        case Product.DIGITS:
            codes = weights & ((1 << bits) - 1)
            highs = [min(2 * row + 1, bits - 1) for row in range((bits + 1) // 2)]
            negative = sum(count(codes >> high & 1 > 0) * 4**row for row, high in enumerate(highs))
            return codes, -(2 * ones + 1) * np.asarray(negative)
        case Product.PLANES:
            excess = weights.shape[1] * ones << (bits - 1)
            return weights & ((1 << bits) - 1), np.full(len(weights), -excess, dtype=object)


def kernel_product(weights: Ints, input_bits: int) -> tuple[str, int, Ints, Ints]:
    """The class of ``products.hpp`` for these weights (N, K), and what it takes.

    That is the bits of a weight, the weights as it wants them (N, K), and what it adds to each
    output beyond the product (N,).
    """
    nothing = np.zeros(len(weights), np.int64)
    if not np.all(np.abs(weights) == 1):
        return "SignedProduct", signed_bits(weights), weights, nothing
    signs = (weights + 1) // 2
    if input_bits == 1:
        # The popcount of the XNORs exceeds the dot product by the number of weights -1.
        return "XnorProduct", 1, signs, np.sum(weights < 0, axis=1)
    return "SignProduct", 1, signs, nothing
