"""Small convolutional networks drawn by hypothesis, of what `sira-compile` maps to hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_models import Net

Draw = Any
Size = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Cnn:
    """A network that quantizes its own input, what it is made of, and samples (n, *shape)."""

    proto: onnx.ModelProto
    steps: tuple[str, ...]
    samples: NDArray[np.float64]


@dataclass(frozen=True)
class _Tensor:
    """A quantized image: its name, channels, spatial size and quantizer."""

    name: str
    channels: int
    size: Size
    scale: float
    levels: int


@st.composite
def cnns(draw: Draw, steps: int = 4, samples: int = 2) -> Cnn:
    """A chain of up to so many steps; sums and concatenations reach back."""
    axes = draw(st.sampled_from([2, 2, 2, 1]))
    size = tuple(draw(st.integers(4, 7)) for _ in range(axes))
    channels = draw(st.integers(1, 4))
    net = Net((1, channels, *size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    maker = _Maker(draw, net, rng)
    x = maker.quantized("x", channels, size, 1.0)
    names = []
    for _ in range(draw(st.integers(1, steps))):
        before = len(net.nodes)
        x, name = maker.step(x)
        names += [name] if len(net.nodes) > before else []
    last = draw(st.sampled_from(["image", "image", "classes"]))
    if last == "classes":
        maker.classes(x)
    return Cnn(net.proto(), (*names, last), rng.uniform(-1.2, 1.2, (samples, *net.shape)))


class _Maker:
    def __init__(self, draw: Draw, net: Net, rng: np.random.Generator) -> None:
        self.draw, self.net, self.rng = draw, net, rng
        self.earlier: list[_Tensor] = []

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def quantized(
        self,
        x: str,
        channels: int,
        size: tuple[int, ...],
        reach: float,
        like: _Tensor | None = None,
    ) -> _Tensor:
        """A quantizer for values up to about ``reach``, or with the scale of another one."""
        bits, signed = self.one_of(2, 3, 4, 5), self.one_of(0, 1)
        levels = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        scale = float(np.float32(f"{reach * self.rng.uniform(0.4, 0.9) / levels:.2e}"))
        scale = scale if like is None else like.scale
        if self.one_of(True, True, False):
            name = self.net.quant(x, scale, bits, signed=signed)
        else:
            levels, zero = 255, np.array(self.one_of(0, 1, 127, 200), np.uint8)
            scale = scale / 16
            name = self.net.dequantized(x, np.float32(scale), zero)
        found = _Tensor(name, channels, size, scale, levels)
        self.earlier.append(found)
        return found

    def weights(self, *shape: int) -> str:
        """Ternary to 4 bits, a scale for each output channel or one for all."""
        bits = self.one_of(2, 3, 4)
        top = 2 ** (bits - 1) - 1
        q = self.rng.integers(-top, top + 1, shape)
        rows = shape[0] if self.one_of(True, False) else 1
        unit = self.rng.uniform(0.6, 1.4, rows) / top / np.prod(shape[1:]) ** 0.5
        scale = np.array([float(f"{u:.3e}") for u in unit], np.float32)
        column = scale.reshape(-1, *(1,) * (len(shape) - 1))
        return self.net.quant((q * column).astype(np.float32), column, bits, narrow=1)

    def normalized(self, x: str, channels: int) -> str:
        """Nothing, a bias, or batch normalisation with factors of both signs."""
        column = (channels, *(1,) * (len(self.net.shape) - 2))
        match self.one_of("none", "bias", "norm"):
            case "bias":
                return self.net.node("Add", x, self.rng.normal(0, 0.2, channels).reshape(column))
            case "norm":
                gamma, beta, mean = (self.rng.normal(m, 0.4, channels) for m in (0.8, 0, 0))
                var = self.rng.uniform(0.5, 2, channels)
                return self.net.node("BatchNormalization", x, gamma, beta, mean, var)
            case _:
                return x

    def activated(self, x: str) -> str:
        match self.one_of("none", "Relu", "LeakyRelu", "Sigmoid", "Neg"):
            case "none":
                return x
            case op:
                return self.net.node(op, x)

    def convolved(
        self, x: _Tensor, size_kept: bool = False, op: str = "Conv"
    ) -> tuple[str, int, Any]:
        """A convolution of any geometry; its output, channels and size."""
        n = len(x.size)
        kernel = [self.draw(st.integers(1, min(3, d))) for d in x.size]
        groups = self.one_of(1, 1, x.channels)
        out = groups * self.draw(st.integers(1, 3)) if groups > 1 else self.draw(st.integers(1, 5))
        if size_kept:
            pads = [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
            strides = dilations = [1] * n
        else:
            pads = [self.draw(st.integers(0, k - 1)) for k in kernel * 2]
            strides = [self.draw(st.integers(1, 2)) for _ in kernel]
            dilations = [1 if k == 1 or d < 5 else self.draw(st.integers(1, 2)) for k, d in zip(
                kernel, x.size, strict=True)]  # fmt: skip
        ends = zip(kernel, dilations, strict=True)
        spans = [d * (k - 1) + 1 for k, d in ends]
        whole = [d + a + b for d, a, b in zip(x.size, pads[:n], pads[n:], strict=True)]
        size = tuple((w - s) // t + 1 for w, s, t in zip(whole, spans, strides, strict=True))
        name = self.net.node(
            "Conv", x.name, self.weights(out, x.channels // groups, *kernel), group=groups,
            kernel_shape=kernel, pads=pads, strides=strides, dilations=dilations,
        )  # fmt: skip
        return self.normalized(name, out), out, size

    def step(self, x: _Tensor) -> tuple[_Tensor, str]:
        """One more quantized image, and the name of what made it."""
        reach = x.scale * x.levels
        kinds = ["convolution", "convolution", "residual", "pool", "concat", "upsample", "split"]
        kind = self.one_of(*kinds, "transposed", "shuffle")
        net, n = self.net, len(x.size)
        match kind:
            case "residual":
                name, out, size = self.convolved(x, size_kept=True)
                others = [t for t in self.earlier if (t.channels, t.size) == (out, size)]
                if others:
                    other = self.one_of(*others)
                    branch = name
                    if self.one_of(True, True, False):
                        like = other if self.one_of(True, False) else None
                        branch = self.quantized(name, out, size, reach, like).name
                    total = net.node(self.one_of("Add", "Sub"), branch, other.name)
                    return self.quantized(self.activated(total), out, size, 2 * reach), kind
                return self.quantized(self.activated(name), out, size, reach), "convolution"
            case "pool" if min(x.size) >= 2:
                op = self.one_of("MaxPool", "AveragePool")
                kernel = [self.draw(st.integers(1, min(3, d))) for d in x.size]
                strides = [self.draw(st.integers(1, 2)) for _ in kernel]
                pads = [self.draw(st.integers(0, k // 2)) for k in kernel * 2]
                include = {"count_include_pad": 1} if op == "AveragePool" else {}
                name = net.node(
                    op, x.name, kernel_shape=kernel, strides=strides, pads=pads, **include
                )
                size = tuple(
                    (d + a + b - k) // s + 1
                    for d, a, b, k, s in zip(
                        x.size, pads[:n], pads[n:], kernel, strides, strict=True
                    )
                )
                return self.quantized(self.activated(name), x.channels, size, reach), op
            case "concat":
                parts = [t for t in self.earlier if t.size == x.size]
                chosen = [x, self.one_of(*parts)]
                joined = net.node("Concat", *(t.name for t in chosen), axis=1)
                channels = sum(t.channels for t in chosen)
                return self.quantized(
                    self.normalized(joined, channels), channels, x.size, reach
                ), kind
            case "upsample" if max(x.size) <= 5:
                factors = [self.draw(st.integers(1, 2)) for _ in x.size]
                name = net.node(
                    "Resize", x.name, None, np.float32([1, 1, *factors]),
                    coordinate_transformation_mode="asymmetric", nearest_mode="floor",
                )  # fmt: skip
                size = tuple(d * f for d, f in zip(x.size, factors, strict=True))
                return self.quantized(self.activated(name), x.channels, size, reach), kind
            case "split" if x.channels >= 2:
                cut = self.draw(st.integers(1, x.channels - 1))
                sizes = np.array([cut, x.channels - cut], np.int64)
                right = net.node("Split", x.name, sizes, axis=1, outputs=2)
                left = f"{right[:-1]}0"
                joined = net.node("Concat", right, left, axis=1)
                return self.quantized(self.activated(joined), x.channels, x.size, reach), kind
            case "transposed" if max(x.size) <= 5:
                kernel = [self.draw(st.integers(1, 3)) for _ in x.size]
                strides = [self.draw(st.integers(1, 2)) for _ in x.size]
                out = self.draw(st.integers(1, 3))
                w = self.net.quant(
                    self.rng.integers(-1, 2, (x.channels, out, *kernel)) * np.float32(0.35), 0.35, 2
                )
                name = net.node("ConvTranspose", x.name, w, kernel_shape=kernel, strides=strides)
                size = tuple(
                    (d - 1) * s + k for d, s, k in zip(x.size, strides, kernel, strict=True)
                )
                return self.quantized(self.normalized(name, out), out, size, reach), kind
            case "shuffle" if n == 2 and x.channels % 4 == 0 and max(x.size) <= 5:
                name = net.node("DepthToSpace", x.name, blocksize=2, mode=self.one_of("DCR", "CRD"))
                size = tuple(2 * d for d in x.size)
                return self.quantized(self.activated(name), x.channels // 4, size, reach), kind
            case _:
                name, out, size = self.convolved(x)
                return self.quantized(self.activated(name), out, size, reach), "convolution"

    def classes(self, x: _Tensor) -> None:
        """A dense layer behind an average over all positions, or behind all of them."""
        features, name = x.channels, x.name
        if self.one_of(True, False):
            name = self.net.node("GlobalAveragePool", name)
        else:
            features *= int(np.prod(x.size))
        flat = self.net.node("Reshape", name, np.array([1, features], np.int64))
        self.net.node("Gemm", flat, self.weights(3, features), self.rng.normal(0, 0.3, 3), transB=1)
