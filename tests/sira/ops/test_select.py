import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, every, ranges_of, some

from sira.errors import SiraError
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt

SHAPE = (1, 3, 2)


def _with_constants(op, *constants):
    net = Net(SHAPE)
    net.node(op, "x", *constants, output="y")
    return net


@pytest.mark.parametrize("op", ["Min", "Max"])
@pytest.mark.parametrize(
    "constants",
    [
        [0.0],
        [2.5, -1.0],
        [np.array([1, 0.25, -8]).reshape(3, 1)],
        [np.arange(6.0).reshape(SHAPE) / 4],
        [100.0],
        [-100.0],
        [0.75],
    ],
)
@pytest.mark.parametrize("bias", [0, 0.25])
def test_constants(op, constants, bias):
    net = _with_constants(op, *constants)
    check(net, integers(-4, 6, 0.5, bias), some(SHAPE, -4, 6))


def test_what_cannot_win_leaves_the_value_alone():
    ranges = ranges_of(_with_constants("Max", -100.3), integers(-4, 6, 0.5))
    assert ranges["y"] is ranges["x"]
    other = ranges_of(_with_constants("Min", -100.3), integers(-4, 6, 0.5))["y"]
    assert isinstance(other, ScaledInt) and (other.lo == other.hi).all()


def test_constants_off_the_lattice_make_an_interval():
    net = _with_constants("Max", 0.3)
    y = check(net, integers(-4, 6, 0.5), some(SHAPE, -4, 6), integer=False)["y"]
    assert isinstance(y, Interval) and "no common lattice" in y.reason


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_several_tensors(op):
    """Scales in a small ratio, in the order of the operands or not."""
    net = Net((1, 2))
    y = net.node("Mul", "x", np.array([[-0.5, 3.0]]))
    z = net.node("Add", net.node("Mul", "x", 0.25), 1.0)
    net.node(op, 1.5, "x", y, z, output="y")
    check(net, integers(-3, 4), every((1, 2), -3, 4), attained=False)
    assert isinstance(ranges_of(net, integers(-3, 4))["y"], ScaledInt)


def test_wide_integers():
    """The multiples that are needed count, not those that would be allowed."""
    y = ranges_of(_with_constants("Max", 0.5), integers(-(2**59), 2**59))["y"]
    assert isinstance(y, ScaledInt) and (y.lo.item(), y.hi.item()) == (1, 2**60)
    with pytest.raises(SiraError, match="the integers do not fit into 64 bits"):
        ranges_of(_with_constants("Max", 1 / 64), integers(-(2**59), 2**59))


def test_one_tensor_twice():
    ranges = ranges_of(_with_constants("Max", "x"), integers(-3, 4))
    assert ranges["y"] is ranges["x"]


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_ranks_that_differ(op):
    """(2, 1) against (1, 3, 2): axes count from the end, behind the axis of samples."""
    net = Net((1, 3, 2))
    row = net.node("Gather", net.node("Gather", "x", np.array(0), axis=0), np.array(1), axis=0)
    net.node(op, "x", row, output="y")
    check(net, integers(-3, 4, 0.5), some((1, 3, 2), -3, 4), attained=False)


@pytest.mark.parametrize(
    "condition",
    [
        np.array([True, False]),
        np.array([[True], [False], [True]]),
        np.ones((1, 1), bool),
        np.zeros((), bool),
        np.array([[True, False], [False, False], [True, True]]),
    ],
)
@pytest.mark.parametrize("other", [0.0, 0.3, -7.0, np.array([[1.0], [2.0], [0.1]])])
@pytest.mark.parametrize("swap", [False, True])
def test_where(condition, other, swap):
    net = Net(SHAPE)
    a, b = (other, "x") if swap else ("x", other)
    net.node("Where", condition, a, b, output="y")
    check(net, integers(-4, 6, 0.5, 0.25), some(SHAPE, -4, 6))


@pytest.mark.parametrize("factor", [1.0, -3.0, 2.0**-40])
def test_where_of_two_tensors(factor):
    net = Net(SHAPE)
    other = net.node("Mul", "x", factor)
    net.node("Where", np.array([True, False]), "x", other, output="y")
    check(net, integers(-4, 6), some(SHAPE, -4, 6))


def test_where_behind_a_root_and_before_a_quantizer():
    """An irrational value is rounded by its own quantizer, through the choice."""
    net = Net(SHAPE)
    root = net.node("Sqrt", net.node("Relu", "x"))
    chosen = net.node("Where", np.array([True, False]), root, 1.5)
    net.quant(chosen, 0.5, bits=4, signed=0)
    check(net, integers(-4, 9), some(SHAPE, -4, 9))


@given(st.data())
def test_random_choices(data):
    """Every integer of two elements, against `onnx.reference`."""
    numbers = st.sampled_from([-2.0, -0.75, 0.0, 0.5, 1.0, 3.0])
    net = Net((1, 2))
    scaled = net.node("Mul", "x", np.array([data.draw(st.tuples(numbers, numbers))]))
    moved = net.node("Add", scaled, data.draw(numbers))
    op = data.draw(st.sampled_from(["Min", "Max"]))
    net.node(op, moved, data.draw(numbers), data.draw(numbers), output="y")
    check(net, integers(-3, 3), every((1, 2), -3, 3), "y")


def test_errors():
    net = Net((1, 2))
    condition = net.node("Cast", net.node("Identity", "x"), to=9)
    net.node("Where", condition, "x", 0.0)
    with pytest.raises(SiraError, match="the condition must be known at compile time"):
        ranges_of(net, integers(0, 1))
