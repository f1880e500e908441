"""Operators that only re-arrange elements: Identity, Dropout, Cast, Reshape and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    Constants,
    OpRule,
    Shape,
    first_shape,
    register,
)
from sira.scaled import ScaledInt


def _identity(node: ir.Node, args: Args) -> list[Arg]:
    assert args[0] is not None
    return [args[0]]


def _cast(node: ir.Node, args: Args) -> list[Arg]:
    """Numbers stay what they are; a type that would cut off their fractions is an error."""
    x = args[0]
    assert x is not None
    target = ir.DataType(g.attribute(node, "to"))
    if target.is_floating_point():
        return [x]
    if _are_integers(x):
        _check_fit(node, x, target)
        return [x]
    raise SiraError(
        "a Cast to integers must not round",
        where=g.describe(node),
        expected="an operand of integers",
        found="fractions",
        remedy="quantize instead",
    )


def _check_fit(node: ir.Node, x: Arg, target: ir.DataType) -> None:
    """Refuse a type that does not hold the range: executors wrap, or make a truth value of it."""
    if not isinstance(x, ScaledInt):
        return
    if target == ir.DataType.BOOL:
        low, high = 0, 1
    else:
        bits, signed = target.bitwidth, target.is_signed()
        low = -(2 ** (bits - 1)) if signed else 0
        high = 2 ** (bits - int(signed)) - 1
    range_ = x.interval
    if (range_.lo < low).any() or (range_.hi > high).any():
        raise SiraError(
            f"a Cast to {target.name} must hold the whole range",
            where=g.describe(node),
            expected=f"{low}..{high}",
            found=f"{range_.lo.min():g}..{range_.hi.max():g}",
            remedy="cast to a wider type, or clip first",
        )


def _are_integers(x: Arg) -> bool:
    match x:
        case ScaledInt(scale=Exact() as scale, bias=Exact() as bias):
            return all(v.denominator == 1 for v in (*scale.values.ravel(), *bias.values.ravel()))
        case Constant():
            return x.scaled is not None and _are_integers(x.scaled)
        case _:
            return False


def rearranged(node: ir.Node, x: Arg, move: Callable[[NDArray[Any], Shape], NDArray[Any]]) -> Arg:
    """Apply ``move(array, leading axes)`` to every array of a value.

    An array of one element stands for the whole tensor and stays as it is.
    """
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]

    def each(a: NDArray[Any]) -> NDArray[Any]:
        if a.size == 1:
            return a.reshape(())
        lead = a.shape[: max(a.ndim - len(shape), 0)]
        return move(np.broadcast_to(a, (*lead, *shape)), lead)

    return x.map(each)


def _reshape(node: ir.Node, args: Args) -> list[Arg]:
    assert args[0] is not None
    target = g.shape(node.outputs[0])
    return [rearranged(node, args[0], lambda a, lead: a.reshape((*lead, *target)))]


def _transpose(node: ir.Node, args: Args) -> list[Arg]:
    assert args[0] is not None
    perm = permutation(node, len(g.shape(node.outputs[0])))

    def move(a: NDArray[Any], lead: Shape) -> NDArray[Any]:
        return a.transpose((*range(len(lead)), *(p + len(lead) for p in perm)))

    return [rearranged(node, args[0], move)]


def permutation(node: ir.Node, rank: int) -> list[int]:
    """The axes of a Transpose; without the attribute they are reversed."""
    return list(g.attribute(node, "perm", tuple(reversed(range(rank)))))


def _need(node: ir.Node, constants: Constants, index: int) -> list[int]:
    value = constants[index] if index < len(constants) else None
    if value is None:
        raise SiraError(
            "the target shape must be known at compile time",
            where=g.describe(node),
            expected="a constant",
            found="a computed tensor",
            remedy="export the model with static shapes",
        )
    return [int(v) for v in np.atleast_1d(value)]


def _reshape_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    source, wanted = shapes[0], _need(node, constants, 1)
    if not g.attribute(node, "allowzero", 0):
        wanted = [source[i] if d == 0 else d for i, d in enumerate(wanted)]
    if -1 in wanted:
        known = prod(d for d in wanted if d != -1)
        wanted[wanted.index(-1)] = prod(source) // max(known, 1)
    if prod(wanted) != prod(source):
        raise SiraError(
            "Reshape changes the number of elements",
            where=g.describe(node),
            expected=f"{prod(source)} elements as in {source}",
            found=str(tuple(wanted)),
        )
    return [tuple(wanted)]


def _flatten_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axis = int(g.attribute(node, "axis", 1))
    axis = axis + len(shapes[0]) if axis < 0 else axis
    return [(prod(shapes[0][:axis]), prod(shapes[0][axis:]))]


def _axes(node: ir.Node, constants: Constants) -> list[int] | None:
    """From the second input (opset 13 and later) or the attribute (before)."""
    if len(constants) > 1:
        return _need(node, constants, 1)
    axes = g.attribute(node, "axes")
    return None if axes is None else [int(a) for a in axes]


def _squeeze_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axes, rank = _axes(node, constants), len(shapes[0])
    drop = (
        {i for i, d in enumerate(shapes[0]) if d == 1} if axes is None else {a % rank for a in axes}
    )
    return [tuple(d for i, d in enumerate(shapes[0]) if i not in drop)]


def _unsqueeze_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axes = _axes(node, constants) or []
    return [tuple(np.expand_dims(np.empty(shapes[0], bool), tuple(axes)).shape)]


def _transpose_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    return [tuple(shapes[0][p] for p in permutation(node, len(shapes[0])))]


register("Identity", "Dropout", rule=OpRule("layout", _identity, first_shape))
register("Cast", rule=OpRule("layout", _cast, first_shape))
register("Reshape", rule=OpRule("layout", _reshape, _reshape_shapes))
register("Flatten", rule=OpRule("layout", _reshape, _flatten_shapes))
register("Squeeze", rule=OpRule("layout", _reshape, _squeeze_shapes))
register("Unsqueeze", rule=OpRule("layout", _reshape, _unsqueeze_shapes))
register("Transpose", rule=OpRule("layout", _transpose, _transpose_shapes))
