"""Operators that re-arrange elements."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Net, annotated, check, integers, run

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.scaled import ScaledInt

INPUT = integers(-3, 9, 0.5, 0.25)
COLUMNS = np.array([1.0, -2.0, 0.0, 4.0], np.float32)  # a scale, sign and bias for each channel


def int64(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


@pytest.mark.parametrize("op, inputs, attributes, expected", [
    ("Identity", (), {}, (1, 3, 4)),
    ("Dropout", (), {}, (1, 3, 4)),
    ("Flatten", (), {}, (1, 12)),
    ("Flatten", (), {"axis": 2}, (3, 4)),
    ("Flatten", (), {"axis": 0}, (1, 12)),
    ("Flatten", (), {"axis": -1}, (3, 4)),
    ("Reshape", (int64(1, -1),), {}, (1, 12)),
    ("Reshape", (int64(0, 2, -1),), {}, (1, 2, 6)),
    ("Reshape", (int64(0, 0, 2, 2),), {}, (1, 3, 2, 2)),
    ("Squeeze", (int64(0),), {}, (3, 4)),
    ("Squeeze", (), {}, (3, 4)),
    ("Unsqueeze", (int64(0, -1),), {}, (1, 1, 3, 4, 1)),
    ("Transpose", (), {"perm": (0, 2, 1)}, (1, 4, 3)),
    ("Transpose", (), {}, (4, 3, 1)),
    ("Cast", (), {"to": 1}, (1, 3, 4)),
])  # fmt: skip
def test_values_move_with_their_scale_and_bias(
    op: str, inputs: Any, attributes: Any, expected: tuple[int, ...]
) -> None:
    net = Net((1, 3, 4))
    y = net.node(op, net.node("Mul", "x", COLUMNS), *inputs, **attributes)
    ranges, _ = check(net, INPUT)
    found = ranges[y]
    assert isinstance(found, ScaledInt)
    assert g.shape(prepare(annotated(net.proto())).graph.outputs[0]) == expected
    assert np.broadcast_shapes(found.shape, expected) == expected


@pytest.mark.parametrize("op, axes", [("Squeeze", (0,)), ("Unsqueeze", (1, 3))])
def test_axes_as_attribute_before_opset_13(op: str, axes: tuple[int, ...]) -> None:
    net = Net((1, 3, 4), opset=11)
    net.node(op, "x", axes=axes)
    check(net, INPUT)


def test_a_zero_in_the_target_may_mean_zero() -> None:
    net = Net((1, 3, 4), opset=14)
    net.node("Reshape", "x", int64(0, 12), allowzero=1)
    with pytest.raises(SiraError, match=r"Reshape changes the number of elements.*\(0, 12\)"):
        prepare(annotated(net.proto()))


def test_the_target_must_be_known() -> None:
    net = Net((1, 4))
    net.node("Reshape", "x", "x")
    with pytest.raises(SiraError, match="the target shape must be known at compile time"):
        prepare(annotated(net.proto()))


def test_a_factor_of_zero_survives_a_reshape() -> None:
    net = Net((1, 4))
    y = net.node("Reshape", net.node("Mul", "x", COLUMNS), int64(2, 2))
    found = check(net, INPUT)[0][y]
    assert isinstance(found, ScaledInt)
    assert found.lo.tolist() == [[-3, -9], [0, -3]] and found.hi.tolist() == [[9, 3], [0, 9]]


def test_a_cast_must_not_round() -> None:
    net = Net((1, 4))
    net.node("Cast", net.node("Mul", "x", 0.5), to=7)
    with pytest.raises(SiraError, match="a Cast to integers must not round"):
        run(net, INPUT, np.zeros((1, 1, 4), np.int64))


@pytest.mark.parametrize("to, fits", [(2, (0, 255)), (3, (-128, 127)), (9, (0, 1)), (7, (-9, 9))])
def test_a_cast_must_hold_the_whole_range(to: int, fits: tuple[int, int]) -> None:
    """UINT8, INT8, BOOL and INT64."""
    low, high = fits
    net = Net((1, 1))
    net.node("Cast", "x", to=to)
    model = prepare(annotated(net.proto()))
    ranges = analyze(model, {"x": integers(low, high)})
    assert ranges["t0"] is ranges["x"]
    if to != 7:
        for lo, hi in ((low, high + 1), (low - 1, high)):
            with pytest.raises(SiraError, match=f"must hold the whole range, expected {low}"):
                analyze(model, {"x": integers(lo, hi)})


def test_shapes_that_do_not_broadcast() -> None:
    net = Net((1, 4))
    net.node("Add", "x", np.zeros(3))
    with pytest.raises(SiraError, match=r"Add_0: shapes do not broadcast, found \(1, 4\) and \(3,"):
        prepare(annotated(net.proto()))


FLOATS = [("FLOAT16", 11), ("BFLOAT16", 8), ("FLOAT8E4M3FN", 4), ("FLOAT8E5M2", 3)]


@pytest.mark.parametrize("name, digits", FLOATS)
def test_casts_to_narrow_floats_must_not_round(name: str, digits: int) -> None:
    """Integers of so many binary digits pass, even times a power of two; others are refused."""
    net = Net((1, 2))
    to = getattr(onnx.TensorProto, name)
    net.node("Cast", net.node("Cast", "x", to=to), to=onnx.TensorProto.FLOAT)
    model = prepare(annotated(net.proto()))
    largest = 2**digits
    for scale in (1, 0.25, 2):
        found = analyze(model, {"x": integers(-largest, largest, scale)})["t1"]
        assert isinstance(found, ScaledInt) and found.hi.item() == largest
    bad = [(largest + 1, 1, 0), (3, Fraction(1, 3), 0), (largest, 1, 0.5), (1, 2.0**-160, 0)]
    for high, scale, bias in bad:
        with pytest.raises(SiraError, match=f"a Cast to {name} must not round"):
            analyze(model, {"x": integers(-largest, high, scale, bias)})
    if name != "BFLOAT16":
        with pytest.raises(SiraError, match=f"a Cast to {name} must not round"):
            analyze(model, {"x": integers(0, 1, 2**40)})


def test_narrow_floats_of_real_numbers_are_refused() -> None:
    net = Net((1, 2))
    net.node("Cast", net.node("Sigmoid", "x"), to=onnx.TensorProto.FLOAT16)
    with pytest.raises(SiraError, match="Cast_1: a Cast to FLOAT16 must not round"):
        analyze(prepare(annotated(net.proto())), {"x": integers(0, 3)})
