"""Thresholding layers against the integer graph that they were lowered from, step by step.

Samples touch few thresholds of a layer. That the integer graph's own thresholds are right is for
`sira.verification.integer_model` to check; here every layer must count as its MultiThreshold node
says, on both sides of each threshold and at both ends of its counts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints
from hls.layers import Thresholding
from hls.lower.lower import Lowered
from sira import graph as g
from sira import provenance
from sira.verification.check import Check, compare

_EVERY_COUNT = 2**10
"""Counts up to which a layer is checked at all of them."""


def check_layers(stage: ir.Model, lowered: Lowered) -> list[Check]:
    """One check for each thresholding layer of ``lowered``."""
    nodes = {g.label(node): node for node in stage.graph if node.op_type == "MultiThreshold"}
    return [
        _check_layer(layer, nodes[layer.name], lowered)
        for layer in lowered.dataflow.layers
        if isinstance(layer, Thresholding)
    ]


def _check_layer(layer: Thresholding, node: ir.Node, lowered: Lowered) -> Check:
    counted, result = node.inputs[0], node.outputs[0]
    thresholds = g.array(node.inputs[1])
    assert thresholds is not None and counted is not None
    steps = thresholds.astype(np.int64)
    value, constants = _behind(counted, lowered)
    source, channels = lowered.wires[g.name(value)], layer.channels
    if len(steps) not in (1, source.layout.channels):
        steps = steps[source.layout.positions()]
    counts = _counts(layer)
    offset = (
        source.offset - provenance.of(value).shift
    )  # wires speak of the graph with all its channels
    q = np.resize(source.factor, channels) * counts + np.resize(offset, channels)
    for op, constant in constants:
        own = np.resize(constant, channels)
        q = q * own if op == "Mul" else q + own
    wanted = (q[..., None] >= steps).sum(axis=2) + int(g.attribute(node, "out_bias", 0.0))
    (found,) = replace(layer, vectors=1).execute(counts)
    found = found + np.resize(
        lowered.wires[g.name(result)].offset - provenance.of(result).shift, channels
    )
    return compare(f"thresholds of {layer.name} against the integer graph", found, wanted)


def _counts(layer: Thresholding) -> Ints:
    """Counts (P, channels) to try: both sides of each threshold of the layer, and both ends."""
    top = (1 << layer.input_bits) - 1
    if top < _EVERY_COUNT:
        return np.tile(np.arange(top + 1)[:, None], (1, layer.channels))
    thresholds = np.broadcast_to(layer.thresholds, (layer.channels, layer.thresholds.shape[1]))
    falling = np.broadcast_to(layer.falling, (layer.channels,))[:, None]
    edges = np.where(falling, top + 1 - thresholds, thresholds)
    ends = np.tile([[0, top]], (layer.channels, 1))
    around = np.concatenate([edges - 1, edges, edges + 1, ends], axis=1)
    counts: Ints = np.clip(around, 0, top).T
    return counts


def _behind(value: ir.Value, lowered: Lowered) -> tuple[ir.Value, list[tuple[str, Ints]]]:
    """The tensor in hardware that ``value`` comes from, and the constants between the two."""
    chain: list[tuple[str, Ints]] = []
    while g.name(value) not in lowered.wires:
        node = value.producer()
        assert node is not None and node.op_type in ("Mul", "Add"), g.name(value)
        (constant,) = (c for v in node.inputs if (c := g.array(v)) is not None)
        chain.append((node.op_type, constant.astype(np.int64).reshape(-1)))
        (value,) = g.dynamic_inputs(node)
    return value, chain[::-1]
