"""The schedules of all layers of a dataflow graph, flattened into integer arrays.

The graph's inputs and outputs become processes of their own, FIFOs and buffers become channels;
the channels of the edges come first, in the order of the edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hls.dataflow import Dataflow, Ints, Layer, Port
from hls.schedule import Phase, Process

UNLIMITED = 1 << 40
"""A depth that no FIFO reaches; otherwise it is like registers."""

RING = 64
"""Tokens that the ring of an unlimited FIFO holds at first."""


Records = np.recarray[tuple[int], np.dtype[np.record]]


class Graph(NamedTuple):
    """Everything that runs, with the state it is in. Times are in clock cycles unless said."""

    processes: Records
    phases: Records
    moves: Records
    channels: Records
    beats: Records  # rings of the beats in the processes' pipelines
    tokens: Records  # rings of the tokens in the channels
    queue: Ints  # ring of processes that can run
    counters: Ints  # place of the queue's first process, of its end, and all steps made


def _record(fields: str) -> np.dtype[np.void]:
    return np.dtype((np.record, [(name, np.int64) for name in fields.split()]))


PHASE = _record("steps moves_from buffers_from ports_from moves_to")
"""Its moves are those from ``moves_from`` on: first what a step takes, then from ``buffers_from``
what it gives to buffers, then from ``ports_from`` the beats it gives at ports."""

MOVE = _record("channel count")
"""A step takes ``count`` tokens from the channel or gives them to it."""

PROCESS = _record(
    # Fixed: its phases, periods a frame, and the cycles over which the steps of a frame are spread
    # at least, or 0; the ring of its pipeline begins at `ring` and has `mask` + 1 places.
    "phases_from phases_to latency periods pace ring mask "
    # Where it is: phase, steps left in it, periods done in this frame, frames done, the pipeline
    # cycle of the next step at the earliest, the clock cycles that this is behind by, and the time
    # of the last step that moved tokens.
    "phase left period frame free stall finished "
    # Beats enter the pipeline at the tail and go to the FIFOs at the head; those before `behind`
    # are over. `head_stall` is the stall of the beat at the head, `ports_done` the bit set of the
    # ports that have taken it, `ports_last` when the last of those did.
    "tail head behind head_stall ports_done ports_last "
    # Why it waits: a channel that lacks tokens, a channel that lacks room, or -1
    "lacks_token lacks_room queued"
)

BEAT = _record("due done phase")
"""When a beat is offered, in pipeline cycles; when all ports had taken it; who gave it."""

CHANNEL = _record(
    # Fixed: tokens that fit, cycles from giving one to the first in which it can be taken, the
    # processes at its ends, and whether it is an edge
    "capacity delay producer consumer edge "
    # Tokens given and taken so far; of these, those taken before the next one to be taken was
    # given; the most tokens inside at once; its ring
    "given taken merged occupancy ring mask"
)

TOKEN = _record("given taken")
"""When it was given, and when it was taken."""


@dataclass(frozen=True)
class _Channel:
    """A buffer, or an edge, whose depth (``capacity``) is not known yet."""

    name: str
    capacity: int = 0
    initial: int = 0


@dataclass(frozen=True)
class Program:
    """The processes and channels of a dataflow graph; only the depths of the edges are left open.

    ``sources`` and ``sinks`` are the processes of the graph's ports. ``processes`` are at reset.
    """

    name: str
    channels: tuple[_Channel, ...]
    edges: int
    ends: tuple[tuple[int, int], ...]  # producer and consumer of each channel
    processes: Records
    phases: Records
    moves: Records
    sources: Mapping[str, int]
    sinks: Mapping[str, int]

    def graph(self, depths: Sequence[int], source_cycles: int) -> Graph:
        """The graph at reset.

        ``depths`` are those of the FIFOs on the edges; ``source_cycles`` is the time over which the
        inputs spread the beats of a frame, 0 for as fast as they are taken.
        """
        processes = self.processes.copy()
        for process in self.sources.values():
            processes[process].pace = source_cycles
        rows = []
        ring = 0
        for number, (channel, ends) in enumerate(zip(self.channels, self.ends, strict=True)):
            edge = number < self.edges
            capacity = depths[number] if edge else channel.capacity
            # Registers show a beat in the next cycle; a memory has a register behind it.
            delay = 2 if edge and 2 < capacity < UNLIMITED else 1
            length = RING if capacity >= UNLIMITED else 1 << max(capacity - 1, 0).bit_length()
            counts = (channel.initial, 0, 0, 0)
            rows.append((capacity, delay, *ends, int(edge), *counts, ring, length - 1))
            ring += length
        tokens = _records(TOKEN, [(0, 0)] * ring)
        tokens.given = -2  # those at reset can be taken in cycle 0, whatever the delay
        pipeline = int(processes[-1].ring + processes[-1].mask) + 1
        return Graph(
            processes,
            self.phases,
            self.moves,
            _records(CHANNEL, rows),
            _records(BEAT, [(0, 0, 0)] * pipeline),
            tokens,
            np.zeros(len(processes) + 1, np.int64),
            np.zeros(3, np.int64),
        )


def flatten(dataflow: Dataflow) -> Program:
    """The schedules of all layers, and a process for each input and output of the graph."""
    channels = [_Channel(f"{edge.source} -> {edge.target}") for edge in dataflow.edges]
    edge_of = {edge.source: i for i, edge in enumerate(dataflow.edges)}
    edge_of |= {edge.target: i for i, edge in enumerate(dataflow.edges)}
    assert len(edge_of) == 2 * len(channels), "a port has two edges"
    builder = _ProgramBuilder(len(channels))
    for layer in dataflow.layers:
        schedule = layer.schedule()
        local = {port: edge_of[Port(layer.name, port)] for port in (*layer.inputs, *layer.outputs)}
        for name, buffer in schedule.buffers.items():
            local[name] = len(channels)
            label = f"buffer {name} of {layer.name}"
            channels.append(_Channel(label, buffer.capacity, buffer.initial))
        repetitions = _repetitions(layer, schedule.processes)
        for process, periods in zip(schedule.processes, repetitions, strict=True):
            builder.add(process, periods, local)
    sources, sinks = {}, {}
    for port, stream in dataflow.inputs.items():
        step = Process((Phase(stream.beats, gives={port: 1}),), 0)
        sources[port] = builder.add(step, 1, {port: edge_of[Port("", port)]})
    for port, stream in dataflow.outputs.items():
        step = Process((Phase(stream.beats, takes={port: 1}),), 0)
        sinks[port] = builder.add(step, 1, {port: edge_of[Port("", port)]})
    return Program(
        dataflow.name,
        tuple(channels),
        builder.edges,
        tuple((builder.producer[c], builder.consumer[c]) for c in range(len(channels))),
        builder.records(),
        _records(PHASE, builder.phases),
        _records(MOVE, builder.moves),
        sources,
        sinks,
    )


def _repetitions(layer: Layer, processes: Sequence[Process]) -> list[int]:
    """Periods of each process in a frame: as many tokens are given to a channel as are taken."""
    tokens = [_tokens_per_period(process) for process in processes]
    per_frame = {port: s.beats for port, s in (*layer.inputs.items(), *layer.outputs.items())}
    repetitions: dict[int, int] = {}
    while len(repetitions) < len(processes):
        known = len(repetitions)
        for number, moved in enumerate(tokens):
            for channel, count in moved.items():
                if channel in per_frame and number not in repetitions:
                    repetitions[number], rest = divmod(per_frame[channel], count)
                    assert rest == 0, f"{layer.name}: a frame is no multiple of a period"
                    per_frame |= {c: n * repetitions[number] for c, n in moved.items()}
        assert len(repetitions) > known, f"{layer.name}: a process has no tie to the ports"
    for number, moved in enumerate(tokens):
        found = {channel: count * repetitions[number] for channel, count in moved.items()}
        expected = {channel: per_frame[channel] for channel in found}
        assert found == expected, f"{layer.name}: tokens of a frame {found}, expected {expected}"
    return [repetitions[number] for number in range(len(processes))]


def _tokens_per_period(process: Process) -> dict[str, int]:
    distinct = {id(phase): phase for phase in process.phases}
    steps = dict.fromkeys(distinct, 0)
    for phase in process.phases:
        steps[id(phase)] += phase.steps
    tokens: dict[str, int] = {}
    for key, phase in distinct.items():
        for moved in (phase.takes, phase.gives):
            for channel, count in moved.items():
                tokens[channel] = tokens.get(channel, 0) + count * steps[key]
    return {channel: count for channel, count in tokens.items() if count}


class _ProgramBuilder:
    """Collects processes; channels with a number below ``edges`` are edges."""

    def __init__(self, edges: int) -> None:
        self.edges = edges
        self.processes: list[tuple[int, ...]] = []
        self.phases: list[tuple[int, ...]] = []
        self.moves: list[tuple[int, int]] = []
        self.pipeline = 0
        self.producer: dict[int, int] = {}
        self.consumer: dict[int, int] = {}

    def add(self, process: Process, periods: int, local: Mapping[str, int]) -> int:
        number = len(self.processes)
        first = len(self.phases)
        known: dict[int, tuple[int, ...]] = {}
        for phase in process.phases:
            if not phase.steps:
                continue
            if id(phase) not in known:
                known[id(phase)] = self._moves(number, phase, local)
            self.phases.append((phase.steps, *known[id(phase)]))
        length = 1 << (process.latency + 1).bit_length()
        fixed = (first, len(self.phases), process.latency, periods, 0, self.pipeline, length - 1)
        self.pipeline += length
        self.processes.append(fixed)
        return number

    def _moves(self, process: int, phase: Phase, local: Mapping[str, int]) -> tuple[int, ...]:
        takes = [(local[name], count) for name, count in phase.takes.items() if count]
        gives = [(local[name], count) for name, count in phase.gives.items() if count]
        for channel, count in (*takes, *gives):
            assert count == 1 or channel >= self.edges, "a step moves at most one beat at a port"
        for moved, ends in ((takes, self.consumer), (gives, self.producer)):
            for channel, _ in moved:
                assert ends.setdefault(channel, process) == process, "two processes share a channel"
        marks = [len(self.moves)]
        for part in (
            takes,
            [(channel, count) for channel, count in gives if channel >= self.edges],
            [(channel, count) for channel, count in gives if channel < self.edges],
        ):
            self.moves += part
            marks.append(len(self.moves))
        return tuple(marks)

    def records(self) -> Records:
        processes = _records(PROCESS, self.processes)
        processes.phase = processes.phases_from
        processes.left = [self.phases[first][0] for first in processes.phases_from]
        return processes


def _records(kind: np.dtype[np.void], rows: Sequence[tuple[int, ...]]) -> Records:
    """Fields that the rows do not reach are 0."""
    records = np.zeros(len(rows), kind)
    for name, column in zip(kind.names or (), np.array(rows, np.int64).T, strict=False):
        records[name] = column
    return records.view(np.recarray)
