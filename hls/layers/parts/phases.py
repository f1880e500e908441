"""Phases of a schedule from what happens in each cycle."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from hls.schedule import Phase

Cycles = NDArray[np.bool_]


def periodic_phases(takes: Mapping[str, Cycles], gives: Mapping[str, Cycles]) -> tuple[Phase, ...]:
    """Phases of one period, from whether each port moves a beat in each cycle (cycles,) of a frame.

    The shortest period that makes up the frame, one phase for each run of equal cycles.
    """
    moves = np.array([*takes.values(), *gives.values()])
    changes = np.any(moves[:, 1:] != moves[:, :-1], axis=0)
    period = _period(moves, changes)
    starts = [0, *(np.flatnonzero(changes[: period - 1]) + 1).tolist(), period]
    return tuple(
        Phase(
            stop - start,
            {port: 1 for port, move in takes.items() if move[start]},
            {port: 1 for port, move in gives.items() if move[start]},
        )
        for start, stop in pairwise(starts)
    )


def _period(moves: Cycles, changes: Cycles) -> int:
    """The shortest period of ``moves`` (ports, cycles) that divides the cycles.

    ``changes`` says where a cycle differs from the next; they are few, and quick to compare.
    """
    cycles: int = moves.shape[1]
    low = [n for n in range(1, isqrt(cycles) + 1) if cycles % n == 0]
    where = np.flatnonzero(changes)

    def repeats(period: int) -> bool:
        later = where[where < cycles - 1 - period] + period
        return bool(np.all(changes[later])) and np.array_equal(
            moves[:, period:], moves[:, : cycles - period]
        )

    return next(n for n in sorted({*low, *(cycles // n for n in low)}) if repeats(n))
