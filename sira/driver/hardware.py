"""The back half of the compiler: from the integer graph to the files of the hardware.

lower -> fold -> emit
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hls.dataflow import Dataflow
from hls.device import estimated_device
from hls.emit.cpp import emit_hls
from hls.emit.rtl import emit_rtl
from hls.emit.vivado import emit_vivado
from hls.fold import fold
from hls.lower.lower import Lowered, lower
from sira import graph as g
from sira.driver.options import Options
from sira.errors import SiraError
from sira.schema.report import Backend, RecordedInput, RecordedOptions
from transforms.stages import Stages


def build_dataflow(stages: Stages, options: Options) -> Lowered:
    """The folded hardware of an integer graph."""
    bits = _accumulator_bits(stages, options)
    device = estimated_device(options.part)
    lowered = lower(stages.integer.model, stages.integer.ranges, "accelerator", bits, device)
    needed = lowered.windows.items()
    if too_narrow := [f"{name} needs {w}" for name, w in needed if w > bits.get(name, w)]:
        raise SiraError(
            "accumulators would overflow",
            where=f"--acc-bits {options.acc_bits}",
            expected="at least the lossless width in every layer",
            found=", ".join(too_narrow),
            remedy="use --acc-bits auto, or a larger width",
        )
    dataflow = fold(lowered.dataflow, options.target_cycles, options.folding)
    return replace(lowered, dataflow=dataflow)


def _accumulator_bits(stages: Stages, options: Options) -> dict[str, int]:
    """The widths of accumulators that the options ask for, by layer; none for the least ones."""
    match options.acc_bits:
        case "auto":
            return {}
        case "datatype":
            return {name: bounds.bits_datatype for name, bounds in stages.bounds.items()}
        case bits:
            return {g.label(node): bits for node in stages.integer.model.graph}


def emit(dataflow: Dataflow, options: Options, directory: Path) -> None:
    """Write the hardware and the scripts that build it."""
    emit_design(dataflow, options.backend, directory)
    emit_vivado(dataflow, directory / "vivado", options.part, options.clock_mhz, options.backend)


def emit_design(dataflow: Dataflow, backend: Backend, directory: Path) -> None:
    """Write the hardware alone: the folders ``rtl`` and ``hls``, or one of them."""
    if backend != "hls":
        emit_rtl(dataflow, directory / "rtl")
    if backend != "verilog":
        emit_hls(dataflow, directory / "hls")


def recorded(options: Options, dataflow: Dataflow) -> RecordedOptions:
    """For the report: all options, with the folding that was chosen for each layer."""
    return RecordedOptions(
        acc_bits=options.acc_bits,
        inputs={
            name: RecordedInput(
                datatype=spec.datatype.name,
                scale=[str(v) for v in spec.scale],
                bias=[str(v) for v in spec.bias],
            )
            for name, spec in options.specs.items()
        },
        folding={
            layer.name: {name: getattr(layer, name) for name in layer.dimensions}
            for layer in dataflow.layers
            if layer.dimensions
        },
        target_cycles=options.target_cycles,
        verify=options.verify,
        verify_data=None if options.verify_data is None else str(options.verify_data),
        synth=options.synth,
        backend=options.backend,
        part=options.part,
        clock_mhz=options.clock_mhz,
    )
