"""Counts of thresholding layers against the original file, executed by code that is not ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints, Port
from hls.layers.thresholding import Thresholding
from hls.lower import Lowered
from hls.wires import Wire
from sira import graph as g
from sira.analysis import Ranges
from sira.checks import Check, compare
from sira.oracle import Oracle
from sira.oracle_steps import integer_start, points_around, steps_between


def check_thresholds(
    model: ir.Model, ranges: Ranges, lowered: Lowered, oracle: Oracle
) -> tuple[list[Check], int]:
    """Each threshold of each channel: the original tail steps between T - 1 and T, and only there.

    What is compared are the hardware layer's own counts: at both ends of the range, on both sides
    of every reachable threshold, and at every integer of a small range. Returns the checks and the
    number of reachable thresholds.
    """
    values = {g.name(v): v for n in model.graph for v in n.outputs}
    tensors = lowered.tensors
    checks, reachable = [], 0
    for layer in lowered.dataflow.layers:
        if isinstance(layer, Thresholding):
            name = tensors[Port(layer.name, "out")]
            sink = values[lowered.canonical_name(name, values)]
            source, wire = lowered.wires[lowered.input_tensor(layer)], lowered.wires[name]
            check, count = _check_layer(layer, sink, source, wire, ranges, oracle)
            checks.append(check)
            reachable += count
    return checks, reachable


def _check_layer(
    layer: Thresholding, sink: ir.Value, source: Wire, wire: Wire, ranges: Ranges, oracle: Oracle
) -> tuple[Check, int]:
    rank = len(g.shape(sink))
    axis = 1 if rank > 2 else rank - 1  # images have their channels first
    steps = steps_between(integer_start(sink, ranges), sink, axis, ranges)
    assert len(steps.places) == 1, "a layer's thresholds hold at every position"
    kept = np.arange(layer.channels) if wire.channels is None else wire.channels
    lo, hi = steps.lo[kept], steps.hi[kept]  # (C, 1)
    factor, offset = (np.resize(v, layer.channels) for v in (source.factor, source.offset))
    points, reachable = points_around(_far_sides(layer, factor, offset)[:, None], lo, hi)
    everywhere = np.tile(steps.lo, (len(points), 1, 1))  # other channels stay where they are
    everywhere[:, kept] = points
    wanted = steps.execute(oracle, everywhere)[:, kept, 0]
    (found,) = replace(layer, vectors=1).execute((points[..., 0] - offset) // factor)
    name = f"thresholds of {layer.name} against float64"
    return compare(
        name, found + np.resize(wire.offset, layer.channels), wanted, oracle=True
    ), reachable


def _far_sides(layer: Thresholding, factor: Ints, offset: Ints) -> Ints:
    """The first integer (C, n) on the far side of each step, in the order of q."""
    top = (1 << layer.input_bits) - 1
    thresholds = np.broadcast_to(layer.thresholds, (layer.channels, layer.thresholds.shape[1]))
    falling = np.broadcast_to(layer.falling, (layer.channels,))[:, None]
    counts = np.where(falling, top - thresholds + 1, thresholds)
    return factor[:, None] * counts + offset[:, None]
