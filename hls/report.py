"""What a compilation found, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx_ir as ir

from hls.dataflow import Edge, Layer, Port, Resources, Stream
from hls.fold import dimensions
from hls.layers.matrix_vector import MatrixVector
from hls.lower import Lowered
from hls.synthesis import SynthesisResult
from hls.verify import Verification
from hls.vivado import TclCheck
from sira import graph as g
from sira.analysis import Ranges
from sira.bounds import DatatypeBounds
from sira.scaled import ScaledInt
from sira.summary import accumulator_entry, numbers_of

Json = dict[str, Any]

_KINDS = {
    "MatrixVector": "matrix_vector",
    "Thresholding": "thresholding",
    "WidthConverter": "width_converter",
    "ArgMax": "argmax",
}


def layer_reports(
    lowered: Lowered,
    integer_ranges: Ranges,
    bounds: Mapping[str, DatatypeBounds],
    synthesis: Mapping[str, SynthesisResult],
) -> list[Json]:
    """One entry a hardware layer, in the order of the dataflow."""
    tensors = {wire.port: name for name, wire in lowered.wires.items()}
    producers = {edge.target: edge.source for edge in lowered.dataflow.edges}
    return [
        _layer(layer, lowered, integer_ranges, bounds, synthesis, tensors, producers)
        for layer in lowered.dataflow.layers
    ]


def _layer(
    layer: Layer,
    lowered: Lowered,
    ranges: Ranges,
    bounds: Mapping[str, DatatypeBounds],
    synthesis: Mapping[str, SynthesisResult],
    tensors: Mapping[Port, str],
    producers: Mapping[Port, Port],
) -> Json:
    source = producers[Port(layer.name, "in")]
    while source not in tensors:  # a width converter carries its producer's tensor
        source = producers[Port(source.layer, "in")]
    x = _integers(ranges, tensors[source])
    stream: Stream = layer.inputs["in"]
    entry: Json = {
        "name": layer.name,
        "kind": _KINDS[type(layer).__name__],
        "k": None,
        "n": layer.outputs["out"].elements,
        "weight_bits": None,
        "input": {"lo": int(x.lo.min()), "hi": int(x.hi.max()), "bits": stream.bits},
        "accumulator": None,
        "folding": {"pe": None, "simd": None}
        | {name: getattr(layer, name) for name in dimensions(layer)},
        "cycles": layer.cycles,
        "resources": {
            "estimate": asdict(layer.estimate()),
            "synthesis": _synthesis(synthesis.get(layer.name)),
        },
    }
    if isinstance(layer, MatrixVector):
        n, k = layer.weights.shape
        entry |= {"k": k, "n": n, "weight_bits": bounds[layer.name].weight_bits}
        entry["accumulator"] = _accumulator(
            layer, _integers(ranges, tensors[Port(layer.name, "out")]), bounds[layer.name]
        )
    return entry


def _integers(ranges: Ranges, tensor: str) -> ScaledInt:
    found = ranges[tensor]
    assert isinstance(found, ScaledInt)
    return found


def _accumulator(layer: MatrixVector, range_: ScaledInt, bounds: DatatypeBounds) -> Json:
    return accumulator_entry(range_, layer.weights.shape[0], layer.accumulator_bits, bounds)


def _synthesis(result: SynthesisResult | None) -> Json | None:
    if result is None:
        return None
    return {**asdict(result.resources), "logic_depth": result.logic_depth, "tool": result.tool}


def fifo_bits(lowered: Lowered) -> int:
    """Bits in the FIFOs on all edges."""

    def bits(edge: Edge) -> int:
        return edge.depth * lowered.dataflow.stream(edge).width

    return sum(bits(edge) for edge in lowered.dataflow.edges)


def totals(
    lowered: Lowered,
    layers: list[Json],
    synthesis: Mapping[str, SynthesisResult],
    whole: SynthesisResult | None,
    constant_channels: Mapping[str, list[int]],
) -> Json:
    """Sums over the layers, and the whole design where it was synthesised.

    ``constant_channels`` are the ones left out of the hardware, by tensor.
    """
    estimate, measured = Resources(), Resources()
    for layer in lowered.dataflow.layers:
        estimate += layer.estimate()
        if layer.name in synthesis:
            measured += synthesis[layer.name].resources
    accumulators = [
        entry["accumulator"] | {"n": entry["n"]} for entry in layers if entry["accumulator"]
    ]
    return {
        "cycles": max(layer.cycles for layer in lowered.dataflow.layers),
        "fifo_bits": fifo_bits(lowered),
        "constant_channels": dict(constant_channels),
        "accumulator_bits": sum(a["bits"] * a["n"] for a in accumulators),
        "accumulator_bits_window": sum(sum(a["bits_window"]) for a in accumulators),
        "accumulator_bits_datatype": sum(a["bits_datatype"] * a["n"] for a in accumulators),
        "accumulator_bits_weights_datatype": sum(
            a["bits_weights_datatype"] * a["n"] for a in accumulators
        ),
        "resources": {
            "estimate": asdict(estimate),
            "synthesis_sum_of_layers": asdict(measured) if synthesis else None,
            "synthesis_whole_design": _synthesis(whole),
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
    output = model.graph.outputs[-1]
    dataflow = lowered.dataflow
    input_wire, output_wire = lowered.wires[lowered.input], lowered.wires[lowered.output]
    in_range, out_range = ranges.scaled(first), ranges.scaled(output)
    assert in_range is not None
    return {
        "input": {
            "name": g.name(source),
            "tensor": g.name(first),
            "shape": list(g.shape(first)),
            "layout": "row-major order of the shape, element 0 in the low bits of the first beat",
            "stream": _stream(dataflow.inputs["in"]),
            "count_offset": _ints(input_wire.offset),
            "integer": {"lo": int(in_range.lo.min()), "hi": int(in_range.hi.max())},
            "scale": numbers_of(in_range.scale_float),
            "bias": numbers_of(in_range.bias_float),
            "meaning": "send count = q - count_offset where real = scale * q + bias",
            "host_quantizer": host_quantizer,
        },
        "output": {
            "name": g.name(output),
            "tensor": lowered.output,
            "shape": list(g.shape(output)),
            "layout": "row-major order of the shape, element 0 in the low bits of the first beat",
            "stream": _stream(dataflow.outputs["out"]),
            "count_offset": _ints(output_wire.offset),
            "scale": None if out_range is None else numbers_of(out_range.scale_float),
            "bias": None if out_range is None else numbers_of(out_range.bias_float),
            "meaning": "q = count + count_offset, real = scale * q + bias",
            "host_operators": list(lowered.host),
        },
    }


def _named(model: ir.Model, name: str) -> ir.Value:
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    return next(v for v in values if v.name in (name, name.removesuffix("_integers")))


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
