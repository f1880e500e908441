"""Phases of a schedule from what happens in each cycle."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hls.schedule import Phase

Cycles = NDArray[np.bool_]


def periodic_phases(takes: Mapping[str, Cycles], gives: Mapping[str, Cycles]) -> tuple[Phase, ...]:
    """Phases of one period, from whether each port moves a beat in each cycle (cycles,) of a frame.

    The shortest period that makes up the frame, one phase for each run of equal cycles.
    """
    moves = [*takes.values(), *gives.values()]
    codes = np.sum([move.astype(np.int64) << bit for bit, move in enumerate(moves)], axis=0)
    divisors = (n for n in range(1, len(codes) + 1) if len(codes) % n == 0)
    period = next(n for n in divisors if np.array_equal(codes[n:], codes[: len(codes) - n]))
    starts = [0, *(np.flatnonzero(np.diff(codes[:period])) + 1).tolist(), period]
    return tuple(
        Phase(
            stop - start,
            {port: 1 for port, move in takes.items() if move[start]},
            {port: 1 for port, move in gives.items() if move[start]},
        )
        for start, stop in pairwise(starts)
    )
