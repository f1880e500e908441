"""How to compile: the options of the command line and of the Python API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from hls.dataflow import Dataflow
from hls.fold import Factors
from sira.datatypes import InputSpec, parse_specs
from sira.errors import SiraError

Synthesis = Literal["none", "yosys"]
Backend = Literal["verilog", "hls", "both"]
AccBits = Literal["auto", "datatype"] | int


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
    folding: Factors | None = None
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
            ("--clock-mhz", self.clock_mhz, 1),
        ):
            if value < low:
                raise SiraError("out of range", where=name, expected=f">= {low}", found=str(value))


def recorded(options: Options, dataflow: Dataflow) -> dict[str, Any]:
    """For the report: all options, with the folding that was chosen for each layer."""
    return {
        "acc_bits": options.acc_bits,
        "inputs": {
            name: {
                "datatype": spec.datatype.name,
                "scale": [str(v) for v in spec.scale],
                "bias": [str(v) for v in spec.bias],
            }
            for name, spec in options.specs.items()
        },
        "folding": {
            layer.name: {name: getattr(layer, name) for name in layer.dimensions}
            for layer in dataflow.layers
            if layer.dimensions
        },
        "target_cycles": options.target_cycles,
        "verify": options.verify,
        "verify_data": options.verify_data and str(options.verify_data),
        "synth": options.synth,
        "backend": options.backend,
        "part": options.part,
        "clock_mhz": options.clock_mhz,
    }


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SiraError("not a choice", where=name, expected=" | ".join(choices), found=repr(value))
