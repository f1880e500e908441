"""Golden integers against the original file, executed by code that is not ours.

At every quantizer in float64, on both sides of every threshold, and in float32, where a difference
must be explained by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hls.checks import Check, compare
from hls.dataflow import Ints, Port
from hls.float32 import explained
from hls.layers.thresholding import Thresholding
from hls.lower import Lowered, Wire
from sira import golden
from sira import graph as g
from sira.analysis import Ranges
from sira.interval import Interval
from sira.ops import rule_of
from sira.oracle import Oracle
from sira.scaled import ScaledInt, Value
from sira.tail import find_tail

_EVERY_INTEGER = 256
"""Ranges up to this size are checked at every integer, not only around the thresholds."""


def integer_tensors(model: ir.Model, ranges: Ranges) -> list[str]:
    """Outputs of quantizers, and graph outputs that have integers."""
    quantized = [n.outputs[0] for n in model.graph if rule_of(n).kind == "quantizer"]
    names = [g.name(v) for v in quantized if not g.is_constant(v)]
    outputs = [g.name(v) for v in model.graph.outputs if ranges.scaled(v) is not None]
    return list(dict.fromkeys([*names, *outputs]))


def flat(value: Value) -> Ints:
    """The integers of a point (samples, *shape) as (samples, elements)."""
    assert isinstance(value, ScaledInt)
    return value.lo.reshape(len(value.lo), -1)


def nearest(real: NDArray[np.floating], on: ScaledInt) -> Ints:
    """The integers behind real values on the lattice of ``on``."""
    return np.rint((real.astype(np.float64) - on.bias_float) / on.scale_float).astype(np.int64)


def check_float64(
    model: ir.Model, ranges: Ranges, ours: Mapping[str, Value], oracle: Oracle
) -> list[Check]:
    """Golden values ``ours`` of the original graph at every quantizer, on the same samples."""
    samples = _samples(model, ours)
    names = integer_tensors(model, ranges)
    theirs = oracle.run(samples, names)
    checks = []
    for name in names:
        found = ours[name]
        assert isinstance(found, ScaledInt)
        q = nearest(theirs[name], found).reshape(len(samples), -1)
        checks.append(compare(f"golden against float64 at {name}", flat(found), q, oracle=True))
    return checks


def _samples(model: ir.Model, ours: Mapping[str, Value]) -> NDArray[np.float64]:
    """The exact inputs behind golden values, each rounded once to float64."""
    x = ours[g.name(model.graph.inputs[0])]
    if isinstance(x, ScaledInt):
        return golden.decode(x, x.lo)
    assert isinstance(x, Interval)
    return x.lo


@dataclass(frozen=True, eq=False)
class Float32Agreement:
    """Samples on which float32 agrees at every quantizer, those it differs on by ties, outputs."""

    check: Check
    agree: int
    ties: int
    outputs: NDArray[np.float64]


def check_float32(
    model: ir.Model,
    ranges: Ranges,
    ours: Mapping[str, Value],
    oracle: Oracle,
) -> Float32Agreement:
    """Execute the samples in float32 and explain every difference."""
    x = _samples(model, ours).astype(np.float32)
    (output,) = {g.name(v) for v in model.graph.outputs[-1:]}
    names = [n for n in integer_tensors(model, ranges) if isinstance(ours[n], ScaledInt)]
    names = [n for n in names if n != output or rule_of(_producer(model, n)).kind == "quantizer"]
    run: dict[str, NDArray[np.float32]] = oracle.run_float32(x)
    agree = np.ones(len(x), bool)
    for name in names:
        found = ours[name]
        assert isinstance(found, ScaledInt)
        agree &= (nearest(run[name], found) == found.lo).reshape(len(x), -1).all(axis=1)
    ties = 0
    if not agree.all():
        others = {name: value[~agree] for name, value in run.items()}
        ties = int(explained(model, ranges, others, tuple(names)).sum())
    unexplained = int((~agree).sum()) - ties
    check = Check("samples whose float32 execution rounding does not explain", len(x), unexplained)
    outputs = np.asarray(run[output], np.float64).reshape(len(x), -1)
    return Float32Agreement(check, int(agree.sum()), ties, outputs)


def _producer(model: ir.Model, name: str) -> ir.Node:
    return next(n for n in model.graph for v in n.outputs if v.name == name)


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
    tail = find_tail(sink)
    # Where the host quantizes, the hardware starts behind that quantizer.
    chain = [tail.source, *(n.outputs[0] for n in tail.nodes)]
    start = next(v for v in chain if ranges.scaled(v) is not None)
    source, target = ranges.scaled(start), ranges.scaled(sink)
    assert source is not None and target is not None
    shape = g.shape(start)
    kept = np.arange(layer.channels) if wire.channels is None else wire.channels
    all_channels = layer.channels if wire.channels is None else shape[-1]
    lo, hi = (_per_channel(q, all_channels) for q in (source.lo, source.hi))
    offsets = _per_channel(offset, layer.channels)
    points, reachable = _points(layer, lo[kept], hi[kept], offsets)  # (P, channels)
    everywhere = np.tile(lo, (len(points), 1))  # channels without hardware stay where they are
    everywhere[:, kept] = points
    q = np.tile(everywhere, layer.vectors)
    reals = golden.decode(
        ScaledInt(source.lo, source.hi, source.scale, source.bias), q.reshape(len(q), *shape)
    )
    wanted = nearest(oracle.run_tail(g.name(start), g.name(sink), reals), target)
    (found,) = layer.execute(np.tile(points - offsets, layer.vectors))
    name = f"thresholds of {layer.name} against float64"
    wanted = wanted.reshape(-1, all_channels)[:, kept].reshape(len(points), -1)
    return compare(name, found + wire.offset.reshape(-1), wanted, oracle=True), reachable


def _per_channel(q: Ints, channels: int) -> Ints:
    return np.broadcast_to(np.asarray(q).reshape(-1), (channels,))


def _points(layer: Thresholding, lo: Ints, hi: Ints, offset: Ints) -> tuple[Ints, int]:
    """Integers (P, channels) where a layer is checked, and the number of reachable thresholds."""
    channels = layer.channels
    top = (1 << layer.input_bits) - 1
    thresholds = np.broadcast_to(layer.thresholds, (channels, layer.thresholds.shape[1]))
    falling = np.broadcast_to(layer.falling, (channels,))[:, None]
    # The first integer on the far side of each step, in the order of q.
    steps = np.where(falling, top - thresholds + 1, thresholds) + offset[:, None]
    reachable = int(((steps > lo[:, None]) & (steps <= hi[:, None])).sum())
    span = int((hi - lo).max())
    if span < _EVERY_INTEGER:
        return np.minimum(lo + np.arange(span + 1)[:, None], hi), reachable
    around = np.concatenate([steps - 1, steps, lo[:, None], hi[:, None]], axis=1)
    return np.clip(around, lo[:, None], hi[:, None]).T.copy(), reachable
