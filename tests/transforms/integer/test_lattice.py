"""Integers on another scale and bias, up to the border of int64."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from onnx_models import Net, integers

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.errors import SiraError
from sira.numbers.exact import Exact
from transforms.integer.graph import IntegerGraph
from transforms.integer.lattice import on_lattice


def _moved(scale: Fraction, bias: Fraction) -> list[tuple[str, float]]:
    """The constants with which integers of that scale and bias become plain ones."""
    net = Net((1, 2))
    net.quant("x")
    model = net.model()
    ranges = analyze(model, {"x": integers(-1, 2, scale, bias)})
    graph = IntegerGraph(model, ranges, {}, partial(pytest.fail, "no staircase is needed"))
    made = on_lattice(graph, model.graph.inputs[0], Exact.of(1), Exact.of(0))
    steps = []
    while (node := made.producer()) is not None:
        contents = g.array(node.inputs[1])
        assert contents is not None and node.inputs[0] is not None
        steps.append((node.op_type, np.asarray(contents, object).item()))
        made = node.inputs[0]
    return steps[::-1]


def test_constants_are_exact() -> None:
    far = 2**62 + 1
    assert _moved(Fraction(3), Fraction(-6)) == [("Mul", 3), ("Add", -6)]
    assert _moved(Fraction(far), Fraction(far)) == [("Mul", far), ("Add", far)]


@pytest.mark.parametrize("scale, bias", [(2**63, 0), (1, -(2**63)), (2**70, 2**80)])
def test_the_border_of_int64(scale: int, bias: int) -> None:
    with pytest.raises(SiraError, match="tensor x: the integers do not fit into 64 bits"):
        _moved(Fraction(scale), Fraction(bias))


@pytest.mark.parametrize("scale, bias", [(Fraction(1, 2), 0), (1, Fraction(1, 3))])
def test_fractions_are_refused(scale: Fraction, bias: Fraction) -> None:
    with pytest.raises(SiraError, match="not on the lattice"):
        _moved(Fraction(scale), Fraction(bias))
