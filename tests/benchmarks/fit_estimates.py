"""Estimated against synthesised resources over a grid of layers.

Run ``python tests/benchmarks/fit_estimates.py``; about a quarter of an hour of CPU time, seconds
when the results are cached. It prints a row for each layer, and for each kind of layer the errors
and the line ``factor * estimate + constant`` that least squares puts through the counts: a formula
is well fitted where the factor is near 1 and the constant near 0. The quantities are in the layers'
``inventory``, the prices in ``hls/device``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hls.dataflow import Layer
from hls.device import device_of
from hls.implement.yosys import SynthesisResult, synthesize_layers, tool_version
from hls.layers.argmax import ArgMax
from hls.layers.concat import Concat
from hls.layers.depth_to_space import DepthToSpace
from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.global_pooling import GlobalPooling
from hls.layers.matrix_vector import MatrixVector
from hls.layers.pooling import Pooling
from hls.layers.slice import Slice
from hls.layers.sliding_window import SlidingWindow
from hls.layers.thresholding import Thresholding
from hls.layers.upsample import Upsample
from hls.layers.width_converter import WidthConverter
from hls.layers.zero_insertion import ZeroInsertion

PART = "xczu7ev-ffvc1156-2-e"

# (weights' lowest and highest value, input bits, N, K, PE, SIMD)
MATRICES = (
    ("bipolar", 1, 64, 64, 4, 16),
    ("bipolar", 1, 64, 784, 8, 49),
    ("bipolar", 1, 10, 64, 2, 8),
    ("bipolar", 2, 64, 64, 4, 16),
    ("bipolar", 4, 32, 64, 2, 32),
    ("ternary", 1, 64, 64, 4, 16),
    ("ternary", 2, 64, 64, 8, 8),
    ("ternary", 2, 64, 784, 4, 16),
    ("ternary", 2, 10, 64, 1, 16),
    ("ternary", 4, 32, 32, 4, 16),
    ("ternary", 8, 32, 64, 2, 16),
    ("int2", 2, 64, 64, 4, 16),
    ("int3", 3, 64, 64, 4, 16),
    ("int3", 3, 32, 96, 1, 12),
    ("int4", 4, 64, 64, 4, 16),
    ("int4", 4, 64, 64, 1, 4),
    ("int4", 4, 128, 64, 8, 8),
    ("int4", 4, 10, 32, 2, 8),
    ("int4", 8, 16, 48, 2, 12),
    ("int4", 2, 32, 64, 4, 16),
    ("int6", 6, 32, 64, 2, 16),
    ("int8", 8, 64, 64, 1, 8),
    ("int8", 8, 32, 32, 4, 8),
    ("int8", 8, 10, 64, 1, 16),
    ("int8", 2, 32, 64, 2, 16),
)

# (weights' lowest and highest value, input bits, accumulator bits, C, K, PE, rows of an image with
# border classes, 0 for one start value)
DEPTHWISE = (
    (-8, 7, 4, 11, 32, 9, 2, 0),
    (-8, 7, 4, 11, 32, 9, 8, 0),
    (-8, 7, 4, 11, 8, 9, 8, 0),
    (-128, 127, 8, 19, 32, 9, 2, 0),
    (-128, 127, 1, 11, 32, 9, 2, 0),
    (-1, 1, 3, 7, 32, 9, 4, 0),
    (1, 1, 4, 8, 32, 9, 4, 0),
    (-8, 7, 4, 11, 32, 9, 2, 32),
    (-8, 7, 4, 11, 32, 9, 2, 112),
)

# (operation, channels, positions, input bits, lanes)
GLOBAL_POOLINGS = (
    ("sum", 64, 49, 4, 4),
    ("max", 64, 49, 4, 4),
    ("sum", 1024, 49, 4, 8),
    ("sum", 1024, 49, 4, 1),
    ("sum", 8, 49, 4, 8),
)

# (output bits or number of thresholds, input bits, channels, PE, one row of thresholds for all)
THRESHOLDS = (
    (1, 7, 64, 4, False),
    (1, 10, 64, 1, False),
    (3, 9, 64, 8, False),
    (3, 9, 64, 1, False),
    (3, 8, 784, 4, True),
    (15, 12, 16, 1, False),
    (15, 12, 16, 4, False),
    (15, 12, 16, 16, False),
    (15, 14, 64, 2, False),
    (14, 12, 64, 4, True),
    (63, 14, 32, 1, False),
    (255, 16, 64, 1, False),
    (255, 18, 16, 2, False),
    (255, 16, 64, 2, True),
)

CONVERTERS = ((64, 16, 4, 2), (64, 4, 16, 2), (64, 32, 1, 4), (64, 1, 8, 8), (96, 24, 8, 4))

# (channels, lanes, input bits, bits of the scale, 0 where scores are the inputs)
ARGMAXES = (
    (10, 1, 8, 0),
    (10, 2, 10, 0),
    (10, 10, 12, 0),
    (10, 1, 12, 6),
    (10, 5, 10, 4),
    (100, 4, 14, 8),
)

FORKS = ((64, 8, 4, 2), (64, 1, 8, 4))

# (left, right, output bits, product, left factor, right factor, start, channels, lanes); a factor
# (low, high) differs between channels
ELEMENTWISE: tuple[tuple[Any, ...], ...] = (
    (4, 4, 5, 0, 1, 1, 0, 64, 4),
    (8, 8, 9, 0, 1, 1, 0, 64, 1),
    (4, 4, 8, 0, 3, 5, 7, 64, 4),
    (4, 4, 11, 0, 15, 63, 7, 64, 4),
    (8, 8, 13, 0, 7, -11, 700, 64, 2),
    (4, 4, 8, 1, 0, 0, 0, 64, 4),
    (8, 8, 17, 1, -3, 5, 0, 64, 2),
    (4, 4, 9, 0, (-7, 7), (-7, 7), (0, 98), 64, 2),
    (8, 8, 17, 0, (-99, 98), (-99, 98), (0, 9998), 256, 2),
    (4, 8, 13, 1, 0, (-7, 7), 0, 64, 4),
)

# (operation, channels, positions, input bits, lanes)
POOLINGS: tuple[tuple[Literal["max", "sum"], int, int, int, int], ...] = (
    ("max", 64, 9, 4, 8),
    ("max", 64, 4, 2, 16),
    ("max", 64, 4, 8, 1),
    ("sum", 64, 9, 4, 8),
    ("sum", 64, 49, 8, 2),
)

# (channels, bits, lanes)
CONCATS = (((64, 64), (4, 4), 8), ((64, 32, 16, 64), (4, 2, 4, 3), 2))

# (shape, starts, stops, steps, bits, lanes)
SLICES = (
    ((56, 56, 64), (0, 0, 0), (56, 56, 64), (2, 2, 1), 4, 4),
    ((28, 28, 64), (0, 0, 0), (28, 28, 32), (1, 1, 1), 4, 8),
    ((30, 30, 16), (1, 1, 0), (29, 29, 16), (1, 1, 1), 4, 1),
)

# (shape, kernel, stride, pads, fill, blocks, bits, lanes)
_Pair, _Quad = tuple[int, int], tuple[int, int, int, int]
WINDOWS: tuple[tuple[tuple[int, int, int], _Pair, int, _Quad, int, int, int, int], ...] = (
    ((32, 32, 64), (3, 3), 1, (1, 1, 1, 1), 0, 1, 2, 32),
    ((30, 30, 64), (3, 3), 1, (0, 0, 0, 0), 0, 1, 2, 32),
    ((32, 32, 16), (3, 3), 2, (1, 1, 1, 1), 1, 1, 4, 4),
    ((28, 28, 64), (2, 2), 2, (0, 0, 0, 0), 0, 16, 2, 4),
    ((14, 14, 64), (3, 3), 1, (1, 1, 1, 1), 0, 16, 4, 4),
    ((112, 112, 32), (3, 3), 1, (1, 1, 1, 1), 0, 8, 4, 4),
    ((224, 224, 3), (3, 3), 2, (1, 1, 1, 1), 0, 1, 8, 3),
    ((1, 128, 8), (1, 5), 1, (0, 2, 0, 2), 3, 1, 4, 8),
    ((16, 16, 8), (1, 1), 1, (1, 1, 1, 1), 3, 1, 4, 8),
    ((8, 8, 64), (3, 3), 1, (1, 1, 1, 1), 0, 1, 3, 16),
    ((8, 8, 64), (3, 3), 1, (1, 1, 1, 1), 0, 1, 3, 64),
    ((5, 5, 256), (3, 3), 1, (0, 0, 0, 0), 0, 1, 2, 64),
    ((16, 16, 16), (3, 3), 1, (1, 1, 1, 1), 0, 1, 3, 16),
    ((16, 16, 16), (3, 3), 1, (1, 1, 1, 1), 0, 1, 3, 1),
    ((12, 12, 4), (5, 5), 1, (0, 0, 0, 0), 0, 1, 2, 1),
    ((28, 28, 1), (5, 5), 1, (2, 2, 2, 2), 0, 1, 8, 1),
    ((6, 6, 8), (3, 3), 1, (1, 1, 1, 1), 0, 1, 2, 4),
    ((10, 10, 4), (2, 2), 2, (0, 0, 0, 0), 0, 4, 4, 1),
)

# (shape, scales, bits, lanes)
UPSAMPLES = (
    ((16, 16, 8), (2, 2), 4, 2),
    ((32, 32, 16), (2, 2), 4, 16),
    ((8, 8, 4), (2, 2), 3, 1),
    ((8, 8, 4), (1, 3), 3, 4),
    ((64, 64, 32), (3, 3), 4, 4),
)

# (shape, fill, bits, lanes), strides of 2
ZERO_INSERTIONS = (((28, 28, 32), 7, 4, 4), ((16, 16, 3), 0, 8, 3))

# (shape, block, mode, bits, lanes)
DEPTHS_TO_SPACE: tuple[tuple[tuple[int, int, int], int, Literal["DCR", "CRD"], int, int], ...] = (
    ((16, 16, 16), 2, "DCR", 4, 4),
    ((32, 32, 32), 2, "CRD", 8, 2),
    ((64, 64, 12), 2, "DCR", 8, 1),
    ((64, 64, 64), 2, "DCR", 8, 8),
    ((10, 10, 27), 3, "CRD", 3, 3),
)


def layers() -> Iterator[Layer]:
    """The grid; every value is random with a fixed seed."""
    for number, (kind, bits, n, k, pe, simd) in enumerate(MATRICES):
        random = np.random.default_rng(number)
        match kind:
            case "bipolar":
                weights, low, high = 2 * random.integers(0, 2, (n, k)) - 1, -1, 1
            case "ternary":
                weights, low, high = random.integers(-1, 2, (n, k)), -1, 1
            case _:
                low, high = -(1 << int(kind[3:]) - 1), (1 << int(kind[3:]) - 1) - 1
                weights = random.integers(low, high + 1, (n, k))
        # What ranges give for random weights: half of the widest sum.
        accumulator = ((high - low) * ((1 << bits) - 1) * k // 2).bit_length()
        start = random.integers(0, 1 << accumulator, n)
        name = f"matrix {kind} x {bits} bit, {n} x {k}, PE {pe}, SIMD {simd}"
        yield MatrixVector(name, weights, start, bits, accumulator, pe, simd)
    for low, high, bits, accumulator, channels, k, pe, rows in DEPTHWISE:
        random = np.random.default_rng(channels + k)
        weights = random.integers(low, high + 1, (channels, k))
        classes = (0, *[1] * (rows - 2), 2) if rows else ()
        start = random.integers(0, 1 << accumulator, (9, channels) if rows else channels)
        border = f", {rows} rows with a border" if rows else ""
        name = f"depthwise {low} to {high} x {bits} bit, {channels} x {k}, PE {pe}{border}"
        vectors = rows * rows or 1
        yield DepthwiseVector(
            name, weights, start, bits, accumulator, pe, vectors, classes, classes
        )
    for operation, channels, positions, bits, lanes in GLOBAL_POOLINGS:
        name = f"global {operation} {bits} bit, {channels} x {positions}, {lanes} lanes"
        yield GlobalPooling(name, operation, channels, positions, bits, lanes)
    for count, bits, channels, pe, shared in THRESHOLDS:
        random = np.random.default_rng(count)
        rows = 1 if shared else channels
        steps = np.sort(random.integers(1, 1 << bits, (rows, count)), axis=1)
        each = "all alike" if shared else "per channel"
        name = f"thresholding {bits} bit, {count} {each}, {channels} channels, PE {pe}"
        yield Thresholding(name, steps, np.zeros(1, bool), channels, bits, pe)
    for elements, wide, narrow, bits in CONVERTERS:
        name = f"width converter {wide} to {narrow} lanes of {bits} bit"
        yield WidthConverter(name, elements, wide, narrow, bits)
    for channels, lanes, bits, scale_bits in ARGMAXES:
        random = np.random.default_rng(channels)
        scale = random.integers(1, 1 << scale_bits, channels) if scale_bits else np.ones(channels)
        offset = random.integers(0, 1 << scale_bits, channels) * bool(scale_bits)
        name = f"argmax {bits} bit, scale {scale_bits} bit, {channels} channels, {lanes} lanes"
        yield ArgMax(name, scale.astype(np.int64), offset, bits, lanes)
    yield from rearranging_layers()


def rearranging_layers() -> Iterator[Layer]:
    """Layers without weights, of which several streams come and go, or positions change."""
    for elements, lanes, bits, copies in FORKS:
        yield Fork(f"fork of {lanes} lanes, {copies} copies", elements, lanes, bits, copies)
    for left, right, output, product, *constants, channels, lanes in ELEMENTWISE:
        random = np.random.default_rng(channels)
        values = [
            random.integers(c[0], c[1] + 1, channels) if isinstance(c, tuple) else np.array([c])
            for c in constants
        ]
        name = f"elementwise {left} and {right} bit, {(product, *constants)}, {lanes} lanes"
        yield Elementwise(name, channels, left, right, product, *values, output, lanes)
    for operation, channels, positions, bits, lanes in POOLINGS:
        name = f"pooling {operation} {bits} bit, {channels} x {positions}, {lanes} lanes"
        yield Pooling(name, operation, channels, positions, bits, lanes, 49)
    for parts, part_bits, lanes in CONCATS:
        yield Concat(f"concat {parts}, {lanes} lanes", parts, part_bits, lanes, 49)
    for shape, starts, stops, steps, bits, lanes in SLICES:
        name = f"slice of {shape}, {starts} to {stops}, {lanes} lanes"
        yield Slice(name, shape, starts, stops, steps, bits, lanes)
    for shape, kernel, stride, pads, fill, blocks, bits, lanes in WINDOWS:
        strides = f"stride {stride}, pads {max(pads)}, {blocks} blocks"
        name = f"window {kernel} of {shape}, {strides}, {bits} bit, {lanes} lanes"
        yield SlidingWindow(
            name, shape, kernel, (stride, stride), (1, 1), pads, fill, blocks, bits, lanes
        )
    for shape, scales, bits, lanes in UPSAMPLES:
        name = f"upsample {scales} of {shape}, {bits} bit, {lanes} lanes"
        yield Upsample(name, shape, scales, bits, lanes)
    for shape, fill, bits, lanes in ZERO_INSERTIONS:
        yield ZeroInsertion(
            f"zero insertion in {shape}, {lanes} lanes", shape, (2, 2), fill, bits, lanes
        )
    for shape, block, mode, bits, lanes in DEPTHS_TO_SPACE:
        name = f"depth to space {mode} of {shape}, {lanes} lanes"
        yield DepthToSpace(name, shape, block, mode, bits, lanes)


def main() -> None:
    """Synthesise the grid and print estimates, counts and errors."""
    parser = argparse.ArgumentParser(description="estimates against Yosys synthesis")
    parser.add_argument("--only", default="", help="layers whose name contains this")
    chosen = [layer for layer in layers() if parser.parse_args().only in layer.name]
    results: list[SynthesisResult] = []
    for first in track(range(0, len(chosen), 2), "synthesis", console=Console(stderr=True)):
        results += synthesize_layers(chosen[first : first + 2], PART)
    table = Table(title=f"Estimated and synthesised ({tool_version()}, {PART})")
    for column in (
        "layer",
        "LUT",
        "estimate",
        "error",
        "FF",
        "estimate",
        "error",
        "DSP",
        "BRAM18",
        "depth",
    ):
        table.add_column(column, justify="left" if column == "layer" else "right")
    device = device_of(PART)
    numbers: dict[str, list[tuple[tuple[int, int], ...]]] = {}
    for layer, result in zip(chosen, results, strict=True):
        estimate, counted = device.price(layer.inventory()), result.resources
        pairs = ((counted.lut, estimate.lut), (counted.ff, estimate.ff))
        relative = [(guess - real) / max(real, 1) for real, guess in pairs]
        numbers.setdefault(layer.name.split()[0], []).append(pairs)
        cells = [
            cell
            for (real, guess), error in zip(pairs, relative, strict=True)
            for cell in (str(real), str(guess), f"{error:+.0%}")
        ]
        dsps = f"{counted.dsp} / {estimate.dsp}"
        blocks = f"{counted.bram18} / {estimate.bram18}"
        table.add_row(layer.name, *cells, dsps, blocks, str(result.logic_depth))
    Console(width=150).print(table)
    for kind, of_kind in numbers.items():
        split = np.array(of_kind).transpose(1, 2, 0)
        for resource, (real, guess) in zip(("LUT", "FF"), split, strict=True):
            error = np.abs(guess - real) / np.maximum(real, 1)
            terms = np.stack([guess, np.ones(len(guess))], axis=1)
            factor, constant = np.linalg.lstsq(terms, real, rcond=None)[0]
            print(
                f"{kind}, {len(real)} layers, {resource}: error mean {error.mean():.1%}, worst"
                f" {error.max():.1%}; best line {factor:.3f} * estimate {constant:+.1f}"
            )


if __name__ == "__main__":
    main()
