"""Operators that change scale and bias alone, and operators that only clip integers."""

from __future__ import annotations

import onnx_ir as ir

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.scaled import same
from sira.ops import rule_of


def is_affine(ranges: Ranges, node: ir.Node) -> bool:
    """Whether the node makes no more of its one integer operand than another scale and bias."""
    operands = g.dynamic_inputs(node)
    if len(set(operands)) != 1 or ranges.scaled(operands[0]) is None:
        return False
    if not rule_of(node).affine or ranges.scaled(node.outputs[0]) is None:
        return ranges[operands[0]] is ranges[node.outputs[0]]
    square = node.op_type == "Mul" and node.inputs[0] is node.inputs[1]
    return not square and not clips(ranges, node)


def clips(ranges: Ranges, node: ir.Node) -> bool:
    """Whether the node cuts off integers of its operand and changes nothing else."""
    inputs = g.dynamic_inputs(node)
    if not rule_of(node).clips or len(inputs) != 1:
        return False
    before, after = ranges.scaled(inputs[0]), ranges.scaled(node.outputs[0])
    if before is None or after is None or before is after:
        return False
    return same(before.scale, after.scale) and same(before.bias, after.bias)
