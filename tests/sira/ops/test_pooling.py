from fractions import Fraction

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, declared, every, ranges_of, some

from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt


def _runtime(net):
    """onnxruntime, in float32: `onnx.reference` misplaces uneven pads and those of ceil_mode."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(declared(net).SerializeToString(), options)
    return lambda x: session.run(None, {"x": x.astype(np.float32)})[0]


def _net(op, shape, opset=19, **attrs):
    net = Net(shape, opset=opset)
    net.node(op, "x", **attrs)
    return net


WINDOWS = [
    {"kernel_shape": [2]},
    {"kernel_shape": [3], "strides": [2], "pads": [1, 1]},
    {"kernel_shape": [3], "strides": [2], "pads": [2, 0]},
    {"kernel_shape": [2], "strides": [2], "ceil_mode": 1},
    {"kernel_shape": [3], "strides": [3], "pads": [0, 2], "ceil_mode": 1},
    {"kernel_shape": [4], "strides": [3], "pads": [1, 1], "ceil_mode": 1},
    {"kernel_shape": [5], "strides": [4], "ceil_mode": 1},
    {"kernel_shape": [2], "dilations": [3], "strides": [2]},
    {"kernel_shape": [2], "dilations": [2], "auto_pad": "VALID", "strides": [2]},
    {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [4], "strides": [3], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [4], "strides": [3], "auto_pad": "SAME_UPPER", "ceil_mode": 1},
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("spec", [integers(-3, -1), integers(1, 6, 0.5, 0.25), integers(0, 3)])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool, pads counted"])
def test_windows(op, window, spec):
    op, _, counted = op.partition(",")
    net = _net(op, (1, 2, 7), **window, **({"count_include_pad": 1} if counted else {}))
    q = some((1, 2, 7), spec.datatype.lo, spec.datatype.hi)
    check(net, spec, q, oracle=_runtime(net))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_every_input(op):
    net = _net(op, (1, 1, 2, 3), kernel_shape=[2, 2], pads=[0, 1, 0, 0])
    check(net, integers(-1, 2), every((1, 1, 2, 3), -1, 2), oracle=_runtime(net))


@given(st.data())
def test_random_images(data):
    """Images whose channels have scales and biases of their own, against onnxruntime."""
    height, width = data.draw(st.tuples(st.integers(3, 6), st.integers(3, 6)))
    kernel = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    op = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    attrs = {"count_include_pad": data.draw(st.integers(0, 1))} if op == "AveragePool" else {}
    strides = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    net = _net(op, (1, 2, height, width), kernel_shape=kernel, pads=pads, strides=strides, **attrs)
    scale = data.draw(st.sampled_from([Fraction(1, 2), Fraction(3)]))
    bias = data.draw(st.sampled_from([Fraction(0), Fraction(-5, 4)]))
    spec = InputSpec(IntegerType("test", -4, 3), (scale, Fraction(1)), (bias, Fraction(0)))
    check(net, spec, some((1, 2, height, width), -4, 3)[-4:], oracle=_runtime(net))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(1, 2, 3, 5), (1, 3, 4)])
def test_global(op, shape):
    net = _net(op, shape, opset=13)
    check(net, integers(-5, 9, 0.5, 0.75), some(shape, -5, 9), oracle=_runtime(net))


def test_an_average_keeps_integers_and_channels():
    net = Net((1, 3, 224, 224), opset=13)
    x = net.quant("x", 0.25, bits=4, signed=0)
    net.node("AveragePool", x, kernel_shape=[7, 7], strides=[7, 7])
    y = ranges_of(net, integers(0, 255))["t1"]
    assert isinstance(y, ScaledInt)
    assert (y.lo.size, y.lo.item(), y.hi.item()) == (1, 0, 49 * 15)
    assert y.scale.values.item() == Fraction(1, 4 * 49)


def test_a_divisor_that_varies_keeps_one_scale():
    net = _net("AveragePool", (1, 1, 5, 5), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = ranges_of(net, integers(0, 1))["t0"]
    assert isinstance(y, ScaledInt)
    assert y.scale.values.item() == Fraction(1, 36)
    assert (y.lo.size, y.hi.size, y.hi.item()) == (1, 1, 36)  # the divisor undoes the border


def test_large_common_divisors_give_a_scale_for_each_place():
    size = 23
    net = _net("AveragePool", (1, 1, size), kernel_shape=[size], pads=[size - 1, size - 1])
    ranges = check(net, integers(-2, 3, 1, 0.5), some((1, 1, size), -2, 3))
    assert ranges["t0"].scale.values.size == 2 * size - 1


def test_padding_that_counts_is_the_real_zero():
    """A bias is no part of it: at the border its share is that of the elements on the tensor."""
    attrs = {"kernel_shape": [2], "pads": [1, 1], "count_include_pad": 1}
    y = ranges_of(_net("AveragePool", (1, 1, 2), **attrs), integers(0, 0, 1, 10))["t0"]
    assert isinstance(y, ScaledInt)
    assert [str(v) for v in y.exact.values.ravel()] == ["5", "10", "5"]


def test_padding_never_wins_a_maximum():
    net = _net("MaxPool", (1, 1, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = ranges_of(net, integers(-7, -2))["t0"]
    assert isinstance(y, ScaledInt) and (y.lo.item(), y.hi.item()) == (-7, -2)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_scales_that_vary_within_a_window(op):
    """Columns of different scales: integers where the scales are in a small ratio."""
    for factor, integer in ((3.0, True), (2.0**-30, False)):
        net = Net((1, 1, 4), opset=13)
        x = net.node("Mul", "x", np.array([1, factor, 1, factor]).reshape(1, 1, 4))
        net.node(op, x, kernel_shape=[2])
        check(net, integers(-2, 5), some((1, 1, 4), -2, 5), oracle=_runtime(net), integer=integer)


def test_real_numbers_are_pooled_as_intervals():
    for op in ("MaxPool", "AveragePool"):
        net = Net((1, 2, 6), opset=13)
        net.node(
            op, net.node("LeakyRelu", "x", alpha=0.5), kernel_shape=[3], strides=[2], pads=[1, 1]
        )
        ranges = check(
            net, integers(-4, 4, 0.25), some((1, 2, 6), -4, 4), oracle=_runtime(net), integer=False
        )
        assert "Relu" in ranges["t1"].reason


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("obits", [2, 4, 12])
def test_quant_avg_pool(layout, obits):
    shape = (1, 2, 5, 5) if layout == "NCHW" else (1, 5, 5, 2)
    net = Net(shape, opset=13)
    net.node(
        "QuantAvgPool2d", "x", kernel=3, stride=2, ibits=4, obits=obits, signed=1,
        data_layout=layout,
    )  # fmt: skip
    check(net, integers(-8, 7), some(shape, -8, 7))


@pytest.mark.parametrize("scale, bias", [(2**61, 0), (1, 2**63 - 1), (1, -(2**70)), (2**63, 0)])
def test_quant_avg_pool_at_the_border_of_int64(scale, bias):
    net = _net("QuantAvgPool2d", (1, 1, 4, 4), 13, kernel=2, stride=2, ibits=8, obits=4, signed=1)
    with pytest.raises(SiraError, match="64 bits"):
        ranges_of(net, integers(-8, 7, scale, bias))
    near = ranges_of(net, integers(-8, 7, 2**57, 2**57))["t0"]
    assert (near.lo.item(), near.hi.item()) == (-28 * 2**57 >> 6, 32 * 2**57 >> 6)


def test_errors():
    def found(**attrs):
        op = attrs.pop("op", "MaxPool")
        with pytest.raises(SiraError) as error:
            ranges_of(_net(op, attrs.pop("shape", (1, 1, 5)), **attrs), integers(0, 7, 0.5))
        return str(error.value)

    assert "the attribute kernel_shape does not fit, expected 1 integers of at least 1" in found()
    assert "the attribute strides does not fit" in found(kernel_shape=[2], strides=[1, 1])
    assert "unknown auto_pad" in found(kernel_shape=[2], auto_pad="SAME")
    assert "has no agreed meaning" in found(kernel_shape=[2], dilations=[2], auto_pad="SAME_UPPER")
    assert "a window lies in the padding alone" in found(kernel_shape=[2], pads=[3, 0])
    assert "the kernel is larger than the padded input" in found(kernel_shape=[6])
    assert "the attribute strides does not fit" in found(kernel_shape=[2], strides=[0])
    assert "pooling needs spatial axes" in found(kernel_shape=[2], shape=(1, 4))
    assert "shifts integers" in found(
        op="QuantAvgPool2d", shape=(1, 1, 4, 4), kernel=2, stride=2, ibits=4, obits=4, signed=0
    )
    net = Net((1, 1, 4), opset=13)
    net.node("MaxPool", "x", kernel_shape=[2], outputs=2, output="y")
    with pytest.raises(SiraError, match="only the first output is supported"):
        ranges_of(net, None, "y_0", "y_1")
