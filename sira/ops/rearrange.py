"""Slice, Split, Gather, Tile, Expand, DepthToSpace, SpaceToDepth and Im2Col.

They pick, repeat or re-order elements, so integers, scale and bias go through as they are. What
does not vary along an axis needs no picking along it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from math import prod

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops.axes import Array, aligned, arrays, common_lattice, moved, need, negative, take
from sira.ops.base import (
    Arg,
    Args,
    Constants,
    Evaluate,
    OpRule,
    Shape,
    ShapeRule,
    operand,
    register,
)
from sira.ops.pad import padded
from sira.ops.windows import Names, integers, read, slid

Picks = dict[int, Ints]
"""Which elements to take along each axis, counted from the end."""


def _shape_in(node: ir.Node) -> Shape:
    return g.shape(node.inputs[0])  # type: ignore[arg-type]


def _pick(node: ir.Node, x: Arg | None, picks: Picks, output: int = 0) -> Arg:
    rank = len(_shape_in(node))

    def move(a: Array) -> Array:
        for axis, indices in picks.items():
            a = take(a, indices, axis, rank)
        return a

    return moved(node, x, move, output)


def _picked_shape(shape: Shape, picks: Picks) -> Shape:
    rank = len(shape)
    return tuple(len(picks[i - rank]) if i - rank in picks else d for i, d in enumerate(shape))


def _slices(node: ir.Node, shape: Shape, constants: Constants) -> Picks:
    """From inputs (opset 10 and later) or attributes (before)."""

    def given(index: int, name: str) -> list[int] | None:
        found = need(node, constants, index, name)
        if found is None and (attribute := g.attribute(node, name)) is not None:
            found = [int(v) for v in attribute]
        return found

    starts, ends = given(1, "starts") or [], given(2, "ends") or []
    axes = given(3, "axes") or list(range(len(starts)))
    steps = need(node, constants, 4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise SiraError(
            "starts, ends, axes and steps do not fit",
            where=g.describe(node),
            expected="as many of each, and steps that are not 0",
            found=f"{starts}, {ends}, {axes}, {steps}",
        )
    picks: Picks = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = negative(node, axis, len(shape))
        picks[at] = np.arange(shape[at])[start:end:step]
        if not len(picks[at]):
            raise SiraError(
                "nothing is left of the tensor",
                where=g.describe(node),
                expected=f"elements among 0..{shape[at] - 1} of axis {axis}",
                found=f"{start}:{end}:{step}",
            )
    return picks


def _repeats(node: ir.Node, shape: Shape, constants: Constants) -> Picks:
    repeats = need(node, constants, 1, "repeats") or []
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise SiraError(
            "repeats do not fit",
            where=g.describe(node),
            expected=f"{len(shape)} positive numbers",
            found=str(repeats),
        )
    return {
        i - len(shape): np.tile(np.arange(d), n)
        for i, (d, n) in enumerate(zip(shape, repeats, strict=True))
        if n > 1
    }


def _evaluate_slice(node: ir.Node, args: Args) -> list[Arg]:
    return [_pick(node, args[0], _slices(node, _shape_in(node), arrays(node)))]


def _slice_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    return [_picked_shape(shapes[0], _slices(node, shapes[0], constants))]


def _evaluate_tile(node: ir.Node, args: Args) -> list[Arg]:
    return [_pick(node, args[0], _repeats(node, _shape_in(node), arrays(node)))]


def _tile_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    return [_picked_shape(shapes[0], _repeats(node, shapes[0], constants))]


def _parts(node: ir.Node, shape: Shape, constants: Constants) -> list[Picks]:
    """The elements of each output of a Split: sizes from the input or the attribute, or equal."""
    axis = negative(node, int(g.attribute(node, "axis", 0)), len(shape))
    size, outputs = shape[axis], len(node.outputs)
    sizes = need(node, constants, 1, "sizes") or [int(s) for s in g.attribute(node, "split", ())]
    if not sizes:
        chunk = -(-size // outputs)  # the last one may be smaller, if num_outputs says so
        sizes = [chunk] * (outputs - 1) + [size - chunk * (outputs - 1)]
        if g.attribute(node, "num_outputs") is None and sizes[-1] != chunk:
            sizes = []
    if sum(sizes) != size or len(sizes) != outputs or min(sizes) < 1:
        raise SiraError(
            "the parts do not make up the whole",
            where=g.describe(node),
            expected=f"{outputs} positive sizes whose sum is {size}",
            found=str(sizes) if sizes else f"{outputs} equal parts of {size}",
        )
    ends = list(accumulate(sizes))
    return [{axis: np.arange(end - n, end)} for end, n in zip(ends, sizes, strict=True)]


def _evaluate_split(node: ir.Node, args: Args) -> list[Arg]:
    parts = _parts(node, _shape_in(node), arrays(node))
    return [_pick(node, args[0], picks, i) for i, picks in enumerate(parts)]


def _split_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    return [_picked_shape(shapes[0], picks) for picks in _parts(node, shapes[0], constants)]


def _gathered(node: ir.Node, shape: Shape, constants: Constants) -> tuple[int, Ints]:
    axis = negative(node, int(g.attribute(node, "axis", 0)), len(shape))
    indices = constants[1]
    if indices is None:
        raise SiraError(
            "the indices must be known at compile time",
            where=g.describe(node),
            expected="a constant",
            found="a computed tensor",
        )
    size = shape[axis]
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise SiraError(
            "an index is outside of the tensor",
            where=g.describe(node),
            expected=f"{-size}..{size - 1}",
            found=f"{indices.min()}..{indices.max()}",
        )
    return axis, np.asarray(indices, np.int64) % size


def _evaluate_gather(node: ir.Node, args: Args) -> list[Arg]:
    rank = len(_shape_in(node))
    axis, indices = _gathered(node, _shape_in(node), arrays(node))
    return [moved(node, args[0], lambda a: take(a, indices, axis, rank))]


def _gather_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axis, indices = _gathered(node, shapes[0], constants)
    at = axis + len(shapes[0])
    return [(*shapes[0][:at], *indices.shape, *shapes[0][at + 1 :])]


def _evaluate_expand(node: ir.Node, args: Args) -> list[Arg]:
    rank = len(_shape_in(node))
    new = (1,) * (len(g.shape(node.outputs[0])) - rank)

    def move(a: Array) -> Array:
        lead = a.ndim - rank
        return a.reshape(*a.shape[:lead], *new, *a.shape[lead:])

    return [moved(node, args[0], move)]


def _expand_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    target = need(node, constants, 1, "target shape") or []
    try:
        return [np.broadcast_shapes(shapes[0], tuple(target))]
    except ValueError:
        raise SiraError(
            "shapes do not broadcast",
            where=g.describe(node),
            found=f"{shapes[0]} and {tuple(target)}",
        ) from None


def _refold(a: Array, parts: Sequence[Shape], order: Shape, groups: Shape) -> Array:
    """Split each axis into ``parts``, re-order them, and merge neighbours in ``groups``.

    An axis of size 1 stays so, unless others of its group do not.
    """
    rank = len(parts)
    lead, own = a.shape[: a.ndim - rank], a.shape[a.ndim - rank :]
    split = [d if size != 1 else 1 for size, p in zip(own, parts, strict=True) for d in p]
    full = [d for part in parts for d in part]
    a = a.reshape(*lead, *split).transpose(*range(len(lead)), *(len(lead) + i for i in order))
    return _merge(a, len(lead), [full[i] for i in order], groups)


def _merge(a: Array, lead: int, full: Sequence[int], groups: Sequence[int]) -> Array:
    """Merge groups of neighbouring axes, which have the sizes ``full`` where not 1."""
    spread, merged, at = list(a.shape[:lead]), list(a.shape[:lead]), 0
    for n in groups:
        own = a.shape[lead + at : lead + at + n]
        sizes = own if set(own) == {1} else tuple(full[at : at + n])
        spread += sizes
        merged.append(prod(sizes))
        at += n
    return np.broadcast_to(a, spread).reshape(merged)


def _block(node: ir.Node, shape: Shape) -> int:
    size = int(g.attribute(node, "blocksize", 0))
    deep = node.op_type == "DepthToSpace"
    wanted = (size * size, 1, 1) if deep else (1, size, size)
    if len(shape) != 4 or size < 1 or any(np.mod(shape[1:], wanted)):
        raise SiraError(
            "the blocks do not fit the tensor",
            where=g.describe(node),
            expected="(N, C, H, W), " + ("C" if deep else "H and W") + " a multiple of the block",
            found=f"{shape}, blocksize {size}",
        )
    return size


def _depth_to_space(node: ir.Node, args: Args) -> list[Arg]:
    n, c, h, w = _shape_in(node)
    b, mode = _block(node, _shape_in(node)), g.attribute(node, "mode", "DCR")
    c //= b * b
    match mode:
        case "DCR":
            parts, order = [(n,), (b, b, c), (h,), (w,)], (0, 3, 4, 1, 5, 2)
        case "CRD":
            parts, order = [(n,), (c, b, b), (h,), (w,)], (0, 1, 4, 2, 5, 3)
        case other:
            raise SiraError(
                "unknown mode", where=g.describe(node), expected="DCR or CRD", found=str(other)
            )
    x = args[0]
    if isinstance(x, ScaledInt):  # channels become places, where one scale for all is handier
        lattice = common_lattice(node, x, [-3], 4, with_bias=True)
        x = lattice if isinstance(lattice, ScaledInt) else x
    return [moved(node, x, lambda a: _refold(a, parts, order, (1, 1, 2, 2)))]


def _space_to_depth(node: ir.Node, args: Args) -> list[Arg]:
    n, c, h, w = _shape_in(node)
    b = _block(node, _shape_in(node))
    parts = [(n,), (c,), (h // b, b), (w // b, b)]
    return [moved(node, args[0], lambda a: _refold(a, parts, (0, 3, 5, 1, 2, 4), (1, 3, 1, 1)))]


def _depth_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    b = _block(node, shapes[0])
    n, c, h, w = shapes[0]
    if node.op_type == "DepthToSpace":
        return [(n, c // (b * b), h * b, w * b)]
    return [(n, c * b * b, h // b, w // b)]


def _windows(node: ir.Node, shape: Shape) -> tuple[list[tuple[int, int]], Picks]:
    """Pads of Im2Col's four axes, and the padded places of each window: (windows, kernel)."""
    if len(shape) != 4:
        raise SiraError(
            "Im2Col works on images",
            where=g.describe(node),
            expected="shape (1, H, W, C)",
            found=str(shape),
        )
    integers(node, "stride", 2, 1)  # which has no default here
    given = read(node, 2, names=Names("kernel_size", "stride", "dilations", "pad_amount"))
    places: Picks = {}
    for axis, along in zip((-3, -2), slid(node, shape[1:3], given).axes, strict=True):
        around = along.size + along.before + along.after
        places[axis] = replace(along, size=around, before=0, after=0).index
    return [(0, 0), *given.pads, (0, 0)], places


def _im2col(node: ir.Node, args: Args) -> list[Arg]:
    """Windows of a channels-last image, each a row of (kernel row, kernel column, channel)."""
    shape = _shape_in(node)
    pads, places = _windows(node, shape)
    fill = Exact.of(int(g.attribute(node, "pad_value", 0)))
    (oh, kh), (ow, kw) = (places[axis].shape for axis in (-3, -2))

    def move(a: Array) -> Array:
        a = take(take(aligned(a, 4), places[-3], -3, 4), places[-2], -2, 5)
        lead = a.ndim - 6
        order = (*range(lead + 2), lead + 3, lead + 2, lead + 4, lead + 5)
        return _merge(a.transpose(order), lead, (1, oh, ow, kh, kw, shape[3]), (1, 1, 1, 3))

    return [moved(node, padded(operand(args[0]), shape, pads, fill), move)]


def _im2col_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    (oh, kh), (ow, kw) = (v.shape for v in _windows(node, shapes[0])[1].values())
    return [(shapes[0][0], oh, ow, kh * kw * shapes[0][3])]


_OPERATORS: dict[str, tuple[Evaluate, ShapeRule]] = {
    "Slice": (_evaluate_slice, _slice_shapes),
    "Split": (_evaluate_split, _split_shapes),
    "Gather": (_evaluate_gather, _gather_shapes),
    "Tile": (_evaluate_tile, _tile_shapes),
    "Expand": (_evaluate_expand, _expand_shapes),
    "DepthToSpace": (_depth_to_space, _depth_shapes),
    "SpaceToDepth": (_space_to_depth, _depth_shapes),
}
for _op_type, (_rule, _shapes) in _OPERATORS.items():
    register(_op_type, rule=OpRule("selection", _rule, _shapes))
register("Im2Col", rule=OpRule("other", _im2col, _im2col_shapes))
