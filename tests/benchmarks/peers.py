"""Our matrix-vector unit and thresholding beside FINN's, at the same parameters and cycles.

Run ``python tests/benchmarks/peers.py`` (``--markdown`` for a table to paste); about two minutes,
less when the results are cached. Weights, start values and thresholds are random with a fixed seed.

FINN's figures are of its own RTL, synthesised with the same tool and options (pyosys 0.70,
``read_slang``, ``synth_xilinx -noiopad -noclkbuf -flatten``). There, as here, the columns LUT and
LUTRAM count cells (LUT1 to LUT6 and INV; RAM32M, RAM32M16, SRL and so on), DSP and BRAM blocks. Our
units hold their weights and thresholds, which are part of the counts.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from hls.dataflow import Layer
from hls.implement.yosys import SynthesisResult, synthesize_layers, tool_version
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding

XC7, XCUP = "xc7z020clg400-1", "xczu7ev-ffvc1156-2-e"
COLUMNS = ("design", "by", "cycles", "LUT", "FF", "LUTRAM", "CARRY4", "DSP", "BRAM", "logic depth")


@dataclass(frozen=True)
class Peer:
    """FINN's variant of a design: LUT, FF, LUTRAM cells, CARRY4, DSP and BRAM."""

    name: str
    counts: tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Case:
    """One parameter set."""

    title: str
    part: str
    layer: Layer
    peers: tuple[Peer, ...]


def matrix_vector(n: int, k: int, bits: int, accumulator: int, *, pe: int, simd: int) -> Layer:
    """``bits``-wide unsigned inputs and signed weights."""
    random = np.random.default_rng(0)
    half = 1 << (bits - 1)
    weights = random.integers(-half, half, (n, k))
    start = random.integers(0, 1 << accumulator, n)
    return MatrixVector("mvu", weights, start, bits, accumulator, pe, simd)


def thresholding(output_bits: int, input_bits: int, channels: int, *, pe: int) -> Layer:
    """Distinct rising thresholds per channel."""
    random = np.random.default_rng(0)
    count = (1 << output_bits) - 1
    steps = [
        np.sort(random.choice(np.arange(1, 1 << input_bits), count, replace=False))
        for _ in range(channels)
    ]
    return Thresholding("act", np.array(steps), np.zeros(1, bool), channels, input_bits, pe)


def cases() -> list[Case]:
    """All parameter sets for which FINN's figures are known."""
    packed, behavioural = "FINN, DSP48E2", "FINN, no DSP"
    return [
        Case(
            "MVU 64x64, SIMD 16, PE 4, 4 x 4 bit, accumulator 16",
            XCUP,
            matrix_vector(64, 64, 4, 16, pe=4, simd=16),
            (
                Peer(behavioural, (4996, 2297, 5, 425, 0, 0)),
                Peer(packed, (1722, 649, 5, 41, 16, 0)),
            ),
        ),
        Case(
            "MVU 16x4, SIMD 16, PE 4, 4 x 4 bit, accumulator 12 (ours: constant weights)",
            XCUP,
            matrix_vector(4, 16, 4, 12, pe=4, simd=16),
            (Peer(packed, (1522, 504, 0, 28, 16, 0)),),
        ),
        Case(
            "MVU 64x64, SIMD 16, PE 4, 8 x 8 bit, accumulator 24, xc7",
            XC7,
            matrix_vector(64, 64, 8, 24, pe=4, simd=16),
            (Peer("FINN, DSP48E1", (2395, 740, 10, 49, 32, 0)),),
        ),
        *(
            Case(
                f"thresholding 12 to 4 bit, 16 channels, PE {pe}",
                XCUP,
                thresholding(4, 12, 16, pe=pe),
                (Peer("FINN", counts),),
            )
            for pe, counts in (
                (1, (114, 158, 0, 7, 0, 0)),
                (4, (301, 502, 0, 18, 0, 0)),
                (16, (819, 1631, 0, 66, 0, 0)),
            )
        ),
        Case(
            "thresholding 16 to 8 bit, 64 channels, PE 1",
            XCUP,
            thresholding(8, 16, 64, pe=1),
            (Peer("FINN", (504, 372, 0, 22, 0, 8)),),
        ),
    ]


def rows(case: Case, result: SynthesisResult) -> list[tuple[str, ...]]:
    """Table rows: ours first, then the peers'."""
    cells, cycles = result.cells, str(case.layer.cycles)
    memory = sum(n for cell, n in cells.items() if cell.startswith(("SRL", "RAM")))
    blocks = sum(n for cell, n in cells.items() if cell.startswith("RAMB"))
    ours = (
        result.resources.lut - result.lutram,
        result.resources.ff,
        memory - blocks,
        result.carry,
        result.resources.dsp,
        blocks,
    )
    table = [(case.title, "sira", cycles, *map(str, ours), str(result.logic_depth))]
    for peer in case.peers:
        table.append(("", peer.name, cycles, *map(str, peer.counts), ""))
    return table


def main() -> None:
    """Synthesise every case and print the table."""
    parser = argparse.ArgumentParser(description="our units beside FINN's, by Yosys synthesis")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    markdown = parser.parse_args().markdown
    table: list[tuple[str, ...]] = []
    everything = cases()
    for part in (XC7, XCUP):
        chosen = [case for case in everything if case.part == part]
        results = synthesize_layers([case.layer for case in chosen], part)
        for case, result in zip(chosen, results, strict=True):
            table += rows(case, result)
    if markdown:
        for row in (COLUMNS, ["---"] * len(COLUMNS), *table):
            print(f"| {' | '.join(row)} |")
    else:
        pretty = Table(*COLUMNS, title=f"Synthesised with {tool_version()}")
        for row in table:
            pretty.add_row(*row, end_section=False)
        Console(width=150).print(pretty)


if __name__ == "__main__":
    main()
