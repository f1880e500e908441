"""Window attributes that make no sense: one line and exit status 2, for every operator with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Net

from sira.driver.cli import main

SHAPE = (1, 2, 6, 6)


def conv(net: Net, x: str, **attributes: Any) -> str:
    return net.node("Conv", x, net.quant(np.ones((2, 2, 3, 3)), 0.25, 4), **attributes)


def conv_transpose(net: Net, x: str, **attributes: Any) -> str:
    return net.node("ConvTranspose", x, net.quant(np.ones((2, 2, 3, 3)), 0.25, 4), **attributes)


def max_pool(net: Net, x: str, **attributes: Any) -> str:
    return net.node("MaxPool", x, **{"kernel_shape": [3, 3]} | attributes)


def average_pool(net: Net, x: str, **attributes: Any) -> str:
    return net.node("AveragePool", x, **{"kernel_shape": [3, 3]} | attributes)


def im2col(net: Net, x: str, **attributes: Any) -> str:
    defaults = {"kernel_size": [3, 3], "stride": [1, 1], "input_shape": "(1, 6, 6, 2)"}
    y = net.node("Im2Col", net.node("Transpose", x, perm=[0, 2, 3, 1]), **defaults | attributes)
    return net.node("Transpose", y, perm=[0, 3, 1, 2])


def quant_average(net: Net, x: str, **attributes: Any) -> str:
    defaults = {"kernel": 3, "stride": 1, "ibits": 4, "obits": 4, "signed": 1}
    return net.node("QuantAvgPool2d", x, **defaults | attributes)


Operator = Callable[..., str]
STANDARD: tuple[Operator, ...] = (conv, conv_transpose, max_pool, average_pool)
NONSENSE: dict[str, tuple[Any, ...]] = {
    "strides": ([0, 0], [1, 0], [-1, 1], [1], [1, 1, 1], [1.0, 1.0], 2, "12"),
    "dilations": ([0, 0], [1, 0], [-2, 1], [1], [1, 1, 1], [1.0, 1.0], 2),
    "pads": ([-1, 0, 0, 0], [0, 0, 0, -1], [1, 1], [1] * 6, [0.5] * 4, 1, [2**40] * 4, [10**6] * 4),
    "kernel_shape": ([0, 0], [3, 0], [-3, 3], [3], [3, 3, 3], [3.0, 3.0], 3, [99, 99]),
    "auto_pad": ("SAME", "same_upper", 1, ""),
}
OUTPUT: dict[str, tuple[Any, ...]] = {
    "output_padding": ([-1, 0], [1], [1, 1, 1], [0.5, 0.5], 1),
    "output_shape": ([0, 8], [-8, 8], [8], [8, 8, 8], [99, 99], [8.0, 8.0], 8),
}
IM2COL: dict[str, tuple[Any, ...]] = {
    "stride": ([0, 0], [-1, 1], [1], [1, 1, 1], [1.0, 1.0], 1),
    "dilations": ([0, 0], [1, -1], [1], 1),
    "pad_amount": ([-1, 0, 0, 0], [1, 1], [1] * 6, 1, [2**40] * 4),
    "kernel_size": ([0, 0], [3, -3], [3], [3, 3, 3], 3, [99, 99]),
}
QUANT_AVERAGE: dict[str, tuple[Any, ...]] = {
    "kernel": (0, -3, 99, [3, 3], 3.0),
    "stride": (0, -1, [1, 1], 1.0),
    "ibits": (0, -4, 4.0),
    "obits": (0, -4, 4.0),
}
CASES = [
    *((op, n, v) for op in STANDARD for n, values in NONSENSE.items() for v in values),
    *((conv_transpose, n, v) for n, values in OUTPUT.items() for v in values),
    *((im2col, n, v) for n, values in IM2COL.items() for v in values),
    *((quant_average, n, v) for n, values in QUANT_AVERAGE.items() for v in values),
]


def network(op: Operator, **attributes: Any) -> onnx.ModelProto:
    """The operator between two quantizers."""
    net = Net(SHAPE)
    quantizer = net.quant("x", 1.0 if op is quant_average else 0.5, 4)
    net.quant(op(net, quantizer, **attributes), 0.25, 4)
    return net.proto()


def compiled(path: Path, *options: str) -> int:
    build = path.parent / "build"
    return main([str(path), "-o", str(build), "--verify", "0", *options])


def fails(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which sira-compile refuses a model."""
    assert compiled(path) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line, end = captured.err.split("\n")
    assert end == "" and not (path.parent / "build").exists()
    return line


@pytest.mark.parametrize("op", [*STANDARD, im2col, quant_average])
def test_sense_has_ranges(op: Operator, tmp_path: Path) -> None:
    """What the other tests spoil is right before."""
    onnx.save(network(op), str(path := tmp_path / "model.onnx"))
    assert compiled(path, "--analyze-only") == 0


@pytest.mark.parametrize("op, name, value", CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_nonsense_is_one_line(
    op: Operator, name: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(network(op, **{name: value}), str(path := tmp_path / "model.onnx"))
    line = fails(path, capsys)
    assert " expected " in line and "Error" not in line


def test_a_pool_needs_a_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net(SHAPE)
    net.quant(net.node("MaxPool", net.quant("x", 0.5)), 0.5)
    onnx.save(net.proto(), str(path := tmp_path / "model.onnx"))
    assert "attribute kernel_shape does not fit" in fails(path, capsys)


def test_a_convolution_has_the_kernel_of_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(network(conv, kernel_shape=[2, 2]), str(path := tmp_path / "model.onnx"))
    line = fails(path, capsys)
    assert "kernel_shape does not fit, expected [3, 3] as the weights have, found [2, 2]" in line
