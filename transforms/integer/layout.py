"""Integers of operators that re-arrange elements."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.ops.layout import permutation
from transforms.integer.graph import IntegerGraph, Rule, Rules


def _unchanged(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    return graph.core(node.inputs[0])  # type: ignore[arg-type]


def _transposed(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    source = graph.core(node.inputs[0])  # type: ignore[arg-type]
    name, shape = graph.name(value), g.shape(value)
    attributes = {"perm": permutation(node, len(shape))}
    return graph.b.node("Transpose", [source], name, shape, name=node.name, attributes=attributes)


def _reshaped(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    source = graph.core(node.inputs[0])  # type: ignore[arg-type]
    name, shape = graph.name(value), g.shape(value)
    target = graph.b.constant(f"{name}_shape", np.asarray(shape, np.int64))
    return graph.b.node("Reshape", [source, target], name, shape, name=node.name)


RULES: Rules = {op: Rule(_unchanged) for op in ("Identity", "Dropout", "Cast")}
RULES |= {op: Rule(_reshaped) for op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")}
RULES |= {"Transpose": Rule(_transposed)}
