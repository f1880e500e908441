"""Rounding ties of float32: told apart from errors, layer by layer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx_models import Net, integers

from sira.analysis.ranges import Ranges, analyze
from sira.load import prepare
from sira.numbers.scaled import ScaledInt, Value
from sira.verification import golden
from sira.verification.float_execution import check_float32, check_float64
from sira.verification.oracle import Oracle
from sira.verification.rounding_errors import explained


class Case:
    """A layer whose odd accumulators lie within 2**-24 of a tie: float32 decides many wrongly."""

    def __init__(self, convolution: bool) -> None:
        random = np.random.default_rng(11)
        s_in, s_w = np.float32(0.0371), np.float32(0.0517)
        shape = (1, 6, 2, 2) if convolution else (1, 24)
        net = Net(shape)
        weights = random.integers(-3, 4, (24, 16)).astype(np.float32) * s_w
        x = net.quant("x", s_in, 5)
        self.quantized = x
        if convolution:  # a window that covers the image
            w = net.quant(weights.T.reshape(16, 6, 2, 2).copy(), s_w, 4)
            hidden = net.node("Conv", net.node("MaxPool", x, kernel_shape=[1, 1]), w)
        else:
            hidden = net.node("MatMul", x, net.quant(weights, s_w, 4))
        self.output = net.quant(hidden, np.float32(2) * (s_in * s_w), 8)
        self.proto = net.proto(self.output)
        self.model: ir.Model = prepare(self.proto)
        self.ranges: Ranges = analyze(self.model)
        self.oracle = Oracle(self.proto)
        q = random.integers(-16, 16, (60, 1, 24)).reshape(60, *shape)
        self.x: NDArray[np.float32] = (q * s_in).astype(np.float32)
        encoded = golden.encode(self.ranges, self.model.graph.inputs[0], self.x)
        self.ours: dict[str, Value] = golden.run(self.model, self.ranges, {"x": encoded})


@pytest.fixture(scope="module", params=[False, True], ids=["MatMul", "Conv"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_ties_are_counted_as_ties(case: Case) -> None:
    result = check_float32(case.model, case.ranges, case.ours, case.oracle)
    assert result.ties > 0, "the case is meant to have ties"
    assert result.agree + result.ties == len(case.x)
    assert result.check.mismatches == 0
    for check in check_float64(case.model, case.ranges, case.ours, case.oracle):
        assert check.mismatches == 0, check


def test_one_wrong_step_is_not_explained(case: Case) -> None:
    run = {k: v.copy() for k, v in case.oracle.run_float32(case.x).items()}
    names = (case.quantized, case.output)
    assert explained(case.model, case.ranges, run, names).all()
    step = case.ranges.scaled(_value(case, case.output))
    assert step is not None
    # An even accumulator lies in the middle of a step: no rounding takes it to the next.
    accumulator = case.ours[_accumulator(case)].lo  # type: ignore[union-attr]
    sample, *place = (int(i[0]) for i in np.nonzero(accumulator % 2 == 0))
    run[case.output][(sample, *place)] += float(step.scale_float)
    good = explained(case.model, case.ranges, run, names)
    assert not good[sample]
    assert good.sum() == len(good) - 1


def test_a_wrong_input_quantizer_is_not_explained(case: Case) -> None:
    run = {k: v.copy() for k, v in case.oracle.run_float32(case.x).items()}
    step = case.ranges.scaled(_value(case, case.quantized))
    assert step is not None
    run[case.quantized][7, 0, 3] += float(step.scale_float)
    names = (case.quantized, case.output)
    assert not explained(case.model, case.ranges, run, names)[7]


def _value(case: Case, name: str) -> ir.Value:
    return next(v for n in case.model.graph for v in n.outputs if v.name == name)


def _accumulator(case: Case) -> str:
    node = _value(case, case.output).producer()
    assert node is not None and node.inputs[0] is not None
    return str(node.inputs[0].name)


def test_sums_averages_and_pools_are_explained() -> None:
    """Convolutions with bias, a residual sum and an average, in the neighbourhood of ties."""
    random = np.random.default_rng(5)
    s_in, s_w = np.float32(0.0371), np.float32(0.0517)
    net = Net((1, 4, 4, 4))
    x = net.quant("x", s_in, 5)
    w = net.quant(random.integers(-3, 4, (4, 4, 3, 3)) * s_w, s_w, 4)
    x = net.node("Conv", x, w, (random.integers(-9, 9, 4) * (s_in * s_w)), pads=[1, 1, 1, 1])
    a = net.quant(net.node("Relu", x), np.float32(2) * (s_in * s_w), 8)
    pooled = net.node("MaxPool", a, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    b = net.quant(net.node("Add", a, pooled), np.float32(4) * (s_in * s_w), 8)
    y = net.quant(net.node("AveragePool", b, kernel_shape=[2, 2]), np.float32(8) * (s_in * s_w), 8)
    proto = net.proto(y)
    model = prepare(proto)
    ranges = analyze(model)
    samples = (random.integers(-16, 16, (30, 1, 4, 4, 4)) * s_in).astype(np.float32)
    encoded = golden.encode(ranges, model.graph.inputs[0], samples)
    ours = golden.run(model, ranges, {"x": encoded})
    oracle = Oracle(proto)
    result = check_float32(model, ranges, ours, oracle)
    assert result.ties > 0, "the case is meant to have ties"
    assert result.agree + result.ties == 30 and result.check.mismatches == 0
    run = oracle.run_float32(samples)
    scale = ranges.scaled(_named(model, b))
    assert scale is not None
    run[b][4, 0, 2, 1, 1] += 2 * float(scale.scale_float)  # a tie explains one step
    assert not explained(model, ranges, run, (a, b, y))[4]


def _named(model: ir.Model, name: str) -> ir.Value:
    return next(v for n in model.graph for v in n.outputs if v.name == name)


def divided() -> tuple[Net, str]:
    """x / 49 * 49 / 2, which float64 does not bring back to x / 2 for some odd x."""
    net = Net((1, 64))
    x = net.node("Mul", net.node("Div", "x", 49.0), 49.0)
    first = net.quant(x, 2.0, 8)
    net.node("MatMul", first, net.quant(np.ones((64, 2)), 1.0, 2), output="y")
    return net, first


def test_ties_of_float64_are_listed_and_no_mismatch() -> None:
    net, first = divided()
    proto = net.proto()
    model = prepare(proto)
    spec = integers(0, 127)
    ranges = analyze(model, {"x": spec})
    q = np.arange(128).reshape(2, 1, 64)
    ours = golden.run(model, ranges, {"x": golden.encode(ranges, model.graph.inputs[0], q)})
    half = (q.reshape(2, 64) / 49 * 49) / 2
    wrong = np.rint(half) != np.rint(q.reshape(2, 64) / 2)
    assert wrong.any(), "the case is meant to have ties"
    checks = check_float64(model, ranges, ours, Oracle(proto), first=10)
    assert not any(check.mismatches for check in checks)
    listed = [tie for check in checks for tie in check.ties]
    assert listed == [
        f"{first}: sample {10 + i}, element {j}: float64 makes {int(np.rint(half[i, j]))} of "
        f"{int(np.rint((64 * i + j) / 2))}"
        for i, j in np.argwhere(wrong)
    ]
    # A difference beside the ties is a mismatch, and then nothing is excused.
    damaged = ours[first].lo.copy()  # type: ignore[union-attr]
    damaged[0, 0, 2] += 1
    other = {**ours, first: ScaledInt(damaged, damaged, ours[first].scale, ours[first].bias)}  # type: ignore[union-attr]
    assert check_float64(model, ranges, other, Oracle(proto))[0].mismatches > 0


def test_a_declared_input_is_read_as_its_exact_value() -> None:
    net = Net((1, 6))
    x = net.quant(net.node("Mul", "x", 3.0), 0.7, 3)
    net.node("MatMul", x, net.quant(np.ones((6, 2)), 1.0, 2))
    model = net.model()
    ranges = analyze(model, {"x": integers(0, 255, "1/255")})
    q = np.arange(6).reshape(1, 1, 6) * 51
    encoded = golden.encode(ranges, model.graph.inputs[0], (q / 255).astype(np.float32))
    np.testing.assert_array_equal(encoded.lo, q)  # type: ignore[union-attr]
