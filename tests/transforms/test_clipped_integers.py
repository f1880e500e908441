"""Relu and Clip on the lattice: thresholds where a quantizer follows, else integers of their own.

Every stage is executed by qonnx and compared with the golden integers; certificates check the last.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from certificates import certified
from onnx_models import Net
from stage_checks import check

from sira.analysis.ranges import analyze
from sira.certificate import checker
from sira.numbers.scaled import ScaledInt
from transforms import aggregate, to_canonical, to_thresholds


def accumulated(levels: int) -> tuple[Net, str]:
    """A convolution with a bias on the lattice of its sums, whose Relu has about so many levels."""
    rng = np.random.default_rng(levels)
    net = Net((1, 2, 6, 6))
    x = net.quant("x", 0.25, 3 if levels < 256 else 6)
    largest = 1 if levels < 256 else 7
    q = rng.integers(-largest, largest + 1, (4, 2, 3, 3))
    w = net.quant(q * 0.5, 0.5, 2 if levels < 256 else 4)
    bias = np.array([0, 3, -8, 5], np.float32) / 8
    return net, net.node("Conv", x, w, bias, pads=[1, 1, 1, 1])


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def readers(net: Net, x: str, reader: str) -> None:
    match reader:
        case "Add":
            other = net.node("Conv", "t0", net.quant(np.ones((4, 2, 1, 1)), 1.0, 2))
            net.quant(net.node("Add", x, net.quant(other, 0.5, 3)), 1.0, 4)
        case "MaxPool":
            net.quant(net.node("MaxPool", x, kernel_shape=[2, 2]), 1.0, 4)
        case "AveragePool":
            net.quant(net.node("AveragePool", x, kernel_shape=[2, 2]), 1.0, 4)
        case "Conv":
            q = np.random.default_rng(1).integers(-3, 4, (3, 4, 2, 2))
            net.quant(net.node("Conv", x, net.quant(q * 0.5, 0.5, 3)), 8.0, 4)
        case "output":
            pass


@pytest.mark.parametrize("levels", [60, 2000])
@pytest.mark.parametrize("op, limits", [("Relu", ()), ("Clip", (-0.5, 4.0)), ("Clip", (None, 1.0))])
@pytest.mark.parametrize("reader", ["Add", "MaxPool", "AveragePool", "Conv", "output"])
def test_integers_of_their_own(reader: str, op: str, limits: tuple[Any, ...], levels: int) -> None:
    net, x = accumulated(levels)
    clipped = net.node(op, x, *limits)
    readers(net, clipped, reader)
    model = net.model()
    canonical = to_canonical(model)
    ranges = analyze(canonical)
    found = ranges[clipped]
    assert isinstance(found, ScaledInt)
    counts = operators(to_thresholds(canonical, ranges))
    wide = int((found.hi - found.lo).max()) > 255
    assert counts["Max"] == int(wide and limits[:1] != (None,))
    assert counts["Min"] == int(wide and op == "Clip")
    samples = np.random.default_rng(2).uniform(-9, 9, (4, 1, 2, 6, 6))
    check(model, {}, samples)
    case = certified(net.model())
    checker.check(case.data, case.claims)


@pytest.mark.parametrize("levels", [60, 2000])
def test_in_front_of_a_quantizer_they_are_thresholds(levels: int) -> None:
    net, x = accumulated(levels)
    net.quant(net.node("Mul", net.node("Relu", x), 1.5), 1.0, 3, signed=0)
    canonical = to_canonical(net.model())
    ranges = analyze(canonical)
    assert isinstance(ranges[canonical.graph[-2].outputs[0]], ScaledInt)
    thresholds = to_thresholds(canonical, ranges)
    assert operators(thresholds)["MultiThreshold"] == 1  # the input's is the host's
    assert not operators(thresholds) & Counter(("Max", "Relu"))
    assert operators(aggregate(canonical, ranges))["Relu"] == 1
    check(net.model(), {}, np.random.default_rng(3).uniform(-9, 9, (4, 1, 2, 6, 6)))


def test_a_relu_off_the_lattice_that_is_always_zero() -> None:
    net, x = accumulated(60)
    dead = net.node("Relu", net.node("Sub", x, 1000.1))
    net.quant(net.node("Add", dead, net.quant(x, 1.0, 3)), 1.0, 3)
    check(net.model(), {}, np.random.default_rng(4).uniform(-9, 9, (3, 1, 2, 6, 6)))
