"""Write the small convolutional networks of this folder: `python tests/models/make_networks.py`.

Weights are random with fixed seeds; the scale of every activation quantizer is taken from what
the network computes in front of it for random images, rounded to three digits. The same versions
of numpy and onnx write the same files again.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "support"))

from onnx_models import Net  # noqa: E402

from sira.verification.oracle import Oracle  # noqa: E402

IMAGES = 12
"""For how many images activations are looked at."""


class Maker(Net):
    """A network in the making: layers with random weights, quantizers that fit their operand."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        super().__init__(shape)
        self.rng = np.random.default_rng(seed)
        self.images = np.rint(_smooth(self.rng, (IMAGES, *shape)) * 255) / 255
        self.channels = {"x": shape[1]}

    def add(self, op: str, *inputs: Any, channels: int | None = None, **attributes: Any) -> str:
        """A node whose output has as many channels as its first input, unless told."""
        name = self.node(op, *inputs, **attributes)
        self.channels[name] = self.channels[inputs[0]] if channels is None else channels
        return name

    def values(self, x: str) -> NDArray[np.float64]:
        """What the network computes for the images."""
        if x == "x":
            return self.images
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            oracle = Oracle(self.proto(x))
        return np.asarray(oracle.run(self.images)[x])

    def scale_of(self, x: str, levels: int) -> NDArray[np.float32]:
        """Such that hardly any of its values lies beyond ``levels`` steps."""
        reach = float(np.quantile(np.abs(self.values(x)), 0.995))
        return np.float32(f"{max(reach, 1e-3) / levels:.2e}")

    def act(self, x: str, bits: int, signed: int = 0, scale: Any = None) -> str:
        """An activation quantizer; with ``scale`` it shares that of another."""
        levels = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        found = self.scale_of(x, levels) if scale is None else scale
        name = self.quant(x, found, bits, signed=signed)
        self.channels[name] = self.channels[x]
        return name

    def weights(self, shape: tuple[int, ...], bits: int, per_channel: bool = True) -> str:
        """Quantized weights of about unit gain, narrow signed, the scale of each output channel."""
        fan_in = int(np.prod(shape[1:]))
        w = self.rng.normal(0, fan_in**-0.5, shape)
        axes = tuple(range(1, len(shape))) if per_channel else None
        levels = 2 ** (bits - 1) - 1
        reach = np.quantile(np.abs(w), 0.97, axis=axes, keepdims=True)
        scale = np.asarray([float(f"{v / levels:.2e}") for v in reach.ravel()], np.float32)
        return self.quant(w, scale.reshape(reach.shape), bits, narrow=1)

    def conv(
        self,
        x: str,
        out: int,
        kernel: int = 3,
        bits: int = 4,
        depthwise: bool = False,
        bias: bool = False,
        **attributes: Any,
    ) -> str:
        """A convolution that keeps the size of its input, but for strides."""
        axes = len(self.shape) - 2
        groups = self.channels[x] if depthwise else 1
        w = self.weights((out, self.channels[x] // groups, *[kernel] * axes), bits)
        reach = (kernel - 1) * attributes.get("dilations", [1])[0]
        before, after = reach // 2, reach - reach // 2
        attributes.setdefault("pads", [before] * axes + [after] * axes)
        b = [self.rng.normal(0, 0.2, out)] if bias else []
        return self.add(
            "Conv", x, w, *b, channels=out, group=groups, kernel_shape=[kernel] * axes, **attributes
        )

    def norm(self, x: str, spread: float = 0.3) -> str:
        """Batch normalisation by the statistics of the images, with some negative factors."""
        v = self.values(x)
        axes = (0, 1, *range(3, v.ndim))
        n = self.channels[x]
        gamma = self.rng.normal(1, spread, n) * np.where(self.rng.random(n) < 0.15, -1, 1)
        beta = self.rng.normal(0, spread, n)
        moments = [
            np.float32([float(f"{s:.3e}") for s in f(v, axis=axes)]) for f in (np.mean, np.var)
        ]
        return self.add("BatchNormalization", x, gamma, beta, *moments)

    def block(self, x: str, out: int, bits: int, **options: Any) -> str:
        """Convolution, batch normalisation, Relu and quantizer."""
        hidden = self.norm(self.conv(x, out, bits=bits, **options))
        return self.act(self.add("Relu", hidden), bits)

    def classify(self, x: str, features: int, bits: int, classes: int = 10) -> str:
        """Flatten and a dense layer with a bias, in real scores."""
        flat = self.node("Reshape", x, np.array([1, features]))
        w = self.weights((classes, features), bits)
        return self.node("Gemm", flat, w, self.rng.normal(0, 0.1, classes), transB=1)


def _short(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rounded to four digits, so that the last bits of float64 do not matter."""
    return np.array([float(f"{v:.3e}") for v in values], np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Random images in [0, 1] whose neighbouring pixels resemble each other."""
    x = rng.random(shape)
    for axis in range(3, len(shape)):
        x = (x + np.roll(x, 1, axis)) / 2
    low, high = x.min(), x.max()
    return np.asarray((x - low) / (high - low))


def residual() -> Maker:
    """Two residual blocks, the second with a strided 1x1 shortcut; one scale for both branches."""
    net = Maker((1, 3, 10, 10), seed=1)
    x = net.block(net.act("x", 8, scale=np.float32(1 / 255)), 8, 3)
    for width, stride in ((8, 1), (12, 2)):
        a = net.block(x, width, 3, strides=[stride, stride])
        a = net.norm(net.conv(a, width, bits=3))
        b = x
        if stride > 1:
            b = net.norm(net.conv(x, width, kernel=1, bits=3, strides=[stride, stride]))
        scale = net.scale_of(a, 3)
        a, b = (net.act(v, 3, signed=1, scale=scale) for v in (a, b))
        x = net.act(net.add("Relu", net.add("Add", a, b)), 3)
    net.classify(net.add("GlobalAveragePool", x), 12, 3)
    return net


def depthwise() -> Maker:
    """Depthwise and pointwise convolutions in turn, an average pool in front of the classes."""
    net = Maker((1, 3, 12, 12), seed=2)
    x = net.block(net.act("x", 8, scale=np.float32(1 / 255)), 8, 4)
    x = net.block(x, 8, 4, depthwise=True)
    x = net.block(x, 16, 4, kernel=1)
    x = net.block(x, 16, 4, depthwise=True, kernel=5, strides=[2, 2])
    x = net.block(x, 16, 4, kernel=1)
    x = net.add("AveragePool", x, kernel_shape=[3, 3], strides=[3, 3])
    x = net.act(x, 4)
    net.classify(x, 64, 4)
    return net


def upsampled(net: Maker, x: str) -> str:
    scales = np.float32([1, 1, 2, 2])
    return net.add(
        "Resize", x, None, scales,
        mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
    )  # fmt: skip


def skip_concat() -> Maker:
    """A U-net: max pools down, nearest upsampling and concatenation with the skipped tensors up."""
    net = Maker((1, 2, 8, 8), seed=3)
    x = net.act("x", 8, scale=np.float32(1 / 255))
    skipped = []
    for width in (6, 8):
        x = net.add("Relu", net.norm(net.conv(x, width)))
        scale = net.scale_of(x, 15)
        x = net.act(x, 4, scale=scale)
        skipped.append((x, scale))
        x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.block(x, 12, 4)
    for skip, scale in reversed(skipped):
        width = net.channels[skip]
        up = net.add("Relu", net.norm(net.conv(upsampled(net, x), width)))
        up = net.act(up, 4, scale=scale)
        joined = net.add("Concat", up, skip, axis=1, channels=2 * width)
        x = net.block(joined, width, 4)
    net.act(net.conv(x, 2, kernel=1, bias=True), 8, signed=1)
    return net


def unequal_residual() -> Maker:
    """Residual sums whose branches have scales of their own, in no ratio of small integers."""
    net = Maker((1, 3, 8, 8), seed=4)
    x = net.block(net.act("x", 8, scale=np.float32(1 / 255)), 6, 4)
    for width, stride in ((6, 1), (8, 2)):
        a = net.block(x, width, 4, strides=[stride, stride])
        a = net.act(net.norm(net.conv(a, width)), 5, signed=1)
        b = x if stride == 1 else net.norm(net.conv(x, width, kernel=1, strides=[stride, stride]))
        b = b if stride == 1 else net.act(b, 4, signed=1)
        x = net.act(net.add("Relu", net.add("Add", a, b)), 4)
    a = net.norm(net.conv(x, 8))  # no quantizer in front of this sum
    x = net.act(net.add("Relu", net.add("Add", a, x)), 4)
    net.classify(net.add("GlobalAveragePool", x), 8, 4)
    return net


def one_dimensional() -> Maker:
    """Convolutions of a signal: strides, dilation, max pool."""
    net = Maker((1, 4, 40), seed=5)
    x = net.act("x", 8, scale=np.float32(1 / 255))
    x = net.block(x, 8, 4, kernel=5, strides=[2])
    x = net.block(x, 8, 4, kernel=3, dilations=[2])
    x = net.add("MaxPool", x, kernel_shape=[2], strides=[2])
    x = net.block(x, 12, 4, kernel=3)
    net.classify(net.add("GlobalAveragePool", x), 12, 4)
    return net


def transposed() -> Maker:
    """An autoencoder: strided convolutions down, transposed ones up; puts out an image."""
    net = Maker((1, 2, 8, 8), seed=6)
    x = net.act("x", 8, scale=np.float32(1 / 255))
    x = net.block(x, 6, 4, strides=[2, 2])
    x = net.block(x, 8, 4, strides=[2, 2])
    for width, kernel, extra in ((6, 4, 0), (4, 3, 1)):
        w = net.weights((net.channels[x], width, kernel, kernel), 4, per_channel=False)
        x = net.add(
            "ConvTranspose", x, w, net.rng.normal(0, 0.1, width), channels=width,
            kernel_shape=[kernel] * 2, strides=[2, 2], pads=[1] * 4, output_padding=[extra] * 2,
        )  # fmt: skip
        x = net.act(net.add("Relu", net.norm(x)), 4)
    net.act(net.conv(x, 2, kernel=1, bias=True), 8, signed=1)
    return net


def normalized() -> Maker:
    """(x - mean) / std in front of padded convolutions: real zero is no integer of their input."""
    net = Maker((1, 3, 10, 10), seed=7)
    x = net.add("Sub", "x", np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1))
    x = net.add("Div", x, np.float32(0.226))
    x = net.block(x, 8, 4, kernel=5, strides=[2, 2])
    x = net.block(x, 8, 4, depthwise=True)
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    net.classify(x, 72, 4)
    return net


class Qdq(Maker):
    """A network in QuantizeLinear and DequantizeLinear: 8 bits, odd zero points."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        super().__init__(shape, seed)
        self.scales: dict[str, np.float32] = {}

    def add(self, op: str, *inputs: Any, channels: int | None = None, **attributes: Any) -> str:
        name = super().add(op, *inputs, channels=channels, **attributes)
        if op in ("MaxPool", "Flatten"):
            self.scales[name] = self.scales[inputs[0]]
        return name

    def act(self, x: str, bits: int = 8, signed: int = 0, scale: Any = None) -> str:
        """uint8 over the whole range of the values; the zero point is made odd."""
        v = self.values(x)
        low, high = min(float(v.min()), 0.0), max(float(v.max()), 0.0)
        found = float(f"{(high - low) / 253:.2e}")
        zero = min(max(round(-low / found) | 1, 1), 253)
        s, z = self.constant(np.float32(found)), self.constant(np.array(zero, np.uint8))
        name = self.node("DequantizeLinear", self.node("QuantizeLinear", x, s, z), s, z)
        self.channels[name], self.scales[name] = self.channels[x], np.float32(found)
        return name

    def stored(self, shape: tuple[int, ...], axis: int = 0) -> tuple[str, NDArray[np.float32]]:
        """int8 weights with a scale for each output channel, and these scales."""
        others = tuple(i for i in range(len(shape)) if i != axis)
        w = self.rng.normal(0, float(np.prod([shape[i] for i in others])) ** -0.5, shape)
        reach = np.abs(w).max(axis=others)
        scale = np.array([float(f"{v / 127:.2e}") for v in reach], np.float32)
        laid = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        q = np.clip(np.rint(w / laid), -127, 127).astype(np.int8)
        zeros = np.zeros(len(scale), np.int8)
        return self.node("DequantizeLinear", q, scale, zeros, axis=axis), scale

    def conv(self, x: str, out: int, kernel: int = 3, **attributes: Any) -> str:  # type: ignore[override]
        """Padded, with a bias of 32 bits on the lattice of the sums."""
        w, scale = self.stored(
            (out, self.channels[x] // attributes.get("group", 1), kernel, kernel)
        )
        total = self.scales[x] * scale
        q = np.rint(self.rng.normal(0, 0.1, out) / total).astype(np.int32)
        b = self.node("DequantizeLinear", q, total, np.zeros(out, np.int32), axis=0)
        pads = [kernel // 2] * 4
        return self.add("Conv", x, w, b, channels=out, pads=pads, **attributes)


def qcdq_residual() -> Maker:
    """Residual sums of unequal scales and odd zero points, as exporters of 8-bit models write."""
    net = Qdq((1, 3, 8, 8), seed=8)
    x = net.act(net.add("Sub", "x", 0.3))
    x = net.act(net.add("LeakyRelu", net.conv(x, 6), alpha=0.1))
    for width, stride in ((6, 1), (8, 2)):
        a = net.act(net.add("Relu", net.conv(x, width, strides=[stride, stride])))
        a = net.act(net.conv(a, width))
        b = x if stride == 1 else net.act(net.conv(x, width, kernel=1, strides=[stride, stride]))
        x = net.act(net.add("Add", a, b))
        x = net.act(net.add("Relu", x)) if stride == 1 else x
    x = net.act(net.add("GlobalAveragePool", x))
    w, _ = net.stored((8, 10), axis=1)
    scores = net.add("MatMul", net.add("Flatten", x), w)
    net.act(net.add("Add", scores, net.rng.normal(0, 0.1, 10)))
    return net


def qcdq_depthwise() -> Maker:
    """Depthwise convolution, max and average pool in 8 bits with odd zero points."""
    net = Qdq((1, 3, 9, 9), seed=9)
    x = net.act("x")
    x = net.act(net.conv(x, 8, strides=[2, 2]))
    x = net.act(net.add("Clip", net.conv(x, 8, group=8), 0.0, 6.0))
    x = net.act(net.add("Sigmoid", net.conv(x, 12, kernel=1)))
    x = net.add("MaxPool", x, kernel_shape=[2, 2])
    x = net.act(net.conv(x, 4))
    net.act(net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))
    return net


NETWORKS: dict[str, Callable[[], Maker]] = {
    "residual_w3a3": residual,
    "depthwise_w4a4": depthwise,
    "skip_concat_w4a4": skip_concat,
    "unequal_residual_w4a4": unequal_residual,
    "one_dimensional_w4a4": one_dimensional,
    "transposed_w4a4": transposed,
    "normalized_w4a4": normalized,
    "qcdq_residual_w8a8": qcdq_residual,
    "qcdq_depthwise_w8a8": qcdq_depthwise,
}


def main() -> None:
    chosen = sys.argv[1:] or NETWORKS
    for name in chosen:
        net = NETWORKS[name]()
        proto = net.proto()
        result = proto.graph.output[0]
        shape = net.values(result.name).shape[1:]
        result.CopyFrom(helper.make_tensor_value_info(result.name, TensorProto.FLOAT, shape))
        onnx.checker.check_model(proto)
        path = FOLDER / f"{name}.onnx"
        onnx.save(proto, str(path))
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
