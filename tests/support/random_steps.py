"""Steps of random QONNX graphs: each makes another tensor from a quantized image (1, C, H, W).

What came before is kept in the `Builder`, so that sums, concatenations and products join branches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_models import Net

OPSET = 20
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph; ``scale``: it holds small integers times this dyadic number."""

    name: str
    shape: Shape
    scale: float | None = None


@dataclass(eq=False)
class Builder:
    """A graph in the making, and its quantized images so far."""

    net: Net
    rng: np.random.Generator
    images: list[Tensor] = field(default_factory=list)
    annotated: list[str] = field(default_factory=list)
    """Tensors that need a datatype for qonnx's executor."""

    def node(
        self, op: str, x: Tensor, *others: Any, shape: Shape | None = None, **a: Any
    ) -> Tensor:
        names = [o.name if isinstance(o, Tensor) else o for o in others]
        return Tensor(self.net.node(op, x.name, *names, **a), x.shape if shape is None else shape)

    def like(self, x: Tensor) -> Tensor:
        """An earlier image of the same shape, which may be ``x`` itself."""
        fitting = [t for t in self.images if t.shape == x.shape and t.name != x.name]
        return fitting[int(self.rng.integers(len(fitting)))] if fitting else x

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def vector(self, x: Tensor, *choices: float) -> NDArray[np.float32]:
        """A constant for each channel, (C, 1, 1)."""
        return self.rng.choice(choices, (x.shape[1], 1, 1)).astype(np.float32)


Step = Callable[[Builder, Tensor], Tensor]


def quantizer(b: Builder, x: Tensor, exact: bool = False) -> Tensor:
    """A random quantizer. ``exact``: with a power of two as its scale."""
    rng = b.rng
    # Multiples of 1/256 that are far from ratios of small integers, or powers of two.
    scale = 2.0 ** rng.integers(-3, 1) if exact else int(rng.choice([13, 37, 83, 151])) / 256
    match 9 if exact else rng.integers(8):
        case 0:
            return Tensor(b.net.node("BipolarQuant", x.name, scale), x.shape)
        case 1:
            zero = np.asarray(rng.integers(-5, 6), np.int8)
            return Tensor(b.net.dequantized(x.name, scale, zero), x.shape)
        case 2:
            channels = int(rng.choice([1, x.shape[1]]))
            steps = np.sort(rng.normal(0, 2, (channels, 7)), axis=1).astype(np.float32)
            attributes = {"out_scale": 0.5, "out_bias": -1.5, "out_dtype": "INT4"}
            return Tensor(b.net.node("MultiThreshold", x.name, steps, **attributes), x.shape)
        case _:
            bits, signed = int(rng.integers(3, 7)), int(rng.integers(4) > 0)
            mode = str(rng.choice(["ROUND", "ROUND", "CEIL", "FLOOR", "HALF_UP"]))
            attributes = {"signed": signed, "narrow": 0, "rounding_mode": mode}
            op = str(rng.choice(["Quant", "IntQuant"]))
            return b.node(op, Tensor(x.name, x.shape), scale, 0.0, float(bits), **attributes)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def function(op: str, *constants: float, **attributes: Any) -> Step:
    return lambda b, x: b.node(op, x, *constants, **attributes)


def of_positive(op: str, least: float = 0.5) -> Step:
    """A function of ``|x| + least``."""
    return lambda b, x: b.node(op, b.node("Add", b.node("Abs", x), least))


def exp(b: Builder, x: Tensor) -> Tensor:
    return b.node("Exp", b.node("Min", x, 3.0))


def swish(b: Builder, x: Tensor) -> Tensor:
    return b.node("Mul", x, b.node("Sigmoid", x))


def square(b: Builder, x: Tensor) -> Tensor:
    return b.node("Mul", x, x)


def difference_with_itself(b: Builder, x: Tensor) -> Tensor:
    return b.node("Sub", b.node("Mul", x, 3.0), x)


def prelu(b: Builder, x: Tensor) -> Tensor:
    return b.node("PRelu", x, b.vector(x, 0.0, 0.25, 0.5, -0.5))


def clip(b: Builder, x: Tensor) -> Tensor:
    return b.node("Clip", x, -1.25, b.pick(2.0, 0.75))


def channel_affine(b: Builder, x: Tensor) -> Tensor:
    """Signs of both kinds and zero among the factors."""
    y = b.node("Mul", x, b.vector(x, -1.5, -0.5, 0.0, 1.0))
    return b.node(b.pick("Add", "Sub"), y, b.vector(x, -0.75, 0.5, 3.0))


def from_constant(b: Builder, x: Tensor) -> Tensor:
    c = Tensor(b.net.constant(b.vector(x, -1.0, 2.5)), x.shape)
    return b.node("Sub", c, x)


def division(b: Builder, x: Tensor) -> Tensor:
    return b.node("Neg", b.node("Div", x, b.vector(x, -4.0, 3.0, 0.7)))


def batch_normalization(b: Builder, x: Tensor) -> Tensor:
    c, rng = x.shape[1], b.rng
    gamma = rng.choice([-1.5, -0.3, 0.7, 2.0], c)
    gamma[int(rng.integers(c))] = 0.0
    gamma[int(rng.integers(c))] = -0.7
    return b.node(
        "BatchNormalization", x, gamma, rng.normal(0, 1, c), rng.normal(0, 2, c),
        rng.uniform(0.3, 9, c),
    )  # fmt: skip


def instance_normalization(b: Builder, x: Tensor) -> Tensor:
    c = x.shape[1]
    scale = b.rng.normal(0, 1, c)
    return b.node("InstanceNormalization", x, scale, b.rng.normal(0, 1, c), epsilon=0.25)


def layer_normalization(b: Builder, x: Tensor) -> Tensor:
    scale, bias = b.rng.normal(0, 1, (2, x.shape[3]))
    return b.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=0.25)


def extremum(b: Builder, x: Tensor) -> Tensor:
    y = b.node(b.pick("Min", "Max"), x, b.vector(x, -0.5, 0.5))
    return b.node(b.pick("Min", "Max"), y, b.like(x))


def where(b: Builder, x: Tensor) -> Tensor:
    condition = b.net.constant(b.rng.integers(0, 2, (x.shape[1], 1, 1)).astype(bool))
    y = b.net.node("Where", condition, x.name, b.net.constant(b.vector(x, -1.0, 0.5)))
    return Tensor(y, x.shape)


def cast(b: Builder, x: Tensor) -> Tensor:
    y = b.node("Cast", b.node("Floor", x), to=onnx.TensorProto.INT32)
    return b.node("Cast", y, to=onnx.TensorProto.FLOAT)


def residual(b: Builder, x: Tensor) -> Tensor:
    """A branch around a 1x1 convolution, or the sum with an earlier image."""
    other = b.like(x)
    if other is x:
        other = quantizer(b, convolve(b, x, x.shape[1], 1), exact=True)
    return b.node(b.pick("Add", "Add", "Sub"), x, other)


def product(b: Builder, x: Tensor) -> Tensor:
    return b.node("Mul", x, b.like(x))


def concat(b: Builder, x: Tensor) -> Tensor:
    others = [t for t in b.images if t.shape[2:] == x.shape[2:]]
    other = others[int(b.rng.integers(len(others)))]
    negated = b.node("Neg", x)
    shape = (1, 2 * x.shape[1] + other.shape[1], *x.shape[2:])
    return b.node("Concat", x, other, negated, axis=1, shape=shape)


def split(b: Builder, x: Tensor) -> Tensor:
    """Two outputs with functions of their own, joined again the other way round."""
    c = x.shape[1]
    if c < 2:
        return b.node("Identity", x)
    sizes = ints(c // 2, c - c // 2)
    last = b.net.node("Split", x.name, b.net.constant(sizes), outputs=2, axis=1)
    first = last.removesuffix("_1") + "_0"
    halved = b.net.node("Mul", first, -0.5)
    return Tensor(b.net.node("Concat", last, halved, axis=1), x.shape)


def transpose(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    return b.node("Transpose", x, perm=[0, 1, 3, 2], shape=(1, c, w, h))


def reshape(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    return b.node("Reshape", x, ints(1, h, -1, w), shape=(1, h, c, w))


def flatten(b: Builder, x: Tensor) -> Tensor:
    """Flattened, scaled place by place, and an image again."""
    y = b.node("Flatten", x, axis=1)
    factors = b.rng.choice([-0.5, 1.0, 2.0], prod(x.shape)).astype(np.float32)
    return b.node("Reshape", b.node("Mul", y, factors), ints(*x.shape), shape=x.shape)


def squeeze(b: Builder, x: Tensor) -> Tensor:
    return b.node("Unsqueeze", b.node("Squeeze", x, ints(0)), ints(0), shape=x.shape)


def pad(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    if h * w > 40:
        return b.node("Identity", x)
    mode = b.pick("constant", "edge", "reflect") if min(h, w) > 1 else "constant"
    value = [b.pick(0.0, 0.5, -1.0)] if mode == "constant" else []
    pads = ints(0, 0, 1, 0, 0, 0, 0, 1)
    return b.node("Pad", x, pads, *value, mode=mode, shape=(1, c, h + 1, w + 1))


def slice_(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    if h < 4:
        return b.node("Slice", x, ints(-1), ints(-99), ints(3), ints(-1))
    shape = (1, c, (h + 1) // 2, w)
    return b.node("Slice", x, ints(0), ints(h), ints(2), ints(2), shape=shape)


def gather(b: Builder, x: Tensor) -> Tensor:
    chosen = b.rng.integers(0, x.shape[1], x.shape[1])
    return b.node("Gather", x, chosen, axis=1)


def tile(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    times = 2 if c < 5 else 1
    return b.node("Tile", x, ints(1, times, 1, 1), shape=(1, c * times, h, w))


def expand(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    row = b.node("ReduceMax", x, ints(2), keepdims=1, shape=(1, c, 1, w))
    return b.node("Expand", row, ints(1, c, h, w), shape=x.shape)


def depth_and_space(b: Builder, x: Tensor) -> Tensor:
    """Blocks of 2 x 2 to channels, and those with the outer columns swapped back to places."""
    _, c, h, w = x.shape
    x = b.node("Tile", x, ints(1, 1, 1 + h % 2, 1 + w % 2))
    h, w = h * (1 + h % 2), w * (1 + w % 2)
    y = b.node("SpaceToDepth", x, blocksize=2, shape=(1, 4 * c, h // 2, w // 2))
    y = channel_affine(b, y)
    return b.node("DepthToSpace", y, blocksize=2, mode=b.pick("DCR", "CRD"), shape=(1, c, h, w))


def resize(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    mode = b.pick("nearest", "linear")
    scales = np.array([1, 1, 1, 2 if w < 7 else 1], np.float32)
    return b.node(
        "Resize", x, None, scales, mode=mode, coordinate_transformation_mode="half_pixel",
        shape=(1, c, h, int(w * scales[3])),
    )  # fmt: skip


def weights(b: Builder, shape: Shape, per_channel: Shape) -> str:
    raw = b.rng.normal(0, 1, shape).astype(np.float32)
    scale = 2.0 ** b.rng.integers(-3, 0, per_channel if b.rng.integers(2) else ())
    if b.rng.random() < 0.2:
        return b.net.node("BipolarQuant", raw, np.float32(0.5))
    return b.net.quant(raw, np.float32(scale), bits=int(b.rng.integers(2, 5)), narrow=1)


def convolve(b: Builder, x: Tensor, n: int, kernel: int, **attributes: Any) -> Tensor:
    _, c, h, w = x.shape
    group = attributes.get("group", 1)
    kernel_weights = weights(b, (n, c // group, kernel, kernel), (n, 1, 1, 1))
    bias = [b.rng.choice([-1.5, 0.25, 2.0], n)] if b.rng.integers(2) else []
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    sh, sw = attributes.get("strides", (1, 1))
    shape = (1, n, (h + top + bottom - kernel) // sh + 1, (w + left + right - kernel) // sw + 1)
    return b.node("Conv", x, kernel_weights, *bias, shape=shape, **attributes)


def convolution(b: Builder, x: Tensor) -> Tensor:
    pads = b.pick([1, 1, 1, 1], [0, 1, 2, 1])
    strides = [1, 1] if min(x.shape[2:]) < 4 else b.pick([1, 1], [2, 1])
    return convolve(b, x, int(b.rng.integers(2, 6)), 3, pads=pads, strides=strides)


def depthwise(b: Builder, x: Tensor) -> Tensor:
    c = x.shape[1]
    return convolve(b, x, c, 2, group=c, pads=[1, 0, 0, 1])


def grouped(b: Builder, x: Tensor) -> Tensor:
    c = x.shape[1]
    group = 2 if c % 2 == 0 else 1
    return convolve(b, x, 2 * group, 1, group=group)


def conv_transpose(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    shape = (1, 3, h + 1, w + 1)
    return b.node("ConvTranspose", x, weights(b, (c, 3, 2, 2), (1, 3, 1, 1)), shape=shape)


def max_pool(b: Builder, x: Tensor) -> Tensor:
    return b.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def average_pool(b: Builder, x: Tensor) -> Tensor:
    counted = int(b.rng.integers(2))
    return b.node(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=counted
    )


def global_pool(op: str) -> Step:
    """A gate for each channel, as in squeeze-and-excitation."""

    def step(b: Builder, x: Tensor) -> Tensor:
        pooled = quantizer(b, b.node(op, x, shape=(1, x.shape[1], 1, 1)))
        return b.node("Mul", x, pooled)

    return step


def reduction(op: str) -> Step:
    def step(b: Builder, x: Tensor) -> Tensor:
        y = b.node(op, x, ints(1), keepdims=1, shape=(1, 1, *x.shape[2:]))
        return b.node("Add", x, quantizer(b, y))

    return step


def softmax(op: str) -> Step:
    return lambda b, x: b.node(op, x, axis=1)


def matmul_of_two(b: Builder, x: Tensor) -> Tensor:
    """Scores of a small attention: rows against rows."""
    _, c, h, _ = x.shape
    other = b.node("Transpose", b.like(x), perm=[0, 1, 3, 2])
    y = b.node("MatMul", x, other, shape=(1, c, h, h))
    return b.node("Add", y, 0.1717)  # sums that are 0 are no ties of the quantizer behind it


def matmul(b: Builder, x: Tensor) -> Tensor:
    w = weights(b, (x.shape[3], 4), (1, 4))
    return b.node("MatMul", x, Tensor(w, ()), shape=(*x.shape[:3], 4))


def trunc(b: Builder, x: Tensor) -> Tensor:
    scale = 0.25
    y = b.net.quant(x.name, scale, bits=6, signed=1)
    mode = b.pick("FLOOR", "ROUND", "CEIL")
    return Tensor(b.net.node("Trunc", y, scale, 0.0, 6.0, 4.0, rounding_mode=mode), x.shape)


def quant_avg_pool(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    if min(h, w) < 2:
        return b.node("Identity", x)
    y = Tensor(b.net.quant(x.name, 1.0, bits=4, signed=0), x.shape)
    attributes = {"kernel": 2, "stride": 1, "ibits": 4, "obits": 4, "signed": 0}
    return b.node("QuantAvgPool2d", y, data_layout="NCHW", shape=(1, c, h - 1, w - 1), **attributes)


def im2col(b: Builder, x: Tensor) -> Tensor:
    _, c, h, w = x.shape
    y = b.node("Transpose", x, perm=[0, 2, 3, 1])
    b.annotated.append(y.name)
    attributes = {"kernel_size": [2, 2], "stride": [1, 1], "pad_amount": [1, 0, 0, 1]}
    columns = b.node("Im2Col", y, input_shape=str((1, h, w, c)), **attributes)
    product_ = b.node("MatMul", columns, Tensor(weights(b, (4 * c, 3), (1, 3)), ()))
    return b.node("Transpose", product_, perm=[0, 3, 1, 2], shape=(1, 3, h, w))


STEPS: tuple[Step, ...] = (
    *(function(op) for op in ("Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "Erf")),
    *(
        function(op)
        for op in ("HardSigmoid", "HardSwish", "Mish", "Gelu", "Celu", "Dropout", "Identity")
    ),
    *(function(op) for op in ("Abs", "Sign", "Floor", "Ceil", "Round")),
    *(of_positive(op) for op in ("Log", "Sqrt", "Reciprocal")),
    *(function("LeakyRelu", alpha=0.125), function("Pow", 2.0), function("Pow", 3.0)),
    *(exp, swish, square, difference_with_itself, prelu, clip, channel_affine, from_constant),
    *(division, batch_normalization, instance_normalization, layer_normalization, extremum),
    *(where, cast, residual, product, concat, split, transpose, reshape, flatten, squeeze, pad),
    *(slice_, gather, tile, expand, depth_and_space, resize, convolution, depthwise, grouped),
    *(conv_transpose, max_pool, average_pool, matmul, matmul_of_two, trunc),
    *(reduction(f"Reduce{kind}") for kind in ("Sum", "Mean", "Max", "Min")),
    *(global_pool("GlobalAveragePool"), global_pool("GlobalMaxPool")),
    *(softmax("Softmax"), softmax("LogSoftmax"), quant_avg_pool, im2col),
)
