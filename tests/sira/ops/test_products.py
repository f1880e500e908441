"""Sums of products against brute force, on random shapes: dense layers and convolutions."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_models import Net, integers, run

from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops.products import real_sums

Ints = NDArray[np.int64]
SPEC = integers(-3, 5, 1, 2)
"""Reals -1..7: the integers mean something else, and 0 is among them."""
LOW, HIGH = -1, 7
SEEDS = st.integers(0, 2**32 - 1)


def compare(net: Net, shape: tuple[int, ...], expected: Any, bounds: Any, seed: int) -> None:
    """Golden values equal ``expected(x)``; the range's ends equal ``bounds``, which are exact."""
    q = np.random.default_rng(seed).integers(-3, 6, (3, *shape))
    ranges, values = run(net, SPEC, q)
    name = net.nodes[-1].output[0]
    found, range_ = values[name], ranges[name]
    assert isinstance(found, ScaledInt) and isinstance(range_, ScaledInt)
    wanted = np.stack([expected(x + 2) for x in q])
    assert found.lo.shape == wanted.shape
    assert (np.broadcast_to(found.exact.values, wanted.shape) == wanted).all()
    for end, bound in zip((range_.lo, range_.hi), bounds, strict=True):
        real = ScaledInt(end, end, range_.scale, range_.bias).exact.values
        assert (np.broadcast_to(real, wanted.shape[1:]) == bound).all()


def box(terms: Any, axes: Any) -> tuple[Any, Any]:
    """Smallest and largest sum over ``axes`` of inputs LOW..HIGH times ``terms``."""
    ends = terms * LOW, terms * HIGH
    return np.minimum(*ends).sum(axis=axes), np.maximum(*ends).sum(axis=axes)


@examples(40)
@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 4),
    st.lists(st.integers(1, 3), max_size=2), st.integers(0, 2), st.booleans(), SEEDS,
)  # fmt: skip
def test_matmul(
    m: int, k: int, n: int, batch: list[int], shared: int, left: bool, seed: int
) -> None:
    """Weights on either side; batch axes that one operand has, both have, or broadcast."""
    rng = np.random.default_rng(seed)
    x_shape = (1, *batch, *((k, n) if left else (m, k)))
    own = [d if rng.integers(2) else 1 for d in batch[len(batch) - min(shared, len(batch)) :]]
    w = rng.integers(-4, 5, (*own, *((m, k) if left else (k, n))))
    net = Net(x_shape, opset=13)
    weights = net.constant(w.astype(np.float32))
    net.node("MatMul", *((weights, "x") if left else ("x", weights)))
    terms = w[..., :, :, None] if left else w[..., None, :, :]
    low, high = box(terms, -2)
    compare(net, x_shape, (lambda x: w @ x) if left else (lambda x: x @ w), (low, high), seed)


@examples(40)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2),
    st.data(), SEEDS,
)  # fmt: skip
def test_convolution(
    axes: int, groups: int, inputs: int, outputs: int, stride: int, data: Any, seed: int
) -> None:
    """1D and 2D; groups, strides, dilations, pads that differ at every side."""

    def draw(low: int, high: int, count: int = axes) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))  # type: ignore[no-any-return]

    kernel, dilations, size = draw(1, 3), draw(1, 2), draw(3, 6)
    pads = draw(0, 2, 2 * axes)
    strides = [stride, *draw(1, 3, axes - 1)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    padded = [s + a + b for s, a, b in zip(size, pads[:axes], pads[axes:], strict=True)]
    size = [s + max(r - p, 0) for s, r, p in zip(size, reach, padded, strict=True)]
    shape = (1, groups * inputs, *size)
    rng = np.random.default_rng(seed)
    w = rng.integers(-4, 5, (groups * outputs, inputs, *kernel))
    net = Net(shape, opset=13)
    net.node(
        "Conv", "x", w.astype(np.float32), group=groups, strides=strides, dilations=dilations,
        pads=pads,
    )  # fmt: skip

    def convolved(x: Ints) -> Ints:
        return _convolved(x, w, groups, strides, dilations, pads)

    reads = _taps(shape, w, strides, dilations, pads)
    low = np.array([min(box(o * r, None)[0] for r in reads) for o in w])
    high = np.array([max(box(o * r, None)[1] for r in reads) for o in w])
    column = (-1, *(1,) * axes)
    compare(net, shape, convolved, (low.reshape(column), high.reshape(column)), seed)


def _starts(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> range:
    return range(-before, size + after - dilation * (kernel - 1), stride)


def _convolved(
    x: Any, w: Ints, groups: int, strides: list[int], dilations: list[int], pads: list[int]
) -> Any:
    """By the definition: a loop over positions and taps."""
    size, kernel, n = x.shape[2:], w.shape[2:], len(strides)
    rows = [_starts(*a) for a in zip(size, kernel, strides, dilations, pads[:n], pads[n:],
            strict=True)]  # fmt: skip
    out = np.zeros((1, len(w), *map(len, rows)), x.dtype)
    per_group, inputs = len(w) // groups, w.shape[1]
    for o, at in product(range(len(w)), product(*(range(len(r)) for r in rows))):
        for c, tap in product(range(inputs), product(*map(range, kernel))):
            place = [r[i] + d * t for r, i, d, t in zip(rows, at, dilations, tap, strict=True)]
            if all(0 <= p < s for p, s in zip(place, size, strict=True)):
                channel = o // per_group * inputs + c
                out[(0, o, *at)] += w[(o, c, *tap)] * x[(0, channel, *place)]
    return out


def _taps(
    shape: tuple[int, ...], w: Ints, strides: list[int], dilations: list[int], pads: list[int]
) -> list[Ints]:
    """For each position 1 at the taps (*kernel) that read an input, 0 at those on padding."""
    size, kernel, n = shape[2:], w.shape[2:], len(strides)
    rows = [_starts(*a) for a in zip(size, kernel, strides, dilations, pads[:n], pads[n:],
            strict=True)]  # fmt: skip
    found = []
    for at in product(*rows):
        inside = [
            ((p := a + d * np.arange(k)) >= 0) & (p < s)
            for a, d, k, s in zip(at, dilations, kernel, size, strict=True)
        ]
        found.append(np.array([all(t) for t in product(*inside)]).reshape(kernel).astype(int))
    return found


MODERATE = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(
    st.integers(1, 6).flatmap(
        lambda k: st.tuples(
            st.lists(st.tuples(MODERATE, MODERATE).map(sorted), min_size=k, max_size=k),
            st.lists(MODERATE, min_size=k, max_size=k),
        )
    )
)
def test_real_sums_enclose(case: Any) -> None:
    bounds, weights = case
    x = Interval(np.array([[b[0] for b in bounds]]), np.array([[b[1] for b in bounds]]))
    found = real_sums(x, Interval.point(np.array(weights)[:, None]))
    w = [Fraction(v) for v in weights]
    low = sum(v * Fraction(b[0 if v > 0 else 1]) for v, b in zip(w, bounds, strict=True))
    high = sum(v * Fraction(b[1 if v > 0 else 0]) for v, b in zip(w, bounds, strict=True))
    assert Fraction(found.lo.item()) <= low and high <= Fraction(found.hi.item())


def test_real_sums_of_unbounded_numbers() -> None:
    x = Interval(np.full((1, 2), -np.inf), np.full((1, 2), np.inf))
    found = real_sums(x, Interval.point(np.array([[1.0, 0.0], [2, 0]])))
    assert found.lo.ravel()[0] == -np.inf and found.hi.ravel()[0] == np.inf
    assert found.lo.ravel()[1] <= 0 <= found.hi.ravel()[1] < 1e-300
