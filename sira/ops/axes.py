"""Arrays that broadcast to a tensor, handled one axis at a time.

The arrays of a value may have leading axes in front of the tensor's own (one for samples), fewer
axes than the tensor, and axes of size 1 along which they do not vary. The functions here keep
axes of size 1 wherever they can, so that what is known per channel stays per channel. Axes are
counted from the end: -1 is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact, rational_gcd
from sira.numbers.int64 import INT64_MAX, largest, too_wide
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt, Value, rebase
from sira.ops.base import Arg, Constant, Constants, Shape, operand

Array = NDArray[Any]

MAX_MULTIPLE = 2**16
"""Scales that are integer multiples up to this of a common one are brought onto it."""


def negative(node: ir.Node, axis: int, rank: int) -> int:
    """``axis`` of a tensor of ``rank``, counted from the end."""
    if not -rank <= axis < rank:
        raise SiraError(
            "no such axis",
            where=g.describe(node),
            expected=f"{-rank}..{rank - 1}",
            found=str(axis),
        )
    return axis if axis < 0 else axis - rank


def need(node: ir.Node, constants: Constants, index: int, what: str) -> list[int] | None:
    """The integers of a constant input; None where the input is left out."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    value = constants[index]
    if value is None:
        raise SiraError(
            f"the {what} must be known at compile time",
            where=g.describe(node),
            expected="a constant",
            found="a computed tensor",
            remedy="export the model with static shapes",
        )
    return [int(v) for v in np.ravel(value)]


def arrays(node: ir.Node) -> Constants:
    """The contents of the node's constant inputs, as its shape rule is given them."""
    return [g.array(v) for v in node.inputs]


def exactly(x: Arg | None) -> Exact:
    """An operand next to exact values, which is one itself, a constant or a point."""
    match x:
        case Exact():
            return x
        case Constant():
            return x.real
        case ScaledInt():
            return x.exact
        case _:
            raise AssertionError("exact values and ranges do not mix")


def aligned(a: Array, rank: int) -> Array:
    """With at least ``rank`` axes."""
    return a.reshape((1,) * (rank - a.ndim) + a.shape) if a.ndim < rank else a


def take(a: Array, indices: Array, axis: int, rank: int) -> Array:
    """Elements ``indices`` (of any shape) along ``axis``, whose place their axes take."""
    a = aligned(a, rank)
    at = a.ndim + axis
    if a.shape[at] == 1:
        return a.reshape(*a.shape[:at], *(1,) * indices.ndim, *a.shape[at + 1 :])
    return np.take(a, indices, axis=at)


def spread(a: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    """Repeated to the tensor's size along ``axes``, as it is along the others."""
    a = aligned(a, len(shape))
    full = list(a.shape)
    for axis in axes:
        full[axis] = shape[axis]
    return np.broadcast_to(a, full)


def moved(node: ir.Node, x: Arg | None, move: Callable[[Array], Array], output: int = 0) -> Arg:
    """Apply ``move``, which re-arranges or repeats elements, to every array of a value.

    An array of one element stands for the whole tensor and stays as it is.
    """
    rank = len(g.shape(node.inputs[0]))  # type: ignore[arg-type]

    def each(a: Array) -> Array:
        return a.reshape(()) if a.size == 1 and a.ndim <= rank else move(aligned(a, rank))

    return broadcast_constant(node, x, operand(x).map(each), output)


def broadcast_constant(node: ir.Node, source: Arg | None, result: Value, output: int = 0) -> Value:
    """``result``; made of a constant, its integers get the shape of the whole tensor."""
    if isinstance(source, Constant) and isinstance(result, ScaledInt):
        q = np.broadcast_to(result.lo, g.shape(node.outputs[output]))
        return ScaledInt(q, q, result.scale, result.bias)
    return result


def both(x: Interval, rank: int) -> Interval:
    """Bounds of one shape, with at least ``rank`` axes."""
    lo, hi = np.broadcast_arrays(aligned(x.lo, rank), aligned(x.hi, rank))
    return Interval(lo, lo if x.lo is x.hi else hi, x.reason)


def check_sum(node: ir.Node, x: ScaledInt, terms: int) -> None:
    """Refuse sums of ``terms`` integers that do not fit into int64."""
    highest = largest(x.lo, x.hi) * terms
    if highest > INT64_MAX:
        raise too_wide(g.describe(node), highest)


def common_lattice(
    node: ir.Node, x: ScaledInt, axes: Sequence[int], rank: int, with_bias: bool
) -> ScaledInt | str:
    """``x`` with a scale (and a bias, if wanted) that does not vary along ``axes``.

    Or the reason why there is none: the scales must be multiples of a common one by small integers
    and the biases differ by multiples of it.
    """
    fields = (x.scale, x.bias) if with_bias else (x.scale,)
    if all(_constant(f, axes, rank) for f in fields):
        return x
    if not isinstance(x.scale, Exact) or not isinstance(x.bias, Exact):
        return "its scale is irrational and differs from element to element"
    ends = [a for a in range(-rank, 0) if a in set(axes)]
    scale, bias = np.broadcast_arrays(
        aligned(x.scale.values, rank), aligned(x.bias.values, rank) if with_bias else np.zeros(())
    )
    s, b = (_last(a, ends) for a in (scale, bias))
    base = np.empty(s.shape[:-1], object)
    for i in np.ndindex(base.shape):
        offsets = b[i] - b[i][0] if with_bias else s[i]
        base[i] = rational_gcd(np.concatenate([s[i], offsets]))
    multiples = [*(s / base[..., None]).ravel()]
    multiples += [*((b - b[..., :1]) / base[..., None]).ravel()] if with_bias else []
    if any(abs(m) > MAX_MULTIPLE for m in multiples):
        return "its scales or biases are in no ratio of small integers"
    check_sum(node, x, max(int(abs(m)) for m in multiples) + 1)
    kept = tuple(1 if a - scale.ndim in ends else d for a, d in enumerate(scale.shape))
    to_scale = Exact(base.reshape(kept))
    to_bias = Exact(b[..., 0].reshape(kept)) if with_bias else x.bias
    return rebase(x, to_scale, to_bias, g.describe(node))


def _constant(x: Exact | Interval, axes: Sequence[int], rank: int) -> bool:
    found = [x.values] if isinstance(x, Exact) else [x.lo, x.hi]
    return all(aligned(a, rank).shape[axis] == 1 for a in found for axis in axes)


def _last(a: Array, axes: Sequence[int]) -> Array:
    """``axes`` moved to the end and made one."""
    a = np.moveaxis(a, axes, range(-len(axes), 0))
    return a.reshape(*a.shape[: a.ndim - len(axes)], -1)


def no_output_but_first(node: ir.Node) -> None:
    """Refuse a second output."""
    if sum(bool(v.name) and (any(v.uses()) or v.is_graph_output()) for v in node.outputs[1:]):
        raise SiraError(
            "only the first output is supported",
            where=g.describe(node),
            expected="one output",
            found=f"{len(node.outputs)} outputs that are used",
            remedy="rewrite the model without the others",
        )


def shape_after(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """A shape reduced over ``axes``."""
    rank = len(shape)
    kept = [1 if i - rank in axes else d for i, d in enumerate(shape)]
    return tuple(d for i, d in enumerate(kept) if keepdims or i - rank not in axes)
