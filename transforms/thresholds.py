"""Threshold conversion: a monotone function of an integer and its quantizer become a staircase."""

from __future__ import annotations

from functools import partial
from math import lcm

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis import Ranges
from sira.datatypes import smallest_type
from sira.exact import Exact
from sira.scaled import ScaledInt
from sira.tail import Tail, find_tail
from transforms.builder import whole
from transforms.integer_graph import IntegerGraph
from transforms.staircase import staircase
from transforms.sums import Plane, build_plane, is_plane

_MAX_DENOMINATOR = 2**16
"""Factor by which a lattice may be refined to hold the biases of all border positions."""


def to_thresholds(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Rebuild a canonical ``model`` from integer accumulators and MultiThreshold nodes."""
    return IntegerGraph(model, ranges, partial(_multithreshold, {})).finish()


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
    else:
        value, source = _one_bias(graph, tail.source)
        steps = staircase(tail, graph.ranges, source)
    b, name, shape = graph.b, graph.name(sink), g.shape(sink)
    if (steps.sign < 0).any():
        column = steps.sign.reshape((-1,) + (1,) * (len(shape) - 1 - steps.axis))
        factor = b.constant(f"{name}_sign", whole(column))
        value = b.node("Mul", [value, factor], f"{name}_flipped", shape)
    thresholds = b.constant(f"{name}_thresholds", whole(steps.thresholds))
    attributes: dict[str, object] = {
        "out_dtype": smallest_type(steps.base, steps.base + steps.thresholds.shape[1]),
        "out_scale": 1.0,
        "out_bias": float(steps.base),
    }
    layout = {(3, 1): "NCW", (3, 2): "NWC", (4, 3): "NHWC"}.get((len(shape), steps.axis))
    if layout:  # otherwise axis 1, which is the default
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


def _one_bias(graph: IntegerGraph, value: ir.Value) -> tuple[ir.Value, ScaledInt]:
    """The integers of ``value``, on a finer lattice where its bias differs within a channel.

    At the borders of a convolution whose padding is off the lattice the bias over the scale is a
    fraction that differs between positions. With their common denominator D the integers
    ``D * q + D * bias / scale`` have one scale and no bias.
    """
    range_ = graph.scaled(value)
    u = graph.core(value)
    spatial = range_.bias.shape[-(len(g.shape(value)) - 2) :] if len(g.shape(value)) > 2 else ()
    if all(d == 1 for d in spatial):
        return u, range_
    if not isinstance(range_.bias, Exact) or not isinstance(range_.scale, Exact):
        return u, range_
    shift = (range_.bias / range_.scale).values
    distinct = set(shift.ravel().tolist())
    d = lcm(*(x.denominator for x in distinct))
    if d > _MAX_DENOMINATOR:
        return u, range_
    moved = (shift * d).astype(np.int64)  # (C, *positions)
    places = tuple(range(1, moved.ndim))
    low, high = (f(moved, axis=places, keepdims=True) for f in (np.min, np.max))
    b, name, shape = graph.b, graph.name(value), g.shape(value)
    factor, offset = b.constant(f"{name}_finer", whole(np.asarray(d))), whole(moved)
    u = b.node("Mul", [u, factor], f"{name}_scaled", shape)
    u = b.node("Add", [u, b.constant(f"{name}_border", offset)], f"{name}_on_border", shape)
    finer = ScaledInt.of(
        range_.lo * d + low, range_.hi * d + high, range_.scale / Exact.of(d), Exact.of(0)
    )
    return u, finer
