"""Verifying a build folder again, as it lies there: for CI."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hls.dataflow import Dataflow
from hls.emit.cpp import emit_hls
from hls.emit.rtl import emit_rtl
from hls.verify.hardware import Verification, verify
from sira import graph as g
from sira.datatypes import InputSpec, parse_input
from sira.driver.front import Progress, build_dataflow, subject, transform
from sira.driver.options import Backend, Options
from sira.errors import SiraError
from sira.load import read
from sira.verification.check import Check
from sira.verification.samples import read as read_samples

_RECORDED = {"acc_bits", "inputs", "folding", "target_cycles", "backend"}
"""The options that say how the design is rebuilt."""


def reverify(
    directory: Path,
    *,
    seed: int = 0,
    junit: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Simulate the files in ``directory`` on its recorded samples and compare with golden.

    The design is rebuilt in memory from the loaded model and the recorded options; only the files
    in ``rtl`` and ``hls`` are simulated. Their constants are also compared with the model's, one by
    one, because samples touch few of the thresholds. ``junit`` names a JUnit XML file to write.
    """
    report = _report(directory)
    recorded = report["options"]
    if junit is not None and not junit.resolve().parent.is_dir():
        raise SiraError("no such folder", where=f"--junit {junit}", remedy="create it first")
    inputs = {name: _spec(spec) for name, spec in recorded["inputs"].items()}
    options = Options(
        acc_bits=recorded["acc_bits"],
        inputs=inputs,
        folding=recorded["folding"],
        target_cycles=recorded["target_cycles"],
        backend=recorded["backend"],
    )
    samples = directory / "verification.npz"
    if not samples.is_file():
        raise SiraError(
            "no samples to verify with",
            where=str(samples),
            expected="a folder compiled with --verify N, N > 0",
            remedy="compile the model again",
        )
    front = transform(read(directory / "stages" / "01_loaded.onnx"), inputs, report["model"])
    lowered = build_dataflow(front, options)
    lowered = replace(lowered, dataflow=_with_depths(lowered.dataflow, report["fifos"]))
    shape = g.shape(front.loaded.graph.inputs[0])
    try:
        result = verify(
            subject(front, lowered),
            read_samples(samples, shape, None),
            rtl=directory / "rtl" if options.backend != "hls" else None,
            hls=directory / "hls" if options.backend != "verilog" else None,
            progress=progress or (lambda what: None),
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
    result = replace(result, checks=(*constants, *result.checks))
    if junit is not None:
        junit.write_text(junit_xml(report["model"], result))
    return result


def _with_depths(dataflow: Dataflow, fifos: list[dict[str, Any]]) -> Dataflow:
    """The dataflow with the depths of the FIFOs that the report lists."""
    depths = {(entry["source"], entry["target"]): entry["depth"] for entry in fifos}
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
    checks = []
    with tempfile.TemporaryDirectory() as folder:
        if backend != "hls":
            emit_rtl(dataflow, Path(folder) / "rtl")
            checks.append(_same_words(directory, Path(folder), "rtl/*.mem"))
        if backend != "verilog":
            emit_hls(dataflow, Path(folder) / "hls")
            checks.append(_same_words(directory, Path(folder), "hls/*_params.hpp"))
    return checks


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


def _report(directory: Path) -> dict[str, Any]:
    path = directory / "report.json"
    try:
        contents: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SiraError(
            "not a build folder",
            where=str(directory),
            expected="the report.json of sira-compile",
            found=str(error),
            remedy="run sira-compile first",
        ) from error
    complete = isinstance(contents, dict) and {"model", "options", "fifos"} <= contents.keys()
    if not complete or not contents["options"].keys() >= _RECORDED:
        raise SiraError(
            "not a report of sira-compile",
            where=str(path),
            expected="model, options, fifos",
            remedy="compile the model again",
        )
    return contents


def _spec(recorded: dict[str, Any]) -> InputSpec:
    _, spec = parse_input(recorded["datatype"], [])
    return InputSpec(
        spec.datatype,
        tuple(Fraction(v) for v in recorded["scale"]),
        tuple(Fraction(v) for v in recorded["bias"]),
    )


def junit_xml(name: str, verification: Verification) -> str:
    """One test case a check."""
    failures = sum(1 for check in verification.checks if check.mismatches)
    suite = ElementTree.Element(
        "testsuite",
        name=f"sira-verify {name}",
        tests=str(len(verification.checks)),
        failures=str(failures),
        errors="0",
        time=f"{sum(verification.seconds.values()):.3f}",
    )
    for check in verification.checks:
        case = ElementTree.SubElement(suite, "testcase", classname=f"sira.{name}", name=check.name)
        if check.mismatches:
            text = f"{check.mismatches} of {check.compared} differ"
            failure = ElementTree.SubElement(case, "failure", message=text)
            failure.text = check.detail
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
