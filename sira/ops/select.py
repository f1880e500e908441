"""Min, Max and Where: one of several values, element by element.

The result keeps its integers where all that may be chosen lies on one lattice; a constant asks for
no more than its own place on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact, rational_gcd
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt, Value, enclose, rebase, where_real
from sira.ops.axes import MAX_MULTIPLE, Array, broadcast_constant, check_sum, exactly
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    Evaluate,
    OpRule,
    lifted,
    numbers,
    operand,
    register,
    rising,
    same_shape,
)
from sira.ops.concat import ANY_NUMBER

Which = Literal["max", "min"]

_FURTHEST = 2**31
"""Steps between the lattices of two operands, at most."""


def _operands(node: ir.Node, args: Args) -> list[Arg]:
    """In the rank of the output, behind the leading axes; those that are computed first."""
    return sorted(lifted(node, args), key=lambda a: isinstance(a, Constant))


def one_lattice(node: ir.Node, a: Value, b: Arg) -> tuple[ScaledInt, ScaledInt] | None:
    """Both operands with the same scale and bias, if they lie on a common lattice."""
    if not isinstance(a, ScaledInt) or not isinstance(a.scale, Exact):
        return None
    if not isinstance(a.bias, Exact):
        return None
    constant = b.real if isinstance(b, Constant) else None
    if constant is not None:
        steps = [a.scale, constant - a.bias]
    elif isinstance(b, ScaledInt) and isinstance(b.scale, Exact) and isinstance(b.bias, Exact):
        steps = [a.scale, b.bias - a.bias, b.scale]
    else:
        return None
    common = Exact(np.frompyfunc(_gcd, len(steps), 1)(*(s.values for s in steps)))
    multiples = [_largest(step / common) for step in steps]
    if any(m > n for m, n in zip(multiples, (MAX_MULTIPLE, _FURTHEST, MAX_MULTIPLE), strict=False)):
        return None
    check_sum(node, a, multiples[0])
    if constant is not None:
        q = np.asarray(((constant - a.bias) / common).values, np.int64)
        return rebase(a, common, a.bias, g.describe(node)), ScaledInt(q, q, common, a.bias)
    assert isinstance(b, ScaledInt)
    check_sum(node, b, multiples[2] + 1)
    where = g.describe(node)
    return rebase(a, common, a.bias, where), rebase(b, common, a.bias, where)


def _largest(multiples: Exact) -> int:
    return max(abs(int(m)) for m in multiples.values.ravel())


def _gcd(*steps: Any) -> Any:
    return rational_gcd(np.array(steps, object))


def _farther(node: ir.Node, a: Value, b: Arg, which: Which) -> Value:
    """The larger or the smaller of two values; of what cannot win nothing is left."""
    if a is b:
        return a
    if isinstance(a, Exact) or isinstance(b, Exact):
        x, y = exactly(a), exactly(b)
        return x.maximum(y) if which == "max" else x.minimum(y)
    p, q = enclose(numbers(a)), enclose(numbers(b))
    if ((p.lo >= q.hi) if which == "max" else (p.hi <= q.lo)).all():
        return a
    if ((q.lo >= p.hi) if which == "max" else (q.hi <= p.lo)).all():
        return operand(b)
    if (found := one_lattice(node, a, b)) is not None:
        m, n = found
        pick = np.maximum if which == "max" else np.minimum
        lo = pick(m.lo, n.lo)
        points = m.lo is m.hi and n.lo is n.hi
        return ScaledInt(lo, lo if points else pick(m.hi, n.hi), m.scale, m.bias)
    chosen = p.maximum(q) if which == "max" else p.minimum(q)
    return chosen.because(_reason(node, a, b))


def _reason(node: ir.Node, *operands: Arg) -> str:
    given = [x.reason for x in operands if isinstance(x, Interval) and x.reason]
    return (given or [f"{g.describe(node)}: its operands lie on no common lattice"])[0]


def _extremum(which: Which) -> Evaluate:
    def evaluate(node: ir.Node, args: Args) -> list[Arg]:
        first, *others = _operands(node, args)
        chosen: Value = reduce(lambda a, b: _farther(node, a, b, which), others, operand(first))
        return [broadcast_constant(node, first, chosen)]

    return evaluate


def _condition(node: ir.Node, arg: Arg | None) -> Array:
    if not isinstance(arg, Constant):
        raise SiraError(
            "the condition must be known at compile time",
            where=g.describe(node),
            expected="a constant",
            found="a computed tensor",
            remedy="write the choice with Relu, Clip, Min or Max",
        )
    return np.asarray(arg.file_array, bool)


def _where(node: ir.Node, args: Args) -> list[Arg]:
    condition = _condition(node, args[0])
    _, a, b = lifted(node, args)
    if condition.all() or a is b:
        return [broadcast_constant(node, a, operand(a))]
    if not condition.any():
        return [broadcast_constant(node, b, operand(b))]
    first = b if isinstance(a, Constant) else a
    return [broadcast_constant(node, first, _chosen(node, condition, a, b))]


def _chosen(node: ir.Node, condition: Array, a: Arg, b: Arg) -> Value:
    if isinstance(a, Exact) or isinstance(b, Exact):
        return Exact(np.where(condition, exactly(a).values, exactly(b).values))
    if isinstance(a, Constant) and not isinstance(b, Constant):
        condition, a, b = ~condition, b, a
    x = operand(a)
    p, q = one_lattice(node, x, b) or (x, operand(b))
    if isinstance(p, ScaledInt) and isinstance(q, ScaledInt):
        lo = np.where(condition, p.lo, q.lo)
        points = p.lo is p.hi and q.lo is q.hi
        hi = lo if points else np.where(condition, p.hi, q.hi)
        if p.scale is q.scale:
            return ScaledInt(lo, hi, p.scale, p.bias)
        scale, bias = where_real(condition, p.scale, q.scale), where_real(condition, p.bias, q.bias)
        return ScaledInt(lo, hi, scale, bias)
    chosen = where_real(condition, enclose(numbers(p)), enclose(numbers(q)))
    assert isinstance(chosen, Interval)
    return chosen.because(_reason(node, p, q))


def _where_slope(node: ir.Node, args: Args) -> Ints | None:
    condition, computed = _condition(node, args[0]), [not isinstance(a, Constant) for a in args]
    if computed[1] == computed[2]:
        return np.asarray(1) if node.inputs[1] is node.inputs[2] else None
    return np.asarray(condition if computed[1] else ~condition, np.int64)


_RULES: dict[str, tuple[Evaluate, Callable[[ir.Node, Args], Ints | None]]] = {
    "Max": (_extremum("max"), rising),
    "Min": (_extremum("min"), rising),
    "Where": (_where, _where_slope),
}
for _op_type, (_evaluate, _slope) in _RULES.items():
    register(
        _op_type,
        rule=OpRule(
            "elementwise",
            _evaluate,
            same_shape,
            _slope,
            operands=ANY_NUMBER,
            clips=_op_type in ("Max", "Min"),
        ),
    )
