"""Lowering of everything but matrix products: thresholds, pools, sums of two, rearrangements.

Rearrangements are read off the operator's own evaluation rule, by sending the numbers of the
elements through it: no attribute is interpreted a second time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from math import gcd, prod

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints
from hls.layers import (
    ArgMax,
    Concat,
    DepthToSpace,
    Elementwise,
    GlobalPooling,
    Pooling,
    Slice,
    SlidingWindow,
    Thresholding,
    Upsample,
)
from hls.lower_macs import geometry
from hls.lowering import ONE, ZERO, Lowering, by_channel, image, narrowed, refuse, settled
from hls.wires import Layout, Shape, Wire
from sira import graph as g
from sira.exact import Exact
from sira.ops import rule_of
from sira.ops.layout import permutation
from sira.ops.pool_windows import windows_of
from sira.scaled import ScaledInt


def same(build: Lowering, node: ir.Node) -> Wire:
    """An operator that does nothing on integers."""
    return build.wire(node.inputs[0])


def reshape(build: Lowering, node: ir.Node) -> Wire:
    wire = build.wire(node.inputs[0])
    return wire.reshaped(g.shape(node.outputs[0]))


def transpose(build: Lowering, node: ir.Node) -> Wire:
    wire = _as(build, node, 0)
    order = permutation_of(node, len(wire.layout.sizes))
    return wire.with_layout(wire.layout.transposed(order))


def permutation_of(node: ir.Node, rank: int) -> tuple[int, ...]:
    return tuple(permutation(node, rank))


def _as(build: Lowering, node: ir.Node, index: int) -> Wire:
    """The wire of an operand, its layout told in the operand's own shape."""
    value = node.inputs[index]
    assert value is not None
    wire, shape = build.wire(value), g.shape(value)
    found = wire.reshaped(shape)
    if found.layout.sizes != shape:
        raise refuse(
            node, "its operand was reshaped after its channels had been moved last",
            "a Flatten only in front of a dense layer", f"{shape} sent as {wire.layout.streamed}",
            "leave out the Reshape in front of it",
        )  # fmt: skip
    return found


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
    wire, shape = _as(build, node, index), g.shape(node.outputs[0])
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
    left, right = _as(build, node, 0), _as(build, node, 1)
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
    wires = [_as(build, node, i) for i in range(len(node.inputs))]
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
    wire = _as(build, node, 0)
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
    given = build.integers(node, 1)
    assert given is not None
    axes = np.arange(rank)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        chosen = build.integers(node, 3)
        assert chosen is not None
        axes = chosen % rank
    pads = np.zeros((2, rank), np.int64)
    pads[:, axes] = given.reshape(2, -1)
    value = None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        value = build.integers(node, 2)
    fill, rest = np.divmod((0 if value is None else value.reshape(1)) - wire.offset, wire.factor)
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


# ---- Rearrangements ------------------------------------------------------------------------------


def _picked(build: Lowering, node: ir.Node, output: int = 0) -> Ints:
    """For each element of an output the number of the input's element that it is."""
    x = node.inputs[0]
    assert x is not None
    shape = g.shape(x)
    numbers = np.arange(prod(shape)).reshape(shape)
    arguments = build.ranges.arguments(node)
    arguments[0] = ScaledInt(numbers, numbers, Exact.of(1), Exact.of(0))
    found = rule_of(node).evaluate(node, arguments)[output]
    assert isinstance(found, ScaledInt)
    return np.broadcast_to(found.lo, g.shape(node.outputs[output]))


def sliced(build: Lowering, node: ir.Node) -> Wire:
    return part_of_split(build, node, 0)


def part_of_split(build: Lowering, node: ir.Node, output: int) -> Wire:
    """The elements of a box, in regular steps along each axis."""
    wire, picked = _as(build, node, 0), _picked(build, node, output)
    sizes = wire.layout.sizes
    lines = [np.unique(c) for c in np.unravel_index(picked.reshape(-1), sizes)]
    box = np.ravel_multi_index(np.ix_(*lines), sizes)
    steps = [reduce(gcd, np.diff(line).tolist(), 0) or 1 for line in lines]
    regular = all(len(set(np.diff(line).tolist())) <= 1 for line in lines)
    moving = [axis for axis in wire.layout.order[:-1] if sizes[axis] != 1]
    if box.size != picked.size or (box.reshape(-1) != picked.reshape(-1)).any() or not regular:
        raise refuse(
            node, "this selection has no layer",
            "regular rising steps along each axis", f"{g.shape(node.outputs[output])} of {sizes}",
        )  # fmt: skip
    if len(moving) > 2:
        raise refuse(node, "too many axes", "rows, columns, channels", str(sizes))
    axes = [*([None] * (2 - len(moving))), *moving, wire.layout.order[-1]]
    shape = tuple(1 if a is None else sizes[a] for a in axes)
    starts = tuple(0 if a is None else int(lines[a][0]) for a in axes)
    stops = tuple(1 if a is None else int(lines[a][-1]) + 1 for a in axes)
    strides = tuple(1 if a is None else steps[a] for a in axes)
    name = g.label(node)
    if len(node.outputs) > 1:
        name = build.between(f"{name}_{output}")
    port = wire.port
    if picked.size != prod(sizes):
        layer = Slice(name, _three(shape), _three(starts), _three(stops), _three(strides),
                      wire.bits, 1)  # fmt: skip
        port = build.chain(layer, wire.port)
    factor, offset = (v[lines[wire.layout.order[-1]]] for v in by_channel(wire))
    layout = Layout(tuple(len(line) for line in lines), wire.layout.order)
    result = settled(Wire(port, wire.bits, layout, offset, factor))
    return result.reshaped(g.shape(node.outputs[output]))


def _three(values: Shape) -> tuple[int, int, int]:
    a, b, c = values
    return a, b, c


def upsample(build: Lowering, node: ir.Node) -> Wire:
    """Each row and column several times."""
    x = node.inputs[0]
    assert x is not None
    wire, shape = image(build.wire(x), x, node)
    before, after = g.shape(x), g.shape(node.outputs[0])
    factors = [b // a for a, b in zip(before, after, strict=True)]
    expected = np.arange(prod(before)).reshape(before)
    for axis, times in enumerate(factors):
        expected = np.repeat(expected, times, axis=axis)
    picked = _picked(build, node)
    if factors[:2] != [1, 1] or expected.shape != after or (picked != expected).any():
        raise refuse(
            node, "only nearest-neighbour resizing by integer factors has a layer",
            "each row and column repeated", f"{before} to {after}",
        )  # fmt: skip
    scales = (1, *factors[2:])[-2:]
    layer = Upsample(g.label(node), shape, (scales[0], scales[1]), wire.bits, 1)
    layout = Layout.channels_at(after, 1)
    return replace(wire, port=build.chain(layer, wire.port), layout=layout)


def depth_to_space(build: Lowering, node: ir.Node) -> Wire:
    """Blocks of channels become blocks of pixels, whose integers need one offset."""
    x = node.inputs[0]
    assert x is not None
    wire, shape = image(build.wire(x), x, node)
    block = int(g.attribute(node, "blocksize"))
    crd = g.attribute(node, "mode", "DCR") in ("CRD", b"CRD")
    axes = (1, 2) if crd else (0, 1)  # of a block's rows and columns among the input's channels
    split = (shape[2] // block**2, block, block) if crd else (block, block, shape[2] // block**2)

    def by_pixel(wire: Wire) -> tuple[Ints, Ints]:
        """Factor and offset (pixels of a block, C) of the output's channels."""
        factor, offset = (np.moveaxis(v.reshape(split), axes, (0, 1)) for v in by_channel(wire))
        return factor.reshape(block**2, -1), offset.reshape(block**2, -1)

    factor, offset = by_pixel(wire)
    if (factor != factor[0]).any() or (offset != offset[0]).any():
        wire = build.materialised(wire, g.label(node), one_offset=True)
        factor, offset = by_pixel(wire)
    layer = DepthToSpace(g.label(node), shape, block, "CRD" if crd else "DCR", wire.bits, 1)
    layout = Layout.channels_at(g.shape(node.outputs[0]), 1)
    port = build.chain(layer, wire.port)
    return settled(Wire(port, wire.bits, layout, offset[0], factor[0]))


def space_to_depth(build: Lowering, node: ir.Node) -> Wire:
    """Blocks of pixels become channels: windows that do not overlap."""
    x = node.inputs[0]
    assert x is not None
    wire, shape = image(build.wire(x), x, node)
    block = int(g.attribute(node, "blocksize"))
    size = (block, block)
    layer = SlidingWindow(
        g.label(node), shape, size, size, (1, 1), (0, 0, 0, 0), 0, 1, wire.bits, 1
    )
    layout = Layout.channels_at(g.shape(node.outputs[0]), 1)
    values = (wire.factor, wire.offset)
    factor, offset = (v if v.size == 1 else np.tile(v, block**2) for v in values)
    return Wire(build.chain(layer, wire.port), wire.bits, layout, offset, factor)
