"""The inner loop of the schedule simulation, compiled by numba.

There is no clock. Every process runs ahead on its own: the cycle of a step follows from the cycles
in which the tokens it takes were given and the room it needs was made. So the FIFOs hold times,
one for each token given and one for each taken, and a process waits only where a time is not known
yet. That the times do not depend on the order in which processes run makes it exact.

A pipeline of ``latency`` registers stands still as a whole. Steps are therefore counted in pipeline
cycles, in which it moves, and ``stall`` is how far clock cycles are ahead of them: a beat given in
pipeline cycle p is offered in p + latency, and each cycle that it waits there adds to the stall.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

from hls.fifos.program import Graph

BURST = 256
"""Steps that a process runs ahead before the others get their turn."""

_DONE, _WAITS = -1, -2

Function = TypeVar("Function", bound=Callable[..., object])


def _compiled(function: Function) -> Function:
    """Machine code, kept beside the source or in the user's cache, where one can be written to.

    The arrays outlive the call; counting references to them would take most of the time.
    """
    try:
        compiled = numba.njit(cache=True, _nrt=False)(function)
    except RuntimeError:  # nowhere to keep it
        compiled = numba.njit(_nrt=False)(function)
    return cast(Function, compiled)


def _inlined(function: Function) -> Function:
    return cast(Function, numba.njit(inline="always", _nrt=False)(function))


@_compiled
def run(graph: Graph, frames: int) -> int:
    """Run until every process has done ``frames`` frames or none can go on.

    Returns -1 then, or the number of a channel whose ring is too short to go on.
    """
    for number in range(len(graph.processes)):
        _wake(graph, number)
    counters = graph.counters
    while counters[0] != counters[1]:
        number = graph.queue[counters[0]]
        counters[0] = (counters[0] + 1) % len(graph.queue)
        graph.processes[number].queued = 0
        short = _advance(graph, number, frames)
        if short >= 0:
            _wake(graph, number)
            return short
    return -1


@_inlined
def _wake(graph: Graph, number: int) -> None:
    process = graph.processes[number]
    if process.queued == 0:
        process.queued = 1
        counters = graph.counters
        graph.queue[counters[1]] = number
        counters[1] = (counters[1] + 1) % len(graph.queue)


@_inlined
def _advance(graph: Graph, number: int, frames: int) -> int:
    """Run a process as far as the known times allow; a channel with a short ring, or -1."""
    process = graph.processes[number]
    process.lacks_token = -1
    process.lacks_room = -1
    for _ in range(BURST):
        if process.head != process.tail:
            short = _deliver(graph, number)
            if short >= 0:
                return short
            if process.latency == 0:
                if process.head != process.tail:
                    return -1
                process.behind = process.head
                process.stall = process.head_stall
                beat = graph.beats[process.ring + ((process.head - 1) & process.mask)]
                _commit(graph, number, beat.done)
                continue
        if process.frame >= frames:
            return -1
        status = _step(graph, number)
        if status >= 0:
            return status
        if status == _WAITS:
            return -1
    _wake(graph, number)
    return -1


@_inlined
def _deliver(graph: Graph, number: int) -> int:
    """Give beats that leave the pipeline to their FIFOs; a channel with a short ring, or -1."""
    process = graph.processes[number]
    while process.head != process.tail:
        beat = graph.beats[process.ring + (process.head & process.mask)]
        phase = graph.phases[beat.phase]
        offered = beat.due + process.head_stall
        complete = True
        for move in range(phase.ports_from, phase.moves_to):
            bit = 1 << (move - phase.ports_from)
            if process.ports_done & bit:
                continue
            at = offered
            index = graph.moves[move].channel
            channel = graph.channels[index]
            freed = channel.given - channel.capacity
            if freed >= channel.taken:
                process.lacks_room = index
                complete = False
                continue
            if channel.given - channel.taken > channel.mask:
                return index  # type: ignore[no-any-return]
            if freed >= 0:
                at = max(at, graph.tokens[channel.ring + (freed & channel.mask)].taken + 1)
            _give(graph, index, 1, at)
            process.ports_done |= bit
            process.ports_last = max(process.ports_last, at)
        if not complete:
            return -1
        beat.done = process.ports_last
        process.head_stall += process.ports_last - offered
        process.ports_done = 0
        process.ports_last = 0
        process.head += 1
    return -1


@_inlined
def _give(graph: Graph, index: int, count: int, at: int) -> None:
    channel = graph.channels[index]
    for token in range(channel.given, channel.given + count):
        graph.tokens[channel.ring + (token & channel.mask)].given = at
    channel.given += count
    if graph.processes[channel.consumer].lacks_token == index:
        _wake(graph, channel.consumer)


@_inlined
def _take(graph: Graph, index: int, count: int, at: int) -> None:
    channel = graph.channels[index]
    for token in range(channel.taken, channel.taken + count):
        graph.tokens[channel.ring + (token & channel.mask)].taken = at
    channel.taken += count
    if graph.processes[channel.producer].lacks_room >= 0:
        _wake(graph, channel.producer)


@_inlined
def _step(graph: Graph, number: int) -> int:
    """Make the next step, or skip a whole phase without moves.

    Returns a channel with a short ring, or whether a step was made.
    """
    process = graph.processes[number]
    phase = graph.phases[process.phase]
    if phase.moves_from == phase.moves_to:
        process.free += process.left
        process.left = 0
        _next_phase(graph, number)
        return _DONE
    possible = process.free + process.stall
    for move in range(phase.moves_from, phase.buffers_from):
        index, count = graph.moves[move].channel, graph.moves[move].count
        channel = graph.channels[index]
        if channel.taken + count > channel.given:
            process.lacks_token = index
            return _WAITS
        last = channel.taken + count - 1
        given = graph.tokens[channel.ring + (last & channel.mask)].given
        possible = max(possible, given + channel.delay)
        if channel.edge:
            # Those taken before this one was given were out of its way.
            while (
                channel.merged < last
                and graph.tokens[channel.ring + (channel.merged & channel.mask)].taken < given
            ):
                channel.merged += 1
            if last - channel.merged > channel.mask:
                return index  # type: ignore[no-any-return]
            channel.occupancy = max(channel.occupancy, last - channel.merged + 1)
    for move in range(phase.buffers_from, phase.ports_from):
        index, count = graph.moves[move].channel, graph.moves[move].count
        channel = graph.channels[index]
        freed = channel.given + count - 1 - channel.capacity
        if freed >= channel.taken:
            process.lacks_room = index
            return _WAITS
        if freed >= 0:
            taken = graph.tokens[channel.ring + (freed & channel.mask)].taken
            possible = max(possible, taken + 1)
    if process.pace > 0:
        before = (phase.steps - process.left) * process.pace // phase.steps
        possible = max(possible, process.frame * process.pace + before)
    while process.behind != process.tail:
        beat = graph.beats[process.ring + (process.behind & process.mask)]
        offered = beat.due + process.stall
        if possible < offered:
            break
        if process.behind == process.head:
            return _WAITS  # when that beat finds room is not known yet
        process.stall += beat.done - offered
        process.behind += 1
        possible = max(possible, beat.done, process.free + process.stall)
    if phase.ports_from < phase.moves_to:
        beat = graph.beats[process.ring + (process.tail & process.mask)]
        beat.due = possible - process.stall + process.latency
        beat.phase = process.phase
        process.tail += 1
        if process.latency == 0:
            return _DONE  # or rather, once the ports have taken their beats
    _commit(graph, number, possible)
    return _DONE


@_inlined
def _commit(graph: Graph, number: int, at: int) -> None:
    """Take tokens and give those of buffers in cycle ``at``, and go on to the next step."""
    process = graph.processes[number]
    phase = graph.phases[process.phase]
    for move in range(phase.moves_from, phase.buffers_from):
        _take(graph, graph.moves[move].channel, graph.moves[move].count, at)
    for move in range(phase.buffers_from, phase.ports_from):
        _give(graph, graph.moves[move].channel, graph.moves[move].count, at)
    process.free = at - process.stall + 1
    process.finished = at
    graph.counters[2] += 1
    process.left -= 1
    if process.left == 0:
        _next_phase(graph, number)


@_inlined
def _next_phase(graph: Graph, number: int) -> None:
    process = graph.processes[number]
    process.phase += 1
    if process.phase == process.phases_to:
        process.phase = process.phases_from
        process.period += 1
        if process.period == process.periods:
            process.period = 0
            process.frame += 1
    process.left = graph.phases[process.phase].steps
