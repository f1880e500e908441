"""A small network that touches every kind of constant."""

from __future__ import annotations

import numpy as np
from onnx_models import Net


def small_network() -> Net:
    """8 inputs of 4 bits, 6 neurons of 2 bits, 4 scores; layers ``MatMul_2`` and ``MatMul_6``."""
    random = np.random.default_rng(5)
    net = Net((1, 8))
    x = net.quant("x", 0.125, 4)
    first = net.quant(random.integers(-4, 4, (8, 6)) * 0.25, 0.25, 3)
    hidden = net.node("MatMul", x, first)
    shifted = net.node("Add", hidden, random.normal(0, 0.2, 6).astype(np.float32))
    quantized = net.quant(shifted, 0.75, 2)
    second = net.quant(random.integers(-1, 2, (6, 4)) * 0.5, 0.5, 2, narrow=1)
    net.node("MatMul", quantized, second, output="scores")
    return net
