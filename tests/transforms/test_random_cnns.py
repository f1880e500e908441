"""Random convolutional networks: every quantizer of the last stage, by qonnx, against golden."""

from __future__ import annotations

import warnings

import numpy as np
from examples import examples
from hypothesis import HealthCheck, given, settings
from random_cnns import Cnn, cnns
from stage_checks import execute, integers

from sira import graph as g
from sira import provenance
from sira.analysis.ranges import analyze
from sira.load import prepare
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from transforms import (
    annotate_accumulators,
    remove_constant_channels,
    to_canonical,
    to_thresholds,
)


@given(cnns())
@settings(examples(25), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_integers_of_random_networks(cnn: Cnn) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(cnn)


def compare(cnn: Cnn) -> None:
    model = prepare(cnn.proto)
    source = model.graph.inputs[0]
    ranges = analyze(model)
    exact = golden.run(model, ranges, {"x": golden.encode(ranges, source, cnn.samples)})
    canonical = to_canonical(model)
    thresholds = to_thresholds(canonical, analyze(canonical))
    without = remove_constant_channels(thresholds, analyze(thresholds))
    integer = annotate_accumulators(without, analyze(without))
    first = g.name(integer.graph.inputs[0])
    for i in range(len(cnn.samples)):
        found = execute(integer, integers(exact[first])[i].astype(np.float32))
        for node in integer.graph:
            value = node.outputs[0]
            name = g.name(value).removesuffix("_integers")
            if node.op_type not in ("MultiThreshold", "Conv", "MatMul") or name not in exact:
                continue
            expected = exact[name]
            if not isinstance(expected, ScaledInt):
                continue
            q = expected.lo[i]
            record = provenance.of(value)
            kept, shift = record.channels, record.shift
            column = (-1, *(1,) * (q.ndim - 2))
            if kept is not None:
                q = q.take(kept, 1)
            assert np.array_equal(found[g.name(value)] + shift.reshape(column), q), (
                cnn.steps,
                name,
            )
