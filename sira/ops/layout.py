"""Operators that only re-arrange elements: Identity, Dropout, Cast, Reshape and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact, rational_gcd
from sira.numbers.scaled import ScaledInt
from sira.ops.axes import need, negative
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    Constants,
    OpRule,
    Shape,
    first_shape,
    operand,
    register,
)


def _identity(node: ir.Node, args: Args) -> list[Arg]:
    training = args[2] if node.op_type == "Dropout" and len(args) > 2 else None
    if isinstance(training, Constant) and training.file_array.any():
        raise SiraError(
            "Dropout is in training mode",
            where=g.describe(node),
            remedy="export the model in evaluation mode",
        )
    assert args[0] is not None
    return [args[0]]


def _cast(node: ir.Node, args: Args) -> list[Arg]:
    """Numbers stay what they are; a type that would round them is an error.

    FLOAT and DOUBLE stand for the real numbers, as everywhere.
    """
    x = args[0]
    assert x is not None
    target = ir.DataType(g.attribute(node, "to"))
    if target in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return [x]
    if target.is_floating_point():
        _check_precision(node, x, target)
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


def _check_precision(node: ir.Node, x: Arg, target: ir.DataType) -> None:
    """Refuse a floating-point type that does not hold every value of the range exactly."""
    kind: Any = ml_dtypes.finfo(target.numpy())  # type: ignore[no-untyped-call]
    value = operand(x)
    if isinstance(value, ScaledInt):
        range_ = value.interval
        largest = max(float(np.abs(range_.lo).max()), float(np.abs(range_.hi).max()))
        if isinstance(value.scale, Exact) and isinstance(value.bias, Exact):
            unit = rational_gcd(np.append(value.scale.values, value.bias.values))
            power = (
                unit.numerator & (unit.numerator - 1)
                == 0
                == unit.denominator & (unit.denominator - 1)
            )
            digits = largest <= unit * 2 ** (int(kind.nmant) + 1)
            reach = largest <= float(kind.max) and unit >= float(kind.smallest_subnormal)
            if power and digits and reach:
                return
    raise SiraError(
        f"a Cast to {target.name} must not round",
        where=g.describe(node),
        expected=f"values of up to {int(kind.nmant) + 1} binary digits",
        found="others",
        remedy="keep FLOAT, or quantize instead",
    )


def _check_fit(node: ir.Node, x: Arg, target: ir.DataType) -> None:
    """Refuse a type that does not hold the range: executors wrap, or make a truth value of it."""
    x = operand(x)
    assert isinstance(x, ScaledInt)
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
    found = x.scaled if isinstance(x, Constant) else x
    return isinstance(found, ScaledInt) and found.is_whole


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
    perm = [int(p) for p in g.attribute(node, "perm", tuple(reversed(range(rank))))]
    if sorted(perm) != list(range(rank)):
        raise SiraError(
            "perm is no permutation of the axes",
            where=g.describe(node),
            expected=f"each of 0..{rank - 1} once",
            found=str(perm),
        )
    return perm


def _reshape_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    source, wanted = shapes[0], need(node, constants, 1, "target shape") or []
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
        return need(node, constants, 1, "axes")
    axes = g.attribute(node, "axes")
    return None if axes is None else [int(a) for a in axes]


def _squeeze_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axes, rank = _axes(node, constants), len(shapes[0])
    if axes is None:
        drop = {i for i, d in enumerate(shapes[0]) if d == 1}
    else:
        drop = {negative(node, a, rank) + rank for a in axes}
    if any(shapes[0][i] != 1 for i in drop):
        raise SiraError(
            "only axes of size 1 can be squeezed",
            where=g.describe(node),
            expected="size 1",
            found=f"axes {sorted(drop)} of {shapes[0]}",
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
