"""The schedule simulation against clocked models of the same schedules, and against Verilator."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import clocked_schedules
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_layers import IN, OUT, Toy, bursts, in_a_row, layers, passing, residual

from hls.dataflow import Dataflow, Edge, Port
from hls.emit.rtl import emit_rtl
from hls.fifos.simulation import Deadlock, simulate
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter
from hls.schedule import Buffer, Phase, Process
from hls.simulate.verilator import build


def check(dataflow):
    """Every frame in the same cycle as in the clocked model, and the FIFOs as full."""
    result = simulate(dataflow)
    frames = len(next(iter(result.completed.values())))
    # Beats of a frame more are on their way while the last one is completed.
    expected, most = clocked_schedules.completed(dataflow, frames + 1, 20_000)
    for port, done in result.completed.items():
        assert list(done) == expected[port][:frames]
    assert result.period and list(result.occupancy) == most
    return result


@given(st.data())
def test_a_row_of_layers_agrees_with_the_clock(data):
    row = [data.draw(layers(f"l{i}")) for i in range(data.draw(st.integers(1, 4)))]
    depths = data.draw(st.lists(st.integers(2, 5), min_size=len(row) + 1, max_size=len(row) + 1))
    check(in_a_row(row, depths))


@given(st.data())
def test_branches_agree_with_the_clock(data):
    branch = data.draw(layers("b"))
    depths = data.draw(st.lists(st.integers(2, 16), min_size=5, max_size=5))
    dataflow = residual(branch, depths, data.draw(st.integers(0, 2)))
    expected, _ = clocked_schedules.completed(dataflow, 6, 2_000)
    if expected["y"]:
        check(dataflow)
    else:
        with pytest.raises(Deadlock):
            simulate(dataflow)


def test_a_full_branch_is_named():
    with pytest.raises(Deadlock, match=r"f\.out1 -> j\.right full with 4") as caught:
        simulate(residual(bursts("b", 12, 6, 0, 1), [2, 2, 2, 4, 2]))
    assert caught.value.edges == (3,)
    # The fork may hold one beat for the join's branch that it has given to the other one.
    simulate(residual(bursts("b", 12, 6, 0, 1), [2, 2, 2, 5, 2]))


def test_fifos_as_deep_as_they_were_full_change_nothing():
    dataflow = residual(bursts("b", 12, 6, 3, 2), [50] * 5)
    ample = simulate(dataflow, source_cycles=30)
    assert ample.period == (1, 30) and ample.occupancy[3] == 10
    tight = simulate(dataflow, [max(2, beats) for beats in ample.occupancy], source_cycles=30)
    assert (tight.period, tight.occupancy[3]) == ((1, 30), 10)
    assert tight.first_cycles <= ample.first_cycles  # two registers are a cycle faster


def test_the_period_is_proven_and_counted_in_frames():
    phases = (Phase(4, IN, OUT), Phase(3))
    layer = Toy("l", 21, {"in": 12}, {"out": 12}, (Process(phases),))
    result = check(in_a_row([layer], [2, 2]))
    assert result.period == (1, 21) and result.cycles_per_frame == 21
    assert simulate(in_a_row([layer], [2, 2]), source_cycles=100).cycles_per_frame == 100


def test_first_beat_counts_as_cycle_one():
    assert simulate(in_a_row([passing("l", 1, 0)], [2, 2])).first_cycles == 3
    assert simulate(in_a_row([passing("l", 1, 0)], [3, 3])).first_cycles == 5


# ---- Verilator ---------------------------------------------------------------------------------

GENERATOR = np.random.default_rng(21)


def divisor(n):
    return int(GENERATOR.choice([d for d in range(1, n + 1) if n % d == 0]))


def regrouped(name, elements, have, want, bits):
    """Width converters from ``have`` to ``want`` lanes."""
    if have == want:
        return []
    if max(have, want) % min(have, want) == 0:
        return [WidthConverter(name, elements, have, want, bits)]
    narrow = [WidthConverter(f"{name}_narrow", elements, have, 1, bits)]
    return narrow + regrouped(name, elements, 1, want, bits)


def random_network(name):
    """Dense layers and thresholds with any folding, and an argmax at the end."""
    vectors, size, bits = int(GENERATOR.integers(1, 4)), int(GENERATOR.choice([4, 6, 12])), 2
    lanes, row = divisor(size), []
    for i in range(int(GENERATOR.integers(1, 4))):
        outputs = int(GENERATOR.choice([4, 6, 8, 12]))
        pe, simd = divisor(outputs), divisor(size)
        row += regrouped(f"{name}_into_mv{i}", vectors * size, lanes, simd, bits)
        weights = GENERATOR.integers(-2, 3, (outputs, size))
        start = np.zeros(outputs, np.int64)
        more = {"vectors": vectors, "levels_per_stage": int(GENERATOR.integers(1, 3))}
        row.append(MatrixVector(f"{name}_mv{i}", weights, start, bits, 8, pe, simd, **more))
        lanes, size, steps = divisor(outputs), outputs, int(GENERATOR.integers(1, 16))
        row += regrouped(f"{name}_into_t{i}", vectors * size, pe, lanes, 8)
        thresholds = np.sort(GENERATOR.integers(0, 256, (size, steps)), axis=1)
        rising = np.zeros(size, bool)
        row.append(Thresholding(f"{name}_t{i}", thresholds, rising, size, 8, lanes, vectors))
        bits = steps.bit_length()
    if vectors == 1:
        last = divisor(size)
        row += regrouped(f"{name}_into_argmax", size, lanes, last, bits)
        scale = GENERATOR.integers(1, 3, size)
        row.append(ArgMax(f"{name}_argmax", scale, np.zeros(size, np.int64), bits, last))
    return row


@pytest.fixture(scope="module")
def networks():
    """Random networks beside each other, with FIFOs of any depth."""
    rows = [random_network(f"n{i}") for i in range(5)]
    edges = []
    for row in rows:
        source = Port("", row[0].name)
        for layer in row:
            edges.append((source, Port(layer.name, "in")))
            source = Port(layer.name, "out")
        edges.append((source, Port("", row[-1].name)))
    depths = GENERATOR.choice([2, 2, 3, 4, 9, 20], len(edges))
    joined = [Edge(a, b, int(depth)) for (a, b), depth in zip(edges, depths, strict=True)]
    return Dataflow("networks", tuple(layer for row in rows for layer in row), tuple(joined))


def test_a_period_of_many_frames_is_found():
    """A buffer of two beats and a latency of five: 144 cycles are 11 frames of 12 beats."""
    write = Process((Phase(1, {"in": 1, "free": 1}, {"filled": 1}),))
    read = Process((Phase(1, {"filled": 1}, {"out": 1, "free": 1}),), 5)
    buffers = {"filled": Buffer(2), "free": Buffer(2, 2)}
    layer = Toy("b", 12, {"in": 12}, {"out": 12}, (write, read), buffers)
    result = check(residual(layer, [2, 3, 3, 10, 2], 0))
    assert result.period == (11, 144)


def test_random_networks_take_the_cycles_of_the_rtl(networks, tmp_path: Path):
    emit_rtl(networks, tmp_path)
    inputs = {
        port: GENERATOR.integers(0, 2**stream.bits, (10, stream.elements))
        for port, stream in networks.inputs.items()
    }
    measured = build(tmp_path, networks).run(inputs)
    predicted = simulate(networks, frames=10)
    for port, done in measured.completed.items():
        assert list(predicted.completed[port]) == done.tolist(), port


def test_runs_without_compiler(networks, tmp_path: Path):
    """The same cycles where numba is told to leave the functions as they are."""
    script = """
import pickle, sys
from hls.fifos.simulation import simulate
print(dict(simulate(pickle.load(open(sys.argv[1], "rb")), frames=2).completed))
"""
    file = tmp_path / "networks"
    file.write_bytes(pickle.dumps(networks))
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(dict(simulate(networks, frames=2).completed))
