"""Accumulator widths: every accumulator gets the narrowest datatype that holds its range."""

from __future__ import annotations

import onnx_ir as ir

from sira import graph as g
from sira.analysis import Ranges
from sira.datatypes import smallest_type
from sira.ops import rule_of
from transforms.builder import annotate

_FLOAT32_INTEGERS = 2**24


def annotate_accumulators(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Annotate the integers of an integer ``model`` with the types that their ranges need.

    Where an accumulator reaches 2**24 the file says that float32 executors cannot hold it.
    """
    result = model.clone()
    too_wide = []
    for node in result.graph:
        value = node.outputs[0]
        range_ = ranges.scaled(value)
        if range_ is None or rule_of(node).kind not in ("mac", "quantizer", "layout"):
            continue
        lo, hi = int(range_.lo.min()), int(range_.hi.max())
        annotate(value, smallest_type(lo, hi))
        if max(-lo, hi) >= _FLOAT32_INTEGERS:
            too_wide.append(g.name(value))
    if too_wide:
        result.metadata_props["sira.float32"] = (
            "these tensors reach 2**24, so executors that compute in float32 cannot hold them: "
            + ", ".join(too_wide)
        )
    return result
