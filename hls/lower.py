"""From the integer graph to hardware layers, one to one.

The last stage of the transforms holds integers: MatMul with integer weights, MultiThreshold with
integer thresholds. Streams carry unsigned counts, so every integer q travels as ``q - lo`` and the
offsets are absorbed: by start values of accumulators, by thresholds, and behind the last layer by
the bias that the host adds.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir

from hls.dataflow import Dataflow, Edge, Ints, Layer, Port
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from sira import graph as g
from sira.analysis import Ranges
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops import Constant
from sira.scaled import Real, ScaledInt
from transforms.constant_channels import kept_channels, shift_of

_LAYERS = (
    ("MatMul",),
    ("MultiThreshold",),
    ("Mul", "MultiThreshold"),
    ("Mul", "Add", "ArgMax", "Cast"),
)
"""The chains of nodes that become one layer."""

AccumulatorBits = Callable[[ir.Node, int], int]
"""Register width of a MatMul node, given the bits of its widest channel's window."""


@dataclass(frozen=True, eq=False)
class Wire:
    """Where an integer tensor leaves the hardware: ``q = count + offset``, one offset a channel.

    ``channels`` are the ones that exist in hardware, along the last axis; None: all of them.
    """

    port: Port
    bits: int
    offset: Ints
    channels: Ints | None = None


@dataclass(frozen=True, eq=False)
class Lowered:
    """The hardware, and how its counts map to tensors of the canonical graph.

    ``wires`` has the tensors that exist in hardware, by their name in the integer graph; ``host``
    the nodes behind the output that are left to the host.
    """

    dataflow: Dataflow
    wires: dict[str, Wire]
    input: str
    output: str
    host: tuple[str, ...]

    @staticmethod
    def canonical_name(tensor: str, names: Container[str]) -> str:
        """What a tensor of the integer graph is called in the graph it was built from."""
        return tensor if tensor in names else tensor.removesuffix("_integers")

    def input_offset(self, layer: Layer) -> Ints:
        """The offset of the counts that enter a layer."""
        producers = {edge.target: edge.source for edge in self.dataflow.edges}
        offsets = {wire.port: wire.offset for wire in self.wires.values()}
        port = producers[Port(layer.name, "in")]
        while port not in offsets:  # a width converter carries what its producer puts out
            port = producers[Port(port.layer, "in")]
        return offsets[port]


def lower(model: ir.Model, ranges: Ranges, name: str, accumulator_bits: AccumulatorBits) -> Lowered:
    """Map an integer ``model`` to layers with PE = SIMD = 1.

    Raises `SiraError` for every node that has no hardware, all at once.
    """
    (source,) = model.graph.inputs
    input_range = _scaled(ranges, source)
    lo, hi = int(input_range.lo.min()), int(input_range.hi.max())
    wires = {source: Wire(Port("", "in"), max((hi - lo).bit_length(), 1), np.asarray(lo))}
    layers: list[Layer] = []
    edges: list[Edge] = []
    last = source
    pending = list(model.graph)
    while pending:
        node = pending[0]
        if node.op_type == "Reshape" and node.inputs[0] in wires:
            wires[node.outputs[0]] = _reshaped(node, wires[node.inputs[0]])
            last = node.outputs[0]
            pending.pop(0)
            continue
        group = _group(node)
        if group is None or group[0].inputs[0] not in wires:
            break
        wire = wires[group[0].inputs[0]]
        layer, result = _layer(group, wire, ranges, accumulator_bits)
        layers.append(layer)
        edges.append(Edge(wire.port, Port(layer.name, "in")))
        last = group[-1].outputs[0]
        wires[last] = result
        pending = [n for n in pending if n not in group]
    host = tuple(node.op_type for node in pending)
    _check_host(pending, last, layers)
    edges.append(Edge(wires[last].port, Port("", "out")))
    return Lowered(
        Dataflow(name, tuple(layers), tuple(edges)),
        {g.name(value): _in_canonical(value, wire) for value, wire in wires.items()},
        g.name(source),
        g.name(last),
        host,
    )


def _in_canonical(value: ir.Value, wire: Wire) -> Wire:
    """The wire of an integer tensor as one of the tensor that it was built from."""
    shift = shift_of(value)
    offset = wire.offset + shift if shift.any() else wire.offset
    return replace(wire, offset=offset, channels=kept_channels(value))


def _group(node: ir.Node) -> list[ir.Node] | None:
    """The nodes that form one layer, starting at ``node``; None if the host has to compute it."""
    for kinds in _LAYERS:
        chain = [node]
        while len(chain) < len(kinds):
            following = list(g.consumers(chain[-1].outputs[0]))
            if len(following) != 1:
                break
            chain.append(following[0])
        if tuple(n.op_type for n in chain) == kinds:
            return chain
    return None


def _layer(
    group: list[ir.Node], wire: Wire, ranges: Ranges, accumulator_bits: AccumulatorBits
) -> tuple[Layer, Wire]:
    match group[-1].op_type:
        case "MatMul":
            return _matrix_vector(group[0], wire, ranges, accumulator_bits)
        case "MultiThreshold":
            return _thresholding(group, wire, ranges)
        case _:
            return _argmax(group, wire, ranges)


def _reshaped(node: ir.Node, wire: Wire) -> Wire:
    """The same wire, its offsets laid out along the last axis of the new shape."""
    before, after = g.shape(node.inputs[0]), g.shape(node.outputs[0])  # type: ignore[arg-type]
    rows = np.broadcast_to(wire.offset, before).reshape(-1, after[-1] if after else 1)
    if (rows != rows[0]).any():
        raise SiraError(
            "Reshape mixes channels whose integers start at different offsets",
            where=g.describe(node),
            expected="one offset for each position of the last axis",
            found=f"{before} reshaped to {after}",
            remedy="quantize in front of it",
        )
    return replace(wire, offset=wire.offset if wire.offset.ndim == 0 else rows[0])


def _matrix_vector(
    node: ir.Node, wire: Wire, ranges: Ranges, accumulator_bits: AccumulatorBits
) -> tuple[Layer, Wire]:
    weights = _integers(ranges, node, 1)  # (K, N)
    range_ = _scaled(ranges, node.outputs[0])
    k, n = weights.shape
    unit = _whole(range_.scale)  # weights that share a factor move the accumulator in such steps
    rows = (np.broadcast_to(q, range_.shape).reshape(-1, n) for q in (range_.lo, range_.hi))
    lo, hi = (f(q, axis=0) * unit for f, q in zip((np.min, np.max), rows, strict=True))
    offset = np.broadcast_to(wire.offset, (k,))
    window = max(int(span).bit_length() for span in (hi - lo).tolist())
    layer = MatrixVector(
        name=g.label(node),
        weights=weights.T.copy(),
        start=offset @ weights - lo,
        input_bits=wire.bits,
        accumulator_bits=max(accumulator_bits(node, window), 1),
        pe=1,
        simd=1,
        vectors=prod(g.shape(node.outputs[0])[:-1]),
    )
    return layer, Wire(Port(layer.name, "out"), layer.accumulator_bits, lo)


def _thresholding(group: list[ir.Node], wire: Wire, ranges: Ranges) -> tuple[Layer, Wire]:
    node = group[-1]
    thresholds = _integers(ranges, node, 1)  # (C or 1, n), on sign * q
    sign = np.ones(1, np.int64)
    if len(group) == 2:
        sign = _integers(ranges, group[0], 1).reshape(-1)
    shape = g.shape(node.outputs[0])
    channels = shape[-1]
    if len(thresholds) not in (1, channels):
        raise SiraError(
            "thresholds for each channel need the channels in the last axis",
            where=g.describe(node),
            expected=f"1 or {channels} rows of thresholds",
            found=f"{len(thresholds)} for a tensor of shape {shape}",
        )
    top = 1 << wire.bits
    offset = np.reshape(wire.offset, (-1, 1))
    falling = sign < 0
    counts = np.where(falling[:, None], thresholds + offset + top - 1, thresholds - offset)
    layer = Thresholding(
        name=g.label(node),
        thresholds=np.clip(counts, 0, top),
        falling=falling,
        channels=channels,
        input_bits=wire.bits,
        pe=1,
        vectors=prod(shape[:-1]),
    )
    base = int(g.attribute(node, "out_bias", 0.0))
    return layer, Wire(Port(layer.name, "out"), layer.output_bits, np.asarray(base))


def _argmax(group: list[ir.Node], wire: Wire, ranges: Ranges) -> tuple[Layer, Wire]:
    channels = g.shape(group[0].outputs[0])[-1]
    scale, offset = (
        np.broadcast_to(_integers(ranges, node, 1).reshape(-1), (channels,)) for node in group[:2]
    )
    layer = ArgMax(
        name=g.label(group[2]),
        scale=scale.copy(),
        offset=offset + scale * np.broadcast_to(wire.offset, (channels,)),
        input_bits=wire.bits,
        lanes=1,
    )
    bits = layer.outputs["out"].bits
    return layer, Wire(Port(layer.name, "out"), bits, np.asarray(0))


def _integers(ranges: Ranges, node: ir.Node, index: int) -> Ints:
    value = node.inputs[index]
    assert value is not None
    arg = ranges[value]
    assert isinstance(arg, Constant) and arg.scaled is not None
    return arg.scaled.lo


def _whole(scale: Real) -> Ints:
    assert isinstance(scale, Exact) and all(s.denominator == 1 for s in scale.values.ravel())
    return scale.values.astype(np.int64)


def _scaled(ranges: Ranges, value: ir.Value) -> ScaledInt:
    found = ranges.scaled(value)
    assert found is not None
    return found


def _check_host(rest: list[ir.Node], last: ir.Value, layers: list[Layer]) -> None:
    """What is left must lie behind the last integer layer, and there must be hardware."""
    integer = {n for n in rest if n.op_type in ("MatMul", "Conv", "MultiThreshold", "Transpose")}
    for node in reversed(rest):  # and whatever such a layer reads
        if integer.intersection(n for v in node.outputs for n in g.consumers(v)):
            integer.add(node)
    for node in rest:  # the host sees what leaves the hardware and nothing else
        inside = [v for v in g.dynamic_inputs(node) if v is not last]
        if any(v.producer() not in rest for v in inside):
            integer.add(node)
    stranded = [n for n in rest if n in integer]
    if not stranded and layers:
        return
    raise SiraError(
        "no hardware for these operators",
        where=", ".join(g.describe(n) for n in stranded or rest),
        expected="a chain of dense layers, thresholds and at most one decision at the end",
        found=f"they follow tensor {g.name(last)}",
        remedy="cut the model there, or rewrite it as such a chain",
    )
