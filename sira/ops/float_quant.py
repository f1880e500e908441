"""FloatQuant: rounding to a minifloat, whose values are integers times the smallest step.

With m mantissa bits and exponent bias b the numbers below 2^(1-b) are multiples of 2^(1-b-m), and
every larger number of the format is one too. So the output has an integer core for as long as the
largest number has few enough bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Enclosure, Exact, Undecided, unasked
from sira.numbers.interval import Floats
from sira.numbers.rounding import RoundingMode, parse_mode, round_exact, round_floats
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    OpRule,
    numbers,
    operand,
    real,
    register,
    rising,
    with_parameters,
)
from sira.ops.quant import check_positive


@dataclass(frozen=True)
class _Format:
    """Mantissa bits, the exponent of the smallest step, and the largest number in steps."""

    mantissa: int
    smallest: int
    largest: int
    mode: RoundingMode

    def floats(self, x: Floats) -> Ints:
        """Numbers in steps, for float64."""
        with np.errstate(over="ignore", under="ignore"):
            exponent = np.frexp(x)[1] - 1
            step = np.maximum(exponent - self.mantissa, self.smallest)
            rounded = round_floats(np.ldexp(x, -step), self.mode)
            top = float(self.largest)
            steps = np.ldexp(rounded, np.minimum(step - self.smallest, 1000))
            return np.clip(np.where(np.isinf(x), x, steps), -top, top).astype(np.int64)

    def exact(self, x: Any) -> int:
        """Numbers in steps, for a fraction or an enclosure of one number."""
        if unasked(x):
            return 0
        low, high = x.bounds if isinstance(x, Enclosure) else (x, x)
        steps = {self._step(low), self._step(high)}
        if len(steps) > 1:
            raise Undecided
        step = steps.pop()
        q: int = round_exact(x / Fraction(2) ** step, self.mode) * 2 ** (step - self.smallest)
        return max(-self.largest, min(self.largest, q))

    def _step(self, x: Fraction) -> int:
        if not x:
            return self.smallest
        exponent = abs(x).numerator.bit_length() - abs(x).denominator.bit_length()
        exponent -= abs(x) < Fraction(2) ** exponent
        return max(exponent - self.mantissa, self.smallest)


def _one_integer(node: ir.Node, args: Args, index: int, name: str) -> int:
    value = real(args[index]).values
    if value.size != 1 or value.ravel()[0].denominator != 1:
        raise SiraError(
            f"the {name} must be one integer",
            where=g.describe(node),
            found=str(value.ravel()[:4].tolist()),
        )
    return int(value.ravel()[0])


def _format(node: ir.Node, args: Args) -> _Format:
    exponents, mantissa, bias = (
        _one_integer(node, args, i, name)
        for i, name in ((2, "exponent width"), (3, "mantissa width"), (4, "exponent bias"))
    )
    smallest = 1 - bias - mantissa
    largest = (2 - Fraction(1, 2**mantissa)) * Fraction(2) ** (2**exponents - 1 - bias)
    if len(args) > 5 and args[5] is not None:
        limits = real(args[5]).values
        largest = min(largest, *limits.ravel())
    steps = largest / Fraction(2) ** smallest
    if steps.denominator != 1 or not 0 < steps < 2**53:
        raise SiraError(
            "the float format is out of reach",
            where=g.describe(node),
            expected="a largest number below 2^53 smallest steps, and a multiple of them",
            found=f"{float(largest)} in steps of 2^{smallest}",
            remedy="use a format with a narrower exponent",
        )
    mode = parse_mode(g.attribute(node, "rounding_mode", "ROUND"), g.describe(node))
    return _Format(mantissa, smallest, int(steps), mode)


def _float_quant(node: ir.Node, args: Args) -> list[Arg]:
    x, scale, form = numbers(operand(args[0])), real(args[1]), _format(node, args)
    check_positive(node, scale)
    if isinstance(x, Exact):
        flat = (x / scale).values
        lo = hi = np.array([form.exact(v) for v in flat.ravel()], np.int64).reshape(flat.shape)
    else:
        y = x / scale.interval
        lo, hi = form.floats(y.lo), form.floats(y.hi)
        overflows = (np.abs(y.lo) > form.largest * 2.0**form.smallest).any() or (
            np.abs(y.hi) > form.largest * 2.0**form.smallest
        ).any()
        if overflows and not g.attribute(node, "saturation", 1):
            raise SiraError(
                "numbers too large for the format become infinite or NaN",
                where=g.describe(node),
                expected="saturation=1",
                found="saturation=0",
                remedy="let it saturate, or clip in front of it",
            )
    step = Exact.of(Fraction(2) ** form.smallest)
    return [ScaledInt.of(lo, hi, scale * step, Exact.of(0))]


register("FloatQuant", rule=OpRule("quantizer", _float_quant, with_parameters(1), rising))
