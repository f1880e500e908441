"""Verifying a build folder again: corrupted files must be found, intact ones must pass."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from small_net import small_network

import sira
from hls.dataflow import Layer, Resources
from hls.device import DEVICES, default_device
from hls.inventory import Inventory, Item, Logic
from hls.layers.thresholding import Thresholding
from hls.lower.tails import CANDIDATES, TailFunction
from sira.driver.cli import main, verify_main
from sira.driver.reverify import reverify


@pytest.fixture
def folder(small_result: sira.Result, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_result.directory, tmp_path / "build"))


def failed(junit: Path) -> set[str]:
    suite = ElementTree.parse(junit).getroot()
    cases = suite.findall("testcase")
    names = {case.attrib["name"] for case in cases if case.find("failure") is not None}
    assert suite.attrib["tests"] == str(len(cases))
    assert suite.attrib["failures"] == str(len(names))
    return names


def flip(path: Path, word: int, bit: int = 0) -> None:
    words = path.read_text().split()
    words[word] = f"{int(words[word], 16) ^ (1 << bit):0{len(words[word])}x}"
    path.write_text("\n".join(words) + "\n")


SIMULATIONS = {
    "Verilator, frames back to back",
    "Verilator, random stalls",
    "Verilator, reset in mid-frame",
}
MEMORIES, CPP, CPP_CONSTANTS = (
    "constants in rtl/*.mem",
    "HLS C++ under g++",
    "constants in hls/*_params.hpp",
)


def test_an_intact_folder_passes(folder: Path, tmp_path: Path, small_result: sira.Result) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert verify_main([str(folder), "--junit", str(tmp_path / "j.xml"), "--seed", "5"]) == 0
    assert failed(tmp_path / "j.xml") == set()
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    names = {case.attrib["name"] for case in suite}
    assert names >= SIMULATIONS | {MEMORIES, CPP, CPP_CONSTANTS}
    assert small_result.verification is not None
    assert names >= {check.name for check in small_result.verification.checks}
    assert {path: path.read_bytes() for path in before} == before
    assert suite.tag == "testsuite" and suite.attrib["name"] == "sira-verify small.onnx"
    assert suite.attrib["errors"] == "0" and float(suite.attrib["time"]) > 0
    assert {case.attrib["classname"] for case in suite} == {"sira.small.onnx"}


@pytest.mark.parametrize("memory, word, bit", [
    ("matmul_2_weights", 0, 0),
    ("matmul_2_weights", -1, 3),
    ("matmul_2_start", 1, 0),
    ("matmul_6_weights", 7, 1),
    ("matmul_6_start", 2, 0),
    ("quant_4_thresholds_00", 0, 4),
    ("quant_4_thresholds_01", 3, 6),
])  # fmt: skip
def test_one_flipped_bit_in_a_memory_is_found_by_simulation(
    folder: Path, tmp_path: Path, memory: str, word: int, bit: int
) -> None:
    flip(folder / "rtl" / f"{memory}.mem", word, bit)
    assert verify_main([str(folder), "--junit", str(tmp_path / "j.xml")]) == 1
    assert failed(tmp_path / "j.xml") == SIMULATIONS | {MEMORIES}
    failures = ElementTree.parse(tmp_path / "j.xml").getroot().findall("testcase/failure")
    for failure in failures:
        assert re.fullmatch(r"\d+ of \d+ differ", failure.attrib["message"])
        assert failure.text is not None and failure.text.startswith("first ")


def test_a_threshold_off_by_one_is_found_where_no_sample_meets_it(folder: Path) -> None:
    path = folder / "rtl" / "quant_4_thresholds_00.mem"
    for word in range(3):
        flip(path, word)
        (check,) = (c for c in reverify(folder).checks if c.name == MEMORIES)
        assert check.mismatches == 1
        assert check.detail.startswith(f"first in rtl/{path.name}, word {word}: ")
        flip(path, word)


@pytest.mark.parametrize("damage", [
    lambda path: path.unlink(),
    lambda path: path.write_text("\n".join(path.read_text().split()[1:])),
])  # fmt: skip
def test_missing_words_are_found(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "rtl" / "matmul_6_weights.mem")
    assert not reverify(folder).passed


@pytest.mark.parametrize("layer, array", [
    ("matmul_2", "weights"), ("matmul_6", "start"), ("quant_4", "stage0"),
])  # fmt: skip
def test_one_changed_constant_of_the_cpp_is_found(
    folder: Path, tmp_path: Path, layer: str, array: str
) -> None:
    header = folder / "hls" / f"{layer}_params.hpp"
    text = header.read_text()
    match = re.search(rf" {array}\[.*{{\n  {{(0x)?([0-9a-f]+)", text)
    assert match is not None
    value = int(match[2], 16 if match[1] else 10) ^ (16 if array == "stage0" else 1)
    start, end = match.span(2)
    header.write_text(f"{text[:start]}{value:{'x' if match[1] else 'd'}}{text[end:]}")
    assert verify_main([str(folder), "--junit", str(tmp_path / "j.xml")]) == 1
    assert failed(tmp_path / "j.xml") == {CPP, CPP_CONSTANTS}


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert verify_main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line, end = captured.err.split("\n")
    assert end == ""
    return line


def test_no_build_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error(capsys, tmp_path)
    assert line.startswith(
        f"error: {tmp_path}: not a build folder, expected the report.json of sira-compile, found"
    )
    assert line.endswith("run sira-compile first")


@pytest.mark.parametrize("text, found", [
    ("[]", "Expected `object`, got `array`"),
    ("{", "Input data was truncated"),
    ('{"schema_version": 1, "model": "\udcff"}', "'utf-8' codec can't decode byte 0xff in position "
     "0: invalid start byte"),
    ('{"model": "m"}', "Object missing required field `schema_version`"),
    ('{"schema_version": "1"}', "Expected `int`, got `str` - at `$.schema_version`"),
    ('{"schema_version": 1, "model": "m"}', "Object missing required field `layers`"),
])  # fmt: skip
def test_a_report_of_something_else(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, found: str
) -> None:
    path = folder / "report.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert error(capsys, folder) == (
        f"error: {path}: not a report of sira-compile, expected a complete report with hardware, "
        f"found {found}; compile the model again"
    )


@pytest.mark.parametrize("path", [
    ["fifos"], ["options"], ["options", "backend"], ["fifos", 0, "depth"], ["layers", 0, "cycles"],
    ["totals", "resources", "estimate", "lut"],
])  # fmt: skip
def test_an_incomplete_report(
    folder: Path, capsys: pytest.CaptureFixture[str], path: list[str | int]
) -> None:
    file = folder / "report.json"
    report = json.loads(file.read_text())
    inner = report
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    file.write_text(json.dumps(report))
    line = error(capsys, folder)
    assert line.startswith(f"error: {file}: not a report of sira-compile, expected ")
    assert f"found Object missing required field `{path[-1]}`" in line


def test_a_report_of_another_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "report.json"
    report = json.loads(path.read_text()) | {"schema_version": 2, "layers": "of another kind"}
    path.write_text(json.dumps(report))
    assert error(capsys, folder) == (
        f"error: {path}: a report of another version of sira-compile, expected schema_version 1, "
        "found 2; compile the model again, or use the version that wrote it"
    )


def test_a_report_without_hardware(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(small_model), "-o", str(tmp_path), "--analyze-only", "--verify", "0"]) == 0
    capsys.readouterr()
    assert "expected a complete report with hardware" in error(capsys, tmp_path)


@pytest.mark.parametrize("key, value, message", [
    ("datatype", "UINT99", "input x: not a datatype, expected "),
    ("scale", ["1/0"], "a scale or bias is not a number, expected fractions, found Fraction(1, 0)"),
    ("bias", ["a"], "a scale or bias is not a number, expected fractions, found Invalid literal"),
])  # fmt: skip
def test_recorded_inputs_that_are_none(
    folder: Path, capsys: pytest.CaptureFixture[str], key: str, value: object, message: str
) -> None:
    path = folder / "report.json"
    report = json.loads(path.read_text())
    spec = {"datatype": "UINT8", "scale": ["1"], "bias": ["0"]}
    report["options"]["inputs"] = {"x": spec | {key: value}}
    path.write_text(json.dumps(report))
    assert message in error(capsys, folder)


def test_a_missing_stage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "stages" / "01_loaded.onnx"
    path.unlink()
    assert error(capsys, folder).startswith(f"error: {path}: no such file")


@pytest.mark.parametrize("file, text", [
    ("rtl/accelerator.sv", None), ("rtl/accelerator.sv", "module"), ("hls/accelerator.cpp", "int"),
])  # fmt: skip
def test_files_that_cannot_be_simulated(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, text: str | None
) -> None:
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    line = error(capsys, folder)
    assert line.startswith("error: ")
    assert line.endswith("compile the model again")


def test_junit_goes_to_a_folder_that_exists(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "none" / "j.xml"
    line = error(capsys, folder, "--junit", target)
    assert line == f"error: --junit {target}: no such folder; create it first"
    line = error(capsys, folder, "--junit", tmp_path)
    assert line == f"error: --junit {tmp_path}: a folder, not a file"


def test_declared_inputs_are_remembered(tmp_path: Path) -> None:
    import numpy as np
    from onnx_models import Net

    from sira.datatypes import parse_input

    net = Net((1, 4))
    net.node("MatMul", "x", net.quant(np.eye(4), 1.0, 2), output="y")
    _, spec = parse_input("INT4,scale=1/3,bias=-1/7", ["x"])
    options = sira.Options(tmp_path, inputs={"x": spec}, backend="hls")
    assert sira.compile(net.proto(), options).passed
    recorded = json.loads((tmp_path / "report.json").read_text())["options"]["inputs"]
    assert recorded == {"x": {"datatype": "INT4", "scale": ["1/3"], "bias": ["-1/7"]}}
    assert reverify(tmp_path).passed


@dataclass(frozen=True, eq=False)
class Deeper(Thresholding):
    """Thresholds with one more stage; all that it is built of is called control."""

    def inventory(self) -> Inventory:
        return (Logic("control", 10**6),)


def deeper(tail: TailFunction) -> Layer:
    never = np.full((len(tail.thresholds), tail.thresholds.shape[1] + 1), 1 << tail.input_bits)
    return Deeper(
        name=tail.name,
        thresholds=np.concatenate([tail.thresholds, never], axis=1),
        falling=tail.falling,
        channels=tail.channels,
        input_bits=tail.input_bits,
        pe=1,
        vectors=tail.vectors,
    )


def free_control(item: Item) -> Resources:
    return Resources() if isinstance(item, Logic) else default_device().cost(item)


def test_the_design_of_another_device_is_verified_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a layer is built of depends on the prices of the part that was compiled for."""
    toy = replace(default_device(), family="Toy", parts="toy-", examples="toy-", cost=free_control)
    monkeypatch.setitem(DEVICES, "Toy", toy)
    monkeypatch.setitem(CANDIDATES, "deeper", deeper)
    stages = {}
    for part in ("toy-1", "xc7z020clg400-1"):
        options = sira.Options(output=tmp_path / part, part=part, verify=2)
        folder = sira.compile(small_network().proto(), options).directory
        assert reverify(folder).passed
        stages[part] = len(list((folder / "rtl").glob("quant_4_thresholds_*.mem")))
    assert stages == {"toy-1": 3, "xc7z020clg400-1": 2}
