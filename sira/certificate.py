"""A certificate of accumulator ranges, and a checker that shares nothing with the analysis.

``python -m sira.certificate MODEL CERTIFICATE`` reads an integer model (the last stage of a build)
and proves every claim of the certificate again, with numpy and integers alone:

- The box of the input is the one that the model declares; every other box follows by induction,
  layer by layer, each channel by itself.
- For every channel of every MatMul and Conv the bounds hold for all inputs in the box, and no
  tighter ones do: a corner of the box attains each.
- The witness names that corner, a bit for each weight: 1 for the upper end, 0 for the lower end and
  where the weight is 0. At borders it names the taps that read input.
- The widths hold the ranges: ``(hi - lo).bit_length()`` for wrapping adders.

Where two inputs of a layer are copies of one element their corner may be out of reach: then the
certificate says ``attained: false`` and why. A certificate with any claim changed is rejected.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

FORMAT = "sira certificate 1"
RANGE = "sira.range"
_LIMIT = 2**53

Ints = NDArray[np.int64]


class Rejected(Exception):
    """The certificate is not true of the model; the text says where."""


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds that broadcast to a tensor of ``shape``, and which element each entry copies.

    ``ids`` broadcasts alike; equal numbers at one position mean copies of one element.
    """

    shape: tuple[int, ...]
    lo: Ints
    hi: Ints
    ids: Ints

    def along(self, axis: int) -> tuple[Ints, Ints, Ints]:
        """Worst bounds, and identities, for each index of ``axis``."""
        n, rank = self.shape[axis], len(self.shape)
        others = tuple(i for i in range(rank) if i != axis % rank)

        def vector(a: Ints, f: Any) -> Ints:
            full = a.reshape((1,) * (rank - a.ndim) + a.shape)
            return np.broadcast_to(f(full, axis=others), (n,))

        return vector(self.lo, np.min), vector(self.hi, np.max), vector(self.ids, np.min)


@dataclass(frozen=True, eq=False)
class Layer:
    """A MatMul or Conv as rows of weights (N, I, taps) over its input's channels."""

    name: str
    tensor: str
    weights: Ints
    lo: Ints  # (N, I), of the inputs each output reads
    hi: Ints
    ids: Ints
    masks: NDArray[np.bool_]  # (classes, taps): which taps read input


def layers(model: onnx.ModelProto) -> Iterator[Layer]:
    """The multiply-accumulate layers of an integer model with the boxes of their inputs."""
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    boxes: dict[str, Box] = {}
    for value in graph.input:
        lo, hi = declared(value)
        shape = shapes[value.name]
        boxes[value.name] = Box(shape, np.array(lo), np.array(hi), _fresh(shape))
    for node in graph.node:
        computed = [name for name in node.input if name and name not in constants]
        if any(name not in boxes for name in computed):
            if node.op_type in ("MatMul", "Conv"):
                raise Rejected(f"{node.name}: nothing is known of its input")
            continue  # floating point behind the last integer
        shape = shapes.get(node.output[0], ())
        if node.op_type in ("MatMul", "Conv"):
            layer = _layer(node, boxes[computed[0]], constants)
            yield layer
            boxes[node.output[0]] = _accumulated(layer, node.op_type, shape)
        else:
            box = _propagate(node, [boxes[name] for name in computed], constants, shape)
            if box is not None:
                boxes[node.output[0]] = box


def declared(value: onnx.ValueInfoProto) -> tuple[int, int]:
    """The box of a graph input, as the model states it."""
    for entry in value.metadata_props:
        if entry.key == RANGE:
            lo, hi = (int(v) for v in entry.value.split())
            return lo, hi
    raise Rejected(f"input {value.name}: the model declares no range")


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


def entry(layer: Layer) -> dict[str, Any]:
    """Everything a certificate has to say of a layer."""
    low, high, low_class, high_class = bounds(layer)
    copies = [_copies(layer, n) for n in range(len(layer.weights))]
    return {
        "layer": layer.name,
        "tensor": layer.tensor,
        "input": {"lo": _runs(layer.lo), "hi": _runs(layer.hi)},
        "lo": low,
        "hi": high,
        "bits": [(b - a).bit_length() for a, b in zip(low, high, strict=True)],
        "lo_witness": [_corner(layer, n, c, -1) for n, c in enumerate(low_class)],
        "hi_witness": [_corner(layer, n, c, 1) for n, c in enumerate(high_class)],
        "lo_border": [_hex(layer.masks[c]) for c in low_class],
        "hi_border": [_hex(layer.masks[c]) for c in high_class],
        "attained": all(c is None for c in copies),
        "why": next((c for c in copies if c is not None), ""),
    }


def check(model_bytes: bytes, certificate: dict[str, Any]) -> int:
    """Prove every claim; returns the number of channels. Raises `Rejected`."""
    if certificate.get("format") != FORMAT:
        raise Rejected(f"format: expected {FORMAT!r}, found {certificate.get('format')!r}")
    digest = hashlib.sha256(model_bytes).hexdigest()
    if certificate.get("model_sha256") != digest:
        raise Rejected("the certificate is of another model")
    model = onnx.load_model_from_string(model_bytes)
    inputs = {v.name: list(declared(v)) for v in model.graph.input}
    if certificate.get("inputs") != inputs:
        raise Rejected(f"inputs: expected {inputs}, found {certificate.get('inputs')}")
    if set(certificate) != {"format", "model_sha256", "inputs", "layers"}:
        raise Rejected(f"unknown claims {sorted(set(certificate))}")
    claims = certificate["layers"]
    channels = 0
    found = list(layers(model))
    if len(found) != len(claims):
        raise Rejected(f"{len(claims)} layers are claimed, the model has {len(found)}")
    for layer, claim in zip(found, claims, strict=True):
        _evaluate_witnesses(layer, claim)
        wanted = entry(layer)
        if claim != wanted:
            keys = sorted(k for k in {*claim, *wanted} if claim.get(k) != wanted.get(k))
            raise Rejected(f"{layer.name}: {', '.join(keys)} not proved")
        channels += len(layer.weights)
    return channels


def _evaluate_witnesses(layer: Layer, claim: dict[str, Any]) -> None:
    """Each witness, put into the sum, gives the claimed bound."""
    for side in ("lo", "hi"):
        witnesses, borders = claim.get(f"{side}_witness", []), claim.get(f"{side}_border", [])
        for n, value in enumerate(claim.get(side, [])):
            try:
                corner = _bits(witnesses[n], layer.weights[n].size).reshape(layer.weights[n].shape)
                mask = _bits(borders[n], layer.masks.shape[1])
            except (IndexError, TypeError, ValueError):
                raise Rejected(f"{layer.name}: channel {n} has no {side} witness") from None
            inputs = np.where(corner, layer.hi[n][:, None], layer.lo[n][:, None])
            if int((layer.weights[n] * inputs)[:, mask].sum()) != value:
                raise Rejected(f"{layer.name}: the {side} witness of channel {n} misses {value}")


def _layer(node: onnx.NodeProto, box: Box, constants: dict[str, NDArray[Any]]) -> Layer:
    w = _whole(constants[node.input[1]], node)
    if node.op_type == "MatMul":
        lo, hi, ids = box.along(-1)
        shape = (w.shape[1], w.shape[0])
        masks = np.ones((1, 1), bool)
        weights = w.T[:, :, None]
    else:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        groups = int(attributes.get("group", 1))
        lo, hi, ids = (
            np.repeat(v.reshape(groups, -1), len(w) // groups, axis=0) for v in box.along(1)
        )
        shape = w.shape[:2]
        masks = _masks(box.shape[2:], w.shape[2:], attributes)
        weights = w.reshape(*shape, -1)
    lo, hi, ids = (np.broadcast_to(v, shape) for v in (lo, hi, ids))
    reach = np.abs(weights).sum(axis=2) * np.maximum(np.abs(lo), np.abs(hi))
    if float(reach.astype(np.float64).sum(axis=1).max(initial=0)) > _LIMIT:
        raise Rejected(f"{node.name}: sums beyond 2**53")
    return Layer(node.name, node.output[0], weights, lo, hi, ids, masks)


def _masks(
    size: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> NDArray[np.bool_]:
    """The distinct sets of taps that read input, over all positions of a convolution."""
    n = len(size)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Rejected("auto_pad is not supported")
    strides = attributes.get("strides", [1] * n)
    dilations = attributes.get("dilations", [1] * n)
    pads = attributes.get("pads", [0] * 2 * n)
    axes = []
    for i in range(n):
        last = size[i] + pads[i] + pads[n + i] - dilations[i] * (kernel[i] - 1) - 1
        patterns = {
            tuple(0 <= start + k * dilations[i] - pads[i] < size[i] for k in range(kernel[i]))
            for start in range(0, last + 1, strides[i])
        }
        axes.append(sorted(patterns))
    return np.array([[all(taps) for taps in product(*chosen)] for chosen in product(*axes)])


def _accumulated(layer: Layer, op_type: str, shape: tuple[int, ...]) -> Box:
    low, high, _, _ = bounds(layer)
    column = (1, -1) + (1,) * (len(shape) - 2) if op_type == "Conv" else (-1,)
    return Box(shape, np.reshape(low, column), np.reshape(high, column), _fresh(shape))


def _propagate(
    node: onnx.NodeProto,
    boxes: list[Box],
    constants: dict[str, NDArray[Any]],
    shape: tuple[int, ...],
) -> Box | None:
    """The box behind a node that is no layer; None where the integers end."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    box = boxes[0]
    match node.op_type:
        case "MultiThreshold":
            return _counted(box, _whole(constants[node.input[1]], node), attributes)
        case "Mul" | "Add" if len(boxes) == 1:
            other = constants[next(n for n in node.input if n in constants)]
            if not (np.rint(other) == other).all():
                return None
            ends = [
                b * _whole(other, node) if node.op_type == "Mul" else b + _whole(other, node)
                for b in (box.lo, box.hi)
            ]
            return Box(shape, np.minimum(*ends), np.maximum(*ends), box.ids)
        case "Add":
            return Box(shape, box.lo + boxes[1].lo, box.hi + boxes[1].hi, _fresh(shape))
        case "MaxPool" | "GlobalMaxPool":
            lo, hi, _ = box.along(1)
            column = (1, -1) + (1,) * (len(shape) - 2)
            return Box(shape, lo.reshape(column), hi.reshape(column), _fresh(shape))
        case "Reshape" | "Flatten":
            return Box(shape, *(a.reshape(shape) for a in _full(box)))
        case "Transpose":
            perm = attributes.get("perm", list(range(len(shape)))[::-1])
            return Box(shape, *(a.transpose(perm) for a in _full(box)))
        case "Concat":
            parts = zip(*(_full(b) for b in boxes), strict=True)
            return Box(shape, *(np.concatenate(p, axis=attributes["axis"]) for p in parts))
        case _:
            return None


def _full(box: Box) -> tuple[Ints, Ints, Ints]:
    """Bounds and identities of every element."""
    lo, hi, ids = (np.broadcast_to(a, box.shape) for a in (box.lo, box.hi, box.ids))
    return lo, hi, ids


_counter = [0]


def _fresh(shape: tuple[int, ...]) -> Ints:
    """New identities: one for each element."""
    n = int(np.prod(shape))
    _counter[0] += n
    return np.arange(_counter[0] - n, _counter[0]).reshape(shape)


def _counted(box: Box, thresholds: Ints, attributes: dict[str, Any]) -> Box:
    rank = len(box.shape)
    layout = attributes.get("data_layout", b"").decode() or {2: "NC", 3: "NWC", 4: "NCHW"}[rank]
    axis = layout.index("C")
    steps = thresholds.reshape(len(thresholds), *(1,) * (rank - 1 - axis), thresholds.shape[1])
    base = int(attributes.get("out_bias", 0.0))
    lo, hi = ((b[..., None] >= steps).sum(axis=-1) + base for b in (box.lo, box.hi))
    return Box(box.shape, lo, hi, box.ids)


def _whole(array: NDArray[Any], node: onnx.NodeProto) -> Ints:
    if not (np.rint(array) == array).all() or (np.abs(array) >= _LIMIT).any():
        raise Rejected(f"{node.name}: constants that are no integers below 2**53")
    return array.astype(np.int64)


def _preference(mask: NDArray[np.bool_]) -> tuple[int, bytes]:
    """The class with most taps comes first, then by pattern."""
    return -int(mask.sum()), np.packbits(~mask).tobytes()


def _corner(layer: Layer, n: int, c: int, sign: int) -> str:
    return _hex(((layer.weights[n] * sign > 0) & layer.masks[c]).reshape(-1))


def _copies(layer: Layer, n: int) -> str | None:
    """Why the corner of output ``n`` may be out of reach, or None."""
    read = (layer.weights[n] != 0).any(axis=1)
    ids = layer.ids[n][read]
    if len(np.unique(ids)) == len(ids):
        return None
    values, counts = np.unique(ids, return_counts=True)
    inputs = np.flatnonzero(read & (layer.ids[n] == values[counts > 1][0]))
    return f"inputs {inputs[0]} and {inputs[1]} are copies of one element"


def _hex(bits: NDArray[np.bool_]) -> str:
    return np.packbits(bits.reshape(-1)).tobytes().hex()


def _bits(text: str, count: int) -> NDArray[np.bool_]:
    """Bits of a hexadecimal string of exactly the length that ``count`` bits need."""
    raw = np.frombuffer(bytes.fromhex(text), np.uint8)
    bits = np.unpackbits(raw)
    if len(raw) != (count + 7) // 8 or bits[count:].any():
        raise ValueError("wrong length")
    return bits[:count].astype(bool)


def _runs(values: Ints) -> list[list[int]]:
    """A matrix of bounds as [value, how often] in row-major order."""
    flat = np.asarray(values).reshape(-1)
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    lengths = np.diff(np.r_[starts, len(flat)])
    return [[int(flat[s]), int(n)] for s, n in zip(starts, lengths, strict=True)]


def read(path: Path) -> dict[str, Any]:
    """A certificate file: JSON, gzipped or plain."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    contents = json.loads(data)
    if not isinstance(contents, dict) or not isinstance(contents.get("layers"), list):
        raise Rejected("not a certificate")
    return contents


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: proved; 1: rejected; 2: cannot be read."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 2:
        print("usage: python -m sira.certificate MODEL.onnx CERTIFICATE", file=sys.stderr)
        return 2
    model, certificate = (Path(a) for a in arguments)
    try:
        channels = check(model.read_bytes(), read(certificate))
    except Rejected as error:
        print(f"rejected: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError, EOFError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"proved: bounds, widths and witnesses of {channels} channels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
