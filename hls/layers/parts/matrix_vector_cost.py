"""What sums of products cost in LUTs, flip-flops and pipeline stages."""

from __future__ import annotations

from hls.layers.parts.products import Product


def sum_cost(
    product: Product, rows: tuple[int, int], simd: int, accumulator_bits: int
) -> tuple[int, int]:
    """LUTs and FFs of one PE's sum of ``simd`` products of (rows, bits of a row) each.

    A tree over n leaves of R bits takes n * R LUTs for leaves and first adders (the LUTs of an
    adder form one of its operands), then one LUT for each bit of the operands of every adder.
    One-bit rows are counted two or three at a time by two LUTs that no adder can take in.
    """
    count, bits = rows[0], min(rows[1], accumulator_bits)
    leaves, lut, ff = simd, 0, 0
    if bits == 1:
        leaves, bits = -(-simd // (3 if product is Product.SIGN else 2)), 2
        lut = count * leaves * bits - leaves // 2 * bits
    lut += count * (leaves + 1) // 2 * bits
    while leaves > 1:
        lut += count * (leaves // 2) * bits
        leaves, bits = (leaves + 1) // 2, min(bits + 1, accumulator_bits)
        ff += count * leaves * bits
    joins = (count - 1) * min(bits + 1, accumulator_bits)
    return lut + joins, max(ff, count * bits) + joins


def tree_stages(product: Product, rows: tuple[int, int], simd: int, levels_per_stage: int) -> int:
    """Registers of the adder trees over lanes and over rows, as mac_array.sv has them."""
    count, bits = rows
    group = (3 if product is Product.SIGN else 2) if bits == 1 else 1
    lanes = max((-(-simd // group) - 1).bit_length(), 1)
    return -(-lanes // levels_per_stage) + -(-(count - 1).bit_length() // levels_per_stage)
