"""From a file to a graph: repair what exporters get wrong, fold constants, infer shapes.

Names stay those of the file.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper

from sira import graph as g
from sira.errors import SiraError
from sira.model_file import read
from sira.names import free_name
from sira.ops import RULES, malformed, rule_of

_CUSTOM_DOMAINS = ("onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general")


_NEVER_FOLDED = frozenset(
    ("DequantizeLinear", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
)
"""Operators that no constants are put through here: the first stays exact, the others are random.
"""


def load(path: str | Path) -> ir.Model:
    """Read a QONNX or QCDQ file.

    Returns a model whose nodes are sorted, whose constants are initializers (weight quantizers stay
    nodes), and whose every value has a static shape. Raises `SiraError` for what is not a usable
    model.
    """
    return prepare(read(path), str(path))


def prepare(proto: onnx.ModelProto, where: str = "model") -> ir.Model:
    """`load` for a model in memory."""
    repaired = repair(proto)
    _check_inputs(repaired.graph, where)
    _check_outputs(repaired.graph)
    _check_constants(repaired.graph)
    _check_tensors(repaired.graph)
    try:
        model = ir.from_proto(repaired)
        model.graph.sort()
    except Exception as error:
        raise SiraError("the graph is not valid", where=where, found=str(error)) from error
    _infer_and_fold(model.graph, repaired.graph)
    _check_quantized(model.graph, where)
    return model


def repair(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Undo the deviations of real exporters; the argument is not changed.

    Custom domains get one name and an opset import, initializers leave the graph inputs, Constant
    nodes become initializers, the IR version is one that onnxruntime accepts.
    """
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    for node in model.graph.node:
        if node.domain in _CUSTOM_DOMAINS:
            node.domain = g.CUSTOM_DOMAIN
    custom = [o.version for o in model.opset_import if o.domain in _CUSTOM_DOMAINS]
    kept = [o for o in model.opset_import if o.domain not in _CUSTOM_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    if any(node.domain == g.CUSTOM_DOMAIN for node in model.graph.node):
        model.opset_import.append(onnx.helper.make_opsetid(g.CUSTOM_DOMAIN, max([1, *custom])))
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", 13))
    model.ir_version = min(max(model.ir_version, 4), 10)
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in initializers]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    _lift_constants(model.graph)
    return model


def _lift_constants(graph: onnx.GraphProto) -> None:
    constants = [node for node in graph.node if node.op_type == "Constant"]
    for node in constants:
        for attr in node.attribute:
            value = onnx.helper.get_attribute_value(attr)
            if attr.name == "value":
                contents = numpy_helper.to_array(value)
            else:
                contents = np.asarray(value, np.float32 if "float" in attr.name else np.int64)
            graph.initializer.append(numpy_helper.from_array(contents, node.output[0]))
        graph.node.remove(node)


def _check_inputs(graph: onnx.GraphProto, where: str) -> None:
    if len(graph.input) != 1:
        raise SiraError(
            "the model must have one input",
            where=where,
            expected="one graph input that is not an initializer",
            found=", ".join(v.name for v in graph.input) or "none",
            remedy="make the others initializers, or cut the model",
        )
    dims = graph.input[0].type.tensor_type.shape.dim
    if not dims or any(d.dim_value <= 0 for d in dims):
        shown = [d.dim_value or d.dim_param or "?" for d in dims]
        raise SiraError(
            "the input shape must be static",
            where=f"input {graph.input[0].name}",
            expected="a fixed size for every dimension, batch size 1",
            found=str(shown),
            remedy="export the model with batch size 1 and without dynamic axes",
        )
    if dims[0].dim_value != 1 and len(dims) > 1:
        raise SiraError(
            "the batch size must be 1",
            where=f"input {graph.input[0].name}",
            expected="1",
            found=str(dims[0].dim_value),
            remedy="export the model with batch size 1",
        )


def _check_outputs(graph: onnx.GraphProto) -> None:
    inputs = {value.name for value in graph.input}
    for value in graph.output:
        if value.name in inputs:
            raise SiraError(
                "a graph output is the input itself",
                where=f"output {value.name}",
                expected="outputs of operators",
                remedy="remove the output from the model",
            )


def _check_tensors(graph: onnx.GraphProto) -> None:
    """Everything that is read must be made."""
    made = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {""}
    made |= {name for node in graph.node for name in node.output}
    for reader in graph.node:
        for name in reader.input:
            if name not in made:
                raise SiraError(
                    f"tensor {name} comes from nowhere",
                    where=f"{reader.op_type} {reader.name or reader.output[0]}",
                    expected="an initializer, a graph input or the output of a node",
                    remedy="export the model again",
                )
    for output in graph.output:
        if output.name not in made:
            raise SiraError("no node makes this graph output", where=f"output {output.name}")


def _check_constants(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        try:
            contents = numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise SiraError(
                "a constant is damaged",
                where=f"initializer {tensor.name}",
                expected="as much data as its shape needs",
                found=" ".join(str(error).split()),
                remedy="export the model again",
            ) from error
        if contents.dtype.kind == "f" and not np.isfinite(contents).all():
            reader = next((n for n in graph.node if tensor.name in n.input), None)
            raise SiraError(
                "a constant holds NaN or infinity",
                where=f"initializer {tensor.name}"
                + (f" of node {reader.name or reader.output[0]}" if reader else ""),
                expected="finite numbers",
                found=f"{int((~np.isfinite(contents)).sum())} of {contents.size} not finite",
                remedy="train or export the model again",
            )


def _check_quantized(graph: ir.Graph, where: str) -> None:
    quantizers = [n for n in graph if n.op_type in RULES and RULES[n.op_type].kind == "quantizer"]
    annotated = any(annotation(v) not in (None, "FLOAT32") for v in _values(graph))
    if not quantizers and not annotated:
        raise SiraError(
            "the model has no quantizers",
            where=where,
            expected="Quant, BipolarQuant, QuantizeLinear or MultiThreshold nodes",
            found=", ".join(sorted({n.op_type for n in graph})),
            remedy="quantize the model first, for example with Brevitas",
        )


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs)]


def annotation(value: ir.Value) -> str | None:
    """The QONNX datatype that annotates a value, or None."""
    found = value.meta.get("quant_parameter_tensor_names", {})
    return found.get("finn_datatype") if isinstance(found, dict) else None


def _infer_and_fold(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """Walk the nodes in order: fold what is constant, infer the shape of everything else."""
    for value in graph.initializers.values():
        assert value.const_value is not None
        value.shape = ir.Shape(value.const_value.numpy().shape)
    names = {g.label(node) for node in graph if not node.name}
    for node in list(graph):
        node.name = _unique(node.name, names)
        if node.op_type == "Shape" and node.inputs[0] is not None:
            _replace(graph, node, [_shape_slice(node)])
            continue
        constants = [g.array(v) for v in node.inputs]
        kind = RULES[node.op_type].kind if node.op_type in RULES else "other"
        if (
            node.inputs
            and all(v is None or v.const_value is not None for v in node.inputs)
            and (kind != "quantizer" and node.op_type not in _NEVER_FOLDED)
        ):
            _replace(graph, node, _execute(node, constants))
            continue
        rule = rule_of(node)
        shapes = [() if v is None else g.shape(v) for v in node.inputs]
        with malformed(node):
            found = rule.shapes(node, shapes, constants)
        for output, shape in zip(node.outputs, found, strict=False):
            output.shape = ir.Shape(shape)
            output.dtype = _dtype(node, output)


def _dtype(node: ir.Node, output: ir.Value) -> ir.DataType:
    """The type of an output, which files may leave out."""
    operand = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
    match node.op_type:
        case "QuantizeLinear":
            zero = node.inputs[2] if len(node.inputs) > 2 else None
            declared = ir.DataType(g.attribute(node, "output_dtype", 0) or ir.DataType.UINT8)
            return declared if zero is None or zero.dtype is None else zero.dtype
        case "DequantizeLinear":
            scale = node.inputs[1]
            return scale.dtype or ir.DataType.FLOAT if scale is not None else ir.DataType.FLOAT
        case "Cast":
            return ir.DataType(g.attribute(node, "to"))
        case "ArgMax":
            return ir.DataType.INT64
        case "TopK" if output is not node.outputs[0]:
            return ir.DataType.INT64
        case _:
            return operand or ir.DataType.FLOAT


def _unique(name: str | None, taken: set[str]) -> str | None:
    """``name``, or the first free ``name_2``, ``name_3``, ...; nameless nodes stay so."""
    if not name:
        return None
    free = free_name(name, taken)
    taken.add(free)
    return free


def _shape_slice(node: ir.Node) -> NDArray[Any]:
    assert node.inputs[0] is not None
    dims = g.shape(node.inputs[0])
    start, end = g.attribute(node, "start", 0), g.attribute(node, "end", len(dims))
    return np.asarray(dims[start:end], np.int64)


def _execute(node: ir.Node, inputs: list[NDArray[Any] | None]) -> list[NDArray[Any]]:
    """Run one node on constants with the QONNX executor, in the file's own precision."""
    from qonnx.core.onnx_exec import execute_node

    proto = ir.to_proto(node)
    assert isinstance(proto, onnx.NodeProto)
    context: dict[str, Any] = {
        g.name(v): a for v, a in zip(node.inputs, inputs, strict=True) if v is not None
    }
    outputs = [g.name(v) for v in node.outputs]
    context |= {name: np.zeros(1, np.float32) for name in outputs}
    value_infos = [
        onnx.helper.make_tensor_value_info(
            key, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), np.asarray(a).shape
        )
        for key, a in context.items()
        if key not in outputs
    ]
    infos = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = onnx.helper.make_graph([proto], "constant", value_infos, infos)
    version = (node.graph.opset_imports.get("", 13) if node.graph is not None else 13) or 13
    try:
        with (
            warnings.catch_warnings()
        ):  # it warns that the placeholder shapes are not the real ones
            warnings.simplefilter("ignore")
            execute_node(proto, context, graph, opset_version=version)
    except Exception as error:
        raise SiraError(
            "cannot compute a constant", where=g.describe(node), found=str(error)
        ) from error
    results = [np.asarray(context[name]) for name in outputs]
    if any(r.dtype.kind == "f" and not np.isfinite(r).all() for r in results):
        raise SiraError(
            "a constant is NaN or infinity",
            where=g.describe(node),
            expected="finite numbers",
            remedy="train or export the model again",
        )
    return results


def _replace(graph: ir.Graph, node: ir.Node, contents: list[NDArray[Any]]) -> None:
    """Put constants in place of a node's outputs, under the same names."""
    outputs = list(node.outputs)
    names = [g.name(v) for v in outputs]
    is_output = [v in graph.outputs for v in outputs]
    if any(is_output):
        raise SiraError(
            "a graph output does not depend on the input",
            where=g.describe(node),
            remedy="remove the output from the model",
        )
    for output, name, array in zip(outputs, names, contents, strict=True):
        output.name = f"{name}__folded"
        constant = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.Tensor(array, name=name),
        )
        graph.register_initializer(constant)
        ir.convenience.replace_all_uses_with(output, constant)
    graph.remove(node, safe=True)
