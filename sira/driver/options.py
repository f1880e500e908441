"""How to compile: the options of the command line and of the Python API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import msgspec

from sira.datatypes import InputSpec, parse_specs
from sira.errors import SiraError
from sira.schema.report import AccBits, Backend, Synthesis

Folding = Mapping[str, Mapping[str, int]]
"""Lanes by layer and folding factor."""

_HIGHEST_CLOCK_MHZ = 10_000


@dataclass(frozen=True)
class Options:
    """How to compile; the command line's options under the same names.

    ``acc_bits``: "auto" is the narrowest lossless accumulator, "datatype" the conventional bound, a
    number that many bits for every accumulator. ``inputs`` declares graph inputs, as
    on the command line ("UINT8,scale=1/255") or as `InputSpec`. ``verify`` is the
    number of co-simulated samples, None for 8 or all of ``verify_data``, 0 for none.
    ``clock_mhz`` is the target clock of the Vivado scripts, in MHz.
    """

    output: Path = Path("build")
    acc_bits: AccBits = "auto"
    inputs: Mapping[str, InputSpec | str] = field(default_factory=dict)
    folding: Folding | None = None
    target_cycles: int | None = None
    verify: int | None = None
    verify_data: Path | None = None
    synth: Synthesis = "none"
    backend: Backend = "verilog"
    part: str = "xc7z020clg400-1"
    clock_mhz: float = 100.0

    @property
    def specs(self) -> dict[str, InputSpec]:
        """The declared inputs, parsed."""
        return parse_specs(self.inputs)

    def __post_init__(self) -> None:
        _choice("--synth", self.synth, get_args(Synthesis))
        _choice("--backend", self.backend, get_args(Backend))
        if self.acc_bits not in ("auto", "datatype") and not (
            isinstance(self.acc_bits, int) and 1 <= self.acc_bits <= 62
        ):
            raise SiraError(
                "not a width",
                where="--acc-bits",
                expected="auto, datatype or 1..62",
                found=repr(self.acc_bits),
            )
        for name, value, low in (
            ("--target-cycles", 1 if self.target_cycles is None else self.target_cycles, 1),
            ("--verify", self.verify or 0, 0),
        ):
            if value < low:
                raise SiraError("out of range", where=name, expected=f">= {low}", found=str(value))
        if not 1 <= self.clock_mhz <= _HIGHEST_CLOCK_MHZ:
            raise SiraError(
                "not a clock frequency",
                where="--clock-mhz",
                expected=f"a number of MHz in 1 .. {_HIGHEST_CLOCK_MHZ}",
                found=f"{self.clock_mhz:g}",
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", self.part):
            raise SiraError(
                "not a part number",
                where="--part",
                expected="one like xc7z020clg400-1",
                found=self.part,
            )


def read_folding(path: Path) -> Folding:
    """A folding file: ``{"layer": {"pe": 4, "simd": 16}, ...}``."""
    where = f"folding {path}"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, int]])
    except msgspec.ValidationError as error:
        raise SiraError(
            "not a folding file",
            where=where,
            expected='{"layer name": {"pe": 4, "simd": 16}, ...}',
            found=str(error),
        ) from error
    except (OSError, ValueError) as error:
        raise SiraError("cannot be read as JSON", where=where, found=str(error)) from error


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SiraError("not a choice", where=name, expected=" | ".join(choices), found=repr(value))
