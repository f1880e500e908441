"""Schedules run clock by clock, the slow and obvious way, with FIFOs as in stream_fifo.sv."""

from __future__ import annotations

from hls.dataflow import Dataflow, Port
from hls.schedule import Process


class Fifo:
    """Two registers, or a memory of depth - 1 words in front of one register."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.memory = 0
        self.register = False
        self.pushed = self.popped = False
        self.most = 0

    @property
    def ready(self) -> bool:
        return self.memory < self.depth - 1

    def clock(self) -> None:
        self.most = max(self.most, self.memory + self.register + self.pushed)
        advance = not self.register or self.popped
        if self.depth == 2:
            if advance:
                self.register = self.memory > 0 or self.pushed
                self.memory = 0
            elif self.pushed:
                self.memory = 1
        else:
            moved = advance and self.memory > 0
            if advance:
                self.register = self.memory > 0
            self.memory += self.pushed - moved
        self.pushed = self.popped = False


class Tokens:
    """A buffer: what is given or taken in a cycle is seen in the next one."""

    def __init__(self, capacity: int, initial: int) -> None:
        self.capacity, self.count, self.change = capacity, initial, 0

    def clock(self) -> None:
        self.count += self.change
        self.change = 0


class Running:
    """A process with its pipeline: slots of the ports that still have to take a beat."""

    def __init__(self, process: Process, inputs: dict, outputs: dict, buffers: dict) -> None:
        self.steps = [p for p in process.phases for _ in range(p.steps)]
        self.inputs, self.outputs, self.buffers = inputs, outputs, buffers
        self.pipeline: list[set[str]] = [set() for _ in range(process.latency)]
        self.open: set[str] | None = None  # latency 0: ports of this step that still wait
        self.at = 0
        self.done = 0

    def offer(self, waiting: set[str]) -> None:
        for port in sorted(waiting):
            if self.outputs[port].ready:
                self.outputs[port].pushed = True
                waiting.remove(port)

    def clock(self) -> None:
        if self.pipeline:
            self.offer(self.pipeline[-1])
            if self.pipeline[-1]:
                return
            given = self.step()
            self.pipeline = [given or set(), *self.pipeline[:-1]]
        else:
            self.step()

    def step(self) -> set[str] | None:
        phase = self.steps[self.at]
        for name, count in phase.takes.items():
            if name in self.buffers:
                if self.buffers[name].count < count:
                    return None
            elif not self.inputs[name].register:
                return None
        for name, count in phase.gives.items():
            if name in self.buffers:
                buffer = self.buffers[name]
                if buffer.count + count > buffer.capacity:
                    return None
        ports = {name for name in phase.gives if name in self.outputs}
        if not self.pipeline:
            self.open = ports if self.open is None else self.open
            self.offer(self.open)
            if self.open:
                return None
            self.open = None
        for name, count in phase.takes.items():
            if name in self.buffers:
                self.buffers[name].change -= count
            else:
                self.inputs[name].popped = True
        for name, count in phase.gives.items():
            if name in self.buffers:
                self.buffers[name].change += count
        self.at = (self.at + 1) % len(self.steps)
        self.done += 1
        return ports


def completed(
    dataflow: Dataflow, frames: int, limit: int
) -> tuple[dict[str, list[int]], list[int]]:
    """Cycles in which frames are complete at each output, and the most beats in each FIFO.

    The lists are shorter where the graph did not get as far within ``limit`` cycles.
    """
    fifos = [Fifo(edge.depth) for edge in dataflow.edges]
    sources = {edge.source: fifo for edge, fifo in zip(dataflow.edges, fifos, strict=True)}
    targets = {edge.target: fifo for edge, fifo in zip(dataflow.edges, fifos, strict=True)}
    processes: list[Running] = []
    buffers: list[Tokens] = []
    for layer in dataflow.layers:
        schedule = layer.schedule()
        local = {name: Tokens(b.capacity, b.initial) for name, b in schedule.buffers.items()}
        buffers += local.values()
        inputs = {port: targets[Port(layer.name, port)] for port in layer.inputs}
        outputs = {port: sources[Port(layer.name, port)] for port in layer.outputs}
        processes += [Running(p, inputs, outputs, local) for p in schedule.processes]
    taken = dict.fromkeys(dataflow.outputs, 0)
    result: dict[str, list[int]] = {port: [] for port in dataflow.outputs}
    for cycle in range(limit):
        for port in dataflow.inputs:
            sources[Port("", port)].pushed = sources[Port("", port)].ready
        for process in processes:
            process.clock()
        for port, stream in dataflow.outputs.items():
            fifo = targets[Port("", port)]
            fifo.popped = fifo.register
            taken[port] += fifo.register
            if fifo.register and taken[port] % stream.beats == 0:
                result[port].append(cycle + 1)
        for part in (*fifos, *buffers):
            part.clock()
        if all(len(done) >= frames for done in result.values()):
            break
    return {port: done[:frames] for port, done in result.items()}, [f.most for f in fifos]
