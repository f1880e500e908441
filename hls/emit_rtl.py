"""Emit a dataflow graph as SystemVerilog: library modules, the top ``accelerator``, memories.

Only the top is printed; the logic lives in ``hls/rtl/*.sv``, of which the modules in use are
copied. Two runs give byte-identical files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hls.dataflow import Dataflow, Edge, Instance, Memory, Port, Stream

LIBRARY = Path(__file__).parent / "rtl"

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
    """Names to distinct SystemVerilog identifiers in lower snake case, none used by the top."""
    result: dict[str, str] = {}
    taken = set(_KEYWORDS.split())
    for name in names:
        base = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "layer"
        if not base[0].isalpha() or base.startswith(("edge_", "ap_", "s_axis", "m_axis")):
            base = f"layer_{base}"
        identifier, number = base, 1
        while identifier in taken:
            number += 1
            identifier = f"{base}_{number}"
        taken.add(identifier)
        result[name] = identifier
    return result


def emit_rtl(dataflow: Dataflow, directory: Path) -> list[Path]:
    """Write the accelerator into ``directory``; returns the files in the order they are compiled.

    `.sv` files come first, library before top, then the memories.
    """
    directory.mkdir(parents=True, exist_ok=True)
    names = identifiers([layer.name for layer in dataflow.layers])
    instances = {names[layer.name]: layer.instance() for layer in dataflow.layers}
    contents = {f"{module}.sv": _library_source(module) for module in _modules(instances)}
    contents["accelerator.sv"] = _top(dataflow, names, instances)
    for name, instance in instances.items():
        for memory_name, memory in instance.memories.items():
            contents[f"{name}_{memory_name}.mem"] = memory_text(memory)
    paths = [directory / file for file in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        path.write_text(text)
    return paths


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


def _library_source(module: str) -> str:
    return (LIBRARY / f"{module}.sv").read_text()


def _modules(instances: Mapping[str, Instance]) -> list[str]:
    """The library modules in use, parts first."""
    used: dict[str, None] = {}
    for instance in instances.values():
        used.update(dict.fromkeys((*instance.parts, instance.module)))
    return [*used, "stream_fifo", "frame_counter"]


def _top(dataflow: Dataflow, names: Mapping[str, str], instances: Mapping[str, Instance]) -> str:
    sinks, sources = axis_prefixes(dataflow)
    ports = ["  input  logic ap_clk", "  input  logic ap_rst_n"]
    for name, prefix in sinks.items():
        ports += _axis_ports(prefix, stream_bytes(dataflow.inputs[name]), "input ", "output")
    for name, prefix in sources.items():
        ports += _axis_ports(prefix, stream_bytes(dataflow.outputs[name]), "output", "input ")
    lines = [f"// Dataflow accelerator {dataflow.name!a}: layers and streams between them."]
    lines += ["module accelerator (", ",\n".join(ports), ");", ""]
    for number, edge in enumerate(dataflow.edges):
        lines += [*_edge(dataflow, edge, f"edge_{number}", names, sinks, sources), ""]
    for layer in dataflow.layers:
        name = names[layer.name]
        lines += [*_layer(dataflow, layer.name, name, instances[name]), ""]
    return "\n".join([*lines, "endmodule", ""])


def _axis_ports(prefix: str, data_bytes: int, forward: str, backward: str) -> list[str]:
    return [
        f"  {forward} logic [{8 * data_bytes - 1}:0] {prefix}_tdata",
        f"  {forward} logic {prefix}_tvalid",
        f"  {backward} logic {prefix}_tready",
        f"  {forward} logic {prefix}_tlast",
    ]


def _edge(
    dataflow: Dataflow,
    edge: Edge,
    wire: str,
    names: Mapping[str, str],
    sinks: Mapping[str, str],
    sources: Mapping[str, str],
) -> Iterator[str]:
    """The wires on both sides of an edge's FIFO, the FIFO, and AXI4-Stream where it ends."""
    stream = dataflow.stream(edge)
    yield f"  // {_label(edge.source)!a} -> {_label(edge.target)!a}"
    for side in ("in", "out"):
        yield f"  logic {wire}_{side}_valid, {wire}_{side}_ready;"
        yield f"  logic [{stream.width - 1}:0] {wire}_{side}_data;"
    fifo = Instance("stream_fifo", {"Width": stream.width, "Depth": edge.depth})
    yield from _instance(f"{wire}_fifo", fifo, {"in": f"{wire}_in"}, {"out": f"{wire}_out"})
    if not edge.source.layer:
        prefix = sinks[edge.source.port]
        yield f"  assign {wire}_in_valid = {prefix}_tvalid;"
        yield f"  assign {wire}_in_data  = {prefix}_tdata[{stream.width - 1}:0];"
        yield f"  assign {prefix}_tready = {wire}_in_ready;"
        yield "  /* verilator lint_off UNUSEDSIGNAL */  // frames are counted, padding is ignored"
        yield f"  logic {wire}_unused;"
        yield f"  assign {wire}_unused = ^{{{prefix}_tdata, {prefix}_tlast}};"
        yield "  /* verilator lint_on UNUSEDSIGNAL */"
    if not edge.target.layer:
        prefix = sources[edge.target.port]
        width = 8 * stream_bytes(stream)
        yield f"  assign {prefix}_tvalid = {wire}_out_valid;"
        yield f"  assign {prefix}_tdata  = {width}'({wire}_out_data);"
        yield f"  assign {wire}_out_ready = {prefix}_tready;"
        yield f"  frame_counter #(.Beats({stream.beats})) {wire}_last ("
        yield f"    .clk_i(ap_clk), .rst_ni(ap_rst_n), .beat_i({prefix}_tvalid && {prefix}_tready),"
        yield f"    .last_o({prefix}_tlast)"
        yield "  );"


def _label(port: Port) -> str:
    return f"{port.layer}.{port.port}" if port.layer else port.port


def _layer(dataflow: Dataflow, layer: str, name: str, instance: Instance) -> Iterator[str]:
    """A layer between the FIFOs of its edges."""
    incoming, outgoing = {}, {}
    for number, edge in enumerate(dataflow.edges):
        if edge.target.layer == layer:
            incoming[edge.target.port] = f"edge_{number}_out"
        if edge.source.layer == layer:
            assert edge.source.port not in outgoing, f"{edge.source} drives two edges"
            outgoing[edge.source.port] = f"edge_{number}_in"
    return _instance(name, instance, incoming, outgoing)


def _instance(
    name: str, instance: Instance, incoming: Mapping[str, str], outgoing: Mapping[str, str]
) -> Iterator[str]:
    """Print any instance; the mappings give the wire prefix of each port prefix."""
    parameters = [*parameter_assignments(instance.parameters)]
    if instance.memories:
        parameters.append(f'    .MemoryPrefix("{name}_")')
    connections = ["    .clk_i(ap_clk)", "    .rst_ni(ap_rst_n)"]
    for wires, forward, backward in ((incoming, "i", "o"), (outgoing, "o", "i")):
        for port, members in packed_ports(wires).items():
            signals = (("valid", forward), ("ready", backward), ("data", forward))
            for signal, direction in signals:
                wire = concatenation([f"{wires[member]}_{signal}" for member in members])
                connections.append(f"    .{port}_{signal}_{direction}({wire})")
    yield f"  {instance.module} #("
    yield ",\n".join(parameters)
    yield f"  ) {name} ("
    yield ",\n".join(connections)
    yield "  );"


def parameter_assignments(parameters: Mapping[str, int | tuple[int, ...]]) -> Iterator[str]:
    """The lines that set an instance's parameters."""
    for key, value in parameters.items():
        text = concatenation([f"32'd{v}" for v in value]) if isinstance(value, tuple) else value
        yield f"    .{key}({text})"


def packed_ports(ports: Iterable[str]) -> dict[str, list[str]]:
    """A module's port prefixes and the layer's ports that make up each, see `Instance`."""
    result: dict[str, list[str]] = {}
    for port in ports:
        result.setdefault(port.rstrip("0123456789"), []).append(port)
    for prefix, members in result.items():
        numbered = [f"{prefix}{number}" for number in range(len(members))]
        members.sort(key=lambda port: (len(port), port))
        assert members in ([prefix], numbered), members
    return result


def concatenation(parts: Sequence[str]) -> str:
    """A SystemVerilog concatenation with the first part in the low bits."""
    return parts[0] if len(parts) == 1 else f"{{{', '.join(reversed(parts))}}}"
