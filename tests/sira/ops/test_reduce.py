from fractions import Fraction

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, every, ranges_of, some

from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt

OPS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")


def _net(op, shape, axes, as_input, **attrs):
    net = Net(shape, opset=18 if as_input else 11)
    if axes is None:
        net.node(op, "x", **attrs)
    elif as_input:
        net.node(op, "x", np.asarray(axes, np.int64), **attrs)
    else:
        net.node(op, "x", axes=axes, **attrs)
    return net


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axes", [None, [1], [-1], [2, 3], [1, -1]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("as_input", [False, True])
def test_axes_and_keepdims(op, axes, keepdims, as_input):
    net = _net(op, (1, 2, 3, 2), axes, as_input, keepdims=keepdims)
    check(net, integers(-3, 5, 0.5, 0.25), some((1, 2, 3, 2), -3, 5))


@pytest.mark.parametrize("op", OPS)
def test_every_input(op):
    check(_net(op, (1, 4), [1], True), integers(-2, 2), every((1, 4), -2, 2))


@pytest.mark.parametrize("op", OPS)
def test_no_axes(op):
    net = Net((1, 2, 2), opset=18)
    net.node(op, "x", None, noop_with_empty_axes=1)
    ranges = check(net, integers(-3, 4, 0.5), some((1, 2, 2), -3, 4))
    assert ranges["t0"] is ranges["x"]


@examples(40)
@given(st.data())
def test_random_shapes(data):
    shape = (1, *data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    op = data.draw(st.sampled_from(OPS))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    scales, biases = (
        data.draw(st.tuples(*[st.sampled_from(list(map(Fraction, choice)))] * shape[1]))
        for choice in (["1/2", "1", "3"], ["0", "1/2", "-1"])
    )
    spec = InputSpec(IntegerType("test", -4, 3), scales, biases)
    net = _net(op, shape, sorted(axes), True, keepdims=data.draw(st.integers(0, 1)))
    check(net, spec, some(shape, -4, 3))


def test_stays_per_channel():
    net = Net((1, 3, 8, 8), opset=13)
    net.node("ReduceMean", net.node("Mul", "x", np.array([1, 2, 4.0]).reshape(3, 1, 1)),
             axes=[2, 3])  # fmt: skip
    y = ranges_of(net, integers(0, 7))["t1"]
    assert isinstance(y, ScaledInt) and y.lo.size <= 3 and y.scale.shape == (1, 3, 1, 1)
    assert (int(y.hi.max()), [str(s) for s in y.scale.values.ravel()]) == (
        448,
        ["1/64", "1/32", "1/16"],
    )


def test_scales_in_no_ratio_make_an_interval():
    net = Net((1, 2), opset=13)
    net.node("ReduceSum", "x", np.array([1]))
    spec = InputSpec(IntegerType("test", 0, 3), (Fraction(1), Fraction(1, 2**40)))
    check(net, spec, some((1, 2), 0, 3), integer=False)


def test_a_sum_beyond_64_bits_is_an_error():
    net = Net((1, 4), opset=13)
    net.node("ReduceSum", "x", np.array([1]))
    with pytest.raises(SiraError, match="ReduceSum_0: the integers do not fit into 64 bits"):
        ranges_of(net, integers(0, 2**61 + 1))


def test_errors():
    with pytest.raises(SiraError, match=r"ReduceMax_0: no such axis, expected -2..1, found 2"):
        ranges_of(_net("ReduceMax", (1, 4), [2], False), None)
    net = Net((1, 4), opset=18)
    axes = net.node("Cast", net.node("Identity", "x"), to=7)
    net.node("ReduceSum", "x", axes)
    with pytest.raises(SiraError, match="the axes must be known at compile time"):
        ranges_of(net, None)
