"""Activations written with one tensor used twice become thresholds like any other."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from onnx_models import Net, integers, point

from sira.analysis.ranges import analyze
from sira.analysis.tail import find_tail
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from transforms.steps.staircase import staircase

Build = Callable[[Net], str]


def silu(net: Net) -> str:
    return net.node("Mul", "x", net.node("Sigmoid", "x"))


def mish(net: Net) -> str:
    return net.node("Mul", "x", net.node("Tanh", net.node("Softplus", "x")))


def gelu(net: Net) -> str:
    erf = net.node("Erf", net.node("Div", "x", 2.0**0.5))
    return net.node("Mul", net.node("Mul", "x", 0.5), net.node("Add", erf, 1.0))


def rising(net: Net) -> str:
    return net.node("Sub", "x", net.node("Mul", net.node("Tanh", "x"), 0.5))


ROOT = mpmath.mpf(float(np.float32(2.0**0.5)))
CASES: list[tuple[Build, Callable[[mpmath.mpf], mpmath.mpf]]] = [
    (silu, lambda x: x / (1 + mpmath.exp(-x))),
    (mish, lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x)))),
    (gelu, lambda x: x / 2 * mpmath.erfc(-x / ROOT)),
    (rising, lambda x: x - mpmath.tanh(x) / 2),
]


@pytest.mark.parametrize(("build", "f"), CASES, ids=[b.__name__ for b, _ in CASES])
@pytest.mark.parametrize("scale", [0.125, 0.05])
def test_integers_and_steps_are_exact(
    build: Build, f: Callable[[mpmath.mpf], mpmath.mpf], scale: float
) -> None:
    """Quantized to steps so coarse that the output rises; every integer, against mpmath."""
    net = Net((1, 1))
    out = net.quant(build(net), scale=0.75, bits=4)
    model = net.model(out)
    ranges = analyze(model, {"x": integers(-100, 60, float(np.float32(scale)))})
    q = np.arange(-100, 61).reshape(-1, 1, 1)
    found = golden.run(model, ranges, point(ranges, model, q))[out]
    assert isinstance(found, ScaledInt)
    step = Fraction(float(np.float32(scale)))
    with mpmath.workprec(200):
        reals = [f(mpmath.mpf(v * step.numerator) / step.denominator) for v in range(-100, 61)]
        wanted = np.array([min(max(int(mpmath.nint(r / mpmath.mpf(0.75))), -8), 7) for r in reals])
    assert np.array_equal(found.lo.ravel(), wanted)
    tail = find_tail(next(iter(model.graph.outputs)))
    assert tail.source.name == "x" and len(tail.nodes) >= 3
    stairs = staircase(tail, ranges)
    counted = stairs.base + (q.reshape(-1, 1) >= stairs.thresholds[0]).sum(axis=1)
    assert np.array_equal(counted, wanted)


def test_a_fine_quantizer_shows_that_silu_falls() -> None:
    net = Net((1, 1))
    out = net.quant(silu(net), scale=0.03125, bits=8)
    model = net.model(out)
    ranges = analyze(model, {"x": integers(-100, 60, 0.125)})
    with pytest.raises(SiraError, match="not monotone"):
        staircase(find_tail(model.graph.outputs[0]), ranges)


def test_ties_of_a_rational_function_are_decided() -> None:
    """(x + 1) * (x - 2) / 4 is a tie at many integers; halves go to the even number."""
    net = Net((1, 1))
    product = net.node("Mul", net.node("Add", "x", 1.0), net.node("Sub", "x", 2.0))
    out = net.quant(product, scale=4.0, bits=6)
    model = net.model(out)
    ranges = analyze(model, {"x": integers(-9, 9)})
    q = np.arange(-9, 10).reshape(-1, 1, 1)
    found = golden.run(model, ranges, point(ranges, model, q))[out]
    assert isinstance(found, ScaledInt)
    wanted = [round(Fraction((v + 1) * (v - 2), 4)) for v in range(-9, 10)]
    assert found.lo.ravel().tolist() == wanted
