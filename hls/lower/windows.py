"""Lowering of windows that slide over an image, of pools and of padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hls.dataflow import Ints, Port
from hls.layers.global_pooling import GlobalPooling
from hls.layers.pooling import Pooling
from hls.layers.slice import Slice
from hls.layers.sliding_window import SlidingWindow
from hls.lower.build import ZERO, Lowering, image, refuse
from hls.lower.rules import rule
from hls.lower.wires import Layout, Wire
from sira import graph as g
from sira.ops.windows import Axis, pooling_window

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Geometry:
    """A window that slides over an image, by the axes of its rows and its columns."""

    vertical: Axis
    horizontal: Axis

    @property
    def kernel(self) -> Pair:
        return self.vertical.kernel, self.horizontal.kernel

    @property
    def strides(self) -> Pair:
        return self.vertical.stride, self.horizontal.stride

    @property
    def dilations(self) -> Pair:
        return self.vertical.dilation, self.horizontal.dilation

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right; behind the image as far as windows reach."""
        y, x = self.vertical, self.horizontal
        return y.before, x.before, y.overhang, x.overhang

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Which taps read the image (OH, kh); others read padding or an inserted zero."""
        return self.vertical.inside

    @property
    def columns(self) -> NDArray[np.bool_]:
        """The same along a row (OW, kw)."""
        return self.horizontal.inside

    @property
    def outputs(self) -> Pair:
        return self.vertical.outputs, self.horizontal.outputs

    @property
    def padded(self) -> bool:
        return not (self.rows.all() and self.columns.all())

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]


def geometry(axes: Sequence[Axis]) -> Geometry:
    """The window along these axes; with one axis, the image has one row."""
    vertical, horizontal = (*(Axis(1, 1, 1),) * (2 - len(axes)), *axes)
    return Geometry(vertical, horizontal)


def stream_of_windows(
    build: Lowering,
    name: str,
    wire: Wire,
    shape: tuple[int, int, int],
    window: Geometry,
    fill: int,
    blocks: int,
) -> Port:
    """The stream of windows, with no window generator where the image is a window itself."""
    one_window = window.kernel == shape[:2] and window.outputs == (1, 1) and blocks == 1
    if not window.padded and (one_window or window.kernel == (1, 1)):
        if one_window or window.outputs == shape[:2]:
            return wire.port
        steps = (*window.strides, 1)
        strided = Slice(
            build.between(f"{name}_stride"), shape, (0, 0, 0), shape, steps, wire.bits, 1
        )
        return build.chain(strided, wire.port)
    generator = SlidingWindow(
        build.between(f"{name}_window"), shape, window.kernel, window.strides, window.dilations,
        window.pads, fill, blocks, wire.bits, 1,
    )  # fmt: skip
    return build.chain(generator, wire.port)


def count_of_zero(wire: Wire) -> int | None:
    """The count that means 0 in every channel, if there is one."""
    counts, rest = np.divmod(-wire.offset, wire.factor)
    if rest.any() or (counts != counts[0]).any() or not 0 <= counts[0] < 1 << wire.bits:
        return None
    return int(counts[0])


def pooled_sum(
    build: Lowering,
    name: str,
    wire: Wire,
    shape: tuple[int, int, int],
    window: Geometry,
    layout: Layout,
    fill: int,
) -> Wire:
    """The sum over each window of each channel: ``factor * sum(u) + taps * offset``."""
    channels = shape[2]
    if window.kernel == shape[:2] and not window.padded:
        pool: GlobalPooling | Pooling = GlobalPooling(
            name, "sum", channels, shape[0] * shape[1], wire.bits, 1
        )
        port = wire.port
    else:
        vectors = window.outputs[0] * window.outputs[1]
        pool = Pooling(name, "sum", channels, window.taps, wire.bits, 1, vectors)
        port = stream_of_windows(build, name, wire, shape, window, fill, channels)
    bits = pool.outputs["out"].bits
    return Wire(build.chain(pool, port), bits, layout, wire.offset * window.taps, wire.factor)


@rule("MaxPool", "GlobalMaxPool")
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
    window = geometry(pooling_window(node, spatial).axes)
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


@rule("Pad")
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
