"""The table of lowering rules: an operator has hardware when a rule of this package names it.

The modules of this package fill the table as they are imported, which importing the package does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from hls.lower.build import Lowering
from hls.lower.wires import Wire
from sira import graph as g

Lower = Callable[[Lowering, ir.Node], Wire | Mapping[ir.Value, Wire] | None]
"""Adds the layers of a node. Returns the wire of its output, or wires by tensor where there are
several, or where nodes behind it were merged into its layer; None leaves the node to the host."""


@dataclass(frozen=True)
class LoweringRule:
    """How one operator becomes hardware.

    ``to_host``: the host may compute it instead, behind all hardware. ``absorbed``: with constants
    it has no layer of its own, as it only changes the factor or offset that the next layer absorbs;
    where no layer follows, it is the host's.
    """

    lower: Lower
    to_host: bool
    absorbed: bool


RULES: dict[str, LoweringRule] = {}


def rule(*op_types: str, to_host: bool = True, absorbed: bool = False) -> Callable[[Lower], Lower]:
    """Enter the decorated function into the table; see `LoweringRule` for the arguments."""

    def register(lower: Lower) -> Lower:
        for op_type in op_types:
            assert op_type not in RULES, op_type
            RULES[op_type] = LoweringRule(lower, to_host, absorbed)
        return lower

    return register


def may_be_left_to_host(node: ir.Node) -> bool:
    """Whether the host can compute a node of the integer graph, if it lies behind all hardware."""
    return node.op_type not in RULES or RULES[node.op_type].to_host


def is_absorbed(node: ir.Node) -> bool:
    """Whether a node has no layer of its own, being merged into the next one's."""
    found = RULES.get(node.op_type)
    return found is not None and found.absorbed and len(g.dynamic_inputs(node)) == 1


def wires_of(build: Lowering, node: ir.Node) -> Mapping[ir.Value, Wire]:
    """Add the layers of a node; the wires of its outputs, none where the host computes it."""
    found = RULES.get(node.op_type)
    wires = None if found is None else found.lower(build, node)
    if isinstance(wires, Wire):
        return {node.outputs[0]: wires}
    return wires or {}
