"""Where staircases are checked."""

from __future__ import annotations

import numpy as np

from sira.verification.oracle_steps import points_around


def test_both_sides_of_each_step_within_the_bounds_of_each_place() -> None:
    """One channel with two places, whose bounds differ and whose steps are the same."""
    steps = np.array([[[-5000, 100, 900]]])
    lo, hi = np.array([[0, 50]]), np.array([[1000, 899]])
    points, reachable = points_around(steps, lo, hi)
    assert reachable == 2
    assert set(points[:, 0, 0].tolist()) == {0, 99, 100, 899, 900, 1000}
    assert set(points[:, 0, 1].tolist()) == {50, 99, 100, 899}


def test_every_integer_of_a_small_range() -> None:
    points, reachable = points_around(np.array([[[3]]]), np.array([[1, 2]]), np.array([[4, 3]]))
    assert reachable == 1
    assert points[:, 0].T.tolist() == [[1, 2, 3, 4], [2, 3, 3, 3]]
