"""Scripts for Vivado and Vitis HLS, and a check of them that needs neither.

The scripts are the fixed files of ``hls/tcl``; what depends on the design is in ``settings.tcl``
and ``clock.xdc``. They have not been run with the vendor's tools; `check_tcl` runs them against
stand-ins that know the commands, their options and the order of calls.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hls.dataflow import Dataflow
from hls.emit.rtl import axis_prefixes, identifiers
from sira.schema.report import Backend

TclTool = Literal["tclsh", "tkinter"]

_TCL = Path(__file__).parents[1] / "tcl"


def scripts(backend: Backend) -> tuple[str, ...]:
    """The scripts that build what a back end has written."""
    rtl = ("synth_ooc.tcl", "package_ip.tcl")
    match backend:
        case "verilog":
            return rtl
        case "hls":
            return ("vitis_hls.tcl",)
        case "both":
            return (*rtl, "vitis_hls.tcl")


def _period_ns(clock_mhz: float) -> str:
    """The clock period, rounded down to a picosecond so that the constraint is not looser."""
    return f"{math.floor(1e6 / clock_mhz) / 1000:.3f}"


def emit_vivado(
    dataflow: Dataflow, directory: Path, part: str, clock_mhz: float, backend: Backend = "both"
) -> list[Path]:
    """Write scripts that build ``../rtl`` and ``../hls``; returns the files written.

    ``part`` is a word of letters, digits and dashes, as the scripts quote nothing.
    """
    period = _period_ns(clock_mhz)
    inputs, outputs = (names.values() for names in axis_prefixes(dataflow))
    ip_name = identifiers([dataflow.name])[dataflow.name]
    texts = {name: (_TCL / name).read_text() for name in ("README.md", *scripts(backend))}
    texts["settings.tcl"] = (
        "# What the scripts of this folder need to know about the design.\n"
        f"set ip_name {ip_name}\n"
        f"set part {part}\n"
        f"# {clock_mhz:g} MHz\n"
        f"set clock_period_ns {period}\n"
        f"set input_streams {{{' '.join(inputs)}}}\n"
        f"set output_streams {{{' '.join(outputs)}}}\n"
    )
    texts["clock.xdc"] = f"create_clock -period {period} -name ap_clk [get_ports ap_clk]\n"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
    return [directory / name for name in texts]


@dataclass(frozen=True)
class TclCheck:
    """Outcome of a check: ``calls`` are the vendor's commands in order, each a Tcl list.

    ``ran`` is False where no Tcl interpreter was found; that is not a pass.
    """

    ran: bool
    calls: tuple[str, ...] = ()
    tool: TclTool | None = None
    error: str = ""

    @property
    def passed(self) -> bool:
        return self.ran and not self.error


def _with_tclsh(script: Path) -> str | None:
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        return None
    command = [tclsh, str(_TCL / "stand_ins.tcl"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout  # Else it is not a working Tcl.


def _with_tkinter(script: Path) -> str | None:
    try:
        import tkinter  # Missing in some builds of Python.
    except ImportError:
        return None
    try:
        interpreter = tkinter.Tcl()
    except (RuntimeError, tkinter.TclError):  # Tcl's own library may be missing or another version.
        return None
    interpreter.call("source", str(_TCL / "stand_ins.tcl"))
    return str(interpreter.call("report_script", str(script)))


def check_tcl(script: Path, tools: Sequence[TclTool] = ("tclsh", "tkinter")) -> TclCheck:
    """Run a script against stand-ins of the vendor's commands, with the first tool there is.

    Nothing is written: the script runs in a safe interpreter that can source and find files only.
    The files that it reads must exist, so the design must have been written before.
    """
    runners = {"tclsh": _with_tclsh, "tkinter": _with_tkinter}
    for tool in tools:
        output = runners[tool](script)
        if output is not None:
            error, *calls = output.rstrip("\n").split("\n")
            return TclCheck(ran=True, calls=tuple(calls), tool=tool, error=error)
    return TclCheck(ran=False)
