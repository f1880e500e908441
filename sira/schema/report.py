"""The schema of ``report.json``, as types.

What the file holds is built of these types and of nothing else, its keys in the order of the
fields. `SCHEMA_VERSION`, which `sira.schema.metadata` shares, rises when a field goes or changes
its meaning. ``python -m sira.schema`` prints the schemas as JSON Schema.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sira.errors import SiraError

SCHEMA_VERSION: Literal[1] = 1

AccBits = Literal["auto", "datatype"] | int
Backend = Literal["verilog", "hls", "both"]
Synthesis = Literal["none", "yosys"]
Numbers = float | list[float]
"""One number for the whole tensor, or one for each channel."""
Integers = int | list[int]
"""The same of integers."""


class TensorEntry(Struct, frozen=True):
    """A computed tensor of the model as it was loaded.

    Where ``integer``, its reals are scale * q + bias with integers q in lo..hi, ``bits`` the width
    of hi - lo. Else lo and hi bound its reals (null: unbounded), and ``reason`` says why it has no
    integers.
    """

    name: str
    shape: list[int]
    integer: bool
    lo: int | float | None
    hi: int | float | None
    bits: int | None
    scale: Numbers | None
    bias: Numbers | None
    reason: str | UnsetType = UNSET


class InputRange(Struct, frozen=True):
    """The integers lo..hi that enter a layer (null: not known), and their width in bits."""

    lo: int | None
    hi: int | None
    bits: int


class Accumulator(Struct, frozen=True):
    """The sums of a layer.

    ``lo`` and ``hi`` bound the sums of all channels. ``bits`` is the width of the register as
    built, one for the layer. For each channel, ``offset`` is its least sum, ``bits_window`` the
    width of hi - lo, which is enough for a register that starts at the offset, and
    ``bits_twos_complement`` the width of a signed register. Of the layer, ``bits_datatype`` is the
    width that the datatypes of weights and inputs ask for, ``bits_weights_datatype`` the width that
    exact weights and the datatype of the inputs ask for.
    """

    lo: int
    hi: int
    bits: int
    offset: list[int]
    bits_window: list[int]
    bits_twos_complement: list[int]
    bits_datatype: int
    bits_weights_datatype: int


class Cost(Struct, frozen=True):
    """FPGA resources; ``bram18`` counts 18 kbit block RAMs, ``lut`` includes LUT used as memory."""

    lut: int
    ff: int
    dsp: int
    bram18: int


class SynthesisedCost(Cost, frozen=True):
    """Resources that a synthesis tool counted; ``logic_depth`` in cells between two registers."""

    logic_depth: int
    tool: str


class LayerCost(Struct, frozen=True):
    """Resources of a layer: estimated, and synthesised alone (null: was not asked for)."""

    estimate: Cost
    synthesis: SynthesisedCost | None


class LayerEntry(Struct, frozen=True):
    """A layer of the hardware.

    A layer of products multiplies (K,) inputs with (N, K) weights of ``weight_bits`` bits; ``n`` of
    any other layer is the number of elements of its output. ``folding`` has the lanes by folding
    factor (pe and simd are always there; null: the layer has no such factor). ``cycles`` is the
    number of clock cycles for a frame.
    """

    name: str
    kind: str
    k: int | None
    n: int
    weight_bits: int | None
    input: InputRange
    accumulator: Accumulator | None
    folding: dict[str, int | None]
    cycles: int
    resources: LayerCost


class MacEntry(Struct, frozen=True):
    """A node of the model that multiplies and accumulates, without hardware.

    ``kind`` is the ONNX operator. The fields are those of a layer of the hardware; all are null
    where the node computes no integers.
    """

    name: str
    kind: str
    k: int | None = None
    n: int | None = None
    weight_bits: int | None = None
    input: InputRange | None = None
    accumulator: Accumulator | None = None
    folding: dict[str, None] = msgspec.field(default_factory=lambda: {"pe": None, "simd": None})
    cycles: None = None
    resources: None = None


class TotalCost(Struct, frozen=True):
    """Resources of the whole design.

    ``estimate`` sums the layers, without the FIFOs of ``estimate_fifos``.
    ``synthesis_sum_of_layers`` sums layers synthesised alone, ``synthesis_fifos`` is of all FIFOs,
    ``synthesis_sum`` of both. ``synthesis_whole_design`` is of the design in one piece, null where
    it is too large. All of synthesis are null where it was not asked for.
    """

    estimate: Cost
    estimate_fifos: Cost
    synthesis_sum_of_layers: Cost | None
    synthesis_fifos: SynthesisedCost | None
    synthesis_sum: Cost | None
    synthesis_whole_design: SynthesisedCost | None


class Totals(Struct, frozen=True):
    """Figures of the whole design.

    ``cycles`` for a frame of the slowest layer; ``cycles_predicted`` for a frame and
    ``cycles_first_predicted`` to the first output, as the schedules of all layers and FIFOs give
    them. ``bottleneck`` names the slowest layer, ``deadlock`` says how deadlock is excluded.
    ``constant_channels`` has the channels without hardware, by tensor. The widths of accumulators
    are summed over all channels.
    """

    cycles: int
    cycles_predicted: float
    cycles_first_predicted: int
    bottleneck: str
    deadlock: str
    fifo_bits: int
    constant_channels: dict[str, list[int]]
    accumulator_bits: int
    accumulator_bits_window: int
    accumulator_bits_datatype: int
    accumulator_bits_weights_datatype: int
    resources: TotalCost


class AnalysisTotals(Struct, frozen=True):
    """``constant_channels`` has the channels that need no hardware, by tensor."""

    constant_channels: dict[str, list[int]]


class Fifo(Struct, frozen=True):
    """A FIFO between two ports: ``depth`` in beats, ``width`` in bits of a beat."""

    source: str
    target: str
    depth: int
    width: int


class CheckEntry(Struct, frozen=True):
    """A comparison: integers compared, those that differ, and where the first one is."""

    name: str
    compared: int
    mismatches: int
    detail: str


class RecordedOutputs(Struct, frozen=True):
    """Outputs that somebody else recorded in float32, against the integers of exact arithmetic."""

    samples_equal: int
    integers_compared: int
    integers_different: int


class ModelVerification(Struct, frozen=True):
    """The checks of the model, which need no hardware.

    ``mismatches`` counts integers that differ from exact arithmetic, ``oracle_mismatches`` those at
    which exact arithmetic differs from the original in float64, but for ``float64_ties``, which the
    rounding of float64 explains. ``float32_agree`` and ``float32_ties`` count samples (null: the
    model has no integer form). ``accuracy`` is a share of 1, null where there were no labels.
    """

    tool: str
    samples: int
    mismatches: int
    oracle_mismatches: int
    thresholds_checked: int
    float64_ties: list[str]
    float32_agree: int | None
    float32_ties: int | None
    accuracy: float | None
    accuracy_original: float | None
    recorded_outputs: RecordedOutputs | None
    checks: list[CheckEntry]

    @property
    def passed(self) -> bool:
        """No difference was found."""
        return self.mismatches == 0 and self.oracle_mismatches == 0


class VerificationEntry(ModelVerification, frozen=True):
    """The checks of the model and the co-simulation of its hardware.

    ``cycles_first`` is the number of clock cycles to the first output, ``cycles_per_sample`` of a
    sample among others.
    """

    cycles_first: int | None
    cycles_per_sample: float | None
    samples_per_second: float | None


class ScriptCheck(Struct, frozen=True):
    """The check of a Tcl script's syntax and call order, and the interpreter that ran it."""

    check: Literal["passed", "failed", "not run"]
    tool: str | None
    error: str


class VivadoEntry(Struct, frozen=True):
    """The scripts for the vendor's tools, by file name."""

    run_with_vendor_tools: bool
    scripts: dict[str, ScriptCheck]


class RecordedInput(Struct, frozen=True):
    """What the host sends: scale * q + bias, as fractions, for all channels or for each."""

    datatype: str
    scale: list[str]
    bias: list[str]


class RecordedOptions(Struct, frozen=True):
    """The options of the command line, with the folding that was chosen for each layer."""

    acc_bits: AccBits
    inputs: dict[str, RecordedInput]
    folding: dict[str, dict[str, int]]
    target_cycles: int | None
    verify: int | None
    verify_data: str | None
    synth: Synthesis
    backend: Backend
    part: str
    clock_mhz: float


class Report(Struct, frozen=True):
    """``report.json`` of a compilation.

    ``seconds`` has the wall-clock time by stage, ``versions`` those of the packages that were used.
    """

    schema_version: Literal[1]
    model: str
    layers: list[LayerEntry]
    tensors: list[TensorEntry]
    totals: Totals
    fifos: list[Fifo]
    verification: VerificationEntry | None
    vivado: VivadoEntry
    seconds: dict[str, float]
    versions: dict[str, str]
    options: RecordedOptions


class AnalysisReport(Struct, frozen=True, kw_only=True):
    """``report.json`` of ``--analyze-only``.

    ``totals`` is there where all of the model can be written with integers. ``not_verified`` says
    why ``verification`` is null.
    """

    schema_version: Literal[1]
    model: str
    layers: list[MacEntry]
    tensors: list[TensorEntry]
    totals: AnalysisTotals | UnsetType = UNSET
    verification: ModelVerification | None
    not_verified: str | None
    seconds: dict[str, float]


class _Versioned(Struct, frozen=True):
    schema_version: int


def read_report(contents: bytes, where: str) -> Report:
    """The report of a compilation. Raises `SiraError` for anything else, or another version."""
    try:
        version = msgspec.json.decode(contents, type=_Versioned).schema_version
        if version == SCHEMA_VERSION:
            return msgspec.json.decode(contents, type=Report)
    except ValueError as error:  # also where a text is not UTF-8
        raise SiraError(
            "not a report of sira-compile",
            where=where,
            expected="a complete report with hardware",
            found=str(error),
            remedy="compile the model again",
        ) from error
    raise SiraError(
        "a report of another version of sira-compile",
        where=where,
        expected=f"schema_version {SCHEMA_VERSION}",
        found=str(version),
        remedy="compile the model again, or use the version that wrote it",
    )
