"""Sums of two integers of unrelated scales: one integer sum and thresholds, for every pair."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx_models import Net, integers
from stage_checks import execute

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec
from sira.errors import SiraError
from sira.ops import Constant
from transforms import to_canonical, to_thresholds
from transforms.steps.plane import _simplest

Pairs = NDArray[np.int64]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def operands(channels: int = 1) -> tuple[Net, str, str]:
    """The first and the second half of the input's channels, as integers."""
    net = Net((1, 2 * channels, 8, 8))
    cut = [np.array([v], np.int64) for v in (0, channels, 2 * channels, 1)]
    left = net.node("Slice", "x", cut[0], cut[1], cut[3])
    return net, left, net.node("Slice", "x", cut[1], cut[2], cut[3])


def stage(net: Net, spec: InputSpec) -> ir.Model:
    """The integer stage, of which every tensor must have integers."""
    canonical = to_canonical(net.model())
    found = to_thresholds(canonical, analyze(canonical, {"x": spec}))
    ranges = analyze(found)
    assert all(ranges.scaled(node.outputs[0]) is not None for node in found.graph)
    return found


def every_pair(lo: int, hi: int, channels: int = 1) -> Pairs:
    """Samples (n, 1, 2 * channels, 8, 8) that hold all pairs of integers in each channel."""
    q = np.arange(lo, hi + 1)
    pairs = np.array([(a, b) for a in q for b in q])
    pairs = np.resize(pairs, (-(-len(pairs) // 64), 64, 2)).transpose(0, 2, 1)
    samples = pairs.reshape(len(pairs), 1, 2, 1, 8, 8)
    return np.repeat(samples, channels, axis=3).reshape(len(pairs), 1, 2 * channels, 8, 8)


def run(model: ir.Model, samples: Pairs) -> Pairs:
    (output,) = model.graph.outputs
    name = f"{g.name(output)}_integers"
    return np.stack([execute(model, s.astype(np.float32))[name] for s in samples]).astype(np.int64)


def rounded(x: Fraction, step: Fraction, low: int, high: int) -> int:
    """Round half to even, clamp: independent of the package."""
    return min(max(round(x / step), low), high)


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def exact(x: float) -> Fraction:
    """The number that float32 makes of a decimal."""
    return Fraction(float(np.float32(x)))


def multiples(model: ir.Model) -> list[int]:
    """The largest multiple of the left and of the right operand."""
    ranges = analyze(model)
    found = [1, 1]
    for node in model.graph:
        for i, side in enumerate(("_left", "_right")):
            if node.op_type == "Mul" and g.name(node.outputs[0]).endswith(f"_plane{side}"):
                constant = ranges[node.inputs[1]]  # type: ignore[index]
                assert isinstance(constant, Constant) and constant.scaled is not None
                found[i] = int(np.abs(constant.scaled.lo).max())
    return found


def test_simplest_fraction() -> None:
    for low, high in [(0, 1), (1, 2), (Fraction(31, 10), Fraction(22, 7)), (Fraction(1, 3), 1)]:
        found = _simplest(Fraction(low), Fraction(high))
        d = next(d for d in range(1, 99) if any(low < Fraction(n, d) < high for n in range(4 * d)))
        n = next(n for n in range(4 * d) if low < Fraction(n, d) < high)
        assert found == Fraction(n, d)
    assert _simplest(Fraction(5, 2), None) == 3


@pytest.mark.parametrize("scales", [(0.3, 0.21), (0.037, 1.9), (1.0, 0.1), (0.7, 0.7000001)])
@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_every_pair_by_fractions(op: str, scales: tuple[float, float]) -> None:
    net, left, right = operands()
    total = net.node(op, net.node("Mul", left, scales[0]), net.node("Mul", right, scales[1]))
    net.quant(net.node("Relu", net.node("Add", total, 0.3)), 0.45, 4, signed=0)
    model = stage(net, integers(-9, 12))
    samples = every_pair(-9, 12)
    s, sign = [exact(v) for v in scales], 1 if op == "Add" else -1
    offset, step = exact(0.3), exact(0.45)
    expected = [
        rounded(max(s[0] * a + sign * s[1] * b + offset, Fraction(0)), step, 0, 15)
        for a, b in samples.reshape(len(samples), 2, 64).swapaxes(1, 2).reshape(-1, 2).tolist()
    ]
    assert run(model, samples).ravel().tolist() == expected
    assert operators(model)["MultiThreshold"] == 1
    assert max(multiples(model)) < 300


def test_each_channel_has_its_own_ratio_and_direction() -> None:
    """Scales, offsets and the sign of the function differ; square roots are irrational."""
    net, left, right = operands(3)
    scales = np.float32([0.31, 0.2, 1.7]), np.float32([0.11, 0.77, -0.5])
    a, b = (
        net.node("Mul", v, s.reshape(3, 1, 1)) for v, s in zip((left, right), scales, strict=True)
    )
    b = net.node("Add", b, np.float32([0.5, -0.25, 0.125]).reshape(3, 1, 1))
    gamma, beta = np.float32([1.0, -0.5, 2.0]), np.float32([0.1, 1.0, 0.0])
    mean, var = np.float32([0.3, 0.2, 0.1]), np.float32([1.0, 2.0, 3.0])
    a = net.node("BatchNormalization", a, gamma, beta, mean, var)
    negative = net.node("Mul", net.node("Add", a, b), np.float32([1, -1, -1]).reshape(3, 1, 1))
    net.quant(negative, 0.6, 4)
    model = stage(net, integers(-7, 8))
    samples = every_pair(-7, 8, 3)
    # No value is so close to a step that float64 could err.
    s = [v.astype(np.float64).reshape(3, 1, 1) for v in scales]
    x = samples[:, :, :3] * s[0]
    eps = float(np.float32(1e-5))
    moments = [v.astype(np.float64).reshape(3, 1, 1) for v in (gamma, beta, mean, var)]
    x = (x - moments[2]) / np.sqrt(moments[3] + eps) * moments[0] + moments[1]
    x = x + samples[:, :, 3:] * s[1] + np.array([0.5, -0.25, 0.125]).reshape(3, 1, 1)
    steps = x * np.array([1, -1, -1]).reshape(3, 1, 1) / float(np.float32(0.6))
    assert np.abs(steps - np.floor(steps) - 0.5).min() > 1e-9
    assert np.array_equal(run(model, samples), np.clip(np.rint(steps), -8, 7))


def test_several_quantizers_share_one_sum() -> None:
    """Rising, falling, and of other steps; one integer sum serves them all."""
    net, left, right = operands()
    total = net.node("Add", net.node("Mul", left, 0.3), net.node("Mul", right, 0.211))
    outputs = [
        net.quant(net.node("Relu", total), 0.4, 3, signed=0),
        net.quant(net.node("Neg", total), 0.25, 5),
        net.quant(net.node("Tanh", total), 0.2, 4),
    ]
    net.node("Concat", *(net.node("Mul", v, 1.0) for v in outputs), axis=1)
    canonical = to_canonical(net.model(*outputs))
    model = to_thresholds(canonical, analyze(canonical, {"x": integers(-9, 9)}))
    assert operators(model)["MultiThreshold"] == 3
    assert operators(model)["Add"] == 4  # the sum, and one behind each output
    samples = every_pair(-9, 9)
    a, b = samples[:, 0, :1], samples[:, 0, 1:]
    found = [execute(model, s.astype(np.float32)) for s in samples]
    for name, f in zip(
        outputs,
        (
            lambda x: rounded(max(x, Fraction(0)), exact(0.4), 0, 7),
            lambda x: rounded(-x, exact(0.25), -16, 15),
            lambda x: rounded(Fraction(float(np.tanh(float(x)))), exact(0.2), -8, 7),
        ),
        strict=True,
    ):
        expected = [
            f(exact(0.3) * int(p) + exact(0.211) * int(q))
            for p, q in zip(a.ravel(), b.ravel(), strict=True)
        ]
        result = np.concatenate([context[f"{name}_integers"].ravel() for context in found])
        assert result.tolist() == expected


def test_multiples_are_the_smallest() -> None:
    """Against all smaller pairs, tried one by one."""
    net, left, right = operands()
    total = net.node("Add", net.node("Mul", left, 0.3), net.node("Mul", right, 0.211))
    net.quant(total, 0.5, 3)
    model = stage(net, integers(-5, 5))
    q = np.arange(-5, 6)
    p1, p2 = (v.ravel() for v in np.meshgrid(q, q))
    level = np.array([
        rounded(exact(0.3) * int(a) + exact(0.211) * int(b), exact(0.5), -4, 3)
        for a, b in zip(p1, p2, strict=True)
    ])  # fmt: skip

    def keeps(a1: int, a2: int) -> bool:
        u = a1 * p1 + a2 * p2
        return all(
            u[level < k].max() < u[level >= k].min()
            for k in range(level.min() + 1, level.max() + 1)
        )

    a1, a2 = multiples(model)
    assert keeps(a1, a2)
    assert not any(keeps(m, n) for n in range(1, a2) for m in range(1, 4 * n))


@pytest.mark.parametrize("ratio", [1 + 2.0**-20, 3.14159, 1000.7])
def test_multiples_are_no_larger_than_twice_the_other_span(ratio: float) -> None:
    """Even where thresholds tell nearly all pairs apart."""
    net, left, right = operands()
    total = net.node("Add", net.node("Mul", left, 1.0), net.node("Mul", right, ratio))
    q = np.arange(-7, 8)
    x = np.unique(np.add.outer(q, q * float(np.float32(ratio))))
    steps = (x[:-1] + x[1:]) / 2
    net.node("MultiThreshold", total, steps[None].astype(np.float32), out_dtype="UINT8")
    model = stage(net, integers(-7, 7))
    assert 1 < max(multiples(model)) <= 2 * 14
    samples = every_pair(-7, 7)
    exactly = samples[:, :, :1] + samples[:, :, 1:] * exact(ratio)
    counts = (exactly[..., None] >= np.float32(steps).astype(np.float64)).sum(axis=-1)
    assert np.array_equal(run(model, samples), counts)


def test_operands_of_too_many_pairs_are_refused() -> None:
    net, left, right = operands()
    total = net.node("Add", net.node("Mul", left, 0.3), net.node("Mul", right, 0.211))
    net.quant(total, 0.5, 3)
    canonical = to_canonical(net.model())
    with pytest.raises(SiraError, match="pairs of integers"):
        to_thresholds(canonical, analyze(canonical, {"x": integers(0, 4095)}))
