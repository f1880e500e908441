"""Lowering a network, checked against the golden integers of every tensor in hardware."""

from __future__ import annotations

import numpy as np
from onnx_models import Net, annotated

from hls.lower.lower import Lowered, lower
from sira import graph as g
from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec
from sira.load import prepare
from sira.numbers.scaled import Ints, ScaledInt
from sira.verification import golden
from transforms.canonical import to_canonical
from transforms.constant_channels import remove_constant_channels
from transforms.thresholds import to_thresholds


def lowered(
    net: Net, spec: InputSpec | None, *outputs: str, samples: int = 50, shrink: bool = False
) -> Lowered:
    """Lower the model, and compare every wire with the golden integers of random samples.

    ``shrink`` removes constant channels first, as the compiler does.
    """
    model = prepare(annotated(net.proto(*outputs)) if spec else net.proto(*outputs))
    inputs = {} if spec is None else {"x": spec}
    canonical = to_canonical(model)
    integer = to_thresholds(canonical, analyze(canonical, inputs))
    if shrink:
        integer = remove_constant_channels(integer, analyze(integer))
    result = lower(integer, analyze(integer), "test")
    ranges, source = analyze(model, inputs), model.graph.inputs[0]
    static, shape = ranges.scaled(source), (samples, *g.shape(source))
    generator = np.random.default_rng(0)
    if static is None:
        x = generator.normal(0, 3, shape).astype(np.float32)
    else:
        q = generator.integers(static.lo, static.hi + 1, shape)
        q[0], q[1] = static.lo, static.hi
        x = golden.decode(static, q)
    exact = golden.run(model, ranges, {"x": golden.encode(ranges, source, x)})

    def integers_of(name: str) -> Ints:
        value = exact[result.origins[name]]
        assert isinstance(value, ScaledInt)
        return value.lo

    counts = result.wires[result.input].counts(integers_of(result.input))
    found = result.dataflow.execute({"in": counts})
    compared = 0
    for name, wire in result.wires.items():
        if result.origins.get(name) not in exact:
            continue
        assert np.array_equal(found[wire.port], wire.counts(integers_of(name))), name
        assert found[wire.port].max() < 2**wire.bits and found[wire.port].min() >= 0
        compared += 1
    assert compared > 1
    return result
