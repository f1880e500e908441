"""Random quantized perceptrons in the styles that exporters write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_models import Net, integers

from sira.datatypes import InputSpec

MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


@dataclass(frozen=True, eq=False)
class Case:
    """A model, what is declared of its input, and samples (n, *shape) of it."""

    proto: onnx.ModelProto
    spec: InputSpec | None
    samples: NDArray[np.float64]


def random_case(seed: int, samples: int = 30) -> Case:
    """A perceptron of one to three layers."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 13))
    net = Net((1, k), domain=str(rng.choice(["qonnx.custom_op.general", "onnx.brevitas"])))
    x, spec, data = _input(rng, net, k, samples)
    for _ in range(int(rng.integers(1, 4))):
        n = int(rng.integers(2, 9))
        x = _quantizer(rng, net, _activation(rng, net, _dense(rng, net, x, k, n), n), n)
        k = n
    match rng.integers(4):
        case 0:
            n = int(rng.integers(2, 6))
            x = _dense(rng, net, x, k, n)
        case 1:
            x = net.node("ArgMax", _dense(rng, net, x, k, 4), axis=1, keepdims=0)
            return Case(_int_output(net.proto(x)), spec, data)
        case _:
            pass
    return Case(net.proto(x), spec, data)


def _int_output(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return proto


def _scale(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> NDArray[np.float32]:
    if rng.random() < 0.5:  # powers of two, so that many values lie on ties
        return (2.0 ** rng.integers(-4, 2, shape)).astype(np.float32)
    return rng.uniform(0.02, 1.5, shape).astype(np.float32)


def _input(rng: np.random.Generator, net: Net, k: int, n: int) -> tuple[Any, Any, Any]:
    match rng.integers(3):
        case 0:
            lo, hi = [(0, 255), (-8, 7), (0, 1), (-1, 1)][int(rng.integers(4))]
            q = rng.integers(lo, hi + 1, (n, 1, k))
            return "x", integers(lo, hi, 0.5, 0.25), q * 0.5 + 0.25
        case 1:
            x = net.quant("x", _scale(rng), bits=int(rng.integers(2, 9)), signed=1, narrow=1)
        case _:
            zero = np.asarray(rng.integers(0, 256), np.uint8)
            x = net.dequantized("x", _scale(rng), zero)
    return x, None, rng.normal(0, 6, (n, 1, k)).astype(np.float32).astype(np.float64)


def _dense(rng: np.random.Generator, net: Net, x: str, k: int, n: int) -> str:
    transposed = bool(rng.integers(2))
    shape = (n, k) if transposed else (k, n)
    raw = rng.normal(0, 1, shape).astype(np.float32)
    per_channel = (n, 1) if transposed else (1, n)
    scale = _scale(rng, per_channel if rng.integers(2) else ())
    match rng.integers(4):
        case 0:
            w = net.node("BipolarQuant", raw, scale)
        case 1:
            q = rng.integers(-127, 128, shape).astype(np.int8)
            w = net.node(
                "DequantizeLinear", net.constant(q), net.constant(_scale(rng)), net.constant(
                    np.zeros((), np.int8))
            )  # fmt: skip
        case _:
            w = net.quant(raw, scale / 4, bits=int(rng.integers(2, 9)), narrow=1)
    bias = rng.normal(0, 2, n).astype(np.float32)
    if rng.integers(2):
        alpha, beta = (1.0, 1.0) if rng.integers(2) else (0.5, 3.0)
        attributes = {"transB": int(transposed), "alpha": alpha, "beta": beta}
        return net.node("Gemm", x, w, *([bias] if rng.integers(2) else []), **attributes)
    if transposed:
        w = net.node("Transpose", w, perm=[1, 0])
    y = net.node("MatMul", x, w)
    return net.node("Add", y, bias) if rng.integers(2) else y


def _activation(rng: np.random.Generator, net: Net, x: str, n: int) -> str:
    if rng.integers(2):
        gamma = rng.choice([-1.5, -0.3, 0.0, 0.7, 2.0], n)
        x = net.node(
            "BatchNormalization", x, gamma, rng.normal(0, 1, n), rng.normal(0, 2, n),
            rng.uniform(0.1, 9, n),
        )  # fmt: skip
    match rng.integers(9):
        case 0:
            x = net.node("Relu", x)
        case 1:
            x = net.node("LeakyRelu", x, alpha=0.125)
        case 2:
            x = net.node("PRelu", x, rng.uniform(0, 1, n))
        case 3:
            x = net.node("Clip", x, -1.5, 2.0)
        case 4:
            x = net.node("Sigmoid", x)
        case 5:
            x = net.node("Tanh", x)
        case 6:
            x = net.node("Sub", 1.5, x)
        case 7:
            x = net.node("Neg", net.node("Div", x, rng.choice([-2.0, 3.0, 0.7], n)))
        case _:
            pass
    return x


def _quantizer(rng: np.random.Generator, net: Net, x: str, n: int) -> str:
    match rng.integers(5):
        case 0:
            return net.node("BipolarQuant", x, _scale(rng))
        case 1:
            scale, zero = _scale(rng), np.asarray(rng.integers(-128, 128), np.int8)
            return net.dequantized(x, scale, zero)
        case 2:
            steps = np.sort(rng.normal(0, 4, (int(rng.choice([1, n])), 7)), axis=1)
            return net.node(
                "MultiThreshold", x, steps.astype(np.float32), out_scale=0.5, out_bias=-1.5,
                out_dtype="INT4",
            )  # fmt: skip
        case _:
            bits, signed = int(rng.integers(1, 9)), int(rng.integers(2))
            shape = (1, n) if rng.integers(2) else ()
            mode = str(rng.choice(MODES)) if rng.integers(2) else "ROUND"
            if net.nodes[-1].op_type in ("Sigmoid", "Tanh"):
                mode = "ROUND"  # float64 says 1 where they are a little less
            scale = 2.0 ** rng.integers(-4, 2, shape) if shape else _scale(rng)
            return net.quant(x, scale, bits=bits, signed=signed, mode=mode)
