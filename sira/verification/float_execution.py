"""Golden integers against the original file, executed by code that is not ours.

At every quantizer in float64, and in float32, where a difference must be explained by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt, Value
from sira.ops import rule_of
from sira.verification import golden
from sira.verification.check import Check, compare
from sira.verification.oracle import Oracle
from sira.verification.rounding_errors import FLOAT64, explained, near_steps


def integer_tensors(model: ir.Model, ranges: Ranges) -> list[str]:
    """Outputs of quantizers, and graph outputs that have integers."""
    quantized = [n.outputs[0] for n in model.graph if rule_of(n).kind == "quantizer"]
    names = [g.name(v) for v in quantized if not g.is_constant(v)]
    outputs = [g.name(v) for v in model.graph.outputs if ranges.scaled(v) is not None]
    return list(dict.fromkeys([*names, *outputs]))


def flat(value: Value) -> Ints:
    """The integers of a point (samples, *shape) as (samples, elements)."""
    assert isinstance(value, ScaledInt)
    return value.lo.reshape(len(value.lo), -1)


def nearest(real: NDArray[np.floating], on: ScaledInt) -> Ints:
    """The integers behind real values on the lattice of ``on``."""
    return np.rint((real.astype(np.float64) - on.bias_float) / on.scale_float).astype(np.int64)


def exact_inputs(model: ir.Model, ours: Mapping[str, Value]) -> NDArray[np.float64]:
    """The exact inputs behind golden values, each rounded once to float64."""
    x = ours[g.name(model.graph.inputs[0])]
    if isinstance(x, ScaledInt):
        return golden.decode(x, x.lo)
    assert isinstance(x, Interval)
    return x.lo


def check_ranges(ranges: Ranges, ours: Mapping[str, Value]) -> Check:
    """No golden integer lies outside the range of its tensor."""
    compared = outside = 0
    detail = ""
    for name, value in ours.items():
        range_ = ranges[name]
        if isinstance(value, ScaledInt) and isinstance(range_, ScaledInt):
            wrong = int(((value.lo < range_.lo) | (value.lo > range_.hi)).sum())
            compared, outside = compared + value.lo.size, outside + wrong
            detail = detail or (f"first at {name}" if wrong else "")
    return Check("golden within the ranges", compared, outside, detail=detail)


def check_float64(
    model: ir.Model, ranges: Ranges, ours: Mapping[str, Value], oracle: Oracle, first: int = 0
) -> list[Check]:
    """Golden values ``ours`` of the original graph at every quantizer, on the same samples.

    ``first`` is the number of the first sample.
    """
    samples = exact_inputs(model, ours)
    names = integer_tensors(model, ranges)
    theirs = oracle.run(samples, names)
    golden_, executed = dict[str, Ints](), dict[str, Ints]()
    for name in names:
        found = ours[name]
        assert isinstance(found, ScaledInt)
        golden_[name] = flat(found)
        executed[name] = nearest(theirs[name], found).reshape(len(samples), -1)
    differ = [golden_[n] != executed[n] for n in names]
    wrong = np.any([d.any(axis=1) for d in differ], axis=0)
    ties: dict[str, list[str]] = {name: [] for name in names}
    for sample in np.flatnonzero(wrong):
        run = oracle.run(samples[sample : sample + 1])
        at = {n: d[sample] for n, d in zip(names, differ, strict=True)}
        for name, (near, excused) in _ties(model, ranges, run, at).items():
            ties[name] += [
                f"{name}: sample {first + sample}, element {element}: float64 makes "
                f"{executed[name][sample, element]} of {golden_[name][sample, element]}"
                for element in np.flatnonzero(near)
            ]
            same = golden_[name][sample]
            executed[name][sample] = np.where(excused, same, executed[name][sample])
    return [
        replace(
            compare(
                f"golden against float64 at {name}",
                golden_[name],
                executed[name],
                oracle=True,
                first=first,
            ),
            ties=tuple(ties[name]),
        )
        for name in names
    ]


def _ties(
    model: ir.Model,
    ranges: Ranges,
    run: Mapping[str, NDArray[Any]],
    differ: Mapping[str, NDArray[np.bool_]],
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each tensor of one float64 ``run`` the differences at ties, and all that are excused.

    A difference is excused where rounding may have moved the element across a step, and behind such
    elements, where float64 went on with other integers. Nothing is, if the run holds a value that
    rounding does not explain.
    """
    quantizers = tuple(n for n in differ if rule_of(_producer(model, n)).kind == "quantizer")
    if not explained(model, ranges, run, quantizers, FLOAT64).all():
        return {}
    near = near_steps(model, ranges, run, quantizers, FLOAT64)
    found, behind = {}, False
    for name, different in differ.items():
        tied = different & (near[name].reshape(-1) if name in near else False)
        found[name] = tied, different if behind else tied
        behind = behind or bool(tied.any())
    return found


@dataclass(frozen=True, eq=False)
class Float32Agreement:
    """Samples on which float32 agrees at every quantizer, those it differs on by ties, outputs."""

    check: Check
    agree: int
    ties: int
    outputs: NDArray[np.float64]


def check_float32(
    model: ir.Model,
    ranges: Ranges,
    ours: Mapping[str, Value],
    oracle: Oracle,
) -> Float32Agreement:
    """Execute the samples in float32 and explain every difference."""
    x = exact_inputs(model, ours).astype(np.float32)
    (output,) = {g.name(v) for v in model.graph.outputs[-1:]}
    names = [n for n in integer_tensors(model, ranges) if isinstance(ours[n], ScaledInt)]
    names = [n for n in names if n != output or rule_of(_producer(model, n)).kind == "quantizer"]
    run: dict[str, NDArray[np.float32]] = oracle.run_float32(x)
    agree = np.ones(len(x), bool)
    for name in names:
        found = ours[name]
        assert isinstance(found, ScaledInt)
        agree &= (nearest(run[name], found) == found.lo).reshape(len(x), -1).all(axis=1)
    ties = 0
    if not agree.all():
        others = {name: value[~agree] for name, value in run.items()}
        ties = int(explained(model, ranges, others, tuple(names)).sum())
    unexplained = int((~agree).sum()) - ties
    check = Check("samples whose float32 execution rounding does not explain", len(x), unexplained)
    outputs = np.asarray(run[output], np.float64).reshape(len(x), -1)
    return Float32Agreement(check, int(agree.sum()), ties, outputs)


def _producer(model: ir.Model, name: str) -> ir.Node:
    return next(n for n in model.graph for v in n.outputs if v.name == name)
