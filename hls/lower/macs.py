"""Lowering of matrix products and convolutions to matrix-vector units.

With ``q = factor * u + offset`` at the input, the factor moves into the weights and the offset into
the start values. A convolution is a window generator and a unit that sees each window as a vector.
Padding is the count of 0. Where 0 is no count of all channels, padded lanes count nothing, and the
start value is that of the position's border class: positions whose windows hang over alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hls.dataflow import Ints
from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.matrix_vector import MatrixVector
from hls.layers.zero_insertion import ZeroInsertion
from hls.lower.build import ONE, Lowering, by_channel, image, refuse
from hls.lower.rules import rule
from hls.lower.windows import (
    Geometry,
    Pair,
    count_of_zero,
    geometry,
    pooled_sum,
    stream_of_windows,
)
from hls.lower.wires import Layout, Wire
from sira import graph as g
from sira.ops import Constant
from sira.ops.conv import window_of
from sira.ops.windows import transposed_window


@rule("MatMul", to_host=False)
def matmul(build: Lowering, node: ir.Node) -> Wire:
    """A computed tensor times a constant matrix."""
    wire, matrix = build.wire(node.inputs[0]), build.integers(node, 1)
    if matrix is None or matrix.ndim != 2:
        raise refuse(
            node, "only a product with one constant matrix has a layer",
            "a computed first operand and constant integer weights (K, N)", "another operand",
            "transpose the product, or cut the model in front of it",
        )  # fmt: skip
    k, n = matrix.shape
    sizes, order = wire.layout.sizes, wire.layout.order
    first = len(sizes)
    while first > 0 and np.prod(sizes[first:]) != k:
        first -= 1
    summed = [axis for axis in order if axis >= first]
    vectors = [axis for axis in order if axis < first]
    moving = [axis for axis in order if sizes[axis] != 1]
    channels = wire.layout.channels
    fits = np.prod(sizes[first:]) == k and (k % channels == 0 or wire.offset.size == 1)
    if not fits or moving != [a for a in (*vectors, *summed) if sizes[a] != 1]:
        raise refuse(
            node, "the elements of a sum do not travel together",
            f"{k} elements of the last axis, one after the other",
            f"{sizes} sent in the order of axes {order}",
            "transpose in front of the quantizer instead",
        )  # fmt: skip
    places = np.arange(k).reshape(sizes[first:])
    places = places.transpose([axis - first for axis in summed]).reshape(-1)
    factor, offset = (np.resize(v, k) for v in (wire.factor, wire.offset))
    weights = (matrix[places] * factor[:, None]).T
    layout = Layout((*sizes[:first], n), (*vectors, first))
    lo, hi = build.bounds(node.outputs[0], layout)
    layer = MatrixVector(
        name=g.label(node),
        weights=weights,
        start=offset @ matrix[places] - lo,
        input_bits=wire.bits,
        accumulator_bits=build.accumulator_width(node, lo, hi),
        pe=1,
        simd=1,
        vectors=wire.layout.elements // k,
    )
    port = build.chain(layer, wire.port)
    result = Wire(port, layer.accumulator_bits, layout, lo, ONE)
    return result.reshaped(g.shape(node.outputs[0]))


@rule("Conv", to_host=False)
def conv(build: Lowering, node: ir.Node) -> dict[ir.Value, Wire]:
    """A convolution, depthwise and grouped ones included; a pooled sum where all weights are 1."""
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    wire, shape = image(build.wire(x), x, node)
    constant, weights = build.ranges[w], build.integers(node, 1)
    assert isinstance(constant, Constant) and weights is not None
    found = geometry(window_of(node, constant).axes)
    return _convolution(build, node, wire, shape, _planes(weights), found)


@rule("ConvTranspose", to_host=False)
def conv_transpose(build: Lowering, node: ir.Node) -> dict[ir.Value, Wire]:
    """The convolution of the input with zeros inserted, and with the kernel turned around."""
    x = node.inputs[0]
    assert x is not None
    wire, shape = image(build.wire(x), x, node)
    weights = build.integers(node, 1)  # (C, M / groups, *kernel)
    assert weights is not None
    groups = g.attribute(node, "group", 1)
    kernel = _planes(weights)
    window = transposed_window(node, shape[4 - weights.ndim : 2], weights.shape[2:])
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:]).swapaxes(1, 2)
    turned = by_group.reshape(-1, len(kernel) // groups, *kernel.shape[2:])[:, :, ::-1, ::-1]
    found = geometry([axis.turned for axis in window.axes])
    apart = found.vertical.apart, found.horizontal.apart
    size = ((shape[0] - 1) * apart[0] + 1, (shape[1] - 1) * apart[1] + 1)
    if min(found.pads) < 0:
        raise refuse(
            node, "the pads are larger than the kernel reaches",
            "pads of at most dilation * (kernel - 1)", str(g.attribute(node, "pads")),
            "crop behind the operator instead",
        )  # fmt: skip
    if apart != (1, 1):
        fill = count_of_zero(wire)
        layer = ZeroInsertion(
            build.between(f"{g.label(node)}_zeros"),
            shape,
            apart,
            fill or 0,
            wire.bits,
            1,
        )
        layout = Layout.channels_at((1, shape[2], *size), 1)
        port = build.chain(layer, wire.port)
        wire = Wire(port, wire.bits, layout, wire.offset, wire.factor)
    return _convolution(build, node, wire, (*size, shape[2]), turned, found)


def _convolution(
    build: Lowering,
    node: ir.Node,
    wire: Wire,
    shape: tuple[int, int, int],
    weights: Ints,
    window: Geometry,
) -> dict[ir.Value, Wire]:
    """``weights`` (M, C / groups, kh, kw) over an image (height, width, C)."""
    name, channels = g.label(node), shape[2]
    outputs, groups = len(weights), channels // weights.shape[1]
    depthwise = groups == channels == outputs
    factor, offset = by_channel(wire)
    fill = count_of_zero(wire) if window.padded else 0
    merged = _merged(build, node)
    layout = Layout.channels_at(g.shape(merged.result), 1)
    ones = depthwise and bool((weights == 1).all())
    if ones and merged.plain and fill is not None:
        return {merged.result: pooled_sum(build, name, wire, shape, window, layout, fill)}
    taps = weights * merged.factor
    own = np.arange(channels).reshape(groups, -1).repeat(outputs // groups, axis=0)  # (M, C / g)
    scaled = taps * factor[own][:, :, None, None]
    moved = (taps * offset[own][:, :, None, None]).sum(axis=1)  # (M, kh, kw)
    if fill is None:
        start = np.einsum("mhw,ah,bw->mab", moved, *(m.astype(np.int64) for m in
                                                     (window.rows, window.columns)))  # fmt: skip
    else:
        start = moved.sum(axis=(1, 2))[:, None, None]
    start = start + merged.border
    lo, hi = build.bounds(merged.result, layout)
    starts, row_classes, column_classes = _classes(start - lo[:, None, None], window.outputs)
    bits = build.accumulator_width(node, lo, hi)
    vectors = window.outputs[0] * window.outputs[1]
    port = stream_of_windows(
        build, name, wire, shape, window, fill or 0, channels if depthwise else groups
    )
    if depthwise:
        unit: MatrixVector | DepthwiseVector = DepthwiseVector(
            name, scaled.reshape(outputs, -1), starts, wire.bits, bits, 1, vectors,
            row_classes=row_classes, column_classes=column_classes,
        )  # fmt: skip
    else:
        unit = MatrixVector(
            name, scaled.transpose(0, 2, 3, 1).reshape(outputs, -1), starts, wire.bits, bits, 1, 1,
            vectors, groups=groups, row_classes=row_classes, column_classes=column_classes,
        )  # fmt: skip
    return {merged.result: Wire(build.chain(unit, port), bits, layout, lo, ONE)}


@dataclass(frozen=True, eq=False)
class _Merged:
    """``factor * sum + border`` is what the tensor ``result`` holds; border is (M or 1, OH, OW)."""

    factor: int
    border: Ints
    result: ir.Value

    @property
    def plain(self) -> bool:
        return self.factor == 1 and not self.border.any()


def _merged(build: Lowering, node: ir.Node) -> _Merged:
    """The constants behind a convolution that differ between positions, which its start values
    take in, and with them the factor in front of them; these nodes are done."""
    value, factor, passed = node.outputs[0], 1, []
    while len(readers := list(g.consumers(value))) == 1 and value not in build.wires:
        (reader,) = readers
        index = 1 - list(reader.inputs).index(value) if len(reader.inputs) == 2 else 0
        constant = build.integers(reader, index) if reader.op_type in ("Mul", "Add") else None
        if constant is None:
            break
        value = reader.outputs[0]
        passed.append(reader)
        if reader.op_type == "Mul" and constant.size == 1:
            factor *= int(constant.reshape(()))
            continue
        axes = len(g.shape(value)) - 2
        spatial = constant.shape[-axes:]
        if reader.op_type == "Add" and any(d != 1 for d in spatial) and constant.ndim > axes:
            build.done.update((node, *passed))
            border = constant.reshape(-1, *spatial)
            return _Merged(factor, _planes(border[None])[0], value)
        break
    return _Merged(1, np.zeros((1, 1, 1), np.int64), node.outputs[0])


def _classes(start: Ints, outputs: Pair) -> tuple[Ints, tuple[int, ...], tuple[int, ...]]:
    """Start values (M, 1 or OH, 1 or OW) as (M,), or (classes, M) with the class of each row and
    of each column."""
    start = np.broadcast_to(start, (len(start), *outputs))
    distinct = []
    for axis in (1, 2):
        lines = np.moveaxis(start, axis, 0).reshape(outputs[axis - 1], -1)
        _, first, member = np.unique(lines, axis=0, return_index=True, return_inverse=True)
        distinct.append((first, tuple(int(i) for i in member.reshape(-1))))
    (rows, row_classes), (columns, column_classes) = distinct
    chosen = start[:, rows][:, :, columns].reshape(len(start), -1).T  # (classes, M)
    if len(chosen) == 1:
        return chosen[0], (), ()
    return chosen, row_classes, column_classes


def _planes(a: Ints) -> Ints:
    """(A, B, L) as (A, B, 1, L): a line is an image of one row."""
    return a[:, :, None, :] if a.ndim == 3 else a
