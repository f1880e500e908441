"""Rounding ties of float32: told apart from errors, layer by layer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx_models import Net, integers

from sira import golden
from sira.against_oracle import check_float32, check_float64
from sira.analysis import Ranges, analyze
from sira.float32 import explained
from sira.load import prepare
from sira.oracle import Oracle
from sira.scaled import Value


class Case:
    """A layer whose odd accumulators lie within 2**-24 of a tie: float32 decides many wrongly."""

    def __init__(self) -> None:
        random = np.random.default_rng(11)
        s_in, s_w = np.float32(0.0371), np.float32(0.0517)
        net = Net((1, 24))
        weights = random.integers(-3, 4, (24, 16)).astype(np.float32) * s_w
        x = net.quant("x", s_in, 5)
        self.quantized = x
        hidden = net.node("MatMul", x, net.quant(weights, s_w, 4))
        self.output = net.quant(hidden, np.float32(2) * (s_in * s_w), 8)
        self.proto = net.proto(self.output)
        self.model: ir.Model = prepare(self.proto)
        self.ranges: Ranges = analyze(self.model)
        self.oracle = Oracle(self.proto)
        q = random.integers(-16, 16, (60, 1, 24))
        self.x: NDArray[np.float32] = (q * s_in).astype(np.float32)
        encoded = golden.encode(self.ranges, self.model.graph.inputs[0], self.x)
        self.ours: dict[str, Value] = golden.run(self.model, self.ranges, {"x": encoded})


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


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
    sample, _, channel = (int(i[0]) for i in np.nonzero(accumulator % 2 == 0))
    run[case.output][sample, 0, channel] += float(step.scale_float)
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


def test_a_declared_input_is_read_as_its_exact_value() -> None:
    net = Net((1, 6))
    x = net.quant(net.node("Mul", "x", 3.0), 0.7, 3)
    net.node("MatMul", x, net.quant(np.ones((6, 2)), 1.0, 2))
    model = net.model()
    ranges = analyze(model, {"x": integers(0, 255, "1/255")})
    q = np.arange(6).reshape(1, 1, 6) * 51
    encoded = golden.encode(ranges, model.graph.inputs[0], (q / 255).astype(np.float32))
    np.testing.assert_array_equal(encoded.lo, q)  # type: ignore[union-attr]
