"""Cycle-accurate simulation of a dataflow graph from the schedules of its layers.

It needs no RTL: layers are their schedules, edges are FIFOs, inputs send and outputs take a beat
whenever they can. It agrees with the RTL cycle by cycle as far as the schedules do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hls.dataflow import Dataflow, Ints
from hls.fifos.kernel import run
from hls.fifos.program import TOKEN, UNLIMITED, Graph, Program, flatten
from sira.errors import SiraError

_FRAMES = 64
"""Frames after which a run that has not become periodic is taken as it is."""
STEPS = 400_000_000
"""Steps of all processes, a few dozen nanoseconds each, after which it is no longer waited for."""
_PERIODS = 32
"""The longest period looked for, in frames."""


@dataclass(frozen=True)
class Simulation:
    """What a run of frames back to back showed.

    ``completed`` has for each output the cycle in which each frame's last beat was taken, the first
    beat sent being in cycle 1. ``occupancy`` is the most beats that the FIFO of each edge held, a
    beat counting from the cycle in which it is written to the one in which it is taken.

    ``period`` is (frames, cycles) once the whole state of the graph repeats: from then on it goes
    on for ever in the same way, so there is no deadlock. None if that was not seen.
    """

    completed: Mapping[str, tuple[int, ...]]
    occupancy: tuple[int, ...]
    period: tuple[int, int] | None
    steps: int

    @property
    def first_cycles(self) -> int:
        """Cycles from the first beat in to the last beat of the first frame out: the latency."""
        return max(done[0] for done in self.completed.values())

    @property
    def cycles_per_frame(self) -> Fraction:
        """Of the period, or else between the later half of the frames."""
        if self.period:
            frames, cycles = self.period
            return Fraction(cycles, frames)
        done = [max(frame) for frame in zip(*self.completed.values(), strict=True)]
        start = min(len(done) // 2, len(done) - 2)
        return Fraction(done[-1] - done[start], len(done) - 1 - start)


class Deadlock(SiraError):
    """No layer can go on. ``edges`` are the numbers of the full ones that the layers wait for."""

    def __init__(self, name: str, edges: Sequence[int], found: str) -> None:
        super().__init__(
            "the layers wait for each other for ever",
            where=f"FIFOs of {name}",
            expected="depths that hold what a branch runs ahead of the others",
            found=found,
            remedy="deepen the full FIFOs or let their depths be found",
        )
        self.edges = tuple(edges)


def simulate(
    dataflow: Dataflow,
    depths: Sequence[int] | None = None,
    *,
    source_cycles: int = 0,
    frames: int = _FRAMES,
) -> Simulation:
    """Run frames until the graph's state repeats, but no more than ``frames``, at least 2.

    ``depths`` of the FIFOs replace those of the edges; ``source_cycles`` is the time over which the
    inputs spread a frame, 0 for as fast as they are taken. Raises `Deadlock`.
    """
    if depths is None:
        depths = [edge.depth for edge in dataflow.edges]
    return simulate_program(flatten(dataflow), depths, source_cycles, frames)


def simulate_program(
    program: Program,
    depths: Sequence[int],
    source_cycles: int = 0,
    frames: int = _FRAMES,
    steps: int = STEPS,
) -> Simulation:
    """As `simulate`, for several runs of the same graph; no frame begins after ``steps``."""
    graph = program.graph(depths, source_cycles)
    completed: dict[str, list[int]] = {port: [] for port in program.sinks}
    snapshots: list[tuple[int, Ints]] = []
    period = None
    for frame in range(1, max(frames, 2) + 1):
        while (short := run(graph, frame)) >= 0:
            graph = _longer_ring(graph, short)
        if int(graph.processes.frame.min()) < frame:
            raise _deadlock(program, graph)
        for port, process in program.sinks.items():
            completed[port].append(int(graph.processes.finished[process]) + 1)
        snapshots.append(_snapshot(graph))
        if (period := _period(snapshots)) or (frame > 1 and graph.counters[2] > steps):
            break
    return Simulation(
        {port: tuple(done) for port, done in completed.items()},
        tuple(int(beats) for beats in graph.channels.occupancy[: program.edges]),
        period,
        int(graph.counters[2]),
    )


def _longer_ring(graph: Graph, index: int) -> Graph:
    """Double the ring of a channel; token n stays at place n modulo the length."""
    channels = graph.channels.copy()
    channel = channels[index]
    old = int(channel.mask) + 1
    start, end = int(channel.ring), int(channel.ring) + old
    longer = np.zeros(2 * old, TOKEN)
    for name in TOKEN.names or ():
        count = int(channel[name])
        kept = np.arange(max(0, count - old), count)
        longer[name][kept % (2 * old)] = graph.tokens[name][start + kept % old]
    tokens = np.concatenate([graph.tokens[:start], longer, graph.tokens[end:]])
    channel.mask = 2 * old - 1
    channels.ring[index + 1 :] += old
    return graph._replace(channels=channels, tokens=tokens.view(np.recarray))


def _snapshot(graph: Graph) -> tuple[int, Ints]:
    """A time, and all that decides how the graph goes on, relative to that time.

    Between frames all beats were taken; what counts is when each process can go on, when room was
    made in the channels and when tokens were put into the buffers, and the stalls still to come.
    """
    processes, tokens = graph.processes, graph.tokens
    now = int(processes.finished.max())
    next_step = np.maximum(processes.free + processes.stall, processes.frame * processes.pace)
    parts = [next_step - now]
    for channel in graph.channels:
        # Earlier than a process's next step is as good as at that step.
        inside = channel.ring + (np.arange(channel.taken, channel.given) & channel.mask)
        soonest = next_step[channel.consumer] - channel.delay
        parts.append(np.maximum(tokens.given[inside], soonest) - now)
        if channel.capacity < UNLIMITED:
            oldest = channel.given - channel.capacity
            left = channel.ring + (np.arange(max(0, oldest), channel.taken) & channel.mask)
            times = np.full(channel.taken - oldest, next_step[channel.producer] - 1)
            times[len(times) - len(left) :] = tokens.taken[left]
            parts.append(np.maximum(times, next_step[channel.producer] - 1) - now)
    for process in processes:
        # Stalls that later steps will meet, and in which pipeline cycle
        slots = process.ring + (np.arange(process.behind, process.tail) & process.mask)
        beats = graph.beats[slots]
        parts += [beats.due - process.free, beats.done - now]
    return now, np.concatenate(parts)


def _period(snapshots: Sequence[tuple[int, Ints]]) -> tuple[int, int] | None:
    """(frames, cycles) from an earlier snapshot to the same one now."""
    now, latest = snapshots[-1]
    for frames in range(1, min(_PERIODS, len(snapshots) - 1) + 1):
        time, earlier = snapshots[-1 - frames]
        if np.array_equal(earlier, latest):
            return frames, now - time
    return None


def _deadlock(program: Program, graph: Graph) -> Deadlock:
    """Follow who waits for whom until a process comes up again."""
    waiting: list[int] = []
    reasons: list[tuple[int, bool]] = []
    number = int(np.argmin(graph.processes.frame))
    while number not in waiting:
        waiting.append(number)
        process = graph.processes[number]
        full = process.lacks_room >= 0
        index = int(process.lacks_room if full else process.lacks_token)
        assert index >= 0, "a process stopped without a reason"
        reasons.append((index, full))
        channel = graph.channels[index]
        number = int(channel.consumer if full else channel.producer)
    cycle = reasons[waiting.index(number) :]
    found = [
        f"{program.channels[c].name} full with {graph.channels[c].capacity}"
        if full
        else f"{program.channels[c].name} empty"
        for c, full in cycle
    ]
    edges = sorted(c for c, full in cycle if full and graph.channels[c].edge)
    return Deadlock(program.name, edges, "; ".join(found))
