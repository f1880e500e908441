"""The command lines: sira-compile and sira-verify.

Exit status: 0 done and verified, 1 a difference was found, 2 bad input, 3 a fault of sira's own.

The compiler takes a second to import. What can be said without it, about the command line and the
model file, is said before.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from sira.errors import SiraError
from sira.model_file import check_readable, input_names, read

if TYPE_CHECKING:
    import onnx

    from sira.driver.options import Options

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
    """Options by their whole names; argument errors in the form of all others."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def add_common(self) -> None:
        """Add the options of both commands."""
        self.add_argument("--debug", action="store_true", help="show tracebacks")
        self.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")

    def error(self, message: str) -> NoReturn:
        _ERRORS.print(
            f"[bold red]error:[/] command line: {_plain(message)}; see {self.prog} --help",
            soft_wrap=True,
            highlight=False,
        )
        raise SystemExit(2)


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from sira.version import version

        print(f"{parser.prog} {version()}")
        parser.exit()


def _compile_parser() -> _Parser:
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
    _add_checks_and_tools(p)
    p.add_common()
    return p


def _add_checks_and_tools(p: argparse.ArgumentParser) -> None:
    """The options of sira-compile that say what to check, and for which tools to write."""
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


def _verify_parser() -> _Parser:
    p = _Parser(prog="sira-verify", description="Co-simulate a build folder again, for CI.")
    p.add_argument("directory", metavar="DIR", type=Path, help="a folder made by sira-compile")
    p.add_argument("--junit", type=Path, metavar="FILE.xml", help="write a JUnit report")
    p.add_argument("--seed", type=int, default=0, help="seed of stalls and start-up values")
    p.add_common()
    return p


def _request(arguments: argparse.Namespace) -> tuple[onnx.ModelProto, Options]:
    """The model and the options of a command line, checked as far as possible without compiler."""
    check_readable(arguments.model)
    from sira.datatypes import parse_inputs
    from sira.driver.build_folder import check_place
    from sira.driver.options import Options, read_folding

    text, data = arguments.acc_bits, arguments.verify_data
    options = Options(
        output=arguments.output,
        acc_bits=int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else text,
        folding=read_folding(arguments.folding) if arguments.folding else None,
        target_cycles=arguments.target_cycles,
        verify=arguments.verify,
        verify_data=data,
        synth=arguments.synth,
        backend=arguments.backend,
        part=arguments.part,
        clock_mhz=arguments.clock_mhz,
    )
    if data is not None and not data.is_file():
        raise SiraError("no such file", where=f"samples {data}", remedy="check its path")
    check_place(options.output)
    proto = read(arguments.model)
    return proto, replace(options, inputs=parse_inputs(arguments.input, input_names(proto)))


@contextmanager
def _status(about: str) -> Iterator[Callable[[str], None]]:
    """A line in the terminal that says what is going on; yields what sets it."""
    with _ERRORS.status("starting") as status:
        yield lambda what: status.update(f"{about}: {what}")


def _analyze(arguments: argparse.Namespace) -> int:
    proto, options = _request(arguments)
    from sira.driver.analyze import analyze_only
    from sira.driver.show import show_analysis

    name = Path(arguments.model).name
    with _status(name) as progress:
        outcome = analyze_only(proto, name, options, progress)
    show_analysis(outcome.report, outcome.directory, outcome.stages)
    return 0 if outcome.passed else 1


def _compile(arguments: argparse.Namespace) -> int:
    proto, options = _request(arguments)
    from sira.driver.compile import compile
    from sira.driver.show import show_compilation

    name = Path(arguments.model).name
    with _status(name) as progress:
        result = compile(proto, options, progress, name)
    show_compilation(result.record, result.directory)
    return 0 if result.passed else 1


def _verify(arguments: argparse.Namespace) -> int:
    from sira.driver.build_folder import check_file_place, read_build

    directory, junit = arguments.directory, arguments.junit
    report = read_build(directory)
    if junit is not None:
        check_file_place(junit, "--junit")
    from hls.report.data import verification_report
    from sira.driver.reverify import reverify, write_junit
    from sira.driver.show import show_verification

    with _status("verify") as progress:
        verification = reverify(directory, report, seed=arguments.seed, progress=progress)
    if junit is not None:
        write_junit(junit, report.model, verification)
    show_verification(verification_report(verification))
    return 0 if verification.passed else 1
