"""The integer model that a certificate is about: its layers, and the boxes of their inputs.

Part of the checker `sira.certificate`, and like it free of the rest of `sira`. Boxes follow from
the declared input by induction, each element by itself (`sira.certificate.boxes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sira.certificate.boxes import (
    LIMIT,
    Bools,
    Box,
    Constants,
    Ints,
    Rejected,
    fresh,
    propagate,
    whole,
)

RANGE = "sira.range"

_MULTIPLYING = ("MatMul", "Conv", "ConvTranspose")


@dataclass(frozen=True, eq=False)
class ClaimedLayer:
    """A MatMul, Conv or ConvTranspose: weights (N, I, taps) over the channels that outputs read.

    Positions fall into classes: in a convolution by the taps that read input, in a MatMul by the
    bounds of the row that is read.
    """

    name: str
    tensor: str
    weights: Ints
    lo: Ints  # (classes, N, I)
    hi: Ints
    level: Bools  # (N, I): these bounds hold at every position of the class
    masks: Bools  # (classes, taps): which taps read input
    ids: Ints  # (classes, groups, I, taps): the elements read at one position of the class


def layers(model: onnx.ModelProto) -> Iterator[ClaimedLayer]:
    """The multiply-accumulate layers of an integer model with the boxes of their inputs."""
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    boxes: dict[str, Box] = {}
    ends: dict[str, str] = {}  # tensors without a box, and the operator behind which there is none
    for index, value in enumerate(graph.input):
        lo, hi = declared(value)
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        boxes[value.name] = Box(shape, np.array(lo), np.array(hi), fresh(index, shape))
    for index, node in enumerate(graph.node, len(graph.input)):
        computed = [name for name in node.input if name and name not in constants]
        known = [boxes[name] for name in computed if name in boxes]
        if node.op_type in _MULTIPLYING:
            if not known or len(node.input) != 2 or computed != [node.input[0]]:
                unknown = [ends[name] for name in computed if name in ends]
                why = f", as the checker does not know {unknown[0]}" if unknown else ""
                raise Rejected(f"{node.name}: not a known input times constant weights{why}")
            layer, sums = _layer(node, known[0], constants, index)
            yield layer
            found = [sums]
        elif not known or len(known) < len(computed):
            found = []  # floating point behind the last integer
        else:
            found = propagate(node, known, constants, model, index)
        if not found:
            end = next((ends[n] for n in computed if n in ends), f"{node.op_type} {node.name}")
            ends |= dict.fromkeys(node.output, end)
        for name, box in zip(node.output, found, strict=False):
            if max(np.abs(box.lo).max(initial=0), np.abs(box.hi).max(initial=0)) > LIMIT:
                raise Rejected(f"{node.name}: values beyond 2**53")
            boxes[name] = box


def declared(value: onnx.ValueInfoProto) -> tuple[int, int]:
    """The box of a graph input, as the model states it."""
    for entry in value.metadata_props:
        if entry.key == RANGE:
            lo, hi = (int(v) for v in entry.value.split())
            if not -LIMIT <= lo <= hi <= LIMIT:
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


def bounds(layer: ClaimedLayer) -> tuple[list[int], list[int], list[int], list[int]]:
    """Smallest and largest sum of each output, and the class of positions that attains each."""
    lo, hi = _sums(layer)
    order = sorted(range(len(layer.masks)), key=lambda c: _preference(layer.masks[c]))
    low_class = np.array(order)[lo[order].argmin(axis=0)]
    high_class = np.array(order)[hi[order].argmax(axis=0)]
    return lo.min(axis=0).tolist(), hi.max(axis=0).tolist(), low_class.tolist(), high_class.tolist()


def _sums(layer: ClaimedLayer) -> tuple[Ints, Ints]:
    """The smallest and largest sums (classes, N)."""
    ends = []
    for mask, lo, hi in zip(layer.masks, layer.lo, layer.hi, strict=True):
        w = layer.weights[:, :, mask]
        up, down = np.maximum(w, 0).sum(axis=2), np.minimum(w, 0).sum(axis=2)
        ends.append(((up * lo + down * hi).sum(axis=1), (up * hi + down * lo).sum(axis=1)))
    low, high = zip(*ends, strict=True)
    return np.array(low), np.array(high)


def _layer(
    node: onnx.NodeProto, box: Box, constants: Constants, index: int
) -> tuple[ClaimedLayer, Box]:
    """A layer, and the box of its output, the tensor number ``index``."""
    w = whole(constants[node.input[1]], node)
    if node.op_type == "MatMul":
        return _matmul(node, box, w, index)
    return _convolution(node, box, w, index)


def _matmul(node: onnx.NodeProto, box: Box, w: Ints, index: int) -> tuple[ClaimedLayer, Box]:
    """Rows of different bounds are different classes."""
    if w.ndim != 2 or box.shape[-1] != len(w):
        raise Rejected(f"{node.name}: weights {w.shape} do not fit the input {box.shape}")
    lo, hi, ids = (a.reshape(-1, len(w)) for a in box.full())
    first, members = np.zeros(1, np.int64), np.zeros(len(lo), np.int64)
    if (lo != lo[0]).any() or (hi != hi[0]).any():
        rows = np.concatenate([lo, hi], axis=1)
        _, first, members = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    shape = (len(first), w.shape[1], len(w))
    layer = ClaimedLayer(
        node.name, node.output[0], w.T[:, :, None],
        np.broadcast_to(lo[first, None], shape), np.broadcast_to(hi[first, None], shape),
        np.ones(shape[1:], bool), np.ones((len(first), 1), bool), ids[first, None, :, None],
    )  # fmt: skip
    _check_reach(layer)
    size = (*box.shape[:-1], w.shape[1])
    low, high = (a[members.reshape(-1)].reshape(size) for a in _sums(layer))
    return layer, Box(size, low, high, fresh(index, size))


def _convolution(node: onnx.NodeProto, box: Box, w: Ints, index: int) -> tuple[ClaimedLayer, Box]:
    """Positions that pad alike are a class; channels count with their worst bounds."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    groups, transposed = int(attributes.get("group", 1)), node.op_type == "ConvTranspose"
    if transposed and w.ndim > 2 and len(w) % groups == 0:  # (I, N / groups, ...) so far
        w = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
        w = w.reshape(-1, *w.shape[2:])
    if len(w) % groups or w.ndim != len(box.shape) or box.shape[1] != groups * w.shape[1]:
        raise Rejected(f"{node.name}: weights {w.shape} do not fit the input {box.shape}")
    lo, hi, level = (
        np.repeat(a.reshape(groups, -1), len(w) // groups, axis=0) for a in box.along(1)
    )
    reads = _reads_of_transposed if transposed else _reads
    masks, taps, positions = _classes(
        node.name, box.shape[2:], reads(node.name, box.shape[2:], w.shape[2:], attributes)
    )
    read = box.full()[2][0].reshape(box.shape[1], -1)[:, taps]
    layer = ClaimedLayer(
        node.name, node.output[0], w.reshape(*w.shape[:2], -1),
        np.broadcast_to(lo, (len(masks), *lo.shape)), np.broadcast_to(hi, (len(masks), *hi.shape)),
        level.astype(bool), masks,
        np.moveaxis(read, 1, 0).reshape(len(masks), groups, w.shape[1], -1),
    )  # fmt: skip
    _check_reach(layer)
    low, high, _, _ = bounds(layer)
    size, column = (box.shape[0], len(w), *positions), (-1,) + (1,) * len(positions)
    return layer, Box(size, np.reshape(low, column), np.reshape(high, column), fresh(index, size))


def _check_reach(layer: ClaimedLayer) -> None:
    """That float64 holds all sums, and that int64 computes them."""
    heaviest = np.abs(layer.weights).astype(float).sum(axis=2)
    furthest = np.maximum(np.abs(layer.lo), np.abs(layer.hi)).max(axis=0)
    if (heaviest * furthest).sum(axis=1).max(initial=0) > LIMIT:
        raise Rejected(f"{layer.name}: sums beyond 2**53")


def _reads(
    name: str, size: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> list[Ints]:
    """Where each tap of each position (positions, taps) reads, for each axis of a convolution.

    What lies outside of the input is padding.
    """
    strides, dilations, pads = _geometry(name, len(size), attributes)
    reads = []
    for i, (length, taps) in enumerate(zip(size, kernel, strict=True)):
        last = length + pads[i] + pads[len(size) + i] - dilations[i] * (taps - 1) - 1
        starts = np.arange(0, last + 1, strides[i])
        reads.append(starts[:, None] + dilations[i] * np.arange(taps) - pads[i])
    return reads


def _reads_of_transposed(
    name: str, size: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> list[Ints]:
    """The same for a transposed convolution, whose taps read where the stride divides; else -1."""
    n = len(size)
    strides, dilations, pads = _geometry(name, n, attributes)
    more = attributes.get("output_padding", [0] * n)
    if attributes.get("output_shape"):
        raise Rejected(f"{name}: output_shape is not supported")
    reads = []
    for i, (length, taps) in enumerate(zip(size, kernel, strict=True)):
        whole_length = strides[i] * (length - 1) + more[i] + dilations[i] * (taps - 1) + 1
        positions = np.arange(whole_length - pads[i] - pads[n + i])
        at = positions[:, None] + pads[i] - dilations[i] * np.arange(taps)
        reads.append(np.where(at % strides[i] == 0, at // strides[i], -1))
    return reads


def _geometry(
    name: str, n: int, attributes: dict[str, Any]
) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations and pads."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Rejected(f"{name}: auto_pad is not supported")
    strides, dilations = (attributes.get(k, [1] * n) for k in ("strides", "dilations"))
    return strides, dilations, attributes.get("pads", [0] * 2 * n)


def _classes(
    name: str, size: tuple[int, ...], reads: list[Ints]
) -> tuple[Bools, Ints, tuple[int, ...]]:
    """The distinct sets of taps that read input, over all positions of a convolution.

    Returns them (classes, taps), the elements read by the first position of each class, and the
    size of the output.
    """
    axes = []
    for length, at_all in zip(size, reads, strict=True):
        patterns: dict[tuple[bool, ...], Ints] = {}
        for at in at_all:
            inside = (at >= 0) & (at < length)
            patterns.setdefault(tuple(inside.tolist()), np.clip(at, 0, length - 1))
        axes.append(sorted(patterns.items(), key=lambda item: item[0]))
    chosen = list(product(*axes))
    if not chosen:
        raise Rejected(f"{name}: the kernel is larger than the input")
    masks = [[all(taps) for taps in product(*(p for p, _ in axis))] for axis in chosen]
    taps = [np.ravel_multi_index(np.ix_(*(at for _, at in axis)), size).ravel() for axis in chosen]
    return np.array(masks), np.array(taps), tuple(len(at_all) for at_all in reads)


def _preference(mask: NDArray[np.bool_]) -> tuple[int, bytes]:
    """The class with most taps comes first, then by pattern."""
    return -int(mask.sum()), np.packbits(~mask).tobytes()
