"""The stages of a model, executed by qonnx, against its golden integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec
from sira.numbers.scaled import ScaledInt, Value
from sira.verification import golden
from transforms import aggregate, annotate_accumulators, to_canonical, to_thresholds

_QUANTIZERS = ("Quant", "BipolarQuant", "MultiThreshold", "QuantizeLinear")


def stages(model: ir.Model, inputs: dict[str, InputSpec]) -> dict[str, ir.Model]:
    canonical = to_canonical(model)
    ranges = analyze(canonical, inputs)
    thresholds = to_thresholds(canonical, ranges)
    return {
        "canonical": canonical,
        "aggregated": aggregate(canonical, ranges),
        "thresholds": thresholds,
        "accumulators": annotate_accumulators(thresholds, analyze(thresholds)),
    }


def execute(model: ir.Model, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """All tensors of one sample, by qonnx's executor."""
    proto = ir.to_proto(model)
    wrapper = ModelWrapper(onnx.load_from_string(proto.SerializeToString()))
    context: dict[str, Any] = execute_onnx(wrapper, {g.name(model.graph.inputs[0]): x}, True)
    return {name: value for name, value in context.items() if value is not None}


def integers(value: Value) -> NDArray[np.int64]:
    assert isinstance(value, ScaledInt)
    return value.lo


def check(model: ir.Model, inputs: dict[str, InputSpec], samples: NDArray[Any]) -> None:
    """Integers of every stage, as qonnx executes it, against the golden ones of the original."""
    ranges = analyze(model, inputs)
    source = model.graph.inputs[0]
    exact = golden.run(model, ranges, {"x": golden.encode(ranges, source, samples)} if g.name(
        source) == "x" else {g.name(source): golden.encode(ranges, source, samples)})  # fmt: skip
    for stage, rebuilt in stages(model, inputs).items():
        names = {g.name(v) for n in rebuilt.graph for v in n.outputs} & exact.keys()
        for i in range(len(samples)):
            if stage == "canonical":
                x = samples[i].reshape(g.shape(source))
            else:
                x = integers(exact[g.name(rebuilt.graph.inputs[0])])[i]
            found = execute(rebuilt, x.astype(np.float32))
            compared = 0
            for name in sorted(names):
                value, node = exact[name], _producer(rebuilt, name)
                if not isinstance(value, ScaledInt) or g.name(rebuilt.graph.outputs[0]) == name:
                    continue
                if stage == "canonical":
                    if node.op_type not in _QUANTIZERS:
                        continue
                    range_ = ranges[name]
                    assert isinstance(range_, ScaledInt)
                    q = np.rint((found[name] - range_.bias_float) / range_.scale_float)
                else:
                    if node.op_type in ("Mul", "Add", "Cast"):
                        continue
                    if node.outputs[0].dtype is ir.DataType.DOUBLE:  # real numbers
                        continue
                    q = found[name]
                expected = np.broadcast_to(value.lo[i], q.shape)
                assert np.array_equal(q, expected), (stage, name)
                compared += 1
            assert compared or len(names) < 3, stage


def _producer(model: ir.Model, name: str) -> ir.Node:
    return next(n for n in model.graph for v in n.outputs if v.name == name)
