"""Writing a certificate: the claims come from the analysis, their form from `sira.certificate`."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.certificate.boxes import Rejected
from sira.certificate.checker import FORMAT, entry
from sira.certificate.model import ClaimedLayer, declared, layers
from sira.errors import SiraError
from sira.numbers.int64 import plus, times, whole_numbers
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import mac_of


def certificate(model: ir.Model, ranges: Ranges, model_bytes: bytes) -> dict[str, Any]:
    """The claims for an integer ``model``: bounds and widths from ``ranges``, with witnesses.

    ``model_bytes`` is the file that the certificate is about. Raises `SiraError` where the checker
    would reject the bounds, whose own rules are at hand with the form of the claims.
    """
    proto = onnx.load_model_from_string(model_bytes)
    nodes = {g.name(v): node for node in model.graph for v in node.outputs}
    claims = []
    for layer in _layers(proto):
        claim = entry(layer)
        proved = claim["lo"], claim["hi"]
        node = nodes[layer.tensor]
        found = ranges.scaled(node.outputs[0])
        if found is None:
            raise SiraError(
                "no certificate can be written",
                where=f"node {layer.name}",
                expected="integers in every layer that computes with integers",
                found=getattr(ranges[node.outputs[0]], "reason", ""),
                remedy="cut the model in front of it",
            )
        mac = mac_of(node)
        assert mac is not None, "the checker's layers multiply and accumulate"
        n, axis = len(layer.weights), mac.axis
        rank = len(g.shape(node.outputs[0]))
        claim["lo"], claim["hi"] = (
            np.broadcast_to(_worst(q, f, axis, rank), (n,)).tolist()
            for q, f in zip(_written(found, layer), (np.min, np.max), strict=True)
        )
        if (claim["lo"], claim["hi"]) != proved:
            raise _not_proved(layer, (claim["lo"], claim["hi"]), proved)
        claim["bits"] = [
            (hi - lo).bit_length() for lo, hi in zip(claim["lo"], claim["hi"], strict=True)
        ]
        claims.append(claim)
    return {
        "format": FORMAT,
        "model_sha256": hashlib.sha256(model_bytes).hexdigest(),
        "inputs": {v.name: list(declared(v)) for v in proto.graph.input},
        "layers": claims,
    }


def _written(found: ScaledInt, layer: ClaimedLayer) -> tuple[Ints, Ints]:
    """Bounds of what the file computes, which has a common factor of its weights in it."""
    scale, bias = whole_numbers(found.scale), whole_numbers(found.bias)
    assert scale is not None and bias is not None, "the model computes integers"
    lo, hi = (plus(times(q, scale, layer.name), bias, layer.name) for q in (found.lo, found.hi))
    return lo, hi


def _worst(bound: Ints, f: Callable[..., Ints], axis: int, rank: int) -> Ints:
    """The bounds of each channel, over all of its positions."""
    whole = bound.reshape((1,) * (rank - bound.ndim) + bound.shape)
    return f(whole, axis=tuple(i for i in range(rank) if i != axis % rank))


def _not_proved(
    layer: ClaimedLayer, found: tuple[list[int], list[int]], proved: tuple[list[int], list[int]]
) -> SiraError:
    pairs = zip(zip(*found, strict=True), zip(*proved, strict=True), strict=True)
    n, (ours, theirs) = next((n, (a, b)) for n, (a, b) in enumerate(pairs) if a != b)
    return SiraError(
        "the certificate would be rejected: range analysis and checker have different bounds",
        where=f"node {layer.name}, channel {n}",
        expected=f"{theirs[0]} to {theirs[1]} by the rules of the checker",
        found=f"{ours[0]} to {ours[1]} by range analysis",
        remedy="report this model; one of the two is at fault",
    )


def _layers(proto: onnx.ModelProto) -> list[ClaimedLayer]:
    try:
        return list(layers(proto))
    except Rejected as error:
        raise SiraError(
            "no certificate can be written", where="stages", found=str(error)
        ) from error


def write(path: Path, contents: dict[str, Any]) -> None:
    """As gzipped JSON, the same bytes every time."""
    text = json.dumps(contents, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
