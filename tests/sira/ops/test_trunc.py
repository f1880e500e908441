from fractions import Fraction
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, ranges_of

from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt
from sira.ops.trunc import nearest_power_of_two

MODES = ["FLOOR", "ROUND", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "HALF_EVEN"]


def _all(lo, hi):
    return np.arange(lo, hi + 1).reshape(-1, 1, 1)


def _version_1(scale=0.5, zero=0.0, before=8.0, after=5.0, mode="FLOOR"):
    net = Net((1, 1))
    net.node("Trunc", "x", scale, zero, before, after, rounding_mode=mode)
    return net


def _version_2(scale=0.5, zero=0.0, out_scale=4.0, after=4.0, mode="FLOOR", **attrs):
    net = Net((1, 1))
    net.node("Trunc", "x", scale, zero, 8.0, out_scale, after, rounding_mode=mode, **attrs)
    return net


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0.0, 3.0, 0.5])
def test_version_1_at_every_integer(mode, zero):
    check(_version_1(zero=zero, mode=mode), integers(-100, 120, 0.5), _all(-100, 120))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0.0, 16.0, 3.0, -0.5])
@pytest.mark.parametrize("signed, narrow", [(0, 0), (1, 0), (1, 1)])
def test_version_2_at_every_integer(mode, zero, signed, narrow):
    net = _version_2(zero=zero, mode=mode, signed=signed, narrow=narrow)
    check(net, integers(-100, 120, 0.5), _all(-100, 120))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 6), st.sampled_from([0.5, 0.25, 1.0]))
def test_version_2_with_scales_in_any_ratio(scale, out_scale, after, unit):
    """Multiples of a power of two, so that qonnx's float64 division rounds at no step."""
    ratio = log2(out_scale / scale)
    net = _version_2(scale * unit, 0.0, out_scale * unit, float(after))
    spec = integers(-40, 70, scale * unit)
    ranges = check(net, spec, _all(-40, 70))
    assert ranges["t0"].scale.values.item() == Fraction(out_scale * unit)
    assert nearest_power_of_two(Fraction(out_scale, scale)) == Fraction(2) ** round(ratio)


def test_inputs_between_integers_are_rounded_first():
    check(_version_2(scale=1.0, out_scale=2.0), integers(-64, 63, 0.25), _all(-64, 63))
    check(_version_1(scale=1.0), integers(-64, 63, 0.25, 0.125), _all(-64, 63))


def test_behind_an_average():
    """1/9 is no binary fraction: the average of an exact tie is decided exactly."""
    net = Net((1, 1, 3), opset=13)
    x = net.quant("x", 1.0, bits=4, signed=0)
    pooled = net.node("GlobalAveragePool", x)
    net.node("Trunc", pooled, float(np.float32(1 / 3)), 0.0, 8.0, 0.5, 5.0, signed=0,
             rounding_mode="FLOOR")  # fmt: skip
    ranges = ranges_of(net, integers(0, 15))
    y = ranges["t2"]
    assert isinstance(y, ScaledInt)
    # 2 ** round(log2(0.5 / (1/3))) = 2: half of the sum, which 1/3 in float32 does not change.
    assert (y.lo.item(), y.hi.item(), y.scale.values.item()) == (0, 22, Fraction(1, 2))


@pytest.mark.parametrize("ratio", ["1/3", "3", "1", "7/5", "17/12", "99/70", "140/99", "1/1024"])
def test_nearest_power_of_two(ratio):
    r = Fraction(ratio)
    assert log2(nearest_power_of_two(r)) == round(log2(r))


def test_errors():
    net = Net((1, 1))
    net.node("Trunc", "x", 1.0, 0.0, 8.0, rounding_mode="FLOOR")
    with pytest.raises(SiraError, match="no known version, expected 5 or 6 inputs, found 4"):
        ranges_of(net, integers(0, 9))
    with pytest.raises(SiraError, match=r"scale must be positive, expected scale > 0, found -1.0"):
        ranges_of(_version_1(scale=-1.0), integers(0, 9))
    with pytest.raises(SiraError, match=r"bit width must be a constant integer.*found .2.5."):
        ranges_of(_version_2(after=2.5), integers(0, 9))
    with pytest.raises(SiraError, match="unknown rounding mode"):
        ranges_of(_version_2(mode="UPWARDS"), integers(0, 9))
