"""Building QONNX graphs: values, nodes, initializers and datatype annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.datatypes import smallest_type
from sira.names import free_name

_ANNOTATIONS = "quant_parameter_tensor_names"  # where onnx_ir keeps quantization annotations


class Builder:
    """Collects the parts of a new graph; every name stays unique.

    ``own`` are names of tensors that the new graph takes over: nothing else is called so, whatever
    comes first.
    """

    def __init__(self, like: ir.Model, own: Iterable[str] = ()) -> None:
        self._like = like
        self._own = frozenset(own)
        self._names: set[str] = set()
        self._nodes: list[ir.Node] = []
        self._initializers: list[ir.Value] = []
        self._inputs: list[ir.Value] = []

    def unique(self, name: str, own: bool = False) -> str:
        """``name``, or the first free ``name_2``, ``name_3``, ...

        ``own``: it is the name of a tensor that is taken over.
        """
        free = free_name(name, self._names if own else self._names | self._own)
        self._names.add(free)
        return free

    def input(self, name: str, shape: Sequence[int]) -> ir.Value:
        """A graph input."""
        value = ir.val(self.unique(name, own=True), ir.DataType.FLOAT, tuple(shape))
        self._inputs.append(value)
        return value

    def constant(
        self, name: str, array: NDArray[Any], datatype: str = "", *, own: bool = False
    ) -> ir.Value:
        """An initializer; ``own``: one that is taken over."""
        unique = self.unique(name, own)
        value = ir.Value(
            name=unique,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.Tensor(array, name=unique),
        )
        self._initializers.append(value)
        if datatype:
            annotate(value, datatype)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        output: str,
        shape: Sequence[int],
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        dtype: ir.DataType = ir.DataType.FLOAT,
        custom: bool = False,
        own: bool = False,
    ) -> ir.Value:
        """A node with one output; ``own``: a tensor that is taken over."""
        result = ir.Value(
            name=self.unique(output, own), shape=ir.Shape(shape), type=ir.TensorType(dtype)
        )
        attrs = [ir.convenience.convert_attribute(k, v) for k, v in (attributes or {}).items()]
        node = ir.Node(
            g.CUSTOM_DOMAIN if custom else "",
            op_type,
            inputs,
            attrs,
            outputs=[result],
            name=name or f"{op_type}_{result.name}",
        )
        self._nodes.append(node)
        return result

    def copy(
        self, node: ir.Node, inputs: Sequence[ir.Value | None], dtype: ir.DataType | None = None
    ) -> list[ir.Value]:
        """The same node on other inputs; its outputs keep names and shapes."""
        outputs = [
            ir.Value(
                name=self.unique(g.name(v), own=True),
                shape=v.shape,
                type=ir.TensorType(dtype or v.dtype or ir.DataType.FLOAT),
            )
            for v in node.outputs
        ]
        for old, new in zip(node.outputs, outputs, strict=True):
            new.meta.update(old.meta)
        self._nodes.append(
            ir.Node(
                node.domain,
                node.op_type,
                inputs,
                node.attributes.values(),
                outputs=outputs,
                name=node.name,
            )
        )
        return outputs

    def finish(
        self, outputs: Sequence[ir.Value], metadata: Mapping[str, str] | None = None
    ) -> ir.Model:
        """The model, sorted, with nothing in it that no output needs."""
        opsets = dict(self._like.opset_imports)
        opsets[g.CUSTOM_DOMAIN] = max(opsets.get(g.CUSTOM_DOMAIN, 1), 1)
        graph = ir.Graph(
            self._inputs,
            outputs,
            nodes=self._nodes,
            initializers=self._initializers,
            opset_imports=opsets,
            name=self._like.graph.name,
        )
        graph.sort()
        for node in reversed(list(graph)):
            if not any(v.uses() or v in graph.outputs for v in node.outputs):
                graph.remove(node, safe=True)
        for name, value in list(graph.initializers.items()):
            if not value.uses():
                del graph.initializers[name]
        return ir.Model(
            graph,
            ir_version=self._like.ir_version,
            producer_name="sira",
            metadata_props=dict(metadata or {}),
        )


def annotate(value: ir.Value, datatype: str) -> None:
    """Give a value its QONNX datatype."""
    value.meta[_ANNOTATIONS] = {"finn_datatype": datatype}


def float32(array: Any) -> NDArray[np.float32]:
    """As the type that QONNX tensors have."""
    return np.asarray(array, np.float32)


def as_floats(array: NDArray[np.int64]) -> NDArray[Any]:
    """Integers as float32, the type that QONNX tensors have, or as the smallest that holds them."""
    for dtype in (np.float32, np.float64):
        if np.array_equal(array.astype(dtype).astype(object), array.astype(object)):
            return np.asarray(array.astype(dtype))
    return array


def weights_type(matrix: NDArray[np.int64], low: int, high: int) -> str:
    """BIPOLAR for weights of -1 and 1, else the smallest integer type."""
    return "BIPOLAR" if (np.abs(matrix) == 1).all() else smallest_type(low, high)
