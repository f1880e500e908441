"""The layers of MultiThreshold nodes against these nodes, on both sides of every threshold.

Samples touch few thresholds of a layer. That the integer graph's own thresholds are right is for
`sira.verification.integer_model` to check; here every layer must count as its MultiThreshold node
says, however it does that: a layer is known by its streams and its execution alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints, Layer
from hls.lower.lower import Lowered
from sira import graph as g
from sira import provenance
from sira.ops.quant import threshold_axis
from sira.verification.check import Check, compare

_EVERY_COUNT = 2**10
"""Counts up to which a layer is checked at all of them."""


def check_layers(stage: ir.Model, lowered: Lowered) -> list[Check]:
    """One check for each MultiThreshold node of ``stage``, from which ``lowered`` was made."""
    return [
        _check_layer(lowered.dataflow.layer(g.label(node)), node, lowered)
        for node in stage.graph
        if node.op_type == "MultiThreshold"
    ]


@dataclass(frozen=True, eq=False)
class _Staircases:
    """The functions that a node asks of its layer, and which one each element of a frame has.

    Element e of a frame of counts u counts the thresholds (``steps[k]`` of (K, n)) that
    ``factor[k] * u + offset[k]`` has reached, with k = ``kinds[e]``; factor and offset are (K, 1).
    """

    factor: Ints
    offset: Ints
    steps: Ints
    kinds: Ints

    def counts(self, bits: int) -> Ints:
        """Counts (K, P) to try: all where they are few, else both sides of each threshold, both
        ends, and some between them."""
        top = (1 << bits) - 1
        if top < _EVERY_COUNT:
            return np.tile(np.arange(top + 1), (len(self.steps), 1))
        edges = (self.steps - self.offset) // self.factor
        even = np.arange(_EVERY_COUNT) * (top // (_EVERY_COUNT - 1))
        ends = np.tile([*even, top], (len(edges), 1))
        tried: Ints = np.concatenate([edges - 1, edges, edges + 1, ends], axis=1)
        return tried.clip(0, top)

    def reached(self, counts: Ints) -> Ints:
        """How many thresholds each of the counts (K, P) has reached, one threshold at a time."""
        q = self.factor * counts + self.offset
        total = np.zeros_like(q)
        for step in self.steps.T:
            total += q >= step[:, None]
        return total


def _check_layer(layer: Layer, node: ir.Node, lowered: Lowered) -> Check:
    asked = _asked_for(node, lowered)
    counts = asked.counts(layer.inputs["in"].bits)
    frames, wanted = _frames(asked.kinds, counts, asked.reached(counts))
    (found,) = layer.execute(frames)
    result = node.outputs[0]
    offset = lowered.wires[g.name(result)].offset - provenance.of(result).shift
    found = found + np.resize(offset, found.shape[1])
    wanted = wanted + int(g.attribute(node, "out_bias", 0.0))
    return compare(f"thresholds of {layer.name} against the integer graph", found, wanted)


def _frames(kinds: Ints, *tables: Ints) -> list[Ints]:
    """Frames (F, elements) in which each element meets entries of its own row of (K, P) tables.

    Every entry of every row is somewhere in the frames, in the same places for all tables.
    """
    order = np.argsort(kinds, kind="stable")
    members = np.bincount(kinds)
    rank = np.empty_like(kinds)  # of an element among those of its kind
    rank[order] = np.arange(len(kinds)) - np.repeat(np.cumsum(members) - members, members)
    entries, at_once = tables[0].shape[1], int(members.min())
    first = np.arange(0, entries, at_once)[:, None]
    return [table[kinds, (first + rank) % entries] for table in tables]


def _asked_for(node: ir.Node, lowered: Lowered) -> _Staircases:
    """The staircases of a node, each element of its input's stream traced to the node's own axes.

    The integers at the node are those on the nearest wire in front of it, times and plus constants.
    """
    counted = node.inputs[0]
    thresholds = g.array(node.inputs[1])
    assert thresholds is not None and counted is not None
    value, constants = _behind(counted, lowered)
    source = lowered.wires[g.name(value)]
    places, shape = source.layout.positions(), g.shape(counted)
    axis = threshold_axis(node)
    rows = np.unravel_index(places, shape)[axis] if len(thresholds) > 1 else 0 * places
    # Wires speak of the graph with all its channels.
    offset = np.resize(source.offset - provenance.of(value).shift, len(places))
    factor = np.resize(source.factor, len(places))
    for op, constant in constants:
        own = np.broadcast_to(constant, shape).reshape(-1)[places]
        offset = offset * own if op == "Mul" else offset + own
        factor = factor * own if op == "Mul" else factor
    alike = np.zeros_like(places)  # the same number for elements that agree in all three
    for numbers in (rows, factor, offset):
        distinct, member = np.unique(numbers, return_inverse=True)
        alike = alike * len(distinct) + member
    _, first, kinds = np.unique(alike, return_index=True, return_inverse=True)
    return _Staircases(
        factor[first][:, None], offset[first][:, None],
        thresholds.astype(np.int64)[rows[first]], kinds,
    )  # fmt: skip


def _behind(value: ir.Value, lowered: Lowered) -> tuple[ir.Value, list[tuple[str, Ints]]]:
    """The tensor in hardware that ``value`` comes from, and the constants between the two."""
    chain: list[tuple[str, Ints]] = []
    while g.name(value) not in lowered.wires:
        node = value.producer()
        assert node is not None and node.op_type in ("Mul", "Add"), g.name(value)
        (constant,) = (c for v in node.inputs if (c := g.array(v)) is not None)
        chain.append((node.op_type, constant.astype(np.int64)))
        (value,) = g.dynamic_inputs(node)
    return value, chain[::-1]
