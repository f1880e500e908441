"""Integer models with their certificates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Net, integers

from sira import graph as g
from sira.analysis.ranges import Ranges, analyze
from sira.certificate import writer
from sira.certificate.model import RANGE
from sira.datatypes import InputSpec
from transforms import annotate_accumulators, to_canonical, to_thresholds

Claims = dict[str, Any]


def small_model(
    shape: tuple[int, ...],
    declared: tuple[int, int],
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    opset: int = 13,
) -> onnx.ModelProto:
    """An integer model from ``x`` to ``y``, written by hand; constants ``i*`` are indices."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    x.metadata_props.add(key=RANGE, value=f"{declared[0]} {declared[1]}")
    graph = helper.make_graph(
        nodes,
        "small",
        [x],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(a if a.dtype == np.int64 and name[0] == "i" else
                                    a.astype(np.float32), name)
            for name, a in constants.items()
        ],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def every(values: range, count: int) -> NDArray[np.int64]:
    """All inputs (n, count)."""
    return np.array(list(product(values, repeat=count)), np.int64)


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
    return Case(integer, ranges, data, writer.certificate(integer, ranges, data))


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


def mutations(claims: Any) -> Iterator[tuple[str, Any]]:
    """Every certificate in which one leaf or one list or record differs from ``claims``."""

    def walk(value: Any) -> Iterator[tuple[str, Any]]:
        match value:
            case bool():
                yield "not", not value
                yield "as a number", int(value)
            case int():
                yield "+ 1", value + 1
                yield "- 1", value - 1
                yield "as a float", float(value)
            case str():
                yield "longer", value + "00"
                yield "shorter", value[2:] if value else "0"
                yield "in capitals", value.upper() if value != value.upper() else value + " "
                for digit in range(len(value)):
                    if all(c in "0123456789abcdef" for c in value):
                        for bit in range(4):
                            flipped = f"{int(value[digit], 16) ^ 1 << bit:x}"
                            yield f"bit {digit}.{bit}", value[:digit] + flipped + value[digit + 1 :]
            case list():
                for i, part in enumerate(value):
                    yield f"[{i}] dropped", value[:i] + value[i + 1 :]
                    yield f"[{i}] doubled", value[: i + 1] + value[i:]
                    if i and value[i - 1] != part:
                        yield (
                            f"[{i}] swapped",
                            [*value[: i - 1], part, value[i - 1], *value[i + 1 :]],
                        )
                    for what, changed in walk(part):
                        yield f"[{i}] {what}", [*value[:i], changed, *value[i + 1 :]]
            case dict():
                yield "extra", value | {"extra": 0}
                for key, part in value.items():
                    yield f"{key} dropped", {k: v for k, v in value.items() if k != key}
                    for what, changed in walk(part):
                        yield f"{key} {what}", value | {key: changed}
        yield "null", None

    yield from ((what, changed) for what, changed in walk(claims) if changed is not None)
