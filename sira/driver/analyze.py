"""``sira-compile --analyze-only``: ranges in a table and in report.json, without hardware.

Where the whole model can be written with integers, its stages and the certificate come too, and
samples and thresholds tie them to the original (`sira.driver.check`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.summary import mac_entries, tensor_entries
from sira.datatypes import parse_inputs
from sira.driver.build_folder import build_folder, write_json
from sira.driver.check import Equality, check_equality, elements, equality_report
from sira.driver.front import Front, Stopwatch, load_and_analyze, to_integers, write_stages
from sira.errors import SiraError
from sira.load import input_names, read
from sira.verification import samples

_DEFAULT_SAMPLES = 2
_WIDE = 1000
"""Columns of a file or pipe: nothing is folded there."""

_LARGE = 2**22
"""A network of more elements than this, in all of its tensors, is checked with one sample."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was written, what became of the stages, and the check or why there is none."""

    directory: Path
    report: dict[str, Any]
    stages: str
    equality: Equality | None
    unchecked: str

    @property
    def passed(self) -> bool:
        """No difference was found (or nothing was checked)."""
        return self.equality is None or self.equality.passed


def analyze_only(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Outcome:
    """Analyze the model; write report.json with ``layers`` and ``tensors``, and the stages."""
    watch = Stopwatch(progress)
    proto = read(arguments.model)
    name = Path(arguments.model).name
    inputs = parse_inputs(arguments.input, input_names(proto))
    with build_folder(arguments.output) as work:
        loaded, ranges = load_and_analyze(proto, inputs, name, watch)
        spec = inputs.get(g.name(loaded.graph.inputs[0]))
        report: dict[str, Any] = {
            "model": name,
            "layers": mac_entries(loaded, ranges, spec),
            "tensors": tensor_entries(loaded, ranges),
        }
        front = None
        stages = f"stages and certificate: {arguments.output}"
        try:
            front = to_integers(proto, inputs, loaded, ranges, watch)
            with watch.stage("certificate"):
                write_stages(front, work)
            report["totals"] = {"constant_channels": front.constant_channels}
        except SiraError as error:
            front, stages = None, f"no integer stages: {error}"
        equality, unchecked = _equality(arguments, proto, loaded, ranges, front, watch)
        report |= {
            "verification": equality_report(equality),
            "not_verified": unchecked or None,
            "seconds": watch.seconds,
        }
        write_json(work / "report.json", report)
    return Outcome(arguments.output, report, stages, equality, unchecked)


def show(outcome: Outcome) -> None:
    """Print the tables and the outcome of the check."""
    console = Console()
    if not console.is_terminal:  # a file or a pipe has room for long names
        console = Console(width=_WIDE, soft_wrap=True)
    console.print(_tensors(outcome.report["tensors"]))
    console.print(_layers(outcome.report["layers"]))
    console.print(outcome.stages, soft_wrap=True, highlight=False, markup=False)
    for line in _verdict(outcome.equality, outcome.unchecked):
        console.print(line, soft_wrap=True, highlight=False)
    path = outcome.directory / "report.json"
    console.print(f"report: {path}", soft_wrap=True, highlight=False, markup=False)


def _equality(
    arguments: argparse.Namespace,
    proto: onnx.ModelProto,
    loaded: ir.Model,
    ranges: Ranges,
    front: Front | None,
    watch: Stopwatch,
) -> tuple[Equality | None, str]:
    """The check that was asked for, or why there is none.

    A model that cannot be executed is an error only where the user asked for the check.
    """
    count, data = arguments.verify, arguments.verify_data
    if count is not None and count < 0:
        raise SiraError("out of range", where="--verify", expected=">= 0", found=str(count))
    if count == 0:
        return None, "--verify 0"
    try:
        if data is not None:
            chosen = samples.read(data, g.shape(loaded.graph.inputs[0]), count)
        else:
            few = 1 if elements(loaded) > _LARGE else _DEFAULT_SAMPLES
            chosen = samples.draw(loaded, ranges, count or few)
        return check_equality(proto, loaded, ranges, front, chosen, watch), ""
    except SiraError as error:
        if count is not None or data is not None:
            raise
        return None, str(error)


def _verdict(equality: Equality | None, unchecked: str) -> list[str]:
    """The outcome of the check, as lines with the console's markup."""
    if equality is None:
        return [f"[yellow]not verified[/] ({escape(unchecked)})"]
    passed = "[green]verified[/]" if equality.passed else "[bold red]DIFFERENT[/]"
    lines = [
        f"{passed} against the original: {equality.samples} samples, {equality.mismatches} "
        f"mismatches, {equality.oracle_mismatches} oracle mismatches, "
        f"{len(equality.float64_ties)} float64 ties, "
        f"{equality.thresholds_checked} thresholds checked"
    ]
    for check in equality.checks:
        if check.mismatches:
            what = f"{check.mismatches} of {check.compared} differ; {check.detail}"
            lines.append(f"[red]{escape(check.name)}[/]: {escape(what)}")
    lines += [f"float64 tie: {escape(tie)}" for tie in equality.float64_ties]
    if (recorded := equality.recorded) is not None:
        lines.append(
            f"recorded outputs: {recorded.equal} of {recorded.samples} samples equal, "
            f"{recorded.different} of {recorded.compared} integers differ"
        )
    return lines


def _tensors(tensors: list[dict[str, Any]]) -> Table:
    table = _table("tensor", "shape", "integers", "bits", "scale", "why not integer")
    for t in tensors:
        integers = f"{t['lo']}..{t['hi']}" if t["integer"] else ""
        bits = "" if t["bits"] is None else str(t["bits"])
        shape = "x".join(map(str, t["shape"]))
        reason = escape(t.get("reason", ""))
        table.add_row(escape(t["name"]), shape, integers, bits, _scale(t["scale"]), reason)
    return table


def _table(*columns: str) -> Table:
    """A light table; where a terminal is too narrow, names and reasons are folded, never cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _scale(scale: float | list[float] | None) -> str:
    if scale is None:
        return ""
    return f"{min(scale):.4g}..{max(scale):.4g}" if isinstance(scale, list) else f"{scale:.6g}"


def _layers(layers: list[dict[str, Any]]) -> Table:
    table = _table(
        "layer", "K x N", "accumulator", "window", "two's complement", "weights x datatype",
        "datatype",
    )  # fmt: skip
    for entry in layers:
        a = entry["accumulator"]
        if a is None:
            table.add_row(escape(entry["name"]), "", "no integers")
            continue
        table.add_row(
            escape(entry["name"]),
            f"{entry['k']} x {entry['n']}",
            f"{a['lo']}..{a['hi']}",
            str(max(a["bits_window"])),
            str(max(a["bits_twos_complement"])),
            str(a["bits_weights_datatype"]),
            str(a["bits_datatype"]),
        )
    return table
