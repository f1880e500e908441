"""One corrupted word in a memory must not pass the comparison with the reference."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from hls.emit.rtl import emit_rtl
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.simulate.verilator import build

GENERATOR = np.random.default_rng(11)
LAYERS = [
    MatrixVector("digits", GENERATOR.integers(-8, 8, (6, 8)), np.arange(6), 4, 12, 2, 4),
    MatrixVector("signs", GENERATOR.choice([-1, 1], (4, 9)), np.arange(4), 1, 4, 2, 3),
    MatrixVector("ternary", GENERATOR.integers(-1, 2, (4, 8)), np.arange(4), 2, 6, 1, 4),
    Thresholding("steps", np.arange(2, 58, 2).reshape(4, 7), [False], 4, 6, 2),
    Thresholding("falls", np.arange(1, 29).reshape(4, 7), np.arange(4) < 2, 4, 6, 2),
    ArgMax("top", np.array([1, 2, 3, 2]), np.array([3, 0, 1, 2]), 3, 2),
]
MEMORIES = [
    *(
        f"{layer}_{memory}"
        for layer in ("digits", "signs", "ternary")
        for memory in ("weights", "start")
    ),
    *(f"{layer}_thresholds_{stage:02d}" for layer in ("steps", "falls") for stage in range(3)),
    "falls_falling",
    "top_affine",
]


@pytest.fixture(scope="module")
def design(tmp_path_factory, independent, reference):
    """A simulator, its folder, and for each layer every count (thresholds) or many random ones."""
    dataflow = independent(LAYERS)
    folder = tmp_path_factory.mktemp("mutation")
    emit_rtl(dataflow, folder)
    frames, expected = {}, {}
    for layer in LAYERS:
        stream = layer.inputs["in"]
        frames[layer.name] = (
            np.repeat(np.arange(64)[:, None], stream.elements, axis=1)
            if isinstance(layer, Thresholding)
            else GENERATOR.integers(0, 2**stream.bits, (64, stream.elements))
        )
        expected[layer.name] = reference(layer, frames[layer.name])
    return build(folder, dataflow), folder, frames, expected


def wrong_ports(simulator, frames, expected):
    ports = simulator.run(frames).ports
    return {name for name, values in expected.items() if not np.array_equal(ports[name], values)}


def test_every_memory_is_listed_and_untouched_ones_pass(design):
    simulator, folder, frames, expected = design
    assert {path.stem for path in folder.glob("*.mem")} == set(MEMORIES)
    assert wrong_ports(simulator, frames, expected) == set()


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("word", [0, -1])
def test_one_flipped_bit_is_found(design, tmp_path, memory, word):
    simulator, folder, frames, expected = design
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    path = broken / f"{memory}.mem"
    words = path.read_text().split()
    words[word] = f"{int(words[word], 16) ^ 1:0{len(words[word])}x}"
    path.write_text("\n".join(words) + "\n")
    assert wrong_ports(replace(simulator, memories=broken), frames, expected) == {
        memory.split("_")[0]
    }
