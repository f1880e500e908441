"""The command lines: sira-compile and sira-verify.

Exit status: 0 done and verified, 1 a difference was found, 2 bad input, 3 a fault of sira's own.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from sira.errors import SiraError

if TYPE_CHECKING:
    from sira.verification.check import Check

_ERRORS = Console(stderr=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``sira-compile``."""
    arguments = _compile_parser().parse_args(argv)
    run = _analyze if arguments.analyze_only else _compile
    return _guarded(lambda: run(arguments), arguments.debug)


def verify_main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``sira-verify``."""
    arguments = _verify_parser().parse_args(argv)
    return _guarded(lambda: _verify(arguments), arguments.debug)


def _guarded(run: Callable[[], int], debug: bool) -> int:
    """Run a command; tell what the user did wrong in one line."""
    try:
        return run()
    except SiraError as error:
        if debug:
            raise
        _ERRORS.print(f"[bold red]error:[/] {_plain(str(error))}", soft_wrap=True, highlight=False)
        return 2
    except KeyboardInterrupt:
        _ERRORS.print("interrupted")
        return 130
    except Exception as error:  # never status 1, which means that the hardware is wrong
        if debug:
            raise
        text = f"{type(error).__name__}: {error}; --debug shows where, please report it"
        _ERRORS.print(
            f"[bold red]internal error:[/] {_plain(text)}", soft_wrap=True, highlight=False
        )
        return 3


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("[", r"\[")


class _Parser(argparse.ArgumentParser):
    """Argument errors in the form of all others."""

    def error(self, message: str) -> None:  # type: ignore[override]
        _ERRORS.print(
            f"[bold red]error:[/] command line: {_plain(message)}; see {self.prog} --help",
            soft_wrap=True,
            highlight=False,
        )
        raise SystemExit(2)


def _compile_parser() -> argparse.ArgumentParser:
    p = _Parser(
        prog="sira-compile",
        description="Compile a quantized neural network (QONNX, QCDQ) to FPGA dataflow hardware.",
    )
    p.add_argument("model", metavar="MODEL", help="the .onnx file")
    p.add_argument(
        "-o",
        dest="output",
        metavar="DIR",
        type=Path,
        default=Path("build"),
        help="build folder (default: build)",
    )
    p.add_argument(
        "--acc-bits",
        default="auto",
        metavar="auto|datatype|N",
        help="accumulator width: narrowest lossless, conventional bound, or N bits",
    )
    p.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]DTYPE[,scale=S][,bias=B]",
        help="what the host sends, e.g. UINT8,scale=1/255; real = scale * q + bias",
    )
    p.add_argument(
        "--folding", type=Path, metavar="FILE.json", help='{"layer": {"pe": 4, "simd": 16}, ...}'
    )
    p.add_argument(
        "--target-cycles",
        type=int,
        metavar="N",
        help="cycles a frame for layers that --folding does not name (default: 1024, or more for a "
        "network of many products)",
    )
    p.add_argument(
        "--verify",
        type=int,
        metavar="N",
        help="samples to verify with (default: all of --verify-data, else 8; with --analyze-only "
        "2, or 1 for a large network); 0 skips",
    )
    p.add_argument("--verify-data", type=Path, metavar="FILE.npz", help="samples x, labels y")
    p.add_argument(
        "--synth", default="none", metavar="none|yosys", help="synthesise for real counts"
    )
    p.add_argument(
        "--analyze-only",
        action="store_true",
        help="no hardware: derive ranges, as a table and in report.json, write the integer "
        "stages with their certificate, and verify them against the model",
    )
    p.add_argument(
        "--backend",
        default="verilog",
        metavar="verilog|hls|both",
        help="what to write and verify (default: %(default)s)",
    )
    p.add_argument("--part", default="xc7z020clg400-1", help="FPGA part (default: %(default)s)")
    p.add_argument(
        "--clock-mhz",
        type=float,
        default=100.0,
        metavar="MHZ",
        help="clock of the Vivado scripts (default: %(default)g)",
    )
    p.add_argument("--debug", action="store_true", help="show tracebacks")
    return p


def _verify_parser() -> argparse.ArgumentParser:
    p = _Parser(prog="sira-verify", description="Co-simulate a build folder again, for CI.")
    p.add_argument("directory", metavar="DIR", type=Path, help="a folder made by sira-compile")
    p.add_argument("--junit", type=Path, metavar="FILE.xml", help="write a JUnit report")
    p.add_argument("--seed", type=int, default=0, help="seed of stalls and start-up values")
    p.add_argument("--debug", action="store_true", help="show tracebacks")
    return p


def _analyze(arguments: argparse.Namespace) -> int:
    from sira.driver.analyze import analyze_only, show

    with _ERRORS.status("starting") as status:
        outcome = analyze_only(
            arguments, lambda what: status.update(f"{Path(arguments.model).name}: {what}")
        )
    show(outcome)
    return 0 if outcome.passed else 1


def _compile(arguments: argparse.Namespace) -> int:
    from hls.fold import read_folding
    from sira.datatypes import parse_inputs
    from sira.driver.compile import compile
    from sira.driver.options import Options
    from sira.load import input_names, read

    proto = read(arguments.model)
    text = arguments.acc_bits
    options = Options(
        output=arguments.output,
        acc_bits=int(text) if re.fullmatch(r"-?[0-9]+", text) else text,
        inputs=parse_inputs(arguments.input, input_names(proto)),
        folding=read_folding(arguments.folding) if arguments.folding else None,
        target_cycles=arguments.target_cycles,
        verify=arguments.verify,
        verify_data=arguments.verify_data,
        synth=arguments.synth,
        backend=arguments.backend,
        part=arguments.part,
        clock_mhz=arguments.clock_mhz,
    )
    with _ERRORS.status("starting") as status:
        result = compile(
            arguments.model,
            options,
            lambda what: status.update(f"{Path(arguments.model).name}: {what}"),
        )
    console = _console()
    _show(result.report, console)
    console.print(f"report: {result.directory / 'report.md'}", soft_wrap=True, highlight=False)
    return 0 if result.passed else 1


def _verify(arguments: argparse.Namespace) -> int:
    from sira.driver.reverify import reverify

    with _ERRORS.status("starting") as status:
        verification = reverify(
            arguments.directory,
            seed=arguments.seed,
            junit=arguments.junit,
            progress=lambda what: status.update(f"verify: {what}"),
        )
    console = _console()
    _checks(verification.checks, console)
    verdict = "[green]verified[/]" if verification.passed else "[bold red]DIFFERENT[/]"
    console.print(f"{verdict}: {verification.samples} samples")
    return 0 if verification.passed else 1


def _console() -> Console:
    """Standard output; as wide as the tables need where it is a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def _table(*columns: str, left: Sequence[str]) -> Table:
    """A light table whose columns are right-aligned unless they are listed in ``left``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in left else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=justify == "right")
    return table


def _show(report: dict, console: Console) -> None:  # type: ignore[type-arg]
    """The report's essence in a terminal."""
    synthesised = report["options"]["synth"] != "none"
    table = _table(
        *("layer", "K x N", "PE", "SIMD", "cycles", "accumulator", "bits", "usual", "LUT\nest."),
        *(["LUT\nyosys"] if synthesised else []),
        left=["layer"],
    )
    for entry in report["layers"]:
        a, folding, resources = entry["accumulator"], entry["folding"], entry["resources"]
        row = [
            entry["name"],
            f"{entry['k']} x {entry['n']}" if entry["k"] else entry["n"],
            folding.get("pe") or folding.get("lanes"),
            folding.get("simd"),
            entry["cycles"],
            f"{a['lo']}..{a['hi']}" if a else None,
            a["bits"] if a else None,
            a["bits_weights_datatype"] if a else None,
            resources["estimate"]["lut"],
        ]
        if synthesised:
            row.append(resources["synthesis"]["lut"])
        table.add_row(*("" if cell is None else _plain(str(cell)) for cell in row))
    console.print(table)
    console.print(_totals(report), highlight=False)
    verification = report["verification"]
    if verification is None:
        console.print("[yellow]not verified[/] (--verify 0)")
        return
    good = verification["mismatches"] == 0 and verification["oracle_mismatches"] == 0
    colour = "green" if good else "red"
    console.print(
        f"[{colour}]{'verified' if good else 'DIFFERENT'}[/]: {verification['samples']} samples, "
        f"{verification['mismatches']} mismatches, {verification['oracle_mismatches']} oracle "
        f"mismatches, {verification['thresholds_checked']} thresholds checked, "
        f"{verification['float32_ties']} float32 ties"
    )
    if verification["cycles_per_sample"] is not None:
        console.print(
            f"{verification['cycles_per_sample']:g} cycles a sample, "
            f"{verification['cycles_first']} to the first output, "
            f"simulated at {verification['samples_per_second']:.3g} samples a second"
        )
    if verification["accuracy"] is not None:
        console.print(
            f"accuracy {100 * verification['accuracy']:.2f} %, original "
            f"{100 * verification['accuracy_original']:.2f} %"
        )
    for check in verification["checks"]:
        if check["mismatches"]:
            what = f"{check['mismatches']} of {check['compared']} differ; {check['detail']}"
            console.print(f"[red]{_plain(check['name'])}[/]: {_plain(what)}")


def _totals(report: dict) -> str:  # type: ignore[type-arg]
    """Accumulator bits and LUTs of the whole design."""
    t = report["totals"]
    resources = t["resources"]
    whole, parts = resources["synthesis_whole_design"], resources["synthesis_sum"]
    found, how = (whole, "in one piece") if whole else (parts, "sum of layers and FIFOs")
    lut = (
        f"{found['lut']} LUT, {found['ff']} FF, {found['dsp']} DSP, {found['bram18']} BRAM18 "
        f"(yosys, {how})"
        if found
        else f"about {resources['estimate']['lut']} LUT (estimate)"
    )
    return (
        f"accumulators: {t['accumulator_bits']} bits over all channels, "
        f"{t['accumulator_bits_weights_datatype']} as usual (exact weights x datatype)\n"
        f"design: {lut}"
    )


def _checks(checks: Sequence[Check], console: Console) -> None:
    table = _table(
        "check", "compared", "mismatches", "first difference", left=("check", "first difference")
    )
    for check in checks:
        colour = "red" if check.mismatches else "green"
        table.add_row(
            _plain(check.name),
            str(check.compared),
            f"[{colour}]{check.mismatches}[/]",
            _plain(check.detail),
        )
    console.print(table)
