"""QONNX datatypes by name, and what a user declares of a graph input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.scaled import ScaledInt


@dataclass(frozen=True)
class IntegerType:
    """An integer datatype: its name, its range, and the factor of its fixed point (1 for integers).

    ``step`` is the distance of neighbouring values: BIPOLAR has the values -1 and 1, step 2.
    """

    name: str
    lo: int
    hi: int
    unit: Fraction = Fraction(1)
    step: int = 1

    @property
    def signed(self) -> bool:
        return self.lo < 0

    @property
    def bits(self) -> int:
        """Bits of storage."""
        if self.name in ("BIPOLAR", "BINARY"):
            return 1
        return twos_complement_bits(self.lo, self.hi) if self.signed else self.hi.bit_length()


def parse_datatype(text: str, where: str) -> IntegerType:
    """``UINT8``, ``INT4``, ``BIPOLAR``, ``BINARY``, ``TERNARY`` or ``FIXED<16,6>``."""
    name = text.strip().upper()
    if name == "BIPOLAR":
        return IntegerType(name, -1, 1, step=2)
    if name == "BINARY":
        return IntegerType(name, 0, 1)
    if name == "TERNARY":
        return IntegerType(name, -1, 1)
    if m := re.fullmatch(r"(U?)INT(\d+)", name):
        bits = int(m[2])
        if 1 <= bits <= 32:
            if m[1]:
                return IntegerType(name, 0, 2**bits - 1)
            return IntegerType(name, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if m := re.fullmatch(r"FIXED<(\d+),(\d+)>", name.replace(" ", "")):
        bits, whole = int(m[1]), int(m[2])
        if 1 <= whole <= bits <= 32:
            lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            return IntegerType(name, lo, hi, Fraction(1, 2 ** (bits - whole)))
    raise SiraError(
        "not a datatype",
        where=where,
        expected="UINT<n>, INT<n>, BINARY, BIPOLAR, TERNARY or FIXED<n,m> of up to 32 bits",
        found=repr(text),
    )


def smallest_type(lo: int, hi: int) -> str:
    """The name of the smallest integer datatype that holds ``lo..hi``."""
    if (lo, hi) == (-1, 1):
        return "TERNARY"
    if lo >= 0:
        return "BINARY" if hi <= 1 else f"UINT{hi.bit_length()}"
    return f"INT{twos_complement_bits(lo, hi)}"


def twos_complement_bits(lo: int, hi: int) -> int:
    """Bits of a signed two's complement number that holds ``lo..hi``."""
    return 1 + max(hi.bit_length() if hi >= 0 else 0, (-lo - 1).bit_length() if lo < 0 else 0)


@dataclass(frozen=True)
class InputSpec:
    """What the host sends: ``real = scale * q + bias`` with q of an integer type.

    ``scale`` and ``bias`` are one exact number, or one for each channel (axis 1).
    """

    datatype: IntegerType
    scale: tuple[Fraction, ...] = (Fraction(1),)
    bias: tuple[Fraction, ...] = (Fraction(0),)

    def range(self, shape: tuple[int, ...], where: str) -> ScaledInt:
        """The range of an input of this shape."""
        t = self.datatype
        scale, bias = (_spread(v, shape, where) for v in (self.scale, self.bias))
        if min(self.scale) <= 0:
            raise SiraError(
                "the scale must be positive",
                where=where,
                expected="scale > 0",
                found=str(min(self.scale)),
            )
        unit = Exact.of(t.unit)
        if t.step == 1:
            return ScaledInt.of(t.lo, t.hi, scale * unit, bias)
        return ScaledInt.of(
            0, (t.hi - t.lo) // t.step, scale * Exact.of(t.step), bias + scale * Exact.of(t.lo)
        )


def parse_input(text: str, names: list[str]) -> tuple[str | None, InputSpec]:
    """``[NAME=]DTYPE[,scale=S][,bias=B]``; S and B are numbers, fractions or ``@file.json``."""
    where = f"--input {text}"
    name: str | None = None
    for candidate in sorted(names, key=len, reverse=True):
        if text.startswith(candidate + "="):
            name, text = candidate, text[len(candidate) + 1 :]
            break
    match = re.fullmatch(r"([A-Za-z0-9]+(?:<[^>]*>)?)((?:,(?:scale|bias)=[^,]+)*)", text.strip())
    if match is None:
        raise SiraError(
            "cannot be read",
            where=where,
            expected="[NAME=]DTYPE[,scale=S][,bias=B], for example UINT8,scale=1/255",
            found=repr(text),
            remedy="the graph's inputs are " + ", ".join(names),
        )
    fields = dict(part.split("=", 1) for part in match[2].split(",") if part)
    spec = InputSpec(
        parse_datatype(match[1], where),
        _numbers(fields.get("scale", "1"), where),
        _numbers(fields.get("bias", "0"), where),
    )
    if any(s <= 0 for s in spec.scale):
        raise SiraError("the scale must be positive", where=where, found=str(min(spec.scale)))
    return name, spec


def parse_inputs(texts: list[str], names: list[str]) -> dict[str, InputSpec]:
    """The ``--input`` options of a command line, for graph inputs ``names``."""
    result: dict[str, InputSpec] = {}
    for text in texts:
        name, spec = parse_input(text, names)
        if name is None and len(names) != 1:
            raise SiraError(
                "which input?", where=f"--input {text}", expected="NAME=...", found=", ".join(names)
            )
        if (name or names[0]) in result:
            raise SiraError("declared twice", where=f"--input {text}", found=name or names[0])
        result[name or names[0]] = spec
    return result


def parse_specs(inputs: Mapping[str, InputSpec | str]) -> dict[str, InputSpec]:
    """Declared inputs by name, each as on the command line or parsed already."""
    return {
        name: spec if isinstance(spec, InputSpec) else parse_input(spec, [])[1]
        for name, spec in inputs.items()
    }


def _numbers(text: str, where: str) -> tuple[Fraction, ...]:
    if not text.startswith("@"):
        return (_number(text, where),)
    path = Path(text[1:])
    try:
        contents: Any = json.loads(path.read_text(), parse_float=str, parse_int=str)
    except (OSError, ValueError) as error:
        raise SiraError(
            "cannot be read as JSON", where=f"{where}: {path}", found=str(error)
        ) from error
    items = contents if isinstance(contents, list) else [contents]
    if not items:
        raise SiraError("no values", where=f"{where}: {path}", expected="a list of numbers")
    return tuple(_number(str(item), where) for item in items)


def _number(text: str, where: str) -> Fraction:
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise SiraError(
            "not a number", where=where, expected="a decimal number or a fraction", found=repr(text)
        ) from None


def _spread(values: tuple[Fraction, ...], shape: tuple[int, ...], where: str) -> Exact:
    if len(values) == 1:
        return Exact.of(values[0])
    if len(shape) < 2 or len(values) != shape[1]:
        raise SiraError(
            "one value, or one for each channel, is needed",
            where=where,
            expected=f"1 or {shape[1] if len(shape) > 1 else 1} values",
            found=str(len(values)),
        )
    column = np.empty(len(values), object)
    column[:] = values
    return Exact(column.reshape((-1,) + (1,) * (len(shape) - 2)))
