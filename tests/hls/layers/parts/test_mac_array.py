"""What the layers on a multiply-accumulate array share, against Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.matrix_vector import MatrixVector
from hls.layers.parts.mac_array import MODULES, MacLayer, accumulated, layer_start

WEIGHTS = np.array([[1, -2], [3, 1], [-1, 1], [2, 2]])
START = np.arange(-8, 8).reshape(4, 4)
LAYERS: tuple[MatrixVector | DepthwiseVector, ...] = (
    MatrixVector("m", WEIGHTS, START, 3, 6, 2, 2, 6, row_classes=(0, 1), column_classes=(0, 1, 0)),
    DepthwiseVector("d", WEIGHTS, START, 3, 6, 2, 6, (0, 1), (0, 1, 0)),
)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_sums_wrap_onto_the_start_values_of_their_pixel(layer: MacLayer, frames: int) -> None:
    exact = [[(7**k) * 2**55 + k for k in range(6 * 4)] for _ in range(frames)]
    wrapped = [[(v + 2**63) % 2**64 - 2**63 for v in frame] for frame in exact]
    sums = np.array(wrapped, dtype=np.int64).reshape(frames * 6, 4)
    classes = [2 * row + column for row in (0, 1) for column in (0, 1, 0)]
    starts = [START.tolist()[at] for at in classes]
    wanted = [[(frame[4 * v + n] + starts[v][n]) % 64 for v in range(6) for n in range(4)]
              for frame in exact]  # fmt: skip
    found = accumulated(layer, sums)
    assert found.shape == (frames, 24) and found.tolist() == wanted


@pytest.mark.parametrize("layer", LAYERS)
def test_added_constants_are_one_for_each_output(layer: MacLayer) -> None:
    added = np.array([1, -(10**30), 0, 2**70 + 5], dtype=object)
    values = layer_start(layer, added).values.tolist()
    assert values == [[(int(s) + a) % 64 for s, a in zip(row, added, strict=True)] for row in START]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_module_is_made_of_the_array(layer: MatrixVector | DepthwiseVector) -> None:
    assert layer.instance().parts[-len(MODULES) :] == MODULES
