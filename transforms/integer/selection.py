"""Integers of operators that select, repeat, re-order or surround elements.

What they do to numbers they do to integers, once all operands are on the lattice of the result.
Where scales or biases differ along an axis, elements take theirs along.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import from_objects, whole_numbers
from sira.numbers.scaled import ScaledInt
from sira.ops import RULES as OPERATORS
from sira.ops import Constant
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph, Rule, Rules
from transforms.integer.lattice import on_lattice


def _selected(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    """The same operator on integers; a Split is a Slice for each output."""
    if g.attribute(node, "mode", "") in ("linear", "cubic"):
        raise SiraError(
            "there is no hardware for interpolation",
            where=g.describe(node),
            expected="mode nearest",
            found=str(g.attribute(node, "mode")),
            remedy="export the model with nearest upsampling",
        )
    range_ = graph.scaled(value)
    inputs = [_operand(graph, node, i, v, range_) for i, v in enumerate(node.inputs)]
    name, shape = graph.name(value), g.shape(value)
    attributes: dict[str, Any] = {k: a.value for k, a in node.attributes.items()}
    if node.op_type == "Split":
        return _slice(graph, node, value, inputs[0])
    if node.op_type == "Pad" and "value" in attributes:  # before opset 11
        attributes["value"] = float(_fill(graph, node, attributes["value"]))
    return graph.b.node(
        node.op_type, inputs, name, shape, name=node.name,
        attributes=attributes, custom=bool(node.domain),
    )  # fmt: skip


def _operand(
    graph: IntegerGraph, node: ir.Node, index: int, value: ir.Value | None, range_: ScaledInt
) -> ir.Value | None:
    if value is None:
        return None
    contents = g.array(value)
    if contents is None:
        # The scale of the result varies where operands keep theirs, as they are or side by side.
        uniform = set(range_.scale.shape + range_.bias.shape) <= {1}
        if uniform or node.op_type in ("MaxPool", "GlobalMaxPool"):
            return on_lattice(graph, value, range_.scale, range_.bias)
        return graph.core(value)
    if node.op_type == "Pad" and index == 2:
        q = np.asarray(_fill(graph, node, contents), np.int64)
        return graph.b.constant(g.name(value), as_floats(q))
    if node.op_type == "Concat":
        return _constant(graph, value, range_)
    return graph.b.constant(g.name(value), contents)


def _constant(graph: IntegerGraph, value: ir.Value, range_: ScaledInt) -> ir.Value:
    """A constant that stands beside computed tensors, on the lattice of the whole."""
    constant = graph.ranges[value]
    assert isinstance(constant, Constant)
    own = constant.values
    if set(range_.scale.shape + range_.bias.shape) <= {1}:
        assert isinstance(range_.scale, Exact) and isinstance(range_.bias, Exact)
        q = ((constant.real - range_.bias) / range_.scale).values
        assert all(v.denominator == 1 for v in q.ravel()), "the rule found a common lattice"
        return graph.b.constant(
            g.name(value), as_floats(from_objects(q, f"tensor {g.name(value)}"))
        )
    assert isinstance(own, ScaledInt)
    return graph.b.constant(g.name(value), as_floats(np.broadcast_to(own.lo, g.shape(value))))


def _fill(graph: IntegerGraph, node: ir.Node, fill: object) -> int:
    """The integer that means the value around a padded tensor."""
    source = node.inputs[0]
    assert source is not None
    own = graph.scaled(source)
    if isinstance(own.scale, Exact) and isinstance(own.bias, Exact):
        around = Exact.of(np.asarray(fill, np.float64))
        q = whole_numbers((around - own.bias) / own.scale)
        if q is not None and (q == q.ravel()[0]).all():
            return int(q.ravel()[0])
    raise SiraError(
        "the value around a padded tensor is not on its lattice",
        where=g.describe(node),
        expected="one integer of 64 bits for all channels",
        found=str(fill),
        remedy="pad with a value that the quantizer in front puts out",
    )


def _slice(graph: IntegerGraph, node: ir.Node, value: ir.Value, u: ir.Value | None) -> ir.Value:
    """One output of a Split."""
    axis = int(g.attribute(node, "axis", 0)) % len(g.shape(value))
    sizes = [g.shape(v)[axis] for v in node.outputs]
    index = list(node.outputs).index(value)
    start = sum(sizes[:index])
    bounds = [
        graph.b.constant(f"{g.name(value)}_{name}", np.array([n], np.int64))
        for name, n in (("start", start), ("stop", start + sizes[index]), ("axis", axis))
    ]
    name = f"{node.name}_{index}" if node.name else None
    return graph.b.node("Slice", [u, *bounds], graph.name(value), g.shape(value), name=name)


RULES: Rules = {op: Rule(_selected) for op, rule in OPERATORS.items() if rule.kind == "selection"}
