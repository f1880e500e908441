"""``sira-compile --analyze-only``: what it prints and writes, and that it finds differences."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import Net
from residual_net import residual_network

from sira.analysis.ranges import Ranges
from sira.certificate import checker
from sira.driver.cli import main
from sira.errors import SiraError
from sira.verification.check import Check
from sira.verification.oracle import Oracle
from transforms import to_thresholds
from transforms.stages import PASSES

DECLARED = "INT5,scale=1/7,bias=1/5"


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    path = tmp_path / "residual.onnx"
    onnx.save(residual_network()[0].proto(), str(path))
    return path


def analyzed(model: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit status and report of a run into the folder ``out`` beside the model."""
    out = model.parent / "out"
    status = main(["--analyze-only", str(model), "-o", str(out), *map(str, arguments)])
    return status, json.loads((out / "report.json").read_text())


def test_everything_is_written_and_checked(
    residual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = analyzed(residual, "--input", DECLARED)
    out = residual.parent / "out"
    text = capsys.readouterr().out
    assert status == 0
    assert sorted(p.name for p in out.iterdir()) == ["certificate.json.gz", "report.json", "stages"]
    found = report["verification"]
    assert found["samples"] == 2
    assert found["mismatches"] == found["oracle_mismatches"] == 0
    assert found["float64_ties"] == [] and found["thresholds_checked"] > 50
    names = [check["name"] for check in found["checks"]]
    for tensor in ("first", "left", "sum", "last"):
        assert f"golden against float64 at {tensor}" in names
        assert f"integer model against golden at {tensor}" in names
    assert "golden within the ranges" in names and found["recorded_outputs"] is None
    assert (
        "verified against the original: 2 samples, 0 mismatches, 0 oracle mismatches, 0 float64 "
        f"ties, {found['thresholds_checked']} thresholds checked\n"
    ) in text
    assert report["totals"]["constant_channels"] == {"last": [2]}
    stage = sorted((out / "stages").iterdir())[-1]
    assert checker.main([str(stage), str(out / "certificate.json.gz")]) == 0


def test_given_samples_and_recorded_outputs(
    residual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    q = np.random.default_rng(1).integers(-16, 16, (5, 2, 5, 5))
    x = (q / 7 + 0.2).astype(np.float32)
    proto = onnx.load(str(residual))
    y = Oracle(proto).run(q / 7 + 0.2, ["y"])["y"].reshape(5, 6)
    y[3, 2] += 2.5  # a step of the output
    data = residual.with_name("samples.npz")
    np.savez(data, x=x, y=y.astype(np.float32))
    status, report = analyzed(residual, "--input", DECLARED, "--verify-data", data)
    assert status == 0
    assert report["verification"]["samples"] == 5
    assert report["verification"]["recorded_outputs"] == {
        "samples_equal": 4, "integers_compared": 30, "integers_different": 1,
    }  # fmt: skip
    text = capsys.readouterr().out
    assert "recorded outputs: 4 of 5 samples equal, 1 of 30 integers differ\n" in text
    status, report = analyzed(residual, "--input", DECLARED, "--verify-data", data, "--verify", 3)
    assert report["verification"]["recorded_outputs"]["samples_equal"] == 3


def test_recorded_outputs_must_fit(residual: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = residual.with_name("samples.npz")
    np.savez(data, x=np.full((2, 50), 0.2, np.float32), out=np.zeros((2, 7), np.float32))
    out = residual.parent / "out"
    arguments = ["--analyze-only", str(residual), "-o", str(out), "--input", DECLARED]
    assert main([*arguments, "--verify-data", str(data)]) == 2
    assert capsys.readouterr().err == (
        "error: output y: the recorded outputs do not fit the model, expected 6 numbers a sample, "
        "found 7\n"
    )
    assert not out.exists()


def test_a_difference_is_exit_status_1(
    residual: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the integer model is changed behind the back of the analysis."""

    def damaged(model: ir.Model, ranges: Ranges) -> ir.Model:
        model = to_thresholds(model, ranges)
        for value in model.graph.initializers.values():
            if value.name == "left_weights" or value.name.startswith("t8_weights"):
                value.const_value.numpy()[0, 0, 0, 0] += 1
                return model
        raise AssertionError([*model.graph.initializers])

    passes = [replace(p, run=damaged) if p.run is to_thresholds else p for p in PASSES]
    monkeypatch.setattr("transforms.stages.PASSES", passes)
    status, report = analyzed(residual, "--input", DECLARED)
    assert status == 1
    assert report["verification"]["mismatches"] > 0
    assert report["verification"]["oracle_mismatches"] == 0
    text = capsys.readouterr().out
    assert "DIFFERENT against the original: 2 samples, " in text
    assert "integer model against golden at left: " in text
    assert "first at sample 0, element " in text


def test_no_check(residual: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = analyzed(residual, "--input", DECLARED, "--verify", 0)
    assert status == 0
    assert report["verification"] is None and report["not_verified"] == "--verify 0"
    assert "not verified (--verify 0)\n" in capsys.readouterr().out


def test_only_an_explicit_check_must_be_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing tells what the input may be, so no samples can be drawn."""
    net = Net((1, 4))
    net.node("MatMul", "x", net.quant(np.eye(4), 1.0, 2))
    path = tmp_path / "real.onnx"
    onnx.save(net.proto(), str(path))
    status, report = analyzed(path)
    assert status == 0 and report["verification"] is None
    assert report["not_verified"].startswith("input x: nothing in the model quantizes its input")
    assert "not verified (input x: nothing in the model" in capsys.readouterr().out
    assert main(["--analyze-only", str(path), "-o", str(tmp_path / "b"), "--verify", "1"]) == 2
    assert not (tmp_path / "b").exists()
    with pytest.raises(SiraError, match="--verify: out of range, expected >= 0, found -1"):
        main(["--analyze-only", str(path), "-o", str(tmp_path / "b"), "--verify", "-1", "--debug"])


def test_a_model_without_integer_stages_is_still_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net((1, 4))
    x = net.quant("x", 0.5, 4)
    net.quant(net.node("MatMul", x, net.node("Transpose", x, perm=[1, 0])), 4.0, 4, output="q")
    path = tmp_path / "square.onnx"
    onnx.save(net.proto(), str(path))
    status, report = analyzed(path)
    assert status == 0
    names = [check["name"] for check in report["verification"]["checks"]]
    assert "golden against float64 at q" in names
    assert not [name for name in names if "integer model" in name]
    assert "no integer stages: MatMul " in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.json"]


def test_files_of_an_earlier_run_go(residual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = residual.parent / "out"
    (out / "rtl").mkdir(parents=True)
    for name in ("rtl/accelerator.sv", "report.md", "mine.txt"):
        (out / name).write_text("old")
    analyzed(residual, "--input", DECLARED, "--verify", 0)
    assert sorted(p.name for p in out.iterdir()) == [
        "certificate.json.gz", "mine.txt", "report.json", "stages",
    ]  # fmt: skip
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def broken(*_: object) -> list[Check]:
        raise ZeroDivisionError

    monkeypatch.setattr("sira.verification.model.check_steps", broken)
    arguments = ["--analyze-only", str(residual), "-o", str(out), "--input", DECLARED]
    assert main(arguments) == 3
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in residual.parent.iterdir()) == ["out", "residual.onnx"]


def test_a_refused_certificate_leaves_no_stages(
    residual: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise SiraError("no certificate can be written", where="stages", found="something")

    monkeypatch.setattr("sira.certificate.writer.certificate", refused)
    status, _ = analyzed(residual, "--input", DECLARED)
    assert status == 0
    assert [p.name for p in (residual.parent / "out").iterdir()] == ["report.json"]
    assert "no integer stages: stages: no certificate can be written" in capsys.readouterr().out


@pytest.mark.parametrize("name, declared, different", [
    ("CNV_w2a2", "UINT8,scale=1/255", 0),
    ("RN8_w3a3", "UINT8,scale=1/255", 0),
    ("digits_cnn_s0_w4a4", "", 0),
])  # fmt: skip
def test_recorded_outputs_of_outside_models(
    name: str, declared: str, different: int, tmp_path: Path
) -> None:
    folder = os.environ.get("SIRA_MODELS")
    if not folder:
        pytest.skip("SIRA_MODELS does not name the folder of models")
    model = tmp_path / f"{name}.onnx"
    model.write_bytes((Path(folder) / model.name).read_bytes())
    inputs = ["--input", declared] if declared else []
    data = Path(folder) / f"{name}_io.npz"
    status, report = analyzed(model, *inputs, "--verify-data", data, "--verify", 20)
    found = report["verification"]
    assert status == 0 and found["mismatches"] == found["oracle_mismatches"] == 0
    assert found["thresholds_checked"] > 1000
    assert found["recorded_outputs"]["integers_compared"] >= 10
    assert found["recorded_outputs"]["integers_different"] == different
