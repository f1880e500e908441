"""Time and memory of range analysis: real models beside the SIRA reference, and how both grow.

Run ``SIRA_MODELS=<folder> python tests/benchmarks/analysis.py`` (``--markdown`` for a table to
paste); two minutes. Every figure comes from a process of its own, the best of three. Seconds are
wall clock: *load* from the file to the graph, *analysis* from the graph to the ranges of all
tensors. *MB* is the peak of resident memory above that of the process before it loads the file.

The reference is the analysis of arXiv:2508.21493 on the same files on two cores; its memory is the
peak above an empty process too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

import sira.load
from sira.analysis.ranges import analyze
from sira.datatypes import parse_input

PIXELS = "UINT8,scale=1/255"
NORMALIZED = "UINT8,scale=500/28815,bias=-500/247"
"""``(x / 255 - 0.457) / 0.226``: zero, and so the padding, is not among the values."""


@dataclass(frozen=True)
class Model:
    """A file, what is declared of its input, and the reference's seconds and MB."""

    name: str
    declared: str
    seconds: float | None = None
    megabytes: float | None = None


MODELS = (
    Model("TFC_2W2A", PIXELS, 0.10, 82),
    Model("TFC_1W1A", PIXELS),
    Model("unsw_nb15-mlp-w2a2", "BIPOLAR"),
    Model("CNV_w2a2", PIXELS, 3.1, 261),
    Model("RN8_w3a3", PIXELS, 5.0, 342),
    Model("MNv1_w4a4", NORMALIZED, 131, 1064),
)


@dataclass(frozen=True)
class Figures:
    """One measurement: seconds, and MB above the process before it started."""

    load: float
    analysis: float
    megabytes: float


def peak() -> float:
    """The most memory that this process ever held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage, it forgets the process that started this one
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_here(path: str, declared: str) -> None:
    """Print the figures of one model as JSON."""
    before, start = peak(), time.perf_counter()
    model = sira.load.load(path)
    loaded = time.perf_counter()
    names = [str(v.name) for v in model.graph.inputs]
    _, spec = parse_input(declared, names)
    ready = time.perf_counter()
    ranges = analyze(model, {names[0]: spec})
    done = time.perf_counter()
    assert len(ranges.values) > len(names)
    print(json.dumps([loaded - start, done - ready, peak() - before]))


def measure(path: Path, declared: str, repeat: int = 3) -> Figures:
    """The best of several fresh processes."""
    command = [sys.executable, __file__, "--measure", str(path), declared]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeat)
    ]
    return Figures(*(min(run[i] for run in runs) for i in range(3)))


def network(depth: int, channels: int, size: int) -> onnx.ModelProto:
    """A chain of 3x3 convolutions of 4 bits, each with batch normalisation, Relu and quantizer."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []

    def constant(value: object) -> str:
        constants.append(
            numpy_helper.from_array(np.asarray(value, np.float32), f"c{len(constants)}")
        )
        return f"c{len(constants) - 1}"

    def node(op: str, *inputs: str, **attributes: object) -> str:
        domain = "qonnx.custom_op.general" if op == "Quant" else ""
        out = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [out], out, domain=domain, **attributes))
        return out

    def quant(x: str, scale: object, signed: int) -> str:
        return node("Quant", x, constant(scale), constant(0), constant(4), signed=signed, narrow=0,
                    rounding_mode="ROUND")  # fmt: skip

    x, inputs = "x", 3
    for _ in range(depth):
        w = constant(rng.normal(0, 0.1, (channels, inputs, 3, 3)))
        scale = rng.uniform(0.01, 0.05, (channels, 1, 1, 1))
        x = node("Conv", x, quant(w, scale, 1), pads=[1, 1, 1, 1])
        parameters = [rng.uniform(0.5, 2, channels) for _ in range(4)]
        x = node("BatchNormalization", x, *map(constant, parameters))
        x, inputs = quant(node("Relu", x), 0.25, 0), channels
    graph = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, size, size))],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


SERIES: dict[str, tuple[str, Callable[[int], tuple[int, int, int]], tuple[int, ...]]] = {
    "depth": (PIXELS, lambda n: (n, 64, 32), (4, 8, 16, 32, 64)),
    "width": (PIXELS, lambda n: (4, n, 32), (64, 128, 256, 512)),
    "image": (PIXELS, lambda n: (4, 64, n), (32, 64, 128, 256)),
    "border": (NORMALIZED, lambda n: (4, 64, n), (16, 32, 64)),
}
"""For each series what is declared, (depth, channels, image size) of a point, and the points.

*border*: zero is not among the input's values, so that every position has a bias of its own; this
costs time for each element of the first output, not for each weight.
"""


def rows_of_models(folder: Path) -> Iterator[list[str]]:
    for model in MODELS:
        path = folder / f"{model.name}.onnx"
        if not path.exists():
            yield [model.name, "not found", *[""] * 5]
            continue
        found = measure(path, model.declared)
        faster, smaller = "", ""
        if model.seconds is not None and model.megabytes is not None:
            faster = f"{model.seconds:g} s, {model.seconds / found.analysis:.0f} x"
            smaller = f"{model.megabytes:g} MB, {model.megabytes / found.megabytes:.1f} x"
        yield [
            model.name, f"{found.load:.2f}", f"{found.analysis:.3f}",
            f"{found.load + found.analysis:.2f}", f"{found.megabytes:.0f}", faster, smaller,
        ]  # fmt: skip


def rows_of_series(folder: Path) -> Iterator[list[str]]:
    for series, (declared, shape, points) in SERIES.items():
        for n in points:
            depth, channels, size = shape(n)
            path = folder / "network.onnx"
            onnx.save(network(depth, channels, size), str(path))
            weights = 9 * (3 * channels + (depth - 1) * channels**2)
            found = measure(path, declared)
            yield [
                series, str(depth), str(channels), str(size), f"{weights:,}",
                f"{found.analysis:.3f}", f"{found.analysis / weights * 1e9:.0f}",
                f"{found.megabytes:.0f}",
            ]  # fmt: skip


def show(title: str, columns: tuple[str, ...], rows: Iterator[list[str]], markdown: bool) -> None:
    if markdown:
        print("|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|")
        for row in rows:
            print("|", " | ".join(row), "|", flush=True)
        print()
        return
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print tables to paste")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "INPUT"), help="one model, as JSON")
    options = parser.parse_args()
    if options.measure:
        measure_here(*options.measure)
        return
    if "SIRA_MODELS" in os.environ:
        columns = ("model", "load s", "analysis s", "both s", "MB", "reference", "its memory")
        rows = rows_of_models(Path(os.environ["SIRA_MODELS"]))
        show("Range analysis of real models", columns, rows, options.markdown)
    else:
        print("SIRA_MODELS is not set: the models are not measured")
    columns = ("growing", "depth", "channels", "image", "weights", "s", "ns/weight", "MB")
    with TemporaryDirectory() as folder:
        rows = rows_of_series(Path(folder))
        show("Range analysis of growing networks", columns, rows, options.markdown)


if __name__ == "__main__":
    main()
