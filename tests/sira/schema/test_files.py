"""What the commands write meets the published JSON Schema, by a validator that is not ours."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

import sira
from sira.driver.cli import main
from sira.errors import SiraError
from sira.schema.files import FILES, builtins, json_schema
from sira.schema.metadata import Metadata
from sira.schema.report import SCHEMA_VERSION, AnalysisReport, Report, read_report

MODELS = Path(__file__).parents[2] / "models"


def published(file: str) -> jsonschema.Draft202012Validator:
    """The schema as the command prints it."""
    done = subprocess.run(
        [sys.executable, "-m", "sira.schema", file],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def report_schema() -> jsonschema.Draft202012Validator:
    return published("report.json")


@pytest.fixture(scope="module")
def metadata_schema() -> jsonschema.Draft202012Validator:
    return published("metadata.json")


def is_complete(contents: bytes, type_: type[Any]) -> None:
    """Every key of the file is a field: nothing is written that the schema does not know."""
    written = json.loads(contents)
    assert builtins(msgspec.json.decode(contents, type=type_)) == written
    assert next(iter(written)) == "schema_version" and written["schema_version"] == SCHEMA_VERSION


def test_a_compilation_of_both_back_ends(
    small_result: sira.Result,
    report_schema: jsonschema.Draft202012Validator,
    metadata_schema: jsonschema.Draft202012Validator,
) -> None:
    report = (small_result.directory / "report.json").read_bytes()
    report_schema.validate(json.loads(report))
    is_complete(report, Report)
    assert builtins(read_report(report, "report.json")) == small_result.report
    metadata = (small_result.directory / "metadata.json").read_bytes()
    metadata_schema.validate(json.loads(metadata))
    is_complete(metadata, Metadata)


@pytest.mark.parametrize("name", ["residual_w3a3", "depthwise_w4a4", "one_dimensional_w4a4"])
def test_compilations_with_other_layers(
    name: str,
    tmp_path: Path,
    report_schema: jsonschema.Draft202012Validator,
    metadata_schema: jsonschema.Draft202012Validator,
) -> None:
    assert main([str(MODELS / f"{name}.onnx"), "-o", str(tmp_path), "--verify", "0"]) == 0
    report, metadata = ((tmp_path / file).read_bytes() for file in FILES)
    report_schema.validate(json.loads(report))
    metadata_schema.validate(json.loads(metadata))
    is_complete(report, Report)
    is_complete(metadata, Metadata)


@pytest.mark.parametrize("verify", [0, 1])
def test_an_analysis(
    verify: int, tmp_path: Path, report_schema: jsonschema.Draft202012Validator
) -> None:
    model = MODELS / "residual_w3a3.onnx"
    arguments = ["--analyze-only", "-o", str(tmp_path), "--verify", str(verify)]
    assert main([str(model), *arguments]) == 0
    report = (tmp_path / "report.json").read_bytes()
    report_schema.validate(json.loads(report))
    is_complete(report, AnalysisReport)
    with pytest.raises(SiraError, match="expected a complete report with hardware"):
        read_report(report, "report.json")


def leaves(contents: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values of a JSON document, but of the free dictionaries' values."""
    match contents:
        case dict():
            for key, value in contents.items():
                yield (*path, key)
                yield from leaves(value, (*path, key))
        case list() if contents:
            yield from leaves(contents[0], (*path, 0))


FREE = {"seconds", "versions", "folding", "constant_channels", "scripts", "inputs"}
"""Dictionaries whose keys depend on the design."""


def test_every_field_is_needed(
    small_result: sira.Result, report_schema: jsonschema.Draft202012Validator
) -> None:
    """The schema refuses a report that lacks any one of its fields."""
    whole = small_result.report
    paths = [p for p in leaves(whole) if not FREE & {*p[:-1]} and p[-1] != "reason"]
    assert len(paths) > 80
    for path in paths:
        report = copy.deepcopy(whole)
        inner = report
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        assert not report_schema.is_valid(report), path
        with pytest.raises(SiraError, match="not a report of sira-compile"):
            read_report(json.dumps(report).encode(), "report.json")


@pytest.mark.parametrize("path, types", [
    ("layers.accumulator.bits", {"integer"}),
    ("totals.cycles", {"integer"}),
    ("totals.resources.estimate.lut", {"integer"}),
    ("totals.resources.estimate_fifos.lut", {"integer"}),
    ("totals.resources.synthesis_sum.lut", {"integer"}),
    ("totals.resources.synthesis_fifos.lut", {"integer"}),
    ("totals.resources.synthesis_whole_design.lut", {"integer"}),
    ("verification.samples", {"integer"}),
    ("verification.mismatches", {"integer"}),
    ("verification.accuracy", {"number", "null"}),
])  # fmt: skip
def test_what_others_read_keeps_its_place(path: str, types: set[str]) -> None:
    schema = json_schema(Report)
    definitions = schema["$defs"]
    found = definitions["Report"]
    for key in path.split("."):
        found = found["properties"][key]
        found = found.get("items", found)
        for option in found.get("anyOf", [found]):
            if "$ref" in option:
                found = definitions[option["$ref"].removeprefix("#/$defs/")]
    assert {option["type"] for option in found.get("anyOf", [found])} == types


def test_every_type_is_described() -> None:
    for types in FILES.values():
        for name, definition in json_schema(*types)["$defs"].items():
            description = definition["description"]
            assert description[0].isupper() or description.startswith("``"), name
            assert description.endswith(".") and "\n    " not in description, name


def test_no_schema_of_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    from sira.schema.__main__ import main as print_schema

    with pytest.raises(SystemExit) as stop:
        print_schema(["report.md"])
    assert stop.value.code == 2
    assert "invalid choice: 'report.md'" in capsys.readouterr().err
