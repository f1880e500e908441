"""The walk over the graph: what ranges start from, reasons, and constants."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import Net, annotated, integers

from sira.analysis.ranges import RANGE, analyze
from sira.errors import SiraError
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import Constant

W = np.random.default_rng(0).normal(0, 1, (4, 3)).astype(np.float32)


def net() -> Net:
    made = Net((1, 4))
    made.quant(made.node("MatMul", "x", made.quant(W, 0.25)), 2.0)
    return made


def test_a_declaration_goes_before_an_annotation() -> None:
    model = prepare(annotated(net().proto(), "INT3"))
    for spec, lo, hi in ((None, -4, 3), (integers(0, 9), 0, 9)):
        found = analyze(model, {"x": spec} if spec else {})["x"]
        assert isinstance(found, ScaledInt) and (found.lo, found.hi) == (lo, hi)


def test_bipolar_inputs_take_one_bit() -> None:
    found = analyze(prepare(annotated(net().proto(), "BIPOLAR")))["x"]
    assert isinstance(found, ScaledInt)
    assert (found.lo, found.hi, found.scale_float, found.bias_float) == (0, 1, 2, -1)


def test_undeclared_inputs_may_be_anything_without_a_default_bias() -> None:
    ranges = analyze(prepare(net().proto()))
    found, product, quantized = ranges["x"], ranges["t1"], ranges["t2"]
    assert isinstance(found, Interval) and (found.lo, found.hi) == (-np.inf, np.inf)
    assert found.reason == "input x is not declared, so it may be any number"
    assert isinstance(product, Interval) and product.reason == found.reason
    assert isinstance(quantized, ScaledInt)
    assert (quantized.lo.min(), quantized.hi.max()) == (-8, 7)
    assert (quantized.bias_float == 0).all()


def test_the_range_in_the_metadata_of_an_input() -> None:
    model = prepare(annotated(net().proto(), "INT4"))
    model.graph.inputs[0].metadata_props[RANGE] = "-7 7"
    found = analyze(model)["x"]
    assert isinstance(found, ScaledInt) and (found.lo, found.hi) == (-7, 7)


def test_the_reason_names_the_first_operator_that_is_not_affine() -> None:
    made = Net((1, 4))
    made.node("Neg", made.node("Relu", made.node("Tanh", "x")))
    ranges = analyze(prepare(annotated(made.proto())), {"x": integers(-3, 3)})
    for name in ("t0", "t1", "t2"):
        found = ranges[name]
        assert isinstance(found, Interval) and found.reason.startswith("Tanh Tanh_0 is not affine")


def test_what_only_constants_flow_into_is_a_constant() -> None:
    made = Net((1, 4))
    w = made.node("Mul", made.node("Transpose", made.quant(W.T, 0.25), perm=[1, 0]), 2.0)
    made.node("MatMul", "x", w)
    ranges = analyze(prepare(annotated(made.proto())), {"x": integers(-3, 3)})
    for name in ("t0", "t1", "t2"):
        assert isinstance(ranges[name], Constant)
    product = ranges["t3"]
    assert isinstance(product, ScaledInt) and (product.scale_float % 0.5 == 0).all()


def test_constants_that_cannot_be_exact() -> None:
    made = Net((1, 4))
    made.node("MatMul", "x", made.node("Tanh", made.quant(W, 0.25)))
    with pytest.raises(SiraError, match="Tanh_1: cannot compute a constant exactly"):
        analyze(prepare(annotated(made.proto())), {"x": integers(-3, 3)})


def test_weights_times_the_full_range_is_the_most_that_can_be() -> None:
    """Whatever the quantizer in front, no accumulator leaves exact weights times its range."""
    rng = np.random.default_rng(1)
    for bits, signed in ((1, 0), (2, 1), (4, 0), (8, 1)):
        made = Net((1, 4))
        made.node("MatMul", made.quant("x", bits=bits, signed=signed), made.quant(W, 0.125))
        found = analyze(prepare(made.proto()))["t2"]
        assert isinstance(found, ScaledInt)
        values = [-1, 1] if signed and bits == 1 else range(-(2 ** (bits - 1)) * signed, 2 ** (
            bits - signed))  # fmt: skip
        x = rng.choice(list(values), (2000, 4))
        product = x @ (np.clip(np.rint(W / np.float32(0.125)), -8, 7))
        bounds = found.interval
        assert (bounds.lo <= product.min(axis=0) * 0.125).all()
        assert (product.max(axis=0) * 0.125 <= bounds.hi).all()
