"""The graph on its way from the file to integers: the passes in their order, and what each left.

    01_loaded -> 02_canonical -> 04_thresholds -> 05_constant_channels -> 06_accumulators
                              -> 03_aggregated

The third stage is for people: the same integers with scales and biases in floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx
import onnx_ir as ir

from sira import graph as g
from sira.analysis.datatype_bounds import DatatypeBounds, datatype_bounds
from sira.analysis.ranges import Analyzed, Ranges, analyze
from sira.datatypes import InputSpec
from sira.load import prepare
from sira.progress import Stopwatch
from transforms.accumulators import annotate_accumulators
from transforms.aggregate import aggregate
from transforms.canonical import NOT_CANONICAL, to_canonical
from transforms.constant_channels import remove_constant_channels, removed_channels
from transforms.specification import Specification, check
from transforms.thresholds import to_thresholds

_INTEGER = Specification(integer=True)


@dataclass(frozen=True)
class Pass:
    """How a stage is made from the graph of another stage and its ranges.

    ``ranges`` says how those of the result are found: from what was declared of the model's inputs,
    from what its own inputs say, as those of the source (no integer has changed), or not at all.
    """

    stage: str
    source: str
    run: Callable[[ir.Model, Ranges], ir.Model]
    result: Specification
    ranges: Literal["declared", "own", "source", "none"]


PASSES = (
    Pass(
        "02_canonical",
        "01_loaded",
        lambda model, ranges: to_canonical(model),
        Specification(without=NOT_CANONICAL),
        "declared",
    ),
    Pass("04_thresholds", "02_canonical", to_thresholds, _INTEGER, "own"),
    Pass("03_aggregated", "02_canonical", aggregate, Specification(), "none"),
    Pass("05_constant_channels", "04_thresholds", remove_constant_channels, _INTEGER, "own"),
    Pass("06_accumulators", "05_constant_channels", annotate_accumulators, _INTEGER, "source"),
)


@dataclass(frozen=True, eq=False)
class Stages:
    """A model after every pass.

    ``models`` are the graphs by the names of their stages, in the order of these; ``inputs`` is
    what was declared of the model's inputs; ``bounds`` are the conventional accumulator bounds of
    each layer.
    """

    proto: onnx.ModelProto
    inputs: Mapping[str, InputSpec]
    models: Mapping[str, ir.Model]
    loaded: Analyzed
    canonical: Analyzed
    integer: Analyzed
    bounds: Mapping[str, DatatypeBounds]

    @property
    def constant_channels(self) -> dict[str, list[int]]:
        """The channels of quantized tensors that have no hardware, as they hold one value."""
        return removed_channels(self.models["04_thresholds"], self.models["05_constant_channels"])


def load_and_analyze(
    proto: onnx.ModelProto, inputs: Mapping[str, InputSpec], name: str, watch: Stopwatch
) -> Analyzed:
    """The cleaned-up graph of a file, and the range of every tensor."""
    with watch.stage("load"):
        loaded = prepare(proto, name)
        check("01_loaded", Specification(), loaded)
    with watch.stage("analyze"):
        return Analyzed(loaded, analyze(loaded, inputs))


def to_integers(
    proto: onnx.ModelProto, inputs: Mapping[str, InputSpec], loaded: Analyzed, watch: Stopwatch
) -> Stages:
    """The passes, one after the other; each graph is checked against its specification."""
    models, ranges = {"01_loaded": loaded.model}, {"01_loaded": loaded.ranges}
    for step in PASSES:
        with watch.stage(step.stage[3:].replace("_", " ")):
            result = step.run(models[step.source], ranges[step.source])
            match step.ranges:
                case "declared":
                    ranges[step.stage] = analyze(result, inputs)
                case "own":
                    ranges[step.stage] = analyze(result)
                case "source":
                    ranges[step.stage] = ranges[step.source]
            check(step.stage, step.result, result, ranges.get(step.stage))
            models[step.stage] = result
    canonical = Analyzed(models["02_canonical"], ranges["02_canonical"])
    spec = inputs.get(g.name(loaded.input))
    return Stages(
        proto,
        inputs,
        dict(sorted(models.items())),
        loaded,
        canonical,
        Analyzed(models["06_accumulators"], ranges["06_accumulators"]),
        datatype_bounds(canonical.model.graph, canonical.ranges, spec),
    )


def transform(
    proto: onnx.ModelProto,
    inputs: Mapping[str, InputSpec],
    name: str = "model",
    watch: Stopwatch | None = None,
) -> Stages:
    """Everything up to the integer graph."""
    watch = watch or Stopwatch()
    return to_integers(proto, inputs, load_and_analyze(proto, inputs, name, watch), watch)
