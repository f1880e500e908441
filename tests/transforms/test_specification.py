"""A graph that breaks the specification of its stage is noticed at the stage's border."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx_models import Net, integers

from hls.lower.rules import RULES
from sira import graph as g
from transforms import stages
from transforms.specification import INTEGER_OPERATORS, Specification, check
from transforms.stages import PASSES, Stages, transform

SPEC = integers(-4, 3, "1/2")


def net() -> Net:
    net = Net((1, 2, 4, 4))
    x = net.node("Conv", "x", net.quant(np.arange(54.0).reshape(3, 2, 3, 3) % 5 - 2, 1.0))
    x = net.node("Flatten", net.quant(net.node("Neg", x), 2.0))
    net.quant(net.node("Gemm", x, net.quant(np.arange(24.0).reshape(12, 2) % 3 - 1, 1.0)), 4.0)
    return net


@pytest.fixture
def built() -> Stages:
    return transform(net().proto(), {"x": SPEC})


def test_passes_come_behind_their_sources(built: Stages) -> None:
    known = ["01_loaded"]
    for step in PASSES:
        assert step.source in known
        known.append(step.stage)
    assert list(built.models) == sorted(known)


def thresholds(model: ir.Model) -> ir.Node:
    return next(n for n in model.graph if n.op_type == "MultiThreshold")


def rewritten(value: ir.Value | None, change: Callable[[np.ndarray], np.ndarray]) -> None:
    assert value is not None and value.const_value is not None
    value.const_value = ir.Tensor(change(value.const_value.numpy().copy()), name=value.name)


def halved(model: ir.Model) -> None:
    rewritten(next(n for n in model.graph if n.op_type == "Conv").inputs[1], lambda a: a / 2)


def foreign(model: ir.Model) -> None:
    """An operator between integers that no integer graph has."""
    node = thresholds(model)
    read = node.inputs[0]
    assert read is not None
    value = ir.Value(name="absolute", shape=read.shape, type=read.type)
    made = ir.Node("", "Abs", [read], outputs=[value], name="absolute")
    model.graph.insert_before(node, made)
    node.replace_input_with(0, value)


def twice(model: ir.Model) -> None:
    first, second = (n.outputs[0] for n in model.graph if n.op_type == "MultiThreshold")
    second.name = first.name


def shapeless(model: ir.Model) -> None:
    thresholds(model).outputs[0].shape = ir.Shape(["N", 3, 2, 2])


def falling(model: ir.Model) -> None:
    rewritten(thresholds(model).inputs[1], lambda a: a[:, ::-1])


def row_too_many(model: ir.Model) -> None:
    rewritten(thresholds(model).inputs[1], lambda a: np.concatenate([a, a, a, a, a])[:4])


def scaled(model: ir.Model) -> None:
    node = thresholds(model)
    node.attributes["out_bias"] = ir.AttrFloat32("out_bias", 0.5)


def unrecorded(model: ir.Model) -> None:
    thresholds(model).outputs[0].meta.clear()


@pytest.mark.parametrize(
    "damage, message",
    [
        (halved, "has a constant that is no integer"),
        (foreign, "is no operator of an integer graph"),
        (twice, "two tensors, or none, are called"),
        (shapeless, "has no static shape"),
        (falling, "has thresholds that fall"),
        (row_too_many, "has no thresholds"),
        (scaled, "does not count integers"),
        (unrecorded, "is not said to be a tensor of the original"),
    ],
)
def test_breaches_of_an_integer_graph(
    built: Stages, damage: Callable[[ir.Model], None], message: str
) -> None:
    model = built.models["04_thresholds"].clone()
    damage(model)
    ranges = built.integer.ranges
    if damage is foreign:
        ranges = replace(ranges, values={**ranges.values, "absolute": ranges["t6"]})
    with pytest.raises(AssertionError, match=rf"stage 04_thresholds: .*{message}"):
        check("04_thresholds", Specification(integer=True), model, ranges)


def test_what_is_not_canonical(built: Stages) -> None:
    with pytest.raises(AssertionError, match=r"stage 02_canonical: .*Neg .* is not canonical"):
        check("02_canonical", PASSES[0].result, built.loaded.model)


def test_a_pass_that_breaks_its_specification_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: ir.Model, ranges: object) -> ir.Model:
        result = stages.remove_constant_channels(model, ranges)  # type: ignore[arg-type]
        falling(result)
        return result

    name = "05_constant_channels"
    passes = [replace(p, run=broken) if p.stage == name else p for p in PASSES]
    monkeypatch.setattr(stages, "PASSES", passes)
    with pytest.raises(AssertionError, match=name):
        transform(net().proto(), {"x": SPEC})


def test_lowering_has_a_rule_for_no_operator_that_an_integer_graph_does_not_hold() -> None:
    assert RULES.keys() <= INTEGER_OPERATORS


def test_every_integer_graph_of_a_model_is_within_the_specification(built: Stages) -> None:
    used = {n.op_type for n in built.integer.model.graph if g.dynamic_inputs(n)}
    assert {"Conv", "MultiThreshold", "Reshape", "MatMul"} <= used
