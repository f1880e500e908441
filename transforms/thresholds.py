"""Threshold conversion: a monotone function of an integer and its quantizer become a staircase."""

from __future__ import annotations

from functools import partial

import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import Tail, find_tail
from sira.datatypes import smallest_type
from sira.ops.quant import threshold_layout
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph
from transforms.integer.rules import RULES
from transforms.steps.border import build_border, has_border
from transforms.steps.plane import Plane, build_plane, is_plane
from transforms.steps.staircase import staircase


def to_thresholds(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Rebuild a canonical ``model`` from integer accumulators and MultiThreshold nodes."""
    return IntegerGraph(model, ranges, RULES, partial(_multithreshold, {})).finish()


def _multithreshold(planes: dict[ir.Value, Plane], graph: IntegerGraph, sink: ir.Value) -> ir.Value:
    tail = find_tail(sink)
    if graph.quantized_by_host(tail.source):
        integer = [n.outputs[0] for n in tail.nodes if graph.ranges.scaled(n.outputs[0])]
        if integer[0] is sink:
            return graph.host_input(sink)
        start = [n.outputs[0] for n in tail.nodes].index(integer[0]) + 1
        tail = Tail(integer[0], tail.nodes[start:], sink)
    if is_plane(graph.ranges, tail.source):
        if tail.source not in planes:
            planes[tail.source] = build_plane(graph, tail.source)
        value, steps = planes[tail.source].core, planes[tail.source].steps[sink]
    elif has_border(graph, tail.source):
        value, steps = build_border(graph, tail)
    else:
        value, steps = graph.core(tail.source), staircase(tail, graph.ranges)
    graph.trace(tail.nodes[:-1])
    b, name, shape = graph.b, graph.name(sink), g.shape(sink)
    if (steps.sign < 0).any():
        column = steps.sign.reshape((-1,) + (1,) * (len(shape) - 1 - steps.axis))
        factor = b.constant(f"{name}_sign", as_floats(column))
        value = b.node("Mul", [value, factor], f"{name}_flipped", shape)
    thresholds = b.constant(f"{name}_thresholds", as_floats(steps.thresholds))
    attributes: dict[str, object] = {
        "out_dtype": smallest_type(steps.base, steps.base + steps.thresholds.shape[1]),
        "out_scale": 1.0,
        "out_bias": float(steps.base),
    }
    if layout := threshold_layout(len(shape), steps.axis):
        attributes["data_layout"] = layout
    return b.node(
        "MultiThreshold",
        [value, thresholds],
        name,
        shape,
        name=tail.nodes[-1].name,
        attributes=attributes,
        custom=True,
    )
