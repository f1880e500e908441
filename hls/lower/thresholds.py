"""Lowering of thresholds and of decisions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hls.layers.argmax import ArgMax
from hls.lower.build import ONE, ZERO, Lowering, by_channel, refuse
from hls.lower.rules import rule
from hls.lower.tails import TailFunction, cheapest, estimated_lut
from hls.lower.views import in_own_shape
from hls.lower.wires import Layout, Wire
from sira import graph as g
from sira.ops.quant import threshold_axis


@rule("MultiThreshold", to_host=False)
def thresholding(build: Lowering, node: ir.Node) -> Wire:
    """A staircase of integers becomes one of counts, which falls where a factor is below 0."""
    shape, steps = g.shape(node.outputs[0]), build.integers(node, 1)
    assert steps is not None
    wire = build.wire(node.inputs[0])
    axis = threshold_axis(node)
    if len(steps) > 1:
        wanted = Layout.channels_at(shape, axis)
        seen = wire.reshaped(shape)
        if seen.layout.same_as(wanted):
            wire = seen.with_layout(wanted)
        elif len(steps) == wire.layout.elements:  # one row for each element of the stream
            steps = steps[wire.layout.positions()]
        else:
            raise refuse(
                node, "its channels do not travel together",
                f"axis {axis} last in the stream", f"{shape} sent as {wire.layout.streamed}",
            )  # fmt: skip
    channels = max(len(steps), wire.layout.channels)
    factor, offset = (np.resize(v, channels)[:, None] for v in (wire.factor, wire.offset))
    steps = np.broadcast_to(steps, (channels, steps.shape[1]))
    top = 1 << wire.bits
    reached = -((offset - steps) // factor)  # factor * u + offset >= T: u >= ceil((T - o) / f)
    fallen = top - 1 - (steps - offset) // factor  # or, where f < 0, u <= floor((T - o) / f)
    counts = np.clip(np.where(factor > 0, reached, fallen), 0, top)
    falling = factor[:, 0] < 0
    if (counts == counts[0]).all() and (falling == falling[0]).all():
        counts, falling = counts[:1], falling[:1]
    vectors = wire.layout.elements // channels
    tail = TailFunction(g.label(node), counts, falling, channels, wire.bits, vectors)
    layer = cheapest(tail, estimated_lut(build.device))
    bits, base = layer.outputs["out"].bits, int(g.attribute(node, "out_bias", 0.0))
    return Wire(build.chain(layer, wire.port), bits, wire.layout, base * ONE, ONE)


@rule("ArgMax")
def argmax(build: Lowering, node: ir.Node) -> Wire | None:
    """The index of the largest; None where there are several decisions in a frame."""
    wire = in_own_shape(build, node, 0)
    channels = wire.layout.channels
    axis = int(g.attribute(node, "axis", 0)) % len(wire.layout.sizes)
    if wire.layout.elements != channels or wire.layout.sizes[axis] != channels:
        return None
    factor, offset = by_channel(wire)
    if (factor < 1).any() or g.attribute(node, "select_last_index", 0):
        return None
    layer = ArgMax(g.label(node), factor, offset, wire.bits, 1)
    shape = g.shape(node.outputs[0])
    layout = Layout(shape, tuple(range(len(shape)))) if shape else Layout((1,), (0,))
    return Wire(build.chain(layer, wire.port), layer.outputs["out"].bits, layout, ZERO, ONE)
