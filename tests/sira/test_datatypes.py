"""QONNX datatypes, and what a user declares of an input."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qonnx.core.datatype import DataType

from sira.datatypes import parse_datatype, parse_input, smallest_type, twos_complement_bits
from sira.errors import SiraError
from sira.numbers.exact import Exact


@pytest.mark.parametrize("name", [
    *(f"{kind}{n}" for kind in ("UINT", "INT") for n in (2, 3, 4, 7, 8, 16, 32)),
    "BINARY", "BIPOLAR", "TERNARY",
])  # fmt: skip
def test_ranges_are_those_of_qonnx(name: str) -> None:
    found, expected = parse_datatype(name, "here"), DataType[name]
    assert (found.lo, found.hi) == (expected.min(), expected.max())
    assert found.bits == expected.bitwidth() and found.signed == expected.signed()
    count = (found.hi - found.lo) // found.step + 1
    assert count == expected.get_num_possible_values()


def test_fixed_point() -> None:
    found = parse_datatype("fixed<16, 6>", "here")
    expected = DataType["FIXED<16,6>"]
    assert found.lo * found.unit == Fraction(expected.min())
    assert found.hi * found.unit == Fraction(expected.max())


@pytest.mark.parametrize("name", ["UINT0", "INT33", "FLOAT32", "FIXED<4,5>", "FIXED<4>", "", "INT"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(SiraError, match=r"^here: not a datatype, expected UINT<n>,.* found '"):
        parse_datatype(name, "here")


@pytest.mark.parametrize("lo", range(-9, 10))
def test_smallest_type(lo: int) -> None:
    for hi in range(lo, 10):
        found = DataType[smallest_type(lo, hi)]
        assert found.min() <= lo and hi <= found.max()
        bits = found.bitwidth()
        if bits > 1 and found.name != "TERNARY":
            narrower = DataType[f"{'INT' if lo < 0 else 'UINT'}{bits - 1}"]
            assert lo < narrower.min() or hi > narrower.max()


def test_twos_complement_bits() -> None:
    for lo in range(-40, 1):
        for hi in range(0, 40):
            bits = twos_complement_bits(lo, hi)
            assert -(2 ** (bits - 1)) <= lo and hi < 2 ** (bits - 1)
            assert bits == 1 or lo < -(2 ** (bits - 2)) or hi >= 2 ** (bits - 2)


@pytest.mark.parametrize("text, name, scale, bias", [
    ("UINT8", None, 1, 0),
    ("UINT8,scale=1/255", None, Fraction(1, 255), 0),
    ("x=INT4,scale=0.1,bias=-3/7", "x", Fraction(1, 10), Fraction(-3, 7)),
    ("a=b=INT4,bias=1e-3", "a=b", 1, Fraction(1, 1000)),
    ("x=FIXED<16,6>,scale=2", "x", 2, 0),
])  # fmt: skip
def test_declarations(text: str, name: str | None, scale: Any, bias: Any) -> None:
    found, spec = parse_input(text, ["x", "a", "a=b"])
    assert (found, spec.scale, spec.bias) == (name, (scale,), (bias,))


def test_ranges_of_declarations() -> None:
    for text, lo, hi, scale, bias in (
        ("UINT8,scale=1/255", 0, 255, Fraction(1, 255), 0),
        ("BIPOLAR", 0, 1, 2, -1),
        ("BIPOLAR,scale=1/2,bias=3", 0, 1, 1, Fraction(5, 2)),
        ("FIXED<4,2>,scale=3", -8, 7, Fraction(3, 4), 0),
    ):
        found = parse_input(text, [])[1].range((1, 4), "here")
        assert isinstance(found.scale, Exact) and isinstance(found.bias, Exact)
        assert (found.lo, found.hi) == (lo, hi)
        assert (found.scale.values.item(), found.bias.values.item()) == (scale, bias)


def test_values_for_each_channel(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    path.write_text(json.dumps([0.1, "1/3", 2]))
    spec = parse_input(f"UINT8,scale=@{path}", [])[1]
    assert spec.scale == (Fraction(1, 10), Fraction(1, 3), 2)
    found = spec.range((1, 3, 4), "here").scale
    assert isinstance(found, Exact)
    assert np.broadcast_shapes(found.shape, (1, 3, 4)) == (1, 3, 4)
    assert found.values.ravel().tolist() == [Fraction(1, 10), Fraction(1, 3), 2]
    with pytest.raises(SiraError, match=r"^here: one value, or one .* expected 1 or 4 .* found 3$"):
        spec.range((1, 4), "here")


@pytest.mark.parametrize("text, message", [
    ("y=UINT8", r"cannot be read, expected \[NAME=\]DTYPE.*found 'y=UINT8'; the .* inputs are x$"),
    ("UINT8;scale=2", "cannot be read"),
    ("UINT8,zero=2", "cannot be read"),
    ("UINT8,scale=", "cannot be read"),
    ("FLOAT32", "not a datatype"),
    ("UINT8,scale=abc", "not a number, expected a decimal number or a fraction, found 'abc'"),
    ("UINT8,scale=1/0", "not a number"),
    ("UINT8,scale=nan", "not a number"),
    ("UINT8,scale=inf", "not a number"),
    ("UINT8,scale=0", "the scale must be positive, found 0"),
    ("UINT8,scale=-1/2", "the scale must be positive, found -1/2"),
    ("UINT8,scale=@missing.json", r"missing\.json: cannot be read as JSON"),
])  # fmt: skip
def test_declarations_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(SiraError, match=message) as caught:
        parse_input(text, ["x"])
    assert str(caught.value).startswith(f"--input {text}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("contents", ["{", "[]", '{"a": 1}', "[true]", "[[1]]", '["x"]', "[NaN]"])
def test_files_of_channels_that_cannot_be_read(contents: str, tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    path.write_text(contents)
    with pytest.raises(SiraError, match=r"^--input UINT8,scale=@"):
        parse_input(f"UINT8,scale=@{path}", [])
