"""The HLS C++, compiled with g++, against plain Python arithmetic and the layers' own execution."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hls.dataflow import Dataflow, Edge, Ints, Layer, Port
from hls.emit.cpp import LIBRARY, emit_hls
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter
from hls.simulate.cpp import ap_types, compile_hls, simulate_hls, simulate_hls_ports
from hls.simulate.toolchain import compiler
from hls.simulate.verilator import SimulationError
from sira.errors import SiraError

FRAMES = 40

VENDOR_HEADERS = {"ap_int.h", "ap_axi_sdata.h", "hls_stream.h"}


def side_by_side(layers: list[Layer]) -> Dataflow:
    """Unconnected layers, each with a graph input and output of its own name."""
    edges = []
    for layer in layers:
        edges.append(Edge(Port("", layer.name), Port(layer.name, "in")))
        edges.append(Edge(Port(layer.name, "out"), Port("", layer.name)))
    return Dataflow("side_by_side", tuple(layers), tuple(edges))


def chain(layers: list[Layer]) -> Dataflow:
    ports = [("", "x", "x"), *((layer.name, "in", "out") for layer in layers), ("", "y", "y")]
    edges = (
        Edge(Port(source, out), Port(target, into), depth=2 + i)
        for i, ((source, _, out), (target, into, _)) in enumerate(pairwise(ports))
    )
    return Dataflow("chain", tuple(layers), tuple(edges))


def matrix_vector(
    seed: int, n: int, k: int, pe: int, simd: int, bits: int, low: int, high: int, **more: int
) -> MatrixVector:
    rng = np.random.default_rng(seed)
    weights = rng.integers(low, high + 1, (n, k))
    if (low, high) == (-1, 1) and more.pop("bipolar", 0):
        weights = np.where(weights >= 0, 1, -1)
    start = rng.integers(-100, 100, n)
    return MatrixVector(f"mvu{seed}", weights, start, bits, pe=pe, simd=simd, **more)


def thresholding(
    seed: int, rows: int, falling_rows: int, steps: int, channels: int, bits: int, pe: int,
    vectors: int = 1,
) -> Thresholding:  # fmt: skip
    rng = np.random.default_rng(seed)
    thresholds = np.sort(rng.integers(0, 2**bits + 1, (rows, steps)), axis=1)
    thresholds[0, 0], thresholds[-1, -1] = 0, 2**bits  # always and never counted
    falling = rng.integers(0, 2, falling_rows).astype(bool)
    name = f"thresholding{seed}"
    return Thresholding(name, np.sort(thresholds, axis=1), falling, channels, bits, pe, vectors)


def argmax(seed: int, channels: int, bits: int, lanes: int, largest: int = 4) -> ArgMax:
    rng = np.random.default_rng(seed)
    scale = rng.integers(1, largest, channels)
    offset = rng.integers(-50 * largest, 50 * largest, channels)
    return ArgMax(f"argmax{seed}", scale, offset, bits, lanes)


LAYERS: list[Layer] = [
    # Signed weights; a narrow accumulator that wraps; one lane; all lanes; beats beyond 64 bits.
    matrix_vector(1, 8, 12, 2, 3, 3, -4, 3, accumulator_bits=9, vectors=2),
    matrix_vector(2, 6, 10, 1, 1, 8, -128, 127, accumulator_bits=20),
    matrix_vector(3, 6, 20, 3, 20, 5, -3, 7, accumulator_bits=4, vectors=3),
    matrix_vector(4, 4, 6, 4, 2, 2, -1, 1, accumulator_bits=7),
    # One-bit weights, with one-bit inputs (XNOR) and wider ones; beats beyond 1024 bits.
    matrix_vector(5, 4, 16, 2, 8, 1, -1, 1, accumulator_bits=6, bipolar=1, vectors=2),
    matrix_vector(6, 4, 6, 2, 3, 4, -1, 1, accumulator_bits=9, bipolar=1),
    matrix_vector(7, 2, 1100, 1, 1100, 1, -1, 1, accumulator_bits=12, bipolar=1),
    # Thresholds and directions per channel and per tensor, 2^b - 1 of them and not.
    thresholding(11, 8, 8, 3, 8, 5, 2, vectors=2),
    thresholding(12, 1, 1, 1, 6, 7, 3),
    thresholding(13, 1, 4, 6, 4, 4, 4),
    thresholding(14, 5, 1, 15, 5, 9, 1, vectors=3),
    thresholding(15, 4, 4, 200, 4, 12, 2),
    *(
        WidthConverter(f"converter_{wide}_{narrow}", elements, wide, narrow, bits)
        for elements, wide, narrow, bits in ((24, 2, 6, 5), (24, 6, 2, 5), (12, 3, 3, 9))
    ),
    WidthConverter("gather", 60, 1, 30, 3),
    argmax(21, 10, 8, 1),
    argmax(22, 10, 8, 5, largest=10**12),
    argmax(23, 6, 1, 3, largest=2),  # mostly ties
]

# What was emitted, and what it would have to compute: one constant of each kind is wrong.
RIGHT_MVU = matrix_vector(31, 4, 6, 2, 3, 3, -4, 3, accumulator_bits=10)
RIGHT_THRESHOLDS = thresholding(32, 4, 4, 3, 4, 4, 2)


def _changed(values: Ints, index: tuple[int, ...], by: int) -> Ints:
    copy = np.array(values)
    copy[index] += by
    return copy


MUTANTS: dict[Layer, Layer] = {
    dataclasses.replace(
        RIGHT_MVU, name="weight", weights=_changed(RIGHT_MVU.weights, (2, 4), 1)
    ): RIGHT_MVU,
    dataclasses.replace(
        RIGHT_MVU, name="start", start=_changed(RIGHT_MVU.start, (3,), -1)
    ): RIGHT_MVU,
    dataclasses.replace(
        RIGHT_THRESHOLDS,
        name="threshold",
        thresholds=_changed(RIGHT_THRESHOLDS.thresholds, (1, 0), 1),
    ): RIGHT_THRESHOLDS,
    dataclasses.replace(
        RIGHT_THRESHOLDS, name="falling", falling=~RIGHT_THRESHOLDS.falling
    ): RIGHT_THRESHOLDS,
}


def brute_force(layer: Layer, frame: list[int]) -> list[int]:
    """One frame through a layer in plain Python integers."""
    match layer:
        case MatrixVector():
            n, k = layer.weights.shape
            weights, start = layer.weights.tolist(), layer.start.tolist()
            return [
                (start[row] + sum(w * u for w, u in zip(weights[row], vector, strict=True)))
                % 2**layer.accumulator_bits
                for vector in (frame[i : i + k] for i in range(0, len(frame), k))
                for row in range(n)
            ]
        case Thresholding():
            thresholds = layer.thresholds.tolist()
            falling = layer.falling.tolist()
            counts = []
            for i, value in enumerate(frame):
                channel = i % layer.channels
                if falling[channel % len(falling)]:
                    value = 2**layer.input_bits - 1 - value
                counts.append(sum(value >= t for t in thresholds[channel % len(thresholds)]))
            return counts
        case WidthConverter():
            return frame
        case ArgMax():
            scores = [
                s * u + o
                for s, u, o in zip(layer.scale.tolist(), frame, layer.offset.tolist(), strict=True)
            ]
            return [scores.index(max(scores))]
    raise AssertionError(layer)


def random_frames(layer: Layer, frames: int = FRAMES) -> Ints:
    """Random frames, the first all smallest and the second all largest."""
    (stream,) = layer.inputs.values()
    values = np.random.default_rng(7).integers(0, 2**stream.bits, (frames, stream.elements))
    values[0], values[1] = 0, 2**stream.bits - 1
    return values


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Ints]:
    """All layers and mutants, compiled as one unit: outputs by layer name."""
    layers = [*LAYERS, *MUTANTS]
    dataflow = side_by_side(layers)
    directory = tmp_path_factory.mktemp("layers")
    emit_hls(dataflow, directory)
    inputs = {layer.name: random_frames(layer) for layer in layers}
    return simulate_hls_ports(directory, dataflow, inputs)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layer(layer: Layer, simulated: Mapping[str, Ints]) -> None:
    frames = random_frames(layer)
    expected = [brute_force(layer, frame) for frame in frames.tolist()]
    np.testing.assert_array_equal(simulated[layer.name], expected)
    np.testing.assert_array_equal(layer.execute(frames)[0], expected)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda layer: layer.name)
def test_wrong_constant_shows(mutant: Layer, simulated: Mapping[str, Ints]) -> None:
    frames = random_frames(mutant).tolist()
    result = simulated[mutant.name].tolist()
    assert result == [brute_force(mutant, frame) for frame in frames]
    assert result != [brute_force(MUTANTS[mutant], frame) for frame in frames]


def network() -> list[Layer]:
    """MVU (XNOR) -> thresholding -> width converter -> MVU -> argmax."""
    first = matrix_vector(41, 8, 12, 4, 3, 1, -1, 1, accumulator_bits=6, bipolar=1)
    # Sums are centred in the accumulator's window, so that all counts and classes occur.
    first = dataclasses.replace(first, start=24 - first.weights.sum(axis=1) // 2)
    second = matrix_vector(43, 10, 8, 5, 2, 2, -4, 3, accumulator_bits=8)
    second = dataclasses.replace(second, start=120 - 3 * second.weights.sum(axis=1) // 2)
    steps = np.array([23, 24, 26]) - np.arange(8)[:, None] % 2
    falling = np.arange(8) % 2 == 1
    channels = np.arange(10)
    return [
        first,
        Thresholding("act 1/Relu", steps, falling, 8, 6, pe=4),
        WidthConverter("converter", 8, 4, 2, 2),
        second,
        ArgMax("argmax", np.full(10, 3), 4 - channels, 8, lanes=5),
    ]


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("network")
    emit_hls(chain(network()), directory)
    return directory


def test_network(network_folder: Path) -> None:
    layers = network()
    frames = random_frames(layers[0], 100)
    expected = frames.tolist()
    for layer in layers:
        expected = [brute_force(layer, frame) for frame in expected]
    dataflow = chain(layers)
    assert simulate_hls(network_folder, dataflow, frames).tolist() == expected
    assert dataflow.execute({"x": frames})[Port("", "y")].tolist() == expected
    # A frame leaves nothing behind that would change the next one.
    assert simulate_hls(network_folder, dataflow, frames[::-1]).tolist() == expected[::-1]
    assert len({index for (index,) in expected}) > 2


def test_folder_is_self_contained_and_reproducible(network_folder: Path, tmp_path: Path) -> None:
    again = emit_hls(chain(network()), tmp_path / "again")
    assert sorted(path.name for path in again) == sorted(p.name for p in network_folder.iterdir())
    for path in again:
        assert path.read_bytes() == (network_folder / path.name).read_bytes()
        for header in re.findall(r'#include "(.*)"', path.read_text()):
            assert header in VENDOR_HEADERS or (path.parent / header).exists()
    top = (network_folder / "accelerator.cpp").read_text()
    for pragma in (
        "DATAFLOW",
        "INTERFACE mode=axis port=s_axis",
        "STREAM variable=stream3 depth=5",
    ):
        assert f"#pragma HLS {pragma}\n" in top


def test_is_clean_cpp14(network_folder: Path) -> None:
    """What Vitis HLS is asked to read is C++14, although the simulation around it is C++17."""
    include = [f"-I{LIBRARY / 'sim'}", "-isystem", str(ap_types())]
    flags = ["-std=c++14", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    command = ["g++", *flags, *include, str(network_folder / "accelerator.cpp")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small(tmp_path: Path) -> tuple[Dataflow, Path]:
    dataflow = chain([WidthConverter("converter", 8, 2, 4, 3)])
    emit_hls(dataflow, tmp_path)
    return dataflow, tmp_path


def test_a_missing_beat_is_found(small: tuple[Dataflow, Path]) -> None:
    dataflow, directory = small
    source = directory / "accelerator.cpp"
    source.write_text(source.read_text().replace("from_axi_stream<4, 6>", "from_axi_stream<3, 6>"))
    with pytest.raises(SimulationError, match="stopped: read from an empty stream"):
        simulate_hls(directory, dataflow, np.zeros((1, 8), np.int64))


def test_a_surplus_beat_is_found(small: tuple[Dataflow, Path]) -> None:
    dataflow, directory = small
    source = directory / "accelerator.cpp"
    source.write_text(source.read_text().replace("to_axi_stream<2, 12>", "to_axi_stream<1, 12>"))
    with pytest.raises(SimulationError, match="stopped: wrong number of beats"):
        simulate_hls(directory, dataflow, np.zeros((1, 8), np.int64))


def test_compiles_once(small: tuple[Dataflow, Path]) -> None:
    _, directory = small
    library = compile_hls(directory)
    before = library.stat().st_mtime_ns
    assert compile_hls(directory) == library and library.stat().st_mtime_ns == before
    source = directory / "accelerator.cpp"
    source.write_text(source.read_text() + "#error damaged\n")
    with pytest.raises(SiraError, match=r"could not compile the HLS C\+\+.*#error damaged"):
        compile_hls(directory)


def test_without_compiler(small: tuple[Dataflow, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    compiler.cache_clear()
    try:
        with pytest.raises(SiraError, match=r"no C\+\+ compiler found.*apt install g\+\+"):
            compile_hls(small[1])
    finally:
        compiler.cache_clear()
