"""Tails: where they begin, and exact decisions near and on steps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from onnx_models import Net, annotated, integers

from sira import graph as g
from sira.analysis.ranges import Ranges, analyze
from sira.analysis.tail import Tail, decide, find_tail
from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.scaled import ScaledInt


def tail_of(net: Net, spec: Any = None) -> tuple[Tail, Ranges]:
    model = prepare(annotated(net.proto()))
    ranges = analyze(model, {"x": spec or integers(-100, 100)})
    return find_tail(model.graph.outputs[0]), ranges


def decided(net: Net, q: Any, spec: Any) -> Any:
    tail, ranges = tail_of(net, spec)
    static = ranges.scaled(tail.source)
    assert static is not None
    points = np.asarray(q)
    return decide(tail, ranges, ScaledInt(points, points, static.scale, static.bias))


def test_where_a_tail_begins() -> None:
    net = Net((1, 2))
    x = net.node("MatMul", "x", net.quant(np.eye(2), 1.0))
    net.quant(net.node("Relu", net.node("Add", x, 1.0)))
    tail, _ = tail_of(net)
    assert g.name(tail.source) == x
    assert [n.op_type for n in tail.nodes] == ["Add", "Relu", "Quant"]


def test_a_shared_quantizer_ends_a_tail() -> None:
    net = Net((1, 2))
    first = net.quant("x")
    second = net.quant(net.node("Relu", first))
    model = prepare(annotated(net.proto(second)))
    assert g.name(find_tail(model.graph.outputs[0]).source) == "x"
    assert g.name(find_tail(model.graph.outputs[0], through_quantizers=False).source) == first
    net.node("Neg", first, output="other")
    model = prepare(annotated(net.proto(second, "other")))
    assert g.name(find_tail(model.graph.outputs[0]).source) == first


def test_several_sources() -> None:
    net = Net((1, 2))
    total = net.node("Add", net.node("Relu", "x"), net.node("ReduceSum", "x", np.array([1])))
    model = prepare(annotated(net.proto()))
    with pytest.raises(SiraError, match=r"several computed tensors .* found t0, t1; "):
        find_tail(model.graph.outputs[0])
    net.quant(total)
    assert g.name(tail_of(net)[0].source) == total


def test_exact_ties_in_products_of_float32_numbers() -> None:
    """q * 0.1f / 0.2f + 0.5 - 0.5 is a tie for odd q, which no float64 product shows."""
    net = Net((1, 1))
    tenth = np.float32(0.1)
    net.quant(net.node("Mul", "x", tenth * np.float32(1.5)), tenth * np.float32(3), bits=8)
    spec = integers(-100, 100, Fraction(1, 3) * 3)
    q = np.arange(-100, 101)[:, None, None]
    product = Fraction(float(tenth * np.float32(1.5))) / Fraction(float(tenth * np.float32(3)))
    expected = [max(min(round(int(v) * product), 127), -128) for v in q.ravel()]
    assert decided(net, q, spec).ravel().tolist() == expected


@pytest.mark.parametrize("op, function", [
    ("Sigmoid", lambda x: 1 / (1 + mpmath.exp(-x))), ("Tanh", mpmath.tanh),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "ROUND", "HALF_DOWN"])
def test_smooth_tails_at_every_integer(op: str, function: Any, mode: str) -> None:
    net = Net((1, 1))
    net.quant(net.node(op, net.node("Mul", "x", 0.37)), 2.0**-6, bits=9, mode=mode)
    q = np.arange(-300, 301, 3)[:, None, None]
    found = decided(net, q, integers(-300, 300))
    with mpmath.workprec(600):
        factor = mpmath.mpf(float(np.float32(0.37)))
        scaled = [64 * function(int(v) * factor) for v in q.ravel()]
        rounded = {
            "FLOOR": mpmath.floor, "CEIL": mpmath.ceil,
            "ROUND": lambda v: mpmath.floor(v + 0.5) if v != 0 else 0,
            "HALF_DOWN": lambda v: mpmath.floor(v + 0.5) if v != 0 else 0,
        }[mode]  # fmt: skip
        assert found.ravel().tolist() == [int(rounded(v)) for v in scaled]


def test_a_root_that_meets_a_step_to_60_digits() -> None:
    """A variance whose root is 1 + 2**-49: q * gamma / root is just below a tie."""
    var = np.float32(1.0)
    epsilon = np.float32(2.0**-48)
    net = Net((1, 1))
    y = net.node(
        "BatchNormalization", "x", [0.5], [0.0], [0.0], [float(var)], epsilon=float(epsilon)
    )
    net.quant(y, 1.0, bits=8, mode="HALF_UP")
    found = decided(net, np.array([[[1]], [[3]], [[-1]], [[4]]]), integers(-9, 9))
    assert found.ravel().tolist() == [0, 1, 0, 2]  # 0.4999.., 1.4999.., -0.4999.., 1.9999..


def test_constant_tails_keep_the_points() -> None:
    net = Net((1, 3))
    net.quant(net.node("Relu", net.node("Sub", "x", 1000.0)), signed=0)
    assert decided(net, np.zeros((5, 1, 3), np.int64), integers(-9, 9)).shape == (5, 1, 3)


def test_two_equal_roots_on_a_tie_are_an_error() -> None:
    """sqrt(2) * sqrt(2) is 2, but no precision of enclosures shows it."""
    net = Net((1, 1))
    parameters = ([1.0], [0.0], [0.0], [2.0])
    y = net.node("BatchNormalization", "x", *parameters, epsilon=0.0)
    y = net.node("BatchNormalization", y, *parameters, epsilon=0.0)
    net.quant(y, 1.0, bits=8)
    with pytest.raises(SiraError, match="cannot be told from a rounding tie with 4096 bits"):
        decided(net, np.array([[[1]]]), integers(-9, 9))
    assert decided(net, np.array([[[2]], [[4]]]), integers(-9, 9)).ravel().tolist() == [1, 2]


def test_ties_behind_a_quantizer_in_the_tail() -> None:
    """(q - 1) / 0.7 is 0 for q = 1, which a float64 enclosure of scale and bias does not show."""
    net = Net((1, 1))
    y = net.dequantized("x", np.float32(13 / 1024), np.asarray(1, np.int8))
    net.node("BipolarQuant", net.node("Neg", net.node("Div", y, 0.7)), 1.0)
    q = np.arange(-3, 4)[:, None, None]
    found = decided(net, q, integers(-3, 3, Fraction(13, 1024)))
    assert found.ravel().tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_only_what_is_asked_is_divided() -> None:
    """One channel is on a tie, the other nowhere near: exact arithmetic passes that one over."""
    net, steps = Net((1, 2)), (0.1, 0.3, 0.7)
    left = right = "x"
    for c in steps:
        left, right = net.node("Mul", left, c), net.node("Mul", right, c)
    factors = np.array([[1.5, 1.3]])
    net.quant(net.node("Div", net.node("Mul", left, factors), right), 1.0)
    points = np.arange(1, 15).reshape(-1, 1, 2)
    assert decided(net, points, integers(1, 14)).tolist() == [[[2, 1]]] * 7
