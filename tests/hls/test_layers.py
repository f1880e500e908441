"""Layers against arithmetic in Python integers, and the errors of illegal ones."""

import numpy as np
import pytest

from hls.dataflow import Stream
from hls.device import default_device
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.parts.memories import pack_words
from hls.layers.parts.products import Product
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter
from sira.errors import SiraError


def matrix_vector(weights, **changes):
    weights = np.array(weights)
    fields = {
        "name": "fc",
        "weights": weights,
        "start": np.arange(len(weights)) - 3,
        "input_bits": 4,
        "accumulator_bits": 9,
        "pe": 1,
        "simd": 1,
    }
    return MatrixVector(**(fields | changes))


@pytest.mark.parametrize("input_bits", [1, 3, 8])
@pytest.mark.parametrize("accumulator_bits", [1, 5, 12, 40])
@pytest.mark.parametrize("low_high", [(-1, 1), (-8, 7), (0, 5), (-100, 127)])
def test_matrix_vector_wraps(reference, random_frames, input_bits, accumulator_bits, low_high):
    generator = np.random.default_rng(1)
    layer = matrix_vector(
        generator.integers(low_high[0], low_high[1] + 1, (6, 10)),
        start=generator.integers(-(2**40), 2**40, 6),
        input_bits=input_bits,
        accumulator_bits=accumulator_bits,
        vectors=2,
    )
    frames = random_frames(layer, 5, 2)
    np.testing.assert_array_equal(layer.execute(frames)[0], reference(layer, frames))


def test_matrix_vector_beyond_float_and_int64(reference):
    layer = matrix_vector(
        [[2**60, -(2**60) + 1, 7]], input_bits=20, accumulator_bits=62, start=[2**62 - 1]
    )
    frames = np.array([[2**20 - 1, 2**20 - 2, 2**19 + 1], [2**20 - 1, 0, 3]])
    np.testing.assert_array_equal(layer.execute(frames)[0], reference(layer, frames))


@pytest.mark.parametrize(
    ("weights", "input_bits", "product", "code_bits"),
    [
        ([[1, -1]], 1, Product.SIGN, 1),
        ([[1, -1]], 4, Product.SIGN, 1),
        ([[1, 0]], 4, Product.TERNARY, 2),
        ([[-2, 1]], 4, Product.DIGITS, 2),
        ([[-8, 7]], 4, Product.DIGITS, 4),
        ([[127, 7]], 1, Product.PLANES, 8),
    ],
)
def test_product_variant(weights, input_bits, product, code_bits):
    layer = matrix_vector(weights, input_bits=input_bits)
    assert (layer.product, layer.code_bits) == (product, code_bits)


@pytest.mark.parametrize("weights", [[[1, -1, -1]], [[0, -1, 1]], [[-8, 7, 3]], [[-128, 127, 0]]])
@pytest.mark.parametrize("input_bits", [1, 2, 5])
def test_rows_and_start_value_make_the_product(weights, input_bits):
    """The codes and start values in the memories give the sums, by the rule in the RTL's header."""
    layer = matrix_vector(weights, input_bits=input_bits, accumulator_bits=20, simd=3)
    instance = layer.instance()
    (word,), (start,) = instance.memories["weights"].words, instance.memories["start"].words
    bits = layer.code_bits
    for value in range(2**input_bits):
        total = start
        for lane in range(3):
            code = word >> (bits * lane) & (2**bits - 1)
            total += row_sum(layer.product, code, bits, value, input_bits)
        expected = (int(layer.start[0]) + sum(weights[0]) * value) % 2**20
        assert total % 2**20 == expected


def row_sum(product, code, code_bits, value, input_bits):
    ones = 2**input_bits - 1
    match product:
        case Product.SIGN:
            return value if code else value ^ ones
        case Product.TERNARY:
            return (value if code & 1 else 0) ^ (ones if code & 2 else 0)
        case Product.DIGITS:
            total = 0
            for row in range((code_bits + 1) // 2):
                high = code >> min(2 * row + 1, code_bits - 1) & 1
                digit = -2 * high + (code >> 2 * row & 1)
                digit += code >> (2 * row - 1) & 1 if row else 0
                total += 4**row * (abs(digit) * value ^ (2 * ones + 1 if high else 0))
            return total
        case Product.PLANES:
            planes = [code if value >> plane & 1 else 0 for plane in range(input_bits)]
            return sum((row ^ 1 << (code_bits - 1)) << plane for plane, row in enumerate(planes))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize("per_channel", [True, False])
def test_thresholding_counts(reference, count, per_channel):
    generator = np.random.default_rng(count)
    thresholds = np.sort(generator.integers(0, 2**5 + 1, (6 if per_channel else 1, count)), axis=1)
    layer = Thresholding("act", thresholds, generator.random(6) < 0.5, 6, 5, 2)
    frames = np.repeat(np.arange(2**5)[:, None], 6, axis=1)
    np.testing.assert_array_equal(layer.execute(frames)[0], reference(layer, frames))
    assert layer.outputs["out"] == Stream(6, 2, count.bit_length())


def test_thresholds_always_and_never_reached():
    layer = Thresholding("act", [[0, 16]], [False, True], 2, 4, 1)
    frames = np.array([[0, 0], [15, 15]])
    np.testing.assert_array_equal(layer.execute(frames)[0], np.ones((2, 2)))


def test_argmax_ties_go_to_the_lower_index(reference, random_frames):
    layer = ArgMax("top", np.array([2, 3, 2, 3]), np.array([1, 0, 1, 0]), 2, 2)
    frames = random_frames(layer, 60, 1)
    np.testing.assert_array_equal(layer.execute(frames)[0], reference(layer, frames))
    assert layer.execute(np.array([[1, 1, 1, 1]]))[0].tolist() == [[0]]


def test_argmax_drops_a_common_factor_and_offset():
    same = ArgMax("top", np.array([6, 6]), np.array([-5, -5]), 3, 1)
    assert not same.affine and same.instance().memories == {}
    assert ArgMax("top", np.array([6, 6]), np.array([-5, -2]), 3, 1).affine


def test_width_converter_passes_elements():
    layer = WidthConverter("wc", 12, 2, 6, 5)
    frames = np.arange(24).reshape(2, 12)
    np.testing.assert_array_equal(layer.execute(frames)[0], frames)
    assert (layer.inputs["in"].beats, layer.outputs["out"].beats, layer.cycles) == (6, 2, 6)


def test_folding_that_does_not_divide():
    with pytest.raises(SiraError, match=r"fc: PE does not divide the 6 outputs.*1, 2, 3, 6.*4"):
        matrix_vector(np.ones((6, 4), dtype=int), pe=4)
    with pytest.raises(SiraError, match=r"fc: SIMD does not divide the 4 inputs"):
        matrix_vector(np.ones((6, 4), dtype=int), simd=3)
    with pytest.raises(SiraError, match=r"act: PE does not divide the 6 channels"):
        Thresholding("act", [[1]], [False], 6, 4, 5)


def test_layers_do_not_change_with_the_callers_arrays():
    weights = np.ones((2, 2), dtype=np.int64)
    layer = matrix_vector(weights)
    weights[0, 0] = 5
    assert layer.weights[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = 5


def test_words_have_lane_0_in_the_low_bits():
    memory = pack_words(np.array([[1, 2, 3], [15, 0, 8]]), 4)
    assert (memory.bits, memory.words) == (12, (0x321, 0x80F))
    with pytest.raises(AssertionError, match="outside"):
        pack_words(np.array([[16]]), 4)


def test_estimates_grow_with_parallelism():
    generator = np.random.default_rng(0)
    weights = generator.integers(-8, 8, (16, 32))
    price = default_device().price
    parallel = (matrix_vector(weights, pe=pe, simd=4) for pe in (1, 4, 16))
    luts = [price(layer.inventory()).lut for layer in parallel]
    assert luts == sorted(set(luts))
    deep = matrix_vector(generator.integers(-8, 8, (64, 64)), pe=1, simd=1)
    assert price(deep.inventory()).bram18 > 0
