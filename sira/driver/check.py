"""The check of the integer model against the original, which needs no hardware.

Golden (`sira.verification.golden`) is the original graph in exact arithmetic. At every quantizer it
is compared with the original file in float64 and with the integer model, both executed by code that
is not ours, and the thresholds of the integer model with the steps of the original's tails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.driver.front import Front, Stopwatch
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt, Value
from sira.verification import golden
from sira.verification.check import Check, merged
from sira.verification.float_execution import check_float64, check_ranges, nearest
from sira.verification.integer_model import check_integers, check_steps
from sira.verification.oracle import Oracle
from sira.verification.samples import Samples

_ELEMENTS = 2**23
"""Elements of all tensors together that are executed at once."""


@dataclass(frozen=True)
class Recorded:
    """Samples whose outputs in float32, as recorded by others, are golden's integers."""

    samples: int
    equal: int
    compared: int
    different: int


@dataclass(frozen=True)
class Equality:
    """The outcome; all counts are of single integers unless they say samples."""

    samples: int
    checks: tuple[Check, ...]
    thresholds_checked: int
    recorded: Recorded | None

    @property
    def mismatches(self) -> int:
        return sum(c.mismatches for c in self.checks if not c.oracle)

    @property
    def oracle_mismatches(self) -> int:
        return sum(c.mismatches for c in self.checks if c.oracle)

    @property
    def float64_ties(self) -> list[str]:
        return [tie for c in self.checks for tie in c.ties]

    @property
    def passed(self) -> bool:
        return self.mismatches == 0 and self.oracle_mismatches == 0


def check_equality(
    proto: onnx.ModelProto,
    loaded: ir.Model,
    ranges: Ranges,
    front: Front | None,
    samples: Samples,
    watch: Stopwatch,
) -> Equality:
    """Run the checks on ``samples``.

    ``loaded`` is the graph of ``proto`` with its ``ranges``; ``front`` has the integer model, None
    where there is none.
    """
    oracle = Oracle(proto)
    stage = None if front is None else Oracle(ir.to_proto(front.integer))
    parts: list[list[Check]] = []
    recorded: list[tuple[int, int, int]] = []
    for first, part in _parts(loaded, samples):
        with watch.stage("check: golden"):
            x = golden.encode(ranges, loaded.graph.inputs[0], part["x"])
            ours = golden.run(loaded, ranges, {g.name(loaded.graph.inputs[0]): x})
        checks = [check_ranges(ranges, ours)]
        with watch.stage("check: float64"):
            checks += check_float64(loaded, ranges, ours, oracle, first)
        if front is not None and stage is not None:
            with watch.stage("check: integer model"):
                executed = front.integer, front.integer_ranges, stage
                checks += check_integers(*executed, ours, first)
        if "out" in part and (agrees := _agreement(loaded, ours, part)) is not None:
            recorded.append(agrees)
        parts.append(checks)
    found = [merged(same) for same in zip(*parts, strict=True)]
    reachable = 0
    if front is not None and stage is not None:
        with watch.stage("check: thresholds"):
            steps, reachable = check_steps(front.integer, stage, loaded, ranges, oracle)
        found += steps
    total = len(samples["x"])
    agreement = None
    if recorded:
        agreement = Recorded(total, *(sum(column) for column in zip(*recorded, strict=True)))
    return Equality(total, tuple(found), reachable, agreement)


def elements(model: ir.Model) -> int:
    """Elements of all computed tensors of one sample."""
    computed = (v for node in model.graph for v in node.outputs if not g.is_constant(v))
    return sum(prod(g.shape(v)) for v in computed)


def _parts(model: ir.Model, samples: Samples) -> Iterator[tuple[int, Samples]]:
    """The samples, in parts that fit into memory, each with the number of its first."""
    many = max(_ELEMENTS // max(elements(model), 1), 1)
    for i in range(0, len(samples["x"]), many):
        yield i, {name: array[i : i + many] for name, array in samples.items()}


def _agreement(
    model: ir.Model, ours: Mapping[str, Value], samples: Samples
) -> tuple[int, int, int] | None:
    """Samples with equal outputs, compared and different integers; None without integers."""
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
    return int((each == 0).sum()), wrong.size, int(np.sum(each))
