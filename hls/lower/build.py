"""What the lowering of one node works with: wires found so far, layers added so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import onnx_ir as ir

from hls.dataflow import Edge, Ints, Layer, Port
from hls.device import Device, default_device
from hls.layers.depthwise_vector import DepthwiseVector
from hls.lower.wires import Layout, Shape, Wire
from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.errors import SiraError
from sira.names import free_name
from sira.numbers.exact import Exact
from sira.numbers.scaled import Real, ScaledInt

ONE = np.ones(1, np.int64)
ZERO = np.zeros(1, np.int64)


@dataclass(eq=False)
class Lowering:
    """Layers and edges as they come to be.

    ``accumulator_bits`` are register widths asked for, by layer; ``windows`` the widths that the
    accumulators need at least, also by layer: the bits of the widest channel's window. ``done`` are
    nodes merged into the layer of another one. ``names`` are taken: by the nodes, each of which
    gives its name to its layer, and by the layers between these. Between several ways to build a
    layer the prices of ``device`` decide.
    """

    ranges: Ranges
    accumulator_bits: Mapping[str, int]
    wires: dict[ir.Value, Wire] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    done: set[ir.Node] = field(default_factory=set)
    windows: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    device: Device = field(default_factory=default_device)

    def wire(self, value: ir.Value | None) -> Wire:
        assert value is not None
        return self.wires[value]

    def between(self, name: str) -> str:
        """A name like ``name`` for a layer that prepares the one of a node."""
        free = free_name(name, self.names)
        self.names.add(free)
        return free

    def add(self, layer: Layer, **sources: Port) -> Port:
        """Add a layer with its sources by input port; its output port if it has one."""
        self.layers.append(layer)
        for port, source in sources.items():
            self.edges.append(Edge(source, Port(layer.name, port.removesuffix("_"))))
        return Port(layer.name, "out")

    def chain(self, layer: Layer, source: Port) -> Port:
        """Add a layer with one input, called ``in``."""
        return self.add(layer, in_=source)

    def range(self, value: ir.Value) -> ScaledInt:
        found = self.ranges.scaled(value)
        assert found is not None, g.name(value)
        return found

    def bounds(self, value: ir.Value, layout: Layout) -> tuple[Ints, Ints]:
        """The least and the largest integer of each channel of a computed tensor (C,)."""
        return channel_bounds(self.range(value), g.shape(value), layout)

    def accumulator_width(self, node: ir.Node, lo: Ints, hi: Ints) -> int:
        """The width of a node's accumulators, whose channels end in ``lo .. hi`` (C,)."""
        window = max(int(span).bit_length() for span in (hi - lo).tolist())
        self.windows[g.label(node)] = window
        return max(self.accumulator_bits.get(g.label(node), window), 1)

    def integers(self, node: ir.Node, index: int) -> Ints | None:
        """A constant operand that consists of integers, with its own shape."""
        contents = g.array(node.inputs[index])
        if contents is None:
            return None
        whole_numbers = np.rint(contents)
        return whole_numbers.astype(np.int64) if (whole_numbers == contents).all() else None

    def materialised(self, wire: Wire, name: str, one_offset: bool = False) -> Wire:
        """The wire with factors of 1, and with ``one_offset`` the same offset for all channels.

        Where it is not so, a layer multiplies and adds.
        """
        factor, offset = by_channel(wire)
        lowest = offset + np.minimum(factor, 0) * ((1 << wire.bits) - 1)
        wanted = np.broadcast_to(lowest.min(), lowest.shape) if one_offset else lowest
        if wire.plain and (offset == wanted).all():
            return settled(wire)
        highest = lowest + np.abs(factor) * ((1 << wire.bits) - 1)
        layer = DepthwiseVector(
            name=self.between(f"{name}_aligned"),
            weights=factor[:, None],
            start=offset - wanted,
            input_bits=wire.bits,
            accumulator_bits=max(int((highest - wanted).max()).bit_length(), 1),
            pe=1,
            vectors=wire.layout.elements // wire.layout.channels,
        )
        port = self.chain(layer, wire.port)
        return settled(Wire(port, layer.accumulator_bits, wire.layout, wanted, ONE))


def integers_of(real: Real) -> Ints:
    """A scale or bias of the integer graph, which consists of integers."""
    assert isinstance(real, Exact) and all(x.denominator == 1 for x in real.values.ravel())
    return cast(Ints, real.values.astype(np.int64))


def channel_bounds(range_: ScaledInt, shape: Shape, layout: Layout) -> tuple[Ints, Ints]:
    """The least and the largest integer (C,) of each channel of a tensor of the integer graph."""
    unit, bias = (
        integers_of(range_.scale),
        integers_of(range_.bias),
    )  # a common factor, or border values
    lo, hi = (np.broadcast_to(q * unit + bias, shape) for q in (range_.lo, range_.hi))
    rows = (layout.to_stream(q[None]).reshape(-1, layout.channels) for q in (lo, hi))
    return next(rows).min(axis=0), next(rows).max(axis=0)


def image(wire: Wire, value: ir.Value, node: ir.Node) -> tuple[Wire, tuple[int, int, int]]:
    """The wire as a channels-last image, and its (height, width, channels).

    The tensor is (1, C, *spatial) with one or two spatial axes.
    """
    shape = g.shape(value)
    wanted = Layout.channels_at(shape, 1) if len(shape) in (3, 4) else None
    found = wire.reshaped(shape)
    if wanted is None or shape[0] != 1 or not found.layout.same_as(wanted):
        raise SiraError(
            "this operator needs an image whose channels travel together",
            where=g.describe(node),
            expected="(1, C, H, W) or (1, C, L)",
            found=f"{shape}, sent in the order of axes {wire.layout.order} of {wire.layout.sizes}",
            remedy="leave out the Reshape or Transpose in front of it",
        )
    height, width = (1, *shape[2:]) if len(shape) == 3 else shape[2:]
    return found.with_layout(wanted), (height, width, shape[1])


def refuse(node: ir.Node, what: str, expected: str, found: object, remedy: str = "") -> SiraError:
    """An error about a node that has no layer as it stands."""
    return SiraError(
        what, where=g.describe(node), expected=expected, found=str(found), remedy=remedy
    )


def by_channel(wire: Wire) -> tuple[Ints, Ints]:
    """Factor and offset of every channel (C,)."""
    shape = (wire.layout.channels,)
    return np.broadcast_to(wire.factor, shape), np.broadcast_to(wire.offset, shape)


def narrowed(values: Ints) -> Ints:
    """(C,) as (1,) where all are the same."""
    return values[:1].copy() if (values == values[0]).all() else values


def settled(wire: Wire) -> Wire:
    """The wire with one offset and one factor where its channels agree."""
    return replace(wire, offset=narrowed(wire.offset), factor=narrowed(wire.factor))
