"""Layers beside each other in one design, in Verilator and as HLS C++, against plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hls.dataflow import Dataflow, Edge, Ints, Layer, Port
from hls.emit.cpp import emit_hls
from hls.emit.rtl import emit_rtl
from hls.fifos.simulation import simulate
from hls.simulate.cpp import simulate_hls_ports
from hls.simulate.verilator import build, lint

Reference = Callable[..., tuple[Ints, ...]]
"""A layer and one array (frames, elements) for each of its inputs, to one for each output."""


def graph_ports(layer: Layer) -> tuple[dict[str, str], dict[str, str]]:
    """The graph's ports at a layer's inputs and outputs: the layer's name, and ``_port`` if many.

    Both are by the layer's port.
    """

    def names(ports: Sequence[str]) -> dict[str, str]:
        many = len(ports) > 1
        return {port: f"{layer.name}_{port}" if many else layer.name for port in ports}

    return names(list(layer.inputs)), names(list(layer.outputs))


def independent(layers: Sequence[Layer], depth: int = 2) -> Dataflow:
    """Layers that are connected to nothing but ports of the graph; see `graph_ports`."""
    edges = []
    for layer in layers:
        inputs, outputs = graph_ports(layer)
        edges += [Edge(Port("", n), Port(layer.name, p), depth) for p, n in inputs.items()]
        edges += [Edge(Port(layer.name, p), Port("", n), depth) for p, n in outputs.items()]
    return Dataflow("independent layers", tuple(layers), tuple(edges))


def random_inputs(layer: Layer, count: int, seed: int) -> tuple[Ints, ...]:
    """Random frames for each input, with the extremes in the first two."""
    generator = np.random.default_rng(seed)
    inputs = []
    for stream in layer.inputs.values():
        frames = generator.integers(0, 2**stream.bits, (count, stream.elements))
        frames[0], frames[1] = 0, 2**stream.bits - 1
        inputs.append(frames)
    return tuple(inputs)


def vectors(
    layers: Sequence[Layer], reference: Reference, count: int, seed: int = 1
) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """Random inputs and the outputs that ``reference`` expects, by port of the graph.

    Checks on the way that the layers' `execute` gives the same.
    """
    inputs: dict[str, Ints] = {}
    expected: dict[str, Ints] = {}
    for layer in layers:
        into, out = graph_ports(layer)
        values = random_inputs(layer, count, seed)
        results = reference(layer, *values)
        executed = layer.execute(*values)
        for port, result, own in zip(layer.outputs, results, executed, strict=True):
            stream = layer.outputs[port]
            assert result.shape == own.shape == (count, stream.elements), (layer.name, port)
            assert own.min() >= 0 and int(own.max()) < 1 << stream.bits, (layer.name, port)
            np.testing.assert_array_equal(own, result, f"execute of {layer.name}, {port}")
        inputs |= dict(zip(into.values(), values, strict=True))
        expected |= dict(zip(out.values(), results, strict=True))
    return inputs, expected


def _check(found: Mapping[str, Ints], expected: Mapping[str, Ints], what: str) -> None:
    for port, frames in expected.items():
        np.testing.assert_array_equal(found[port], frames, f"{what}: {port}")


def _scheduled(layer: Layer, count: int) -> Mapping[str, tuple[int, ...]]:
    """The cycles in which the frames of each output are complete, by the layer's schedule.

    Up to ``count`` frames, fewer where the schedule has become periodic. The graph's inputs have
    names of their own here, as graphs of the compiler do.
    """
    inputs, outputs = graph_ports(layer)
    edges = [Edge(Port("", f"to {name}"), Port(layer.name, p)) for p, name in inputs.items()]
    edges += [Edge(Port(layer.name, p), Port("", name)) for p, name in outputs.items()]
    return simulate(Dataflow(layer.name, (layer,), tuple(edges)), frames=count).completed


def check_rtl(
    layers: Sequence[Layer], reference: Reference, folder: Path, *, count: int = 12
) -> None:
    """All ``layers`` in Verilator: lint, results, stalls, reset in mid-frame, and the cycles.

    Every frame is complete in the cycle that the layer's schedule says, and in steady state the
    frames are `cycles` apart.
    """
    dataflow = independent(layers)
    inputs, expected = vectors(layers, reference, count)
    emit_rtl(dataflow, folder)
    lint(folder)
    simulator = build(folder, dataflow)
    result = simulator.run(inputs, seed=1)
    _check(result.ports, expected, "without stalls")
    for layer in layers:
        for port, cycles in _scheduled(layer, count).items():
            completed = result.completed[port]
            distances = np.diff(completed)[count // 2 :]
            assert set(distances.tolist()) == {layer.cycles}, (port, layer.cycles, distances)
            assert tuple(completed[: len(cycles)]) == cycles, f"{port}: not as scheduled"
    for seed, stall_in, stall_out in ((2, 0.4, 0.0), (3, 0.0, 0.4), (4, 0.3, 0.3)):
        result = simulator.run(inputs, seed=seed, stall_in=stall_in, stall_out=stall_out)
        _check(result.ports, expected, f"stalls {stall_in} in, {stall_out} out")
    beats = sum(stream.beats for layer in layers for stream in layer.inputs.values())
    for seed, after in ((5, 3), (6, 1 + beats * 3 // 7)):
        result = simulator.run(inputs, seed=seed, stall_in=0.2, stall_out=0.2, reset_after=after)
        _check(result.ports, expected, f"reset after {after} beats")


def check_hls(
    layers: Sequence[Layer], reference: Reference, folder: Path, *, count: int = 4
) -> None:
    """All ``layers`` as HLS C++, compiled with g++."""
    dataflow = independent(layers)
    inputs, expected = vectors(layers, reference, count)
    emit_hls(dataflow, folder)
    _check(simulate_hls_ports(folder, dataflow, inputs), expected, "HLS C++")
