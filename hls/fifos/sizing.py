"""The depth of every FIFO, found by simulating schedules: full throughput, no deadlock, few bits.

A graph runs at best at the pace of its slowest layer. With FIFOs of any depth and inputs that send
at that pace, the most beats a FIFO ever holds are a depth that suffices; from there, as many as
possible become two registers, and the others as shallow as they can be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from hls.dataflow import Dataflow
from hls.fifos.cost import REGISTERS, fifo_bits, rounded_depth
from hls.fifos.program import UNLIMITED, Program, flatten
from hls.fifos.simulation import STEPS, Deadlock, Simulation, simulate_program

_TRIAL = 40_000_000
"""Steps of a trial that has not become periodic; deep FIFOs fill for many frames."""
_BUDGET = 1_000_000_000
"""Steps simulated to save bits; the rest of the FIFOs stay as they are then."""


@dataclass(frozen=True)
class FifoSizing:
    """A dataflow graph with depths on its edges, and how it runs with them.

    ``bottleneck`` is the layer that takes the most cycles a frame, ``cycles_best`` what the graph
    takes with FIFOs of any depth, ``trials`` the number of simulations.
    """

    dataflow: Dataflow
    simulation: Simulation
    bottleneck: str
    cycles_best: Fraction
    trials: int

    @property
    def cycles_per_frame(self) -> Fraction:
        """Predicted, in steady state."""
        return self.simulation.cycles_per_frame

    @property
    def first_cycles(self) -> int:
        """Predicted, from the first beat in to the last beat of the first frame out."""
        return self.simulation.first_cycles

    @property
    def bits(self) -> int:
        """Of all FIFOs."""
        return fifo_bits(self.dataflow)

    @property
    def proof(self) -> str:
        """Why it does not come to a deadlock, as a sentence."""
        frames = len(next(iter(self.simulation.completed.values())))
        if self.simulation.period is None:
            return f"no deadlock in {frames} frames; the state did not repeat, so it is not proven"
        period, cycles = self.simulation.period
        what = "frame" if period == 1 else f"{period} frames"
        return (
            f"no deadlock: after {frames} frames the state of all layers and FIFOs is "
            f"that of {cycles} cycles before, and so it repeats with every {what}"
        )


def size_fifos(dataflow: Dataflow) -> FifoSizing:
    """Choose the depths; those that the edges have are ignored."""
    slowest = max(dataflow.layers, key=lambda layer: layer.cycles)
    search = _Search(dataflow)
    pace = Fraction(slowest.cycles)
    if search.reaches(pace, [REGISTERS] * len(dataflow.edges)):
        return search.result(slowest.name, pace)
    tight = search.simulation
    ample = _ample(search.program, slowest.cycles)
    search.trials += 1
    goal = ample.cycles_per_frame
    if tight is None or tight.cycles_per_frame > goal:
        for search.limit in (_TRIAL, STEPS):
            search.find(goal, ample)
            if search.lasts(goal):
                break
    return search.result(slowest.name, goal)


def _ample(program: Program, cycles: int) -> Simulation:
    """Run with FIFOs of any depth and inputs at the pace of the output."""
    depths = [UNLIMITED] * program.edges
    while True:
        result = simulate_program(program, depths, cycles)
        if result.period or ceil(result.cycles_per_frame) <= cycles:
            return result
        # Beats pile up in front of something that takes longer than any layer says.
        cycles = ceil(result.cycles_per_frame)


class _Search:
    """The best depths so far, and the work done to find them."""

    def __init__(self, dataflow: Dataflow) -> None:
        self.dataflow = dataflow
        self.program = flatten(dataflow)
        self.widths = [dataflow.stream(edge).width for edge in dataflow.edges]
        self.depths: list[int] = []
        self.simulation: Simulation | None = None
        self.too_slow: set[tuple[int, ...]] = set()
        self.trials = self.steps = 0
        self.limit = STEPS

    def run(self, depths: list[int]) -> Simulation | None:
        """Simulate; the first result is the best so far. None where it comes to a deadlock."""
        self.trials += 1
        try:
            result = simulate_program(self.program, depths, steps=self.limit)
        except Deadlock:
            return None
        self.steps += result.steps
        if self.simulation is None:
            self.depths, self.simulation = depths, result
        return result

    def reaches(self, goal: Fraction, depths: list[int]) -> bool:
        """Whether these depths are fast enough; if so, they are the best so far."""
        if tuple(depths) in self.too_slow:
            return False
        result = self.run(depths)
        if result is None or result.cycles_per_frame > goal:
            self.too_slow.add(tuple(depths))
            return False
        self.depths, self.simulation = depths, result
        return True

    def find(self, goal: Fraction, ample: Simulation) -> None:
        """Start from how full the FIFOs were where none was too small, and make them smaller."""
        # Memories are a cycle slower than the registers they stand for, and pipelines that stand
        # still as a whole can make an early beat late: a little more may be needed.
        extra = 0
        while not self.reaches(goal, [rounded_depth(n + extra) for n in ample.occupancy]):
            extra = 2 * extra + 1
            assert extra < 1 << 16, "the pace cannot be reached"
        self._shrink_all(goal)

    def lasts(self, goal: Fraction) -> bool:
        """Whether the best so far are fast enough until the state repeats."""
        assert self.simulation is not None
        if self.simulation.period is None and self.limit < STEPS:
            self.limit = STEPS
            self.simulation = self.run(self.depths)
        return self.simulation is not None and self.simulation.cycles_per_frame <= goal

    def _shrink_all(self, goal: Fraction) -> None:
        """Make as many FIFOs registers as can be, widest and deepest first.

        Registers are faster than a memory, so that others may need less then: until all is tried.
        """
        before: list[int] = []
        while before != self.depths and self.steps <= _BUDGET:
            before = self.depths
            deep = [edge for edge, depth in enumerate(before) if depth > REGISTERS]
            bits = {edge: before[edge] * self.widths[edge] for edge in deep}
            self._shrink(sorted(deep, key=lambda edge: (-bits[edge], edge)), goal)

    def _shrink(self, edges: list[int], goal: Fraction) -> None:
        if not edges or self.steps > _BUDGET or self._with(edges, REGISTERS, goal):
            return
        if len(edges) > 1:
            self._shrink(edges[: len(edges) // 2], goal)
            self._shrink(edges[len(edges) // 2 :], goal)
            return
        # Small depths are the likely ones: double until it is enough, then halve the distance.
        (edge,) = edges
        too_little, enough = REGISTERS, self.depths[edge]
        doubling = True
        while self.steps <= _BUDGET:
            middle = 2 * too_little - 1 if doubling else (too_little + enough + 1) // 2
            depth = rounded_depth(middle)
            if depth < enough:
                if self._with(edges, depth, goal):
                    enough, doubling = depth, False
                else:
                    too_little = depth
            elif doubling:
                doubling = False
            else:
                return

    def _with(self, edges: list[int], depth: int, goal: Fraction) -> bool:
        depths = [depth if i in edges else d for i, d in enumerate(self.depths)]
        return self.reaches(goal, depths)

    def result(self, bottleneck: str, best: Fraction) -> FifoSizing:
        assert self.simulation is not None
        edges = tuple(
            replace(edge, depth=depth)
            for edge, depth in zip(self.dataflow.edges, self.depths, strict=True)
        )
        dataflow = replace(self.dataflow, edges=edges)
        return FifoSizing(dataflow, self.simulation, bottleneck, best, self.trials)
