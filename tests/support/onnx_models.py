"""Small ONNX models for tests, written as straight-line code."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sira import graph as g
from sira.analysis.ranges import Ranges, analyze
from sira.datatypes import InputSpec, IntegerType
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt, Value
from sira.verification import golden
from sira.verification.oracle import Oracle

QONNX = "qonnx.custom_op.general"
CUSTOM = (
    *("Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "Trunc"),
    *("QuantAvgPool2d", "Im2Col"),
)


class Net:
    """A model in the making: every call adds a node and returns the name of its output.

    The input is called ``x``. Constants may be given as numbers or arrays, which become float32
    initializers unless they are arrays of another type.
    """

    def __init__(self, shape: Sequence[int | str], opset: int = 13, domain: str = QONNX) -> None:
        self.shape, self.opset, self.domain = tuple(shape), opset, domain
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: Any, name: str = "") -> str:
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: Any, output: str = "", outputs: int = 1, **attrs: Any) -> str:
        """A node; returns the name of its (last) output."""
        names = ["" if i is None else i if isinstance(i, str) else self.constant(i) for i in inputs]
        stem = output or f"t{len(self.nodes)}"
        made = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        domain = self.domain if op in CUSTOM else ""
        self.nodes.append(
            helper.make_node(
                op, names, made, name=f"{op}_{len(self.nodes)}", domain=domain, **attrs
            )
        )
        return made[-1]

    def quant(
        self,
        x: Any,
        scale: Any = 1.0,
        bits: int = 4,
        signed: int = 1,
        narrow: int = 0,
        zero: Any = 0.0,
        mode: str = "ROUND",
        **options: Any,
    ) -> str:
        return self.node(
            "Quant", x, scale, zero, float(bits),
            signed=signed, narrow=narrow, rounding_mode=mode, **options,
        )  # fmt: skip

    def dequantized(self, x: str, scale: Any, zero: NDArray[Any], axis: int = 1) -> str:
        """QuantizeLinear and DequantizeLinear."""
        s, z = self.constant(scale), self.constant(zero)
        return self.node(
            "DequantizeLinear", self.node("QuantizeLinear", x, s, z, axis=axis), s, z, axis=axis
        )

    def proto(self, *outputs: str, imports: bool = True, ir_version: int = 8) -> onnx.ModelProto:
        """The model; without ``imports`` the custom domain is not imported."""
        outputs = outputs or (self.nodes[-1].output[-1],)
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if imports:
            opsets.append(helper.make_opsetid(self.domain, 1))
        return helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)

    def model(self, *outputs: str) -> ir.Model:
        return prepare(self.proto(*outputs))


def integers(lo: int, hi: int, scale: Any = 1, bias: Any = 0) -> InputSpec:
    """An input of integers lo..hi that mean ``scale * q + bias``."""
    return InputSpec(IntegerType("test", lo, hi), (Fraction(scale),), (Fraction(bias),))


def annotated(proto: onnx.ModelProto, datatype: str = "INT32") -> onnx.ModelProto:
    """The model with a datatype for its input, which stands in for quantizers."""
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    return proto


def fractions(value: Value) -> NDArray[Any]:
    """The exact numbers of a point."""
    assert isinstance(value, ScaledInt)
    return value.exact.values


def real(values: Any) -> NDArray[Any]:
    """An array of floats as fractions."""
    a = np.asarray(values)
    out = np.empty(a.shape, object)
    out.ravel()[:] = [Fraction(v) for v in a.ravel().tolist()]
    return out


def point(ranges: Ranges, model: ir.Model, q: NDArray[np.int64]) -> dict[str, Value]:
    """Integers (samples, *shape) as the golden model's input."""
    value = model.graph.inputs[0]
    range_ = ranges.scaled(value)
    assert range_ is not None
    return {g.name(value): ScaledInt(q, q, range_.scale, range_.bias)}


def run(
    net: Net, spec: InputSpec, q: NDArray[np.int64], *outputs: str
) -> tuple[Ranges, dict[str, Value]]:
    """Ranges and golden values of all tensors for integers ``q`` (samples, *shape)."""
    model = prepare(annotated(net.proto(*outputs)))
    ranges = analyze(model, {"x": spec})
    return ranges, golden.run(model, ranges, point(ranges, model, q))


def check(
    net: Net, spec: InputSpec, *outputs: str, samples: int = 40, seed: int = 0
) -> tuple[Ranges, dict[str, Value]]:
    """Compare ranges, golden values and the oracle's float64 values of every tensor, exactly.

    Constants must be small multiples of powers of two, so that float64 makes no rounding error.
    Random integers go in, the extremes of their range among them. Returns ranges and golden values.
    """
    proto = annotated(net.proto(*outputs))
    model = prepare(proto)
    ranges = analyze(model, {"x": spec})
    rng = np.random.default_rng(seed)
    shape = g.shape(model.graph.inputs[0])
    static = ranges.scaled(model.graph.inputs[0])
    assert static is not None
    lo, hi = int(static.lo.min()), int(static.hi.max())
    q = rng.integers(lo, hi + 1, (samples, *shape))
    q[0], q[1] = lo, hi
    exact = golden.run(model, ranges, point(ranges, model, q))
    floats = Oracle(proto).run(golden.decode(static, q))
    compared = 0
    for name, value in exact.items():
        if name not in floats:  # left out by the oracle: it does not depend on the input's values
            continue
        expected = floats[name]
        found, range_ = value, ranges[name]
        match found:
            case ScaledInt():
                assert np.array_equal(
                    np.broadcast_to(fractions(found), expected.shape), real(expected)
                ), name
            case Interval():
                for bound in (found.lo, found.hi):
                    assert np.array_equal(np.broadcast_to(bound, expected.shape), expected), name
            case _:
                raise AssertionError(name)
        match range_:
            case ScaledInt():
                assert isinstance(found, ScaledInt)
                assert (range_.lo <= found.lo).all() and (found.lo <= range_.hi).all(), name
            case Interval():
                assert (range_.lo <= expected).all() and (expected <= range_.hi).all(), name
            case _:
                raise AssertionError(name)
        compared += 1
    assert compared >= 1
    return ranges, exact
