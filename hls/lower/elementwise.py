"""Lowering of sums and products, with constants and of two tensors, and of concatenation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints
from hls.layers.concat import Concat
from hls.layers.elementwise import Elementwise
from hls.lower.build import ONE, Lowering, by_channel, narrowed, refuse, settled
from hls.lower.rules import rule
from hls.lower.views import in_own_shape
from hls.lower.wires import Layout, Wire
from sira import graph as g

# ---- Constants -----------------------------------------------------------------------------------


@rule("Mul", absorbed=True)
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


@rule("Add", absorbed=True)
def add(build: Lowering, node: ir.Node) -> Wire | None:
    """A sum with integer constants, which only changes the offset, or of two tensors."""
    if len(g.dynamic_inputs(node)) == 2:
        return _sum(build, node, 1)
    found = _constant(build, node)
    return found and replace(found[0], offset=found[0].offset + found[1])


@rule("Sub", absorbed=True)
def subtract(build: Lowering, node: ir.Node) -> Wire | None:
    """A difference with integer constants, which changes factor and offset, or of two tensors."""
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
    """The wires of both operands, which must send their elements in one order."""
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
    """The first operand plus ``sign`` times the second."""
    left, right = _operands(build, node)
    (fl, ol), (fr, ol_right) = by_channel(left), by_channel(right)
    return _elementwise(build, node, left, right, 0, fl, sign * fr, ol + sign * ol_right)


def _product(build: Lowering, node: ir.Node) -> Wire:
    """The product of both operands, which need factors that all channels share."""
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


@rule("Concat")
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
