"""Lowering of everything but matrix products and rearrangements: constants, sums and products of
two tensors, thresholds, decisions, pools, padding."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints
from hls.layers import (
    ArgMax,
    Concat,
    Elementwise,
    GlobalPooling,
    Pooling,
    SlidingWindow,
    Thresholding,
)
from hls.lower.build import ONE, ZERO, Lowering, by_channel, image, narrowed, refuse, settled
from hls.lower.macs import geometry
from hls.lower.views import in_own_shape
from hls.lower.wires import Layout, Wire
from sira import graph as g
from sira.ops.pool_windows import windows_of

# ---- Constants -----------------------------------------------------------------------------------


def mul(build: Lowering, node: ir.Node) -> Wire | None:
    """A product with integer constants, which only changes the factor, or of two tensors."""
    if len(g.dynamic_inputs(node)) == 2:
        return _product(build, node)
    found = _constant(build, node)
    if found is None:
        return None
    wire, constant = found
    if (constant == 0).any():
        raise refuse(node, "a channel is multiplied by 0", "factors other than 0", "0")
    return replace(wire, factor=wire.factor * constant, offset=wire.offset * constant)


def add(build: Lowering, node: ir.Node) -> Wire | None:
    """A sum with integer constants, which only changes the offset, or of two tensors."""
    if len(g.dynamic_inputs(node)) == 2:
        return _sum(build, node, 1)
    found = _constant(build, node)
    return found and replace(found[0], offset=found[0].offset + found[1])


def subtract(build: Lowering, node: ir.Node) -> Wire | None:
    if len(g.dynamic_inputs(node)) == 2:
        return _sum(build, node, -1)
    found = _constant(build, node)
    if found is None:
        return None
    wire, constant = found
    if g.is_constant(node.inputs[0]):
        return replace(wire, offset=constant - wire.offset, factor=-wire.factor)
    return replace(wire, offset=wire.offset - constant)


def _constant(build: Lowering, node: ir.Node) -> tuple[Wire, Ints] | None:
    """The computed operand and the integers (1,) or (C,) of the constant one; None where these
    are no integers, so that the result is the host's."""
    index = int(g.is_constant(node.inputs[0]))  # of the computed operand
    constant = build.integers(node, 1 - index)
    if constant is None:
        return None
    wire, shape = in_own_shape(build, node, index), g.shape(node.outputs[0])
    if constant.size == 1:
        return wire, constant.reshape(1)
    rows = wire.layout.to_stream(np.broadcast_to(constant, shape)[None])
    rows = rows.reshape(-1, wire.layout.channels)
    if prod(shape) != wire.layout.elements or (rows != rows[0]).any():
        raise refuse(
            node, "the constant differs within a channel",
            "one number for each channel", f"constant of shape {constant.shape}",
            "quantize in front of it",
        )  # fmt: skip
    return wire, rows[0]


# ---- Two tensors ---------------------------------------------------------------------------------


def _operands(build: Lowering, node: ir.Node) -> tuple[Wire, Wire]:
    left, right = in_own_shape(build, node, 0), in_own_shape(build, node, 1)
    if not left.layout.same_as(right.layout):
        raise refuse(
            node, "its operands are not sent in the same order",
            "two tensors of one shape and one layout",
            f"{left.layout.sizes} and {right.layout.sizes} as {left.layout.streamed} and "
            f"{right.layout.streamed}",
        )  # fmt: skip
    return left, right


def _sum(build: Lowering, node: ir.Node, sign: int) -> Wire:
    left, right = _operands(build, node)
    (fl, ol), (fr, ol_right) = by_channel(left), by_channel(right)
    return _elementwise(build, node, left, right, 0, fl, sign * fr, ol + sign * ol_right)


def _product(build: Lowering, node: ir.Node) -> Wire:
    left, right = _operands(build, node)
    if settled(left).factor.size * settled(right).factor.size != 1:
        left = build.materialised(left, f"{g.label(node)}_left")
        right = build.materialised(right, f"{g.label(node)}_right")
    (fl, ol), (fr, o_right) = by_channel(left), by_channel(right)
    product = int(fl[0] * fr[0])
    return _elementwise(build, node, left, right, product, fl * o_right, fr * ol, ol * o_right)


def _elementwise(
    build: Lowering, node: ir.Node, left: Wire, right: Wire, product: int,
    left_factor: Ints, right_factor: Ints, start: Ints,
) -> Wire:  # fmt: skip
    """``product * l * r + left_factor * l + right_factor * r + start`` in counts l and r."""
    layout = left.layout
    lo, hi = build.bounds(node.outputs[0], layout)
    bits = max(*(int(span).bit_length() for span in (hi - lo).tolist()), 1)
    layer = Elementwise(
        name=g.label(node),
        channels=layout.channels,
        left_bits=left.bits,
        right_bits=right.bits,
        product=product,
        left=narrowed(left_factor),
        right=narrowed(right_factor),
        start=narrowed(start - lo),
        output_bits=bits,
        lanes=1,
        vectors=layout.elements // layout.channels,
    )
    port = build.add(layer, left=left.port, right=right.port)
    return Wire(port, bits, layout, lo, ONE)


def concat(build: Lowering, node: ir.Node) -> Wire:
    """Channels beside each other; other axes cannot be concatenated in a stream."""
    shape = g.shape(node.outputs[0])
    axis = int(g.attribute(node, "axis", 0)) % len(shape)
    if len(g.dynamic_inputs(node)) != len(node.inputs):
        raise refuse(
            node, "a constant cannot be concatenated", "computed operands", "a constant",
            "leave out the constant, and fold what reads it into a bias",
        )  # fmt: skip
    wires = [in_own_shape(build, node, i) for i in range(len(node.inputs))]
    for wire in wires:
        if not wire.layout.same_as(Layout.channels_at(wire.layout.sizes, axis)):
            raise refuse(
                node, "only channels can be concatenated",
                f"operands whose last axis in the stream is axis {axis}",
                f"{wire.layout.sizes} sent in the order {wire.layout.order}",
                "concatenate along the axis of the channels",
            )  # fmt: skip
    wires = [w.with_layout(Layout.channels_at(w.layout.sizes, axis)) for w in wires]
    layout = Layout.channels_at(shape, axis)
    layer = Concat(
        name=g.label(node),
        channels=tuple(w.layout.channels for w in wires),
        input_bits=tuple(w.bits for w in wires),
        lanes=1,
        vectors=layout.elements // layout.channels,
    )
    port = build.add(layer, **{f"in{i}": w.port for i, w in enumerate(wires)})
    factor, offset = (np.concatenate(v) for v in zip(*map(by_channel, wires), strict=True))
    return settled(Wire(port, layer.outputs["out"].bits, layout, offset, factor))


# ---- Thresholds and decisions --------------------------------------------------------------------


def thresholding(build: Lowering, node: ir.Node) -> Wire:
    """A staircase: counts are compared with thresholds in counts, falling where a factor is < 0."""
    shape, steps = g.shape(node.outputs[0]), build.integers(node, 1)
    assert steps is not None
    wire = build.wire(node.inputs[0])
    last = g.attribute(node, "data_layout", "NCHW") in ("NHWC", "NWC", "NC", b"NHWC", b"NWC")
    axis = len(shape) - 1 if last or len(shape) < 3 else 1
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
    layer = Thresholding(
        name=g.label(node),
        thresholds=counts,
        falling=falling,
        channels=channels,
        input_bits=wire.bits,
        pe=1,
        vectors=wire.layout.elements // channels,
    )
    base = int(g.attribute(node, "out_bias", 0.0))
    return Wire(build.chain(layer, wire.port), layer.output_bits, wire.layout, base * ONE, ONE)


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


# ---- Pools and padding ---------------------------------------------------------------------------


def max_pool(build: Lowering, node: ir.Node) -> Wire:
    """The largest of each window: the largest count, as factors are positive. Pads with 0."""
    x = node.inputs[0]
    assert x is not None
    wire, shape = image(build.wire(x), x, node)
    if (wire.factor < 0).any():
        wire = build.materialised(wire, g.label(node))
    name, channels = g.label(node), shape[2]
    layout = Layout.channels_at(g.shape(node.outputs[0]), 1)
    spatial = g.shape(x)[2:]
    if layout.elements == channels and node.op_type == "GlobalMaxPool":
        pool: GlobalPooling | Pooling = GlobalPooling(
            name, "max", channels, prod(spatial), wire.bits, 1
        )
        return replace(wire, port=build.chain(pool, wire.port), layout=layout)
    tables = [np.where(w.inside, w.positions, -1) for w in windows_of(node, spatial)]
    strides, dilations = (
        [int(v) for v in g.attribute(node, name) or [1] * len(spatial)]
        for name in ("strides", "dilations")
    )
    window = geometry(tables, shape[:2], strides, dilations)
    if window.kernel == shape[:2] and not window.padded:
        pool = GlobalPooling(name, "max", channels, prod(spatial), wire.bits, 1)
        return replace(wire, port=build.chain(pool, wire.port), layout=layout)
    generator = SlidingWindow(
        build.between(f"{name}_window"), shape, window.kernel, window.strides, window.dilations,
        window.pads, 0, channels, wire.bits, 1,
    )  # fmt: skip
    vectors = window.outputs[0] * window.outputs[1]
    pool = Pooling(name, "max", channels, window.taps, wire.bits, 1, vectors)
    port = build.chain(pool, build.chain(generator, wire.port))
    return replace(wire, port=port, layout=layout)


def pad(build: Lowering, node: ir.Node) -> Wire:
    """A constant around an image: windows of one element that hang over."""
    x = node.inputs[0]
    assert x is not None
    wire, shape = image(build.wire(x), x, node)
    rank = len(g.shape(x))
    if "pads" in node.attributes:  # before opset 11
        given = np.asarray(g.attribute(node, "pads"), np.int64)
        value: Ints | None = np.asarray([g.attribute(node, "value", 0.0)], np.int64)
    else:
        found = build.integers(node, 1)
        assert found is not None
        given = found
        value = ZERO if len(node.inputs) < 3 or node.inputs[2] is None else build.integers(node, 2)
    axes = np.arange(rank)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        chosen = build.integers(node, 3)
        assert chosen is not None
        axes = chosen % rank
    pads = np.zeros((2, rank), np.int64)
    pads[:, axes] = given.reshape(2, -1)
    assert value is not None
    fill, rest = np.divmod(value.reshape(1) - wire.offset, wire.factor)
    plain = g.attribute(node, "mode", "constant") in ("constant", b"constant")
    in_range = (fill == fill[0]).all() and 0 <= fill[0] < 1 << wire.bits and not rest.any()
    if not plain or pads[:, :2].any() or pads.min() < 0 or not in_range:
        raise refuse(
            node, "this padding has no layer",
            "constant padding of rows and columns with an integer of the tensor's range",
            f"mode {g.attribute(node, 'mode', 'constant')}, pads {pads.tolist()}",
            "let the convolution behind it pad",
        )  # fmt: skip
    (top, left), (bottom, right) = ([0, *side[2:]][-2:] for side in pads.tolist())
    layer = SlidingWindow(
        g.label(node), shape, (1, 1), (1, 1), (1, 1), (top, left, bottom, right), int(fill[0]), 1,
        wire.bits, 1,
    )  # fmt: skip
    layout = Layout.channels_at(g.shape(node.outputs[0]), 1)
    return replace(wire, port=build.chain(layer, wire.port), layout=layout)
