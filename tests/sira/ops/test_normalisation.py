"""Softmax, LogSoftmax, LayerNormalization, InstanceNormalization against mpmath and corners."""

from __future__ import annotations

from itertools import product
from typing import Any

import mpmath
import numpy as np
import onnx_ir as ir
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from sira.errors import SiraError
from sira.numbers.interval import Interval
from sira.ops import Arg, Constant, rule_of

ATTRIBUTES = {int: ir.AttributeType.INT, float: ir.AttributeType.FLOAT}


def node(op: str, shape: tuple[int, ...], inputs: int = 1, outputs: int = 1, **attrs: Any) -> Any:
    made = [ir.Attr(k, ATTRIBUTES[type(v)], v) for k, v in attrs.items()]
    values = [ir.Value(name=f"x{i}") for i in range(inputs)]
    values[0].shape = ir.Shape(shape)
    outs = [ir.Value(name=f"y{i}") for i in range(outputs)]
    return ir.Node("", op, values, made, outputs=outs, name="n")


def evaluate(made: Any, lo: Any, hi: Any, *constants: Any) -> list[Interval]:
    x = Interval(np.asarray(lo, np.float64), np.asarray(hi, np.float64))
    arguments: list[Arg | None] = [x, *(Constant(np.asarray(c, np.float32)) for c in constants)]
    found = rule_of(made).evaluate(made, arguments)
    assert all(isinstance(v, Interval) and v.reason for v in found)
    return found  # type: ignore[return-value]


def softmax(x: list[Any]) -> list[Any]:
    top = max(x)
    e = [mpmath.exp(mpmath.mpf(v) - mpmath.mpf(top)) for v in x]
    return [v / sum(e) for v in e]


def log_softmax(x: list[Any]) -> list[Any]:
    top = mpmath.mpf(max(x))
    total = mpmath.log(sum(mpmath.exp(mpmath.mpf(v) - top) for v in x))
    return [mpmath.mpf(v) - top - total for v in x]


def layer_norm(x: list[Any], epsilon: float) -> list[Any]:
    values = [mpmath.mpf(v) for v in x]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    eps = mpmath.mpf(float(np.float32(epsilon)))
    return [(v - mean) / mpmath.sqrt(variance + eps) for v in values]


NUMBERS = st.one_of(st.floats(-20, 20), st.floats(-800, 800), st.floats(-1e30, 1e30))
BOXES = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.tuples(NUMBERS, NUMBERS).map(sorted), min_size=n, max_size=n)
)


@examples(80)
@given(boxes=BOXES, logarithm=st.booleans())
def test_softmax_is_exact(boxes: Any, logarithm: bool) -> None:
    """Sound on all corners; each bound is attained where the others are at their other ends."""
    f = log_softmax if logarithm else softmax
    made = node("LogSoftmax" if logarithm else "Softmax", (1, len(boxes)))
    lo, hi = ([[b[i] for b in boxes]] for i in (0, 1))
    [found] = evaluate(made, lo, hi)
    with mpmath.workprec(2600):
        corners = [f(list(c)) for c in product(*boxes)]
        for i in range(len(boxes)):
            least, most = min(c[i] for c in corners), max(c[i] for c in corners)
            low, high = mpmath.mpf(found.lo[0, i]), mpmath.mpf(found.hi[0, i])
            assert low <= least and most <= high
            # Scores far apart cost relative precision, as the logarithm of the odds is rounded.
            reach = 1 + max(abs(v) for b in boxes for v in b)
            slack = mpmath.mpf(2) ** -44 * reach
            if logarithm:
                assert least - low <= slack * (1 + abs(least))
                assert high - most <= slack * (1 + abs(most))
            elif reach < 1000:
                assert least - low <= slack * least + 1e-300
                assert high - most <= slack * most + 1e-300


def test_softmax_by_hand() -> None:
    [found] = evaluate(node("Softmax", (1, 4)), 0.0, 0.0)
    assert found.shape == (1, 1) and found.lo <= 0.25 <= found.hi and found.hi - found.lo < 1e-13
    [found] = evaluate(node("Softmax", (1, 1000)), -3.0, 3.0)
    assert found.shape == (1, 1)  # one interval for all elements stays one
    assert found.hi >= 1 / (1 + 999 * np.exp(-6)) >= found.hi * (1 - 1e-9)
    [found] = evaluate(node("Softmax", (1, 3)), -np.inf, np.inf)
    assert (found.lo == 0).all() and (found.hi == 1).all()
    [found] = evaluate(node("LogSoftmax", (1, 3)), -np.inf, np.inf)
    assert (found.lo == -np.inf).all() and (found.hi == 0).all()
    [found] = evaluate(node("Softmax", (1, 1)), -2.0, 2.0)
    assert found.lo == found.hi == 1


def test_softmax_along_other_axes_and_with_samples() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2, 3, 4))  # a leading axis of samples
    for axis in (0, 1, 2, -1, -2):
        made = node("Softmax", (2, 3, 4), axis=axis)
        [found] = evaluate(made, x, x)
        real = axis if axis < 0 else axis - 3
        e = np.exp(x - x.max(axis=real, keepdims=True))
        wanted = e / e.sum(axis=real, keepdims=True)
        assert found.shape == x.shape
        assert (np.abs(found.lo - wanted) < 1e-12).all() and (found.hi - found.lo < 1e-12).all()
        assert (found.lo <= wanted + 1e-16).all() and (wanted - 1e-16 <= found.hi).all()


@examples(80)
@given(boxes=BOXES, epsilon=st.sampled_from([1e-5, 1.0, 0.0]), seed=st.integers(0, 99))
def test_layer_normalization_is_sound(boxes: Any, epsilon: float, seed: int) -> None:
    n = len(boxes)
    made = node("LayerNormalization", (1, n), 2, 3, epsilon=epsilon)
    lo, hi = ([[b[i] for b in boxes]] for i in (0, 1))
    found, mean, inverse = evaluate(made, lo, hi, np.ones(n))
    rng = np.random.default_rng(seed)
    inner = [[float(rng.uniform(a, b)) if b > a else a for a, b in boxes] for _ in range(5)]
    with mpmath.workprec(400):
        for x in [*map(list, product(*boxes)), *inner]:
            average = sum(map(mpmath.mpf, x)) / n
            deviation = sum((v - average) ** 2 for v in x) / n + mpmath.mpf(
                float(np.float32(epsilon))
            )
            assert mpmath.mpf(mean.lo.item()) <= average <= mpmath.mpf(mean.hi.item())
            if deviation == 0:
                continue
            scale = 1 / mpmath.sqrt(deviation)
            assert mpmath.mpf(inverse.lo.item()) <= scale <= mpmath.mpf(inverse.hi.item())
            for i, value in enumerate(layer_norm(x, epsilon)):
                low, high = (np.broadcast_to(b, (1, n))[0, i] for b in (found.lo, found.hi))
                assert mpmath.mpf(low) <= value <= mpmath.mpf(high)
    assert (np.abs(found.lo) <= np.sqrt(n - 1) * (1 + 1e-12)).all()


def test_the_steepest_element_is_attained() -> None:
    """One element at its top, all others at the bottom: d / sqrt(d^2 / (n - 1) + epsilon)."""
    n, epsilon = 8, 0.25
    [found] = evaluate(
        node("LayerNormalization", (1, n), 2, 1, epsilon=epsilon), -1.0, 1.0, [1.0] * n
    )
    x = np.full(n, -1.0)
    x[0] = 1
    wanted = (x[0] - x.mean()) / np.sqrt(x.var() + epsilon)
    assert found.hi.max() >= wanted >= found.hi.max() - 1e-12
    assert found.lo.min() <= -wanted <= found.lo.min() + 1e-12


def test_points_are_narrow_and_parameters_applied() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 2, 3, 5))
    scale, bias = rng.normal(size=5).astype(np.float32), rng.normal(size=5).astype(np.float32)
    [found] = evaluate(node("LayerNormalization", (2, 3, 5), 3), x, x, scale, bias)
    centred = x - x.mean(axis=-1, keepdims=True)
    wanted = centred / np.sqrt(x.var(axis=-1, keepdims=True) + np.float64(np.float32(1e-5)))
    wanted = wanted * scale + bias
    assert (found.hi - found.lo < 1e-11).all()
    assert (found.lo - 1e-13 <= wanted).all() and (wanted <= found.hi + 1e-13).all()
    scale, bias = rng.normal(size=2).astype(np.float32), rng.normal(size=2).astype(np.float32)
    x = rng.normal(size=(6, 1, 2, 3, 5))
    [found] = evaluate(node("InstanceNormalization", (1, 2, 3, 5), 3), x, x, scale, bias)
    centred = x - x.mean(axis=(-1, -2), keepdims=True)
    wanted = centred / np.sqrt(x.var(axis=(-1, -2), keepdims=True) + np.float64(np.float32(1e-5)))
    wanted = wanted * scale[:, None, None] + bias[:, None, None]
    assert found.shape == x.shape and (found.hi - found.lo < 1e-11).all()
    assert (found.lo - 1e-13 <= wanted).all() and (wanted <= found.hi + 1e-13).all()


def test_instance_normalization_keeps_one_range_a_channel() -> None:
    made = node("InstanceNormalization", (1, 3, 8, 8), 3)
    lo = np.array([-1.0, 0, 5]).reshape(1, 3, 1, 1)
    [found] = evaluate(made, lo, lo + 2, [1.0, -2.0, 0.0], [0.0, 1.0, 3.0])
    assert found.shape == (1, 3, 1, 1)
    assert (found.hi.ravel() <= np.array([63**0.5, 1 + 2 * 63**0.5, 3]) + 1e-9).all()
    assert found.lo.ravel()[2] == found.hi.ravel()[2] == 3


def test_wrong_attributes() -> None:
    with pytest.raises(SiraError, match="LayerNormalization n: epsilon must not be negative"):
        evaluate(node("LayerNormalization", (1, 2), 2, epsilon=-1.0), 0, 1, [1.0, 1.0])
    with pytest.raises(SiraError, match="rank 3 or more"):
        evaluate(node("InstanceNormalization", (1, 2), 3), 0, 1, [1.0, 1.0], [0.0, 0.0])
