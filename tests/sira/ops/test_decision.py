"""Softmax, ArgMax and TopK."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Net, annotated, integers, point

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from sira.verification.oracle import Oracle

SCALES = np.array([1.0, -0.5, 0.0, 2.0], np.float32)
BIASES = np.array([0.0, 1.0, 3.0, -2.0], np.float32)
ALL = np.random.default_rng(0).integers(-4, 5, (200, 1, 4))  # many ties


def typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return annotated(proto)


def decided(net: Net) -> tuple[Any, Any, Any]:
    """Static range, golden value and the oracle's value of the output."""
    proto = typed(net.proto())
    model = prepare(proto)
    ranges = analyze(model, {"x": integers(-4, 4)})
    exact = golden.run(model, ranges, point(ranges, model, ALL))
    name = g.name(model.graph.outputs[0])
    return ranges[name], exact[name], Oracle(proto).run(ALL)[name]


def test_ties_go_to_the_lower_index() -> None:
    for keepdims in (0, 1):
        net = Net((1, 4))
        net.node("ArgMax", "x", axis=1, keepdims=keepdims)
        static, found, expected = decided(net)
        assert isinstance(found, ScaledInt) and isinstance(static, ScaledInt)
        assert np.array_equal(found.lo, expected)
        assert np.array_equal(found.lo.ravel(), ALL[:, 0].argmax(axis=1))
        assert (static.lo, static.hi) == (0, 3)
        assert found.lo.shape == (200, 1, 1)[: 2 + keepdims]


def test_of_scaled_scores() -> None:
    net = Net((1, 4))
    net.node("ArgMax", net.node("Add", net.node("Mul", "x", SCALES), BIASES), axis=-1)
    _, found, expected = decided(net)
    assert np.array_equal(found.lo, expected)


@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_changes_nothing(opset: int) -> None:
    """Not even where its values are the same in float64."""
    net = Net((1, 4), opset=opset)
    net.node("ArgMax", net.node("Softmax", net.node("Mul", "x", 1e-20), axis=1), axis=1)
    static, found, _ = decided(net)
    assert np.array_equal(found.lo.ravel(), ALL[:, 0].argmax(axis=1))
    assert (static.lo, static.hi) == (0, 3)


def test_softmax_over_another_axis_does_change_the_order() -> None:
    net = Net((1, 2, 2))
    net.node("ArgMax", net.node("Softmax", "x", axis=1), axis=2)
    model = prepare(typed(net.proto()))
    ranges = analyze(model, {"x": integers(-4, 4)})
    with pytest.raises(SiraError, match="two scores are closer than float64 can tell"):
        golden.run(model, ranges, point(ranges, model, ALL.reshape(-1, 1, 2, 2)))


def test_softmax_is_between_0_and_1() -> None:
    net = Net((1, 4))
    net.node("Softmax", "x")
    model = prepare(annotated(net.proto()))
    found = analyze(model, {"x": integers(-4, 4)})["t0"]
    assert isinstance(found, Interval) and 0 < found.lo < found.hi < 1


def test_topk() -> None:
    """The index range belongs to the indices, the values keep the range of the scores."""
    for opset in (9, 11):
        net = Net((1, 4), opset=opset)
        scores = net.node("Mul", "x", SCALES)
        if opset == 9:
            net.node("TopK", scores, outputs=2, axis=1, k=1)
        else:
            net.node("TopK", scores, np.array([1]), outputs=2, axis=1)
        static, found, expected = decided(net)
        assert np.array_equal(found.lo, expected)
        assert (static.lo, static.hi) == (0, 3)
        model = prepare(typed(net.proto()))
        values = analyze(model, {"x": integers(-4, 4)})["t1_0"]
        assert isinstance(values, Interval) and (values.lo, values.hi) == (0, 8)


def test_values_behind_softmax_are_those_of_softmax() -> None:
    """The index is decided by the scores, the value is not theirs."""
    net = Net((1, 4), opset=13)
    scores = net.node("Softmax", net.node("Mul", "x", 0.5), axis=1)
    net.node("TopK", scores, np.array([1]), outputs=2, axis=1)
    proto = typed(net.proto())
    model = prepare(proto)
    ranges = analyze(model, {"x": integers(-4, 4)})
    exact = golden.run(model, ranges, point(ranges, model, ALL))
    values, largest = exact["t2_0"], Oracle(proto).run(ALL)["t1"].max(axis=-1, keepdims=True)
    assert isinstance(values, Interval)
    assert np.allclose(values.lo, values.hi, rtol=1e-12, atol=0)
    assert (values.lo * (1 - 1e-12) <= largest).all() and (largest <= values.hi * (1 + 1e-12)).all()


def test_a_decision_that_is_certain_is_a_constant() -> None:
    net = Net((1, 4))
    net.node("ArgMax", net.node("Add", "x", np.array([0.0, 0, 100, 0])), axis=1)
    static, found, _ = decided(net)
    assert static.lo.ravel() == static.hi.ravel() == 2 and (found.lo == 2).all()


@pytest.mark.parametrize("op, inputs, attributes, message", [
    ("ArgMax", (), {"select_last_index": 1}, "ties must go to the lower index"),
    ("TopK", (np.array([3]),), {"outputs": 2}, "only the largest element is supported.*k=3"),
    ("TopK", (np.array([1]),), {"outputs": 2, "largest": 0}, "only the largest element"),
])  # fmt: skip
def test_what_is_not_supported(op: str, inputs: Any, attributes: Any, message: str) -> None:
    net = Net((1, 4))
    net.node(op, "x", *inputs, **attributes)
    with pytest.raises(SiraError, match=message):
        decided(net)


@pytest.mark.parametrize("axis", [1, -1])
def test_the_largest_of_ranges_for_each_channel(axis: int) -> None:
    """A tensor of rank 3 whose range (3, 1) has fewer axes."""
    net = Net((1, 3, 2))
    y = net.node("Add", "x", np.float32([[0.0], [0.5], [8.0]]))
    net.node("TopK", y, np.array([1]), axis=axis, outputs=2)
    values = net.nodes[-1].output[0]
    found = analyze(prepare(annotated(net.proto(values))), {"x": integers(-2, 3)})[values]
    expected = [(6, 11)] if axis == 1 else [(-2, 3), (-1.5, 3.5), (6, 11)]
    assert isinstance(found, Interval)
    assert list(zip(found.lo.ravel(), found.hi.ravel(), strict=True)) == expected
