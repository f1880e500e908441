"""A certificate of accumulator ranges, and a checker that shares nothing with the analysis.

``python -m sira.certificate MODEL CERTIFICATE`` reads an integer model (the last stage of a build)
and proves every claim of the certificate again, with numpy and integers alone:

- The box of the input is the one that the model declares; every other box follows by induction,
  layer by layer, each channel by itself.
- For every channel of every MatMul, Conv and ConvTranspose the bounds hold for all inputs in the
  box, and no tighter ones do: a corner of the box attains each.
- The witness names that corner, a bit for each weight: 1 for the upper end, 0 for the lower end and
  where the weight is 0. At borders it names the taps that read input. Where rows of a MatMul have
  different boxes, all of these are claimed, and the corner is that of one of them.
- The widths hold the ranges: ``(hi - lo).bit_length()`` for wrapping adders; and so does the
  datatype with which the model annotates each accumulator.

A corner takes the inputs of a layer as independent of each other, except for copies of one element.
Where a corner wants both ends of one element, or ends from different positions, it may be out of
reach: then the certificate says ``attained: false`` and why.

There is one certificate of a model: with any claim changed, it is rejected.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from sira.certificate.boxes import Bools, Ints, Rejected
from sira.certificate.model import ClaimedLayer, bounds, datatypes, declared, layers

FORMAT = "sira certificate 1"


def entry(layer: ClaimedLayer) -> dict[str, Any]:
    """Everything a certificate has to say of a layer."""
    low, high, low_class, high_class = bounds(layer)
    copies = len(layer.weights) // layer.ids.shape[1]  # outputs that read the same inputs
    whys = (
        why
        for n, classes in enumerate(zip(low_class, high_class, strict=True))
        for sign, c in zip((-1, 1), classes, strict=True)
        if (why := _unattained(layer, n, c, sign))
    )
    why = next(whys, "")
    same = bool((layer.lo == layer.lo[0]).all() and (layer.hi == layer.hi[0]).all())
    boxes = slice(1 if same else None), slice(None, None, copies)
    return {
        "layer": layer.name,
        "tensor": layer.tensor,
        "input": {"lo": _runs(layer.lo[boxes]), "hi": _runs(layer.hi[boxes])},
        "lo": low,
        "hi": high,
        "bits": [(b - a).bit_length() for a, b in zip(low, high, strict=True)],
        "lo_witness": [_corner(layer, n, c, -1) for n, c in enumerate(low_class)],
        "hi_witness": [_corner(layer, n, c, 1) for n, c in enumerate(high_class)],
        "lo_border": [_hex(layer.masks[c]) for c in low_class],
        "hi_border": [_hex(layer.masks[c]) for c in high_class],
        "attained": not why,
        "why": why,
    }


def check(model_bytes: bytes, certificate: dict[str, Any]) -> int:
    """Prove every claim; returns the number of channels. Raises `Rejected`."""
    model = onnx.load_model_from_string(model_bytes)
    wanted = {
        "format": FORMAT,
        "model_sha256": hashlib.sha256(model_bytes).hexdigest(),
        "inputs": {v.name: list(declared(v)) for v in model.graph.input},
    }
    for key, value in wanted.items():
        if not _same(certificate.get(key), value):
            raise Rejected(f"{key}: expected {value}, found {certificate.get(key)}")
    if set(certificate) != {*wanted, "layers"}:
        raise Rejected(f"expected {[*wanted, 'layers']}, found {list(certificate)}")
    claims, types, channels = certificate["layers"], datatypes(model), 0
    found = list(layers(model))
    if not isinstance(claims, list) or len(found) != len(claims):
        raise Rejected(f"the model has {len(found)} layers, and other ones are claimed")
    for layer, claim in zip(found, claims, strict=True):
        proved = entry(layer)
        if not isinstance(claim, dict) or set(claim) != set(proved):
            raise Rejected(f"{layer.name}: expected the claims {list(proved)}")
        wrong = [key for key, value in proved.items() if not _same(claim[key], value)]
        if wrong:
            raise Rejected(f"{layer.name}: {', '.join(wrong)} not proved")
        _evaluate_witnesses(layer, claim)
        lowest, highest = types.get(layer.tensor, (-np.inf, np.inf))
        if min(claim["lo"]) < lowest or max(claim["hi"]) > highest:
            raise Rejected(f"{layer.name}: the datatype of {layer.tensor} does not hold its range")
        channels += len(layer.weights)
    return channels


def _same(a: Any, b: Any) -> bool:
    """Equality of JSON values, which tells 1 from true and from 1.0."""
    return a == b and json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _evaluate_witnesses(layer: ClaimedLayer, claim: dict[str, Any]) -> None:
    """Put each witness into the sum: it must give the claimed bound."""
    for side in ("lo", "hi"):
        witnesses, borders = claim[f"{side}_witness"], claim[f"{side}_border"]
        for n, value in enumerate(claim[side]):
            corner = _bits(witnesses[n], layer.weights[n].size).reshape(layer.weights[n].shape)
            mask = _bits(borders[n], layer.masks.shape[1])
            sums = {
                int((layer.weights[n] * np.where(corner, hi[:, None], lo[:, None]))[:, mask].sum())
                for lo, hi, inside in zip(layer.lo[:, n], layer.hi[:, n], layer.masks, strict=True)
                if np.array_equal(inside, mask)
            }
            if value not in sums:
                raise Rejected(f"{layer.name}: the {side} witness of channel {n} misses {value}")


def _corner(layer: ClaimedLayer, n: int, c: int, sign: int) -> str:
    return _hex(((layer.weights[n] * sign > 0) & layer.masks[c]).reshape(-1))


def _unattained(layer: ClaimedLayer, n: int, c: int, sign: int) -> str:
    """Why the corner of output ``n`` in border class ``c`` may be out of reach, or nothing."""
    w = layer.weights[n]
    channel, tap = np.nonzero(
        (w != 0) & layer.masks[c] & (layer.lo[c, n] < layer.hi[c, n])[:, None]
    )
    uneven = channel[~layer.level[n][channel]]
    if len(uneven):
        return f"channel {n}: bounds of input {uneven[0]} differ between positions"
    group = n * layer.ids.shape[1] // len(layer.weights)
    ids = layer.ids[c, group][channel, tap]
    order = np.argsort(np.abs(ids), kind="stable")
    ids, upper = ids[order], ((w[channel, tap] * sign > 0) ^ (ids < 0))[order]
    clash = np.flatnonzero((np.abs(ids[1:]) == np.abs(ids[:-1])) & (upper[1:] != upper[:-1]))
    if not len(clash):
        return ""
    a, b = channel[order[clash[0]]], channel[order[clash[0] + 1]]
    return f"channel {n}: inputs {a} and {b} are copies of one element and want both its ends"


def _hex(bits: Bools) -> str:
    return np.packbits(bits.reshape(-1)).tobytes().hex()


def _bits(text: str, count: int) -> Bools:
    """Bits of a hexadecimal string of exactly the length that ``count`` bits need."""
    raw = np.frombuffer(bytes.fromhex(text), np.uint8)
    bits = np.unpackbits(raw)
    if len(raw) != (count + 7) // 8 or bits[count:].any():
        raise ValueError("wrong length")
    return bits[:count].astype(bool)


def _runs(values: Ints) -> list[list[int]]:
    """Bounds of each channel of the input, box after box, as [value, how often]."""
    flat = np.asarray(values).reshape(-1)
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    lengths = np.diff(np.r_[starts, len(flat)])
    return [[int(flat[s]), int(n)] for s, n in zip(starts, lengths, strict=True)]


def read(path: Path) -> dict[str, Any]:
    """A certificate file: JSON, gzipped or plain."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    contents = json.loads(data, object_pairs_hook=_unrepeated)
    if not isinstance(contents, dict):
        raise ValueError("not a certificate")
    return contents


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Rejected("a claim is made twice")
    return dict(pairs)


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
    except (OSError, ValueError, EOFError, DecodeError, zlib.error) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"proved: bounds, widths and witnesses of {channels} channels")
    return 0
