"""When a layer takes and gives beats, in cycles: what FIFO sizing and cycle prediction need.

A layer is one or more processes that run side by side, as in cyclo-static dataflow: each repeats
its phases for ever, and each step of a phase takes one cycle once all tokens that it takes are
there and all that it gives have room. Tokens are beats on the layer's ports, or whatever its own
buffers count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Phase:
    """``steps`` equal steps (0: none) of one cycle; each takes and gives tokens by channel name.

    A channel is a port of the layer or one of its buffers. At a port, a step moves at most one.
    """

    steps: int
    takes: Mapping[str, int] = field(default_factory=dict)
    gives: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Process:
    """Phases that repeat for ever; several periods may make up a frame.

    ``latency`` is the number of cycles from the step that gives a beat at an output port to the
    first in which it is offered there: the registers of the pipeline. The process and its pipeline
    stand still while a beat that is offered waits for room; where a step gives beats at several
    ports, each port takes its own as soon as it can. With latency 0 the beats at the input ports
    are taken in the cycle in which the last output port takes its beat.
    """

    phases: tuple[Phase, ...]
    latency: int = 1

    @property
    def steps(self) -> int:
        """Cycles of one period without stalls."""
        return sum(phase.steps for phase in self.phases)


@dataclass(frozen=True)
class Buffer:
    """Tokens between the processes of one layer: how many fit, and how many are there at reset.

    One process gives them and one takes them. A token can be taken in the cycle after it was given,
    whatever the latency, and its room is free in the cycle after it was taken.
    """

    capacity: int
    initial: int = 0


@dataclass(frozen=True)
class Schedule:
    """The processes of a layer and the buffers between them, by channel name."""

    processes: tuple[Process, ...]
    buffers: Mapping[str, Buffer] = field(default_factory=dict)
