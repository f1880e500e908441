"""Whole convolutional networks: integers of every stage, as qonnx executes them, are golden."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from networks import cropped
from stage_checks import check

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec, parse_input
from sira.load import prepare
from sira.model_file import read
from transforms import annotate_accumulators, remove_constant_channels, to_canonical, to_thresholds

MODELS = Path(__file__).parents[1] / "models"
PIXELS = parse_input("UINT8,scale=1/255", [])[1]

NETWORKS = ["residual_w3a3", "depthwise_w4a4", "skip_concat_w4a4", "unequal_residual_w4a4"]
NETWORKS += ["one_dimensional_w4a4", "transposed_w4a4"]
NETWORKS += ["qcdq_residual_w8a8", "qcdq_depthwise_w8a8"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def all_integer(model: ir.Model, inputs: dict[str, InputSpec]) -> None:
    """Every tensor of the last stage in front of the real outputs is an integer."""
    canonical = to_canonical(model)
    thresholds = to_thresholds(canonical, analyze(canonical, inputs))
    without = remove_constant_channels(thresholds, analyze(thresholds))
    ranges = analyze(without)
    integer = annotate_accumulators(without, ranges)
    for node in integer.graph:
        if node.outputs[0] not in integer.graph.outputs:
            assert ranges.scaled(node.outputs[0]) is not None, g.describe(node)


def pixels(model: ir.Model, count: int) -> np.ndarray:
    shape = g.shape(model.graph.inputs[0])
    return np.random.default_rng(0).integers(0, 256, (count, *shape)) / 255


@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks(name: str) -> None:
    model = prepare(read(MODELS / f"{name}.onnx"))
    all_integer(model, {})
    check(model, {}, pixels(model, 3))


@pytest.mark.parametrize("name", ["nn_resize", "subpixel"])
def test_super_resolution(name: str) -> None:
    model = prepare(cropped(name, 10))
    inputs = {g.name(model.graph.inputs[0]): PIXELS}
    all_integer(model, inputs)
    check(model, inputs, pixels(model, 1))


def test_normalized_images() -> None:
    """(x - mean) / std: padding is off the lattice, so positions of one channel differ."""
    model = prepare(read(MODELS / "normalized_w4a4.onnx"))
    all_integer(model, {"x": PIXELS})
    check(model, {"x": PIXELS}, pixels(model, 3))
