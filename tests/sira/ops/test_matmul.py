"""MatMul and Gemm."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx_models import Net, annotated, check, fractions, integers, run

from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt

INPUT = integers(-3, 9, 0.5, 0.25)
RNG = np.random.default_rng(0)
W = RNG.integers(-7, 8, (5, 4))
CHANNELS = np.array([0.25, 0.5, 1.0, 2.0])


def scaled(value: Any) -> ScaledInt:
    assert isinstance(value, ScaledInt)
    return value


def weights(net: Net, w: Any, scale: Any) -> str:
    """Weights that quantize to the integers ``w``."""
    return net.quant(np.asarray(w) * scale, scale, bits=8)


@pytest.mark.parametrize("scale", [0.25, CHANNELS[None]])
def test_matmul(scale: Any) -> None:
    net = Net((1, 5))
    net.node("MatMul", "x", weights(net, W, scale))
    found = scaled(check(net, INPUT)[0]["t1"])
    positive, negative = np.maximum(W, 0).sum(axis=0), np.minimum(W, 0).sum(axis=0)
    factor = np.gcd.reduce(W, axis=0)
    assert found.lo.tolist() == ((-3 * positive + 9 * negative) // factor).tolist()
    assert found.hi.tolist() == ((9 * positive - 3 * negative) // factor).tolist()


def test_bounds_are_reached() -> None:
    """By brute force over every input of a small layer."""
    net = Net((1, 3))
    net.node("MatMul", "x", weights(net, W[:3], 0.5))
    q = np.array(np.meshgrid(*[np.arange(-3, 3)] * 3)).reshape(3, -1).T[:, None, :]
    ranges, exact = run(net, integers(-3, 2), q)
    found, values = scaled(ranges["t1"]), scaled(exact["t1"])
    assert np.array_equal(found.lo, values.lo.min(axis=(0, 1)))
    assert np.array_equal(found.hi, values.lo.max(axis=(0, 1)))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (0.5, 2.0), (-2.0, 0.25), (0.0, 1.0)])
@pytest.mark.parametrize("bias", [None, 0.5, CHANNELS, -CHANNELS[None]])
def test_gemm(transposed: int, alpha: float, beta: float, bias: Any) -> None:
    net = Net((1, 5))
    w = weights(net, W.T if transposed else W, 0.25)
    extra = [] if bias is None else [bias]
    net.node("Gemm", "x", w, *extra, transB=transposed, alpha=alpha, beta=beta)
    check(net, INPUT)


def test_gemm_with_quantized_bias() -> None:
    net = Net((1, 5))
    net.node("Gemm", "x", weights(net, W, 0.25), net.quant(CHANNELS, 0.125, bits=8))
    check(net, INPUT)


@pytest.mark.parametrize("shape", [(2, 5), (1, 3, 5)])
def test_further_axes(shape: tuple[int, ...]) -> None:
    if shape[0] != 1:
        shape = (1, *shape)
    net = Net(shape)
    net.node("MatMul", net.node("Add", "x", np.arange(5) * 0.5), weights(net, W, 0.5))
    check(net, INPUT)


def test_weights_quantized_and_transposed_in_the_graph() -> None:
    net = Net((1, 5))
    w = net.node("Transpose", weights(net, W.T, CHANNELS[:, None]), perm=[1, 0])
    net.node("MatMul", "x", w)
    found = scaled(check(net, INPUT)[0]["t2"])
    factor = np.gcd.reduce(W, axis=0)
    assert found.scale.values.tolist() == (CHANNELS * factor / 2).tolist()  # type: ignore[union-attr]


def test_common_factors_go_into_the_scale() -> None:
    """A sum of +-1 times +-2 steps by 4: with bipolar inputs as 2q - 1 it needs 3 values."""
    net = Net((1, 2))
    net.node("MatMul", net.node("BipolarQuant", "x", 1.0), weights(net, [[2, 0], [-2, 0]], 1.0))
    found = scaled(check(net, INPUT)[0]["t2"])
    assert (found.hi - found.lo).tolist() == [2, 0]
    assert found.scale.values.tolist() == [4, 2]  # type: ignore[union-attr]


def test_an_input_bias_is_a_constant_for_each_channel() -> None:
    net = Net((1, 5))
    x = net.node("Add", net.quant("x", 0.5, zero=3.0), np.array([0.25, 1, -3, 0, 8]))
    net.node("MatMul", x, weights(net, W, 0.5))
    found = scaled(check(net, INPUT)[0]["t3"])
    expected = np.array([0.25, 1, -3, 0, 8]) @ (W * 0.5)
    assert found.bias.values.tolist() == expected.tolist()  # type: ignore[union-attr]


def test_an_irrational_input_bias_is_enclosed() -> None:
    net = Net((1, 2))
    x = net.node("BatchNormalization", "x", np.zeros(2), np.ones(2), np.zeros(2), np.full(2, 2.0))
    ranges, _ = run(net, INPUT, np.zeros((1, 1, 2), np.int64))
    assert scaled(ranges[x]).lo.tolist() == [0, 0]


def test_scales_along_the_sum_in_integer_ratio_move_into_the_weights() -> None:
    net = Net((1, 5))
    x = net.quant("x", 2.0 ** np.arange(5)[None] / 8)
    net.node("MatMul", x, weights(net, W, 0.5))
    assert scaled(check(net, INPUT)[0]["t2"]).lo.ndim >= 1
    net = Net((1, 5))
    net.node("MatMul", "x", weights(net, W, 2.0 ** -np.arange(5)[:, None]))
    assert scaled(check(net, INPUT)[0]["t1"]).lo.ndim >= 1


def test_scales_along_the_sum_in_no_ratio_have_no_integers() -> None:
    net = Net((1, 5))
    net.node("MatMul", "x", weights(net, W, np.array([[0.1], [0.3], [0.7], [0.9], [0.2]])))
    found = run(net, INPUT, np.zeros((1, 1, 5), np.int64))[0]["t1"]
    assert isinstance(found, Interval) and "no ratio of small integers" in found.reason


def test_float_weights_have_no_integers() -> None:
    net = Net((1, 5))
    net.node("MatMul", "x", W * 0.5)
    found = run(net, INPUT, np.zeros((1, 1, 5), np.int64))[0]["t0"]
    assert isinstance(found, Interval) and found.reason.endswith("the weights are not quantized")


def test_sums_beyond_float32_and_float64_are_exact() -> None:
    """K = 527 and inputs to 8283 sum to 67108866, which float32 does not hold."""
    w = np.full((527, 1), 15)
    w[0] = 212  # 526 * 15 + 212 = 8102, and 8102 * 8283 = 67108866
    net = Net((1, 527))
    net.node("MatMul", "x", net.quant(w, 1.0, bits=9))
    found = scaled(run(net, integers(0, 8283), np.full((1, 1, 527), 8283))[0]["t1"])
    assert found.hi.item() == 8102 * 8283 == 67108866
    assert int(np.float32(67108866)) == 67108864
    net = Net((1, 4608))
    w = np.random.default_rng(1).integers(-127, 128, (4608, 8))
    net.node("MatMul", "x", weights(net, w, 1.0))
    found = scaled(run(net, integers(0, 255), np.zeros((1, 1, 4608), np.int64))[0]["t1"])
    assert found.hi.tolist() == (255 * np.maximum(w, 0).sum(axis=0)).tolist()
    assert found.lo.tolist() == (255 * np.minimum(w, 0).sum(axis=0)).tolist()


def test_wide_integers_are_summed_exactly() -> None:
    top = 2**31 - 1
    w = np.array([[top], [-top], [1]])
    net = Net((1, 3))
    w_name = net.node("DequantizeLinear", net.constant(w.astype(np.int32)), net.constant(1.0))
    net.node("MatMul", "x", w_name)
    limit = 2**30
    q = np.array([[[limit - 5, limit - 7, 3]]])
    ranges, exact = run(net, integers(-limit, limit), q)
    assert fractions(exact["t1"]).item() == (limit - 5) * top - (limit - 7) * top + 3
    found = scaled(ranges["t1"])
    assert int(found.hi.item()) == -int(found.lo.item()) == 2 * limit * top + limit


def test_sums_beyond_64_bits_are_an_error() -> None:
    top = 2**31 - 1
    net = Net((1, 8))
    w = np.full((8, 1), top, np.int32)
    w[0] = 1  # no common factor
    net.node("MatMul", "x", net.node("DequantizeLinear", net.constant(w), net.constant(1.0)))
    with pytest.raises(SiraError, match="MatMul_1: the integers do not fit into 64 bits"):
        run(net, integers(-(2**31), top), np.zeros((1, 1, 8), np.int64))


def test_bias_in_exact_fractions() -> None:
    net = Net((1, 5))
    net.node("Gemm", "x", weights(net, W, 0.25), np.float32(0.1))
    _, exact = run(net, INPUT, np.zeros((1, 1, 5), np.int64))
    expected = [Fraction(float(v)) for v in (0.25 * W * 0.25).sum(axis=0)]
    tenth = Fraction(float(np.float32(0.1)))
    assert fractions(exact["t1"]).ravel().tolist() == [v + tenth for v in expected]


def test_shapes_that_do_not_fit() -> None:
    for op, message in (("MatMul", r"\(\.\.\., M, K\) and"), ("Gemm", r"\(M, K\) and")):
        net = Net((1, 4))
        net.node(op, "x", W.astype(np.float32))
        with pytest.raises(SiraError, match=f"operand shapes do not fit, expected {message}"):
            prepare(annotated(net.proto()))


LEFT = RNG.integers(-7, 8, (3, 4))


@pytest.mark.parametrize("shape", [(1, 4, 2), (1, 2, 4, 5)])
@pytest.mark.parametrize("scale", [0.5, 2.0 ** np.array([[0], [-1], [2]])])
def test_weights_on_the_left(shape: tuple[int, ...], scale: Any) -> None:
    net = Net(shape)
    net.node("MatMul", weights(net, LEFT, scale), net.node("Add", "x", 0.125))
    assert isinstance(check(net, INPUT)[0]["t2"], ScaledInt)


def test_bounds_with_weights_on_the_left() -> None:
    net = Net((1, 4, 2))
    net.node("MatMul", weights(net, LEFT, 0.5), "x")
    found = scaled(check(net, INPUT)[0]["t1"])
    positive, negative = np.maximum(LEFT, 0).sum(axis=1), np.minimum(LEFT, 0).sum(axis=1)
    factor = np.gcd.reduce(LEFT, axis=1)
    assert found.lo.ravel().tolist() == ((-3 * positive + 9 * negative) // factor).tolist()
    assert found.hi.ravel().tolist() == ((9 * positive - 3 * negative) // factor).tolist()


@pytest.mark.parametrize("shape", [(1, 2, 3, 5), (1, 1, 3, 5), (1, 3, 5), (1, 5)])
@pytest.mark.parametrize("batch", [(2,), (1, 2), (3, 1)])
def test_batches_of_weights(shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(shape[:-2], batch)
    except ValueError:
        return
    w = RNG.integers(-7, 8, (*batch, 5, 4))
    net = Net(shape)
    net.node("MatMul", net.node("Add", "x", np.arange(5) * 0.125), weights(net, w, CHANNELS))
    assert isinstance(check(net, INPUT, samples=10)[0]["t2"], ScaledInt)


def test_batches_of_weights_on_the_left() -> None:
    net = Net((1, 4, 3))
    net.node("MatMul", weights(net, RNG.integers(-7, 8, (2, 3, 4)), 0.5), "x")
    check(net, INPUT, samples=10)


@pytest.mark.parametrize("left", [False, True])
def test_a_vector_of_weights(left: bool) -> None:
    net = Net((1, 5, 3) if left else (1, 3, 5))
    w = weights(net, np.array([3, -2, 0, 7, 1]), 0.5)
    net.node("MatMul", *((w, "x") if left else ("x", w)))
    check(net, INPUT)


@pytest.mark.parametrize("trans_a, trans_b", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("side", ["left", "right", "none"])
def test_gemm_of_any_operands(trans_a: int, trans_b: int, side: str) -> None:
    """The input is (1, 3); as A it gives (3, 1) when transposed, as B (1, 3) or (3, 1)."""
    net = Net((1, 3))
    a = b = "x"
    if side == "left":
        k = 3 if trans_b else 1
        a = weights(net, RNG.integers(-7, 8, (k, 2) if trans_a else (2, k)), 0.5)
    elif side == "right":
        k = 1 if trans_a else 3
        b = weights(net, RNG.integers(-7, 8, (2, k) if trans_b else (k, 2)), 0.5)
    elif trans_a == trans_b:
        return  # the shapes (1, 3) and (1, 3), or (3, 1) and (3, 1), do not fit
    net.node("Gemm", a, b, 0.25, transA=trans_a, transB=trans_b, alpha=0.5)
    check(net, integers(-3, 9, 0.5, 0 if side == "none" else 0.25))


def test_two_computed_operands() -> None:
    net = Net((1, 2, 3))
    y = net.node("Transpose", net.quant("x", 0.5, bits=3, zero=1.0), perm=[0, 2, 1])
    net.node("MatMul", net.quant("x", 0.25), y)
    found = scaled(check(net, INPUT, samples=60)[0]["t3"])
    # x is in -1.25..4.75, so -5..7 meets -3..2, three times
    assert (found.lo.item(), found.hi.item()) == (3 * 7 * -3, 3 * -5 * -3)
    assert found.scale.values.item() == 0.125  # type: ignore[union-attr]


def test_bounds_of_two_computed_operands_are_reached() -> None:
    net = Net((1, 1, 4))
    parts = [net.node("Gather", "x", net.constant(np.array(i)), axis=2) for i in ([0, 1], [2, 3])]
    right = net.node("Transpose", net.node("Add", parts[1], 2.0), perm=[0, 2, 1])
    net.node("MatMul", parts[0], right)
    q = np.array(np.meshgrid(*[np.arange(-2, 2)] * 4)).reshape(4, -1).T.reshape(-1, 1, 1, 4)
    ranges, exact = run(net, integers(-2, 1), q)
    found, values = scaled(ranges["t4"]), scaled(exact["t4"])
    assert (found.lo.item(), found.hi.item()) == (values.lo.min(), values.lo.max())


def test_two_computed_operands_with_a_bias_have_no_integers() -> None:
    net = Net((1, 2, 3))
    y = net.node("Transpose", net.node("Add", "x", 0.125), perm=[0, 2, 1])
    net.node("MatMul", "x", y)
    q = RNG.integers(-3, 10, (20, 1, 2, 3))
    ranges, exact = run(net, INPUT, q)
    found, values = ranges["t2"], exact["t2"]
    assert isinstance(found, Interval) and "zero point of an operand" in found.reason
    assert isinstance(values, Interval)
    x = q * 0.5 + 0.25
    expected = x @ (x + 0.125).swapaxes(-1, -2)
    assert (values.lo <= expected).all() and (expected <= values.hi).all()
    assert (found.lo <= expected).all() and (expected <= found.hi).all()
    assert 0 <= found.hi.item() - 3 * 4.75 * 4.875 < 1e-12


def test_a_computed_vector_times_a_computed_tensor() -> None:
    net = Net((4,))
    net.node("MatMul", "x", "x")
    with pytest.raises(SiraError, match="a computed vector can only be multiplied by a constant"):
        run(net, INPUT, np.zeros((1, 4), np.int64))
