"""Emit a dataflow graph as SystemVerilog: library, a module for each layer, top and memories.

The logic lives in ``hls/rtl/*.sv``, of which the modules in use are copied. What is printed:

- ``<layer>.sv``: a library module with its parameters and memories, and the FIFOs of the layer's
  input edges. What leaves such a module depends on its registers alone, never on what enters it in
  the same cycle, so that layers can be simulated and synthesised one by one.
- ``accelerator.sv``: the layers, the wires between them, and the FIFOs of the graph's outputs.

Two runs give byte-identical files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hls.dataflow import Dataflow, Instance, Layer, Memory, Stream
from sira.names import free_name

LIBRARY = Path(__file__).parents[1] / "rtl"

_Way = Literal["i", "o"]  # of a module's port: in or out

_KEYWORDS = """
    accelerator alias always and assert assign assume automatic begin bind bit buf byte case
    cell class clocking config const constraint context cover default design disable dist do
    edge else end enum event expect export extern final for force foreach forever fork function
    generate genvar global highz0 highz1 if iff import initial inout input inside instance int
    integer interface join large let liblist library local logic longint macromodule matches
    medium modport module nand negedge new nmos nor not null or output package packed parameter
    pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup pure
    rand randc real realtime ref reg release repeat return rtran scalared sequence shortint
    signed small solve specify static string strong strong0 strong1 struct super supply0 supply1
    table tagged task this throughout time timeprecision timeunit tran tri tri0 tri1 triand
    trior type typedef union unique unsigned use uwire var vectored virtual void wait wand weak
    weak0 weak1 while wildcard wire with within wor xnor xor
"""


def identifiers(names: list[str]) -> dict[str, str]:
    """Names to distinct SystemVerilog identifiers in lower snake case.

    None is used in the top, and none is a library module.
    """
    result: dict[str, str] = {}
    taken = set(_KEYWORDS.split()) | {path.stem for path in LIBRARY.glob("*.sv")}
    for name in names:
        base = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "layer"
        if not base[0].isalpha() or base.startswith(("edge_", "ap_", "s_axis", "m_axis")):
            base = f"layer_{base}"
        result[name] = free_name(base, taken)
        taken.add(result[name])
    return result


def emit_rtl(dataflow: Dataflow, directory: Path) -> list[Path]:
    """Write the accelerator into ``directory``; returns the files in the order they are compiled.

    `.sv` files come first, library before layers before top, then the memories.
    """
    directory.mkdir(parents=True, exist_ok=True)
    names = identifiers([layer.name for layer in dataflow.layers])
    instances = {names[layer.name]: layer.instance() for layer in dataflow.layers}
    library = (*_library_modules(instances.values()), "frame_counter")
    contents = {f"{module}.sv": (LIBRARY / f"{module}.sv").read_text() for module in library}
    for layer in dataflow.layers:
        name = names[layer.name]
        depths = {e.target.port: e.depth for e in dataflow.edges if e.target.layer == layer.name}
        contents[f"{name}.sv"] = layer_module(layer, instances[name], name, depths)
    contents["accelerator.sv"] = _top(dataflow, names)
    for name, instance in instances.items():
        for file, memory in memory_files(name, instance).items():
            contents[file] = memory_text(memory)
    paths = [directory / file for file in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        path.write_text(text)
    return paths


def layer_sources(name: str, instance: Instance) -> list[str]:
    """The files that the module ``name`` of a layer is made of: the library's, then its own."""
    return [f"{module}.sv" for module in (*_library_modules([instance]), name)]


def memory_files(name: str, instance: Instance) -> dict[str, Memory]:
    """The memories of the layer's module ``name``, by file name."""
    return {f"{name}_{key}.mem": memory for key, memory in instance.memories.items()}


def memory_text(memory: Memory) -> str:
    """The contents of a `.mem` file for ``$readmemh``: one word a line, hexadecimal."""
    assert all(0 <= word < 1 << memory.bits for word in memory.words), "a word is too wide"
    digits = (memory.bits + 3) // 4
    return "".join(f"{word:0{digits}x}\n" for word in memory.words)


def stream_bytes(stream: Stream) -> int:
    """Bytes of TDATA: the stream's width, padded."""
    return (stream.width + 7) // 8


def axis_prefixes(dataflow: Dataflow) -> tuple[dict[str, str], dict[str, str]]:
    """AXI4-Stream names of the graph's inputs and outputs: ``s_axis``, or ``s_axis_<port>``."""

    def prefixes(prefix: str, ports: Mapping[str, Stream]) -> dict[str, str]:
        if len(ports) == 1:
            return dict.fromkeys(ports, prefix)
        return {port: f"{prefix}_{name}" for port, name in identifiers(list(ports)).items()}

    return prefixes("s_axis", dataflow.inputs), prefixes("m_axis", dataflow.outputs)


def _library_modules(instances: Iterable[Instance]) -> list[str]:
    """The library modules of layers' modules, parts first."""
    used: dict[str, None] = {}
    for instance in instances:
        used.update(dict.fromkeys((*instance.parts, instance.module)))
    return list(used | {"stream_fifo": None})


# ---- A layer -----------------------------------------------------------------------------------


def layer_module(layer: Layer, instance: Instance, name: str, depths: Mapping[str, int]) -> str:
    """The module ``name`` of a layer, with FIFOs of ``depths`` beats at its input ports.

    A port without a depth has no FIFO.
    """
    clock = ("    .clk_i", "    .rst_ni")  # implicit: the module's ports have these names
    ports = ["  input  logic clk_i", "  input  logic rst_ni"]
    lines: list[str] = []
    wires: dict[str, _Wires] = {}
    for port, stream in layer.inputs.items():
        ports += _layer_ports(port, stream, "i")
        wires[port] = outside = _Wires(port, "_i", "_o")
        if port in depths:
            wires[port] = inside = _Wires(port)
            ends = [*_connect("in", "i", [outside]), *_connect("out", "o", [inside])]
            lines += _declare(port, stream)
            lines += [*_fifo(f"u_{port}_fifo", stream, depths[port], [*clock, *ends]), ""]
    for port, stream in layer.outputs.items():
        ports += _layer_ports(port, stream, "o")
        wires[port] = _Wires(port, "_o", "_i")
    connections = [*clock]
    directions: tuple[tuple[Iterable[str], _Way], ...] = ((layer.inputs, "i"), (layer.outputs, "o"))
    for names, forward in directions:
        for port, members in _packed_ports(names).items():
            connections += _connect(port, forward, [wires[member] for member in members])
    parameters = {key: _parameter(value) for key, value in instance.parameters.items()}
    if instance.memories:
        parameters["MemoryPrefix"] = f'"{name}_"'
    lines += [*_instance(instance.module, "u_layer", parameters, connections), ""]
    head = [f"// Layer {layer.name!a}.", f"module {name} (", ",\n".join(ports), ");", ""]
    return "\n".join([*head, *lines, "endmodule", ""])


def _layer_ports(port: str, stream: Stream, forward: _Way) -> list[str]:
    with_stream, against = ("input ", "output") if forward == "i" else ("output", "input ")
    return [
        f"  {with_stream} logic {port}_valid_{forward}",
        f"  {against} logic {port}_ready_{_opposite(forward)}",
        f"  {with_stream} logic [{stream.width - 1}:0] {port}_data_{forward}",
    ]


def _packed_ports(ports: Iterable[str]) -> dict[str, list[str]]:
    """A library module's port prefixes and the layer's ports that make up each, see `Instance`."""
    result: dict[str, list[str]] = {}
    for port in ports:
        result.setdefault(port.rstrip("0123456789"), []).append(port)
    for prefix, members in result.items():
        numbered = [f"{prefix}{number}" for number in range(len(members))]
        members.sort(key=lambda port: (len(port), port))
        assert members in ([prefix], numbered), members
    return result


def _parameter(value: int | tuple[int, ...]) -> str:
    return _concatenation([f"32'd{v}" for v in value]) if isinstance(value, tuple) else str(value)


def fifo_module(dataflow: Dataflow, name: str) -> str:
    """A module ``name`` of all that lies between layers, to be synthesised apart from them.

    It holds the FIFOs of all edges, and the frame counters of the outputs. Of ``edge_<number>`` the
    ports are those of its FIFO.
    """
    clock = ("    .clk_i", "    .rst_ni")
    ports = ["  input  logic clk_i", "  input  logic rst_ni"]
    lines: list[str] = []
    for number, edge in enumerate(dataflow.edges):
        stream, wire = dataflow.stream(edge), f"edge_{number}"
        ports += _layer_ports(f"{wire}_in", stream, "i") + _layer_ports(f"{wire}_out", stream, "o")
        ends = [*_connect("in", "i", [_Wires(f"{wire}_in", "_i", "_o")])]
        ends += _connect("out", "o", [_Wires(f"{wire}_out", "_o", "_i")])
        lines += [*_fifo(f"u_{wire}_fifo", stream, edge.depth, [*clock, *ends]), ""]
        if not edge.target.layer:
            ports += [f"  output logic {wire}_last_o"]
            beat = f"{wire}_out_valid_o && {wire}_out_ready_i"
            lines += [*_frame_counter(wire, stream, clock, beat, f"{wire}_last_o"), ""]
    return "\n".join([f"module {name} (", ",\n".join(ports), ");", "", *lines, "endmodule", ""])


# ---- The top -----------------------------------------------------------------------------------


def _top(dataflow: Dataflow, names: Mapping[str, str]) -> str:
    sinks, sources = axis_prefixes(dataflow)
    ports = ["  input  logic ap_clk", "  input  logic ap_rst_n"]
    for name, prefix in sinks.items():
        ports += _axis_ports(prefix, stream_bytes(dataflow.inputs[name]), "input ", "output")
    for name, prefix in sources.items():
        ports += _axis_ports(prefix, stream_bytes(dataflow.outputs[name]), "output", "input ")
    lines = [f"// Dataflow accelerator {dataflow.name!a}: layers and streams between them."]
    lines += ["module accelerator (", ",\n".join(ports), ");", ""]
    for number, edge in enumerate(dataflow.edges):
        wire, stream = f"edge_{number}", dataflow.stream(edge)
        lines += [f"  // {str(edge.source)!a} -> {str(edge.target)!a}"]
        lines += _declare(wire, stream)
        if not edge.source.layer:
            lines += _entrance(wire, stream, sinks[edge.source.port])
        if not edge.target.layer:
            lines += _exit(wire, stream, edge.depth, sources[edge.target.port])
        lines += [""]
    for layer in dataflow.layers:
        connections = [*_CLOCK, *_layer_connections(dataflow, layer.name)]
        name = names[layer.name]
        lines += [*_instance(name, f"u_{name}", {}, connections), ""]
    return "\n".join([*lines, "endmodule", ""])


def _axis_ports(prefix: str, data_bytes: int, forward: str, backward: str) -> list[str]:
    return [
        f"  {forward} logic [{8 * data_bytes - 1}:0] {prefix}_tdata",
        f"  {forward} logic {prefix}_tvalid",
        f"  {backward} logic {prefix}_tready",
        f"  {forward} logic {prefix}_tlast",
    ]


def _entrance(wire: str, stream: Stream, prefix: str) -> Iterator[str]:
    """From the AXI4-Stream ``prefix`` to ``wire``."""
    yield f"  assign {wire}_valid = {prefix}_tvalid;"
    yield f"  assign {wire}_data = {prefix}_tdata[{stream.width - 1}:0];"
    yield f"  assign {prefix}_tready = {wire}_ready;"
    yield "  /* verilator lint_off UNUSEDSIGNAL */  // frames are counted, padding is ignored"
    yield f"  logic {wire}_unused;"
    yield f"  assign {wire}_unused = ^{{{prefix}_tdata, {prefix}_tlast}};"
    yield "  /* verilator lint_on UNUSEDSIGNAL */"


def _exit(wire: str, stream: Stream, depth: int, prefix: str) -> Iterator[str]:
    """From ``wire`` through a FIFO to the AXI4-Stream ``prefix``."""
    out = f"{wire}_out"
    yield from _declare(out, stream)
    ends = [*_connect("in", "i", [_Wires(wire)]), *_connect("out", "o", [_Wires(out)])]
    yield from _fifo(f"u_{wire}_fifo", stream, depth, [*_CLOCK, *ends])
    yield f"  assign {prefix}_tvalid = {out}_valid;"
    yield f"  assign {prefix}_tdata = {8 * stream_bytes(stream)}'({out}_data);"
    yield f"  assign {out}_ready = {prefix}_tready;"
    beat = f"{out}_valid && {out}_ready"
    yield from _frame_counter(wire, stream, _CLOCK, beat, f"{prefix}_tlast")


def _layer_connections(dataflow: Dataflow, layer: str) -> Iterator[str]:
    used = set()
    for number, edge in enumerate(dataflow.edges):
        if edge.target.layer == layer:
            yield from _connect(edge.target.port, "i", [_Wires(f"edge_{number}")])
        if edge.source.layer == layer:
            assert edge.source.port not in used, f"{edge.source} drives two edges"
            used.add(edge.source.port)
            yield from _connect(edge.source.port, "o", [_Wires(f"edge_{number}")])


# ---- Wires and instances -----------------------------------------------------------------------

_CLOCK = ("    .clk_i(ap_clk)", "    .rst_ni(ap_rst_n)")  # of instances in the top


@dataclass(frozen=True)
class _Wires:
    """Names of a stream's wires; the suffixes are empty, or those of the ports of a module."""

    name: str
    forward: str = ""
    backward: str = ""


def _declare(name: str, stream: Stream) -> list[str]:
    return [f"  logic {name}_valid, {name}_ready;", f"  logic [{stream.width - 1}:0] {name}_data;"]


def _opposite(way: _Way) -> _Way:
    return "o" if way == "i" else "i"


def _connect(port: str, forward: _Way, streams: Sequence[_Wires]) -> Iterator[str]:
    """Connect a stream port of an instance; several streams are packed, the first one low."""
    for signal in ("valid", "ready", "data"):
        against = signal == "ready"
        way = _opposite(forward) if against else forward
        wires = [f"{w.name}_{signal}{w.backward if against else w.forward}" for w in streams]
        yield f"    .{port}_{signal}_{way}({_concatenation(wires)})"


def _concatenation(parts: Sequence[str]) -> str:
    """A SystemVerilog concatenation with the first part in the low bits."""
    return parts[0] if len(parts) == 1 else f"{{{', '.join(reversed(parts))}}}"


def _fifo(name: str, stream: Stream, depth: int, connections: Sequence[str]) -> Iterator[str]:
    parameters = {"Width": str(stream.width), "Depth": str(depth)}
    return _instance("stream_fifo", name, parameters, connections)


def _frame_counter(
    wire: str, stream: Stream, clock: Sequence[str], beat: str, last: str
) -> Iterator[str]:
    parameters = {"Beats": str(stream.beats)}
    connections = [*clock, f"    .beat_i({beat})", f"    .last_o({last})"]
    return _instance("frame_counter", f"u_{wire}_counter", parameters, connections)


def _instance(
    module: str, name: str, parameters: Mapping[str, str], connections: Sequence[str]
) -> Iterator[str]:
    """Print any instance."""
    if parameters:
        yield f"  {module} #("
        yield ",\n".join(f"    .{key}({value})" for key, value in parameters.items())
        yield f"  ) {name} ("
    else:
        yield f"  {module} {name} ("
    yield ",\n".join(connections)
    yield "  );"
