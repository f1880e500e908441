"""What a compilation found, as the entries of ``report.json`` and ``metadata.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import onnx_ir as ir

from hls.dataflow import Layer, Port, Resources, Stream
from hls.device import Device
from hls.emit.vivado import TclCheck
from hls.fifos.cost import fifos
from hls.fifos.sizing import FifoSizing
from hls.implement.yosys import DesignSynthesis, SynthesisResult
from hls.lower.build import channel_bounds
from hls.lower.lower import Lowered
from hls.verify.hardware import Verification
from sira import graph as g
from sira.analysis.datatype_bounds import DatatypeBounds
from sira.analysis.ranges import Analyzed, Ranges
from sira.analysis.summary import accumulator_entry, numbers_of
from sira.numbers.scaled import Ints, ScaledInt
from sira.schema.metadata import (
    HostInput,
    HostOperator,
    HostOutput,
    HostQuantizer,
    IntegerRange,
    Metadata,
    StreamFormat,
)
from sira.schema.report import (
    SCHEMA_VERSION,
    CheckEntry,
    Cost,
    Fifo,
    InputRange,
    Integers,
    LayerCost,
    LayerEntry,
    ScriptCheck,
    SynthesisedCost,
    TotalCost,
    Totals,
    VerificationEntry,
)
from sira.verification.model import entry as model_entry

_LAYOUT = (
    "the shape transposed to the axes, in row-major order, element 0 in the low bits of the first "
    "beat"
)


def layer_reports(
    lowered: Lowered,
    integer_ranges: Ranges,
    bounds: Mapping[str, DatatypeBounds],
    synthesis: Mapping[str, SynthesisResult],
    device: Device,
) -> list[LayerEntry]:
    """One entry a hardware layer, in the order of the dataflow; estimates are for ``device``."""
    return [
        _layer(layer, lowered, integer_ranges, bounds, synthesis.get(layer.name), device)
        for layer in lowered.dataflow.layers
    ]


def _layer(
    layer: Layer,
    lowered: Lowered,
    integer_ranges: Ranges,
    bounds: Mapping[str, DatatypeBounds],
    synthesis: SynthesisResult | None,
    device: Device,
) -> LayerEntry:
    x = _integers(integer_ranges, lowered.input_tensor(layer))
    lo, hi = (None, None) if x is None else (int(x.lo.min()), int(x.hi.max()))
    k, n = None, next(iter(layer.outputs.values())).elements
    weight_bits = accumulator = None
    if layer.matrix is not None:
        k, n = layer.matrix.k, layer.matrix.n
        known, out = bounds.get(layer.name), lowered.tensors.get(Port(layer.name, "out"))
        result = None if out is None else _integers(integer_ranges, out)
        if known is not None and out is not None and result is not None:
            layout = lowered.wires[out].layout
            ends = channel_bounds(result, layout.sizes, layout)
            weight_bits = known.weight_bits
            accumulator = accumulator_entry(*ends, layer.matrix.accumulator_bits, known)
    return LayerEntry(
        name=layer.name,
        kind=layer.kind,
        k=k,
        n=n,
        weight_bits=weight_bits,
        input=InputRange(lo, hi, next(iter(layer.inputs.values())).bits),
        accumulator=accumulator,
        folding={"pe": None, "simd": None}
        | {name: getattr(layer, name) for name in layer.dimensions},
        cycles=layer.cycles,
        resources=LayerCost(_cost(device.price(layer.inventory())), _synthesised(synthesis)),
    )


def _integers(ranges: Ranges, tensor: str) -> ScaledInt | None:
    found = ranges[tensor]
    return found if isinstance(found, ScaledInt) else None


def _cost(r: Resources) -> Cost:
    return Cost(lut=r.lut, ff=r.ff, dsp=r.dsp, bram18=r.bram18)


def _synthesised(result: SynthesisResult | None) -> SynthesisedCost | None:
    if result is None:
        return None
    r = result.resources
    return SynthesisedCost(
        lut=r.lut,
        ff=r.ff,
        dsp=r.dsp,
        bram18=r.bram18,
        logic_depth=result.logic_depth,
        tool=result.tool,
    )


def fifo_reports(sizing: FifoSizing) -> list[Fifo]:
    """One entry a FIFO: its ends, its depth in beats, and the bits of a beat."""
    dataflow = sizing.dataflow
    return [
        Fifo(str(edge.source), str(edge.target), edge.depth, dataflow.stream(edge).width)
        for edge in dataflow.edges
    ]


def totals(
    sizing: FifoSizing,
    layers: Sequence[LayerEntry],
    synthesis: DesignSynthesis | None,
    constant_channels: Mapping[str, list[int]],
    device: Device,
) -> Totals:
    """Sums over the layers and FIFOs, what the schedules predict, and the design in one piece.

    ``constant_channels`` are those left out of the hardware, by tensor; estimates are for
    ``device``.
    """
    estimate = Resources()
    for layer in sizing.dataflow.layers:
        estimate += device.price(layer.inventory())
    sums = [(entry.accumulator, entry.n) for entry in layers if entry.accumulator is not None]
    return Totals(
        cycles=max(layer.cycles for layer in sizing.dataflow.layers),
        cycles_predicted=float(sizing.cycles_per_frame),
        cycles_first_predicted=sizing.first_cycles,
        bottleneck=sizing.bottleneck,
        deadlock=sizing.proof,
        fifo_bits=sizing.bits,
        constant_channels=dict(constant_channels),
        accumulator_bits=sum(a.bits * n for a, n in sums),
        accumulator_bits_window=sum(sum(a.bits_window) for a, _ in sums),
        accumulator_bits_datatype=sum(a.bits_datatype * n for a, n in sums),
        accumulator_bits_weights_datatype=sum(a.bits_weights_datatype * n for a, n in sums),
        resources=TotalCost(
            estimate=_cost(estimate),
            estimate_fifos=_cost(device.price(fifos(sizing.dataflow))),
            synthesis_sum_of_layers=_cost(synthesis.sum_of_layers) if synthesis else None,
            synthesis_fifos=_synthesised(synthesis.fifos) if synthesis else None,
            synthesis_sum=_cost(synthesis.sum) if synthesis else None,
            synthesis_whole_design=_synthesised(synthesis.whole) if synthesis else None,
        ),
    )


def verification_report(v: Verification) -> VerificationEntry:
    """The outcome of the verification."""
    model = msgspec.structs.asdict(model_entry(v.model, v.hardware.tool)) | {
        "mismatches": v.mismatches,
        "oracle_mismatches": v.oracle_mismatches,
        "accuracy": v.accuracy,
        "checks": [CheckEntry(c.name, c.compared, c.mismatches, c.detail) for c in v.checks],
    }
    spent = v.hardware.seconds
    return VerificationEntry(
        **model,
        cycles_first=v.hardware.cycles_first,
        cycles_per_sample=v.hardware.cycles_per_sample,
        samples_per_second=v.samples / spent if spent else None,
    )


def tcl_report(checks: Mapping[str, TclCheck]) -> dict[str, ScriptCheck]:
    """Whether each script passed the check of syntax and call order, and what ran the check."""
    return {script: _script_check(check) for script, check in checks.items()}


def _script_check(c: TclCheck) -> ScriptCheck:
    if not c.ran:
        return ScriptCheck("not run", c.tool, c.error)
    return ScriptCheck("passed" if c.passed else "failed", c.tool, c.error)


def metadata(lowered: Lowered, canonical: Analyzed) -> Metadata:
    """What the host has to know: how to make input integers, and what the output integers mean.

    ``canonical`` is the graph whose tensors the wires carry.
    """
    return Metadata(
        schema_version=SCHEMA_VERSION,
        input=_host_input(lowered, canonical),
        outputs=[
            _host_output(lowered, port, tensor, canonical)
            for port, tensor in lowered.outputs.items()
        ],
        host_operators=list(lowered.host),
    )


def _host_input(lowered: Lowered, canonical: Analyzed) -> HostInput:
    source = canonical.input
    first = _named(canonical.model, lowered.origins[lowered.input])
    in_range = canonical.ranges.scaled(first)
    assert in_range is not None
    wire = lowered.wires[lowered.input]
    return HostInput(
        name=g.name(source),
        tensor=g.name(first),
        shape=list(wire.layout.sizes),
        axes=list(wire.layout.order),
        layout=_LAYOUT,
        stream=_stream(lowered.dataflow.inputs["in"]),
        count_offset=_ints(wire.offset),
        count_factor=_ints(wire.factor),
        integer=IntegerRange(int(in_range.lo.min()), int(in_range.hi.max())),
        scale=numbers_of(in_range.scale_float),
        bias=numbers_of(in_range.bias_float),
        meaning="count = (q - count_offset) / count_factor where real = scale * q + bias",
        host_quantizer=None if first is source else _host_quantizer(lowered, canonical.model),
    )


def _host_output(lowered: Lowered, port: str, tensor: str, canonical: Analyzed) -> HostOutput:
    wire = lowered.wires[tensor]
    found = canonical.ranges.scaled(_named(canonical.model, lowered.origins[tensor]))
    return HostOutput(
        name=port,
        tensor=tensor,
        shape=list(wire.layout.sizes),
        axes=list(wire.layout.order),
        layout=_LAYOUT,
        stream=_stream(lowered.dataflow.outputs[port]),
        count_offset=_ints(wire.offset),
        count_factor=_ints(wire.factor),
        scale=None if found is None else numbers_of(found.scale_float),
        bias=None if found is None else numbers_of(found.bias_float),
        meaning="q = count_factor * count + count_offset, real = scale * q + bias",
    )


def _host_quantizer(lowered: Lowered, model: ir.Model) -> HostQuantizer:
    """The operators between the model's input and the integers that the host sends."""
    nodes = []
    sent = lowered.origins[lowered.input]
    for node in model.graph:
        if not g.dynamic_inputs(node):
            continue
        constants = {
            g.name(v): contents.reshape(-1).tolist()
            for v in node.inputs
            if v is not None and (contents := g.array(v)) is not None
        }
        attributes = {
            k: a.value.decode() if isinstance(a.value, bytes) else a.value
            for k, a in node.attributes.items()
            if isinstance(a.value, int | float | str | bytes)
        }
        nodes.append(HostOperator(node.op_type, attributes, constants))
        if any(v.name == sent for v in node.outputs):
            break
    return HostQuantizer(nodes)


def _named(model: ir.Model, tensor: str) -> ir.Value:
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    return next(v for v in values if v.name == tensor)


def _ints(q: Ints) -> Integers:
    return int(q.reshape(-1)[0]) if q.size == 1 else [int(v) for v in q.reshape(-1)]


def _stream(stream: Stream) -> StreamFormat:
    return StreamFormat(
        elements=stream.elements,
        lanes=stream.lanes,
        bits=stream.bits,
        beats=stream.beats,
        tdata_bytes=(stream.width + 7) // 8,
    )
