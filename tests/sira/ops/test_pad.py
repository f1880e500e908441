from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, ranges_of, some

from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt

SHAPE = (1, 2, 3, 4)


def _net(pads, *rest, shape=SHAPE, opset=19, **attrs):
    net = Net(shape, opset=opset)
    net.node("Pad", "x", np.array(pads, np.int64), *rest, **attrs)
    return net


def _numpy(pads, fill):
    """np.pad, with negative pads cut off first."""
    n = len(pads) // 2
    cut = tuple(slice(max(-pads[i], 0), -max(-pads[n + i], 0) or None) for i in range(n))
    around = [(max(pads[i], 0), max(pads[n + i], 0)) for i in range(n)]
    return lambda x: np.pad(x[cut], around, constant_values=fill)


@pytest.mark.parametrize("lo, hi", [(-3, 5), (2, 5), (-4, -1)])
@pytest.mark.parametrize("fill", [None, 0.5, 2.0, 0.3, -7.0])
@pytest.mark.parametrize("bias", [0, 0.25, -3])
@pytest.mark.parametrize("pads", [[0, 0, 1, 2, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0],
                                  [0, 0, -1, 1, 0, 0, 2, -2]])  # fmt: skip
def test_constant(lo, hi, fill, bias, pads):
    """Values on and off the lattice, in and out of the range."""
    net = _net(pads) if fill is None else _net(pads, fill)
    spec = integers(lo, hi, 0.5, bias)
    value = float(np.float32(fill or 0))
    ranges = check(net, spec, some(SHAPE, lo, hi), oracle=_numpy(pads, value), attained=False)
    y = ranges["t0"]
    on_lattice = ((Fraction(value) - Fraction(bias)) / Fraction(1, 2)).denominator == 1
    assert (y.bias.values.size == 1) == on_lattice
    reals = lo * 0.5 + bias, hi * 0.5 + bias
    wanted = min(reals[0], value), max(reals[1], value)
    assert (y.interval.lo.min(), y.interval.hi.max()) == wanted


def test_each_place_has_its_own_range():
    """Where the padding is out of the range, it widens no range but its own."""
    for fill in (0.0, 0.3):
        net = _net([0, 0, 1, 0, 0, 0, 0, 1], fill)
        check(net, integers(1, 4), some(SHAPE, 1, 4), oracle=_numpy([0, 0, 1, 0, 0, 0, 0, 1],
              float(np.float32(fill))))  # fmt: skip


def test_padding_within_the_range_stays_per_channel():
    spec = InputSpec(
        IntegerType("test", 0, 255), (Fraction(1), Fraction(1, 2), Fraction(1)), (Fraction(0),)
    )
    y = ranges_of(_net([0, 0, 1, 1, 0, 0, 1, 1], shape=(1, 3, 224, 224)), spec)["t0"]
    assert isinstance(y, ScaledInt)
    assert (y.lo.size, y.hi.size, y.scale.values.size, y.bias.values.size) == (1, 1, 3, 1)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 1, 2, 0, 0, 0, 2, 3], [0, 0, 0, 1, 0, 0, 1, 0]])
def test_own_elements(mode, pads):
    check(_net(pads, mode=mode), integers(-3, 5, 0.5, 0.25), some(SHAPE, -3, 5))


def test_attributes_and_axes():
    old = Net(SHAPE, opset=10)
    old.node("Pad", "x", pads=[0, 0, 1, 0, 0, 0, 0, 2], value=3.0)
    check(old, integers(-3, 5), some(SHAPE, -3, 5), oracle=_numpy([0, 0, 1, 0, 0, 0, 0, 2], 3.0),
          attained=False)  # fmt: skip
    chosen = _net([1, 0, 0, 2], None, np.array([2, -1], np.int64))
    check(chosen, integers(1, 5), some(SHAPE, 1, 5), oracle=_numpy([0, 0, 1, 0, 0, 0, 0, 2], 0))


def test_scales_that_vary_along_the_padded_axis():
    net = Net(SHAPE, opset=13)
    x = net.node("Mul", "x", np.array([1, 2, 3, 0.25]))
    net.node("Pad", net.node("Add", x, np.array([0, 1, 0, 0.5])),
             np.array([0, 0, 0, 1, 0, 0, 0, 2], np.int64), 2.0)  # fmt: skip
    check(net, integers(-3, 5), some(SHAPE, -3, 5))


def test_real_numbers():
    for fill, lo in ((0.0, 0), (9.0, 0), (-1.0, -1)):
        net = Net(SHAPE, opset=13)
        net.node("Pad", net.node("Relu", "x"), np.array([0, 0, 0, 1, 0, 0, 0, 2], np.int64), fill)
        y = check(net, integers(-3, 5), some(SHAPE, -3, 5), integer=False, attained=False)["t1"]
        assert (y.lo.min(), y.hi.max()) == (lo, max(5, fill))


@given(st.data())
def test_random_pads(data):
    pads = [data.draw(st.integers(-1, 2)) for _ in range(6)]
    fill = data.draw(st.sampled_from([0.0, 1.0, 0.25]))
    bias = data.draw(st.sampled_from([0, 0.5, -2]))
    net = _net(pads, fill, shape=(1, 3, 3))
    if 1 + pads[0] + pads[3] < 1:
        with pytest.raises(SiraError, match="nothing is left"):
            ranges_of(net, None)
        return
    check(net, integers(-1, 3, 0.5, bias), some((1, 3, 3), -1, 3), attained=False,
          oracle=_numpy(pads, fill))  # fmt: skip


@pytest.mark.parametrize("fill", [-3.4028234663852886e38, 2.0**63, -(2.0**63)])
def test_a_value_beyond_int64(fill):
    """As exporters write it in front of MaxPool: a place of its own, whose bias it is."""
    net = _net([0, 0, 0, 1, 0, 0, 0, 0], np.float32(fill))
    padded = ranges_of(net, integers(-1, 3, 0.5), "t0")["t0"]
    lo, hi = (np.broadcast_to(b, (1, 2, 3, 5)) for b in (padded.interval.lo, padded.interval.hi))
    assert (lo[..., 0] == fill).all() and (hi[..., 0] == fill).all()
    assert (lo[..., 1:] == -0.5).all() and (hi[..., 1:] == 1.5).all()


def test_errors():
    with pytest.raises(SiraError, match=r"the pads do not fit, expected 8 numbers, found \[1, 1\]"):
        ranges_of(_net([1, 1]), None)
    with pytest.raises(SiraError, match="unknown mode of padding, expected constant, edge"):
        ranges_of(_net([0, 0, 1, 0, 0, 0, 0, 0], mode="symmetric"), None)
