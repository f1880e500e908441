"""Thresholds that serve all border classes at once, on small multiples of the integers."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from lowering import lowered
from onnx_models import Net, integers

from sira.errors import SiraError
from transforms.steps.border import _offsets, _thresholds

RNG = np.random.default_rng(3)
OFF_LATTICE = integers(-3, 4, 0.5, Fraction(7, 4))


@pytest.mark.parametrize("seed", range(12))
def test_the_smallest_multiple_and_exact_thresholds(seed: int) -> None:
    """Classes step where ``q + offset`` reaches common thresholds; all integers by brute force."""
    rng = np.random.default_rng(seed)
    classes, levels = int(rng.integers(2, 5)), int(rng.integers(1, 5))
    offsets = rng.uniform(-3, 3, classes)
    steps = np.sort(rng.uniform(-12, 12, levels))
    low, high = -9, 9
    q = np.arange(low, high + 1)
    counts = (q[:, None, None] + offsets[:, None] >= steps).sum(axis=2)  # (q, classes)
    first = np.array([
        [next((int(v) for v in q if v + o >= t), high + 1) for t in steps] for o in offsets
    ])[None]  # fmt: skip
    lowest, highest = np.full((1, classes, 1), low), np.full((1, classes, 1), high)
    d, b = _offsets(first, lowest, highest)
    thresholds = _thresholds(first, d, b, lowest, highest)[0]
    u = d * q[:, None] + b[0]
    assert np.array_equal((u[..., None] >= thresholds).sum(axis=2), counts)

    def serves(d: int, b: tuple[int, ...]) -> bool:
        u = d * q[:, None] + np.array(b)
        bounds = [(u[counts < k], u[counts >= k]) for k in range(1, levels + 1)]
        return all(not x.size or not y.size or x.max() < y.min() for x, y in bounds)

    assert serves(d, tuple(b[0]))
    for smaller in range(1, d):
        near = [round(smaller * (o - offsets[0])) for o in offsets[1:]]
        around = product(*(range(n - smaller, n + smaller + 1) for n in near))
        assert not any(serves(smaller, (0, *others)) for others in around)


def test_a_product_of_matrices_has_no_border() -> None:
    """Its last axis is that of the channels, however many axes there are in front of it."""
    net = Net((1, 3, 4, 5))
    net.quant(net.node("MatMul", "x", net.quant(RNG.integers(-7, 8, (5, 6)) * 0.25, 0.25)), 2.0)
    lowered(net, OFF_LATTICE)


def test_constants_that_differ_between_positions_are_refused() -> None:
    net = Net((1, 2, 6))
    kernel = net.quant(RNG.integers(-7, 8, (2, 2, 3)) * 0.25, 0.25)
    x = net.node("Conv", "x", kernel, pads=[1, 1])
    net.quant(net.node("Add", x, np.arange(12.0).reshape(1, 2, 6)), 1.0)
    with pytest.raises(SiraError, match="thresholds must not differ within a channel"):
        lowered(net, OFF_LATTICE)
