"""Writing a certificate: the claims come from the analysis, their form from `sira.certificate`."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from sira import graph as g
from sira.analysis import Ranges
from sira.certificate import FORMAT, entry
from sira.certificate_model import Layer, Rejected, declared, layers
from sira.errors import SiraError
from sira.scaled import ScaledInt


def certificate(model: ir.Model, ranges: Ranges, model_bytes: bytes) -> dict[str, Any]:
    """The claims for an integer ``model``: bounds and widths from ``ranges``, with witnesses.

    ``model_bytes`` is the file that the certificate is about.
    """
    proto = onnx.load_model_from_string(model_bytes)
    values = {g.name(v): v for node in model.graph for v in node.outputs}
    claims = []
    for layer in _layers(proto):
        claim = entry(layer)
        found = ranges.scaled(values[layer.tensor])
        assert isinstance(found, ScaledInt)
        n = len(layer.weights)
        claim["lo"], claim["hi"] = (
            np.broadcast_to(q.reshape(-1), (n,)).tolist() for q in (found.lo, found.hi)
        )
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


def _layers(proto: onnx.ModelProto) -> list[Layer]:
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
