"""Elementary functions: Exp, Log, Sqrt, Erf, Pow, Reciprocal, Softplus and the Elu family.

Intervals get the exact range, rounded outward; fractions stay fractions where the result is one.
Sqrt, Log and powers with a fractional exponent have no value below 0. An operand that lies there
altogether is an error; one that only reaches there is cut off at 0, since a range may be wider than
the values that occur, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact, unasked
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, ZERO, Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    OpRule,
    curved,
    first_shape,
    like,
    numbers,
    operand,
    real,
    register,
    rising,
    same_shape,
)

Numbers = Interval | Exact
Function = Callable[[ir.Node, Numbers], Numbers]


def unary(f: Function) -> Callable[[ir.Node, Args], list[Arg]]:
    """The rule of an elementwise function of real numbers."""
    return lambda node, args: [curved(node, f(node, numbers(operand(args[0]))))]


def _undefined(node: ir.Node, domain: str) -> SiraError:
    return SiraError(
        f"{node.op_type} of a number outside its domain",
        where=g.describe(node),
        expected=f"an operand that can be {domain}",
        found="one that cannot",
        remedy="check the sign of what is computed in front of it",
    )


def _below(x: Numbers, allow_zero: bool) -> Any:
    """Where all of x lies below the domain ``x >= 0`` or ``x > 0``."""
    if isinstance(x, Interval):
        return x.hi < 0 if allow_zero else x.hi <= 0
    asked = np.array([not unasked(v) for v in x.values.ravel()]).reshape(x.shape)
    return asked & (x.signs() < (0 if allow_zero else 1))


def _non_negative(node: ir.Node, x: Numbers) -> Numbers:
    """The part of x that is not below 0."""
    if np.any(_below(x, allow_zero=True)):
        raise _undefined(node, "0 or more")
    if isinstance(x, Interval) and (x.lo < 0).any():
        reason = f"the operand of {g.describe(node)} may fall below 0 and is cut off there"
        return x.maximum(x.point(0.0)).because(reason)
    return x


def _sqrt(node: ir.Node, x: Numbers) -> Numbers:
    match _non_negative(node, x):
        case Interval(reason=reason) as y:
            return y.sqrt().because(reason)
        case y:
            return y.sqrt()


def _log(node: ir.Node, x: Numbers) -> Numbers:
    if np.any(_below(x, allow_zero=False)):
        raise _undefined(node, "positive")
    return x.log()


def reciprocal(node: ir.Node, x: Numbers) -> Numbers:
    """1/x; unbounded where x may be 0, with the bound that is left where 0 is an end of x."""
    if isinstance(x, Exact):
        if x.has_zero:
            raise _undefined(node, "other than 0")
        return ONE / x
    if ((x.lo == 0) & (x.hi == 0)).any():
        raise _undefined(node, "other than 0")
    one = Interval.point(1.0)
    at_lo, at_hi = one / Interval.point(x.lo), one / Interval.point(x.hi)
    crosses = (x.lo < 0) & (x.hi > 0)
    return Interval(
        np.where(crosses | (x.hi == 0), -np.inf, np.where(np.isinf(x.hi), 0.0, at_hi.lo)),
        np.where(crosses | (x.lo == 0), np.inf, np.where(np.isinf(x.lo), 0.0, at_lo.hi)),
    )


def power(node: ir.Node, x: Numbers, exponent: Fraction) -> Numbers:
    """``x ** exponent``, with ``0 ** 0 = 1``."""
    if exponent == 0:
        return ONE if isinstance(x, Exact) else ONE.interval
    if exponent < 0:
        return reciprocal(node, power(node, x, -exponent))
    if exponent.denominator != 1:
        y = _non_negative(node, x)
        return y.power(exponent) if isinstance(y, Exact) else y.power(float(exponent))
    if isinstance(x, Exact):
        return x.power(exponent)
    zero = Interval.point(0.0)
    above = x.maximum(zero).power(float(exponent))
    below = (-x).maximum(zero).power(float(exponent))
    if exponent % 2 == 0:  # at each end one of the two is 0
        return Interval(np.maximum(above.lo, below.lo), np.maximum(above.hi, below.hi))
    return Interval(above.lo - below.hi, above.hi - below.lo)


def _exponents(args: Args) -> tuple[Exact, list[Fraction]]:
    exponents = real(args[1])
    return exponents, sorted(set(exponents.values.ravel()))


def _pow(node: ir.Node, args: Args) -> list[Arg]:
    x, (exponents, unique) = operand(args[0]), _exponents(args)
    if unique == [1]:
        return [x]
    y = numbers(x)
    if len(unique) == 1:
        return [curved(node, power(node, y, unique[0]))]
    one, result = Interval.point(1.0), like(y, ONE)
    for p in unique:
        here = exponents.values == p
        if isinstance(y, Exact):
            chosen: Any = power(node, Exact(np.where(here, y.values, ONE.values)), p)
            result = Exact(np.where(here, chosen.values, result.values))
        else:
            chosen = power(node, y.where(here, one), p)
            result = chosen.where(here, result)
    return [curved(node, result)]


def _pow_slope(node: ir.Node, args: Args) -> Ints | None:
    exponents, unique = _exponents(args)
    x = numbers(operand(args[0]))
    x = x.interval if isinstance(x, Exact) else x
    slope = np.zeros(exponents.shape, np.int64)
    for p in unique:
        even = p.denominator == 1 and p % 2 == 0
        if p == 0 or p.denominator != 1 or (p > 0 and not even) or (x.lo >= 0).all():
            direction = 1
        elif (x.hi <= 0).all():
            direction = -1 if even else 1
        else:
            return None
        slope[exponents.values == p] = direction * ((p > 0) - (p < 0))
    return slope


def _reciprocal_slope(node: ir.Node, args: Args) -> Ints | None:
    x = numbers(operand(args[0]))
    x = x.interval if isinstance(x, Exact) else x
    return np.asarray(-1) if ((x.lo >= 0) | (x.hi <= 0)).all() else None


def halves(x: Arg, below: Callable[[Any], Any]) -> Any:
    """x where it is positive, ``below(x)`` where it is not; ``below`` is monotone, 0 at 0."""
    if isinstance(x, ScaledInt) and (x.interval.lo >= 0).all():
        return x
    y = numbers(x)
    zero = like(y, ZERO)
    if isinstance(y, Exact):
        return y.maximum(zero) + below(y.minimum(zero))
    at_lo, at_hi = (below(Interval(b, b).minimum(zero)) for b in (y.lo, y.hi))
    under, over = at_lo.hull(at_hi), y.maximum(zero)
    return over.where(y.lo >= 0, under.where(y.hi <= 0, under.hull(over)))


def _parameter(node: ir.Node, name: str, default: float) -> Exact:
    """An attribute; defaults are float32 numbers as attributes are."""
    value = float(np.float32(g.attribute(node, name, default)))
    if not np.isfinite(value):
        raise SiraError(
            f"the attribute {name} must be finite", where=g.describe(node), found=str(value)
        )
    return Exact.of(value)


def _expm1(x: Numbers) -> Any:
    return x.exp() - ONE if isinstance(x, Exact) else x.expm1()


def _elu(node: ir.Node, args: Args) -> list[Arg]:
    alpha = _parameter(node, "alpha", 1.0)
    return [curved(node, halves(operand(args[0]), lambda x: like(x, alpha) * _expm1(x)))]


def _selu(node: ir.Node, args: Args) -> list[Arg]:
    alpha = _parameter(node, "alpha", 1.67326319217681884765625)
    gamma = _parameter(node, "gamma", 1.05070102214813232421875)
    y = halves(operand(args[0]), lambda x: like(x, alpha) * _expm1(x))
    scaled = y.affine(gamma, ZERO) if isinstance(y, ScaledInt) else y * like(y, gamma)
    return [curved(node, scaled)]


def _celu(node: ir.Node, args: Args) -> list[Arg]:
    alpha = _parameter(node, "alpha", 1.0)
    if alpha.signs() == 0:
        raise SiraError(
            "alpha must not be 0", where=g.describe(node), expected="alpha > 0", found="0"
        )
    y = halves(operand(args[0]), lambda x: like(x, alpha) * _expm1(x / like(x, alpha)))
    return [curved(node, y)]


def hard_sigmoid(x: Arg, alpha: Exact, beta: Exact) -> Any:
    """``alpha * x + beta``, clipped to [0, 1]; integers stay integers where nothing is clipped."""
    if isinstance(x, ScaledInt):
        y = x.affine(alpha, beta)
        range_ = y.interval if isinstance(y, ScaledInt) else y
        if isinstance(y, ScaledInt) and (range_.lo >= 0).all() and (range_.hi <= 1).all():
            return y
    z: Any = numbers(x)
    z = z * like(z, alpha) + like(z, beta)
    return z.maximum(like(z, ZERO)).minimum(like(z, ONE))


def _hard_sigmoid(node: ir.Node, args: Args) -> list[Arg]:
    alpha, beta = _parameter(node, "alpha", 0.2), _parameter(node, "beta", 0.5)
    return [curved(node, hard_sigmoid(operand(args[0]), alpha, beta))]


def _elu_slope(node: ir.Node, args: Args) -> Ints | None:
    return np.asarray(1) if g.attribute(node, "alpha", 1.0) >= 0 else None


def _selu_slope(node: ir.Node, args: Args) -> Ints | None:
    if _elu_slope(node, args) is None:
        return None
    return _parameter(node, "gamma", 1.0).signs()


def _hard_sigmoid_slope(node: ir.Node, args: Args) -> Ints | None:
    return _parameter(node, "alpha", 0.2).signs()


_ZERO, _ONE, _TWO = (Interval.point(v) for v in (0.0, 1.0, 2.0))


def _square(x: Interval) -> Interval:
    return (x * x).maximum(_ZERO)


def _erf_derivative(node: ir.Node, x: Interval, y: Interval) -> Interval:
    factor = Interval(np.asarray(1.1283791670955123), np.asarray(1.1283791670955128))
    return factor * (-_square(x)).exp()


def _hard_sigmoid_derivative(node: ir.Node, x: Interval, y: Interval) -> Interval:
    alpha = _parameter(node, "alpha", 0.2).interval
    inside, flat = (y.lo > 0) & (y.hi < 1), y.lo == y.hi
    return alpha.where(inside, _ZERO.where(flat, _ZERO.hull(alpha)))


def _pow_partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
    x, exponent = operands
    unknown = Interval.everything()
    if exponent.lo.size != 1 or exponent.lo.item() not in (1.0, 2.0, 3.0):
        return [unknown, unknown]
    n = exponent.lo.item()
    slope = {1.0: _ONE, 2.0: _TWO * x, 3.0: Interval.point(3.0) * _square(x)}[n]
    return [slope, unknown]


Derivative = Callable[[ir.Node, Interval, Interval], Interval]
"""(node, operand, output) -> the slope of a function of one tensor."""


def _elementwise(op_type: str, rule: Any, slope: Any, derivative: Derivative | None = None) -> None:
    def partials(node: ir.Node, operands: Sequence[Interval], y: Interval) -> list[Interval]:
        assert derivative is not None
        return [derivative(node, operands[0], y)]

    register(
        op_type,
        rule=OpRule(
            "elementwise", rule, first_shape, slope, partials=partials if derivative else None
        ),
    )


_elementwise("Exp", unary(lambda node, x: x.exp()), rising, lambda node, x, y: y)
_elementwise("Log", unary(_log), rising, lambda node, x, y: (_ONE / x).maximum(_ZERO))
_elementwise("Sqrt", unary(_sqrt), rising, lambda node, x, y: (_ONE / (_TWO * y)).maximum(_ZERO))
_elementwise("Erf", unary(lambda node, x: x.erf()), rising, _erf_derivative)
_elementwise(
    "Softplus", unary(lambda node, x: x.softplus()), rising, lambda node, x, y: x.sigmoid()
)
_elementwise(
    "Reciprocal", unary(reciprocal), _reciprocal_slope, lambda node, x, y: -(_ONE / _square(x))
)
_elementwise("Elu", _elu, _elu_slope)
_elementwise("Selu", _selu, _selu_slope)
_elementwise("Celu", _celu, rising)
_elementwise("HardSigmoid", _hard_sigmoid, _hard_sigmoid_slope, _hard_sigmoid_derivative)
register("Pow", rule=OpRule("elementwise", _pow, same_shape, _pow_slope, partials=_pow_partials))
