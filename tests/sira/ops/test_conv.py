"""Conv and ConvTranspose."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_models import Net, annotated, check, fractions, integers, run

from sira import graph as g
from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt

INPUT = integers(-3, 9, 0.5)
RNG = np.random.default_rng(0)
AUTO_PADS = ("VALID", "SAME_UPPER", "SAME_LOWER")


def scaled(value: Any) -> ScaledInt:
    assert isinstance(value, ScaledInt)
    return value


def conv(
    net: Net, x: str, w: NDArray[Any], *bias: Any, scale: Any = 0.5, op: str = "Conv", **attrs: Any
) -> str:
    """A convolution whose weights quantize to the integers ``w``."""
    return net.node(op, x, net.quant(w * np.asarray(scale), scale, bits=8), *bias, **attrs)


def weights(*shape: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(-7, 8, shape)


def slide(
    x: NDArray[Any], w: NDArray[Any], pads: tuple[int, ...], stride: int = 1, groups: int = 1
) -> NDArray[Any]:
    """Convolution of (C, H, W) by definition, one output after the other."""
    outputs, inputs, *kernel = w.shape
    n = len(kernel)
    padding = [(0, 0), *((pads[i], pads[n + i]) for i in range(n))]
    x = np.pad(x, padding)
    size = [(x.shape[1 + i] - kernel[i]) // stride + 1 for i in range(n)]
    y = np.zeros((outputs, *size), x.dtype)
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for position in product(*map(range, size)):
            at = tuple(
                slice(p * stride, p * stride + k) for p, k in zip(position, kernel, strict=True)
            )
            y[o, *position] = (x[first : first + inputs, *at] * w[o]).sum()
    return y


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_rank_and_grouping(rank: int, groups: int) -> None:
    size = (7, 6, 5)[:rank]
    net = Net((1, 4, *size))
    conv(net, "x", weights(8, 4 // groups, *(3, 2, 2)[:rank]), group=groups)
    check(net, INPUT, samples=10)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 0), (3, 0, 0, 2)])
def test_strides_dilations_and_pads(stride: int, dilation: int, pads: tuple[int, ...]) -> None:
    net = Net((1, 2, 7, 8))
    conv(
        net, "x", weights(3, 2, 3, 2), pads=pads,
        strides=[stride, 1], dilations=[1, dilation], kernel_shape=[3, 2],
    )  # fmt: skip
    check(net, INPUT, samples=10)


@pytest.mark.parametrize("mode", AUTO_PADS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_auto_pad(mode: str, stride: int, size: int) -> None:
    """SAME gives ceil(size / stride) outputs; an odd element of padding goes to the named end."""
    w = weights(2, 1, 4)
    net = Net((1, 1, size))
    conv(net, "x", w, auto_pad=mode, strides=[stride])
    q = RNG.integers(-3, 10, (6, 1, 1, size))
    _ranges, exact = run(net, INPUT, q)
    total = max((-(-size // stride) - 1) * stride + 4 - size, 0) if mode != "VALID" else 0
    less, more = total // 2, total - total // 2
    pads = (less, more) if mode == "SAME_UPPER" else (more, less)
    found = scaled(exact["t1"])
    for sample, y in zip(q, fractions(found), strict=True):
        assert np.array_equal(y[0] * 4, slide(sample[0], w, pads, stride))
    assert found.lo.shape[-1] == (
        -(-size // stride) if mode != "VALID" else (size - 4) // stride + 1
    )


def test_bias_input_and_depthwise() -> None:
    net = Net((1, 6, 5, 5))
    conv(net, "x", weights(12, 1, 3, 3), np.arange(12) * 0.25, group=6, pads=[1, 1, 1, 1])
    check(net, INPUT, samples=10)


def brute_force(shape: tuple[int, ...], lo: int, hi: int) -> NDArray[np.int64]:
    """Every tensor of integers lo..hi: (samples, 1, *shape)."""
    return np.array(list(product(range(lo, hi + 1), repeat=int(np.prod(shape))))).reshape(
        -1, 1, *shape
    )


@pytest.mark.parametrize("lo, hi", [(0, 1), (-1, 1), (1, 2), (-2, -1)])
@pytest.mark.parametrize("pads", [(0, 0), (1, 0), (1, 1), (2, 2)])
def test_bounds_are_reached_in_every_channel(lo: int, hi: int, pads: tuple[int, int]) -> None:
    """Also where zero is outside of the range, so that a tap on padding is no tap on input."""
    w = np.array([[[3, -2, 1]], [[1, 1, 1]], [[-1, -1, -4]], [[0, 0, 5]], [[0, 0, 0]]])
    net = Net((1, 1, 5))
    conv(net, "x", w, pads=pads)
    ranges, exact = run(net, integers(lo, hi, 0.5), brute_force((1, 5), lo, hi))
    found, values = scaled(ranges["t1"]), scaled(exact["t1"])
    assert found.lo.ravel().tolist() == values.lo.min(axis=(0, 1, 3)).tolist()
    assert found.hi.ravel().tolist() == values.lo.max(axis=(0, 1, 3)).tolist()


def test_bounds_are_reached_where_no_output_is_without_padding() -> None:
    net = Net((1, 1, 2, 2))
    conv(net, "x", weights(6, 1, 3, 3), pads=[1, 1, 1, 1])
    ranges, exact = run(net, integers(-1, 1), brute_force((1, 2, 2), -1, 1))
    found, values = scaled(ranges["t1"]), scaled(exact["t1"])
    assert found.lo.ravel().tolist() == values.lo.min(axis=(0, 1, 3, 4)).tolist()
    assert found.hi.ravel().tolist() == values.lo.max(axis=(0, 1, 3, 4)).tolist()


@pytest.mark.parametrize("zero", [3, 4, -5, 20])
def test_padding_with_zero_on_the_lattice(zero: int) -> None:
    """``0.5 * (q - zero)``: the output has no bias, and integers that stand for real zero."""
    net = Net((1, 2, 4, 4))
    conv(net, "x", weights(3, 2, 3, 3), pads=[1, 1, 0, 1])
    ranges, _ = check(net, integers(0, 9, 0.5, -0.5 * zero), samples=10)
    assert scaled(ranges["t1"]).bias.shape == ()


@pytest.mark.parametrize("bias", [0.25, -1.125])
def test_padding_with_zero_off_the_lattice(bias: float) -> None:
    w = weights(3, 2, 3, 3)
    net = Net((1, 2, 4, 5))
    conv(net, "x", w, pads=[1, 1, 0, 1])
    ranges, _ = check(net, integers(0, 9, 0.5, bias), samples=10)
    expected = slide(np.full((2, 4, 5), bias), w * 0.5, (1, 1, 0, 1))
    found = scaled(ranges["t1"]).bias
    assert np.array_equal(found.values, expected)  # type: ignore[union-attr]


def test_bounds_are_reached_off_the_lattice() -> None:
    w = np.array([[[3, -2, 1]], [[1, 1, 1]], [[-1, -2, -4]], [[2, 4, 1]]])
    net = Net((1, 1, 4))
    conv(net, "x", w, pads=[1, 1])
    ranges, exact = run(net, integers(1, 3, 0.5, 0.25), brute_force((1, 4), 1, 3))
    found, values = scaled(ranges["t1"]), scaled(exact["t1"])
    assert found.lo.ravel().tolist() == values.lo.min(axis=(0, 1, 3)).tolist()
    assert found.hi.ravel().tolist() == values.lo.max(axis=(0, 1, 3)).tolist()


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_normalized_image(pads: tuple[int, ...]) -> None:
    """``(x / 255 - mean) / std`` for each channel: the border differs by exact fractions."""
    mean = [Fraction(485, 1000), Fraction(456, 1000), Fraction(406, 1000)]
    std = Fraction(226, 1000)
    spec = InputSpec(
        IntegerType("UINT8", 0, 255), (1 / (255 * std),), tuple(-m / std for m in mean)
    )
    w = weights(4, 3, 3, 3)
    net = Net((1, 3, 6, 6))
    conv(net, "x", w, pads=pads, strides=[2, 2])
    q = RNG.integers(0, 256, (3, 1, 3, 6, 6))
    ranges, exact = run(net, spec, q)
    real = np.array(
        [[[[Fraction(int(v), 255) for v in row] for row in c] for c in s[0]] for s in q]
    )
    real = (real - np.array(mean).reshape(3, 1, 1)) / std
    for sample, y in zip(real, fractions(exact["t1"]), strict=True):
        assert np.array_equal(y[0] * 2, slide(sample, w, pads, 2))
    assert scaled(ranges["t1"]).bias.shape == ((4, 1, 1) if sum(pads) == 0 else (4, 3, 3))


def test_scales_for_each_channel_of_the_weights() -> None:
    w = np.array([[[2, 4]], [[3, 1]], [[0, 0]], [[-6, 3]]])
    net = Net((1, 1, 5))
    channels = np.array([0.25, 0.5, 1, 2]).reshape(4, 1, 1)
    conv(net, "x", w, scale=channels)
    found = scaled(check(net, integers(0, 7))[0]["t1"])
    assert found.scale.values.ravel().tolist() == [0.5, 0.5, 1, 6]  # type: ignore[union-attr]
    assert found.hi.ravel().tolist() == [21, 28, 0, 7]
    assert found.lo.ravel().tolist() == [0, 0, 0, -14]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("per_output", [False, True])
def test_input_scales_in_integer_ratio_move_into_the_weights(groups: int, per_output: bool) -> None:
    net = Net((1, 4, 3, 3))
    x = net.quant("x", (2.0 ** np.array([0, 1, -2, 3])).reshape(1, 4, 1, 1) / 8, zero=1.0)
    scale = 2.0 ** -np.arange(6).reshape(6, 1, 1, 1) if per_output else 0.5
    conv(net, x, weights(6, 4 // groups, 2, 2), scale=scale, group=groups, pads=[1, 0, 0, 1])
    ranges, _ = check(net, INPUT, samples=10)
    assert isinstance(ranges["t2"], ScaledInt)


def test_weight_scales_along_the_sum() -> None:
    net = Net((1, 2, 5))
    scale = (2.0 ** np.array([[0, -1, -3], [1, 2, 0]]))[None]
    conv(net, "x", weights(3, 2, 3), scale=scale, pads=[1, 1])
    assert isinstance(check(net, INPUT)[0]["t1"], ScaledInt)
    net = Net((1, 2, 5))
    conv(net, "x", weights(3, 2, 3), scale=np.array([[[0.1], [0.3]]]))
    found = run(net, INPUT, np.zeros((1, 1, 2, 5), np.int64))[0]["t1"]
    assert isinstance(found, Interval) and "no ratio of small integers" in found.reason


def test_zero_channels_and_biases_of_their_own() -> None:
    """A bias for each input channel, some on the lattice of padding and some not."""
    for biases in ([0.5, 1.0, -1.5], [0.5, 0.125, 3.0]):
        net = Net((1, 3, 4, 4))
        x = net.node("Add", "x", np.array(biases).reshape(3, 1, 1))
        conv(net, x, weights(6, 1, 3, 3), group=3, pads=[1, 1, 1, 1])
        check(net, INPUT, samples=10)


def test_a_range_for_each_channel() -> None:
    net = Net((1, 3, 4))
    x = net.node("Mul", "x", np.array([1.0, -2.0, 0.0]).reshape(3, 1))
    conv(net, x, weights(6, 1, 2), group=3)
    ranges, exact = run(net, integers(0, 3), brute_force((3, 1), 0, 3).repeat(4, axis=-1))
    found, values = scaled(ranges["t2"]), scaled(exact["t2"])
    assert (found.lo.ravel() <= values.lo.min(axis=(0, 1, 3))).all()
    assert (found.lo.ravel()[4:] == 0).all() and (found.hi.ravel()[4:] == 0).all()


def test_float_weights_enclose_execution() -> None:
    net = Net((1, 2, 6))
    w = (RNG.normal(0, 1, (4, 2, 3)) / 16).astype(np.float32)
    net.node("Conv", "x", w, RNG.normal(0, 1, 4).astype(np.float32), pads=[1, 1])
    enclosed(net)
    net = Net((1, 2, 6))
    net.node("ConvTranspose", net.node("Relu", "x"), w[:2], strides=[2])
    enclosed(net)


def enclosed(net: Net, spec: InputSpec = INPUT) -> None:
    """Values on data are tight enclosures of the float64 result, and inside the range."""
    from sira.analysis.ranges import analyze
    from sira.verification import golden
    from sira.verification.oracle import Oracle

    proto = annotated(net.proto())
    model = prepare(proto)
    ranges = analyze(model, {"x": spec})
    shape = g.shape(model.graph.inputs[0])
    q = RNG.integers(spec.datatype.lo, spec.datatype.hi + 1, (20, *shape))
    static = scaled(ranges["x"])
    exact = golden.run(model, ranges, {"x": ScaledInt(q, q, static.scale, static.bias)})
    floats = Oracle(proto).run(golden.decode(static, q))
    name = g.name(model.graph.outputs[0])
    point, range_, expected = exact[name], ranges[name], floats[name]
    assert isinstance(point, Interval) and isinstance(range_, Interval) and range_.reason
    slack = 2.0**-44
    assert (point.lo <= expected + slack).all() and (expected - slack <= point.hi).all()
    assert (point.hi - point.lo < slack).all()
    assert (range_.lo <= point.hi).all() and (point.lo <= range_.hi).all()


def test_sums_beyond_64_bits_are_an_error() -> None:
    top = 2**31 - 1
    net = Net((1, 4, 3))
    w = np.full((1, 4, 2), top, np.int32)
    w[0, 0] = 1
    net.node("Conv", "x", net.node("DequantizeLinear", net.constant(w), net.constant(1.0)))
    with pytest.raises(SiraError, match="Conv_1: the integers do not fit into 64 bits"):
        run(net, integers(-(2**31), top), np.zeros((1, 1, 4, 3), np.int64))


@pytest.mark.parametrize(
    "op, shape, attributes, message",
    [
        ("Conv", (4, 2, 3), {}, "operand shapes do not fit"),
        ("Conv", (3, 1, 3), {"group": 4}, "operand shapes do not fit"),
        ("Conv", (3, 4, 3, 3), {}, "operand shapes do not fit"),
        ("Conv", (3, 4, 9), {}, "kernel is larger than the padded input"),
        ("Conv", (3, 4, 3), {"pads": [1]}, "the attribute pads does not fit"),
        ("Conv", (3, 4, 3), {"auto_pad": "SAME"}, "unknown auto_pad"),
        ("ConvTranspose", (2, 4, 3), {}, "operand shapes do not fit"),
        ("ConvTranspose", (4, 1, 3), {"group": 3}, "operand shapes do not fit"),
        ("ConvTranspose", (4, 1, 3), {"output_shape": [12]}, "output does not fit, expected 1..10"),
        ("ConvTranspose", (4, 1, 1), {"pads": [4, 4]}, "output does not fit, expected 1..8"),
    ],
)
def test_errors(op: str, shape: tuple[int, ...], attributes: Any, message: str) -> None:
    net = Net((1, 4, 8))
    net.node(op, "x", np.ones(shape), **attributes)
    with pytest.raises(SiraError, match=f"{op} {op}_0: .*{message}"):
        prepare(annotated(net.proto()))


def test_computed_weights_are_an_error() -> None:
    net = Net((1, 1, 1))
    net.node("Conv", "x", net.node("Neg", "x"))
    with pytest.raises(SiraError, match="Conv_1"):
        run(net, INPUT, np.zeros((1, 1, 1, 1), np.int64))


def scatter(
    x: NDArray[Any],
    w: NDArray[Any],
    stride: int,
    dilation: int,
    pads: tuple[int, int],
    extra: int,
    groups: int,
) -> NDArray[Any]:
    """Transposed convolution of (C, L) by definition: every input adds its kernel."""
    inputs, per_group, taps = w.shape
    length = stride * (x.shape[1] - 1) + extra + (taps - 1) * dilation + 1
    y = np.zeros((per_group * groups, length), x.dtype)
    for c, i, o, k in product(range(inputs), range(x.shape[1]), range(per_group), range(taps)):
        group = c // (inputs // groups)
        y[group * per_group + o, i * stride + k * dilation] += x[c, i] * w[c, o, k]
    return y[:, pads[0] : length - pads[1]]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride, dilation, extra", [(1, 1, 0), (2, 1, 1), (3, 2, 2), (2, 3, 0)])
@pytest.mark.parametrize("pads", [(0, 0), (1, 0), (1, 2)])
def test_transposed(
    groups: int, stride: int, dilation: int, extra: int, pads: tuple[int, int]
) -> None:
    w = weights(4, 3, 3)
    net = Net((1, 4, 5))
    scale = np.array([0.25, 0.5, 1.0]).reshape(1, 3, 1)
    conv(
        net, "x", w, np.arange(3 * groups) * 0.5, scale=scale, op="ConvTranspose", group=groups,
        strides=[stride], dilations=[dilation], output_padding=[extra], pads=pads,
    )  # fmt: skip
    q = RNG.integers(-3, 10, (6, 1, 4, 5))
    q[0], q[1] = -3, 9
    ranges, exact = run(net, INPUT, q)
    found, values = scaled(ranges["t1"]), scaled(exact["t1"])
    bias = (np.arange(3 * groups) * 0.5)[:, None]
    for sample, y in zip(q, fractions(values), strict=True):
        expected = scatter(sample[0] * 0.5, w * scale, stride, dilation, pads, extra, groups)
        assert np.array_equal(y[0], expected + bias)
    assert (found.lo <= values.lo).all() and (values.lo <= found.hi).all()


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("mode", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_transposed_with_output_shape(size: int, mode: str) -> None:
    """The padding is what remains; with SAME_UPPER the odd element is cut off the end."""
    w = weights(1, 1, 4)
    net = Net((1, 1, size))
    attributes = {"output_shape": [2 * size + 1]} if mode == "NOTSET" else {"auto_pad": mode}
    conv(net, "x", w, op="ConvTranspose", strides=[2], **attributes)
    q = RNG.integers(-3, 10, (3, 1, 1, size))
    _, exact = run(net, INPUT, q)
    outputs = 2 * size + 1 if mode == "NOTSET" else 2 * size
    total = 2 * (size - 1) + 4 - outputs
    half = total // 2
    pads = (half, total - half) if mode == "SAME_UPPER" else (total - half, half)
    for sample, y in zip(q, fractions(exact["t1"]), strict=True):
        assert np.array_equal(y[0] * 4, scatter(sample[0], w, 2, 1, pads, 0, 1))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("axes", [1, 2])
def test_transposed_with_a_single_weight(axes: int, stride: int) -> None:
    """Of an input with an offset, whose contribution is counted tap by tap."""
    w, size = np.full((1, 1, *(1,) * axes), -3), (4,) * axes
    net = Net((1, 1, *size))
    conv(net, "x", w, op="ConvTranspose", strides=[stride] * axes)
    q = RNG.integers(-3, 10, (3, 1, 1, *size))
    ranges, exact = run(net, integers(-3, 9, 1, "1/2"), q)
    values = scaled(exact["t1"])
    expected = np.zeros((3, 1, 1, *((n - 1) * stride + 1 for n in size)))
    expected[(..., *(slice(None, None, stride),) * axes)] = (q + 0.5) * -1.5
    assert np.array_equal(fractions(values), expected)
    found = scaled(ranges["t1"])
    assert (found.lo <= values.lo).all() and (values.lo <= found.hi).all()


def test_bounds_of_a_transposed_convolution_are_reached() -> None:
    """With stride 2 and 3 taps an output sums at most two of them."""
    w = np.array([[[3, -2, 5], [1, 1, 1]]])
    net = Net((1, 1, 3))
    conv(net, "x", w, op="ConvTranspose", strides=[2])
    ranges, exact = run(net, integers(1, 3), brute_force((1, 3), 1, 3))
    found, values = scaled(ranges["t1"]), scaled(exact["t1"])
    assert found.lo.ravel().tolist() == values.lo.min(axis=(0, 1, 3)).tolist()
    assert found.hi.ravel().tolist() == values.lo.max(axis=(0, 1, 3)).tolist()


@st.composite
def nets(draw: Any) -> tuple[Net, InputSpec]:
    """Random convolutions of one or two spatial axes behind a random affine input."""
    rank, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    pads = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    size = [(kernel[i] - 1) * dilations[i] + draw(st.integers(1, 4)) for i in range(rank)]
    lo = draw(st.integers(-4, 4))
    spec = integers(lo, lo + draw(st.integers(0, 5)), 0.5, draw(st.sampled_from([0, 1.5, 0.375])))
    net = Net((1, inputs * groups, *size))
    shape = (outputs * groups, inputs, *kernel)
    w = np.array(draw(st.lists(st.integers(-4, 4), min_size=64, max_size=64)))
    w = np.resize(w, shape)
    per_output = 2.0 ** -np.arange(shape[0]).reshape(-1, *(1,) * (rank + 1))
    scale = per_output if draw(st.booleans()) else 0.5
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations}
    attributes |= {"pads": pads} if draw(st.booleans()) else {}
    bias = [np.arange(shape[0]) * 0.25] if draw(st.booleans()) else []
    conv(net, "x", w, *bias, scale=scale, group=groups, **attributes)
    return net, spec


@given(nets())
def test_random_convolutions(case: tuple[Net, InputSpec]) -> None:
    net, spec = case
    check(net, spec, samples=8)


def test_a_zero_point_at_the_border_of_64_bits() -> None:
    """Where padding makes it matter, the zero point moves into the integers."""
    zero = np.zeros((1, 1, 1, 1), np.int64)
    for high, fits in ((2**62 - 1, True), (2**62, False)):
        net = Net((1, 1, 1))
        net.node("Conv", "x", np.array([[[0, 1]]], np.float32), pads=[1, 0])
        spec = integers(0, high, 1, 2**62)
        if fits:
            found = run(net, spec, zero)[0]["t0"]
            assert isinstance(found, ScaledInt)
            assert (found.lo.item(), found.hi.item()) == (2**62, 2**63 - 1)
        else:
            with pytest.raises(SiraError, match="Conv_0: the integers do not fit into 64 bits"):
                run(net, spec, zero)
