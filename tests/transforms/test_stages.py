"""Every stage keeps the integers, is valid ONNX for qonnx, and can be written and read again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from random_nets import random_case
from stage_checks import check, stages

from sira import graph as g
from sira.analysis.ranges import Ranges, analyze
from sira.datatypes import parse_input
from sira.load import load, prepare
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from transforms import to_canonical, to_thresholds

BUNDLED = Path(__file__).parents[1] / "models"
PIXELS = parse_input("UINT8,scale=1/255", [])[1]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13])
def test_random_networks(seed: int) -> None:
    case = random_case(seed, samples=4)
    check(prepare(case.proto), {} if case.spec is None else {"x": case.spec}, case.samples)


@pytest.mark.parametrize("name", ["digits_mlp_w2a2", "digits_mlp_w1a1", "digits_mlp_w4a4"])
def test_bundled_networks(name: str) -> None:
    with np.load(BUNDLED / "digits_test.npz") as data:
        check(load(BUNDLED / f"{name}.onnx"), {}, data["x"][:5])


@pytest.mark.parametrize("name", [
    "TFC_1W1A", "TFC_2W2A", "unsw_nb15-mlp-w2a2", "digits_mlp_s0_w4a4",
])  # fmt: skip
def test_networks_of_others(name: str) -> None:
    folder = os.environ.get("SIRA_MODELS")
    if folder is None:
        pytest.skip("SIRA_MODELS does not name the folder of models")
    model = load(Path(folder) / f"{name}.onnx")
    source = model.graph.inputs[0]
    inputs = {g.name(source): PIXELS} if name.startswith("TFC") else {}
    ranges, rng = analyze(model, inputs), np.random.default_rng(0)
    static = ranges.scaled(source)
    shape = (3, *g.shape(source))
    if static is None:
        samples = rng.normal(0, 2, shape).astype(np.float32)
    else:
        samples = golden.decode(static, rng.integers(static.lo, static.hi + 1, shape))
    check(model, inputs, samples.astype(np.float32))


def listing(model: ir.Model) -> list[Any]:
    """Everything that matters of a graph."""
    return [
        *((n.op_type, n.domain, [v and v.name for v in n.inputs], [v.name for v in n.outputs])
          for n in model.graph),
        *((k, v.const_value.numpy().tolist()) for k, v in sorted(model.graph.initializers.items())
          if v.const_value is not None),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 3, 5, 8, 11])
def test_canonical_form_is_stable_and_the_argument_unchanged(seed: int) -> None:
    model = prepare(random_case(seed, samples=1).proto)
    before = listing(model)
    once = to_canonical(model)
    assert listing(model) == before
    assert listing(to_canonical(once)) == listing(once)
    assert not {n.op_type for n in once.graph} & {"Gemm", "Neg", "Flatten", "Identity", "Dropout"}


@pytest.mark.parametrize("seed", [0, 3, 5, 8, 11])
def test_names_survive(seed: int) -> None:
    case = random_case(seed, samples=1)
    model = prepare(case.proto)
    tensors = {g.name(v) for n in model.graph for v in n.outputs}
    quantizers = {g.name(n.outputs[0]) for n in model.graph if "Quant" in n.op_type}
    canonical = to_canonical(model)
    kept = {g.name(v) for n in canonical.graph for v in n.outputs}
    assert quantizers <= kept and len(tensors & kept) >= len(tensors) * 0.7
    assert [v.name for v in canonical.graph.outputs] == [v.name for v in model.graph.outputs]


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_files_are_read_back_with_the_same_ranges(seed: int, tmp_path: Path) -> None:
    case = random_case(seed, samples=1)
    inputs = {} if case.spec is None else {"x": case.spec}
    for stage, model in stages(prepare(case.proto), inputs).items():
        if stage == "aggregated":  # computes in float64, which has no ranges
            continue
        specs = inputs if stage == "canonical" else {}
        onnx.save(ir.to_proto(model), tmp_path / f"{stage}.onnx")
        again = load(tmp_path / f"{stage}.onnx")
        expected, found = analyze(model, specs), analyze(again, specs)
        for value in (v for n in model.graph for v in n.outputs):
            a, b = expected[value], found[g.name(value)]
            assert type(a) is type(b), (stage, value.name)
            if isinstance(a, ScaledInt) and isinstance(b, ScaledInt):
                assert np.array_equal(a.lo, b.lo) and np.array_equal(a.hi, b.hi), value.name


def test_thresholds_of_thresholds_are_the_same() -> None:
    for seed in (3, 5, 8):
        case = random_case(seed, samples=1)
        inputs = {} if case.spec is None else {"x": case.spec}
        canonical = to_canonical(prepare(case.proto))
        once = to_thresholds(canonical, analyze(canonical, inputs))
        ranges = analyze(once)
        twice = to_thresholds(once, ranges)
        again = analyze(twice)
        assert _layers(once, ranges) == _layers(twice, again)


def _layers(model: ir.Model, ranges: Ranges) -> list[Any]:
    found = []
    for node in model.graph:
        if node.op_type in ("MatMul", "MultiThreshold"):
            contents = g.array(node.inputs[1])
            value = ranges.scaled(node.outputs[0])
            assert contents is not None and value is not None
            found.append((node.op_type, contents.tolist(), value.lo.tolist(), value.hi.tolist()))
    return found
