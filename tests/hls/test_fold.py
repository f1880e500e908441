"""Folding: legal factors, cycles, width converters, and unchanged results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hls.dataflow import Dataflow, Edge, Port
from hls.fold import fold
from hls.layers.argmax import ArgMax
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.matrix_vector import MatrixVector
from hls.layers.parts.folding import divisors
from hls.layers.slice import Slice
from hls.layers.thresholding import Thresholding
from sira.errors import SiraError

RNG = np.random.default_rng(0)


def network() -> Dataflow:
    rng = np.random.default_rng(1)
    first = MatrixVector("first", rng.integers(-3, 4, (12, 20)), np.full(12, 200), 2, 9, 1, 1)
    steps = Thresholding(
        "steps", np.sort(rng.integers(0, 512, (12, 3))), np.zeros(12, bool), 12, 9, 1
    )
    second = MatrixVector("second", rng.integers(-3, 4, (10, 12)), np.full(10, 108), 2, 8, 1, 1)
    best = ArgMax("best", np.ones(10, np.int64), np.arange(10), 8, 1)
    layers = (first, steps, second, best)
    ports = [Port("", "in")]
    edges = []
    for layer in layers:
        edges.append(Edge(ports[-1], Port(layer.name, "in")))
        ports.append(Port(layer.name, "out"))
    return Dataflow("test", layers, (*edges, Edge(ports[-1], Port("", "out"))))


def connected(dataflow: Dataflow) -> None:
    """Both ends of every edge agree, and every port has one edge."""
    streams: dict[Port, Any] = {}
    for layer in dataflow.layers:
        streams |= {Port(layer.name, p): s for p, s in {**layer.inputs, **layer.outputs}.items()}
    ends = [p for e in dataflow.edges for p in (e.source, e.target) if p.layer]
    assert sorted(ends, key=str) == sorted(streams, key=str)
    for edge in dataflow.edges:
        if edge.source.layer and edge.target.layer:
            assert streams[edge.source] == streams[edge.target], edge


@pytest.mark.parametrize("target", [1, 2, 3, 7, 12, 60, 100, 240, 1024])
def test_meets_the_target_and_computes_the_same(target: int) -> None:
    plain = network()
    frames = RNG.integers(0, 4, (20, 20))
    folded = fold(plain, target)
    connected(folded)
    assert max(layer.cycles for layer in folded.layers) <= target
    expected = plain.execute({"in": frames})[Port("", "out")]
    assert np.array_equal(folded.execute({"in": frames})[Port("", "out")], expected)


def test_takes_no_more_lanes_than_needed() -> None:
    folded = fold(network(), 60)
    first, second = folded.layer("first"), folded.layer("second")
    assert isinstance(first, MatrixVector) and isinstance(second, MatrixVector)
    assert first.pe * first.simd == 4 and second.pe * second.simd == 2
    assert max(layer.cycles for layer in fold(network(), 10**6).layers) == 240


def test_given_factors_win() -> None:
    factors = {"first": {"pe": 6, "simd": 5}, "steps": {"pe": 4}, "best": {"lanes": 5}}
    folded = fold(network(), 1000, factors)
    connected(folded)
    first, steps, best = (folded.layer(name) for name in ("first", "steps", "best"))
    assert isinstance(first, MatrixVector) and (first.pe, first.simd) == (6, 5)
    assert isinstance(steps, Thresholding) and steps.pe == 4
    assert isinstance(best, ArgMax) and best.lanes == 5
    names = [layer.name for layer in folded.layers]
    # 6 lanes to 4: down to 2, then up
    assert names[:4] == ["first", "steps_width", "steps_width_1", "steps"]


def test_every_pair_of_lanes_connects() -> None:
    frames = RNG.integers(0, 4, (5, 20))
    expected = network().execute({"in": frames})[Port("", "out")]
    for pe in divisors(12):
        for simd in divisors(12):
            factors = {"first": {"pe": pe}, "steps": {"pe": simd}, "second": {"simd": simd}}
            folded = fold(network(), 10**6, factors)
            connected(folded)
            assert np.array_equal(folded.execute({"in": frames})[Port("", "out")], expected)


def test_width_converters_are_no_slower_than_the_layers() -> None:
    rng = np.random.default_rng(2)
    first = MatrixVector("first", rng.integers(-1, 2, (60, 64)), np.full(60, 64), 1, 8, 1, 1)
    second = MatrixVector("second", rng.integers(-1, 2, (4, 60)), np.full(4, 9000), 8, 15, 1, 1)
    ports = (Port("", "in"), Port("first", "in"), Port("first", "out"), Port("second", "in"))
    ends = (*ports, Port("second", "out"), Port("", "out"))
    edges = tuple(Edge(*pair) for pair in zip(ends[::2], ends[1::2], strict=True))
    plain = Dataflow("test", (first, second), edges)
    frames = rng.integers(0, 2, (5, 64))
    expected = plain.execute({"in": frames})[Port("", "out")]
    # 2 lanes to 15: by way of 1 lane would take 60 cycles.
    factors = {"first": {"pe": 2, "simd": 64}, "second": {"pe": 2, "simd": 15}}
    for chosen in (None, factors):
        folded = fold(plain, 32, chosen)
        connected(folded)
        assert max(layer.cycles for layer in folded.layers) <= 32
        assert np.array_equal(folded.execute({"in": frames})[Port("", "out")], expected)
    assert [next(iter(layer.outputs.values())).lanes for layer in folded.layers] == [2, 30, 15, 2]


def test_dimensions() -> None:
    found = {layer.name: dict(layer.dimensions) for layer in network().layers}
    assert found["first"] == {"pe": 12, "simd": 20} and found["best"] == {"lanes": 10}
    assert found["steps"] == {"pe": 12}


@pytest.mark.parametrize("factors, message", [
    ({"third": {"pe": 2}},
     r"^folding of third: no such layer, expected first \| steps \| second \| best, found third$"),
    ({"steps": {"simd": 2}}, r"^folding of steps: no such folding factor, .* pe, found simd$"),
    ({"first": {"pe": 5}}, r"^folding of first: illegal folding, expected pe to divide 12, "
     r"found pe=5; choose one of 1, 2, 3, 4, 6, 12$"),
    ({"first": {"simd": 0}}, "illegal folding, expected simd to divide 20, found simd=0"),
    ({"first": {"simd": -4}}, "illegal folding.* found simd=-4"),
])  # fmt: skip
def test_illegal_folding(factors: Any, message: str) -> None:
    with pytest.raises(SiraError, match=message):
        fold(network(), 100, factors)


def test_every_port_of_a_layer_may_have_a_width_converter() -> None:
    """Converters in front of one layer have names of their own, whatever else is called so."""
    halves = [
        Slice(n, (4, 1, 4), (0, 0, 0), (2, 1, 4), (1, 1, 1), 3, 1) for n in ("a", "sum_width")
    ]
    one = np.ones(1, np.int64)
    total = Elementwise("sum", 4, 3, 3, 0, one, one, 0 * one, 4, 1, 2)
    fork = Fork("fork", 16, 1, 3, 2)
    ends = [("", "in", "fork", "in"), ("fork", "out0", "a", "in"),
            ("fork", "out1", "sum_width", "in"),
            ("a", "out", "sum", "left"), ("sum_width", "out", "sum", "right"),
            ("sum", "out", "", "out")]  # fmt: skip
    edges = tuple(Edge(Port(a, b), Port(c, d)) for a, b, c, d in ends)
    dataflow = Dataflow("net", (fork, *halves, total), edges)
    lanes = {"a": {"lanes": 2}, "sum_width": {"lanes": 2}, "sum": {"lanes": 4}}
    folded = fold(dataflow, 100, lanes)
    connected(folded)
    names = [layer.name for layer in folded.layers]
    assert len(set(names)) == len(names) and {"sum_width_2", "sum_width_3"} <= set(names)
    frames = np.random.default_rng(0).integers(0, 8, (3, 16))
    expected = 2 * frames.reshape(3, 4, 4)[:, :2].reshape(3, -1)
    assert np.array_equal(folded.execute({"in": frames})[Port("", "out")], expected)
