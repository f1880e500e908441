"""Samples to verify with: drawn at random, or from a file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import golden
from sira import graph as g
from sira.analysis import Ranges
from sira.errors import SiraError

Samples = dict[str, NDArray[Any]]
"""``x`` (samples, *input shape) float32, and where known labels ``y`` (samples,)."""


def draw(model: ir.Model, ranges: Ranges, count: int, seed: int = 0) -> Samples:
    """Random samples over the whole input range, its two ends among them."""
    (value,) = model.graph.inputs
    shape = (count, *g.shape(value))
    generator = np.random.default_rng(seed)
    range_ = ranges.scaled(value)
    if range_ is not None:
        lo, hi = (np.broadcast_to(q, shape) for q in (range_.lo, range_.hi))
        q = generator.integers(lo, hi + 1)
        for i, end in enumerate((lo, hi)[: max(count - 1, 0)]):
            q[i] = end[i]
        return {"x": golden.decode(range_, q).astype(np.float32)}
    # The model quantizes its input itself: go a little beyond what its quantizer can tell apart.
    computed = (v for n in model.graph if g.dynamic_inputs(n) for v in n.outputs)
    first = next((r for v in computed if (r := ranges.scaled(v)) is not None), None)
    if first is None:
        raise SiraError(
            "nothing in the model quantizes its input",
            where=f"input {g.name(value)}",
            remedy="declare the input with --input",
        )
    reach = first.interval
    low, high = float(reach.lo.min()), float(reach.hi.max())
    margin = 0.05 * (high - low)
    return {"x": generator.uniform(low - margin, high + margin, shape).astype(np.float32)}


def read(path: Path, shape: tuple[int, ...], count: int | None) -> Samples:
    """The first ``count`` samples of an .npz file for an input of this shape."""
    where = f"samples {path}"
    try:
        with zipfile.ZipFile(path), np.load(path) as data:
            found = {k: np.asarray(data[k]) for k in ("x", "y") if k in data}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SiraError(
            "cannot be read",
            where=where,
            expected="an .npz file with x and, if known, y",
            found=str(error),
        ) from error
    x = found.get("x")
    if x is None or x.ndim < 1 or not len(x) or x[:1].size != np.prod(shape):
        raise SiraError(
            "holds no samples for this model",
            where=where,
            expected=f"x of shape (samples, {', '.join(map(str, shape[1:]))})",
            found="no x" if x is None else f"x of shape {x.shape}",
        )
    if x.dtype.kind not in "biuf":
        raise SiraError("x holds no numbers", where=where, expected="float32", found=str(x.dtype))
    if not np.isfinite(x).all():
        raise SiraError("x holds NaN or infinity", where=where, expected="finite numbers")
    if "y" in found and found["y"].size != len(x):
        lengths = f"{len(x)} and {found['y'].size}"
        raise SiraError("x and y must be of one length", where=where, found=lengths)
    found["x"] = x.astype(np.float32)
    return {k: v[:count] for k, v in found.items()}
