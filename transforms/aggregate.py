"""Scale and bias aggregation: multiply-accumulates on bare integers.

What has gathered in scale and bias since the last quantizer becomes one Mul and one Add in front of
the next non-linearity or quantizer (SIRA, sec. 4). Both and what follows compute in float64, whose
rounding is far below a quantizer's step; thresholds are not derived from this form but from the
exact one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import find_tail
from sira.numbers.scaled import ScaledInt
from sira.ops import Constant
from sira.ops.qcdq import storage_range
from transforms.builder import float32
from transforms.integer.affine import is_affine
from transforms.integer.graph import IntegerGraph
from transforms.integer.rules import RULES
from transforms.steps.plane import is_plane

_DOUBLE = ir.DataType.DOUBLE


def aggregate(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Rebuild a canonical ``model`` with integer accumulators and one Mul and Add behind each."""
    return IntegerGraph(model, ranges, RULES, _elementwise).finish()


def _elementwise(graph: IntegerGraph, sink: ir.Value) -> ir.Value:
    """Mul, Add, the remaining functions and the quantizer of ``sink``, as its integers."""
    tail = find_tail(sink, through_quantizers=False)
    if graph.quantized_by_host(tail.source):
        return graph.host_input(sink)
    affine, nodes = tail.source, list(tail.nodes)
    while (
        len(nodes) > 1
        and is_affine(graph.ranges, nodes[0])
        and not any(affine in node.inputs for node in nodes[1:])
    ):
        affine = nodes.pop(0).outputs[0]
    value = _real(graph, affine)
    new = {affine: value}
    for node in nodes[:-1]:
        new[node.outputs[0]] = _copy(graph, node, new)
    return _quantize(graph, nodes[-1], new[g.dynamic_inputs(nodes[-1])[0]])


def _real(graph: IntegerGraph, value: ir.Value) -> ir.Value:
    """``scale * q + bias`` in float64; a sum of two such where the value has no integers itself."""
    b, name, shape = graph.b, g.name(value), g.shape(value)
    if is_plane(graph.ranges, value):
        node = value.producer()
        assert node is not None
        operands = [_real(graph, v) for v in node.inputs if v is not None]
        return b.node(node.op_type, operands, f"{name}_real", shape, dtype=_DOUBLE)
    range_ = graph.scaled(value)
    u, sign = graph.signed_core(value)
    u = b.node("Cast", [u], f"{name}_double", shape, attributes={"to": int(_DOUBLE)}, dtype=_DOUBLE)
    scale = b.constant(f"{name}_scale", np.asarray(range_.scale_float * sign, np.float64))
    bias = b.constant(f"{name}_bias", np.asarray(range_.bias_float, np.float64))
    u = b.node("Mul", [u, scale], f"{name}_scaled", shape, dtype=_DOUBLE)
    return b.node("Add", [u, bias], f"{name}_real", shape, dtype=_DOUBLE)


def _copy(graph: IntegerGraph, node: ir.Node, new: dict[ir.Value, ir.Value]) -> ir.Value:
    """The node in float64; what onnxruntime offers in float32 alone is written with Max and Min."""
    b, out = graph.b, node.outputs[0]
    name, shape = g.name(out), g.shape(out)
    match node.op_type:
        case "LeakyRelu" | "PRelu":
            x = new[node.inputs[0]]  # type: ignore[index]
            slope = np.asarray(g.attribute(node, "alpha", 0.01), np.float64)
            if node.op_type == "PRelu":
                slope = _constant(graph, node.inputs[1])
            zero = b.constant(f"{name}_zero", np.zeros((), np.float64))
            factor = b.constant(f"{name}_slope", slope)
            positive = b.node("Max", [x, zero], f"{name}_positive", shape, dtype=_DOUBLE)
            negative = b.node("Min", [x, zero], f"{name}_negative", shape, dtype=_DOUBLE)
            negative = b.node("Mul", [negative, factor], f"{name}_scaled", shape, dtype=_DOUBLE)
            return b.node("Add", [positive, negative], name, shape, dtype=_DOUBLE)
        case "BatchNormalization":
            return _batch_normalization(graph, node, new)
        case _:
            inputs = [
                None
                if v is None
                else new.get(v) or b.constant(f"{g.name(v)}_double", _constant(graph, v))
                for v in node.inputs
            ]
            return b.copy(node, inputs, _DOUBLE)[0]


def _batch_normalization(
    graph: IntegerGraph, node: ir.Node, new: dict[ir.Value, ir.Value]
) -> ir.Value:
    b, name, shape = graph.b, g.name(node.outputs[0]), g.shape(node.outputs[0])
    column = (-1,) + (1,) * (len(shape) - 2)
    gamma, beta, mean, var = (_constant(graph, v).reshape(column) for v in node.inputs[1:5])
    factor = gamma / np.sqrt(var + g.attribute(node, "epsilon", 1e-5))
    x = new[node.inputs[0]]  # type: ignore[index]
    scale = b.constant(f"{name}_factor", factor)
    offset = b.constant(f"{name}_offset", beta - mean * factor)
    scaled = b.node("Mul", [x, scale], f"{name}_scaled", shape, dtype=_DOUBLE)
    return b.node("Add", [scaled, offset], name, shape, dtype=_DOUBLE)


def _constant(graph: IntegerGraph, value: ir.Value | None) -> NDArray[np.float64]:
    assert value is not None
    arg = graph.ranges[value]
    assert isinstance(arg, Constant)
    return arg.real.interval.lo


def _quantize(graph: IntegerGraph, node: ir.Node, x: ir.Value) -> ir.Value:
    """The integers of a quantizer whose operand is real."""
    b, out = graph.b, node.outputs[0]
    name, shape = g.name(out), g.shape(out)
    if node.op_type in ("Quant", "IntQuant", "QuantizeLinear"):
        scale = b.constant(f"{name}_step", _per_axis(graph, node, 1))
        x = b.node("Div", [x, scale], f"{name}_steps", shape, dtype=_DOUBLE)
    if node.op_type == "QuantizeLinear":
        low, high = storage_range(node)
        x = b.node("Round", [x], f"{name}_rounded", shape, dtype=_DOUBLE)
        zero = b.constant(f"{name}_zero", _per_axis(graph, node, 2))
        x = b.node("Add", [x, zero], f"{name}_moved", shape, dtype=_DOUBLE)
        bounds = [
            b.constant(f"{name}_{k}", np.asarray(v, np.float64))
            for k, v in (("min", low), ("max", high))
        ]
        x = b.node("Clip", [x, *bounds], f"{name}_clipped", shape, dtype=_DOUBLE)
        return b.node(
            "Cast", [x], graph.name(out), shape, attributes={"to": int(ir.DataType.FLOAT)}
        )
    range_ = graph.scaled(out)
    inputs: list[ir.Value | None]
    if node.op_type in ("Quant", "IntQuant"):
        one = b.constant(f"{name}_one", float32(1))
        zero, bits = (b.constant(g.name(v), g.array(v)) for v in node.inputs[2:4])  # type: ignore[arg-type]
        inputs = [x, one, zero, bits]
        scale_factor = range_.scale_float / _per_axis(graph, node, 1)
    elif node.op_type == "BipolarQuant":
        inputs = [x, b.constant(f"{name}_one", float32(1))]
        scale_factor = np.asarray(2.0)
    else:  # MultiThreshold, Clip and other functions on a lattice keep their own scale
        inputs = [None if v is None else _parameter(graph, v) or x for v in node.inputs]
        scale_factor = range_.scale_float
    # QONNX's Quant puts out float32 whatever it gets; the others keep the type of their operand.
    dtype = ir.DataType.FLOAT if node.op_type in ("Quant", "IntQuant") else _DOUBLE
    result = b.node(
        node.op_type,
        inputs,
        f"{name}_quantized",
        shape,
        name=node.name,
        attributes={k: a.value for k, a in node.attributes.items()},
        custom=bool(node.domain),
        dtype=dtype,
    )
    if dtype is _DOUBLE:
        to = {"to": int(ir.DataType.FLOAT)}
        result = b.node("Cast", [result], f"{name}_float", shape, attributes=to)
    return _undo(graph, out, result, range_, scale_factor)


def _parameter(graph: IntegerGraph, value: ir.Value) -> ir.Value | None:
    """A constant operand in float64 where it is real; None for a computed one."""
    contents = g.array(value)
    if contents is None:
        return None
    real = contents.astype(np.float64) if contents.dtype.kind == "f" else contents
    return graph.b.constant(g.name(value), real)


def _undo(
    graph: IntegerGraph, out: ir.Value, x: ir.Value, range_: ScaledInt, factor: object
) -> ir.Value:
    """From what the quantizer puts out, ``factor * q + bias``, to q."""
    b, shape = graph.b, g.shape(out)
    bias = range_.bias_float / (range_.scale_float / np.asarray(factor))
    result = x
    if (bias != 0).any():
        moved = b.constant(f"{graph.name(out)}_bias", float32(-bias))
        result = b.node("Add", [result, moved], f"{graph.name(out)}_moved", shape)
    if (np.asarray(factor) != 1).any():
        by = b.constant(f"{graph.name(out)}_unit", float32(factor))
        result = b.node("Div", [result, by], graph.name(out), shape)
    if result is x or not (np.asarray(factor) != 1).any():
        result = b.node("Identity", [result], graph.name(out), shape)
    return result


def _per_axis(graph: IntegerGraph, node: ir.Node, index: int) -> NDArray[np.float64]:
    """Scale or zero point of a quantizer, laid out against its operand."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return np.asarray(0.0)
    values = _constant(graph, node.inputs[index])
    if node.op_type == "QuantizeLinear" and values.ndim == 1 and values.size > 1:
        rank = len(g.shape(node.outputs[0]))
        axis = int(g.attribute(node, "axis", 1)) % rank
        values = values.reshape((-1,) + (1,) * (rank - 1 - axis))
    return values
