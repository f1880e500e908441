"""What a compilation found, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx_ir as ir

from hls.dataflow import Layer, Port, Resources, Stream
from hls.device import Device
from hls.emit.vivado import TclCheck
from hls.fifos.cost import fifos
from hls.fifos.sizing import FifoSizing
from hls.implement.yosys import DesignSynthesis, SynthesisResult
from hls.lower.build import channel_bounds
from hls.lower.lower import Lowered
from hls.lower.wires import Wire
from hls.verify.hardware import Verification
from sira import graph as g
from sira.analysis.datatype_bounds import DatatypeBounds
from sira.analysis.ranges import Ranges
from sira.analysis.summary import accumulator_entry, numbers_of
from sira.numbers.scaled import ScaledInt

Json = dict[str, Any]


def layer_reports(
    lowered: Lowered,
    integer_ranges: Ranges,
    bounds: Mapping[str, DatatypeBounds],
    synthesis: Mapping[str, SynthesisResult],
    device: Device,
) -> list[Json]:
    """One entry a hardware layer, in the order of the dataflow; estimates are for ``device``."""
    tensors = lowered.tensors
    entries = []
    for layer in lowered.dataflow.layers:
        x = _integers(integer_ranges, lowered.input_tensor(layer))
        out = tensors.get(Port(layer.name, "out"))
        result = None if out is None else _integers(integer_ranges, out)
        entry = _layer(layer, x, synthesis.get(layer.name), device)
        if layer.matrix is not None:
            known = bounds.get(layer.name)
            entry |= {"k": layer.matrix.k, "n": layer.matrix.n}
            if known is not None and out is not None and result is not None:
                layout = lowered.wires[out].layout
                bounds_ = channel_bounds(result, layout.sizes, layout)
                entry["weight_bits"] = known.weight_bits
                entry["accumulator"] = accumulator_entry(
                    *bounds_, layer.matrix.accumulator_bits, known
                )
        entries.append(entry)
    return entries


def _layer(
    layer: Layer, x: ScaledInt | None, synthesis: SynthesisResult | None, device: Device
) -> Json:
    stream: Stream = next(iter(layer.inputs.values()))
    lo, hi = (None, None) if x is None else (int(x.lo.min()), int(x.hi.max()))
    return {
        "name": layer.name,
        "kind": layer.kind,
        "k": None,
        "n": next(iter(layer.outputs.values())).elements,
        "weight_bits": None,
        "input": {"lo": lo, "hi": hi, "bits": stream.bits},
        "accumulator": None,
        "folding": {"pe": None, "simd": None}
        | {name: getattr(layer, name) for name in layer.dimensions},
        "cycles": layer.cycles,
        "resources": {
            "estimate": asdict(device.price(layer.inventory())),
            "synthesis": _synthesis(synthesis),
        },
    }


def _integers(ranges: Ranges, tensor: str) -> ScaledInt | None:
    found = ranges[tensor]
    return found if isinstance(found, ScaledInt) else None


def _synthesis(result: SynthesisResult | None) -> Json | None:
    if result is None:
        return None
    return {**asdict(result.resources), "logic_depth": result.logic_depth, "tool": result.tool}


def fifo_reports(sizing: FifoSizing) -> list[Json]:
    """One entry a FIFO: its ends, its depth in beats, and the bits of a beat."""
    dataflow = sizing.dataflow
    return [
        {
            "source": str(edge.source),
            "target": str(edge.target),
            "depth": edge.depth,
            "width": dataflow.stream(edge).width,
        }
        for edge in dataflow.edges
    ]


def totals(
    sizing: FifoSizing,
    layers: list[Json],
    synthesis: DesignSynthesis | None,
    constant_channels: Mapping[str, list[int]],
    device: Device,
) -> Json:
    """Sums over the layers and FIFOs, what the schedules predict, and the design in one piece.

    ``constant_channels`` are the ones left out of the hardware, by tensor; estimates are for
    ``device``.
    """
    estimate = Resources()
    for layer in sizing.dataflow.layers:
        estimate += device.price(layer.inventory())
    accumulators = [
        entry["accumulator"] | {"n": entry["n"]} for entry in layers if entry["accumulator"]
    ]
    return {
        "cycles": max(layer.cycles for layer in sizing.dataflow.layers),
        "cycles_predicted": float(sizing.cycles_per_frame),
        "cycles_first_predicted": sizing.first_cycles,
        "bottleneck": sizing.bottleneck,
        "deadlock": sizing.proof,
        "fifo_bits": sizing.bits,
        "constant_channels": dict(constant_channels),
        "accumulator_bits": sum(a["bits"] * a["n"] for a in accumulators),
        "accumulator_bits_window": sum(sum(a["bits_window"]) for a in accumulators),
        "accumulator_bits_datatype": sum(a["bits_datatype"] * a["n"] for a in accumulators),
        "accumulator_bits_weights_datatype": sum(
            a["bits_weights_datatype"] * a["n"] for a in accumulators
        ),
        "resources": {
            "estimate": asdict(estimate),
            "estimate_fifos": asdict(device.price(fifos(sizing.dataflow))),
            "synthesis_sum_of_layers": asdict(synthesis.sum_of_layers) if synthesis else None,
            "synthesis_fifos": _synthesis(synthesis.fifos) if synthesis else None,
            "synthesis_sum": asdict(synthesis.sum) if synthesis else None,
            "synthesis_whole_design": _synthesis(synthesis.whole) if synthesis else None,
        },
    }


def verification_report(v: Verification | None) -> Json | None:
    """The outcome of the verification, or None where it was skipped."""
    if v is None:
        return None
    return {
        "tool": v.tool,
        "samples": v.samples,
        "mismatches": v.mismatches,
        "oracle_mismatches": v.oracle_mismatches,
        "thresholds_checked": v.thresholds_checked,
        "float32_agree": v.float32_agree,
        "float32_ties": v.float32_ties,
        "cycles_first": v.cycles_first,
        "cycles_per_sample": v.cycles_per_sample,
        "samples_per_second": v.samples_per_second,
        "accuracy": v.accuracy,
        "accuracy_original": v.accuracy_original,
        "checks": [
            {
                "name": c.name,
                "compared": c.compared,
                "mismatches": c.mismatches,
                "detail": c.detail,
            }
            for c in v.checks
        ],
    }


def tcl_report(checks: Mapping[str, TclCheck]) -> Json:
    """Whether each script passed the check of syntax and call order, and what ran the check."""
    return {
        script: {
            "check": ("passed" if c.passed else "failed") if c.ran else "not run",
            "tool": c.tool,
            "error": c.error,
        }
        for script, c in checks.items()
    }


def metadata(
    lowered: Lowered, model: ir.Model, ranges: Ranges, host_quantizer: Json | None
) -> Json:
    """What the host has to know: how to make input integers, and what the output integers mean."""
    (source,) = model.graph.inputs
    first = _named(model, lowered.input)
    in_range = ranges.scaled(first)
    assert in_range is not None
    dataflow = lowered.dataflow
    return {
        "input": {
            "name": g.name(source),
            "tensor": g.name(first),
            **_port(lowered.wires[lowered.input], dataflow.inputs["in"]),
            "integer": {"lo": int(in_range.lo.min()), "hi": int(in_range.hi.max())},
            "scale": numbers_of(in_range.scale_float),
            "bias": numbers_of(in_range.bias_float),
            "meaning": "count = (q - count_offset) / count_factor where real = scale * q + bias",
            "host_quantizer": host_quantizer,
        },
        "outputs": [
            {
                "name": port,
                "tensor": tensor,
                **_port(lowered.wires[tensor], dataflow.outputs[port]),
                **_reals(ranges, _named(model, tensor)),
                "meaning": "q = count_factor * count + count_offset, real = scale * q + bias",
            }
            for port, tensor in lowered.outputs.items()
        ],
        "host_operators": list(lowered.host),
    }


def _port(wire: Wire, stream: Stream) -> Json:
    """How a tensor of ``shape`` travels: its axes in the order ``axes``, the last one fastest."""
    return {
        "shape": list(wire.layout.sizes),
        "axes": list(wire.layout.order),
        "layout": "the shape transposed to the axes, in row-major order, "
        "element 0 in the low bits of the first beat",
        "stream": _stream(stream),
        "count_offset": _ints(wire.offset),
        "count_factor": _ints(wire.factor),
    }


def _reals(ranges: Ranges, value: ir.Value) -> Json:
    found = ranges.scaled(value)
    return {
        "scale": None if found is None else numbers_of(found.scale_float),
        "bias": None if found is None else numbers_of(found.bias_float),
    }


def _names(model: ir.Model) -> set[str]:
    inputs = {g.name(v) for v in model.graph.inputs}
    return inputs | {g.name(v) for node in model.graph for v in node.outputs}


def _named(model: ir.Model, tensor: str) -> ir.Value:
    name = Lowered.canonical_name(tensor, _names(model))
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    return next(v for v in values if v.name == name)


def _ints(q: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> int | list[int]:
    return int(q.reshape(-1)[0]) if q.size == 1 else [int(v) for v in q.reshape(-1)]


def _stream(stream: Stream) -> Json:
    return {
        "elements": stream.elements,
        "lanes": stream.lanes,
        "bits": stream.bits,
        "beats": stream.beats,
        "tdata_bytes": (stream.width + 7) // 8,
    }
