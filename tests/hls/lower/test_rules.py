"""The table of lowering rules, and the widths of accumulators as data."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_models import Net, annotated, integers

from hls.dataflow import Layer
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.lower.lower import lower
from hls.lower.rules import RULES, rule
from sira.errors import SiraError
from transforms.stages import Stages, transform

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def stages() -> Stages:
    """Two products, ``MatMul_1`` and ``MatMul_4``, and a decision."""
    net = Net((1, 6))
    hidden = net.node("MatMul", "x", net.quant(RNG.integers(-7, 8, (6, 4)) * 0.25, 0.25))
    scores = net.node(
        "MatMul", net.quant(hidden, 1.0), net.quant(RNG.integers(-7, 8, (4, 3)) * 0.25, 0.25)
    )
    net.node("ArgMax", scores, axis=1)
    return transform(annotated(net.proto()), {"x": integers(-8, 7, 0.5)}, "net")


def units(layers: tuple[Layer, ...]) -> dict[str, MatrixVector]:
    return {layer.name: layer for layer in layers if isinstance(layer, MatrixVector)}


def test_an_operator_without_a_rule_is_the_hosts(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = lower(stages.integer.model, stages.integer.ranges, "net")
    assert isinstance(built.dataflow.layers[-1], ArgMax) and "ArgMax" not in built.host
    monkeypatch.delitem(RULES, "ArgMax")
    built = lower(stages.integer.model, stages.integer.ranges, "net")
    assert isinstance(built.dataflow.layers[-1], MatrixVector) and "ArgMax" in built.host


def test_what_must_be_hardware_is_an_error_elsewhere(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(build: object, node: ir.Node) -> None:
        """Leaves every node to the host."""

    monkeypatch.delitem(RULES, "MatMul")
    rule("MatMul", to_host=False)(refuse)
    with pytest.raises(SiraError, match=r"MatMul_1.*no hardware for these operators"):
        lower(stages.integer.model, stages.integer.ranges, "net")


def test_an_operator_has_one_rule() -> None:
    with pytest.raises(AssertionError, match="Conv"):
        rule("Conv")(RULES["Conv"].lower)


def test_accumulators_have_the_widths_asked_for(stages: Stages) -> None:
    """By layer; the least width where none is asked for, and reported whatever is asked for."""
    least = lower(stages.integer.model, stages.integer.ranges, "net")
    needed = {name: la.accumulator_bits for name, la in units(least.dataflow.layers).items()}
    assert least.windows == needed and len(needed) == 2
    first, second = needed
    for bits in (needed[first] + 5, needed[first] - 1):
        built = lower(stages.integer.model, stages.integer.ranges, "net", {first: bits})
        found = {name: la.accumulator_bits for name, la in units(built.dataflow.layers).items()}
        assert found == {first: bits, second: needed[second]}
        assert built.windows == needed
