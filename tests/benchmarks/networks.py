"""Whole networks through the compiler: cycles predicted and simulated, FIFOs, resources, time.

Run ``SIRA_MODELS=folder python tests/benchmarks/networks.py [name ...] [--samples N] [--synth]``;
prints Markdown. Without names: the small networks of tests/models, CNV, ResNet-8 and
super-resolution. MobileNetV1 (``MNv1_w4a4``) takes long and must be named. ``--samples 0`` leaves
out the co-simulation; ``--synth`` counts resources with Yosys, otherwise they are estimates.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from networks import LARGE, MOBILENET, SMALL, Network

import sira

HEADER = (
    "model", "layers", "cycles a frame: predicted", "simulated", "to the first output: predicted",
    "simulated", "FIFO bits", "LUT", "FF", "DSP", "BRAM18", "samples", "mismatches", "seconds",
    "images/s in Verilator",
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
            verification.cycles_per_sample or "",
            verification.cycles_first or "",
            verification.samples,
            verification.mismatches + verification.oracle_mismatches,
        ]
        rate = f"{verification.samples_per_second or 0:.3g}"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--synth", action="store_true")
    arguments = parser.parse_args()
    known = {network.name: network for network in (*SMALL, *LARGE, MOBILENET)}
    names = arguments.names or [n.name for n in (*SMALL, *LARGE) if n.available]
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    for name in names:
        cells = row(known[name], arguments.samples, arguments.synth)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
