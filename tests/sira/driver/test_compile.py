"""The driver: what a build folder holds, how options change it, and that it appears as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import sira
from hls.dataflow import Port
from hls.layers.matrix_vector import MatrixVector
from sira.errors import SiraError

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_mlp_w2a2.onnx"

LAYER = {
    "name", "kind", "k", "n", "weight_bits", "input", "accumulator", "folding", "cycles",
    "resources",
}  # fmt: skip
ACCUMULATOR = {
    "lo", "hi", "bits", "offset", "bits_window", "bits_twos_complement", "bits_datatype",
    "bits_weights_datatype",
}  # fmt: skip
VERIFICATION = {
    "tool", "samples", "mismatches", "oracle_mismatches", "thresholds_checked", "float32_ties",
    "cycles_first", "cycles_per_sample", "samples_per_second", "accuracy", "accuracy_original",
}  # fmt: skip
STAGES = [
    "01_loaded", "02_canonical", "03_aggregated", "04_thresholds", "05_constant_channels",
    "06_accumulators",
]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_everything_is_there(small_result: sira.Result) -> None:
    folder = small_result.directory
    assert {path.name for path in folder.iterdir()} == {
        "report.json", "report.md", "metadata.json", "stages", "rtl", "hls", "vivado",
        "certificate.json.gz", "verification.npz",
    }  # fmt: skip
    assert [path.stem for path in sorted((folder / "stages").iterdir())] == STAGES
    # Nothing else beside it: the work folder is gone.
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_report_has_every_key(small_result: sira.Result) -> None:
    report = json.loads((small_result.directory / "report.json").read_text())
    assert report == small_result.report
    assert set(report) >= {
        "layers", "tensors", "totals", "verification", "seconds", "versions", "options",
    }  # fmt: skip
    for layer in report["layers"]:
        assert set(layer) >= LAYER
        assert set(layer["input"]) == {"lo", "hi", "bits"}
        assert set(layer["folding"]) == {"pe", "simd"}
        assert set(layer["resources"]) == {"estimate", "synthesis"}
        assert set(layer["resources"]["estimate"]) == {"lut", "ff", "dsp", "bram18"}
        if layer["kind"] == "matrix_vector":
            assert set(layer["accumulator"]) == ACCUMULATOR
    for tensor in report["tensors"]:
        assert set(tensor) >= {"name", "shape", "integer", "lo", "hi", "bits", "scale", "bias"}
        assert tensor["integer"] or tensor["reason"]
    assert set(report["verification"]) >= VERIFICATION
    assert set(report["seconds"]) >= {"load", "analyze", "emit", "verify", "verify: thresholds"}
    assert set(report["versions"]) >= {"sira", "python", "numpy", "onnx", "verilator"}
    assert report["options"]["acc_bits"] == "auto"


def test_verification_counts(small_result: sira.Result) -> None:
    verification = small_result.report["verification"]
    assert small_result.passed
    assert verification["samples"] == 64
    assert verification["mismatches"] == verification["oracle_mismatches"] == 0
    assert verification["thresholds_checked"] == 6 * 3  # neurons, steps between 2-bit levels
    assert verification["cycles_per_sample"] == 24
    assert verification["samples_per_second"] > 0
    assert verification["accuracy"] == verification["accuracy_original"]
    assert "Verilator" in verification["tool"]
    assert "HLS C++" in verification["tool"]


def test_two_runs_give_the_same_files(
    small_result: sira.Result, small_model: Path, small_samples: Path, tmp_path: Path
) -> None:
    again = sira.compile(
        small_model,
        sira.Options(tmp_path / "again", backend="both", target_cycles=24, verify=0),
    )
    first, second = contents(small_result.directory), contents(again.directory)
    for name in ("report.json", "report.md", "verification.npz"):
        first.pop(name)
        second.pop(name, None)
    assert first == second
    assert any(name.startswith("vivado/") for name in first)


def execute(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A stage file by qonnx's executor, sample for sample."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    model = ModelWrapper(str(path))
    (name,) = [value.name for value in model.graph.input]
    results = [execute_onnx(model, {name: sample.reshape(1, -1)}) for sample in x]
    (output,) = [value.name for value in model.graph.output]
    return np.concatenate([result[output] for result in results])


def test_stages_run_in_the_qonnx_executor(small_result: sira.Result) -> None:
    folder = small_result.directory / "stages"
    with np.load(small_result.directory / "verification.npz") as data:
        x = data["x"][:16]
    scores = execute(folder / "01_loaded.onnx", x)
    assert np.unique(scores).size > 4
    assert np.array_equal(execute(folder / "02_canonical.onnx", x), scores)
    # The later stages begin behind the quantizer of the host.
    q = np.clip(np.rint(x / np.float32(0.125)), -8, 7).astype(np.float32)
    for stage in STAGES[2:]:
        assert np.array_equal(execute(folder / f"{stage}.onnx", q), scores), stage


def annotations(path: Path) -> dict[str, str]:
    return {
        annotation.tensor_name: pair.value
        for annotation in onnx.load(path).graph.quantization_annotation
        for pair in annotation.quant_parameter_tensor_names
        if pair.key == "finn_datatype"
    }


def test_the_last_stage_carries_datatypes(small_result: sira.Result) -> None:
    found = annotations(small_result.directory / "stages" / "06_accumulators.onnx")
    hidden, scores = (
        layer["accumulator"]
        for layer in small_result.report["layers"]
        if layer["kind"] == "matrix_vector"
    )
    assert found["t2"] == f"INT{max(hidden['bits_twos_complement'])}"
    assert found["scores_integers"] == f"INT{max(scores['bits_twos_complement'])}"
    assert found["t4"] == "INT2"


def widths(folder: Path, **options: Any) -> list[int]:
    result = sira.compile(DIGITS, sira.Options(folder, verify=0, **options))
    layers = result.lowered.dataflow.layers
    return [layer.accumulator_bits for layer in layers if isinstance(layer, MatrixVector)]


def test_accumulator_widths(tmp_path: Path) -> None:
    assert widths(tmp_path) == [10, 7, 7]
    assert widths(tmp_path, acc_bits="datatype") == [13, 10, 10]
    assert widths(tmp_path, acc_bits=12) == [12, 12, 12]
    assert widths(tmp_path, acc_bits=10) == [10, 10, 10]
    with pytest.raises(SiraError, match="found /2/MatMul needs 10;"):
        widths(tmp_path, acc_bits=9)


def test_wider_accumulators_compute_the_same(
    small_model: Path, small_samples: Path, small_result: sira.Result, tmp_path: Path
) -> None:
    result = sira.compile(
        small_model,
        sira.Options(tmp_path, acc_bits="datatype", verify_data=small_samples, target_cycles=24),
    )
    assert result.passed
    bits = [
        [layer["accumulator"]["bits"] for layer in r.report["layers"] if layer["accumulator"]]
        for r in (small_result, result)
    ]
    assert bits == [[9, 4], [10, 6]]


def test_folding_file_and_target_cycles(tmp_path: Path) -> None:
    factors = {"/5/MatMul": {"pe": 8, "simd": 2}}
    options = sira.Options(tmp_path, folding=factors, target_cycles=512, verify=0)
    layers = {entry["name"]: entry for entry in sira.compile(DIGITS, options).report["layers"]}
    assert layers["/5/MatMul"]["folding"] == {"pe": 8, "simd": 2}
    assert layers["/5/MatMul"]["cycles"] == 64 * 64 // (8 * 2)
    for name in ("/2/MatMul", "/8/MatMul"):
        folding = layers[name]["folding"]
        work = layers[name]["k"] * layers[name]["n"]
        assert layers[name]["cycles"] == work // (folding["pe"] * folding["simd"]) <= 512


def test_a_failure_leaves_an_earlier_build_alone(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "build"
    sira.compile(small_model, sira.Options(folder, verify=0))
    before = contents(folder)
    with pytest.raises(SiraError):
        sira.compile(small_model, sira.Options(folder, acc_bits=2))

    def late(report: object) -> str:
        raise SiraError("fails when all other files have been written")

    monkeypatch.setattr("sira.driver.compile.markdown", late)
    with pytest.raises(SiraError, match="all other files"):
        sira.compile(small_model, sira.Options(folder, verify=0, target_cycles=24))
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_a_build_replaces_an_earlier_one_as_a_whole(
    small_result: sira.Result, small_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "build"
    sira.compile(DIGITS, sira.Options(folder, verify=0, backend="both"))
    (folder / "notes.txt").write_text("the user's own")
    sira.compile(small_model, sira.Options(folder, verify=0, target_cycles=24))
    assert not (folder / "hls").exists()
    assert (folder / "notes.txt").read_text() == "the user's own"
    rtl = {path.name for path in (folder / "rtl").iterdir()}
    assert rtl == {path.name for path in (small_result.directory / "rtl").iterdir()}


def test_failures_in_new_folders_leave_no_folders(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SiraError):
        sira.compile(small_model, sira.Options(tmp_path / "a" / "b" / "c", acc_bits=2))
    assert list(tmp_path.iterdir()) == []


def test_a_model_in_memory_and_a_declared_input(tmp_path: Path) -> None:
    from onnx_models import Net

    random = np.random.default_rng(1)
    net = Net((1, 4))
    net.node("MatMul", "x", net.quant(random.integers(-2, 2, (4, 3)), 1.0, 2), output="y")
    _, spec = sira.datatypes.parse_input("UINT8,scale=1/255", ["x"])
    options = sira.Options(tmp_path, inputs={"x": spec}, verify=20)
    result = sira.compile(net.proto(), options)
    assert result.passed
    assert result.report["verification"]["samples"] == 20
    assert json.loads((tmp_path / "metadata.json").read_text())["input"]["scale"] == 1 / 255
    with pytest.raises(SiraError, match="no such input, expected x, found z"):
        sira.compile(net.proto(), sira.Options(tmp_path, inputs={"z": spec}))


def test_metadata_tells_the_host_how_to_run_the_hardware(small_result: sira.Result) -> None:
    """What a host does that knows nothing but metadata.json gives the original's scores."""
    folder = small_result.directory
    metadata = json.loads((folder / "metadata.json").read_text())
    with np.load(folder / "verification.npz") as data:
        x = data["x"]
    source, (sink,) = metadata["input"], metadata["outputs"]
    q = np.clip(
        np.rint((x - source["bias"]) / source["scale"]),
        source["integer"]["lo"],
        source["integer"]["hi"],
    )
    counts = q.astype(np.int64) - np.asarray(source["count_offset"])
    assert 0 <= counts.min() < counts.max() < 2 ** source["stream"]["bits"]
    out = small_result.lowered.dataflow.execute({"in": counts})[Port("", "out")]
    scores = sink["scale"] * (out + np.asarray(sink["count_offset"])) + sink["bias"]
    original = execute(folder / "stages" / "01_loaded.onnx", x)
    assert np.array_equal(scores.astype(np.float32), original)
