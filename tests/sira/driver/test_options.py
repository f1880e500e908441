"""The options: what they refuse, whoever makes them, and what a folding file may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sira.driver.options import Options, read_folding
from sira.errors import SiraError


@pytest.mark.parametrize("options, message", [
    ({"part": "xc7z020; exec rm"}, "--part: not a part number, expected one like xc7z020clg400-1, "
     "found xc7z020; exec rm$"),
    ({"part": ""}, "--part: not a part number"),
    ({"part": "xc7z020\n"}, "--part: not a part number"),
    ({"clock_mhz": 0}, "--clock-mhz: not a clock frequency, expected a number of MHz in 1 .. "
     "10000, found 0$"),
    ({"clock_mhz": 0.9}, "--clock-mhz: not a clock frequency.* found 0.9$"),
    ({"clock_mhz": float("nan")}, "--clock-mhz: not a clock frequency.* found nan$"),
    ({"clock_mhz": float("inf")}, "--clock-mhz: not a clock frequency.* found inf$"),
    ({"clock_mhz": 10001.0}, "--clock-mhz: not a clock frequency.* found 10001$"),
    ({"acc_bits": 63}, "--acc-bits: not a width, expected auto, datatype or 1..62, found 63$"),
    ({"synth": "vivado"}, "--synth: not a choice, expected none | yosys, found 'vivado'$"),
    ({"target_cycles": 0}, "--target-cycles: out of range, expected >= 1, found 0$"),
    ({"verify": -1}, "--verify: out of range, expected >= 0, found -1$"),
])  # fmt: skip
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SiraError, match="^" + message.replace("|", r"\|")):
        Options(**options)


def test_the_ends_of_the_ranges_are_accepted() -> None:
    Options(clock_mhz=1, target_cycles=1, verify=0, acc_bits=1)
    Options(clock_mhz=10_000, acc_bits=62, part="xczu3eg-sbva484-1-e")


def test_folding_file(tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text(json.dumps({"first": {"pe": 2}, "second": {}}))
    assert read_folding(path) == {"first": {"pe": 2}, "second": {}}


@pytest.mark.parametrize("text, message", [
    ("", "cannot be read as JSON, found Input data was truncated$"),
    ("{", "cannot be read as JSON, found Input data was truncated$"),
    ("{'first'", r"cannot be read as JSON, found JSON is malformed: .*\(byte 1\)$"),
    ("{\"\udcff\": {}}", "cannot be read as JSON, found 'utf-8' codec can't decode byte 0xff"),
    ("[1]", 'not a folding file, expected {"layer name": {"pe": 4, "simd": 16}, ...}, found '
     "Expected `object`, got `array`$"),
    ('{"first": 3}', "not a folding file, .* got `int`"),
    ('{"first": {"pe": "2"}}', "not a folding file, .* got `str`"),
    ('{"first": {"pe": 2.0}}', "not a folding file, .* got `float`"),
    ('{"first": {"pe": true}}', "not a folding file, .* got `bool`"),
    ('{"first": {"pe": null}}', "not a folding file, .* got `null`"),
])  # fmt: skip
def test_unreadable_folding_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folding.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SiraError, match=f"^folding {path}: {message}"):
        read_folding(path)


def test_missing_folding_file(tmp_path: Path) -> None:
    with pytest.raises(SiraError, match=r"cannot be read as JSON, found .*No such file"):
        read_folding(tmp_path / "missing.json")
