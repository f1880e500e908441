"""BatchNormalization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import Net, check, integers, run

from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt

INPUT = integers(-9, 9, 0.5)
GAMMA = np.array([1.0, -0.5, 0.0, 4.0], np.float32)
BETA = np.array([0.5, -1.0, 2.0, 0.0], np.float32)
MEAN = np.array([0.25, 0.0, 1.0, -2.0], np.float32)


def normalised(shape: tuple[int, ...], var: Any, **attributes: Any) -> Net:
    net = Net(shape)
    net.node("BatchNormalization", "x", GAMMA, BETA, MEAN, np.asarray(var), **attributes)
    return net


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 3)])
def test_where_the_root_is_rational(shape: tuple[int, ...]) -> None:
    """Standard deviations of 1, 2, 1/2 and 4: float64 makes no error either."""
    net = normalised(shape, [1.0, 4.0, 0.25, 16.0], epsilon=0.0)
    found = check(net, INPUT)[0]["t0"]
    assert isinstance(found, ScaledInt)
    lo, hi = (np.broadcast_to(q.reshape(-1), (4,)).tolist() for q in (found.lo, found.hi))
    assert (lo, hi) == ([-9, -9, 0, -9], [9, 9, 0, 9])


def test_irrational_roots_are_enclosed() -> None:
    var, epsilon = np.array([2.0, 3.0, 5.0, 0.1], np.float32), np.float32(1e-5)
    q = np.arange(-9, 10)[:, None, None] * np.ones((1, 1, 4), np.int64)
    ranges, exact = run(normalised((1, 4), var), INPUT, q)
    value, static = exact["t0"], ranges["t0"]
    assert isinstance(value, ScaledInt) and isinstance(static, ScaledInt)
    enclosure, bounds = value.interval, static.interval
    for sample in range(len(q)):
        for c in range(4):
            x = Exact.of(q[sample, 0, c]) * Exact.of(0.5) - Exact.of(MEAN[c])
            root = (Exact.of(var[c]) + Exact.of(epsilon)).sqrt()
            y = (x * Exact.of(GAMMA[c]) / root + Exact.of(BETA[c])).interval
            lo, hi = (
                np.broadcast_to(b, (19, 1, 4))[sample, 0, c] for b in (enclosure.lo, enclosure.hi)
            )
            assert lo <= y.hi and y.lo <= hi and hi - lo < 1e-13
            assert np.broadcast_to(bounds.lo, (1, 4))[0, c] <= y.lo
            assert y.hi <= np.broadcast_to(bounds.hi, (1, 4))[0, c]


def test_gamma_of_zero_through_a_reshape() -> None:
    net = normalised((1, 4), [2.0, 3.0, 5.0, 0.1])
    y = net.node("Reshape", "t0", np.array([2, 2]))
    ranges, _ = run(net, INPUT, np.zeros((1, 1, 4), np.int64))
    found = ranges[y]
    assert isinstance(found, ScaledInt)
    assert (found.lo[1, 0], found.hi[1, 0]) == (0, 0)
    bounds = found.interval
    assert isinstance(bounds, Interval) and bounds.lo[1, 0] == bounds.hi[1, 0] == 2


def test_training_mode() -> None:
    net = Net((1, 4), opset=14)
    net.node("BatchNormalization", "x", GAMMA, BETA, MEAN, np.ones(4), training_mode=1)
    with pytest.raises(SiraError, match=r"training mode; export the model in evaluation mode$"):
        run(net, INPUT, np.zeros((1, 1, 4), np.int64))


def test_negative_variance() -> None:
    with pytest.raises(SiraError, match=r"var \+ epsilon must be positive"):
        run(normalised((1, 4), [-1.0, 1, 1, 1]), INPUT, np.zeros((1, 1, 4), np.int64))
