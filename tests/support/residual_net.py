"""A small convolutional network with everything that ties an integer model to its original."""

from __future__ import annotations

import numpy as np
from onnx_models import Net, integers

from sira.datatypes import InputSpec


def residual_network() -> tuple[Net, InputSpec]:
    """Padding off the lattice, falling channels, a sum, a pool, and a channel that is constant.

    Quantizers are called ``first``, ``left``, ``sum`` and ``last``, the scores ``y``.
    """
    random = np.random.default_rng(3)
    net = Net((1, 2, 5, 5))
    w = net.quant(random.integers(-3, 4, (4, 2, 3, 3)), 1.0, 3)
    x = net.node("Conv", "x", w, pads=[1, 1, 1, 1])
    factor = random.uniform(0.5, 1.5, (1, 4, 1, 1)) * [[[[1]], [[-1]], [[1]], [[-1]]]]
    x = net.node("Mul", x, factor)
    x = net.node("Relu", net.node("Add", x, random.normal(0, 2, (1, 4, 1, 1))))
    first = net.quant(x, 0.75, 3, signed=0, output="first")
    pooled = net.node("MaxPool", first, kernel_shape=[2, 2], strides=[1, 1])
    w = net.quant(random.integers(-1, 2, (4, 4, 3, 3)), 1.0, 2)
    x = net.node("Conv", pooled, w, pads=[1, 1, 1, 1])
    left = net.quant(x, 2.25, 4, output="left")
    x = net.quant(net.node("Add", left, pooled), 1.5, 3, output="sum")
    weights = random.integers(-3, 4, (5, 4, 2, 2))
    weights[2] = 0
    x = net.node("Conv", x, net.quant(weights, 1.0, 3))
    x = net.quant(net.node("Add", x, random.normal(0, 4, (1, 5, 1, 1))), 5.0, 3, output="last")
    x = net.node("Reshape", x, np.array([1, 45]))
    net.node("MatMul", x, net.quant(random.integers(-3, 4, (45, 6)), 0.5, 3), output="y")
    return net, integers(0, 15, "1/7", "1/5")
