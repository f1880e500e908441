"""Designs of many independent layers, and arithmetic to compare them with."""

from collections.abc import Callable, Sequence

import layer_checks
import numpy as np
import pytest
from layer_checks import random_inputs

from hls.dataflow import Dataflow, Edge, Ints, Layer, Port
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter


def _chain(layers: Sequence[Layer], depth: int = 2) -> Dataflow:
    edges, source = [], Port("", "x")
    for layer in layers:
        edges.append(Edge(source, Port(layer.name, "in"), depth))
        source = Port(layer.name, "out")
    return Dataflow("chain", tuple(layers), (*edges, Edge(source, Port("", "y"), depth)))


def _reference(layer: Layer, frames: Ints) -> Ints:
    """What a layer computes, one Python integer at a time."""
    match layer:
        case MatrixVector():
            outputs, inputs = layer.weights.shape
            results = [
                [
                    (
                        int(layer.start[n])
                        + sum(int(layer.weights[n, k]) * int(vector[k]) for k in range(inputs))
                    )
                    % 2**layer.accumulator_bits
                    for n in range(outputs)
                ]
                for vector in frames.reshape(-1, inputs)
            ]
        case Thresholding():
            results = []
            for vector in frames.reshape(-1, layer.channels):
                counts = []
                for channel, value in enumerate(vector):
                    row = layer.thresholds[channel % len(layer.thresholds)]
                    falls = layer.falling[channel % len(layer.falling)]
                    turned = 2**layer.input_bits - 1 - int(value) if falls else int(value)
                    counts.append(sum(turned >= int(threshold) for threshold in row))
                results.append(counts)
        case ArgMax():
            results = []
            for frame in frames:
                scores = [
                    int(s) * int(u) + int(o)
                    for s, u, o in zip(layer.scale, frame, layer.offset, strict=True)
                ]
                results.append([scores.index(max(scores))])
        case WidthConverter():
            return frames
    return np.array(results, dtype=np.int64).reshape(len(frames), -1)


def _random_frames(layer: Layer, count: int, seed: int) -> Ints:
    """`random_inputs` of a layer with one input."""
    (frames,) = random_inputs(layer, count, seed)
    return frames


@pytest.fixture(scope="session")
def independent() -> Callable[..., Dataflow]:
    """Layers beside each other, with ports of the graph as `layer_checks.graph_ports` has them."""
    return layer_checks.independent


@pytest.fixture(scope="session")
def chain() -> Callable[..., Dataflow]:
    """Layers one after the other, from input ``x`` to output ``y``."""
    return _chain


@pytest.fixture(scope="session")
def reference() -> Callable[[Layer, Ints], Ints]:
    return _reference


@pytest.fixture(scope="session")
def random_frames() -> Callable[[Layer, int, int], Ints]:
    return _random_frames
