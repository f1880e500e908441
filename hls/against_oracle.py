"""Counts of thresholding layers against the original file, executed by code that is not ours."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints, Port
from hls.layers.thresholding import Thresholding
from hls.lower import Lowered, Wire
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
    tensors = {wire.port: name for name, wire in lowered.wires.items()}
    checks, reachable = [], 0
    for layer in lowered.dataflow.layers:
        if isinstance(layer, Thresholding):
            name = tensors[Port(layer.name, "out")]
            sink = values[lowered.canonical_name(name, values)]
            wire, offset = lowered.wires[name], lowered.input_offset(layer)
            check, count = _check_layer(layer, sink, offset, wire, ranges, oracle)
            checks.append(check)
            reachable += count
    return checks, reachable


def _check_layer(
    layer: Thresholding, sink: ir.Value, offset: Ints, wire: Wire, ranges: Ranges, oracle: Oracle
) -> tuple[Check, int]:
    rank = len(g.shape(sink))
    axis = 1 if rank == 4 else rank - 1  # images have their channels first
    steps = steps_between(integer_start(sink, ranges), sink, axis, ranges)
    assert len(steps.places) == 1, "a layer's thresholds hold at every position"
    kept = np.arange(layer.channels) if wire.channels is None else wire.channels
    lo, hi = steps.lo[kept], steps.hi[kept]  # (C, 1)
    offsets = np.broadcast_to(np.asarray(offset).reshape(-1), (layer.channels,))
    points, reachable = points_around(_far_sides(layer, offsets)[:, None], lo, hi)
    everywhere = np.tile(steps.lo, (len(points), 1, 1))  # other channels stay where they are
    everywhere[:, kept] = points
    wanted = steps.execute(oracle, everywhere)[:, kept, 0]
    (found,) = layer.execute(np.tile(points[..., 0] - offsets, layer.vectors))
    name = f"thresholds of {layer.name} against float64"
    wanted = np.tile(wanted, layer.vectors)
    return compare(name, found + wire.offset.reshape(-1), wanted, oracle=True), reachable


def _far_sides(layer: Thresholding, offset: Ints) -> Ints:
    """The first integer (C, n) on the far side of each step, in the order of q."""
    top = (1 << layer.input_bits) - 1
    thresholds = np.broadcast_to(layer.thresholds, (layer.channels, layer.thresholds.shape[1]))
    falling = np.broadcast_to(layer.falling, (layer.channels,))[:, None]
    return np.where(falling, top - thresholds + 1, thresholds) + offset[:, None]
