"""Boxes of the tensors of an integer model, one operator after the other.

Part of the checker `sira.certificate`, and like it free of the rest of `sira`. A box follows from
those of the operands, each element by itself. Rearrangements are run on the elements' numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

LIMIT = 2**53
_TABLE = 2**24
"""Two functions of one element are added value by value where a table of them is this small."""

_LOWEST = -(2**62)
"""What MaxPool reads where it reads nothing."""

_REARRANGING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice"}
_REARRANGING |= {"Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample"}
_REARRANGING |= {"Split", "Pad", "Identity"}

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Constants = dict[str, NDArray[Any]]


class Rejected(Exception):
    """The certificate is not true of the model; the text says where."""


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds that broadcast to a tensor of ``shape``, and which element each entry copies.

    ``ids`` broadcasts alike. Entries of one number are rising functions of one element, those of
    its negative are falling ones.
    """

    shape: tuple[int, ...]
    lo: Ints
    hi: Ints
    ids: Ints
    root: Box | None = None  # a box of this shape whose elements these are functions of
    function: Callable[[Ints], Ints] = lambda q: q  # that function, if there is a root

    def full(self) -> tuple[Ints, Ints, Ints]:
        """Bounds and identities of every element."""
        lo, hi, ids = (np.broadcast_to(a, self.shape) for a in (self.lo, self.hi, self.ids))
        return lo, hi, ids

    def along(self, axis: int) -> tuple[Ints, Ints, Bools]:
        """Worst bounds for each index of ``axis``, and whether all positions have just these."""
        rank = len(self.shape)
        others = tuple(i for i in range(rank) if i != axis % rank)
        lo, hi = (a.reshape((1,) * (rank - a.ndim) + a.shape) for a in (self.lo, self.hi))
        level = (np.ptp(lo, axis=others) == 0) & (np.ptp(hi, axis=others) == 0)
        n = (self.shape[axis],)
        return (
            np.broadcast_to(lo.min(axis=others), n),
            np.broadcast_to(hi.max(axis=others), n),
            np.broadcast_to(level, n),
        )


def propagate(
    node: onnx.NodeProto, boxes: list[Box], constants: Constants, model: onnx.ModelProto, index: int
) -> list[Box]:
    """The boxes behind a node that is no layer, one an output; none where the integers end."""
    if node.op_type in _REARRANGING:
        return _rearranged(node, boxes, constants, model)
    box = _computed(node, boxes, constants, model, index)
    return [] if box is None else [box]


def _computed(
    node: onnx.NodeProto, boxes: list[Box], constants: Constants, model: onnx.ModelProto, index: int
) -> Box | None:
    box, c = boxes[0], _operand(node, constants)
    match node.op_type:
        case "MultiThreshold":
            count = _count(node, whole(constants[node.input[1]], node), len(box.shape))
            return None if count is None else _mapped(box, box.shape, count, box.ids)
        case "Sub" if c is not None and node.input[0] in constants:
            return _with_constant("Add", node, _negated(box), c)
        case "Mul" | "Add" | "Sub" | "Max" | "Min" if c is not None:
            return _with_constant(node.op_type, node, box, c)
        case "Neg":
            return _negated(box)
        case "Relu":
            return _mapped(box, box.shape, lambda q: np.maximum(q, 0), box.ids)
        case "Add" if len(boxes) == 2:
            return _sum(boxes[0], boxes[1], index)
        case "Sub" if len(boxes) == 2:
            return _sum(boxes[0], _negated(boxes[1]), index)
        case "Mul" if len(boxes) == 2:
            return _product(node, boxes[0], boxes[1], index)
        case "Max" | "Min" if len(boxes) == len(node.input):
            return _selected(np.maximum if node.op_type == "Max" else np.minimum, boxes, index)
        case "MaxPool" | "GlobalMaxPool":
            return _pooled(node, box, _written_shape(model, node), index)
        case _:
            return None


def _operand(node: onnx.NodeProto, constants: Constants) -> Ints | None:
    """The constant of an operator with two operands, if it is made of integers below 2**53."""
    found = [constants[name] for name in node.input if name in constants]
    if len(node.input) != 2 or len(found) != 1 or not (np.rint(found[0]) == found[0]).all():
        return None
    if (np.abs(found[0]) >= LIMIT).any():
        return None
    return whole(found[0], node)


def _with_constant(op: str, node: onnx.NodeProto, box: Box, c: Ints) -> Box:
    shape = np.broadcast_shapes(box.shape, c.shape)
    match op:
        case "Add":
            return _mapped(box, shape, lambda q: q + c, box.ids)
        case "Sub":
            return _mapped(box, shape, lambda q: q - c, box.ids)
        case "Max":
            return _mapped(box, shape, lambda q: np.maximum(q, c), box.ids)
        case "Min":
            return _mapped(box, shape, lambda q: np.minimum(q, c), box.ids)
    reach = np.maximum(np.abs(box.lo), np.abs(box.hi)).astype(float) * np.abs(c)
    if reach.max(initial=0) > LIMIT:
        raise Rejected(f"{node.name}: values beyond 2**53")
    return _mapped(box, shape, lambda q: q * c, box.ids * np.sign(c))


def _negated(box: Box) -> Box:
    return _mapped(box, box.shape, lambda q: -q, -box.ids)


def _product(node: onnx.NodeProto, a: Box, b: Box, index: int) -> Box:
    """The box of a product; that of a tensor with itself is not negative."""
    corners = np.broadcast_arrays(*(p * q for p in (a.lo, a.hi) for q in (b.lo, b.hi)))
    reach = [np.maximum(np.abs(box.lo), np.abs(box.hi)).astype(float) for box in (a, b)]
    if (reach[0] * reach[1]).max(initial=0) > LIMIT:
        raise Rejected(f"{node.name}: values beyond 2**53")
    shape = np.broadcast_shapes(a.shape, b.shape)
    lo, hi = np.minimum.reduce(corners), np.maximum.reduce(corners)
    if node.input[0] == node.input[1]:
        lo = np.where((a.lo <= 0) & (a.hi >= 0), 0, np.minimum(a.lo**2, a.hi**2))
    return Box(shape, lo, hi, fresh(index, shape))


def _selected(f: Callable[[Ints, Ints], Ints], boxes: list[Box], index: int) -> Box:
    """The largest or smallest of several tensors, element by element."""
    shape = np.broadcast_shapes(*(b.shape for b in boxes))
    lo, hi = reduce(f, (b.lo for b in boxes)), reduce(f, (b.hi for b in boxes))
    return Box(shape, lo, hi, fresh(index, shape))


def _pooled(node: onnx.NodeProto, box: Box, shape: tuple[int, ...], index: int) -> Box:
    """The largest of each window: its bounds are the largest of the bounds."""
    ids = fresh(index, shape)
    if node.op_type == "GlobalMaxPool":
        axes = tuple(range(2, len(shape)))
        lo, hi = (
            np.broadcast_to(b, box.shape).max(axis=axes, keepdims=True) for b in (box.lo, box.hi)
        )
        return Box(shape, lo, hi, ids)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    n, ends = len(shape) - 2, []
    kernel = attributes["kernel_shape"]
    strides, dilations = (attributes.get(k, [1] * n) for k in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * 2 * n)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Rejected(f"{node.name}: auto_pad is not supported")
    for bound in (box.lo, box.hi):
        bound = bound.reshape((1,) * (len(shape) - bound.ndim) + bound.shape)
        if any(d != 1 for d in bound.shape[2:]):
            bound = np.broadcast_to(bound, (*bound.shape[:2], *box.shape[2:]))
            for i in range(n):
                first = strides[i] * np.arange(shape[2 + i])[:, None] - pads[i]
                at = first + dilations[i] * np.arange(kernel[i])
                inside = (at >= 0) & (at < box.shape[2 + i])
                read = np.take(bound, np.clip(at, 0, box.shape[2 + i] - 1), axis=2 + i)
                column = inside.reshape(*inside.shape, *(1,) * (n - 1 - i))
                bound = np.where(column, read, _LOWEST).max(axis=3 + i)
        ends.append(bound)
    return Box(shape, ends[0], ends[1], ids)


def _written_shape(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[int, ...]:
    for value in (*model.graph.value_info, *model.graph.output):
        if value.name == node.output[0]:
            return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    raise Rejected(f"{node.name}: the model does not tell the shape of its output")


def _rearranged(
    node: onnx.NodeProto, boxes: list[Box], constants: Constants, model: onnx.ModelProto
) -> list[Box]:
    """Bounds and identities where the operator, run on the numbers of the elements, puts them.

    What Pad adds has the number -1.
    """
    float_, int_ = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    names = [name for name in node.input if name and name not in constants]
    different = dict(zip(names, boxes, strict=True))
    given = {n: constants[n] for n in node.input if n in constants}
    added, part = np.zeros((), np.int64), node
    if node.op_type == "Pad":
        if len(node.input) < 2:
            raise Rejected(f"{node.name}: Pad without inputs is not supported")
        fill = node.input[2] if len(node.input) > 2 else ""
        added = whole(given.pop(fill), node).reshape(()) if fill else added
        part, given["-1"] = onnx.NodeProto(), np.array(-1)
        part.CopyFrom(node)
        del part.input[2:]
        part.input.extend(["-1", *node.input[3:]])
    graph = helper.make_graph(
        [part],
        "rearranged",
        [helper.make_tensor_value_info(n, int_, None) for n in different],
        [helper.make_tensor_value_info(n, float_, None) for n in node.output],
        [numpy_helper.from_array(array, n) for n, array in given.items()],
    )
    number, start = {}, 0
    for name, box in different.items():
        number[name] = np.arange(start, start + int(np.prod(box.shape))).reshape(box.shape)
        start += number[name].size
    parts = [*zip(*(b.full() for b in different.values()), strict=True)]
    edge = (added, added, np.zeros((), np.int64))
    lo, hi, ids = (
        np.concatenate([*(a.ravel() for a in p), e.reshape(1)])
        for p, e in zip(parts, edge, strict=True)
    )
    made = []
    whole_model = helper.make_model(graph, opset_imports=model.opset_import)
    for taken in map(np.asarray, ReferenceEvaluator(whole_model).run(None, number)):
        at = taken.astype(np.int64)
        lowest = -1 if node.op_type == "Pad" else 0
        if not (at == taken).all() or at.min(initial=0) < lowest or at.max(initial=0) >= start:
            raise Rejected(f"{node.name}: computes, where it should rearrange")
        made.append(Box(at.shape, lo[at], hi[at], ids[at]))
    return made


def fresh(index: int, shape: tuple[int, ...]) -> Ints:
    """Identities of the elements of the tensor number ``index``: positive, and nobody else's."""
    return (index << 40) + np.arange(1, int(np.prod(shape)) + 1).reshape(shape)


_LAYOUTS = {2: "NC", 3: "NWC", 4: "NCHW"}
"""What MultiThreshold assumes of a tensor without a data_layout."""


def _count(node: onnx.NodeProto, thresholds: Ints, rank: int) -> Callable[[Ints], Ints] | None:
    """The function that counts the thresholds reached and adds a constant."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    base = float(attributes.get("out_bias", 0.0))
    if attributes.get("out_scale", 1.0) != 1 or not base.is_integer():
        return None
    layout = attributes.get("data_layout", b"").decode() or _LAYOUTS.get(rank, "NC")
    steps = thresholds.reshape(
        len(thresholds), *(1,) * (rank - 1 - layout.index("C")), thresholds.shape[1]
    )
    return lambda q: (q[..., None] >= steps).sum(axis=-1) + int(base)


def _mapped(box: Box, shape: tuple[int, ...], f: Callable[[Ints], Ints], ids: Ints) -> Box:
    """The box behind a function that rises, or falls, in each element by itself."""
    a, b = f(box.lo), f(box.hi)
    lo, hi = np.minimum(a, b), np.maximum(a, b)
    if shape != box.shape:
        return Box(shape, lo, hi, ids)
    return Box(shape, lo, hi, ids, box.root or box, lambda q: f(box.function(q)))


def _sum(a: Box, b: Box, index: int) -> Box:
    """The box of a sum; where both operands are functions of one box, over all of its values."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    ids, root = fresh(index, shape), a.root or a
    lo, hi = a.lo + b.lo, a.hi + b.hi
    if root is not (b.root or b):
        return Box(shape, lo, hi, ids)
    first, last = (
        v.reshape((1,) * (len(shape) + 1 - v.ndim) + v.shape) for v in (root.lo, root.hi)
    )
    span = int((last - first).max()) + 1
    if span * max(lo.size, hi.size) > _TABLE:
        return Box(shape, lo, hi, ids)
    q = np.minimum(first + np.arange(span).reshape(-1, *(1,) * len(shape)), last)
    y = a.function(q) + b.function(q)
    return Box(
        shape, y.min(axis=0), y.max(axis=0), ids, root, lambda q: a.function(q) + b.function(q)
    )


def whole(array: NDArray[Any], node: onnx.NodeProto) -> Ints:
    if not (np.rint(array) == array).all() or (np.abs(array) >= LIMIT).any():
        raise Rejected(f"{node.name}: constants that are no integers below 2**53")
    return array.astype(np.int64)
