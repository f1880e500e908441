"""Free names."""

from __future__ import annotations

import pytest

from sira.names import free_name


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        (set(), "x"),
        ({"y", "x_2"}, "x"),
        ({"x"}, "x_2"),
        ({"x", "x_2", "x_4"}, "x_3"),
        ({"x": 1, "x_1": 2}, "x_2"),
    ],
)
def test_the_first_that_is_free(taken: set[str] | dict[str, int], found: str) -> None:
    assert free_name("x", taken) == found
