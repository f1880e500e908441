"""Operators of the oracle: qonnx's quantizers, and standard ones that need help, in float64.

`onnx.reference` computes nearly every standard operator in the type of its input, so widened inputs
are enough. Replaced here: BatchNormalization, which before opset 14 takes the statistics of the
batch; QuantizeLinear, which overflows at 2^31 instead of saturating; DequantizeLinear and Erf,
which pass through float32; Gelu, HardSwish and Mish, whose constants are float32 numbers; Softplus,
which overflows; MaxPool, whose uneven pads it misplaces where there are no strides; GlobalMaxPool,
which expects two spatial axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import _batchnorm_test_mode
from qonnx.custom_op.general.im2col import im2col_indices_nchw
from qonnx.custom_op.general.quant import quant
from qonnx.custom_op.registry import getCustomOp

from sira.errors import SiraError

Value = NDArray[Any]

QONNX = "qonnx.custom_op.general"
"""The one domain of qonnx's operators in a repaired model."""

QUANTIZERS = frozenset(
    {"Quant", "IntQuant", "BipolarQuant", "Trunc", "QuantizeLinear", "MultiThreshold"}
)
"""Operators whose outputs are integers up to a scale and a zero point of their own."""

_ELEMENTWISE = frozenset(
    (
        *("Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "Floor"),
        *("Celu", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min"),
        *("Mish", "Mul", "Neg", "Swish"),
        *("Pow", "PRelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus"),
        *("Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu"),
        *("Quant", "IntQuant", "BipolarQuant", "Trunc"),
    )
)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute; a float is the float32 number, widened."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def lattice(node: onnx.NodeProto, constants: Mapping[str, Value]) -> tuple[Value, Value]:
    """Scale and zero point (broadcastable) with output = (q - zero point) * scale, q integer.

    For QuantizeLinear, whose output is q itself, they are 1 and 0.
    """
    scale: Any
    zero_point: Any
    match node.op_type:
        case "Quant" | "IntQuant":
            scale, zero_point = constants[node.input[1]], constants[node.input[2]]
        case "BipolarQuant":
            scale, zero_point = constants[node.input[1]], np.zeros(())
        case "Trunc" if len(node.input) == 5:
            scale, zero_point = constants[node.input[1]], constants[node.input[2]]
        case "Trunc":  # of version 2, with a scale of its own
            before, scale = constants[node.input[1]], constants[node.input[4]]
            zero_point = constants[node.input[2]] / 2.0 ** np.rint(np.log2(scale / before))
        case "MultiThreshold":
            scale = np.float64(attribute(node, "out_scale", 1.0))
            zero_point = np.float64(-attribute(node, "out_bias", 0.0) / scale)
        case "QuantizeLinear":
            scale, zero_point = np.ones(()), np.zeros(())
        case other:
            raise AssertionError(f"{other} is no quantizer")
    return np.asarray(scale, np.float64), np.asarray(zero_point, np.float64)


def batches(node: onnx.NodeProto, rank: int, constants: Mapping[str, Value]) -> bool:
    """Whether the node maps (1, ...) tensors of ``rank`` dimensions to the same, row by row.

    If so, it may as well be given (points, ...): row i of the output depends on row i of the
    input, and constants mean the same in every row.
    """
    fixed = [constants[name] for name in node.input if name in constants]
    match node.op_type:
        case "BatchNormalization" | "MultiThreshold" | "QuantizeLinear" | "DequantizeLinear":
            return True  # their parameters lie along one axis; along axis 0 there is but one
        case op if op in _ELEMENTWISE:
            return all(v.ndim < rank or (v.ndim == rank and v.shape[0] == 1) for v in fixed)
        case _:
            return False


def _quant(node: onnx.NodeProto, x: Value, scale: Value, zero_point: Value, bits: Value) -> Value:
    # The function itself: qonnx's node executor would round the result to float32.
    entry = getCustomOp(node, 1)
    signed, narrow, mode = map(entry.get_nodeattr, ("signed", "narrow", "rounding_mode"))
    result: Value = quant(x, scale, zero_point, bits, signed, narrow, mode)
    return result


def _by_qonnx(node: onnx.NodeProto, *inputs: Value) -> Value:
    """qonnx's own executor of the node; it keeps float64 as it is."""
    version = 2 if node.op_type == "Trunc" and len(node.input) == 6 else 1
    context = dict(zip(node.input, inputs, strict=True))
    getCustomOp(node, version).execute_node(context, None)
    result: Value = context[node.output[0]]
    return result


def _batch_normalization(node: onnx.NodeProto, x: Value, *parameters: Value) -> Value:
    if attribute(node, "training_mode", 0):
        raise SiraError(
            "BatchNormalization in training mode has no fixed meaning",
            where=node.name or node.output[0],
            remedy="export the model in evaluation mode",
        )
    epsilon = np.float64(np.float32(attribute(node, "epsilon", 1e-5)))
    result: Value = _batchnorm_test_mode(x, *parameters, epsilon=epsilon)
    return result


def _quantize_linear(
    node: onnx.NodeProto, x: Value, scale: Value, zero_point: Value | None = None
) -> Value:
    """Rounds half to even, adds the zero point, saturates."""
    code = attribute(node, "output_dtype", 0) or onnx.TensorProto.UINT8
    dtype = helper.tensor_dtype_to_np_dtype(code) if zero_point is None else zero_point.dtype
    low, high = _integer_range(node, dtype)
    offset = 0.0 if zero_point is None else _along(node, zero_point, x).astype(np.float64)
    return np.clip(np.rint(x / _along(node, scale, x)) + offset, low, high).astype(dtype)


def _dequantize_linear(
    node: onnx.NodeProto, x: Value, scale: Value, zero_point: Value | None = None
) -> Value:
    offset = 0.0 if zero_point is None else _along(node, zero_point, x).astype(np.float64)
    return (x.astype(np.float64) - offset) * _along(node, scale, x)


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _gelu(node: onnx.NodeProto, x: Value) -> Value:
    """x * (1 + erf(x / sqrt 2)) / 2, written so that the sum does not cancel where x < 0."""
    if attribute(node, "approximate", b"none") == b"tanh":  # 1 + tanh(y) = 2 / (1 + exp(-2y))
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        result: Value = x / (1 + np.exp(-2 * inner))
    else:
        result = x / 2 * _erfc(-x / math.sqrt(2))
    return result


def _softplus(node: onnx.NodeProto, x: Value) -> Value:
    result: Value = np.logaddexp(x, 0.0)
    return result


def _along(node: onnx.NodeProto, parameter: Value, x: Value) -> Value:
    """A scale or zero point, shaped to broadcast along the node's axis."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim != 1:
        raise SiraError(
            f"blocked {node.op_type} is not supported",
            where=node.name or node.output[0],
            expected="a scale per tensor or per axis",
            found=f"a scale of shape {parameter.shape}",
        )
    shape = [1] * x.ndim
    shape[attribute(node, "axis", 1)] = -1
    return parameter.reshape(shape)


def _integer_range(node: onnx.NodeProto, dtype: np.dtype[Any]) -> tuple[int, int]:
    name = dtype.name  # ml_dtypes' int4 has no numpy.iinfo
    if not name.removeprefix("u").startswith("int"):
        raise SiraError(
            "QuantizeLinear to a float type is not supported",
            where=node.name or node.output[0],
            expected="an integer type",
            found=name,
        )
    bits = int(name.partition("int")[2])
    return (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _max_pool(node: onnx.NodeProto, x: Value) -> Value:
    """onnxruntime's, in float64; the graph around the node is of its first output alone."""
    part = onnx.NodeProto()
    part.CopyFrom(node)
    del part.output[1:]
    graph = helper.make_graph(
        [part],
        "part",
        [helper.make_tensor_value_info(node.input[0], onnx.TensorProto.DOUBLE, x.shape)],
        [helper.make_tensor_value_info(node.output[0], onnx.TensorProto.DOUBLE, None)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 12)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    result: Value = session.run(None, {node.input[0]: np.asarray(x, np.float64)})[0]
    return result


def _global_max_pool(node: onnx.NodeProto, x: Value) -> Value:
    return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


def _quant_avg_pool(node: onnx.NodeProto, x: Value) -> Value:
    """qonnx's executor, which works on float32: enough for the integers that it takes."""
    narrow = x.astype(np.float32)
    if not np.array_equal(narrow, x):
        raise SiraError("its operand needs more than float32", where=node.name or node.output[0])
    kernel, stride = attribute(node, "kernel", 1), attribute(node, "stride", 1)
    shape = list(x.shape)
    for axis in (2, 3) if attribute(node, "data_layout", b"NCHW") == b"NCHW" else (1, 2):
        shape[axis] = (shape[axis] - kernel) // stride + 1
    context = {node.input[0]: narrow, node.output[0]: np.zeros(shape, np.float32)}
    getCustomOp(node).execute_node(context, None)
    return context[node.output[0]].astype(np.float64)


def _im2col(node: onnx.NodeProto, x: Value) -> Value:
    """qonnx's columns, without the datatype that its node executor asks for."""
    entry = getCustomOp(node)
    names = ("kernel_size", "stride", "dilations", "pad_amount", "pad_value")
    (kh, kw), (sh, sw), (dh, dw), pads, fill = map(entry.get_nodeattr, names)
    n, h, w, c = x.shape
    image = x.transpose(0, 3, 1, 2)
    rows = im2col_indices_nchw(image, h, w, kh, kw, pads, sh, sw, fill, dh, dw)
    oh = (h + pads[0] + pads[2] - dh * (kh - 1) - 1) // sh + 1
    columns = rows.reshape(n, c, kh, kw, oh, -1).transpose(0, 4, 5, 2, 3, 1)
    return np.asarray(columns.reshape(n, oh, columns.shape[2], -1))


def _operator(domain: str, op_type: str, compute: Callable[..., Value]) -> type:
    """A class for `onnx.reference` of an operator with one output."""

    def run(self: Any, *inputs: Value, **_: Any) -> tuple[Value]:
        return (np.asarray(compute(self.onnx_node, *inputs)),)

    return type(op_type, (OpRun,), {"op_domain": domain, "_run": run})


OPERATORS = (
    _operator(QONNX, "Quant", _quant),
    _operator(QONNX, "IntQuant", _quant),
    _operator(QONNX, "BipolarQuant", _by_qonnx),
    _operator(QONNX, "MultiThreshold", _by_qonnx),
    _operator(QONNX, "Trunc", _by_qonnx),
    _operator(QONNX, "QuantAvgPool2d", _quant_avg_pool),
    _operator(QONNX, "Im2Col", _im2col),
    _operator("", "MaxPool", _max_pool),
    _operator("", "GlobalMaxPool", _global_max_pool),
    _operator("", "BatchNormalization", _batch_normalization),
    _operator("", "QuantizeLinear", _quantize_linear),
    _operator("", "DequantizeLinear", _dequantize_linear),
    _operator("", "Erf", lambda node, x: _erf(x)),
    _operator("", "Gelu", _gelu),
    _operator("", "HardSwish", lambda node, x: x * np.clip(x + 3, 0, 6) / 6),
    _operator("", "Mish", lambda node, x: x * np.tanh(_softplus(node, x))),
    _operator("", "Softplus", _softplus),
)
"""Classes for `onnx.reference.ReferenceEvaluator(..., new_ops=...)`."""
