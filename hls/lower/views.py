"""Lowering of rearrangements: other shapes and orders, selections, pixels repeated or regrouped.

They are read off the operator's own evaluation rule, by sending the numbers of the elements through
it: no attribute is interpreted a second time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from math import gcd, prod

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints
from hls.layers.depth_to_space import DepthToSpace
from hls.layers.slice import Slice
from hls.layers.sliding_window import SlidingWindow
from hls.layers.upsample import Upsample
from hls.lower.build import Lowering, by_channel, image, refuse, settled
from hls.lower.rules import rule
from hls.lower.wires import Layout, Shape, Wire
from sira import graph as g
from sira.numbers.exact import Exact
from sira.numbers.scaled import ScaledInt
from sira.ops import apply, known
from sira.ops.layout import permutation


@rule("Cast")
def same(build: Lowering, node: ir.Node) -> Wire:
    """An operator that does nothing on integers."""
    return build.wire(node.inputs[0])


@rule("Reshape")
def reshape(build: Lowering, node: ir.Node) -> Wire:
    """Another shape of the same stream, as far as its order of elements allows."""
    wire = build.wire(node.inputs[0])
    return wire.reshaped(g.shape(node.outputs[0]))


@rule("Transpose")
def transpose(build: Lowering, node: ir.Node) -> Wire:
    """Another order of the axes; the stream stays as it is."""
    wire = in_own_shape(build, node, 0)
    order = permutation_of(node, len(wire.layout.sizes))
    return wire.with_layout(wire.layout.transposed(order))


def permutation_of(node: ir.Node, rank: int) -> tuple[int, ...]:
    """The input's axis at each axis of a Transpose's output."""
    return tuple(permutation(node, rank))


def in_own_shape(build: Lowering, node: ir.Node, index: int) -> Wire:
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


def _picked(build: Lowering, node: ir.Node) -> Ints:
    """For each element of the output the number of the input's element that it is."""
    x = node.inputs[0]
    assert x is not None
    shape = g.shape(x)
    numbers = np.arange(prod(shape)).reshape(shape)
    counted = {g.name(x): ScaledInt(numbers, numbers, Exact.of(1), Exact.of(0))}
    found = apply(node, known(counted, build.ranges.values))[0]
    assert isinstance(found, ScaledInt)
    return np.broadcast_to(found.lo, g.shape(node.outputs[0]))


@rule("Gather", "Slice")
def sliced(build: Lowering, node: ir.Node) -> Wire:
    """The elements of a box, in regular steps along each axis."""
    wire, picked = in_own_shape(build, node, 0), _picked(build, node)
    sizes = wire.layout.sizes
    lines = [np.unique(c) for c in np.unravel_index(picked.reshape(-1), sizes)]
    box = np.ravel_multi_index(np.ix_(*lines), sizes)
    steps = [reduce(gcd, np.diff(line).tolist(), 0) or 1 for line in lines]
    regular = all(len(set(np.diff(line).tolist())) <= 1 for line in lines)
    moving = [axis for axis in wire.layout.order[:-1] if sizes[axis] != 1]
    if box.size != picked.size or (box.reshape(-1) != picked.reshape(-1)).any() or not regular:
        raise refuse(
            node, "this selection has no layer",
            "regular rising steps along each axis", f"{g.shape(node.outputs[0])} of {sizes}",
        )  # fmt: skip
    if len(moving) > 2:
        raise refuse(node, "too many axes", "rows, columns, channels", str(sizes))
    axes = [*([None] * (2 - len(moving))), *moving, wire.layout.order[-1]]
    shape = tuple(1 if a is None else sizes[a] for a in axes)
    starts = tuple(0 if a is None else int(lines[a][0]) for a in axes)
    stops = tuple(1 if a is None else int(lines[a][-1]) + 1 for a in axes)
    strides = tuple(1 if a is None else steps[a] for a in axes)
    port = wire.port
    if picked.size != prod(sizes):
        layer = Slice(g.label(node), _three(shape), _three(starts), _three(stops), _three(strides),
                      wire.bits, 1)  # fmt: skip
        port = build.chain(layer, wire.port)
    factor, offset = (v[lines[wire.layout.order[-1]]] for v in by_channel(wire))
    layout = Layout(tuple(len(line) for line in lines), wire.layout.order)
    result = settled(Wire(port, wire.bits, layout, offset, factor))
    return result.reshaped(g.shape(node.outputs[0]))


def _three(values: Shape) -> tuple[int, int, int]:
    a, b, c = values
    return a, b, c


@rule("Resize", "Upsample")
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


@rule("DepthToSpace")
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


@rule("SpaceToDepth")
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
