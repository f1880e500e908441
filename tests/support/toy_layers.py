"""Layers that are nothing but their schedules, graphs of them, and a FIFO as a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from hls.dataflow import Dataflow, Edge, Instance, Ints, Port, Stream
from hls.schedule import Buffer, Phase, Process, Schedule


@dataclass(frozen=True)
class Toy:
    """A layer that is nothing but its schedule; beats of a frame at each port."""

    name: str
    cycles: int
    takes: Mapping[str, int]
    gives: Mapping[str, int]
    processes: tuple[Process, ...]
    buffers: Mapping[str, Buffer] = field(default_factory=dict)

    @property
    def inputs(self):
        return {port: Stream(beats, 1, 1) for port, beats in self.takes.items()}

    @property
    def outputs(self):
        return {port: Stream(beats, 1, 1) for port, beats in self.gives.items()}

    def schedule(self):
        return Schedule(self.processes, self.buffers)


IN, OUT = {"in": 1}, {"out": 1}


def passing(name, beats, latency=1):
    """A beat in and a beat out in each cycle."""
    process = Process((Phase(1, IN, OUT),), latency)
    return Toy(name, beats, {"in": beats}, {"out": beats}, (process,))


def bursts(name, beats, burst, idle, latency):
    """Takes ``burst`` beats, pauses, and gives as many."""
    phases = (Phase(burst, IN), Phase(idle), Phase(burst, gives=OUT))
    cycles = beats // burst * (2 * burst + idle)
    return Toy(name, cycles, {"in": beats}, {"out": beats}, (Process(phases, latency),))


def stored(name, beats, block, capacity, latency):
    """Reads blocks of beats from a buffer that is filled beside.

    Where it holds less than two blocks it takes longer than ``cycles`` says.
    """
    phases = (
        Phase(block - 1, {"filled": 1}, OUT),
        Phase(1, {"filled": 1}, OUT | {"free": block}),
    )
    processes = (
        Process((Phase(1, IN | {"free": 1}, {"filled": 1}),)),
        Process(phases, latency),
    )
    buffers = {"filled": Buffer(capacity), "free": Buffer(capacity, capacity)}
    return Toy(name, beats, {"in": beats}, {"out": beats}, processes, buffers)


def fork(name, beats, latency=0):
    ports = {"out0": 1, "out1": 1}
    step = Phase(1, IN, ports)
    return Toy(
        name, beats, {"in": beats}, dict.fromkeys(ports, beats), (Process((step,), latency),)
    )


def join(name, beats, latency=1):
    ports = {"left": 1, "right": 1}
    step = Phase(1, ports, OUT)
    return Toy(
        name, beats, dict.fromkeys(ports, beats), {"out": beats}, (Process((step,), latency),)
    )


def connected(layers, names, depths):
    """Edges given as "layer.port layer.port", the graph's own ports without a dot."""

    def port(name):
        layer, _, port = name.rpartition(".")
        return Port(layer, port)

    edges = [
        Edge(*map(port, name.split()), depth) for name, depth in zip(names, depths, strict=True)
    ]
    return Dataflow("toys", tuple(layers), tuple(edges))


def in_a_row(layers, depths):
    names = ["x", *(f"{layer.name}.{end}" for layer in layers for end in ("in", "out")), "y"]
    pairs = [f"{a} {b}" for a, b in zip(names[::2], names[1::2], strict=True)]
    return connected(layers, pairs, depths)


def residual(branch, depths, latency=0):
    """A fork, a layer on one branch, and a join."""
    beats = branch.inputs["in"].beats
    names = ["x f.in", "f.out0 b.in", "b.out j.left", "f.out1 j.right", "j.out y"]
    return connected([fork("f", beats, latency), branch, join("j", beats)], names, depths)


blocks = st.sampled_from([1, 2, 3, 4, 6, 12])
small = st.integers(0, 5)


@st.composite
def layers(draw, name):
    match draw(st.integers(0, 2)):
        case 0:
            return passing(name, 12, draw(small))
        case 1:
            return bursts(name, 12, draw(blocks), draw(small), draw(small))
        case _:
            block = draw(blocks)
            return stored(name, 12, block, block + draw(small), draw(small))


@dataclass(frozen=True)
class Fifo:
    """A FIFO as a layer of its own; in a design the edges have them."""

    name: str
    stream: Stream
    depth: int

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": self.stream}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": self.stream}

    @property
    def cycles(self) -> int:
        return self.stream.beats

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        return inputs

    def instance(self) -> Instance:
        return Instance("stream_fifo", {"Width": self.stream.width, "Depth": self.depth})
