"""Integer models with their certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_models import Net, integers

from sira import certify
from sira import graph as g
from sira.analysis import Ranges, analyze
from sira.datatypes import InputSpec
from transforms import annotate_accumulators, to_canonical, to_thresholds

Claims = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """An integer model, its ranges, its file and its certificate."""

    model: ir.Model
    ranges: Ranges
    data: bytes
    claims: Claims


def certified(model: ir.Model, spec: InputSpec | None = None) -> Case:
    """The last stage of a model whose input is declared by ``spec``."""
    inputs = {} if spec is None else {g.name(model.graph.inputs[0]): spec}
    canonical = to_canonical(model)
    thresholds = to_thresholds(canonical, analyze(canonical, inputs))
    ranges = analyze(thresholds)
    integer = annotate_accumulators(thresholds, ranges)
    data = ir.to_proto(integer).SerializeToString()
    return Case(integer, ranges, data, certify.certificate(integer, ranges, data))


def perceptron() -> Case:
    """4 inputs of 2 bits, 3 neurons, 2 scores."""
    rng = np.random.default_rng(1)
    net = Net((1, 4))
    x = net.node("MatMul", "x", net.quant(rng.integers(-3, 4, (4, 3)), 1.0, 3))
    x = net.quant(x, 2.0, 2)
    net.node("MatMul", x, net.quant(rng.integers(-2, 3, (3, 2)), 1.0, 3))
    return certified(net.model(), integers(-1, 2))


def convolutions() -> Case:
    """Padding with a value that no input has, then a depthwise convolution with gaps, strided."""
    rng = np.random.default_rng(2)
    net = Net((1, 2, 5, 4))
    w = net.quant(rng.integers(-2, 3, (3, 2, 3, 2)), 1.0, 3)
    x = net.node("Conv", "x", w, pads=[1, 0, 1, 1], strides=[2, 1])
    x = net.quant(x, 3.0, 3, signed=0)
    w = net.quant(rng.integers(-2, 3, (3, 1, 2, 2)), 1.0, 3)
    net.node("Conv", x, w, pads=[1, 1, 0, 0], strides=[1, 2], dilations=[2, 1], group=3)
    return certified(net.model(), integers(1, 3))
