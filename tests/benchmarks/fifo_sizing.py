"""FIFO depths of whole networks: how long finding them takes, and what they and the cycles are.

Run ``SIRA_MODELS=folder python tests/benchmarks/fifo_sizing.py [model ...] [--measure FRAMES]``;
prints Markdown. With ``--measure`` the RTL of each network runs that many frames in Verilator, and
the last columns are its cycles; without it they are those of the prediction alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from hls.dataflow import Dataflow
from hls.emit_rtl import emit_rtl
from hls.fifo_sizing import size_fifos
from hls.verilator import build
from sira.datatypes import InputSpec, parse_datatype
from sira.driver_front import build_dataflow, transform
from sira.driver_options import Options
from sira.load import read

OWN = Path(__file__).parents[1] / "models"
_PIXELS = "UINT8,scale=1/255"
_NORMALIZED = InputSpec(  # (x / 255 - mean) / 0.226 of each channel
    parse_datatype("UINT8", "MNv1_w4a4"),
    (Fraction(100, 5763),),
    tuple(Fraction(-mean, 226) for mean in (485, 456, 406)),
)

MODELS: dict[str, InputSpec | str | None] = {
    "TFC_2W2A": _PIXELS,
    "digits_cnn_s0_w4a4": None,
    "CNV_w2a2": _PIXELS,
    "RN8_w3a3": _PIXELS,
    "MNv1_w4a4": _NORMALIZED,
    "residual_w3a3": None,
    "unequal_residual_w4a4": None,
    "depthwise_w4a4": None,
    "skip_concat_w4a4": None,
    "one_dimensional_w4a4": None,
    "transposed_w4a4": None,
    "normalized_w4a4": _PIXELS,
    "qcdq_residual_w8a8": None,
    "qcdq_depthwise_w8a8": None,
}


def folded(name: str) -> Dataflow:
    """The network with the compiler's own choice of lanes."""
    path = OWN / f"{name}.onnx"
    if not path.exists():
        path = Path(os.environ["SIRA_MODELS"]) / f"{name}.onnx"
    proto, spec = read(path), MODELS[name]
    options = Options(inputs={} if spec is None else {proto.graph.input[0].name: spec})
    return build_dataflow(transform(proto, options.specs, name), options).dataflow


def measured(dataflow: Dataflow, frames: int) -> tuple[int, float | None]:
    """First and further cycles of frames in Verilator."""
    generator = np.random.default_rng(0)
    inputs = {
        port: generator.integers(0, 2**stream.bits, (frames, stream.elements))
        for port, stream in dataflow.inputs.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        emit_rtl(dataflow, Path(folder))
        result = build(Path(folder), dataflow).run(inputs)
    return result.first_cycles, result.cycles_per_frame


def row(name: str, frames: int) -> Iterator[object]:
    dataflow = folded(name)
    start = time.perf_counter()
    sizing = size_fifos(dataflow)
    seconds = time.perf_counter() - start
    deep = sum(edge.depth > 2 for edge in sizing.dataflow.edges)
    yield from (name, len(dataflow.layers), len(dataflow.edges), deep, sizing.bits, sizing.trials)
    yield from (f"{seconds:.1f}", max(layer.cycles for layer in dataflow.layers))
    yield from (f"{float(sizing.cycles_per_frame):.9g}", sizing.first_cycles)
    if frames:
        first, further = measured(sizing.dataflow, frames)
        yield from ("" if further is None else f"{further:.9g}", first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="model")
    parser.add_argument("--measure", type=int, default=0, metavar="FRAMES")
    arguments = parser.parse_args()
    head = ["model", "layers", "FIFOs", "deeper than 2", "bits", "simulations", "seconds"]
    head += ["slowest layer", "cycles per frame", "to first output"]
    if arguments.measure:
        head += ["measured per frame", "to first output"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name in arguments.models:
        print(f"| {' | '.join(map(str, row(name, arguments.measure)))} |", flush=True)


if __name__ == "__main__":
    main()
