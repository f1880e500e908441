"""Ranges without hardware: ``sira.analyze``, and ``sira-compile --analyze-only``.

The command writes ranges to report.json. Where the whole model can be written with integers, its
stages and the certificate come too, and samples and thresholds tie them to the original
(`sira.verification.model`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from msgspec import UNSET, UnsetType

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.ranges import analyze as analyze_graph
from sira.analysis.summary import mac_entries, tensor_entries
from sira.datatypes import InputSpec, parse_specs
from sira.driver.build_folder import build_folder, write_json
from sira.driver.options import Options
from sira.errors import SiraError
from sira.load import prepare
from sira.model_file import read
from sira.progress import Progress, Stopwatch
from sira.schema.files import builtins
from sira.schema.report import SCHEMA_VERSION, AnalysisReport, AnalysisTotals, ModelVerification

if TYPE_CHECKING:
    from sira.verification.model import Model

_DEFAULT_SAMPLES = 2

_LARGE = 2**22
"""A network of more elements than this, in all of its tensors, is checked with one sample."""


def analyze(
    model: str | Path | onnx.ModelProto, inputs: Mapping[str, str | InputSpec] | None = None
) -> Ranges:
    """Derive range, scale and bias of every tensor of a quantized model.

    ``inputs`` declares what the host sends, by input name, as ``"UINT8,scale=1/255"`` or as an
    `InputSpec`; it is needed only where the model neither quantizes nor annotates its input.
    ``ranges["tensor name"]`` is a `ScaledInt` (integers ``lo``, ``hi`` with scale and bias) or an
    `Interval` with the reason why the tensor has no integers.
    """
    proto = read(model) if isinstance(model, str | Path) else model
    return analyze_graph(
        prepare(proto, str(model) if isinstance(model, str | Path) else "model"),
        parse_specs(inputs or {}),
    )


@dataclass(frozen=True, eq=False)
class AnalysisResult:
    """What was written, and where the integer stages are or why there are none."""

    directory: Path
    report: AnalysisReport
    stages: str

    @property
    def passed(self) -> bool:
        """No difference was found (or nothing was checked)."""
        return self.report.verification is None or self.report.verification.passed


def analyze_only(
    proto: onnx.ModelProto, name: str, options: Options, progress: Progress | None
) -> AnalysisResult:
    """Analyze the model; write report.json with ``layers`` and ``tensors``, and the stages.

    ``name`` is the model's in the report. Of the options, ``output``, ``inputs``, ``verify`` and
    ``verify_data`` matter.
    """
    # The transforms and the check execute models, which `analyze` does not need.
    from sira.driver.stage_files import write_stages
    from sira.verification.model import Model
    from transforms.stages import load_and_analyze, to_integers

    watch = Stopwatch(progress)
    inputs = options.specs
    with build_folder(options.output) as work:
        loaded = load_and_analyze(proto, inputs, name, watch)
        totals: AnalysisTotals | UnsetType = UNSET
        model = Model(proto, loaded)
        where = f"stages and certificate: {options.output}"
        try:
            stages = to_integers(proto, inputs, loaded, watch)
            with watch.stage("certificate"):
                write_stages(stages, work)
            totals = AnalysisTotals(stages.constant_channels)
            model = Model(proto, loaded, stages.canonical, stages.integer)
        except SiraError as error:
            where = f"no integer stages: {error}"
        verification, unchecked = _verification(options, model, watch)
        report = AnalysisReport(
            schema_version=SCHEMA_VERSION,
            model=name,
            layers=mac_entries(loaded.model, loaded.ranges, inputs.get(g.name(loaded.input))),
            tensors=tensor_entries(loaded.model, loaded.ranges),
            totals=totals,
            verification=verification,
            not_verified=unchecked,
            seconds=watch.seconds,
        )
        write_json(work / "report.json", builtins(report))
    return AnalysisResult(options.output, report, where)


def _verification(
    options: Options, model: Model, watch: Stopwatch
) -> tuple[ModelVerification | None, str | None]:
    """The check that was asked for, or why there is none.

    A model that cannot be executed is an error only where the user asked for the check.
    """
    from sira.verification import samples
    from sira.verification.model import check_model, elements, entry

    count, data, loaded = options.verify, options.verify_data, model.loaded
    if count == 0:
        return None, "--verify 0"
    try:
        if data is not None:
            chosen = samples.read(data, g.shape(loaded.input), count)
        else:
            few = 1 if elements(loaded.model) > _LARGE else _DEFAULT_SAMPLES
            chosen = samples.draw(loaded.model, loaded.ranges, count or few)
        return entry(check_model(model, chosen, watch)), None
    except SiraError as error:
        if count is not None or data is not None:
            raise
        return None, str(error)
