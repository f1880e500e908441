from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, ranges_of, some

from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt


def _branches(shape, factors, axis, offsets=None):
    net = Net(shape)
    offsets = offsets or [0.0] * len(factors)
    made = [net.node("Add", net.node("Mul", "x", f), o)
            for f, o in zip(factors, offsets, strict=True)]  # fmt: skip
    net.node("Concat", *made, axis=axis, output="y")
    return net


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("factors", [[1.0, 1.0], [1.0, -0.5, 3.0], [0.75]])
def test_axes_and_scales(axis, factors):
    check(_branches((1, 2, 3), factors, axis), integers(-3, 5), some((1, 2, 3), -3, 5))


def test_per_channel_scales_and_biases():
    factors = [np.array([1, 2.5]).reshape(2, 1, 1), 0.25, np.full((1, 2, 2, 2), 3.0)]
    offsets = [0.0, np.array([1, -3.0]).reshape(2, 1, 1), 0.5]
    for axis in (1, 2):
        net = _branches((1, 2, 2, 2), factors, axis, offsets)
        check(net, integers(0, 6), some((1, 2, 2, 2), 0, 6))


def test_with_constants():
    net = Net((1, 2, 2))
    net.node("Concat", np.full((1, 1, 2), 0.3), "x", np.ones((1, 2, 2)), axis=1)
    ranges = check(net, integers(-4, 4, 0.5), some((1, 2, 2), -4, 4))
    assert isinstance(ranges["t0"], ScaledInt)


def test_quantized_constants_stay_constants():
    net = Net((1, 4), opset=13)
    halves = [net.quant(np.arange(8).reshape(4, 2) / k, 1 / k, bits=5) for k in (1, 4)]
    net.node("MatMul", "x", net.node("Concat", *halves, axis=1))
    check(net, integers(-3, 3), some((1, 4), -3, 3))


def test_real_numbers():
    net = Net((1, 2))
    net.node("Concat", net.node("LeakyRelu", "x", alpha=0.5), "x", axis=1)
    ranges = check(net, integers(-4, 4), some((1, 2), -4, 4), integer=False)
    assert "Relu" in ranges["t1"].reason


def test_equal_scales_stay_small():
    net = Net((1, 64, 56, 56))
    a = net.quant("x", 0.5, bits=4)
    net.node("Concat", a, net.quant("x", 0.5, bits=4), axis=1)
    y = ranges_of(net, integers(-99, 99))["t2"]
    assert isinstance(y, ScaledInt)
    assert (y.lo.size, y.hi.size, y.scale.values.size, y.bias.values.size) == (1, 1, 1, 1)


def test_many_inputs():
    """Each is looked at once: 490 inputs are no more than 490 times the work of one."""
    net = Net((1, 4))
    net.node("Concat", *[net.node("Mul", "x", float(i % 7 + 1)) for i in range(490)], axis=1,
             output="y")  # fmt: skip
    y = ranges_of(net, integers(-2, 1))["y"]
    assert isinstance(y, ScaledInt)
    scales = [y.scale.values.ravel()[4 * i] for i in range(490)]
    assert scales == [Fraction(i % 7 + 1) for i in range(490)]


@given(st.data())
def test_split_and_concat_is_the_identity(data):
    size = data.draw(st.integers(2, 6))
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), min_size=1)))
    sizes = [b - a for a, b in pairwise([0, *cuts, size])]
    net = Net((1, size, 2), opset=13)
    net.node("Split", "x", np.array(sizes, np.int64), axis=1, outputs=len(sizes), output="p")
    net.node("Concat", *(f"p_{i}" for i in range(len(sizes))), axis=1, output="y")
    ranges = check(net, integers(-3, 3, 0.5, 0.25), some((1, size, 2), -3, 3), "y")
    assert ranges["y"].lo.item() == -3


def test_errors():
    net = Net((1, 2, 3))
    net.node("Concat", "x", np.zeros((1, 2, 2)), axis=1)
    with pytest.raises(SiraError, match=r"expected tensors that differ along axis 1 alone"):
        ranges_of(net, None)
