"""Random networks through the whole flow, in Python: all integers equal at every quantizer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from random_nets import random_case

from hls.dataflow import Port
from hls.fold import fold
from hls.lower.lower import lower
from sira import graph as g
from sira.analysis.ranges import analyze
from sira.load import prepare
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from sira.verification.oracle import Oracle
from transforms.canonical import to_canonical
from transforms.thresholds import to_thresholds


@pytest.mark.parametrize("seed", range(20))
def test_golden_dataflow_and_oracle_agree(seed: int) -> None:
    case = random_case(seed)
    oracle = Oracle(case.proto)
    model = prepare(case.proto)
    inputs = {} if case.spec is None else {"x": case.spec}
    ranges = analyze(model, inputs)
    exact = golden.run(
        model, ranges, {"x": golden.encode(ranges, model.graph.inputs[0], case.samples)}
    )
    floats = oracle.run(case.samples)
    for tensor in oracle.quantizers:
        value = exact[tensor]
        assert isinstance(value, ScaledInt)
        real = golden.decode(value, value.lo)
        assert np.array_equal(
            oracle.integers(tensor, real), oracle.integers(tensor, floats[tensor])
        ), tensor
        static = ranges[tensor]
        assert isinstance(static, ScaledInt)
        assert (value.lo >= static.lo).all() and (value.lo <= static.hi).all(), tensor

    canonical = to_canonical(model)
    integer = to_thresholds(canonical, analyze(canonical, inputs))
    lowered = lower(integer, analyze(integer), "test")
    dataflow = fold(lowered.dataflow, target_cycles=8)
    wire = lowered.wires[lowered.input]
    start = exact[lowered.input]
    assert isinstance(start, ScaledInt)
    result = dataflow.execute({"in": wire.counts(start.lo)})
    compared = 0
    for name, wire in lowered.wires.items():
        value = exact.get(name.removesuffix("_integers"))
        if not isinstance(value, ScaledInt) or wire.port not in result:
            continue
        found = wire.integers(result[wire.port]).reshape(value.lo.shape)
        assert np.array_equal(found, value.lo), name
        compared += 1
    assert compared >= 2
    assert Port("", "out") in result
    assert isinstance(integer, ir.Model) and g.name(integer.graph.outputs[0])
