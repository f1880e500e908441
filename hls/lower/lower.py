"""From the integer graph to hardware layers, one to one.

The last stage of the transforms holds integers. Streams carry unsigned counts: an integer q
travels as a count u with ``q = factor * u + offset``, and multiplications by and additions of
integer constants cost nothing: they change factor and offset, which the next layer absorbs in its
weights, start values and thresholds. Behind the last layer the host applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hls.dataflow import Dataflow, Edge, Layer, Port
from hls.device import Device, default_device
from hls.layers.fork import Fork
from hls.lower.build import Lowering
from hls.lower.rules import RULES, is_absorbed, may_be_left_to_host, wires_of
from hls.lower.wires import Layout, Wire
from sira import graph as g
from sira import provenance
from sira.analysis.ranges import Ranges
from sira.errors import SiraError


@dataclass(frozen=True, eq=False)
class Lowered:
    """The hardware, and how its counts map to tensors of the canonical graph.

    ``wires`` has the tensors that exist in hardware, by their name in the integer graph;
    ``origins`` the canonical tensor whose integers each one has, but for steps on the way;
    ``outputs`` the tensors that leave it, by port; ``host`` the nodes behind them that are left to
    the host. ``windows`` are the bits that the accumulators of a layer need, by its name.
    """

    dataflow: Dataflow
    wires: dict[str, Wire]
    origins: dict[str, str]
    input: str
    outputs: dict[str, str]
    host: tuple[str, ...]
    windows: dict[str, int]

    @property
    def tensors(self) -> dict[Port, str]:
        """The tensor that leaves the hardware at each port, as the layer itself gives it."""
        return {wire.port: name for name, wire in reversed(self.wires.items())}

    def input_tensor(self, layer: Layer, port: str | None = None) -> str:
        """The tensor whose counts enter a layer at ``port`` (default: its first one).

        Layers that only prepare another one (converters, windows, forks) are passed over.
        """
        sources = {edge.target: edge.source for edge in self.dataflow.edges}
        tensors = self.tensors
        source = sources[Port(layer.name, port or next(iter(layer.inputs)))]
        while source not in tensors:
            first = next(iter(self.dataflow.layer(source.layer).inputs))
            source = sources[Port(source.layer, first)]
        return tensors[source]


def lower(
    model: ir.Model,
    ranges: Ranges,
    name: str,
    accumulator_bits: Mapping[str, int] | None = None,
    device: Device | None = None,
) -> Lowered:
    """Map an integer ``model`` to layers without parallelism (PE = SIMD = lanes = 1).

    ``accumulator_bits`` are the widths of accumulators by layer; those left out have the width that
    they need. A width below that one is built as asked: `Lowered.windows` says what is needed.
    ``device`` is the family whose prices choose between ways to build a layer, or None for the
    default.
    Raises `SiraError` for the nodes that have no hardware, all at once.
    """
    (source,) = model.graph.inputs
    build = Lowering(
        ranges,
        accumulator_bits or {},
        names={g.label(node) for node in model.graph},
        device=device or default_device(),
    )
    build.wires[source] = _input_wire(ranges, source)
    refused: dict[ir.Node, SiraError | None] = {}
    for node in model.graph:
        if node in build.done or any(v not in build.wires for v in g.dynamic_inputs(node)):
            continue
        try:
            build.wires.update(wires_of(build, node))
        except SiraError as error:
            refused[node] = error
    _leave_to_host(model, build)
    outputs, host = _outputs(model, build)
    _check(model, build, refused, host)
    port_names = _port_names(model, outputs)
    for value, port in port_names.items():
        build.edges.append(Edge(build.wires[value].port, Port("", port)))
    layers, edges = _forked(build)
    existing = [v for v in build.wires if _exists(v, build)]
    return Lowered(
        Dataflow(name, layers, edges),
        {g.name(v): _in_canonical(v, build.wires[v]) for v in existing},
        {g.name(v): o for v in existing if (o := provenance.of(v).origin) is not None},
        g.name(source),
        {port: g.name(value) for value, port in port_names.items()},
        tuple(node.op_type for node in host),
        build.windows,
    )


def _input_wire(ranges: Ranges, source: ir.Value) -> Wire:
    """The graph's input: channels where its first reader has them, offset the least integer."""
    range_ = ranges.scaled(source)
    assert range_ is not None
    lo, hi = int(range_.lo.min()), int(range_.hi.max())
    shape = g.shape(source)
    layout = (
        Layout.channels_at(shape, provenance.channel_axis(source)) if shape else Layout((1,), (0,))
    )
    one = np.ones(1, np.int64)
    return Wire(Port("", "in"), max((hi - lo).bit_length(), 1), layout, lo * one, one)


def _leave_to_host(model: ir.Model, build: Lowering) -> None:
    """Forget the wires of constant factors and offsets that no layer absorbs: the host's scales."""
    for node in reversed(list(model.graph)):
        value = node.outputs[0]
        if value not in build.wires or _exists(value, build):
            continue
        if not any(v in build.wires or n in build.done
                   for n in g.consumers(value) for v in n.outputs):  # fmt: skip
            del build.wires[value]


def _outputs(model: ir.Model, build: Lowering) -> tuple[list[ir.Value], list[ir.Node]]:
    """The tensors that leave the hardware, and the nodes that the host computes from them."""
    host = [
        node
        for node in model.graph
        if g.dynamic_inputs(node)
        and node not in build.done
        and not any(v in build.wires for v in node.outputs)
    ]
    read = {v for node in host for v in g.dynamic_inputs(node)} | set(model.graph.outputs)
    order = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    return [v for v in order if v in read and v in build.wires], host


def _check(
    model: ir.Model,
    build: Lowering,
    refused: Mapping[ir.Node, SiraError | None],
    host: list[ir.Node],
) -> None:
    """What the host computes must lie behind all hardware, and there must be hardware."""
    stranded = {node for node in host if not may_be_left_to_host(node)}
    for node in reversed(host):  # and whatever such a node reads
        if stranded.intersection(n for v in node.outputs for n in g.consumers(v)):
            stranded.add(node)
    if not stranded and build.layers:
        return
    causes = [node for node in host if node in refused or node.op_type not in RULES]
    found = [
        str(refused[node]) if refused.get(node) else f"{g.describe(node)} has no layer"
        for node in causes
        if node in stranded or not build.layers
    ]
    raise SiraError(
        "no hardware for these operators",
        where=", ".join(g.describe(node) for node in host if node in stranded) or "the whole graph",
        expected=f"operators that have layers ({', '.join(sorted(RULES))}), in front of all others",
        found="; ".join(found) or "no layer at all",
        remedy="cut the model in front of them, or replace them",
    )


def _port_names(model: ir.Model, outputs: list[ir.Value]) -> dict[ir.Value, str]:
    """``out`` for a single output, else names of tensors."""
    return {v: "out" if len(outputs) == 1 else g.name(v) for v in outputs}


def _forked(build: Lowering) -> tuple[tuple[Layer, ...], tuple[Edge, ...]]:
    """A fork behind every port that several read."""
    layers = build.layers
    by_source: dict[Port, list[Edge]] = {}
    for edge in build.edges:
        by_source.setdefault(edge.source, []).append(edge)
    streams = {Port(la.name, p): s for la in layers for p, s in la.outputs.items()}
    targets = {Port(la.name, p): s for la in layers for p, s in la.inputs.items()}
    ordered, result = list(layers), []
    for source, readers in by_source.items():
        if len(readers) == 1:
            result.append(readers[0])
            continue
        stream = streams.get(source) or next(targets[e.target] for e in readers)
        name = build.between(f"{source.layer or 'input'}_fork")
        fork = Fork(name, stream.elements, 1, stream.bits, len(readers))
        place = next((i for i, la in enumerate(ordered) if la.name == source.layer), -1)
        ordered.insert(place + 1, fork)
        result.append(Edge(source, Port(fork.name, "in")))
        for number, edge in enumerate(readers):
            result.append(replace(edge, source=Port(fork.name, f"out{number}")))
    return tuple(ordered), tuple(result)


def _exists(value: ir.Value, build: Lowering) -> bool:
    """Whether ``value`` is a tensor of the canonical graph, not a step on the way to one."""
    node = value.producer()
    return node is None or not is_absorbed(node) or node in build.done


def _in_canonical(value: ir.Value, wire: Wire) -> Wire:
    """The wire of an integer tensor as one of the tensor that it was built from."""
    record = provenance.of(value)
    if record.shift.any():
        wire = replace(wire, offset=wire.offset + record.shift)
    if record.channels is None:
        return wire
    return replace(wire, channels=record.channels, axis=record.axis)
