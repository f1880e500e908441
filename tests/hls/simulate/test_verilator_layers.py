"""A model for each layer does in every cycle what one model of the whole design does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from hls.dataflow import Dataflow, Edge, Ints, Port
from hls.device import default_device
from hls.emit.rtl import emit_rtl
from hls.layers.argmax import ArgMax
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter
from hls.simulate import toolchain as verilator_build
from hls.simulate.verilator import SimulationError, Simulator, build

GENERATOR = np.random.default_rng(23)


def matrix_vector(name: str) -> MatrixVector:
    """Equal but for the weights and start values, which are random."""
    weights = GENERATOR.integers(-8, 8, (8, 12))
    weights[0, :2] = -8, 7  # both extremes, so that the product variant is certain
    return MatrixVector(name, weights, GENERATOR.integers(0, 2**11, 8), 4, 11, 2, 4)


def two_branches() -> Dataflow:
    """A fork whose branches are a layer each; their wide sum is compared; two graph outputs."""
    fork = Fork("fork", 12, 4, 4, 3)
    left, right = matrix_vector("left"), matrix_vector("left_weights")
    add = Elementwise(
        "add", 8, 11, 11, 0, np.ones(1, int), np.ones(1, int), np.zeros(1, int), 12, 2
    )
    wide = WidthConverter("wide", 8, 2, 8, 12)
    narrow = WidthConverter("narrow", 8, 8, 1, 12)
    steps = Thresholding("steps", np.sort(GENERATOR.integers(0, 4097, (8, 5))), [False], 8, 12, 1)
    top = ArgMax("top", np.arange(1, 9), np.arange(8), 3, 1)
    layers = (fork, left, right, add, wide, narrow, steps, top)

    def edge(source: str, target: str, depth: int = 2) -> Edge:
        ends = (end.split(".") if "." in end else ["", end] for end in (source, target))
        return Edge(*(Port(*end) for end in ends), depth)

    edges = (
        edge("x", "fork.in"),
        edge("fork.out0", "left.in"),
        edge("fork.out1", "left_weights.in"),
        edge("fork.out2", "copy", 40),
        edge("left.out", "add.left", 3),
        edge("left_weights.out", "add.right"),
        edge("add.out", "wide.in"),
        edge("wide.out", "narrow.in"),
        edge("narrow.out", "steps.in", 20),
        edge("steps.out", "top.in"),
        edge("top.out", "y"),
    )
    return Dataflow("two branches", layers, edges)


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataflow, Path]:
    dataflow = two_branches()
    folder = tmp_path_factory.mktemp("rtl")
    emit_rtl(dataflow, folder)
    return dataflow, folder


@pytest.fixture(scope="module")
def layered(design: tuple[Dataflow, Path]) -> Simulator:
    dataflow, folder = design
    return build(folder, dataflow, models="layers")


@pytest.fixture(scope="module")
def frames() -> Ints:
    return GENERATOR.integers(0, 16, (60, 12))


RUNS: dict[str, dict[str, Any]] = {
    "unhindered": {},
    "stalled input": {"stall_in": 0.7, "seed": 1},
    "stalled output": {"stall_out": 0.9, "seed": 2},
    "both stalled": {"stall_in": 0.4, "stall_out": 0.4, "seed": 3},
    "hardly moving": {"stall_in": 0.98, "stall_out": 0.5, "seed": 4},  # layers are at rest
    "reset": {"stall_out": 0.2, "reset_after": 44, "seed": 5},
}


@pytest.mark.parametrize("run", RUNS)
def test_every_cycle_is_that_of_one_model(
    design: tuple[Dataflow, Path], layered: Simulator, frames: Ints, run: str
) -> None:
    dataflow, folder = design
    whole = build(folder, dataflow, models="one")
    assert not whole.layers and len(layered.layers) == len(dataflow.layers)
    results = [simulator.run(frames, **RUNS[run]) for simulator in (whole, layered)]
    expected = dataflow.execute({"x": frames})
    for result in results:
        for port in ("copy", "y"):
            np.testing.assert_array_equal(result.ports[port], expected[Port("", port)])
            np.testing.assert_array_equal(result.completed[port], results[0].completed[port])
    assert results[0].cycles == results[1].cycles


def test_layers_that_differ_in_their_memories_share_a_library(layered: Simulator) -> None:
    assert layered.layers["left"] == layered.layers["left_weights"]
    assert len(set(layered.layers.values())) == len(layered.layers) - 1


def test_an_unchanged_design_builds_nothing_and_a_changed_layer_that_layer(
    design: tuple[Dataflow, Path],
    layered: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = []
    made = verilator_build._build_library

    def noted(library: Path, **rest: object) -> None:
        built.append(library.name)
        made(library, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(verilator_build, "_build_library", noted)
    dataflow, _ = design
    emit_rtl(dataflow, tmp_path)
    assert build(tmp_path, dataflow, models="layers").layers == layered.layers
    assert not built
    steps = tmp_path / "steps.sv"
    text = steps.read_text()
    assert text.count(".Depth(20)") == 1
    steps.write_text(text.replace(".Depth(20)", ".Depth(21)"))
    again = build(tmp_path, dataflow, models="layers")
    assert built == [again.layers["steps"].name]
    assert {n for n, library in again.layers.items() if library != layered.layers[n]} == {"steps"}


@pytest.mark.parametrize("models", ["one", "layers"])
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda words: [*words, "0"], "beyond ending address|address beyond bounds"),
        (lambda words: ["0q", *words[1:]], "syntax error"),
        (lambda words: None, "file not found"),
    ],
)
def test_a_malformed_memory_is_an_error(
    design: tuple[Dataflow, Path],
    frames: Ints,
    tmp_path: Path,
    models: Literal["one", "layers"],
    damage: Callable[[list[str]], list[str] | None],
    error: str,
) -> None:
    dataflow, _ = design
    emit_rtl(dataflow, tmp_path)
    path = tmp_path / "left_start.mem"
    words = damage(path.read_text().split())
    path.unlink()
    if words is not None:
        path.write_text("\n".join(words) + "\n")
    simulator = build(tmp_path, dataflow, models=models)
    with pytest.raises(SimulationError, match=rf"stopped: .*_start\.mem:\d+: .*({error})") as found:
        simulator.run(frames)
    assert models == "one" or "layer 'left'" in str(found.value)


def test_an_output_that_follows_an_input_at_once_is_noticed(
    design: tuple[Dataflow, Path], frames: Ints, tmp_path: Path
) -> None:
    """Such a layer would not do the same alone as in the whole design."""
    dataflow, _ = design
    emit_rtl(dataflow, tmp_path)
    path = tmp_path / "wide.sv"
    text = path.read_text()
    assert text.count(".out_data_o(out_data_o)") == 1
    text = text.replace(".out_data_o(out_data_o)", ".out_data_o(data)")
    wires = "logic [95:0] data;\n  assign out_data_o = out_ready_i ? data : '0;\nendmodule"
    path.write_text(text.replace("endmodule", wires))
    simulator = build(tmp_path, dataflow, models="layers")
    with pytest.raises(SimulationError, match="layer 'wide': an output depends on an input"):
        simulator.run(frames, stall_out=0.3)


@pytest.mark.parametrize(
    ("file", "old", "new", "error"),
    [
        ("wide.sv", "module wide", "module other", "no module of a layer called wide"),
        ("wide.sv", "in_data_i(in_data)", "in_data_i(lost)", "lost"),
        ("accelerator.sv", "u_wide (", "u_wide (\n    .more_i(1'b0),", "more_i"),
        ("adder_tree.sv", "endmodule", "", "adder_tree.sv"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    design: tuple[Dataflow, Path], tmp_path: Path, file: str, old: str, new: str, error: str
) -> None:
    dataflow, _ = design
    emit_rtl(dataflow, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(RuntimeError, match=error):
        build(tmp_path, dataflow, models="layers")
    (tmp_path / file).unlink()
    with pytest.raises(RuntimeError):
        build(tmp_path, dataflow, models="layers")


def test_few_large_layers_get_models_of_their_own(
    design: tuple[Dataflow, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the choice is of interest: nothing is compiled."""
    built = []

    def noted(models: Sequence[verilator_build.Model], beside: Sequence[object] = ()) -> list[Path]:
        built.append([model.harness for model in models])
        return [Path(model.digest()) for model in models]

    monkeypatch.setattr("hls.simulate.verilator.shared_libraries", noted)
    small, folder = design
    build(folder, small)
    weights = GENERATOR.integers(-128, 128, (16, 16))
    layer = MatrixVector("large", weights, np.zeros(16, int), 8, 20, 16, 16)
    assert default_device().price(layer.inventory()).lut > 2000
    edges = (Edge(Port("", "x"), Port("large", "in")), Edge(Port("large", "out"), Port("", "y")))
    large = Dataflow("large", (layer,), edges)
    emit_rtl(large, tmp_path)
    build(tmp_path, large)
    one = "verilator_harness.cpp"
    assert built == [[one], [one, "verilator_layer.cpp"]]
