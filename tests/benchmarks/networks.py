"""Whole networks through the compiler: cycles predicted and simulated, FIFOs, resources, time.

Run ``SIRA_MODELS=folder python tests/benchmarks/networks.py [name ...] [--samples N] [--synth]``;
prints Markdown. Without names: the small networks of tests/models, CNV, ResNet-8 and
super-resolution. MobileNetV1 (``MNv1_w4a4``) takes long and must be named. ``--samples 0`` leaves
out the co-simulation; ``--synth`` counts resources with Yosys, otherwise they are estimates.
``--sample`` does neither, but synthesises one layer of each kind, that with the median estimate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from networks import LARGE, MOBILENET, SMALL, Network

import sira
from hls.dataflow import Layer
from hls.device import device_of
from hls.implement.yosys import synthesize_layers
from sira.driver.hardware import build_dataflow
from transforms.stages import transform

HEADER = (
    "model", "layers", "cycles a frame: predicted", "simulated", "to the first output: predicted",
    "simulated", "FIFO bits", "LUT", "FF", "DSP", "BRAM18", "samples", "mismatches", "seconds",
    "images/s in Verilator",
)  # fmt: skip

SAMPLE_HEADER = (
    "model", "kind", "layers of it", "layer", "LUT: estimate / count", "FF", "DSP", "BRAM18",
)  # fmt: skip


def row(network: Network, samples: int, synth: bool) -> list[object]:
    proto = network.proto()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = sira.compile(
            proto,
            sira.Options(
                Path(folder) / "build",
                inputs=network.inputs(proto),
                verify=samples,
                synth="yosys" if synth else "none",
            ),
        )
    seconds = time.perf_counter() - start
    report, verification = result.report, result.verification
    totals = report["totals"]
    resources = totals["resources"]["synthesis_sum_of_layers" if synth else "estimate"]
    found: list[object] = ["", "", "", ""]
    rate: object = ""
    if verification is not None:
        found = [
            verification.hardware.cycles_per_sample or "",
            verification.hardware.cycles_first or "",
            verification.samples,
            verification.mismatches + verification.oracle_mismatches,
        ]
        rate = f"{report['verification']['samples_per_second'] or 0:.3g}"
    return [
        network.name,
        len(report["layers"]),
        f"{totals['cycles_predicted']:g}",
        found[0],
        totals["cycles_first_predicted"],
        found[1],
        totals["fifo_bits"],
        *(resources[kind] for kind in ("lut", "ff", "dsp", "bram18")),
        *found[2:],
        round(seconds),
        rate,
    ]


def sample(network: Network) -> Iterator[list[object]]:
    """Estimate and count of LUTs, FFs, DSPs and block RAMs for one layer of each kind."""
    proto = network.proto()
    options = sira.Options(inputs=network.inputs(proto))
    dataflow = build_dataflow(transform(proto, options.specs, network.name), options).dataflow
    device = device_of(options.part)
    kinds: dict[str, list[Layer]] = {}
    for layer in dataflow.layers:
        kinds.setdefault(type(layer).__name__, []).append(layer)
    for kind, layers in kinds.items():
        layer = sorted(layers, key=lambda la: device.price(la.inventory()).lut)[len(layers) // 2]
        estimate = device.price(layer.inventory())
        (found,) = synthesize_layers([layer], options.part)
        counts = zip(astuple(estimate), astuple(found.resources), strict=True)
        yield [network.name, kind, len(layers), layer.name, *(f"{e} / {c}" for e, c in counts)]


def table(header: Sequence[str], rows: Iterable[list[object]]) -> None:
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for cells in rows:
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--synth", action="store_true")
    parser.add_argument("--sample", action="store_true")
    arguments = parser.parse_args()
    known = {network.name: network for network in (*SMALL, *LARGE, MOBILENET)}
    names = arguments.names or [n.name for n in (*SMALL, *LARGE) if n.available]
    networks = [known[name] for name in names]
    if arguments.sample:
        table(SAMPLE_HEADER, (cells for network in networks for cells in sample(network)))
    else:
        rows = (row(network, arguments.samples, arguments.synth) for network in networks)
        table(HEADER, rows)


if __name__ == "__main__":
    main()
