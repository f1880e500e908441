"""Add, Sub, Mul, Div and Neg."""

from __future__ import annotations

from math import lcm

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    OpRule,
    affine,
    first_shape,
    numbers,
    register,
    same_shape,
)
from sira.scaled import INT64_MAX, ONE, ZERO, Ints, ScaledInt, Value, too_wide

_MAX_MULTIPLE = 2**16
"""Integer multiples up to this size count as a small ratio of two scales."""


def _operands(node: ir.Node, args: Args) -> tuple[Arg, Arg]:
    a, b = args
    assert a is not None and b is not None
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
    x, y = numbers(a), numbers(b)
    if isinstance(x, Exact) and isinstance(y, Exact):
        return [x * y]
    assert not isinstance(x, Exact) and not isinstance(y, Exact)
    product = x * y
    if _same(node):  # one value, so its square is never negative
        product = product.maximum(product.point(0.0))
    return [product.because(f"{g.describe(node)} multiplies two computed tensors")]


def _div(node: ir.Node, args: Args) -> list[Arg]:
    a, b = _operands(node, args)
    if isinstance(b, Constant):
        if (b.real.signs() == 0).any():
            raise SiraError("division by zero", where=g.describe(node))
        return [affine(a, ONE / b.real, ZERO)]
    x, y = numbers(a), numbers(b)
    if isinstance(y, Exact) and (y.signs() == 0).any():
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


def _reach(x: ScaledInt) -> int:
    """The largest magnitude of its integers."""
    return max(int(x.hi.max()), -int(x.lo.min()), 0)


def _add_scaled(a: ScaledInt, b: ScaledInt, where: str) -> ScaledInt | None:
    if not isinstance(a.scale, Exact) or not isinstance(b.scale, Exact):
        return None
    if not isinstance(a.bias, Exact) or not isinstance(b.bias, Exact):
        return None
    ratio = a.scale / b.scale
    n = lcm(*(r.denominator for r in ratio.values.ravel()))
    if n > _MAX_MULTIPLE or any(r * n > _MAX_MULTIPLE for r in ratio.values.ravel()):
        return None
    m = np.asarray(ratio.values * n).astype(np.int64)  # a single Fraction is no array
    reach = sum(_reach(v) * int(np.max(k)) for v, k in ((a, m), (b, np.asarray(n))))
    if reach > INT64_MAX:
        raise too_wide(where, reach)
    return ScaledInt.of(
        a.lo * m + b.lo * n, a.hi * m + b.hi * n, b.scale / Exact.of(n), a.bias + b.bias
    )


def _slope_of_sum(node: ir.Node, args: Args) -> Ints | None:
    return np.asarray(1)


def _slope_of_difference(node: ir.Node, args: Args) -> Ints | None:
    if _same(node):
        return np.asarray(0)
    return np.asarray(-1 if isinstance(args[0], Constant) else 1)


def _slope_of_product(node: ir.Node, args: Args) -> Ints | None:
    factor = next((a for a in args if isinstance(a, Constant)), None)
    return None if factor is None else factor.real.signs()


def _slope_of_quotient(node: ir.Node, args: Args) -> Ints | None:
    return args[1].real.signs() if isinstance(args[1], Constant) else None


def _falling(node: ir.Node, args: Args) -> Ints | None:
    return np.asarray(-1)


register("Add", rule=OpRule("elementwise", _add, same_shape, _slope_of_sum, operands=2))
register("Sub", rule=OpRule("elementwise", _sub, same_shape, _slope_of_difference, operands=2))
register("Mul", rule=OpRule("elementwise", _mul, same_shape, _slope_of_product, operands=2))
register("Div", rule=OpRule("elementwise", _div, same_shape, _slope_of_quotient, operands=2))
register("Neg", rule=OpRule("elementwise", _neg, first_shape, _falling))
