"""Reading `onnx_ir` graphs: constants, attributes, labels and the edges between nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

CUSTOM_DOMAIN = "qonnx.custom_op.general"
"""The domain of QONNX operators; `sira.load` renames the older ones to it."""


def array(value: ir.Value | None) -> NDArray[Any] | None:
    """The contents of a constant, or None."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether nothing the graph computes from its inputs flows into ``value``."""
    if value is None or value.const_value is not None:
        return True
    node = value.producer()
    return node is not None and all(is_constant(v) for v in node.inputs)


def dynamic_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs of ``node`` that depend on the graph's inputs."""
    return [v for v in node.inputs if v is not None and not is_constant(v)]


def shape(value: ir.Value) -> tuple[int, ...]:
    """The static shape, which `sira.load` has given to every value."""
    assert value.shape is not None, f"{value.name} has no shape"
    return tuple(int(d) for d in value.shape.dims)  # type: ignore[arg-type]


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of an attribute; floats are the float32 numbers of the file, widened exactly.

    So are the defaults of the standard, where they are floats.
    """
    found = node.attributes.get(name)
    if found is None:
        return float(np.float32(default)) if isinstance(default, float) else default
    if found.type == ir.AttributeType.FLOAT:
        return float(np.float32(found.value))
    if found.type == ir.AttributeType.TENSOR:
        return found.value.numpy()
    return found.value


def label(node: ir.Node) -> str:
    """How the node is called in messages and reports: its name, else that of its output."""
    return node.name or node.outputs[0].name or node.op_type


def describe(node: ir.Node) -> str:
    """``op_type name``, for the `where` of an error."""
    return f"{node.op_type} {label(node)}"


def name(value: ir.Value) -> str:
    """The tensor's name."""
    assert value.name is not None
    return value.name


def consumers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read ``value``."""
    for use in value.uses():
        yield use.node
