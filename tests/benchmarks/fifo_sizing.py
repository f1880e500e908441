"""FIFO depths of whole networks: how long finding them takes, and what they and the cycles are.

Run ``SIRA_MODELS=folder python tests/benchmarks/fifo_sizing.py [model ...] [--measure FRAMES]``;
prints Markdown. With ``--measure`` the RTL of each network runs that many frames in Verilator, and
the last columns are its cycles; without it they are those of the prediction alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hls.dataflow import Dataflow
from hls.emit.rtl import emit_rtl
from hls.fifos.sizing import size_fifos
from hls.simulate.verilator import build
from sira.driver.hardware import build_dataflow
from sira.driver.options import Options
from transforms.stages import transform

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from networks import LARGE, MOBILENET, SMALL

NETWORKS = {network.name: network for network in (*SMALL, *LARGE, MOBILENET)}


def folded(name: str) -> Dataflow:
    """The network with the compiler's own choice of lanes."""
    proto = NETWORKS[name].proto()
    options = Options(inputs=NETWORKS[name].inputs(proto))
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
    available = [name for name, network in NETWORKS.items() if network.available]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=available, metavar="model")
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
