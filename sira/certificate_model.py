"""The integer model that a certificate is about: its layers, and the boxes of their inputs.

Part of the checker `sira.certificate`, and like it free of the rest of `sira`. Boxes follow from
the declared input by induction, each element by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RANGE = "sira.range"
_LIMIT = 2**53
_TABLE = 2**24
"""Two functions of one element are added value by value where a table of them is this small."""

_LAYERS = ("MatMul", "Conv", "ConvTranspose")

_REARRANGING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice"}
_REARRANGING |= {"Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Resize"}

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


@dataclass(frozen=True, eq=False)
class Layer:
    """A MAC as rows of weights (N, I, taps) over the channels that each output reads."""

    name: str
    tensor: str
    weights: Ints
    lo: Ints  # (N, I)
    hi: Ints
    level: Bools  # (N, I): these bounds hold at every position
    masks: Bools  # (classes, taps): which taps read input
    ids: Ints  # (classes, groups, I, taps): the elements read at one position of the class


def layers(model: onnx.ModelProto) -> Iterator[Layer]:
    """The multiply-accumulate layers of an integer model with the boxes of their inputs."""
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    boxes: dict[str, Box] = {}
    for index, value in enumerate(graph.input):
        lo, hi = declared(value)
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        boxes[value.name] = Box(shape, np.array(lo), np.array(hi), _fresh(index, shape))
    for index, node in enumerate(graph.node, len(graph.input)):
        computed = [name for name in node.input if name and name not in constants]
        known = [boxes[name] for name in computed if name in boxes]
        if node.op_type in _LAYERS:
            if not known or len(node.input) != 2 or computed != [node.input[0]]:
                raise Rejected(f"{node.name}: not a known input times constant weights")
            layer, shape = _layer(node, known[0], constants)
            yield layer
            axis = -1 if node.op_type == "MatMul" else 1
            box: Box | None = _accumulated(layer, shape, axis, index)
        elif not known or len(known) < len(computed):
            continue  # floating point behind the last integer
        else:
            box = _propagate(node, known, constants, model, index)
        if box is not None:
            if max(np.abs(box.lo).max(initial=0), np.abs(box.hi).max(initial=0)) > _LIMIT:
                raise Rejected(f"{node.name}: values beyond 2**53")
            boxes[node.output[0]] = box


def declared(value: onnx.ValueInfoProto) -> tuple[int, int]:
    """The box of a graph input, as the model states it."""
    for entry in value.metadata_props:
        if entry.key == RANGE:
            lo, hi = (int(v) for v in entry.value.split())
            if not -_LIMIT <= lo <= hi <= _LIMIT:
                raise Rejected(f"input {value.name}: no range within 2**53")
            return lo, hi
    raise Rejected(f"input {value.name}: the model declares no range")


def datatypes(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """What the integer types hold with which the model annotates its tensors."""
    named = {"BINARY": (0, 1), "BIPOLAR": (-1, 1), "TERNARY": (-1, 1)}
    found = {}
    for annotation in model.graph.quantization_annotation:
        for pair in annotation.quant_parameter_tensor_names:
            if pair.key != "finn_datatype":
                continue
            if pair.value in named:
                found[annotation.tensor_name] = named[pair.value]
            elif match := re.fullmatch(r"(U?)INT([1-9]\d?)", pair.value):
                n = int(match[2])
                limits = (0, 2**n - 1) if match[1] else (-(2 ** (n - 1)), 2 ** (n - 1) - 1)
                found[annotation.tensor_name] = limits
    return found


def bounds(layer: Layer) -> tuple[list[int], list[int], list[int], list[int]]:
    """Smallest and largest sum of each output, and the border class that attains each."""
    low, high = np.full(len(layer.weights), 0), np.full(len(layer.weights), 0)
    low_class, high_class = low.copy(), high.copy()
    order = sorted(range(len(layer.masks)), key=lambda c: _preference(layer.masks[c]))
    for rank, c in enumerate(order):
        w = layer.weights[:, :, layer.masks[c]]
        up, down = np.maximum(w, 0).sum(axis=2), np.minimum(w, 0).sum(axis=2)
        lo = (up * layer.lo + down * layer.hi).sum(axis=1)
        hi = (up * layer.hi + down * layer.lo).sum(axis=1)
        better = lo < low if rank else np.ones(len(lo), bool)
        low, low_class = np.where(better, lo, low), np.where(better, c, low_class)
        better = hi > high if rank else np.ones(len(hi), bool)
        high, high_class = np.where(better, hi, high), np.where(better, c, high_class)
    return low.tolist(), high.tolist(), low_class.tolist(), high_class.tolist()


def _layer(node: onnx.NodeProto, box: Box, constants: Constants) -> tuple[Layer, tuple[int, ...]]:
    """A layer, and the shape of its output."""
    w, every = _whole(constants[node.input[1]], node), box.full()[2]
    if node.op_type == "MatMul":
        if w.ndim != 2 or box.shape[-1] != len(w):
            raise Rejected(f"{node.name}: weights {w.shape} do not fit the input {box.shape}")
        lo, hi, level = box.along(-1)
        weights, masks = w.T[:, :, None], np.ones((1, 1), bool)
        ids = every.reshape(-1, len(w))[0].reshape(1, 1, -1, 1)
        output = (*box.shape[:-1], w.shape[1])
    else:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        groups = int(attributes.get("group", 1))
        if node.op_type == "ConvTranspose" and not len(w) % groups:  # (C, O / groups, *kernel)
            split = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
            w = split.reshape(-1, *split.shape[2:])
        if len(w) % groups or w.ndim != len(box.shape) or box.shape[1] != groups * w.shape[1]:
            raise Rejected(f"{node.name}: weights {w.shape} do not fit the input {box.shape}")
        lo, hi, level = box.along(1)
        copies = len(w) // groups
        lo, hi, level = (
            np.repeat(lo.reshape(groups, -1), copies, axis=0),
            np.repeat(hi.reshape(groups, -1), copies, axis=0),
            np.repeat(level.reshape(groups, -1), copies, axis=0),
        )
        masks, taps, size = _classes(node, box.shape[2:], w.shape[2:], attributes)
        read = every[0].reshape(box.shape[1], -1)[:, taps]
        ids = np.moveaxis(read, 1, 0).reshape(len(masks), groups, w.shape[1], -1)
        weights = w.reshape(*w.shape[:2], -1)
        output = (box.shape[0], len(w), *size)
    shape = weights.shape[:2]
    lo, hi, level = (
        np.broadcast_to(lo, shape),
        np.broadcast_to(hi, shape),
        np.broadcast_to(level, shape),
    )
    reach = np.abs(weights).astype(float).sum(axis=2) * np.maximum(np.abs(lo), np.abs(hi))
    if reach.sum(axis=1).max(initial=0) > _LIMIT:
        raise Rejected(f"{node.name}: sums beyond 2**53")
    return Layer(node.name, node.output[0], weights, lo, hi, level, masks, ids), output


def _classes(
    node: onnx.NodeProto, size: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> tuple[Bools, Ints, tuple[int, ...]]:
    """The distinct sets of taps that read input, over all positions of a convolution.

    Returns them (classes, taps), the elements read by the first position of each class, and the
    size of the output.
    """
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Rejected(f"{node.name}: auto_pad is not supported")
    if "output_shape" in attributes:
        raise Rejected(f"{node.name}: output_shape is not supported")
    n = len(size)
    axes, counts = [], []
    for i in range(n):
        stride, dilation = (int(attributes.get(k, [1] * n)[i]) for k in ("strides", "dilations"))
        before, after = (int(attributes.get("pads", [0] * 2 * n)[j]) for j in (i, n + i))
        taps = dilation * np.arange(kernel[i])
        if node.op_type == "Conv":
            outputs = (size[i] + before + after - taps[-1] - 1) // stride + 1
            at = np.arange(outputs)[:, None] * stride + taps - before
        else:
            extra = int(attributes.get("output_padding", [0] * n)[i])
            outputs = stride * (size[i] - 1) + extra + int(taps[-1]) + 1 - before - after
            apart = np.arange(outputs)[:, None] - taps + before
            at = np.where(apart % stride, -1, apart // stride)
        if outputs < 1:
            raise Rejected(f"{node.name}: the kernel is larger than the input")
        inside = (at >= 0) & (at < size[i])
        patterns: dict[tuple[bool, ...], Ints] = {}
        for row, places in zip(inside.tolist(), np.clip(at, 0, size[i] - 1), strict=True):
            patterns.setdefault(tuple(row), places)
        axes.append(sorted(patterns.items(), key=lambda item: item[0]))
        counts.append(int(outputs))
    chosen = list(product(*axes))
    masks = [[all(taps) for taps in product(*(p for p, _ in axis))] for axis in chosen]
    read = [np.ravel_multi_index(np.ix_(*(at for _, at in axis)), size).ravel() for axis in chosen]
    return np.array(masks), np.array(read), tuple(counts)


def _accumulated(layer: Layer, shape: tuple[int, ...], axis: int, index: int) -> Box:
    low, high, _, _ = bounds(layer)
    column = (-1,) + (1,) * (len(shape) - 1 - axis % len(shape))
    return Box(shape, np.reshape(low, column), np.reshape(high, column), _fresh(index, shape))


def _propagate(
    node: onnx.NodeProto, boxes: list[Box], constants: Constants, model: onnx.ModelProto, index: int
) -> Box | None:
    """The box behind a node that is no layer; None where the integers end."""
    box = boxes[0]
    match node.op_type:
        case "MultiThreshold":
            count = _count(node, _whole(constants[node.input[1]], node), len(box.shape))
            return None if count is None else _mapped(box, box.shape, count, box.ids)
        case "Mul" | "Add" if len(boxes) == 1 and len(node.input) == 2:
            other = next((constants[n] for n in node.input if n in constants), None)
            if other is None or not (np.rint(other) == other).all():
                return None
            c, shape = _whole(other, node), np.broadcast_shapes(box.shape, other.shape)
            if node.op_type == "Add":
                return _mapped(box, shape, lambda q: q + c, box.ids)
            reach = np.maximum(np.abs(box.lo), np.abs(box.hi)).astype(float) * np.abs(c)
            if reach.max(initial=0) > _LIMIT:
                raise Rejected(f"{node.name}: values beyond 2**53")
            return _mapped(box, shape, lambda q: q * c, box.ids * np.sign(c))
        case "Max" | "Min" if len(boxes) == 1 and len(node.input) == 2:
            bound = _whole(constants[node.input[1]], node)
            clip = np.maximum if node.op_type == "Max" else np.minimum
            return _mapped(box, box.shape, lambda q: clip(q, bound), box.ids)
        case "Add" if len(boxes) == 2:
            return _sum(boxes[0], boxes[1], index)
        case "MaxPool" | "GlobalMaxPool":
            shape = _written_shape(model, node)
            column = (-1,) + (1,) * (len(shape) - 2)
            lo, hi, _ = box.along(1)
            return Box(shape, lo.reshape(column), hi.reshape(column), _fresh(index, shape))
        case op if op in _REARRANGING:
            return _rearranged(node, boxes, constants, model)
        case _:
            return None


def _written_shape(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[int, ...]:
    for value in (*model.graph.value_info, *model.graph.output):
        if value.name == node.output[0]:
            return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    raise Rejected(f"{node.name}: the model does not tell the shape of its output")


def _rearranged(
    node: onnx.NodeProto, boxes: list[Box], constants: Constants, model: onnx.ModelProto
) -> Box:
    """Bounds and identities where the operator, run on the numbers of the elements, puts them."""
    float_, int_ = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    names = [name for name in node.input if name and name not in constants]
    graph = helper.make_graph(
        [node],
        "rearranged",
        [helper.make_tensor_value_info(n, int_, None) for n in dict.fromkeys(names)],
        [helper.make_tensor_value_info(node.output[0], float_, None)],
        [numpy_helper.from_array(constants[n], n) for n in set(node.input) & set(constants)],
    )
    number, start = {}, 0
    for name, box in dict(zip(names, boxes, strict=True)).items():
        number[name] = np.arange(start, start + int(np.prod(box.shape))).reshape(box.shape)
        start += number[name].size
    parts = zip(*(b.full() for b in dict(zip(names, boxes, strict=True)).values()), strict=True)
    whole = helper.make_model(graph, opset_imports=model.opset_import)
    taken = np.asarray(ReferenceEvaluator(whole).run(None, number)[0])
    at = taken.astype(np.int64)
    if not (at == taken).all() or at.min(initial=0) < 0 or at.max(initial=0) >= start:
        raise Rejected(f"{node.name}: computes, where it should rearrange")
    lo, hi, ids = (np.concatenate([a.ravel() for a in p])[at] for p in parts)
    return Box(at.shape, lo, hi, ids)


def _fresh(index: int, shape: tuple[int, ...]) -> Ints:
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
    ids, root = _fresh(index, shape), a.root or a
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


def _whole(array: NDArray[Any], node: onnx.NodeProto) -> Ints:
    if not (np.rint(array) == array).all() or (np.abs(array) >= _LIMIT).any():
        raise Rejected(f"{node.name}: constants that are no integers below 2**53")
    return array.astype(np.int64)


def _preference(mask: NDArray[np.bool_]) -> tuple[int, bytes]:
    """The class with most taps comes first, then by pattern."""
    return -int(mask.sum()), np.packbits(~mask).tobytes()
