"""ArgMax and TopK over integers in the order of the real scores."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.numbers.exact import Exact, rational_gcd
from sira.numbers.scaled import Ints
from sira.ops.decision import axis_of, scores_of
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph, Rule, Rules

_MAX_MULTIPLE = 2**12
"""Scales of scores must be integer multiples up to this of a common one."""

_MAX_OFFSET = 2**40
"""Their biases may be up to this many times that common scale."""


def _decision(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value | None:
    """ArgMax over integers ``scale * q + offset`` that are in the order of the real scores."""
    found = _keys(graph, node)
    if found is None:
        return None
    scores, scale, offset = found
    name, shape = g.name(value), g.shape(scores)
    u = graph.core(scores)
    a = graph.b.constant(f"{name}_score_scale", as_floats(scale))
    b = graph.b.constant(f"{name}_score_offset", as_floats(offset))
    aligned = graph.b.node("Mul", [u, a], f"{name}_score_scaled", shape)
    aligned = graph.b.node("Add", [aligned, b], f"{name}_score", shape)
    axis = axis_of(node, len(shape)) + len(shape)
    attributes = {"axis": axis, "keepdims": int(len(g.shape(value)) == len(shape))}
    index = graph.b.node(
        "ArgMax",
        [aligned],
        f"{name}_index",
        g.shape(value),
        name=node.name,
        attributes=attributes,
        dtype=ir.DataType.INT64,
    )
    to = {"to": int(ir.DataType.FLOAT)}
    return graph.b.node("Cast", [index], graph.name(value), g.shape(value), attributes=to)


def _keys(graph: IntegerGraph, node: ir.Node) -> tuple[ir.Value, Ints, Ints] | None:
    """The scores that ArgMax or TopK decides over and (scale, offset) that order their integers.

    Softmax in front of the decision is passed over where it changes no order. With real scores
    ``s_c q + b_c`` and all s_c multiples m_c of one s, they are ordered like ``m_c q + b_c / s``;
    the fractions of ``b_c / s`` are replaced by their ranks. None where the scales are in no ratio
    of small integers: then the host decides.
    """
    value = scores_of(node)
    if node.op_type == "TopK" and (
        node.outputs[0].uses() or node.outputs[0] in graph.model.graph.outputs
    ):
        return None
    range_ = graph.ranges.scaled(value)
    if range_ is None or not isinstance(range_.scale, Exact) or not isinstance(range_.bias, Exact):
        return None
    base = rational_gcd(range_.scale.values)
    multiples = range_.scale.values / base
    offsets = range_.bias.values / base
    if any(m > _MAX_MULTIPLE for m in np.ravel(multiples)) or any(
        abs(m) > _MAX_OFFSET for m in np.ravel(offsets)
    ):
        return None
    floors = np.vectorize(lambda x: x.numerator // x.denominator, otypes=[np.int64])(offsets)
    rest = np.ravel(offsets - floors)
    ranks = {fraction: i for i, fraction in enumerate(sorted(set(rest.tolist())))}
    rank = np.array([ranks[fraction] for fraction in rest.tolist()]).reshape(np.shape(floors))
    scale = np.asarray(multiples, object).astype(np.int64) * len(ranks)
    return value, scale, floors * len(ranks) + rank


def _by_host(graph: IntegerGraph, node: ir.Node) -> bool:
    return _keys(graph, node) is None


RULES: Rules = {op: Rule(_decision, by_host=_by_host) for op in ("ArgMax", "TopK")}
