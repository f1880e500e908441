"""Verifying a build folder again, as it lies there: for CI."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from junitparser import Failure, TestCase, TestSuite

from hls.dataflow import Dataflow
from hls.verify.hardware import Verification, verify
from sira import graph as g
from sira.datatypes import InputSpec, parse_datatype
from sira.driver.build_folder import SAMPLES, read_build
from sira.driver.hardware import build_dataflow, emit_design
from sira.driver.options import Options
from sira.errors import SiraError
from sira.model_file import read
from sira.progress import Progress, Stopwatch
from sira.schema.report import Backend, Fifo, RecordedInput, Report
from sira.verification.check import Check
from sira.verification.model import Model
from sira.verification.samples import read as read_samples
from transforms.stages import transform


def reverify(
    directory: Path,
    report: Report | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Simulate the files in ``directory`` on its recorded samples and compare with golden.

    The design is rebuilt in memory from the loaded model and the options in the ``report``
    (default: that of the folder); only the files in ``rtl`` and ``hls`` are simulated. Their
    constants are also compared with the model's, one by one, because samples touch few of the
    thresholds.
    """
    report = read_build(directory) if report is None else report
    options = _options(report)
    loaded = read(directory / "stages" / "01_loaded.onnx")
    stages = transform(loaded, options.specs, report.model)
    lowered = build_dataflow(stages, options)
    lowered = replace(lowered, dataflow=_with_depths(lowered.dataflow, report.fifos))
    shape = g.shape(stages.loaded.input)
    try:
        result = verify(
            Model(stages.proto, stages.loaded, stages.canonical, stages.integer),
            lowered,
            read_samples(directory / SAMPLES, shape, None),
            rtl=directory / "rtl" if options.backend != "hls" else None,
            hls=directory / "hls" if options.backend != "verilog" else None,
            watch=Stopwatch(progress),
            seed=seed,
        )
    except RuntimeError as error:  # Verilator or g++ refuses the files
        raise SiraError(
            "the design cannot be simulated",
            where=str(directory),
            expected="the files that sira-compile wrote",
            found=str(error),
            remedy="compile the model again",
        ) from error
    constants = check_constants(directory, lowered.dataflow, options.backend)
    hardware = replace(result.hardware, checks=(*constants, *result.hardware.checks))
    return replace(result, hardware=hardware)


def _options(report: Report) -> Options:
    """The options that say how the design is built."""
    recorded = report.options
    return Options(
        acc_bits=recorded.acc_bits,
        inputs=_inputs(recorded.inputs),
        folding=recorded.folding,
        target_cycles=recorded.target_cycles,
        backend=recorded.backend,
        part=recorded.part,
    )


def _inputs(recorded: Mapping[str, RecordedInput]) -> dict[str, InputSpec]:
    try:
        return {
            name: InputSpec(
                parse_datatype(spec.datatype, f"report.json: input {name}"),
                tuple(Fraction(v) for v in spec.scale),
                tuple(Fraction(v) for v in spec.bias),
            )
            for name, spec in recorded.items()
        }
    except (ValueError, ZeroDivisionError) as error:
        raise SiraError(
            "a scale or bias is not a number",
            where="report.json",
            expected="fractions",
            found=str(error),
            remedy="compile the model again",
        ) from error


def _with_depths(dataflow: Dataflow, fifos: Sequence[Fifo]) -> Dataflow:
    """The dataflow with the depths of the FIFOs that the report lists."""
    depths = {(fifo.source, fifo.target): fifo.depth for fifo in fifos}
    ends = [(str(edge.source), str(edge.target)) for edge in dataflow.edges]
    if set(ends) != set(depths):
        raise SiraError(
            "the FIFOs are not those of this model",
            where="report.json",
            expected=f"{len(ends)} edges",
            found=f"{len(depths)}, others among them",
            remedy="compile the model again",
        )
    edges = (replace(e, depth=depths[end]) for e, end in zip(dataflow.edges, ends, strict=True))
    return replace(dataflow, edges=tuple(edges))


def check_constants(directory: Path, dataflow: Dataflow, backend: Backend) -> list[Check]:
    """Every weight, start value and threshold in the files against what the model says."""
    with tempfile.TemporaryDirectory() as folder:
        emit_design(dataflow, backend, Path(folder))
        patterns = ["rtl/*.mem"] if backend != "hls" else []
        patterns += ["hls/*_params.hpp"] if backend != "verilog" else []
        return [_same_words(directory, Path(folder), pattern) for pattern in patterns]


def _same_words(found: Path, wanted: Path, pattern: str) -> Check:
    """Compare files word by word; the detail tells the first difference."""
    compared = mismatches = 0
    detail = ""
    for path in sorted(wanted.glob(pattern)):
        name = path.relative_to(wanted)
        other = found / name
        text = other.read_text(errors="replace") if other.is_file() else ""
        pairs = list(zip_longest(text.split(), path.read_text().split(), fillvalue="nothing"))
        wrong = [(i, a, b) for i, (a, b) in enumerate(pairs) if a != b]
        compared += len(pairs)
        mismatches += len(wrong)
        if wrong and not detail:
            detail = f"first in {name}, word {wrong[0][0]}: {wrong[0][1]} for {wrong[0][2]}"
    return Check(f"constants in {pattern}", compared, mismatches, detail=detail)


def write_junit(path: Path, name: str, verification: Verification) -> None:
    """Write a JUnit XML file: a suite for the model ``name``, with one test case a check."""
    suite = TestSuite(f"sira-verify {name}")
    for check in verification.checks:
        case = TestCase(check.name, f"sira.{name}")
        if check.mismatches:
            failure = Failure(f"{check.mismatches} of {check.compared} differ")
            failure.text = check.detail
            case.result = [failure]
        suite.add_testcase(case)
    suite.time = round(sum(verification.seconds.values()), 3)
    try:
        suite.write(str(path), pretty=True)
    except OSError as error:
        raise SiraError("cannot be written", where=str(path), found=str(error)) from error
