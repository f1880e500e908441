"""What the commands print: the tables of a compilation, an analysis and a verification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import UNSET
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sira.schema.report import (
    AnalysisReport,
    CheckEntry,
    MacEntry,
    ModelVerification,
    Numbers,
    Report,
    TensorEntry,
    VerificationEntry,
)

_COLUMNS = 120
"""Width of the tables with right-aligned columns where they go to a file or pipe."""

_UNFOLDED_COLUMNS = 1000
"""The same of the tables of an analysis: no name is folded there."""


def show_compilation(report: Report, directory: Path) -> None:
    """The essence of a compilation's report."""
    console = _console(_COLUMNS)
    console.print(_hardware_layers(report))
    console.print(_totals(report), highlight=False)
    for line in _cosimulation(report.verification):
        console.print(line)
    console.print(f"report: {directory / 'report.md'}", soft_wrap=True, highlight=False)


def show_analysis(report: AnalysisReport, directory: Path, stages: str) -> None:
    """The tables of an analysis and the outcome of the check.

    ``stages`` tells where the integer stages are, or why there are none.
    """
    console = _console(_UNFOLDED_COLUMNS, soft_wrap=True)
    console.print(_tensors(report.tensors))
    console.print(_layers(report.layers))
    console.print(stages, soft_wrap=True, highlight=False, markup=False)
    for line in _verdict(report.verification, report.not_verified):
        console.print(line, soft_wrap=True, highlight=False)
    path = directory / "report.json"
    console.print(f"report: {path}", soft_wrap=True, highlight=False, markup=False)


def show_verification(v: VerificationEntry) -> None:
    """One row a check, and the verdict."""
    console = _console(_COLUMNS)
    table = _ruled_table(
        "check", "compared", "mismatches", "first difference", left=("check", "first difference")
    )
    for check in v.checks:
        colour = "red" if check.mismatches else "green"
        mismatches = f"[{colour}]{check.mismatches}[/]"
        table.add_row(escape(check.name), str(check.compared), mismatches, escape(check.detail))
    console.print(table)
    verdict = "[green]verified[/]" if v.passed else "[bold red]DIFFERENT[/]"
    console.print(f"{verdict}: {v.samples} samples")


def _console(columns: int, soft_wrap: bool = False) -> Console:
    """Standard output; where it is a file or a pipe, ``columns`` wide or, if need be, wider."""
    console = Console()
    return console if console.is_terminal else Console(width=columns, soft_wrap=soft_wrap)


def _ruled_table(*columns: str, left: Sequence[str]) -> Table:
    """A light table whose columns are right-aligned unless they are listed in ``left``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in left else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=justify == "right")
    return table


def _plain_table(*columns: str) -> Table:
    """A light table; where a terminal is too narrow, names and reasons are folded, never cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _hardware_layers(report: Report) -> Table:
    synthesised = report.options.synth != "none"
    table = _ruled_table(
        *("layer", "K x N", "PE", "SIMD", "cycles", "accumulator", "bits", "usual", "LUT\nest."),
        *(["LUT\nyosys"] if synthesised else []),
        left=["layer"],
    )
    for entry in report.layers:
        a, folding, resources = entry.accumulator, entry.folding, entry.resources
        row = [
            entry.name,
            entry.n if entry.k is None else f"{entry.k} x {entry.n}",
            folding.get("pe") or folding.get("lanes"),
            folding.get("simd"),
            entry.cycles,
            f"{a.lo}..{a.hi}" if a else None,
            a.bits if a else None,
            a.bits_weights_datatype if a else None,
            resources.estimate.lut,
        ]
        if synthesised:
            row.append(resources.synthesis.lut if resources.synthesis else None)
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    return table


def _totals(report: Report) -> str:
    """Accumulator bits and LUTs of the whole design."""
    totals, resources = report.totals, report.totals.resources
    whole, parts = resources.synthesis_whole_design, resources.synthesis_sum
    found, how = (whole, "in one piece") if whole else (parts, "sum of layers and FIFOs")
    lut = (
        f"{found.lut} LUT, {found.ff} FF, {found.dsp} DSP, {found.bram18} BRAM18 (yosys, {how})"
        if found
        else f"about {resources.estimate.lut} LUT (estimate)"
    )
    return (
        f"accumulators: {totals.accumulator_bits} bits over all channels, "
        f"{totals.accumulator_bits_weights_datatype} as usual (exact weights x datatype)\n"
        f"design: {lut}"
    )


def _cosimulation(v: VerificationEntry | None) -> list[str]:
    """The outcome of the co-simulation, as lines with the console's markup."""
    if v is None:
        return ["[yellow]not verified[/] (--verify 0)"]
    lines = [
        f"{'[green]verified[/]' if v.passed else '[red]DIFFERENT[/]'}: {v.samples} samples, "
        f"{v.mismatches} mismatches, {v.oracle_mismatches} oracle mismatches, "
        f"{v.thresholds_checked} thresholds checked, {v.float32_ties} float32 ties"
    ]
    if v.cycles_per_sample is not None:
        lines.append(
            f"{v.cycles_per_sample:g} cycles a sample, {v.cycles_first} to the first output, "
            f"simulated at {v.samples_per_second:.3g} samples a second"
        )
    if v.accuracy is not None and v.accuracy_original is not None:
        original = f"original {100 * v.accuracy_original:.2f} %"
        lines.append(f"accuracy {100 * v.accuracy:.2f} %, {original}")
    return lines + _differences(v.checks)


def _differences(checks: Sequence[CheckEntry]) -> list[str]:
    """One line a check that found any."""
    return [
        f"[red]{escape(c.name)}[/]: {c.mismatches} of {c.compared} differ; {escape(c.detail)}"
        for c in checks
        if c.mismatches
    ]


def _verdict(v: ModelVerification | None, not_verified: str | None) -> list[str]:
    """The outcome of the check of an analysis, as lines with the console's markup."""
    if v is None:
        return [f"[yellow]not verified[/] ({escape(not_verified or '')})"]
    passed = "[green]verified[/]" if v.passed else "[bold red]DIFFERENT[/]"
    lines = [
        f"{passed} against the original: {v.samples} samples, {v.mismatches} mismatches, "
        f"{v.oracle_mismatches} oracle mismatches, {len(v.float64_ties)} float64 ties, "
        f"{v.thresholds_checked} thresholds checked"
    ]
    lines += _differences(v.checks)
    lines += [f"float64 tie: {escape(tie)}" for tie in v.float64_ties]
    if (recorded := v.recorded_outputs) is not None:
        lines.append(
            f"recorded outputs: {recorded.samples_equal} of {v.samples} samples equal, "
            f"{recorded.integers_different} of {recorded.integers_compared} integers differ"
        )
    return lines


def _tensors(tensors: Sequence[TensorEntry]) -> Table:
    table = _plain_table("tensor", "shape", "integers", "bits", "scale", "why not integer")
    for t in tensors:
        integers = f"{t.lo}..{t.hi}" if t.integer else ""
        bits = "" if t.bits is None else str(t.bits)
        shape = "x".join(map(str, t.shape))
        reason = "" if t.reason is UNSET else escape(t.reason)
        table.add_row(escape(t.name), shape, integers, bits, _numbers(t.scale), reason)
    return table


def _numbers(value: Numbers | None) -> str:
    if isinstance(value, list):
        return f"{min(value):.4g}..{max(value):.4g}"
    return "" if value is None else f"{value:.6g}"


def _layers(layers: Sequence[MacEntry]) -> Table:
    table = _plain_table(
        "layer", "K x N", "accumulator", "window", "two's complement", "weights x datatype",
        "datatype",
    )  # fmt: skip
    for entry in layers:
        a = entry.accumulator
        if a is None:
            table.add_row(escape(entry.name), "", "no integers")
            continue
        table.add_row(
            escape(entry.name),
            f"{entry.k} x {entry.n}",
            f"{a.lo}..{a.hi}",
            str(max(a.bits_window)),
            str(max(a.bits_twos_complement)),
            str(a.bits_weights_datatype),
            str(a.bits_datatype),
        )
    return table
