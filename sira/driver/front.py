"""The front half of the compiler: from a file to the integer graph.

load -> analyze -> transforms
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

import transforms
from sira import graph as g
from sira.analysis.datatype_bounds import DatatypeBounds, datatype_bounds
from sira.analysis.ranges import Ranges, analyze
from sira.certificate import writer as certify
from sira.datatypes import InputSpec
from sira.load import prepare

Progress = Callable[[str], None]


class Stopwatch:
    """Seconds per stage, and word to the user about what is going on."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self.tell: Progress = progress or (lambda what: None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.tell(name)
        start = time.perf_counter()
        yield
        spent = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.seconds[name] = round(spent, 3)


@dataclass(frozen=True, eq=False)
class Front:
    """The graph after every transform, with the ranges of each form."""

    proto: onnx.ModelProto
    inputs: Mapping[str, InputSpec]
    loaded: ir.Model
    loaded_ranges: Ranges
    canonical: ir.Model
    canonical_ranges: Ranges
    aggregated: ir.Model
    thresholds: ir.Model
    without_constants: ir.Model
    integer: ir.Model
    integer_ranges: Ranges
    bounds: Mapping[str, DatatypeBounds]

    @property
    def stages(self) -> dict[str, ir.Model]:
        return {
            "01_loaded": self.loaded,
            "02_canonical": self.canonical,
            "03_aggregated": self.aggregated,
            "04_thresholds": self.thresholds,
            "05_constant_channels": self.without_constants,
            "06_accumulators": self.integer,
        }

    @property
    def constant_channels(self) -> dict[str, list[int]]:
        """The channels of quantized tensors that have no hardware, as they hold one value."""
        return transforms.removed_channels(self.thresholds, self.without_constants)


def transform(
    proto: onnx.ModelProto,
    inputs: Mapping[str, InputSpec],
    name: str = "model",
    watch: Stopwatch | None = None,
) -> Front:
    """Everything up to the integer graph."""
    watch = watch or Stopwatch(None)
    loaded, ranges = load_and_analyze(proto, inputs, name, watch)
    return to_integers(proto, inputs, loaded, ranges, watch)


def load_and_analyze(
    proto: onnx.ModelProto, inputs: Mapping[str, InputSpec], name: str, watch: Stopwatch
) -> tuple[ir.Model, Ranges]:
    """The cleaned-up graph of a file, and the range of every tensor."""
    with watch.stage("load"):
        loaded = prepare(proto, name)
    with watch.stage("analyze"):
        return loaded, analyze(loaded, inputs)


def to_integers(
    proto: onnx.ModelProto,
    inputs: Mapping[str, InputSpec],
    loaded: ir.Model,
    loaded_ranges: Ranges,
    watch: Stopwatch,
) -> Front:
    """The transforms, one after the other."""
    with watch.stage("canonical"):
        canonical = transforms.to_canonical(loaded)
        canonical_ranges = analyze(canonical, inputs)
    with watch.stage("thresholds"):
        thresholds = transforms.to_thresholds(canonical, canonical_ranges)
    with watch.stage("aggregate"):
        aggregated = transforms.aggregate(canonical, canonical_ranges)
    with watch.stage("constant channels"):
        without_constants = transforms.remove_constant_channels(thresholds, analyze(thresholds))
    with watch.stage("accumulators"):
        integer_ranges = analyze(without_constants)
        integer = transforms.annotate_accumulators(without_constants, integer_ranges)
        spec = inputs.get(g.name(loaded.graph.inputs[0]))
        bounds = datatype_bounds(canonical.graph, canonical_ranges, spec)
    return Front(
        proto, inputs, loaded, loaded_ranges, canonical, canonical_ranges, aggregated,
        thresholds, without_constants, integer, integer_ranges, bounds,
    )  # fmt: skip


def write_stages(front: Front, directory: Path) -> None:
    """The graph after each step as ``stages/NN_*.onnx``, and the certificate of the last.

    Where no certificate can be written, nothing is.
    """
    files = {name: ir.to_proto(m).SerializeToString() for name, m in front.stages.items()}
    claims = certify.certificate(front.integer, front.integer_ranges, [*files.values()][-1])
    stages = directory / "stages"
    stages.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        (stages / f"{name}.onnx").write_bytes(contents)
    certify.write(directory / "certificate.json.gz", claims)
