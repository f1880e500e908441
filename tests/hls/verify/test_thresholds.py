"""The check of thresholds must find every wrong count of a layer, whatever the layer is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from lookup_table import LookupTable, lookup_table
from onnx_models import Net, annotated, integers

from hls.dataflow import Ints
from hls.layers.thresholding import Thresholding
from hls.lower.lower import Lowered, lower
from hls.lower.tails import CANDIDATES
from hls.verify.thresholds import check_layers
from transforms.stages import transform

RNG = np.random.default_rng(3)


def dense(bits: int) -> Net:
    """Channels that rise and fall behind one product."""
    net = Net((1, 8))
    x = net.node("MatMul", "x", net.quant(RNG.integers(-7, 8, (8, 5)) * 0.25, 0.25))
    x = net.node("Mul", x, [1.0, -1.0, 0.25, -0.5, 2.0])
    net.quant(x, 2.0 ** (bits - 3), bits=3)
    return net


def image(scale: float) -> Net:
    net = Net((1, 3, 4, 4))
    x = net.node("Conv", "x", net.quant(RNG.integers(-7, 8, (4, 3, 3, 3)) * 0.25, 0.25))
    x = net.node("Mul", x, np.array([1.0, -1.0, 0.25, -0.5]).reshape(1, 4, 1, 1))
    net.quant(x, scale, bits=3)
    return net


def flattened(scale: float) -> Net:
    """Thresholds that differ between positions, as the scale behind the Flatten does."""
    net = Net((1, 4, 2, 2))
    x = net.node("Conv", "x", net.quant(RNG.integers(-7, 8, (3, 4, 1, 1)) * 0.25, 0.25))
    x = net.node("Flatten", x)
    net.quant(net.node("Mul", x, np.linspace(0.5, 2, 12)), scale, bits=3)
    return net


NETS = {
    "few counts": (dense(4), integers(-4, 3, 0.5)),
    "many counts": (dense(8), integers(-128, 127, 0.5)),
    "few counts of an image": (image(2.0), integers(-1, 1, 0.5)),
    "many counts of an image": (image(64.0), integers(-128, 127, 0.5)),
    "positions": (flattened(1.0), integers(-4, 3, 0.5)),
    "many counts of positions": (flattened(32.0), integers(-128, 127, 0.5)),
}


def built(name: str) -> tuple[ir.Model, Lowered]:
    net, spec = NETS[name]
    stages = transform(annotated(net.proto()), {"x": spec}, "net")
    return stages.integer.model, lower(stages.integer.model, stages.integer.ranges, "net")


def with_layer(lowered: Lowered, changed: object) -> Lowered:
    layers = [changed if la.name == changed.name else la for la in lowered.dataflow.layers]
    return replace(lowered, dataflow=replace(lowered.dataflow, layers=tuple(layers)))


def steps_of(lowered: Lowered) -> Thresholding:
    (layer,) = (la for la in lowered.dataflow.layers if isinstance(la, Thresholding))
    return layer


def wrong(stage: ir.Model, lowered: Lowered) -> bool:
    (check,) = check_layers(stage, lowered)
    assert check.compared > 0
    return check.mismatches > 0


@pytest.mark.parametrize("name", NETS)
def test_a_right_layer_passes(name: str) -> None:
    stage, lowered = built(name)
    assert (steps_of(lowered).input_bits > 10) == ("many" in name)
    assert not wrong(stage, lowered)


@pytest.mark.parametrize("name", NETS)
def test_every_threshold_matters(name: str) -> None:
    """By one and by much, in both directions, as far as the layer still counts otherwise."""
    stage, lowered = built(name)
    layer = steps_of(lowered)
    top, found = 1 << layer.input_bits, 0
    for c, j in np.ndindex(layer.thresholds.shape):
        for change in (1, -1, top, -top):
            steps = layer.thresholds.copy()
            steps[c, j] = np.clip(steps[c, j] + change, 0, top)
            changed = replace(layer, thresholds=np.sort(steps, axis=1))
            if (changed.thresholds != layer.thresholds).any():
                assert wrong(stage, with_layer(lowered, changed)), (c, j, change)
                found += 1
    assert found > 3 * len(layer.thresholds)


@pytest.mark.parametrize("name", NETS)
def test_every_direction_matters(name: str) -> None:
    stage, lowered = built(name)
    layer = steps_of(lowered)
    rows = np.broadcast_to(layer.falling, (layer.channels,))
    assert set(rows.tolist()) == ({False} if "positions" in name else {False, True})
    for c in range(layer.channels):
        turned = rows ^ (np.arange(layer.channels) == c)
        assert wrong(stage, with_layer(lowered, replace(layer, falling=turned))), c


@pytest.mark.parametrize("name", NETS)
def test_channels_in_another_order_are_found(name: str) -> None:
    stage, lowered = built(name)
    layer = steps_of(lowered)
    changed = replace(
        layer,
        thresholds=np.roll(layer.thresholds, 1, axis=0),
        falling=np.roll(np.broadcast_to(layer.falling, (layer.channels,)), 1),
    )
    assert wrong(stage, with_layer(lowered, changed))


@pytest.mark.parametrize("name", NETS)
def test_a_wrong_offset_of_the_result_is_found(name: str) -> None:
    stage, lowered = built(name)
    wires = {
        tensor: replace(wire, offset=wire.offset + (wire.port.layer == steps_of(lowered).name))
        for tensor, wire in lowered.wires.items()
    }
    assert wrong(stage, replace(lowered, wires=wires))


@pytest.mark.parametrize("name", [name for name in NETS if "many" not in name])
def test_every_entry_of_another_candidate_matters(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check knows nothing of how a layer counts: a table with one wrong entry is found."""
    monkeypatch.setitem(CANDIDATES, "table", lookup_table)
    stage, lowered = built(name)
    (layer,) = (la for la in lowered.dataflow.layers if isinstance(la, LookupTable))
    assert not wrong(stage, lowered)
    entries = list(np.ndindex(layer.table.shape))
    for place in entries[:: max(len(entries) // 200, 1)]:
        table: Ints = layer.table.copy()
        table[place] += 1
        assert wrong(stage, with_layer(lowered, replace(layer, table=table))), place


def test_a_candidate_with_a_wrong_table_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strictly above instead of at: wrong at the thresholds alone."""

    def later(tail: object) -> LookupTable:
        right = lookup_table(tail)
        return replace(right, table=np.roll(right.table, 1, axis=1))

    monkeypatch.setitem(CANDIDATES, "table", later)
    assert wrong(*built("few counts"))
