"""Datatypes: every integer of the last stage gets the narrowest type that holds its range."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.datatypes import smallest_type
from sira.load import annotation
from sira.numbers.exact import Exact
from sira.numbers.scaled import ScaledInt
from transforms.builder import annotate

_FLOAT32_INTEGERS = 2**24

_WITH_CONSTANTS = frozenset(("MultiThreshold", "Mul", "Add", "Max", "Min"))
"""Operators whose integer constants get a type; weights have theirs already."""


def annotate_accumulators(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Annotate the integers of an integer ``model`` with the types that their ranges need.

    Accumulators among them; where one reaches 2**24 the file says that float32 executors cannot
    hold it. Thresholds and other integer constants are annotated, too.
    """
    result = model.clone()
    too_wide = []
    for node in result.graph:
        value = node.outputs[0]
        bounds = _integers(ranges.scaled(value))
        if bounds is None:
            continue
        lo, hi = bounds
        annotate(value, smallest_type(lo, hi))
        if max(-lo, hi) >= _FLOAT32_INTEGERS:
            too_wide.append(g.name(value))
        if node.op_type in _WITH_CONSTANTS:
            _annotate_constants(node)
    if too_wide:
        result.metadata_props["sira.float32"] = (
            "these tensors reach 2**24, so executors that compute in float32 cannot hold them: "
            + ", ".join(too_wide)
        )
    return result


def _integers(range_: ScaledInt | None) -> tuple[int, int] | None:
    """The smallest and largest value of a tensor that holds integers, or None for another."""
    if range_ is None or not range_.is_whole:
        return None
    assert isinstance(range_.scale, Exact) and isinstance(range_.bias, Exact)
    scale, bias = range_.scale.values, range_.bias.values
    lo, hi = (q.astype(object) * scale + bias for q in (range_.lo, range_.hi))
    return int(np.min(lo)), int(np.max(hi))


def _annotate_constants(node: ir.Node) -> None:
    for value in node.inputs:
        contents = g.array(value)
        if value is None or contents is None or annotation(value) or not contents.size:
            continue
        if (np.rint(contents) == contents).all():
            annotate(value, smallest_type(int(contents.min()), int(contents.max())))
