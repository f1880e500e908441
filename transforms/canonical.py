"""Canonical form: fewer ways to say the same, without changing a single value.

Gemm becomes MatMul, Mul and Add; Sub of a constant becomes Add, Neg becomes Mul by -1; Flatten,
Squeeze and Unsqueeze become Reshape; Identity and Dropout disappear. ReduceMax over positions
becomes MaxPool, ReduceMin the same between factors of -1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.ops.axes import arrays
from sira.ops.reduce import reduce_axes
from transforms.builder import Builder, float32

NOT_CANONICAL = frozenset(("Gemm", "Neg", "Flatten", "Squeeze", "Unsqueeze"))
"""Operators that the canonical form says with others."""


def to_canonical(model: ir.Model) -> ir.Model:
    """Rewrite ``model``; tensor and node names are kept where the tensor is."""
    tensors = [*model.graph.initializers.values(), *(v for n in model.graph for v in n.outputs)]
    b = Builder(model, own=map(g.name, [*model.graph.inputs, *tensors]))
    new: dict[ir.Value, ir.Value] = {}
    for value in model.graph.inputs:
        new[value] = b.input(g.name(value), g.shape(value))
        new[value].meta.update(value.meta)
    for value in model.graph.initializers.values():
        contents = g.array(value)
        assert contents is not None
        new[value] = b.constant(g.name(value), contents, own=True)
        new[value].meta.update(value.meta)
    for node in model.graph:
        inputs = [None if v is None else new[v] for v in node.inputs]
        for old, result in zip(node.outputs, _rewrite(b, node, inputs), strict=False):
            new[old] = result
    return b.finish([new[v] for v in model.graph.outputs])


def _rewrite(b: Builder, node: ir.Node, inputs: list[ir.Value | None]) -> list[ir.Value]:
    out = node.outputs[0]
    name, shape, graph = g.name(out), g.shape(out), node.graph
    assert graph is not None
    match node.op_type:
        case "Identity" | "Dropout" if out not in graph.outputs:
            assert inputs[0] is not None
            return [inputs[0]] * len(node.outputs)
        case "Flatten" | "Squeeze" | "Unsqueeze":
            target = b.constant(f"{name}_shape", np.asarray(shape, np.int64))
            return [b.node("Reshape", [inputs[0], target], name, shape, name=node.name, own=True)]
        case "Neg":
            minus = b.constant(f"{name}_factor", float32(-1))
            return [b.node("Mul", [inputs[0], minus], name, shape, name=node.name, own=True)]
        case "Sub" if (offset := g.array(node.inputs[1])) is not None:
            negated = b.constant(f"{name}_offset", -offset)
            return [b.node("Add", [inputs[0], negated], name, shape, name=node.name, own=True)]
        case "ReduceMax" | "ReduceMin" if (axes := _positions(node)) is not None:
            return [_extreme(b, node, inputs[0], axes)]
        case "Gemm":
            return [_gemm(b, node, inputs)]
        case _:
            return b.copy(node, inputs)


def _positions(node: ir.Node) -> list[int] | None:
    """The axes that a reduction goes over, if all of them lie behind batch and channels."""
    assert node.inputs[0] is not None
    rank = len(g.shape(node.inputs[0]))
    axes = [a + rank for a in reduce_axes(node, rank, arrays(node))]
    return axes if axes and min(axes) >= 2 else None


def _extreme(b: Builder, node: ir.Node, x: ir.Value | None, axes: list[int]) -> ir.Value:
    """One window over the whole of each of the ``axes``."""
    assert node.inputs[0] is not None
    name, shape = g.name(node.outputs[0]), g.shape(node.inputs[0])
    kernel = [d if axis in axes else 1 for axis, d in enumerate(shape)][2:]
    pooled = [1 if axis in axes else d for axis, d in enumerate(shape)]
    lowest = node.op_type == "ReduceMin"
    if lowest:
        x = b.node("Mul", [x, b.constant(f"{name}_factor", float32(-1))], f"{name}_negative", shape)
    result = b.node(
        "MaxPool", [x], f"{name}_pooled", pooled, name=node.name,
        attributes={"kernel_shape": kernel},
    )  # fmt: skip
    if lowest:
        factor = b.constant(f"{name}_factor", float32(-1))
        result = b.node("Mul", [result, factor], f"{name}_lowest", pooled)
    target = b.constant(f"{name}_shape", np.asarray(g.shape(node.outputs[0]), np.int64))
    return b.node("Reshape", [result, target], name, g.shape(node.outputs[0]), own=True)


def _gemm(b: Builder, node: ir.Node, inputs: list[ir.Value | None]) -> ir.Value:
    name, shape = g.name(node.outputs[0]), g.shape(node.outputs[0])
    x, weights = inputs[:2]
    transposed = {"perm": (1, 0)}
    if g.attribute(node, "transA", 0):
        assert node.inputs[0] is not None
        m_k = g.shape(node.inputs[0])[::-1]
        x = b.node("Transpose", [x], f"{name}_operand", m_k, attributes=transposed)
    if g.attribute(node, "transB", 0):
        assert node.inputs[1] is not None
        k_n = g.shape(node.inputs[1])[::-1]
        weights = b.node("Transpose", [weights], f"{name}_weights", k_n, attributes=transposed)
    steps = []
    if (alpha := g.attribute(node, "alpha", 1.0)) != 1.0:
        steps.append(("Mul", b.constant(f"{name}_alpha", float32(alpha))))
    if len(inputs) > 2 and inputs[2] is not None:
        bias = inputs[2]
        if (beta := g.attribute(node, "beta", 1.0)) != 1.0:
            factor = b.constant(f"{name}_beta", float32(beta))
            bias = b.node("Mul", [bias, factor], f"{name}_bias", g.shape(bias))
        steps.append(("Add", bias))
    target = f"{name}_matmul" if steps else name
    result = b.node("MatMul", [x, weights], target, shape, name=node.name, own=not steps)
    for i, (op_type, operand) in enumerate(steps):
        last = i == len(steps) - 1
        target = name if last else f"{name}_scaled"
        result = b.node(op_type, [result, operand], target, shape, own=last)
    return result
