"""Add, Sub, Mul, Div and Neg."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact, Objects
from sira.numbers.int64 import INT64_MAX, Ints, largest, plus, times
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, ZERO, ScaledInt, Value, from_zero, multiply
from sira.ops.axes import MAX_MULTIPLE
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    Evaluate,
    OpRule,
    Partials,
    Slope,
    affine,
    first_shape,
    lifted,
    numbers,
    operand,
    register,
    same_shape,
    sides,
)

_UP, _DOWN = Interval.point(1.0), Interval.point(-1.0)


def _operands(node: ir.Node, args: Args) -> tuple[Arg, Arg]:
    a, b = lifted(node, args)
    if isinstance(a, Constant) and isinstance(b, Constant):
        return a.values, b
    return a, b


def _same(node: ir.Node) -> bool:
    return node.inputs[0] is node.inputs[1]


def _add(node: ir.Node, args: Args) -> list[Arg]:
    a, b = _operands(node, args)
    if isinstance(b, Constant):
        return [affine(a, ONE, b.real)]
    if isinstance(a, Constant):
        return [affine(b, ONE, a.real)]
    if _same(node):
        return [affine(a, Exact.of(2), ZERO)]
    return [_add_dynamic(a, b, g.describe(node))]


def _sub(node: ir.Node, args: Args) -> list[Arg]:
    a, b = _operands(node, args)
    if isinstance(b, Constant):
        return [affine(a, ONE, -b.real)]
    if isinstance(a, Constant):
        return [affine(b, -ONE, a.real)]
    if _same(node):
        return [affine(a, ZERO, ZERO)]
    return [_add_dynamic(a, affine(b, -ONE, ZERO), g.describe(node))]


def _mul(node: ir.Node, args: Args) -> list[Arg]:
    a, b = _operands(node, args)
    if isinstance(b, Constant):
        return [affine(a, b.real, ZERO)]
    if isinstance(a, Constant):
        return [affine(b, a.real, ZERO)]
    if isinstance(a, ScaledInt) and isinstance(b, ScaledInt):
        product_of_integers = _multiply_scaled(a, b, _same(node))
        if product_of_integers is not None:
            return [product_of_integers]
    x, y = numbers(a), numbers(b)
    if isinstance(x, Exact) and isinstance(y, Exact):
        return [x * y]
    assert not isinstance(x, Exact) and not isinstance(y, Exact)
    product = x * y
    if _same(node):  # one value, so its square is never negative
        product = product.maximum(product.point(0.0))
    return [product.because(f"{g.describe(node)} multiplies two tensors without common zero")]


def _div(node: ir.Node, args: Args) -> list[Arg]:
    a, b = _operands(node, args)
    if isinstance(b, Constant):
        if b.real.has_zero:
            raise SiraError("division by zero", where=g.describe(node))
        return [affine(a, ONE / b.real, ZERO)]
    x, y = numbers(a), numbers(b)
    if isinstance(y, Exact) and y.has_zero:
        raise SiraError("division by zero", where=g.describe(node))
    if isinstance(x, Exact) and isinstance(y, Exact):
        return [x / y]
    x = x.interval if isinstance(x, Exact) else x
    assert not isinstance(y, Exact)
    return [(x / y).because(f"{g.describe(node)} divides by a computed tensor")]


def _neg(node: ir.Node, args: Args) -> list[Arg]:
    assert args[0] is not None
    return [affine(args[0], -ONE, ZERO)]


def _add_dynamic(a: Arg, b: Arg, where: str) -> Value:
    """Sum of two computed tensors: integer where the scales are in a ratio of small integers."""
    if isinstance(a, ScaledInt) and isinstance(b, ScaledInt):
        summed = _add_scaled(a, b, where)
        if summed is not None:
            return summed
    x, y = numbers(a), numbers(b)
    if isinstance(x, Exact) and isinstance(y, Exact):
        return x + y
    assert not isinstance(x, Exact) and not isinstance(y, Exact)
    return (x + y).because("a sum whose scales are in no ratio of small integers")


def _add_scaled(a: ScaledInt, b: ScaledInt, where: str) -> ScaledInt | None:
    if not isinstance(a.scale, Exact) or not isinstance(b.scale, Exact):
        return None
    if not isinstance(a.bias, Exact) or not isinstance(b.bias, Exact):
        return None
    ratio = np.asarray((a.scale / b.scale).values, object)
    k = _denominators(ratio)
    multiples = np.asarray(ratio * k, object)
    if k.max() > MAX_MULTIPLE or any(m > MAX_MULTIPLE for m in multiples.ravel()):
        return None
    m = multiples.astype(np.int64)
    lo = plus(times(a.lo, m, where), times(b.lo, k, where), where)
    points = a.hi is a.lo and b.hi is b.lo
    hi = lo if points else plus(times(a.hi, m, where), times(b.hi, k, where), where)
    return ScaledInt(lo, hi, b.scale / Exact.of(k), a.bias + b.bias)


def _denominators(ratio: Objects) -> Ints:
    """One common denominator, or where that is large one for each element."""
    own = np.array([r.denominator for r in ratio.ravel()], object).reshape(ratio.shape)
    common = lcm(*own.ravel())
    return np.asarray(common if common <= MAX_MULTIPLE else np.minimum(own, INT64_MAX), np.int64)


def _multiply_scaled(a: ScaledInt, b: ScaledInt, same: bool) -> ScaledInt | None:
    """Product of two computed tensors whose integers can be counted from real zero.

    ``same``: they are one tensor, so that the product is a square.
    """
    x, y = from_zero(a), from_zero(b)
    if x is None or y is None or largest(*x) * largest(*y) > INT64_MAX:
        return None
    scale = multiply(a.scale, b.scale)
    if x[0] is x[1] and y[0] is y[1]:
        return ScaledInt.of(q := x[0] * y[0], q, scale, ZERO)
    corners = [p * q for p in x for q in y]
    if same:
        touches_zero = (x[0] <= 0) & (x[1] >= 0)
        corners = [np.where(touches_zero, 0, corners[0]), corners[0], corners[3]]
    return ScaledInt(np.minimum.reduce(corners), np.maximum.reduce(corners), scale, ZERO)


def _slope_of_sum(node: ir.Node, args: Args) -> Ints | None:
    return np.asarray(1)


def _slope_of_difference(node: ir.Node, args: Args) -> Ints | None:
    if _same(node):
        return np.asarray(0)
    return np.asarray(-1 if isinstance(args[0], Constant) else 1)


def _slope_of_product(node: ir.Node, args: Args) -> Ints | None:
    factor = next((a for a in args if isinstance(a, Constant)), None)
    if factor is None and _same(node):  # a square
        side = sides(operand(args[0]))
        return side if side.all() else None
    return None if factor is None else factor.real.signs()


def _slope_of_quotient(node: ir.Node, args: Args) -> Ints | None:
    return args[1].real.signs() if isinstance(args[1], Constant) else None


def _falling(node: ir.Node, args: Args) -> Ints | None:
    return np.asarray(-1)


def _partials_of_sum(node: ir.Node, xs: Sequence[Interval], y: Interval) -> list[Interval]:
    return [_UP, _UP]


def _partials_of_difference(node: ir.Node, xs: Sequence[Interval], y: Interval) -> list[Interval]:
    return [_UP, _DOWN]


def _partials_of_product(node: ir.Node, xs: Sequence[Interval], y: Interval) -> list[Interval]:
    return [xs[1], xs[0]]


def _partials_of_quotient(node: ir.Node, xs: Sequence[Interval], y: Interval) -> list[Interval]:
    return [_UP / xs[1], -(y / xs[1])]


def _two(evaluate: Evaluate, slope: Slope, partials: Partials) -> OpRule:
    """The rule of an operator on two tensors."""
    return OpRule(
        "elementwise", evaluate, same_shape, slope, operands=2, partials=partials, affine=True
    )


register("Add", rule=_two(_add, _slope_of_sum, _partials_of_sum))
register("Sub", rule=_two(_sub, _slope_of_difference, _partials_of_difference))
register("Mul", rule=_two(_mul, _slope_of_product, _partials_of_product))
register("Div", rule=_two(_div, _slope_of_quotient, _partials_of_quotient))
register(
    "Neg",
    rule=OpRule(
        "elementwise", _neg, first_shape, _falling, partials=lambda *_: [_DOWN], affine=True
    ),
)
