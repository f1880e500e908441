"""Gelu, HardSwish, Mish and Swish: they fall to one lowest point, then rise.

Their range over an interval is that of its ends and, where the interval holds it, of the lowest
point, whose place and value are stored as pairs of neighbouring float64 numbers around the exact
ones. Written out as several nodes, the same functions are left to `sira.analysis.composite`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx_ir as ir
from mpmath import iv

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Enclosure, Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, ZERO, Ints, ScaledInt
from sira.ops.base import Arg, Args, OpRule, curved, first_shape, numbers, operand, register

_FAR = -800.0
"""Below, each of the functions lies between its value here and 0."""

_CUBIC = Fraction(44715, 10**6)


@dataclass(frozen=True)
class Valley:
    """A function that falls from 0 to ``bottom`` at ``place``, and rises behind it.

    ``place`` and ``bottom`` are (lower, upper) bounds. ``enclose`` is the function on points,
    ``exact`` on exact numbers.
    """

    place: tuple[float, float]
    bottom: tuple[float, float]
    enclose: Callable[[Interval], Interval]
    exact: Callable[[Exact], Exact]

    def __call__(self, x: Interval | Exact) -> Interval | Exact:
        return self.exact(x) if isinstance(x, Exact) else self._range(x)

    def _range(self, x: Interval) -> Interval:
        at_lo, at_hi = self._at(x.lo), self._at(x.hi)
        ends = at_lo.hull(at_hi)
        one_sided = (x.hi <= self.place[0]) | (x.lo >= self.place[1]) | (x.lo == x.hi)
        return Interval(np.where(one_sided, ends.lo, self.bottom[0]), ends.hi)

    def _at(self, x: Any) -> Interval:
        value = self.enclose(Interval.point(np.maximum(x, _FAR)))
        return Interval(value.lo, np.where(x < _FAR, 0.0, value.hi))

    def slope(self, node: ir.Node, args: Args) -> Ints | None:
        """1 or -1 where the operand lies on one side of the lowest point."""
        x = numbers(operand(args[0]))
        x = x.interval if isinstance(x, Exact) else x
        if not ((x.lo >= self.place[1]) | (x.hi <= self.place[0])).all():
            return None
        return np.where(x.lo >= self.place[1], 1, -1)


def _gelu(x: Interval) -> Interval:
    half, root = Interval.point(0.5), Interval.point(2.0).sqrt()
    return x * half * ((-x) / root).erfc()


def _gelu_exact(x: Exact) -> Exact:
    return x * (ONE + (x / Exact.of(2).sqrt()).erf()) / Exact.of(2)


def _gelu_tanh(x: Interval) -> Interval:
    """(1 + tanh u) / 2 = sigmoid(2u), which does not cancel for negative u."""
    factor = (Interval.point(8.0) / _pi().interval).sqrt()
    return x * (factor * (x + Exact.of(_CUBIC).interval * x * x * x)).sigmoid()


def _gelu_tanh_exact(x: Exact) -> Exact:
    factor = (Exact.of(8) / _pi()).sqrt()
    return x * (factor * (x + Exact.of(_CUBIC) * x * x * x)).sigmoid()


def _pi() -> Exact:
    return Exact(np.array(Enclosure(iv.mpf(iv.pi), irrational=True), dtype=object))


def _hard_swish_exact(x: Exact) -> Exact:
    return x * (x + Exact.of(3)).maximum(ZERO).minimum(Exact.of(6)) / Exact.of(6)


def _hard_swish(x: Interval) -> Interval:
    zero, three, six = (Interval.point(v) for v in (0.0, 3.0, 6.0))
    ramp = (x + three).maximum(zero).minimum(six)
    return ((x * ramp) / six).where(ramp.hi < 6, x)


GELU = Valley(
    (-0.7517915246935645, -0.7517915246935644),
    (-0.16997120747990369, -0.16997120747990366),
    _gelu,
    _gelu_exact,
)
GELU_TANH = Valley(
    (-0.7524614220710163, -0.7524614220710162),
    (-0.17004075057125406, -0.17004075057125403),
    _gelu_tanh,
    _gelu_tanh_exact,
)
HARD_SWISH = Valley((-1.5, -1.5), (-0.375, -0.375), _hard_swish, _hard_swish_exact)
MISH = Valley(
    (-1.1924312145154954, -1.1924312145154952),
    (-0.30884341301725043, -0.3088434130172504),
    lambda x: x * x.softplus().tanh(),
    lambda x: x * x.softplus().tanh(),
)
SILU = Valley(
    (-1.278464542761074, -1.2784645427610737),
    (-0.2784645427610738, -0.27846454276107374),
    lambda x: x * x.sigmoid(),
    lambda x: x * x.sigmoid(),
)


def _gelu_of(node: ir.Node) -> Valley:
    match g.attribute(node, "approximate", "none"):
        case "none":
            return GELU
        case "tanh":
            return GELU_TANH
        case other:
            raise SiraError(
                "unknown approximation",
                where=g.describe(node),
                expected="none or tanh",
                found=str(other),
            )


def _hard_swish_rule(node: ir.Node, args: Args) -> list[Arg]:
    x = operand(args[0])
    if isinstance(x, ScaledInt):
        if (x.interval.lo >= 3).all():
            return [x]
        if (x.interval.hi <= -3).all():
            return [x.affine(ZERO, ZERO)]
    return [curved(node, HARD_SWISH(numbers(x)))]


def _swish(node: ir.Node, args: Args) -> list[Arg]:
    """x * sigmoid(alpha * x), as silu(alpha * x) / alpha."""
    x, alpha = operand(args[0]), Exact.of(g.attribute(node, "alpha", 1.0))
    if alpha.signs() == 0:
        half = Exact.of(Fraction(1, 2))
        return [x.affine(half, ZERO) if isinstance(x, ScaledInt) else _times(numbers(x), half)]
    y = SILU(_times(numbers(x), alpha))
    return [curved(node, _times(y, ONE / alpha))]


def _times(x: Any, factor: Exact) -> Any:
    return x * factor if isinstance(x, Exact) else x * factor.interval


def _swish_slope(node: ir.Node, args: Args) -> Ints | None:
    alpha = Exact.of(g.attribute(node, "alpha", 1.0))
    if alpha.signs() == 0:
        return np.asarray(1)
    inner = SILU.slope(node, [_times(_interval(args), alpha)])
    return inner  # the two signs of alpha cancel


def _interval(args: Args) -> Interval:
    x = numbers(operand(args[0]))
    return x.interval if isinstance(x, Exact) else x


def _elementwise(op_type: str, rule: Any, slope: Any) -> None:
    register(op_type, rule=OpRule("elementwise", rule, first_shape, slope))


_elementwise(
    "Gelu",
    lambda node, args: [curved(node, _gelu_of(node)(numbers(operand(args[0]))))],
    lambda node, args: _gelu_of(node).slope(node, args),
)
_elementwise("Mish", lambda node, args: [curved(node, MISH(numbers(operand(args[0]))))], MISH.slope)
_elementwise("HardSwish", _hard_swish_rule, HARD_SWISH.slope)
_elementwise("Swish", _swish, _swish_slope)
