"""Writes a dataflow graph as C++ for Vitis HLS.

The folder is self-contained: the library headers, ``<layer>_params.hpp`` with the constants of
each layer, and ``accelerator.cpp`` with one function per layer and the top function
``accelerator``, whose ports are AXI4-Streams. The arithmetic lives in the headers of ``hls/cpp``;
what is printed here are constants, template arguments and the wiring.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

from hls.dataflow import Dataflow, Ints, Kernel, Layer, Port
from hls.emit.rtl import axis_prefixes, identifiers

LIBRARY = Path(__file__).parents[1] / "cpp"

_MAX_WIDTH = 1024  # Bits of an ap_uint unless AP_INT_MAX_W says otherwise.


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


def _parameters(name: str, kernel: Kernel) -> str:
    """``<layer>_params.hpp``: the constants of a layer in a namespace of its own."""
    arrays = "\n".join(_array(array, *contents) for array, contents in kernel.arrays.items())
    return (
        f"// Constants of layer {name}.\n#pragma once\n\n"
        f"namespace {name}_params {{\n\n{arrays}\n}}  // namespace {name}_params\n"
    )


def _layer_function(name: str, layer: Layer, kernel: Kernel) -> str:
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


def _accelerator(dataflow: Dataflow, names: dict[str, str], kernels: dict[str, Kernel]) -> str:
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
    kernels = {names[layer.name]: layer.kernel() for layer in dataflow.layers}
    texts = {header.name: header.read_text() for header in sorted(LIBRARY.glob("*.hpp"))}
    for name, kernel in kernels.items():
        if kernel.arrays:
            texts[f"{name}_params.hpp"] = _parameters(name, kernel)
    texts["accelerator.cpp"] = _accelerator(dataflow, names, kernels)
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (directory / file).write_text(text)
    return [directory / file for file in texts]
