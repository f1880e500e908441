"""Writes a dataflow graph as C++ for Vitis HLS.

The folder is self-contained: the library headers, ``<layer>_params.hpp`` with the constants of
each layer, and ``accelerator.cpp`` with one function per layer and the top function
``accelerator``, whose ports are AXI4-Streams. The arithmetic lives in the headers of ``hls/cpp``;
what is printed here are constants, template arguments and the wiring.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np

from hls.dataflow import Dataflow, Ints, Layer, Port
from hls.emit_rtl import axis_prefixes, identifiers
from hls.layers import ArgMax, MatrixVector, Thresholding, WidthConverter

LIBRARY = Path(__file__).parent / "cpp"

_MAX_WIDTH = 1024  # Bits of an ap_uint unless AP_INT_MAX_W says otherwise.


@dataclass(frozen=True)
class _Kernel:
    """The library function that implements a layer.

    ``arguments`` are its template arguments by name; ``arrays`` are the constants that follow the
    streams in its argument list, by name, as (C type, values of one or two dimensions).
    """

    function: str
    arguments: dict[str, int | str]
    arrays: dict[str, tuple[str, Ints]]


def _integer_type(values: Ints) -> str:
    """The narrowest C integer type that holds all values."""
    low, high = int(values.min()), int(values.max())
    for name, bits in (("char", 8), ("short", 16), ("int", 32), ("long long", 64)):
        if low >= 0 and high < 1 << bits:
            return f"unsigned {name}"
        if low >= -(1 << bits - 1) and high < 1 << bits - 1:
            return f"signed {name}"
    raise AssertionError(f"no 64-bit type holds {low} .. {high}")


def _sized(values: Ints) -> tuple[str, Ints]:
    return _integer_type(values), values


def _signed_bits(values: Ints) -> int:
    """Bits of the two's complement that holds all values."""
    return max(int(v).bit_length() if v >= 0 else int(~v).bit_length() for v in values.flat) + 1


def _packed_words(values: Ints, bits: int) -> Ints:
    """Rows of ``bits``-bit values as rows of 64-bit words; no value straddles two words."""
    per_word = 64 // bits
    rows, columns = values.shape
    padded = np.zeros((rows, -(-columns // per_word) * per_word), np.uint64)
    padded[:, :columns] = values.astype(np.uint64) & np.uint64((1 << bits) - 1)
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    words = np.bitwise_or.reduce(padded.reshape(rows, -1, per_word) << shifts, axis=2)
    return cast(Ints, words)


def _matrix_vector(layer: MatrixVector) -> _Kernel:
    neurons, inputs = layer.weights.shape
    pe, simd = layer.pe, layer.simd
    weights, start = layer.weights, layer.start
    if not np.all(np.abs(weights) == 1):
        product, weight_bits = "SignedProduct", _signed_bits(weights)
    else:
        product, weight_bits = "SignProduct", 1
        if layer.input_bits == 1:
            # The popcount of the XNORs exceeds the dot product by the number of weights -1.
            product, start = "XnorProduct", start - np.sum(weights < 0, axis=1)
        weights = (weights + 1) // 2
    # (neuron fold, PE, input fold, SIMD) -> (neuron fold, input fold, PE * SIMD)
    folds = weights.reshape(neurons // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3)
    wrapped = start & ((1 << layer.accumulator_bits) - 1)
    return _Kernel(
        "matrix_vector_unit",
        {
            "Product": product,
            "Neurons": neurons,
            "Inputs": inputs,
            "Pe": pe,
            "Simd": simd,
            "InputBits": layer.input_bits,
            "WeightBits": weight_bits,
            "AccumulatorBits": layer.accumulator_bits,
            "Vectors": layer.vectors,
        },
        {
            "weights": (
                "unsigned long long",
                _packed_words(folds.reshape(-1, pe * simd), weight_bits),
            ),
            "start": _sized(wrapped.reshape(-1, pe)),
        },
    )


def _by_lane(values: Ints, pe: int) -> Ints:
    """Per-channel rows (C or 1, ...) as (PE, folds, ...); a single row is repeated on each lane."""
    if len(values) == 1:
        return np.repeat(values[None], pe, axis=0)
    return values.reshape(-1, pe, *values.shape[1:]).swapaxes(0, 1)


def _thresholding(layer: Thresholding) -> _Kernel:
    rows, count = layer.thresholds.shape
    stages = count.bit_length()
    # A full tree: the missing thresholds are never reached.
    tree = np.full((rows, (1 << stages) - 1), 1 << layer.input_bits, np.int64)
    tree[:, :count] = layer.thresholds
    lanes = _by_lane(tree, layer.pe)
    falling = layer.falling
    if np.all(falling == falling[0]):
        falling = falling[:1]
    arrays = {"falling": ("bool", _by_lane(falling.astype(np.int64), layer.pe))}
    for stage in range(stages):
        step = 1 << stages - stage  # Distance of the thresholds that this stage compares with.
        words = lanes[:, :, step // 2 - 1 :: step]
        arrays[f"stage{stage}"] = _sized(words.reshape(layer.pe, -1))
    return _Kernel(
        "thresholding",
        {
            "Channels": layer.channels,
            "Pe": layer.pe,
            "InputBits": layer.input_bits,
            "CountBits": stages,
            "Vectors": layer.vectors,
            "ThresholdFolds": lanes.shape[1],
            "FallingFolds": arrays["falling"][1].shape[1],
        },
        arrays,
    )


def _width_converter(layer: WidthConverter) -> _Kernel:
    return _Kernel(
        "width_converter",
        {
            "Elements": layer.elements,
            "InputLanes": layer.input_lanes,
            "OutputLanes": layer.output_lanes,
            "Bits": layer.bits,
        },
        {},
    )


def _argmax(layer: ArgMax) -> _Kernel:
    scale, offset = (np.array(v, np.int64) for v in layer.reduced())
    largest = ((1 << layer.input_bits) - 1) * int(scale.max()) + int(offset.max())
    assert largest < 1 << 63, f"{layer.name}: scores of {largest.bit_length()} bits"
    return _Kernel(
        "argmax",
        {
            "Channels": len(scale),
            "Lanes": layer.lanes,
            "InputBits": layer.input_bits,
            "ScoreBits": largest.bit_length(),
            "IndexBits": layer.index_bits,
        },
        {
            "scale": _sized(scale.reshape(-1, layer.lanes)),
            "offset": _sized(offset.reshape(-1, layer.lanes)),
        },
    )


def _kernel(layer: Layer) -> _Kernel:
    match layer:
        case MatrixVector():
            return _matrix_vector(layer)
        case Thresholding():
            return _thresholding(layer)
        case WidthConverter():
            return _width_converter(layer)
        case ArgMax():
            return _argmax(layer)
    raise AssertionError(f"no HLS kernel for {type(layer).__name__}")


def _array(name: str, element: str, values: Ints) -> str:
    """A constant array of two dimensions, one row to a line where it fits."""

    def literal(value: int) -> str:
        match element:
            case "unsigned long long":
                return f"{value:#x}ULL"
            case "signed long long":
                return f"{value}LL"
            case _:
                return str(value)

    rows = (", ".join(literal(int(v)) for v in row) for row in values)
    lines = (fill(f"{{{row}}},", 100, initial_indent="  ", subsequent_indent="   ") for row in rows)
    body = "\n".join(lines)
    return f"const {element} {name}[{values.shape[0]}][{values.shape[1]}] = {{\n{body}\n}};\n"


def _parameters(name: str, kernel: _Kernel) -> str:
    """``<layer>_params.hpp``: the constants of a layer in a namespace of its own."""
    arrays = "\n".join(_array(array, *contents) for array, contents in kernel.arrays.items())
    return (
        f"// Constants of layer {name}.\n#pragma once\n\n"
        f"namespace {name}_params {{\n\n{arrays}\n}}  // namespace {name}_params\n"
    )


def _layer_function(name: str, layer: Layer, kernel: _Kernel) -> str:
    """The function of one layer: its kernel with template arguments and constants filled in."""
    ports = [
        f"hls::stream<ap_uint<{stream.width}> > &{port}"
        for port, stream in (*layer.inputs.items(), *layer.outputs.items())
    ]
    arguments = ", ".join(f"/*{key}=*/{value}" for key, value in kernel.arguments.items())
    values = [
        *layer.inputs,
        *layer.outputs,
        *(f"{name}_params::{array}" for array in kernel.arrays),
    ]
    call = f"{kernel.function}<{arguments}>({', '.join(values)});"
    body = fill(call, 100, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
    return f"void layer_{name}({', '.join(ports)}) {{\n{body}\n}}\n"


def _top_function(dataflow: Dataflow, names: dict[str, str]) -> str:
    """``accelerator``: the layers, the streams between them and the AXI4-Stream ports."""
    sources, sinks = axis_prefixes(dataflow)
    streams = {f"stream{i}": edge for i, edge in enumerate(dataflow.edges)}
    at_source = {edge.source: name for name, edge in streams.items()}
    at_target = {edge.target: name for name, edge in streams.items()}
    assert len(at_source) == len(at_target) == len(streams), "a port has more than one edge"

    arguments = [
        f"hls::stream<AxiBeat<{stream.width}> > &{axis}"
        for axes, ports in ((sources, dataflow.inputs), (sinks, dataflow.outputs))
        for axis, stream in zip(axes.values(), ports.values(), strict=True)
    ]
    lines = [
        "#pragma HLS INTERFACE mode=ap_ctrl_none port=return",
        *(
            f"#pragma HLS INTERFACE mode=axis port={axis}"
            for axis in (*sources.values(), *sinks.values())
        ),
        "#pragma HLS DATAFLOW",
    ]
    for name, edge in streams.items():
        ends = (names.get(port.layer, "port") for port in (edge.source, edge.target))
        lines += [
            f"  // {' to '.join(ends)}",
            f"  hls::stream<ap_uint<{dataflow.stream(edge).width}> > {name};",
            f"#pragma HLS STREAM variable={name} depth={edge.depth}",
        ]
    for port, stream in dataflow.inputs.items():
        call = f"from_axi_stream<{stream.beats}, {stream.width}>"
        lines.append(f"  {call}({sources[port]}, {at_source[Port('', port)]});")
    for layer in dataflow.layers:
        ports = [
            *(at_target[Port(layer.name, port)] for port in layer.inputs),
            *(at_source[Port(layer.name, port)] for port in layer.outputs),
        ]
        lines.append(f"  layer_{names[layer.name]}({', '.join(ports)});")
    for port, stream in dataflow.outputs.items():
        call = f"to_axi_stream<{stream.beats}, {stream.width}>"
        lines.append(f"  {call}({at_target[Port('', port)]}, {sinks[port]});")
    body = "\n".join(lines)
    separator = ",\n                 "
    return f"void accelerator({separator.join(arguments)}) {{\n{body}\n}}\n"


def _accelerator(dataflow: Dataflow, names: dict[str, str], kernels: dict[str, _Kernel]) -> str:
    """``accelerator.cpp``; ``kernels`` are those of the layers, by identifier."""
    widest = max(dataflow.stream(edge).width for edge in dataflow.edges)
    limit = -(-widest // _MAX_WIDTH) * _MAX_WIDTH
    headers = sorted({"axi_stream", *(kernel.function for kernel in kernels.values())})
    headers += [f"{name}_params" for name, kernel in kernels.items() if kernel.arrays]
    preamble = [f"#define AP_INT_MAX_W {limit}"] if limit > _MAX_WIDTH else []
    preamble += [f'#include "{header}.hpp"' for header in headers]
    functions = [
        _layer_function(names[layer.name], layer, kernels[names[layer.name]])
        for layer in dataflow.layers
    ]
    return "\n".join([*preamble, "", *functions, _top_function(dataflow, names)])


def emit_hls(dataflow: Dataflow, directory: Path) -> list[Path]:
    """Write the C++ of a graph into ``directory``; returns the files in the order written."""
    names = identifiers([layer.name for layer in dataflow.layers])
    kernels = {names[layer.name]: _kernel(layer) for layer in dataflow.layers}
    texts = {header.name: header.read_text() for header in sorted(LIBRARY.glob("*.hpp"))}
    for name, kernel in kernels.items():
        if kernel.arrays:
            texts[f"{name}_params.hpp"] = _parameters(name, kernel)
    texts["accelerator.cpp"] = _accelerator(dataflow, names, kernels)
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (directory / file).write_text(text)
    return [directory / file for file in texts]
