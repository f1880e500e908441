"""Phases found from what happens in each cycle."""

from __future__ import annotations

import numpy as np
import pytest

from hls.layers.parts.phases import periodic_phases


@pytest.mark.parametrize(
    ("takes", "gives", "steps"),
    [
        ("1", "1", [1]),
        ("1111", "1111", [1]),
        ("1111", "1010", [1, 1]),
        ("111111", "100100", [1, 2]),
        ("11111111", "11001000", [2, 2, 1, 3]),
        ("1001", "1111", [1, 2, 1]),  # the first and the last run are alike
        ("110110", "111111", [2, 1]),
        ("101101", "111111", [1, 1, 1]),
        ("11111", "10101", [1, 1, 1, 1, 1]),
    ],
)
def test_shortest_period(takes: str, gives: str, steps: list[int]) -> None:
    taken, given = (np.array([c == "1" for c in cycles]) for cycles in (takes, gives))
    phases = periodic_phases({"in": taken}, {"out": given})
    assert [phase.steps for phase in phases] == steps
    cycles = [phase for phase in phases for _ in range(phase.steps)]
    cycles *= len(takes) // len(cycles)
    assert [phase.takes.get("in", 0) for phase in cycles] == taken.tolist()
    assert [phase.gives.get("out", 0) for phase in cycles] == given.tolist()
