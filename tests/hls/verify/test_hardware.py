"""Verification must fail when anything in the design is wrong, and must say where."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_models import Net
from small_net import small_network

from hls.dataflow import Dataflow, Layer
from hls.emit.cpp import emit_hls
from hls.emit.rtl import emit_rtl
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.lower.lower import Lowered
from hls.simulate import verilator
from hls.verify.hardware import Verification, verify
from sira.driver.hardware import build_dataflow
from sira.driver.options import Options
from sira.verification.model import Model
from sira.verification.samples import Samples, draw
from transforms.stages import Stages, transform

HIDDEN, STEPS, SCORES = "MatMul_2", "Quant_4", "MatMul_6"
THRESHOLDS = f"thresholds of {STEPS} against the integer graph"


@dataclass(frozen=True, eq=False)
class Design:
    """A model and its hardware."""

    model: Model
    lowered: Lowered

    def verify(self, samples: Samples, rtl: Path | None, hls: Path | None) -> Verification:
        return verify(self.model, self.lowered, samples, rtl=rtl, hls=hls)


def design(stages: Stages, options: Options) -> Design:
    model = Model(stages.proto, stages.loaded, stages.canonical, stages.integer)
    return Design(model, build_dataflow(stages, options))


@pytest.fixture(scope="module")
def small() -> Design:
    return design(transform(small_network().proto(), {}, "small"), Options(target_cycles=24))


@pytest.fixture(scope="module")
def samples(small: Design) -> dict[str, Any]:
    return draw(small.model.loaded.model, small.model.loaded.ranges, 64)


def failed(verification: Verification) -> set[str]:
    names = {check.name for check in verification.checks if check.mismatches}
    assert verification.passed == (not names)
    return names


def with_layer(small: Design, name: str, change: Callable[[Any], Layer]) -> Design:
    """The design with one layer changed; everything else as it was."""
    old = small.lowered
    layers = tuple(change(la) if la.name == name else la for la in old.dataflow.layers)
    dataflow = Dataflow(old.dataflow.name, layers, old.dataflow.edges)
    return replace(small, lowered=replace(old, dataflow=dataflow))


def test_an_intact_design_passes(small: Design, samples: dict[str, Any]) -> None:
    verification = small.verify(samples, rtl=None, hls=None)
    assert verification.passed
    assert verification.samples == 64
    model = verification.model
    assert model.thresholds_checked == 18
    assert (model.float32_agree or 0) + (model.float32_ties or 0) == 64
    assert verification.hardware.tool == "Python"
    assert all(check.compared > 0 for check in verification.checks)


def test_operators_that_feed_no_output_are_left_out() -> None:
    net = small_network()
    output = net.nodes[-1].output[0]
    net.quant(output, 0.5)
    front = transform(net.proto(output), {}, "small")
    unread = design(front, Options())
    drawn = draw(front.loaded.model, front.loaded.ranges, 4)
    assert unread.verify(drawn, rtl=None, hls=None).passed


def test_an_output_that_the_host_sends() -> None:
    """The integers that the host makes of the input may be asked for as an output, too."""
    net = Net((1, 3, 4, 4))
    sent = net.quant("x", 0.5)
    kernel = net.quant(np.arange(-6.0, 6.0).reshape(4, 3, 1, 1), 1.0)
    last = net.quant(net.node("Conv", sent, kernel), 1.0)
    front = transform(net.proto(sent, last), {}, "net")
    both = design(front, Options())
    assert len(both.lowered.outputs) == 2
    drawn = draw(front.loaded.model, front.loaded.ranges, 4)
    assert both.verify(drawn, rtl=None, hls=None).passed


@pytest.mark.parametrize("name", [HIDDEN, SCORES])
def test_single_weights_matter(small: Design, samples: dict[str, Any], name: str) -> None:
    (layer,) = (la for la in small.lowered.dataflow.layers if la.name == name)
    assert isinstance(layer, MatrixVector)
    for n, k in np.ndindex(layer.weights.shape):
        if (n + k) % 4:  # a quarter of them, the others are no different
            continue
        weights = layer.weights.copy()
        weights[n, k] += 1
        changed = with_layer(small, name, lambda la, w=weights: replace(la, weights=w))
        outputs = {HIDDEN: "t2", SCORES: "scores_integers"}
        assert f"Python execution of {outputs[name]}" in failed(
            changed.verify(samples, rtl=None, hls=None)
        )


@pytest.mark.parametrize("name", [HIDDEN, SCORES])
def test_every_start_value_matters(small: Design, samples: dict[str, Any], name: str) -> None:
    (layer,) = (la for la in small.lowered.dataflow.layers if la.name == name)
    assert isinstance(layer, MatrixVector)
    for n in range(len(layer.start)):
        start = layer.start.copy()
        start[n] += 1
        changed = with_layer(small, name, lambda la, s=start: replace(la, start=s))
        assert failed(changed.verify(samples, rtl=None, hls=None))


@pytest.mark.parametrize("step", [1, -1])
def test_every_threshold_off_by_one_is_found_without_a_sample_at_it(
    small: Design, samples: dict[str, Any], step: int
) -> None:
    (layer,) = (la for la in small.lowered.dataflow.layers if la.name == STEPS)
    assert isinstance(layer, Thresholding)
    zeros = {"x": np.zeros((1, 1, 8), np.float32)}  # one sample, which sees hardly any threshold
    for c, j in np.ndindex(layer.thresholds.shape):
        thresholds = layer.thresholds.copy()
        thresholds[c, j] += step
        changed = with_layer(small, STEPS, lambda la, t=thresholds: replace(la, thresholds=t))
        assert THRESHOLDS in failed(changed.verify(zeros, rtl=None, hls=None)), (c, j)


def test_a_wrong_offset_of_a_wire_is_found(small: Design, samples: dict[str, Any]) -> None:
    old = small.lowered
    wires = dict(old.wires)
    scores = old.outputs["out"]
    wires[scores] = replace(wires[scores], offset=wires[scores].offset + 1)
    changed = replace(small, lowered=replace(old, wires=wires))
    assert failed(changed.verify(samples, rtl=None, hls=None)) == {
        "Python execution of scores_integers"
    }


@pytest.mark.parametrize("name, added", [("c3", 0.25), ("c7", 0.5), ("c8", 0.5)])
def test_a_file_that_means_something_else_is_an_oracle_mismatch(
    small: Design, samples: dict[str, Any], name: str, added: float
) -> None:
    """One weight, the added constant or the quantizer's scale differs in the file, not in ours."""
    proto = onnx.ModelProto()
    proto.CopyFrom(small.model.proto)
    (tensor,) = (t for t in proto.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[0] += np.float32(added)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    other = replace(small, model=replace(small.model, proto=proto))
    verification = other.verify(samples, rtl=None, hls=None)
    assert verification.oracle_mismatches > 0
    assert not any(name.startswith("Python") for name in failed(verification))


def test_a_dropped_beat_is_found(
    small: Design, samples: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit_rtl(small.lowered.dataflow, tmp_path)
    intact = small.verify(samples, rtl=tmp_path, hls=None)
    assert intact.passed
    assert intact.hardware.cycles_per_sample == 24
    run = verilator.Simulator.run
    monkeypatch.setattr(
        verilator.Simulator, "run", lambda *args, **options: run(*args, **options, drop_beat=3)
    )
    verification = small.verify(samples, rtl=tmp_path, hls=None)
    assert failed(verification) == {
        f"Verilator, {how}"
        for how in ("frames back to back", "random stalls", "reset in mid-frame")
    }
    assert verification.mismatches > 0
    assert verification.oracle_mismatches == 0


def test_accuracy_is_not_claimed_for_wrong_hardware(small: Design, samples: dict[str, Any]) -> None:
    labelled = samples | {"y": np.arange(64) % 4}
    right = small.verify(labelled, rtl=None, hls=None)
    assert right.accuracy == right.model.accuracy_original
    changed = with_layer(small, SCORES, lambda la: replace(la, start=la.start + 1))
    wrong = changed.verify(labelled, rtl=None, hls=None)
    assert wrong.accuracy is None
    assert wrong.model.accuracy_original == right.model.accuracy_original


def test_missing_beats_of_the_hls_design_are_a_mismatch(
    small: Design, samples: dict[str, Any], tmp_path: Path
) -> None:
    emit_hls(small.lowered.dataflow, tmp_path)
    source = tmp_path / "accelerator.cpp"
    text = source.read_text()
    damaged = re.sub(r"to_axi_stream<\d+,", "to_axi_stream<3,", text)
    assert damaged != text
    source.write_text(damaged)
    verification = small.verify(samples, rtl=None, hls=tmp_path)
    assert failed(verification) == {"HLS C++ under g++"} and not verification.passed
    (check,) = (c for c in verification.checks if c.name == "HLS C++ under g++")
    assert "the HLS C++ stopped: " in check.detail
