"""The integer model that a certificate is about: its layers, and the boxes of their inputs.

Part of the checker `sira.certificate`, and like it free of the rest of `sira`. Boxes follow from
the declared input by induction, each element by itself (`sira.certificate_boxes`).
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

from sira.certificate_boxes import (
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
class Layer:
    """A MatMul, Conv or ConvTranspose: weights (N, I, taps) over the channels that outputs read."""

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
        boxes[value.name] = Box(shape, np.array(lo), np.array(hi), fresh(index, shape))
    for index, node in enumerate(graph.node, len(graph.input)):
        computed = [name for name in node.input if name and name not in constants]
        known = [boxes[name] for name in computed if name in boxes]
        if node.op_type in _MULTIPLYING:
            if not known or len(node.input) != 2 or computed != [node.input[0]]:
                raise Rejected(f"{node.name}: not a known input times constant weights")
            layer, shape = _layer(node, known[0], constants)
            yield layer
            found = [_accumulated(layer, shape, -1 if node.op_type == "MatMul" else 1, index)]
        elif not known or len(known) < len(computed):
            continue  # floating point behind the last integer
        else:
            found = propagate(node, known, constants, model, index)
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
    w, every = whole(constants[node.input[1]], node), box.full()[2]
    if node.op_type == "MatMul":
        if w.ndim != 2 or box.shape[-1] != len(w):
            raise Rejected(f"{node.name}: weights {w.shape} do not fit the input {box.shape}")
        lo, hi, level = box.along(-1)
        weights, masks = w.T[:, :, None], np.ones((1, 1), bool)
        ids = every.reshape(-1, len(w))[0].reshape(1, 1, -1, 1)
        output = (*box.shape[:-1], w.shape[1])
    else:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        groups, transposed = int(attributes.get("group", 1)), node.op_type == "ConvTranspose"
        if transposed and w.ndim > 2 and len(w) % groups == 0:  # (I, N / groups, ...) so far
            w = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
            w = w.reshape(-1, *w.shape[2:])
        if len(w) % groups or w.ndim != len(box.shape) or box.shape[1] != groups * w.shape[1]:
            raise Rejected(f"{node.name}: weights {w.shape} do not fit the input {box.shape}")
        lo, hi, level = box.along(1)
        copies = len(w) // groups
        lo, hi, level = (
            np.repeat(lo.reshape(groups, -1), copies, axis=0),
            np.repeat(hi.reshape(groups, -1), copies, axis=0),
            np.repeat(level.reshape(groups, -1), copies, axis=0),
        )
        reads = _reads_of_transposed if transposed else _reads
        masks, taps, size = _classes(
            node.name, box.shape[2:], reads(node.name, box.shape[2:], w.shape[2:], attributes)
        )
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
    if reach.sum(axis=1).max(initial=0) > LIMIT:
        raise Rejected(f"{node.name}: sums beyond 2**53")
    return Layer(node.name, node.output[0], weights, lo, hi, level, masks, ids), output


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


def _accumulated(layer: Layer, shape: tuple[int, ...], axis: int, index: int) -> Box:
    low, high, _, _ = bounds(layer)
    column = (-1,) + (1,) * (len(shape) - 1 - axis % len(shape))
    return Box(shape, np.reshape(low, column), np.reshape(high, column), fresh(index, shape))


def _preference(mask: NDArray[np.bool_]) -> tuple[int, bytes]:
    """The class with most taps comes first, then by pattern."""
    return -int(mask.sum()), np.packbits(~mask).tobytes()
