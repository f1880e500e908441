"""Expressions that use one tensor several times: always enclosed, tight where they are smooth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import declared

from sira.analysis.composite import find_composite
from sira.analysis.ranges import analyze
from sira.load import prepare
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops.nonmonotone import GELU, MISH, SILU

Function = Callable[[Any], Any]
Build = Callable[[Net], str]
ROOT = float(np.float32(np.sqrt(2)))


def silu(net: Net) -> str:
    return net.node("Mul", "x", net.node("Sigmoid", "x"))


def silu_swapped(net: Net) -> str:
    return net.node("Mul", net.node("Sigmoid", "x"), "x")


def hard_swish(net: Net) -> str:
    return net.node("Mul", "x", net.node("HardSigmoid", "x", alpha=0.25, beta=0.5))


def mish(net: Net) -> str:
    return net.node("Mul", "x", net.node("Tanh", net.node("Softplus", "x")))


def gelu(net: Net) -> str:
    erf = net.node("Erf", net.node("Div", "x", ROOT))
    return net.node("Mul", net.node("Mul", "x", 0.5), net.node("Add", erf, 1.0))


def gelu_tanh(net: Net) -> str:
    cube = net.node("Mul", net.node("Pow", "x", 3.0), 0.0625)
    tanh = net.node("Tanh", net.node("Mul", net.node("Add", "x", cube), 0.75))
    return net.node("Mul", net.node("Mul", "x", 0.5), net.node("Add", tanh, 1.0))


def product(net: Net) -> str:
    return net.node("Mul", net.node("Add", "x", 1.0), net.node("Sub", "x", 2.0))


def ratio(net: Net) -> str:
    square = net.node("Mul", "x", "x")
    return net.node("Div", "x", net.node("Add", square, 1.0))


def bump(net: Net) -> str:
    return net.node("Mul", "x", net.node("Exp", net.node("Neg", net.node("Mul", "x", "x"))))


def shifted(net: Net) -> str:
    return net.node("Sub", "x", net.node("Tanh", "x"))


SMOOTH: list[tuple[Build, Function, tuple[float, ...]]] = [
    (silu, lambda x: x / (1 + mpmath.exp(-x)), (SILU.place[0],)),
    (silu_swapped, lambda x: x / (1 + mpmath.exp(-x)), (SILU.place[0],)),
    (hard_swish, lambda x: x * min(1, max(0, x / 4 + mpmath.mpf(0.5))), (-1.0,)),
    (mish, lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))), (MISH.place[0],)),
    (gelu, lambda x: x / 2 * mpmath.erfc(-x / ROOT), (GELU.place[0],)),
    (gelu_tanh, lambda x: x / (1 + mpmath.exp(-(x + x**3 / 16) * 1.5)), (-0.79637,)),
    (product, lambda x: (x + 1) * (x - 2), (0.5,)),
    (ratio, lambda x: x / (1 + x * x), (-1.0, 1.0)),
    (bump, lambda x: x * mpmath.exp(-x * x), (-(0.5**0.5), 0.5**0.5)),
    (shifted, lambda x: x - mpmath.tanh(x), ()),
]
EACH = pytest.mark.parametrize(
    ("build", "f", "turns"), SMOOTH, ids=[b.__name__ for b, *_ in SMOOTH]
)
BOUNDS = st.tuples(st.integers(-400, 400), st.integers(-400, 400)).map(sorted)


def real_range(build: Build, lo: Any, hi: Any, scale: float = 0.0625, width: int = 1) -> Any:
    """Lower and upper bound of the expression, for x = scale * q with lo <= q <= hi."""
    net = Net((1, width))
    out = build(net)
    found = analyze(prepare(declared(net)), {"x": integers(lo, hi, scale)})[out]
    assert isinstance(found, Interval | ScaledInt)
    bounds = found if isinstance(found, Interval) else found.interval
    return bounds.lo.max(), bounds.hi.min()


@EACH
@examples(15)
@given(bounds=BOUNDS)
def test_exact_range(
    build: Build, f: Function, turns: tuple[float, ...], bounds: list[int]
) -> None:
    """Against the ends and the known turning points; wider by 2^-28 of the width at most."""
    lo, hi = (b * 0.0625 for b in bounds)
    low, high = real_range(build, *bounds)
    with mpmath.workprec(120):
        steps = [lo + (hi - lo) * i / 40 for i in range(41)]
        samples = [f(mpmath.mpf(v)) for v in steps]
        inner = [f(mpmath.findroot(lambda v: mpmath.diff(f, v), t)) if build is gelu_tanh
                 else f(mpmath.mpf(t)) for t in turns if lo <= t <= hi]  # fmt: skip
        least, most = min([*samples, *inner]), max([*samples, *inner])
        # A turning point is known to float64: the value there, to the square of its error.
        slack = mpmath.mpf(2) ** -90
        assert low <= least + slack and most - slack <= high
        rounding = max(abs(lo), abs(hi), 1) ** 2 * 2.0**-45
        excess = (most - least) * mpmath.mpf(2) ** -28 + rounding
        assert least - low <= excess and high - most <= excess


def test_named_cases() -> None:
    assert real_range(lambda n: n.node("Sub", "x", n.node("Relu", "x")), -40, 40) == (-2.5, 0)
    assert real_range(product, -16, 8) == (-2.25, 0)
    # Both signs: independent operands would give [-6.25, 6.25].
    low, high = real_range(hard_swish, -100, 16)
    assert low <= -0.25 <= low + 1e-9 and high == 0.75


def test_integers_are_exact() -> None:
    """3x - 2x = x, on the lattice of x; independent operands would give [-50, 50]."""
    net = Net((1, 4))
    out = net.node("Sub", net.node("Mul", "x", 3.0), net.node("Mul", "x", 2.0))
    found = analyze(prepare(declared(net)), {"x": integers(-10, 10, 0.5)})[out]
    assert isinstance(found, ScaledInt)
    assert (found.lo.item(), found.hi.item()) == (-10, 10)
    net = Net((1, 4))
    out = net.node("Sub", "x", net.node("Clip", "x", -3.0, 4.0))
    found = analyze(prepare(declared(net)), {"x": integers(-10, 10)})[out]
    assert isinstance(found, ScaledInt)
    assert (found.lo.item(), found.hi.item()) == (-7, 6)


def test_a_quantizer_inside() -> None:
    """x - Quant(x) is at most half a step; x * Quant(Sigmoid(x)) is nearly that of SiLU."""
    low, high = real_range(lambda n: n.node("Sub", "x", n.quant("x", scale=1.0, bits=8)), -900, 900)
    assert (low, high) == (-0.5, 0.5)

    def quantized(net: Net) -> str:
        sigmoid = net.quant(net.node("Sigmoid", "x"), scale=1 / 16, bits=4, signed=0)
        return net.node("Mul", "x", sigmoid)

    low, high = real_range(quantized, -128, 127)
    x = np.arange(-128, 128) / 16
    exact = x * np.clip(np.rint(16 / (1 + np.exp(-x))), 0, 15) / 16
    assert low <= exact.min() and exact.max() <= high
    assert low > exact.min() - 0.05 and high < exact.max() + 0.05


def test_per_channel_constants() -> None:
    factor = np.array([1.0, -0.5, 0.0, 2.0], np.float32)

    def build(net: Net) -> str:
        y = net.node("Mul", "x", factor)
        return net.node("Mul", y, net.node("Sigmoid", y))

    net = Net((1, 4))
    out = build(net)
    found = analyze(prepare(declared(net)), {"x": integers(-64, 64, 0.125)})[out]
    assert isinstance(found, Interval)
    lo, hi = (np.broadcast_to(b, (1, 4))[0] for b in (found.lo, found.hi))
    bottom = SILU.bottom[0]
    for c, reach in enumerate((8.0, 4.0, 0.0, 16.0)):
        top = reach / (1 + np.exp(-reach))
        assert hi[c] >= top * (1 - 1e-12) and hi[c] <= top * (1 + 1e-12)
        assert (lo[c] == 0) if reach == 0 else (bottom - 1e-8 <= lo[c] <= bottom)


def test_an_expression_of_two_tensors_is_left_alone() -> None:
    net = Net((1, 4))
    a = net.node("MatMul", "x", np.eye(4, dtype=np.float32))
    net.node("Mul", a, net.node("Sigmoid", "x"))
    model = prepare(declared(net))
    [node] = [n for n in model.graph if n.op_type == "Mul"]
    assert find_composite(node) is None
    net = Net((1, 4))
    silu(net)
    [node] = [n for n in prepare(declared(net)).graph if n.op_type == "Mul"]
    found = find_composite(node)
    assert found is not None
    assert found.source.name == "x" and [n.op_type for n in found.nodes] == ["Sigmoid", "Mul"]


def test_functions_with_poles_and_gaps() -> None:
    """A derivative of one sign proves nothing across a pole."""
    low, high = real_range(lambda n: n.node("Add", "x", n.node("Reciprocal", "x")), -16, 16)
    assert (low, high) == (-np.inf, np.inf)
    low, high = real_range(lambda n: n.node("Mul", "x", n.node("Log", "x")), 1, 64)
    least = -np.exp(-1.0)
    assert low <= least <= low + 1e-7
    low, high = real_range(lambda n: n.node("Mul", "x", n.node("Log", "x")), -64, 64)
    assert low == -np.inf  # undefined on a part: the rules' own answer


def test_huge_and_tiny_ranges() -> None:
    for scale in (1e-30, 1e-10, 1.0, 1e10):
        low, high = real_range(silu, -100, 100, scale=float(np.float32(scale)))
        top = 100 * float(np.float32(scale))
        assert low >= SILU.bottom[0] * 1.00001 and high >= top / (1 + np.exp(-top)) * (1 - 1e-9)
        assert high <= top and low <= -top / (1 + np.exp(min(top, 700))) * (1 - 1e-9)


OPS: dict[str, Function] = {
    "Sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "Tanh": mpmath.tanh, "Neg": lambda x: -x,
    "Relu": lambda x: max(x, mpmath.mpf(0)), "Erf": mpmath.erf,
    "Softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "Gelu": lambda x: x / 2 * mpmath.erfc(-x / mpmath.sqrt(2)),
}  # fmt: skip
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b,
}  # fmt: skip
PROGRAM = st.lists(
    st.tuples(st.sampled_from([*OPS, *BINARY, *BINARY]), st.integers(0, 9), st.integers(0, 9)),
    min_size=2,
    max_size=6,
)


@examples(80)
@given(program=PROGRAM, bounds=st.tuples(st.integers(-64, 64), st.integers(-64, 64)).map(sorted))
def test_random_expressions_are_enclosed(program: Any, bounds: list[int]) -> None:
    """Straight-line programs over one tensor, against mpmath at many points."""
    net = Net((1, 1))
    names = ["x"]
    for op, i, j in program:
        a, b = names[i % len(names)], names[j % len(names)]
        names.append(net.node(op, a) if op in OPS else net.node(op, a, b))
    model = prepare(declared(net))
    ranges = analyze(model, {"x": integers(*bounds, 0.0625)})
    with mpmath.workprec(200):
        for k in range(33):
            x = bounds[0] / 16 + (bounds[1] - bounds[0]) / 16 * k / 32
            values = [mpmath.mpf(x)]
            for op, i, j in program:
                a, b = values[i % len(values)], values[j % len(values)]
                values.append(OPS[op](a) if op in OPS else BINARY[op](a, b))
            found = ranges[names[-1]]
            assert isinstance(found, Interval | ScaledInt)
            box = found if isinstance(found, Interval) else found.interval
            assert mpmath.mpf(box.lo.item()) <= values[-1] + mpmath.mpf(2) ** -150
            assert values[-1] - mpmath.mpf(2) ** -150 <= mpmath.mpf(box.hi.item())
