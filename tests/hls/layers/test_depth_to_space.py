"""Depth to space against ONNX's definition, one element at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import check_hls, check_rtl
from onnx import helper
from onnx.reference import ReferenceEvaluator

from hls.dataflow import Ints, Stream
from hls.layers.depth_to_space import DepthToSpace
from sira.errors import SiraError

LAYERS = [
    DepthToSpace("dcr", (3, 4, 8), 2, "DCR", 3, 2),
    DepthToSpace("dcr_serial", (2, 3, 12), 2, "DCR", 4, 1),
    DepthToSpace("dcr_thirds", (2, 2, 18), 3, "DCR", 2, 1),
    DepthToSpace("dcr_one_channel", (4, 3, 4), 2, "DCR", 8, 1),
    DepthToSpace("dcr_one_pixel", (1, 1, 16), 2, "DCR", 5, 4),
    DepthToSpace("crd", (3, 4, 16), 2, "CRD", 3, 2),
    DepthToSpace("crd_serial", (2, 3, 12), 2, "CRD", 4, 1),
    DepthToSpace("crd_all_lanes", (2, 2, 27), 3, "CRD", 1, 3),
    DepthToSpace("crd_one_pixel", (1, 1, 8), 2, "CRD", 20, 2),
]


def brute_force(layer: DepthToSpace, frames: Ints) -> tuple[Ints]:
    height, width, channels = layer.shape
    block = layer.block
    outputs = channels // block**2
    results = []
    for frame in frames.tolist():
        result = []
        for row in range(height * block):
            for column in range(width * block):
                i, j = row % block, column % block
                for channel in range(outputs):
                    source = {
                        "DCR": (i * block + j) * outputs + channel,
                        "CRD": (channel * block + i) * block + j,
                    }[layer.mode]
                    result.append(
                        frame[(row // block * width + column // block) * channels + source]
                    )
        results.append(result)
    return (np.array(results),)


def test_rtl(tmp_path: Path) -> None:
    check_rtl(LAYERS, brute_force, tmp_path)


def test_hls(tmp_path: Path) -> None:
    check_hls(LAYERS, brute_force, tmp_path)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_execute_is_the_operator_of_onnx(layer: DepthToSpace) -> None:
    frames = np.random.default_rng(1).integers(0, 2**layer.bits, (3, *layer.shape))
    node = helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=layer.block, mode=layer.mode)
    (expected,) = ReferenceEvaluator(node).run(None, {"x": frames.transpose(0, 3, 1, 2)})
    found = layer.execute(frames.reshape(3, -1))[0].reshape(3, *layer.output_shape)
    np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1))


def test_streams() -> None:
    layer = LAYERS[0]
    assert layer.output_shape == (6, 8, 2)
    assert layer.inputs["in"] == layer.outputs["out"] == Stream(96, 2, 3)
    assert (layer.cycles, layer.row_beats) == (48, 16)


def test_illegal_layers() -> None:
    with pytest.raises(SiraError, match="d2s: lanes does not divide the 2 output channels"):
        DepthToSpace("d2s", (3, 4, 8), 2, "DCR", 3, 4)
    with pytest.raises(AssertionError):
        DepthToSpace("d2s", (3, 4, 6), 2, "DCR", 3, 1)
