"""The golden model: whole networks in fractions, samples in and out."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Net, annotated, fractions, integers, point, real

from sira.analysis.ranges import analyze
from sira.errors import SiraError
from sira.load import load, prepare
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from sira.verification.oracle import Oracle

MODELS = Path(__file__).parents[2] / "models"
W = np.random.default_rng(0).normal(0, 1, (5, 3)).astype(np.float32)


def test_a_network_by_hand_in_fractions() -> None:
    """Constants are the exact numbers that float32 encodes; a tie goes to the even neighbour."""
    net = Net((1, 5))
    s = np.float32(0.1)
    y = net.node("Gemm", "x", net.quant(W, s, bits=4), np.float32([0.3, -0.7, 0.05]))
    net.quant(net.node("Relu", y), np.float32(0.2), bits=4, signed=0)
    model = prepare(annotated(net.proto()))
    ranges = analyze(model, {"x": integers(0, 15, Fraction(1, 3))})
    q = np.random.default_rng(1).integers(0, 16, (50, 1, 5))
    found = golden.run(model, ranges, point(ranges, model, q))
    weights = np.clip(np.rint(W / s), -8, 7).astype(np.int64)
    bias = real(np.float32([0.3, -0.7, 0.05]))
    acc = (q[:, 0] @ weights).astype(object) * Fraction(float(s)) / 3 + bias
    assert (fractions(found["t1"])[:, 0] == acc).all()
    step = Fraction(float(np.float32(0.2)))
    expected = [[min(max(round(max(v, 0) / step), 0), 15) for v in row] for row in acc]
    value = found["t3"]
    assert isinstance(value, ScaledInt) and value.lo[:, 0].tolist() == expected


def test_every_tensor_has_the_samples_and_its_shape() -> None:
    """Also where a constant makes all samples alike."""
    net = Net((1, 5))
    x = net.node("MatMul", net.quant("x"), net.quant(W, 0.25))
    dead = net.node("Relu", net.node("Sub", x, 1000.0))
    net.quant(net.node("Reshape", dead, np.array([3, 1])))
    model = prepare(net.proto())
    ranges = analyze(model)
    encoded = golden.encode(ranges, model.graph.inputs[0], np.ones((7, 1, 5)))
    found = golden.run(model, ranges, {"x": encoded})
    shapes = {n: v.lo.shape for n, v in found.items() if isinstance(v, ScaledInt)}
    assert shapes["t0"] == (7, 1, 5) and shapes["t2"] == (7, 1, 3) and shapes["t6"] == (7, 3, 1)


@pytest.mark.parametrize("name", ["digits_mlp_w2a2", "digits_mlp_w1a1", "digits_mlp_w4a4"])
def test_bundled_networks_equal_the_oracle(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    with np.load(MODELS / "digits_test.npz") as data:
        x = data["x"][:60]
    model = load(path)
    ranges = analyze(model)
    source = model.graph.inputs[0]
    exact = golden.run(model, ranges, {str(source.name): golden.encode(ranges, source, x)})
    import onnx

    oracle = Oracle(onnx.load(path))
    floats = oracle.run(x, oracle.quantizers)
    for tensor in oracle.quantizers:
        value, static = exact[tensor], ranges[tensor]
        assert isinstance(value, ScaledInt) and isinstance(static, ScaledInt)
        assert (static.lo <= value.lo).all() and (value.lo <= static.hi).all()
        found = oracle.integers(tensor, golden.decode(value, value.lo))
        assert np.array_equal(found, oracle.integers(tensor, floats[tensor])), tensor


def encoded(samples: Any, scale: Any = Fraction(1, 255)) -> Any:
    model = prepare(annotated(_identity().proto()))
    ranges = analyze(model, {"x": integers(0, 255, scale)})
    return golden.encode(ranges, model.graph.inputs[0], samples)


def _identity() -> Net:
    net = Net((1, 4))
    net.node("Identity", "x")
    return net


def test_samples_are_float32_of_the_exact_value() -> None:
    q = np.arange(256).reshape(64, 1, 4)
    for samples in ((q / 255).astype(np.float32), q / 255, (q / 255).reshape(64, 4)):
        value = encoded(samples)
        assert isinstance(value, ScaledInt) and np.array_equal(value.lo, q)
    assert np.array_equal(golden.decode(encoded(q / 255), q), q / 255)


def test_an_undeclared_input_takes_any_number() -> None:
    net = Net((1, 4))
    net.quant("x")
    model = prepare(net.proto())
    value = golden.encode(analyze(model), model.graph.inputs[0], np.full((2, 1, 4), 0.1))
    assert isinstance(value, Interval) and (value.lo == 0.1).all() and (value.hi == 0.1).all()


@pytest.mark.parametrize("samples, message", [
    (np.full((1, 1, 4), 0.5), "not a value of the declared input type, .* found 0.5; quantize"),
    (np.full((1, 1, 4), 256 / 255), "not a value of the declared input type"),
    (np.full((1, 1, 4), -1 / 255), "not a value of the declared input type"),
    (np.full((1, 1, 4), np.nan), "the samples hold NaN or infinity"),
    (np.zeros((2, 1, 5)), r"the samples do not fit, expected shape \(samples, 1, 4\), found"),
    (np.zeros(()), "the samples do not fit"),
])  # fmt: skip
def test_samples_that_are_refused(samples: Any, message: str) -> None:
    with pytest.raises(SiraError, match=f"^input x: .*{message}"):
        encoded(samples)


@pytest.mark.parametrize("axes", [(), (1,), (3, 1, 1), (1, 3, 1, 1), (3, 1, 2)])
@pytest.mark.parametrize("count", [1, 40])
def test_decoded_numbers_are_rounded_once(axes: tuple[int, ...], count: int) -> None:
    """Whether there are few different integers or many."""
    random = np.random.default_rng(0)
    scale = Exact.of(Fraction(1, 255))
    bias = Exact(np.array([Fraction(int(n), 7) for n in random.integers(-9, 9, prod(axes))],
                          object).reshape(axes))  # fmt: skip
    q = random.integers(-3, 4, (count, 1, 3, 2, 2))
    found = golden.decode(ScaledInt.of(-3, 3, scale, bias), q)
    wanted = np.vectorize(lambda n, b: float(Fraction(int(n), 255) + b))(q, bias.values)
    assert found.shape == wanted.shape and (found == wanted).all()
