"""Random QONNX graphs: images through a chain of operators, dealt from a deck that holds them all.

A graph is a sequence of *steps*. A step takes a quantized image (1, C, H, W) and makes another
tensor from it; a random quantizer behind it keeps the numbers small. What came before is kept, so
that sums, concatenations and products join branches. Scales are dyadic with few bits, so that sums
and products are exact in float64; behind functions that are not, steps of the quantizer are no
ratio of small integers, so that no exact tie meets a rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_models import Net, annotated, integers
from random_steps import OPSET, STEPS, Builder, Step, Tensor, ints, quantizer, weights

from sira.datatypes import InputSpec


def small(b: Builder, x: Tensor) -> Tensor:
    """At most 8 channels of 8 x 8, so that a long graph stays quick."""
    _, c, h, w = x.shape
    if c <= 8 and h <= 8 and w <= 8:
        return x
    shape = (1, min(c, 8), min(h, 8), min(w, 8))
    return b.node("Slice", x, ints(0, 0, 0), ints(*shape[1:]), ints(1, 2, 3), shape=shape)


@dataclass(frozen=True, eq=False)
class Case:
    """A model, what is declared of its input, and integer samples (n, *shape) of it."""

    proto: onnx.ModelProto
    spec: InputSpec
    q: NDArray[np.int64]


def deal(seed: int, hands: int) -> list[Step]:
    """Hand number ``seed`` of a shuffled deck; ``hands`` consecutive ones hold every step."""
    order = np.random.default_rng(seed // hands).permutation(len(STEPS))
    return [STEPS[i] for i in order[seed % hands :: hands]]


def random_graph(seed: int, hands: int = 8, samples: int = 12, skip: float = 0.0) -> Case:
    """A graph of all steps of one hand, with random and extreme samples.

    ``skip``: how often a step has no quantizer behind it.
    """
    rng = np.random.default_rng(seed)
    c, h, w = int(rng.integers(2, 5)), int(rng.integers(3, 7)), int(rng.integers(3, 7))
    net = Net((1, c, h, w), opset=OPSET)
    lo, hi = [(0, 15), (-8, 7), (-3, 12), (1, 9)][int(rng.integers(4))]
    spec = integers(lo, hi, 0.25, [0, 0.5][int(rng.integers(2))])
    b = Builder(net, rng)
    x = quantizer(b, Tensor("x", (1, c, h, w)), exact=True)
    b.images.append(x)
    for step in deal(seed, hands):
        x = small(b, step(b, x))
        x = x if rng.random() < skip else quantizer(b, x)
        b.images.append(x)
        x = b.images[-1] if rng.random() < 0.7 else b.images[int(rng.integers(len(b.images)))]
    outputs = [*(t.name for t in b.images[1:])]
    if rng.integers(2):
        flat = b.node("Flatten", x, axis=1)
        n = prod(x.shape)
        w_ = Tensor(weights(b, (3, n), (3, 1)), ())
        outputs.append(b.node("Gemm", flat, w_, rng.normal(0, 1, 3), transB=1).name)
    outputs.append(b.node("ArgMax", x, axis=1, keepdims=0).name)
    q = rng.integers(lo, hi + 1, (samples, 1, c, h, w))
    q[0], q[1] = lo, hi
    corners = samples // 2
    q[2:corners] = np.where(rng.integers(0, 2, q[2:corners].shape) > 0, lo, hi)
    proto = annotated(net.proto(*outputs))
    proto.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    for name in b.annotated:
        entry = proto.graph.quantization_annotation.add(tensor_name=name)
        entry.quant_parameter_tensor_names.add(key="finn_datatype", value="FLOAT32")
    return Case(proto, spec, q)
