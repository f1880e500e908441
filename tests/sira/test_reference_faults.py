"""Thirteen faults of the reference implementation of scaled-integer range analysis, none of ours.

Each test states what is true of a small network, by arithmetic that is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx_models import Net, annotated, check, integers

from hls.layers.matrix_vector import MatrixVector
from hls.lower.lower import lower
from sira.analysis.ranges import Ranges, analyze
from sira.analysis.summary import mac_entries
from sira.datatypes import InputSpec, twos_complement_bits
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import RULES, Constant
from transforms.canonical import to_canonical
from transforms.thresholds import to_thresholds


def ranges_of(net: Net, spec: InputSpec, *outputs: str) -> Ranges:
    return analyze(prepare(annotated(net.proto(*outputs))), {"x": spec})


def integer(ranges: Ranges, name: str) -> ScaledInt:
    """The range of a tensor that must have an integer core."""
    found = ranges[name]
    assert isinstance(found, ScaledInt), getattr(found, "reason", found)
    return found


def real(ranges: Ranges, name: str) -> Interval:
    found = ranges[name]
    assert not isinstance(found, Constant)
    assert isinstance(found, ScaledInt | Interval)
    return found.interval if isinstance(found, ScaledInt) else found


def dense(net: Net, x: str, weights: NDArray[Any]) -> str:
    """A product with integer weights as they are."""
    w = net.constant(weights.astype(np.int32))
    return net.node("MatMul", x, net.node("DequantizeLinear", w, net.constant(1.0)))


def test_1_bounds_of_sums_are_integers_not_float32() -> None:
    weights = np.full((527, 1), 15)
    weights[0] = 212
    net = Net((1, 527))
    found = integer(ranges_of(net, integers(0, 8283), dense(net, "x", weights)), "t1")
    assert (found.lo.item(), found.hi.item()) == (0, 67108866)
    assert int(found.hi.item()).bit_length() == 27 and twos_complement_bits(0, 67108866) == 28
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (4608, 256))
    net = Net((1, 4608))
    found = integer(ranges_of(net, integers(0, 255), dense(net, "x", weights)), "t1")
    assert found.hi.ravel().tolist() == [255 * int(c[c > 0].sum()) for c in weights.T]
    assert found.lo.ravel().tolist() == [255 * int(c[c < 0].sum()) for c in weights.T]


def test_2_a_tensor_used_twice_is_one_value() -> None:
    net = Net((1, 3))
    square = net.node("Mul", "x", "x")
    zero, double = net.node("Sub", "x", "x"), net.node("Add", "x", "x")
    ranges = ranges_of(net, integers(-4, 4, Fraction(1, 4)), square, zero, double)
    for name, bounds in ((square, (0, 1)), (zero, (0, 0)), (double, (-2, 2))):
        found = real(ranges, name)
        assert (found.lo.min(), found.hi.max()) == bounds


def test_3_a_quotient_by_zero_is_not_bounded() -> None:
    net = Net((1, 3))
    quotients = net.node("Div", 1.0, "x"), net.node("Reciprocal", "x"), net.node("Pow", "x", -1.0)
    ranges = ranges_of(net, integers(-4, 4, Fraction(1, 4)), *quotients)
    for name in quotients:
        found = real(ranges, name)
        assert (found.lo.min(), found.hi.max()) == (-np.inf, np.inf)


def test_4_an_average_is_an_integer_sum() -> None:
    net = Net((1, 1, 2, 2))
    y = net.node("AveragePool", "x", kernel_shape=[2, 2])
    ranges, _ = check(net, integers(0, 1, Fraction(1, 4)), y)
    found = integer(ranges, y)
    assert (found.lo.item(), found.hi.item()) == (0, 4)
    assert found.scale_float.item() == 1 / 16 and real(ranges, y).hi.item() == 0.25


def test_5_integers_are_carried_not_recovered_from_reals() -> None:
    scale = Fraction(float(np.float32(0.0037)))
    net = Net((1, 4))
    y = net.node("Reshape", "x", np.array([2, 2]))
    found = integer(ranges_of(net, integers(0, 255, scale, 10**6), y), y)
    assert (found.lo.min(), found.hi.max()) == (0, 255)


def test_6_a_factor_of_zero_is_a_constant() -> None:
    net = Net((1, 2, 2))
    y = net.node("BatchNormalization", "x", [0.0, 1.0], [3.0, 0.5], [1.0, 0.0], [0.75, 1.0],
                 epsilon=0.0)  # fmt: skip
    z = net.node("Reshape", y, np.array([1, 4]))
    ranges = ranges_of(net, integers(-3, 5), z)
    found = real(ranges, z)
    assert not np.isnan(found.lo).any() and not np.isnan(found.hi).any()
    lo, hi = (np.broadcast_to(b, (1, 4)).tolist() for b in (found.lo, found.hi))
    assert lo == [[3.0, 3.0, -2.5, -2.5]] and hi == [[3.0, 3.0, 5.5, 5.5]]


def test_7_a_weight_scale_along_the_sum_is_no_common_scale() -> None:
    """2 * 3/4 + 1 * 1/4 of inputs 0..3: whatever the form of the range, it is that of the sum."""
    raw = np.array([[1.5], [0.25]])
    net = Net((1, 2))
    w = net.quant(raw, np.array([[0.75], [0.25]]), bits=4)
    y = net.node("MatMul", "x", w)
    ranges, _ = check(net, integers(0, 3), y)
    found = real(ranges, y)
    assert (found.lo.min(), found.hi.max()) == (0, 5.25)
    net = Net((1, 2))
    w = net.quant(raw, np.array([[0.3], [0.7]]), bits=4)  # in no ratio of small integers
    y = net.node("MatMul", "x", w)
    found = real(ranges_of(net, integers(0, 3), y), y)
    step, exact = Fraction(1, 2**40), 3 * 5 * Fraction(float(np.float32(0.3)))
    assert -step < Fraction(float(found.lo.min())) <= 0
    assert exact <= Fraction(float(found.hi.max())) < exact + step


def test_8_the_values_of_topk_have_the_range_of_the_scores() -> None:
    net = Net((1, 4))
    index = net.node("TopK", net.node("Mul", "x", 0.5), np.array([1]), outputs=2, axis=1)
    values = index.removesuffix("_1") + "_0"
    proto = annotated(net.proto(index))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    ranges = analyze(prepare(proto), {"x": integers(-40, 60)})
    found, place = real(ranges, values), integer(ranges, index)
    assert (found.lo.min(), found.hi.max()) == (-20, 30)
    assert (place.lo.min(), place.hi.max()) == (0, 3)


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often the rule of each operator was evaluated."""
    counts: dict[str, int] = {}

    def counting(op: str) -> Any:
        evaluate = RULES[op].evaluate

        def wrapped(node: Any, args: Any) -> Any:
            counts[op] = counts.get(op, 0) + 1
            return evaluate(node, args)

        return wrapped

    for op in ("Concat", "Mul", "Add"):
        monkeypatch.setitem(RULES, op, replace(RULES[op], evaluate=counting(op)))
    yield counts


def test_9_a_concatenation_of_14_costs_14(evaluations: dict[str, int]) -> None:
    net = Net((1, 2))
    parts = [net.node("Mul", "x", float(k)) for k in range(1, 15)]
    y = net.node("Concat", *parts, axis=1)
    found = real(ranges_of(net, integers(-1, 2), y), y)
    assert evaluations == {"Mul": 14, "Concat": 1}
    assert np.broadcast_to(found.hi, (1, 28)).tolist() == [
        [2.0 * k for k in range(1, 15) for _ in "ab"]
    ]


def test_10_thresholds_are_no_linear_function() -> None:
    """784 values of -1 or 1, whatever scale and bias the thresholds compare."""
    net = Net((1, 784))
    x = net.node("Add", net.node("Mul", "x", 0.3), 0.7)
    bits = net.node("MultiThreshold", x, [[0.5]], out_scale=2.0, out_bias=-1.0, out_dtype="BIPOLAR")
    y = dense(net, bits, np.where(np.arange(784) % 3, 1, -1)[:, None])
    found = real(ranges_of(net, integers(-128, 127), y), y)
    assert (found.lo.item(), found.hi.item()) == (-784, 784)


def test_11_an_input_has_no_bias_unless_it_is_declared() -> None:
    net = Net((1, 2))
    net.node("Mul", "x", 1.0)
    found = integer(ranges_of(net, integers(-3, 4)), "x")
    assert (found.bias_float == 0).all() and (real(analyze_annotated(net), "x").lo == -8).all()


def analyze_annotated(net: Net) -> Ranges:
    """Ranges where only the file says what the input is."""
    return analyze(prepare(annotated(net.proto(), "INT4")))


def bipolar(net: Net) -> str:
    return net.node("BipolarQuant", "x", 0.5)


def flattened(net: Net) -> str:
    return net.node("Flatten", "x")


def global_average(net: Net) -> str:
    return net.node("GlobalAveragePool", "x")


def resized(net: Net) -> str:
    return net.node("Resize", "x", None, np.array([1, 1, 2, 2], np.float32), mode="nearest",
                    coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip


def split(net: Net) -> str:
    return net.node("Split", "x", np.array([1, 3]), outputs=2, axis=1)


def truncated(net: Net) -> str:
    return net.node("Trunc", "x", 0.5, 0.0, 8.0, 2.0, 4.0, rounding_mode="FLOOR", signed=1)


def to_space(net: Net) -> str:
    return net.node("DepthToSpace", "x", blocksize=2)


def convolution_without_a_group(net: Net) -> str:
    w = net.quant(np.arange(36).reshape(1, 4, 3, 3) % 5 - 2.0, 1.0, bits=4)
    return net.node("Conv", "x", w)


@pytest.mark.parametrize("make", [
    bipolar, flattened, global_average, resized, split, truncated, to_space,
    convolution_without_a_group,
])  # fmt: skip
def test_12_an_integer_core(make: Any) -> None:
    net = Net((1, 4, 4, 4))
    y = make(net)
    ranges, _ = check(net, integers(-6, 7, Fraction(1, 2)), y)
    integer(ranges, y)


def test_13_accumulators_are_as_wide_as_their_ranges() -> None:
    """A 4-bit activation that only reaches 5, and a channel of small weights."""
    net = Net((1, 8))
    x = net.quant(net.node("Clip", "x", 0.0, 5.0), 1.0, bits=4, signed=0)
    weights = np.array([[7, 7, 7, 7, 7, 7, 7, 6], [1, 1, 0, 0, 0, 0, 0, 0]]).T
    y = net.node("MatMul", x, net.quant(weights, 1.0, bits=4))
    model = prepare(annotated(net.proto(y)))
    spec = integers(-8, 7)
    ranges = analyze(model, {"x": spec})
    [layer] = mac_entries(model, ranges, spec)
    bits = layer.accumulator
    assert bits is not None
    assert (bits.lo, bits.hi) == (0, 55 * 5)
    assert bits.bits_window == [(55 * 5).bit_length(), (2 * 5).bit_length()] == [9, 4]
    assert bits.bits_weights_datatype == twos_complement_bits(0, 55 * 15) == 11
    assert max(bits.bits_twos_complement) < bits.bits_weights_datatype
    stage = to_thresholds(canonical := to_canonical(model), analyze(canonical, {"x": spec}))
    built = lower(stage, analyze(stage), "test")
    [unit] = [layer for layer in built.dataflow.layers if isinstance(layer, MatrixVector)]
    assert unit.accumulator_bits == max(bits.bits_window)
