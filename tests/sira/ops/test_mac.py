"""Operators that multiply and accumulate, seen as products with a matrix, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx_models import Net

from sira.ops import RULES, mac_of

RNG = np.random.default_rng(0)


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.integers(1, 90, shape).astype(np.float32)


CASES: dict[str, tuple[tuple[int, ...], str, tuple[int, ...], bool, dict[str, Any]]] = {
    "MatMul": ((5, 4), "MatMul", (4, 3), False, {}),
    "batch of rows": ((2, 5, 4), "MatMul", (4, 3), False, {}),
    "matrix first": ((4, 5), "MatMul", (3, 4), True, {}),
    "matrix first, batch of columns": ((2, 4, 5), "MatMul", (3, 4), True, {}),
    "matrix by vector": ((4,), "MatMul", (3, 4), True, {}),
    "vector by matrix": ((4,), "MatMul", (4, 3), False, {}),
    "Gemm": ((5, 4), "Gemm", (4, 3), False, {}),
    "Gemm transB": ((5, 4), "Gemm", (3, 4), False, {"transB": 1}),
    "Gemm transA": ((4, 5), "Gemm", (4, 3), False, {"transA": 1}),
    "Gemm, matrix first": ((4, 5), "Gemm", (3, 4), True, {}),
    "Gemm transA, matrix first": ((4, 5), "Gemm", (4, 3), True, {"transA": 1}),
    "Gemm transA transB, matrix first": ((5, 4), "Gemm", (4, 3), True, {"transA": 1, "transB": 1}),
    "Conv 1D": ((1, 4, 7), "Conv", (3, 4, 2), False, {}),
    "Conv": ((2, 4, 7, 5), "Conv", (3, 4, 2, 3), False, {"strides": [2, 1]}),
    "Conv in groups": ((1, 4, 5, 5), "Conv", (6, 2, 2, 2), False, {"group": 2}),
    "depthwise": ((1, 4, 5, 5), "Conv", (8, 1, 2, 2), False, {"group": 4}),
    "ConvTranspose": ((1, 4, 5, 5), "ConvTranspose", (4, 3, 2, 3), False, {}),
    "ConvTranspose in groups": ((1, 4, 5), "ConvTranspose", (4, 3, 2), False, {"group": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_columns_are_what_the_channels_sum(name: str) -> None:
    """On ones, away from the border, a channel is the sum of its column."""
    shape, op, kernel, first, attributes = CASES[name]
    net, w = Net(shape), weights(*kernel)
    net.node(op, *((w, "x") if first else ("x", w)), **attributes)
    [node] = ir.from_proto(net.proto()).graph
    mac = mac_of(node)
    assert mac is not None and mac.data is node.inputs[int(first)]
    assert mac.weights is node.inputs[1 - int(first)]
    matrix = mac.matrix(w)
    assert mac.summands == len(matrix)

    session = onnxruntime.InferenceSession(net.proto().SerializeToString())

    def channels(x: NDArray[np.float32]) -> NDArray[Any]:
        """The largest sum of each channel, which is that of the taps that all meet the input."""
        y = np.moveaxis(session.run(None, {"x": x})[0], mac.axis, 0)
        return y.reshape(len(y), -1).max(axis=1)

    assert np.array_equal(channels(np.ones(shape, np.float32)), matrix.sum(axis=0))

    reads = []
    for part in range(mac.groups):
        x = np.zeros(shape, np.float32)
        if mac.groups > 1:
            size = shape[1] // mac.groups
            x[:, part * size : (part + 1) * size] = 1
        else:
            x[:] = 1
        reads.append(channels(x) > 0)
    assert np.array_equal(np.sum(reads, axis=0), np.ones(matrix.shape[1]))
    assert all(r.sum() == matrix.shape[1] // mac.groups for r in reads)


def test_all_of_them_are_here() -> None:
    assert {op for op, rule in RULES.items() if rule.mac} == {case[1] for case in CASES.values()}
