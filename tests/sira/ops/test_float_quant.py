"""FloatQuant and XnorPopcountMatMul against qonnx's own functions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from qonnx.custom_op.general.floatquant import float_quant
from qonnx.custom_op.general.xnorpopcount import xnorpopcountmatmul

from sira.errors import SiraError
from sira.numbers.exact import Exact, Undecided
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import Arg, Constant, rule_of

FORMATS = [(4, 3, 7), (5, 2, 15), (2, 1, 1), (3, 2, 3), (4, 0, 7)]
MODES = ["ROUND", "CEIL", "FLOOR"]


def node(op: str, shapes: list[tuple[int, ...]], **attributes: Any) -> ir.Node:
    values = [ir.Value(name=f"x{i}", shape=ir.Shape(s)) for i, s in enumerate(shapes)]
    made = [
        ir.Attr(k, ir.AttributeType.STRING if isinstance(v, str) else ir.AttributeType.INT, v)
        for k, v in attributes.items()
    ]
    outputs = [ir.Value(name="y")]
    return ir.Node("qonnx.custom_op.general", op, values, made, outputs=outputs, name="n")


def evaluate(x: Any, form: Any, scale: float = 1.0, limit: float = 1e9, **attributes: Any) -> Any:
    made = node("FloatQuant", [(1,)] * 6, **attributes)
    constants = [Constant(np.asarray(v, np.float64)) for v in (scale, *form, limit)]
    arguments: list[Arg | None] = [x, *constants]
    [found] = rule_of(made).evaluate(made, arguments)
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("scale", "limit"), [(1.0, 1e9), (0.25, 1e9), (0.5, 1.5)])
def test_points_equal_qonnx(form: Any, mode: str, scale: float, limit: float) -> None:
    """On all numbers of a fine grid, ties and powers of two among them; integer core and all."""
    rng = np.random.default_rng(0)
    exponents = rng.integers(-20, 12, 800)
    x = np.concatenate([np.arange(-512, 513) / 64, rng.integers(-64, 65, 800) * 2.0**exponents])
    found = evaluate(Interval.point(x), form, scale, limit, rounding_mode=mode)
    assert isinstance(found, ScaledInt) and np.array_equal(found.lo, found.hi)
    exponent, mantissa, bias = form
    wanted = float_quant(
        x, scale, exponent, mantissa, bias, max_val=limit, rounding_mode=mode, saturation=True
    )
    numbers = found.exact.values
    assert all(a == Fraction(b) for a, b in zip(numbers, wanted.tolist(), strict=True))
    exact = evaluate(Exact.of(x), form, scale, limit, rounding_mode=mode)
    assert np.array_equal(exact.lo, found.lo)


def test_ranges_rise_with_their_ends_and_saturate() -> None:
    x = Interval(np.array([-1e9, -0.3, 0.0, -np.inf]), np.array([0.07, 1e300, 0.0, np.inf]))
    found = evaluate(x, (4, 3, 7))
    bounds = found.interval
    assert bounds.lo.tolist() == [-480, -0.3125, 0, -480]
    assert bounds.hi.tolist() == [0.0703125, 480, 0, 480]


def test_exact_numbers_near_a_step() -> None:
    form = (4, 3, 7)
    tie = Fraction(17, 16)  # between 1 and 1.125
    for value, wanted in (
        (tie, 1), (tie + Fraction(1, 10**30), Fraction(9, 8)), (tie - Fraction(1, 10**30), 1),
        (2 - Fraction(1, 10**30), 2), (Fraction(3, 2**11), Fraction(1, 2**8) * Fraction(1, 2) * 1),
    ):  # fmt: skip
        found = evaluate(Exact.of(value), form).exact.values.item()
        nearest = min((Fraction(k, 512) for k in range(1200)), key=lambda v: abs(v - value))
        assert found == wanted or (value < Fraction(1, 64) and found == nearest)
    root = evaluate(Exact.of(2).sqrt(), form).exact.values.item()
    assert root == Fraction(11, 8)
    with pytest.raises(Undecided):  # between two binades for all the enclosure can say
        evaluate(Exact.of(2).sqrt() * Exact.of(2).sqrt(), form)


def test_formats_out_of_reach() -> None:
    with pytest.raises(SiraError, match="FloatQuant n: the float format is out of reach"):
        evaluate(Interval.point(1.0), (8, 23, 127))
    with pytest.raises(SiraError, match="become infinite or NaN"):
        evaluate(Interval.point(1e6), (4, 3, 7), saturation=0)
    with pytest.raises(SiraError, match="the mantissa width must be one integer"):
        evaluate(Interval.point(1.0), (4, 2.5, 7))
    with pytest.raises(SiraError, match="scale must be positive"):
        evaluate(Interval.point(1.0), (4, 3, 7), scale=-1.0)


def test_xnor_popcount_counts_agreeing_bits() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 2, (5, 3))
    made = node("XnorPopcountMatMul", [(1, 5), (5, 3)])
    x = np.array([[[b >> i & 1 for i in range(5)]] for b in range(32)])
    bits = Constant(weights.astype(np.float32))
    [found] = rule_of(made).evaluate(made, [ScaledInt.integers(x, x), bits])
    wanted = np.stack([xnorpopcountmatmul(s, weights) for s in x])
    assert isinstance(found, ScaledInt)
    assert np.array_equal(found.exact.values.astype(float), wanted)
    [range_] = rule_of(made).evaluate(made, [ScaledInt.integers(0, 1), bits])
    assert isinstance(range_, ScaledInt)
    real = range_.interval
    assert (real.lo == wanted.min(axis=0)).all() and (real.hi == wanted.max(axis=0)).all()
    assert rule_of(made).shapes(made, [(1, 5), (5, 3)], [None, weights]) == [(1, 3)]


def test_xnor_popcount_takes_bits_alone() -> None:
    made = node("XnorPopcountMatMul", [(1, 2), (2, 1)])
    bits = Constant(np.array([[1.0], [0.0]]))
    with pytest.raises(SiraError, match="the operand must be bits"):
        rule_of(made).evaluate(made, [ScaledInt.integers(-1, 1), bits])
    with pytest.raises(SiraError, match="the weights must be bits"):
        rule_of(made).evaluate(made, [ScaledInt.integers(0, 1), Constant(np.array([[2.0], [0.0]]))])
    with pytest.raises(SiraError, match="constant second operand"):
        rule_of(made).evaluate(made, [ScaledInt.integers(0, 1), ScaledInt.integers(0, 1)])
