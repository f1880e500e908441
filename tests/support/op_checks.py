"""One operator at a time: our ranges and exact values against `onnx.reference` in float64."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import Net, point

from sira import graph as g
from sira.analysis.ranges import Ranges, analyze
from sira.datatypes import InputSpec
from sira.load import prepare
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from sira.verification.oracle_ops import OPERATORS

Array = NDArray[Any]
Oracle = Callable[[Array], Array]


def declared(net: Net, *outputs: str) -> onnx.ModelProto:
    """The model with an annotated input, so that it needs no quantizer to be taken."""
    proto = net.proto(*outputs)
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="INT8")
    return proto


def ranges_of(net: Net, spec: InputSpec | None, *outputs: str) -> Ranges:
    """What analysis finds; without ``spec`` the input is INT8."""
    return analyze(prepare(declared(net, *outputs)), {"x": spec} if spec else None)


def every(shape: tuple[int, ...], lo: int, hi: int) -> NDArray[np.int64]:
    """All integer tensors of a small shape: (samples, *shape)."""
    size = int(np.prod(shape))
    assert (hi - lo + 1) ** size <= 20000
    return np.array(list(product(range(lo, hi + 1), repeat=size)), np.int64).reshape(-1, *shape)


def some(shape: tuple[int, ...], lo: int, hi: int, seed: int = 0) -> NDArray[np.int64]:
    """Random integer tensors, and the two with nothing but the smallest and the largest."""
    rng = np.random.default_rng(seed)
    random = rng.integers(lo, hi + 1, (6, *shape))
    return np.concatenate([random, np.full((1, *shape), lo), np.full((1, *shape), hi)])


def reals(net: Net, spec: InputSpec, q: NDArray[np.int64]) -> NDArray[np.float64]:
    """The numbers that the integers mean, which must be exact in float64."""
    range_ = spec.range(tuple(net.shape), "x")  # type: ignore[arg-type]
    exact = ScaledInt.of(q, q, range_.scale, range_.bias).exact.values
    x = exact.astype(np.float64)
    assert all(Fraction(a) == b for a, b in zip(x.ravel().tolist(), exact.ravel(), strict=True))
    return x


def reference(net: Net, *outputs: str) -> Callable[[Array], list[Array]]:
    """Executes one sample with `onnx.reference`."""
    proto = declared(net, *outputs)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            wide = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    evaluator = ReferenceEvaluator(proto, new_ops=list(OPERATORS))
    return lambda x: [np.asarray(y) for y in evaluator.run(None, {"x": x})]


def check(
    net: Net,
    spec: InputSpec,
    q: NDArray[np.int64],
    *outputs: str,
    oracle: Oracle | None = None,
    integer: bool = True,
    attained: bool = True,
) -> Ranges:
    """Golden values equal the oracle's; they lie in the ranges, and reach their ends.

    The oracle (`onnx.reference` unless given) may round each value once from the exact one.
    ``integer``: the outputs must have an integer core. ``attained``: of the samples ``q`` some
    attain each bound; else the range may be wider.
    """
    model = prepare(declared(net, *outputs))
    ranges = analyze(model, {"x": spec})
    values = golden.run(model, ranges, point(ranges, model, q))
    x = reals(net, spec, q)
    run = reference(net, *outputs) if oracle is None else lambda sample: [oracle(sample)]
    expected = [np.stack(v) for v in zip(*(run(sample) for sample in x), strict=True)]
    for output, wanted in zip(model.graph.outputs, expected, strict=True):
        assert g.shape(output) == wanted.shape[1:]
        found, range_ = values[g.name(output)], ranges[output]
        if isinstance(range_, ScaledInt):
            assert isinstance(found, ScaledInt)
            numbers = np.broadcast_to(found.exact.values, wanted.shape)
            assert np.array_equal(numbers.astype(wanted.dtype), wanted)
            lo, hi = (np.broadcast_to(b, wanted.shape[1:]) for b in (range_.lo, range_.hi))
            least, most = found.lo.min(axis=0), found.hi.max(axis=0)
        else:
            assert not integer, getattr(range_, "reason", "")
            assert isinstance(range_, Interval) and range_.reason
            bounds = found.interval if isinstance(found, ScaledInt | Exact) else found
            low, high = (b.astype(wanted.dtype) for b in (bounds.lo, bounds.hi))
            assert ((low <= wanted) & (wanted <= high)).all()
            rounded = (b.astype(wanted.dtype) for b in (range_.lo, range_.hi))
            lo, hi = (np.broadcast_to(b, wanted.shape[1:]) for b in rounded)
            least, most = wanted.min(axis=0), wanted.max(axis=0)
        assert (lo <= least).all() and (most <= hi).all()
        if attained:
            assert np.array_equal(lo, least) and np.array_equal(hi, most)
    return ranges
