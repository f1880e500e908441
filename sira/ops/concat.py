"""Concat: tensors side by side along one axis.

Each brings its integers; where scales or biases differ, there is one for each element along the
axis. The time is linear in the number of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import Real, ScaledInt, Value, enclose
from sira.ops.axes import Array, aligned, broadcast_constant, exactly, negative, spread
from sira.ops.base import Arg, Args, Constant, Constants, OpRule, Shape, numbers, operand, register

ANY_NUMBER = 2**31
"""Of operands that may be computed."""


def _concat(node: ir.Node, args: Args) -> list[Arg]:
    shapes = [g.shape(v) for v in node.inputs if v is not None]
    axis = negative(node, int(g.attribute(node, "axis")), len(shapes[0]))
    first = next((a for a in args if not isinstance(a, Constant)), args[0])
    return [broadcast_constant(node, first, _joined(node, args, shapes, axis))]


def _joined(node: ir.Node, args: Args, shapes: Sequence[Shape], axis: int) -> Value:
    if any(isinstance(a, Exact) for a in args):
        return Exact(_join([exactly(a).values for a in args], shapes, axis))
    values = [operand(a) for a in args]
    scaled = [v for v in values if isinstance(v, ScaledInt)]
    if len(scaled) < len(values):
        parts = [enclose(numbers(v)) for v in values]
        reasons = [v.reason for v in values if isinstance(v, Interval)]
        return _join_reals(parts, shapes, axis).because(reasons[0])
    lo = _join([v.lo for v in scaled], shapes, axis)
    points = all(v.hi is v.lo for v in scaled)
    hi = lo if points else _join([v.hi for v in scaled], shapes, axis)
    scale, bias = (
        _join_real([getattr(v, field) for v in scaled], shapes, axis) for field in ("scale", "bias")
    )
    return ScaledInt(lo, hi, scale, bias)


def _join_real(parts: Sequence[Real], shapes: Sequence[Shape], axis: int) -> Real:
    exact = [p.values for p in parts if isinstance(p, Exact)]
    if len(exact) == len(parts):
        return Exact(_join(exact, shapes, axis))
    return _join_reals([enclose(p) for p in parts], shapes, axis)


def _join_reals(parts: Sequence[Interval], shapes: Sequence[Shape], axis: int) -> Interval:
    return Interval(
        _join([p.lo for p in parts], shapes, axis), _join([p.hi for p in parts], shapes, axis)
    )


def _join(parts: Sequence[Array], shapes: Sequence[Shape], axis: int) -> Array:
    """The arrays side by side; one of them where all are the same and do not vary."""
    rank = len(shapes[0])
    parts = [aligned(a, rank) for a in parts]
    first = parts[0]
    if first.shape[axis] == 1 and all(
        a is first or (a.shape == first.shape and bool((a == first).all())) for a in parts
    ):
        return first
    full = [spread(a, shape, [axis]) for a, shape in zip(parts, shapes, strict=True)]
    common = list(np.broadcast_shapes(*(_without(a, axis) for a in full)))
    at = len(common) + axis
    sized = (np.broadcast_to(a, [*common[:at], a.shape[axis], *common[at + 1 :]]) for a in full)
    return np.concatenate(list(sized), axis=axis)


def _without(a: Array, axis: int) -> Shape:
    return tuple(1 if i - a.ndim == axis else d for i, d in enumerate(a.shape))


def _shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axis = negative(node, int(g.attribute(node, "axis")), len(shapes[0]))
    at = axis + len(shapes[0])
    around = {(*s[:at], 0, *s[at + 1 :]) for s in shapes}
    if len(around) != 1:
        raise SiraError(
            "shapes do not fit together",
            where=g.describe(node),
            expected=f"tensors that differ along axis {at} alone",
            found=" and ".join(map(str, shapes[:4])),
        )
    return [(*shapes[0][:at], sum(s[at] for s in shapes), *shapes[0][at + 1 :])]


register("Concat", rule=OpRule("selection", _concat, _shapes, operands=ANY_NUMBER))
