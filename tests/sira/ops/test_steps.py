import numpy as np
import pytest
from onnx_models import Net, integers
from op_checks import check, ranges_of

from sira.analysis.ranges import analyze
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt

OPS = ["Abs", "Sign", "Floor", "Ceil", "Round"]


def _net(op, factor=None, shape=(1, 1)):
    net = Net(shape)
    net.node(op, "x" if factor is None else net.node("Mul", "x", factor), output="y")
    return net


def _all(lo, hi):
    return np.arange(lo, hi + 1).reshape(-1, 1, 1)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("lo, hi", [(-9, 9), (-9, 4), (2, 9), (-8, -1), (-3, 0), (0, 3), (5, 5)])
@pytest.mark.parametrize(
    "scale, bias", [(1, 0), (0.5, 0), (0.25, 0.125), (2, -1), (4, 1), (1, 0.25)]
)
def test_every_integer(op, lo, hi, scale, bias):
    net = _net(op)
    integer = op != "Abs" or (2 * bias / scale) % 1 == 0 or lo * scale + bias >= 0
    integer = integer or hi * scale + bias <= 0
    spanned = lo * scale + bias < 0 < hi * scale + bias
    # An interval around zero begins at zero, which a lattice without it does not reach.
    attained = integer or not spanned
    check(net, integers(lo, hi, scale, bias), _all(lo, hi), integer=integer, attained=attained)


@pytest.mark.parametrize("op", OPS)
def test_each_channel_by_itself(op):
    """One falls, one rises, one stays at one value."""
    net = _net(op, np.array([[[-0.75]], [[1.5]], [[0.0]]]).reshape(1, 3, 1), (1, 3, 1))
    q = np.broadcast_to(np.arange(-6, 5).reshape(-1, 1, 1, 1), (11, 1, 3, 1))
    check(net, integers(-6, 4), q)


def test_abs_of_the_two_values_of_a_bipolar_quantizer_is_one():
    net = Net((1, 1))
    net.node("Abs", net.node("BipolarQuant", "x", 0.5), output="y")
    y = ranges_of(net, integers(-3, 3))["y"]
    assert isinstance(y, ScaledInt)
    assert (y.lo == y.hi).all() and y.exact.values.ravel().tolist() == [0.5]


def test_sign_without_zero_is_one_bit():
    y = ranges_of(_net("Sign"), integers(-3, 3, 1, 0.5))["y"]
    assert isinstance(y, ScaledInt)
    assert (y.lo.item(), y.hi.item(), int(y.scale.values.item())) == (0, 1, 2)


def test_rounding_integers_changes_nothing():
    for op in ("Floor", "Ceil", "Round"):
        ranges = ranges_of(_net(op), integers(-3, 3, 4, -2))
        assert ranges["y"] is ranges["x"]


@pytest.mark.parametrize("op", ["Floor", "Ceil", "Round", "Sign", "Abs"])
def test_irrational_operands_are_decided(op):
    """Behind sqrt(2.25 * q): exact squares lie on the steps themselves."""
    net = Net((1, 1))
    root = net.node("Sqrt", net.node("Mul", "x", 2.25))
    net.node(op, net.node("Sub", root, 3.0), output="y")
    rational = op != "Abs"  # else the bounds are enclosures of roots
    check(net, integers(0, 40), _all(0, 40), integer=rational, attained=rational)


def test_thirds_lie_on_no_step():
    """1/3 in float32 is above a third: three of them are above 1."""
    third = float(np.float32(1 / 3))
    for op, lo, hi in (("Floor", -2, 1), ("Ceil", -1, 2)):
        y = check(_net(op, third), integers(-3, 3), _all(-3, 3))["y"]
        assert isinstance(y, ScaledInt) and (y.lo.item(), y.hi.item()) == (lo, hi)


def test_unbounded_operands_stay_intervals():
    net = Net((1, 1))
    for op in OPS:
        net.node(op, "x", output=op)
    net.quant("x", output="quantizes")
    ranges = analyze(prepare(net.proto(*OPS, "quantizes")))
    for op in ("Floor", "Ceil", "Round", "Abs"):
        assert isinstance(ranges[op], Interval) and "x is not declared" in ranges[op].reason
    sign = ranges["Sign"]
    assert isinstance(sign, ScaledInt) and (sign.lo.item(), sign.hi.item()) == (-1, 1)


def test_the_border_of_64_bits() -> None:
    """Where twice an integer does not fit, |x| is an interval; signs are told at any distance."""
    for size, kept in ((2**62 - 1, True), (2**62, False)):
        net = Net((1, 1))
        net.node("Abs", "x")
        found = ranges_of(net, integers(-size, 5))["t0"]
        assert isinstance(found, ScaledInt) is kept
        if isinstance(found, ScaledInt):
            assert (found.lo.item(), found.hi.item()) == (0, size)
    for offset, sign in ((2.0**70, 1), (-(2.0**70), -1)):
        net = Net((1, 1))
        net.node("Sign", net.node("Add", "x", offset))
        found = ranges_of(net, integers(-(2**62), 2**62))["t1"]
        assert isinstance(found, ScaledInt)
        assert found.interval.lo.item() == found.interval.hi.item() == sign
    net = Net((1, 1))
    net.node("Floor", net.node("Mul", "x", 0.75))
    found = ranges_of(net, integers(0, 2**63 - 1))["t1"]
    assert isinstance(found, Interval) and found.hi.item() >= 0.75 * (2**63 - 1)
