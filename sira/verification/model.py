"""The checks of a model that need no hardware: the same for every command.

Golden (`sira.verification.golden`) is the original graph in exact arithmetic. It is compared with
the original file, which code that is not ours executes in float64 and float32, with the canonical
form, and at every tensor with the integer model; the thresholds of the integer model are compared
with the steps of the original's tails.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Analyzed
from sira.errors import SiraError
from sira.numbers.scaled import Ints, ScaledInt, Value
from sira.progress import Stopwatch
from sira.schema.report import CheckEntry, ModelVerification, RecordedOutputs
from sira.verification import golden
from sira.verification.check import Check, compare, merged, mismatches, oracle_mismatches
from sira.verification.float_execution import (
    check_float32,
    check_float64,
    check_ranges,
    flat,
    integer_tensors,
    nearest,
)
from sira.verification.integer_model import check_integers, check_steps
from sira.verification.oracle import Oracle
from sira.verification.samples import Samples

_ELEMENTS = 2**23
"""Elements of all tensors together that are executed at once."""


@dataclass(frozen=True, eq=False)
class Model:
    """What is checked: the file, its graph, and the graphs that were made of it.

    ``canonical`` and ``integer`` are None where the model cannot be written with integers.
    """

    proto: onnx.ModelProto
    loaded: Analyzed
    canonical: Analyzed | None = None
    integer: Analyzed | None = None


@dataclass(frozen=True)
class Recorded:
    """Samples whose outputs in float32, as recorded by others, are golden's integers."""

    equal: int
    compared: int
    different: int


@dataclass(frozen=True, eq=False)
class ModelCheck:
    """The outcome; all counts are of single integers unless they say samples.

    Where the model has no integer form, float32 is not executed. ``accuracy`` is that of golden's
    outputs, ``accuracy_original`` that of the float32 execution. ``golden`` has the integers
    (samples, *shape) of the canonical tensors that were asked for.
    """

    samples: int
    checks: tuple[Check, ...]
    thresholds_checked: int
    float32_agree: int | None = None
    float32_ties: int | None = None
    accuracy: float | None = None
    accuracy_original: float | None = None
    recorded: Recorded | None = None
    golden: Mapping[str, Ints] = field(default_factory=dict)


def entry(check: ModelCheck, tool: str = "onnx.reference") -> ModelVerification:
    """The outcome for the report."""
    recorded = check.recorded
    return ModelVerification(
        tool=tool,
        samples=check.samples,
        mismatches=mismatches(check.checks),
        oracle_mismatches=oracle_mismatches(check.checks),
        thresholds_checked=check.thresholds_checked,
        float64_ties=[tie for c in check.checks for tie in c.ties],
        float32_agree=check.float32_agree,
        float32_ties=check.float32_ties,
        accuracy=check.accuracy,
        accuracy_original=check.accuracy_original,
        recorded_outputs=None
        if recorded is None
        else RecordedOutputs(recorded.equal, recorded.compared, recorded.different),
        checks=[CheckEntry(c.name, c.compared, c.mismatches, c.detail) for c in check.checks],
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """What was found on some of the samples."""

    checks: list[Check]
    golden: dict[str, Ints]
    float32: tuple[int, int] | None
    scores: list[NDArray[np.float64]]
    recorded: Recorded | None


def check_model(
    model: Model, samples: Samples, watch: Stopwatch, wanted: Container[str] = ()
) -> ModelCheck:
    """Run the checks on ``samples``; ``wanted`` are canonical tensors whose integers are kept."""
    oracle = Oracle(model.proto)
    stage = None if model.integer is None else Oracle(ir.to_proto(model.integer.model))
    parts = [
        _check_part(model, part, first, oracle, stage, watch, wanted)
        for first, part in _parts(model.loaded.model, samples)
    ]
    checks = [merged(same) for same in zip(*(p.checks for p in parts), strict=True)]
    reachable = 0
    if model.integer is not None and stage is not None:
        with watch.stage("check: thresholds"):
            steps, reachable = check_steps(model.integer, stage, model.loaded, oracle)
        checks += steps
    scores = [np.concatenate(each) for each in zip(*(p.scores for p in parts), strict=True)]
    labels = samples["y"].reshape(-1) if scores else np.zeros(0, np.int64)
    accuracies = [_accuracy(model.loaded.model, each, labels) for each in scores] or [None, None]
    float32 = [sum(each) for each in zip(*(p.float32 or () for p in parts), strict=True)]
    recorded = [p.recorded for p in parts if p.recorded is not None]
    return ModelCheck(
        samples=len(samples["x"]),
        checks=tuple(checks),
        thresholds_checked=reachable,
        float32_agree=float32[0] if float32 else None,
        float32_ties=float32[1] if float32 else None,
        accuracy=accuracies[0],
        accuracy_original=accuracies[1],
        recorded=_total(recorded) if recorded else None,
        golden={name: np.concatenate([p.golden[name] for p in parts]) for name in parts[0].golden},
    )


def _check_part(
    model: Model,
    samples: Samples,
    first: int,
    oracle: Oracle,
    stage: Oracle | None,
    watch: Stopwatch,
    wanted: Container[str],
) -> _Part:
    """``first`` is the number of the first sample, ``stage`` executes the integer model."""
    loaded = model.loaded
    with watch.stage("check: golden"):
        ours = _golden(loaded, samples)
        checks = [check_ranges(loaded.ranges, ours)]
        canonical = ours
        if model.canonical is not None:
            canonical = _golden(model.canonical, samples)
            checks.append(_same_integers(loaded, ours, canonical))
    with watch.stage("check: float64"):
        checks += check_float64(loaded.model, loaded.ranges, ours, oracle, first)
    executed, scores = None, list[NDArray[np.float64]]()
    if model.integer is not None and stage is not None:
        with watch.stage("check: integer model"):
            checks += check_integers(model.integer, stage, ours, first)
        with watch.stage("check: float32"):
            float32 = check_float32(loaded.model, loaded.ranges, ours, oracle)
        checks.append(float32.check)
        executed = float32.agree, float32.ties
        if "y" in samples:
            scores = [_scores(model.canonical or loaded, canonical), float32.outputs]
    return _Part(
        checks,
        {n: v.lo for n, v in canonical.items() if n in wanted and isinstance(v, ScaledInt)},
        executed,
        scores,
        _agreement(loaded.model, ours, samples) if "out" in samples else None,
    )


def elements(model: ir.Model) -> int:
    """Elements of all computed tensors of one sample."""
    computed = (v for node in model.graph for v in node.outputs if not g.is_constant(v))
    return sum(prod(g.shape(v)) for v in computed)


def _parts(model: ir.Model, samples: Samples) -> Iterator[tuple[int, Samples]]:
    """The samples, in parts that fit into memory, each with the number of its first."""
    many = max(_ELEMENTS // max(elements(model), 1), 1)
    for i in range(0, len(samples["x"]), many):
        yield i, {name: array[i : i + many] for name, array in samples.items()}


def _golden(graph: Analyzed, samples: Samples) -> dict[str, Value]:
    x = golden.encode(graph.ranges, graph.input, samples["x"])
    return golden.run(graph.model, graph.ranges, {g.name(graph.input): x})


def _same_integers(
    loaded: Analyzed, original: Mapping[str, Value], canonical: Mapping[str, Value]
) -> Check:
    names = integer_tensors(loaded.model, loaded.ranges)
    names = [name for name in names if name in canonical]  # an operator may feed no output
    found, wanted = (
        np.concatenate([flat(values[name]) for name in names], axis=1)
        for values in (canonical, original)
    )
    return compare("canonical form against the original graph", found, wanted)


def _agreement(model: ir.Model, ours: Mapping[str, Value], samples: Samples) -> Recorded | None:
    """Golden outputs beside the recorded ones; None without integers."""
    golden_out = ours[g.name(model.graph.outputs[-1])]
    out = samples["out"]
    if not isinstance(golden_out, ScaledInt):
        return None
    if out.size != golden_out.lo.size:
        raise SiraError(
            "the recorded outputs do not fit the model",
            where=f"output {g.name(model.graph.outputs[-1])}",
            expected=f"{golden_out.lo[0].size} numbers a sample",
            found=f"{out[0].size}",
        )
    wrong = nearest(out.reshape(golden_out.lo.shape), golden_out) != golden_out.lo
    each = wrong.reshape(len(out), -1).sum(axis=1)
    return Recorded(int((each == 0).sum()), wrong.size, int(np.sum(each)))


def _total(parts: list[Recorded]) -> Recorded:
    return Recorded(
        sum(p.equal for p in parts),
        sum(p.compared for p in parts),
        sum(p.different for p in parts),
    )


def _scores(graph: Analyzed, values: Mapping[str, Value]) -> NDArray[np.float64]:
    """The real numbers of the last tensor that has integers: scores, or a class."""
    value = graph.model.graph.outputs[-1]
    while not isinstance(found := values[g.name(value)], ScaledInt):
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
