"""Depths of FIFOs: as fast as with any depth, none deeper than it has to be, none in a deadlock."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import clocked_schedules
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from toy_layers import bursts, connected, fork, in_a_row, join, layers, passing, residual, stored

from hls.dataflow import Dataflow
from hls.emit.rtl import emit_rtl
from hls.fifos.cost import fifo_bits, rounded_depth
from hls.fifos.simulation import Deadlock, simulate
from hls.fifos.sizing import size_fifos
from hls.layers.concat import Concat
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.global_pooling import GlobalPooling
from hls.layers.matrix_vector import MatrixVector
from hls.layers.pooling import Pooling
from hls.layers.sliding_window import SlidingWindow
from hls.layers.upsample import Upsample
from hls.layers.width_converter import WidthConverter
from hls.simulate.verilator import SimulationError, build

DEPTHS = sorted({rounded_depth(depth) for depth in range(2, 66)})


def depths_of(dataflow):
    return [edge.depth for edge in dataflow.edges]


def reaches(dataflow, depths, cycles):
    """Whether it runs at this pace, by the clocked model over many frames."""
    edges = [replace(e, depth=d) for e, d in zip(dataflow.edges, depths, strict=True)]
    done, _ = clocked_schedules.completed(
        replace(dataflow, edges=tuple(edges)), 16, 16 * (int(cycles) + 60)
    )
    return all(len(d) == 16 and d[-1] - d[7] <= 8 * cycles for d in done.values())


def check(dataflow):
    """As fast as with deep FIFOs, and no faster with any FIFO a size smaller, or slower."""
    result = size_fifos(dataflow)
    cycles = result.cycles_per_frame
    assert result.simulation.period is not None
    ample = simulate(dataflow, [200] * len(dataflow.edges))
    assert cycles == result.cycles_best == ample.cycles_per_frame
    found = depths_of(result.dataflow)
    assert reaches(dataflow, found, cycles)
    for edge, depth in enumerate(found):
        assert depth in DEPTHS
        if depth > 2:
            smaller = DEPTHS[DEPTHS.index(depth) - 1]
            less = [smaller if e == edge else d for e, d in enumerate(found)]
            assert not reaches(dataflow, less, cycles), (edge, found)
    return result


@examples(30)
@given(st.data())
def test_rows_run_at_the_pace_of_the_slowest(data):
    row = [data.draw(layers(f"l{i}")) for i in range(data.draw(st.integers(1, 4)))]
    check(in_a_row(row, [2] * (len(row) + 1)))


@examples(30)
@given(st.data())
def test_branches_do_not_block_each_other(data):
    check(residual(data.draw(layers("b")), [2] * 5, data.draw(st.integers(0, 2))))


def two_residuals():
    """A branch of bursts around another one."""
    parts = [
        *(fork("f", 12), passing("a", 12), fork("g", 12), bursts("b", 12, 4, 2, 3)),
        *(join("h", 12), stored("c", 12, 6, 12, 2), join("j", 12)),
    ]
    names = [
        *("x f.in", "f.out0 a.in", "a.out g.in", "g.out0 b.in", "g.out1 h.right"),
        *("b.out h.left", "h.out c.in", "c.out j.left", "f.out1 j.right", "j.out y"),
    ]
    return connected(parts, names, [2] * len(names))


def test_only_the_shortcuts_of_residual_branches_are_deep():
    dataflow = two_residuals()
    with pytest.raises(Deadlock):
        simulate(dataflow)
    result = check(dataflow)
    deep = {str(e.source.layer) for e in result.dataflow.edges if e.depth > 2}
    assert deep == {"f", "g"}
    assert result.bottleneck == "b" and result.cycles_per_frame == 30
    assert result.proof.startswith("no deadlock: ")
    assert result.bits == sum(depths_of(result.dataflow)) == fifo_bits(result.dataflow)


def test_no_smaller_choice_of_depths_is_as_fast():
    dataflow = residual(bursts("b", 12, 6, 1, 2), [2] * 5)
    result = check(dataflow)
    for depths in product([2, 3, 5], repeat=5):
        if sum(depths) < result.bits:
            assert not reaches(dataflow, depths, result.cycles_per_frame), depths


def test_deterministic_and_regardless_of_the_depths_there_are():
    dataflow = two_residuals()
    deep = replace(dataflow, edges=tuple(replace(e, depth=40) for e in dataflow.edges))
    first, second, third = size_fifos(dataflow), size_fifos(dataflow), size_fifos(deep)
    assert depths_of(first.dataflow) == depths_of(second.dataflow) == depths_of(third.dataflow)


def test_a_slow_buffer_is_the_pace_that_counts():
    """One that holds a block at a time takes twice what the layer says."""
    result = check(in_a_row([stored("s", 12, 4, 4, 1)], [2, 2]))
    assert result.cycles_per_frame > 12


# ---- Verilator ---------------------------------------------------------------------------------

GENERATOR = np.random.default_rng(8)


def window(name, size, lanes, *, kernel=3, stride=1, blocks=1):
    pads = (1, 1, 1, 1) if kernel == 3 else (0, 0, 0, 0)
    shape, square = (size, size, 4), (kernel, kernel)
    return SlidingWindow(name, shape, square, (stride, stride), (1, 1), pads, 0, blocks, 2, lanes)


def residual_convolution():
    """A convolution 3x3 over 6x6x4 and a shortcut around it."""
    weights, start = GENERATOR.integers(-2, 3, (4, 36)), np.zeros(4, np.int64)
    ones, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    parts = [
        Fork("f", 144, 2, 2, 2),
        WidthConverter("w", 144, 2, 4, 2),
        window("s", 6, 4),
        MatrixVector("m", weights, start, 2, 8, 1, 4, vectors=36),
        WidthConverter("v", 144, 1, 2, 8),
        Elementwise("j", 4, 8, 2, 0, ones, ones, zero, 9, 2, 36),
    ]
    names = [
        *("x f.in", "f.out0 w.in", "w.out s.in", "s.out m.in", "m.out v.in"),
        *("v.out j.left", "f.out1 j.right", "j.out y"),
    ]
    return connected(parts, names, [2] * len(names))


def pyramid():
    """An image, its mean, and its coarse half, one after the other in the channels."""
    parts = [
        Fork("p_f", 144, 4, 2, 3),
        window("p_s", 6, 4, kernel=2, stride=2),
        Pooling("p_m", "max", 4, 4, 2, 4, 9),
        Upsample("p_u", (3, 3, 4), (2, 2), 2, 4),
        GlobalPooling("p_g", "sum", 4, 36, 2, 4),
        Upsample("p_v", (1, 1, 4), (6, 6), 7, 4),
        Concat("p_c", (4, 4, 4), (2, 2, 7), 4, 36),
    ]
    names = [
        *("p_x p_f.in", "p_f.out0 p_c.in0", "p_f.out1 p_s.in", "p_s.out p_m.in", "p_m.out p_u.in"),
        *("p_u.out p_c.in1", "p_f.out2 p_g.in", "p_g.out p_v.in", "p_v.out p_c.in2", "p_c.out p_y"),
    ]
    return connected(parts, names, [2] * len(names))


def beside(*graphs):
    layers = tuple(layer for graph in graphs for layer in graph.layers)
    return Dataflow("graphs", layers, tuple(edge for graph in graphs for edge in graph.edges))


def run_rtl(dataflow, folder, frames):
    emit_rtl(dataflow, folder)
    inputs = {
        port: GENERATOR.integers(0, 2**stream.bits, (frames, stream.elements))
        for port, stream in dataflow.inputs.items()
    }
    return inputs, build(folder, dataflow).run(inputs)


def test_sized_graphs_run_in_rtl_as_predicted(tmp_path):
    """In every cycle, with the depths found and with the least more."""
    graphs = [residual_convolution(), pyramid()]
    sized = [size_fifos(graph).dataflow for graph in graphs]
    assert sum(d > 2 for d in depths_of(sized[1])) >= 2
    joined = beside(*sized)
    inputs, measured = run_rtl(joined, tmp_path, 8)
    predicted = simulate(joined, frames=8)
    expected = joined.execute(inputs)
    for port, done in measured.completed.items():
        assert list(predicted.completed[port]) == done.tolist(), port
    for port in joined.outputs:
        target = next(e.target for e in joined.edges if e.target.port == port)
        np.testing.assert_array_equal(measured.ports[port], expected[target])


def test_a_predicted_deadlock_is_one_in_rtl(tmp_path):
    graph = residual_convolution()
    with pytest.raises(Deadlock, match=r"f\.out1 -> j\.right full with 2"):
        simulate(graph)
    with pytest.raises(SimulationError, match="deadlock"):
        run_rtl(graph, tmp_path, 2)
