"""Conventional accumulator bounds, for comparison with exact ranges.

Both start from datatypes: A2Q's bound (arXiv:2301.13376, eq. 3) from those of weights and inputs,
FINN's from the exact weights and the full datatype of the input.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.datatypes import InputSpec, IntegerType, parse_datatype, twos_complement_bits
from sira.errors import SiraError
from sira.load import annotation
from sira.numbers.scaled import Ints
from sira.ops import Constant, mac_of, rule_of


@dataclass(frozen=True)
class DatatypeBounds:
    """Accumulator bits in two's complement, for the worst output channel of one layer.

    ``k`` is the number of summands, ``weight_bits`` the declared width of the weights.
    ``bits_datatype`` knows only datatypes, ``bits_weights_datatype`` the weights too.
    """

    k: int
    weight_bits: int
    bits_datatype: int
    bits_weights_datatype: int


def datatype_bounds(
    nodes: Iterable[ir.Node], ranges: Ranges, input_spec: InputSpec | None
) -> dict[str, DatatypeBounds]:
    """The conventional bounds of every layer among ``nodes``, by node name."""
    return {
        g.label(node): _bounds(node, ranges, input_spec)
        for node in nodes
        if mac_of(node) is not None and len(g.dynamic_inputs(node)) == 1
    }


def _bounds(node: ir.Node, ranges: Ranges, spec: InputSpec | None) -> DatatypeBounds:
    mac = mac_of(node)
    assert mac is not None
    x, w = mac.data, mac.weights
    constant = ranges[w]
    assert isinstance(constant, Constant)
    if constant.scaled is None or ranges.scaled(x) is None:
        raise SiraError(
            f"the {'weights are' if constant.scaled is None else 'input is'} not quantized",
            where=g.describe(node),
            expected="integer weights and integer inputs with a scale",
            found=f"floating point in {g.name(w if constant.scaled is None else x)}",
            remedy="quantize it, or cut the model in front of this layer",
        )
    weights = mac.matrix(constant.scaled.lo)
    kind = declared_type(x, spec)
    weight_kind = declared_type(w, None)
    weight_bits = weight_kind.bits if weight_kind else _bits_of(weights)
    if kind is None:
        range_ = ranges.scaled(x)
        assert range_ is not None
        lo, hi = int(range_.lo.min()), int(range_.hi.max())
        kind = IntegerType("", lo, hi)
    a = log2(weights.shape[0]) + weight_bits + kind.bits - 1 - int(kind.signed)
    up = [int(v) for v in np.maximum(weights, 0).sum(axis=0)]
    down = [int(v) for v in np.minimum(weights, 0).sum(axis=0)]
    ends = [
        (kind.lo * p + kind.hi * n, kind.hi * p + kind.lo * n)
        for p, n in zip(up, down, strict=True)
    ]
    return DatatypeBounds(
        len(weights),
        weight_bits,
        ceil(a + log2(1 + 2**-a) + 1),
        max(twos_complement_bits(lo, hi) for lo, hi in ends),
    )


def _bits_of(weights: Ints) -> int:
    return IntegerType("", int(weights.min()), int(weights.max())).bits


def declared_type(value: ir.Value, spec: InputSpec | None) -> IntegerType | None:
    """The datatype of the quantizer (or input) that the integers of ``value`` come from."""
    node = value.producer()
    if node is None:
        if spec is not None:
            return spec.datatype
        text = annotation(value)
        return parse_datatype(text, g.name(value)) if text else None
    rule = rule_of(node)
    if rule.datatype is not None:
        return rule.datatype(node)
    if rule.kind in ("layout", "elementwise"):
        dynamic = g.dynamic_inputs(node) or [v for v in node.inputs if v is not None]
        return declared_type(dynamic[0], spec)
    return None
