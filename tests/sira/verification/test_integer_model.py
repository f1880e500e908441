"""The integer model equals the original; a model in which one constant differs does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx_models import Net, integers, point
from residual_net import residual_network

from sira import graph as g
from sira.analysis.ranges import Analyzed
from sira.datatypes import InputSpec
from sira.numbers.scaled import Value
from sira.verification import golden
from sira.verification.check import Check
from sira.verification.integer_model import check_integers, check_steps
from sira.verification.oracle import Oracle
from transforms.stages import Stages, transform


@dataclass(frozen=True, eq=False)
class Case:
    front: Stages
    oracle: Oracle
    file: onnx.ModelProto  # of the integer model
    ours: Mapping[str, Value]

    def integers(self, file: onnx.ModelProto) -> list[Check]:
        stage = with_constants(self.front.integer, file)
        return check_integers(stage, Oracle(file), self.ours)

    def steps(self, file: onnx.ModelProto, oracle: Oracle | None = None) -> tuple[list[Check], int]:
        front, stage = self.front, with_constants(self.front.integer, file)
        return check_steps(stage, Oracle(file), front.loaded, oracle or self.oracle)


@pytest.fixture(scope="module")
def case() -> Case:
    net, spec = residual_network()
    proto = net.proto()
    front = transform(proto, {"x": spec})
    q = np.random.default_rng(0).integers(0, 16, (40, 1, 2, 5, 5))
    q[0], q[1] = 0, 15
    ours = golden.run(
        front.loaded.model,
        front.loaded.ranges,
        point(front.loaded.ranges, front.loaded.model, q),
    )
    return Case(front, Oracle(proto), ir.to_proto(front.integer.model), ours)


def differences(checks: list[Check]) -> set[str]:
    return {check.name.rsplit(" ", 1)[-1] for check in checks if check.mismatches}


def constants(file: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {t.name: numpy_helper.to_array(t) for t in file.graph.initializer}


def with_constants(integer: Analyzed, file: onnx.ModelProto) -> Analyzed:
    """The model, with the records of its tensors, and with the constants of a file."""
    stage, arrays = integer.model.clone(), constants(file)
    for name, value in stage.graph.initializers.items():
        value.const_value = ir.Tensor(arrays[name], name=name)
    return replace(integer, model=stage)


def changed(file: onnx.ModelProto, name: str, index: Any, by: float = 1) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(file)
    (tensor,) = (t for t in copy.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array[index] += by
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return copy


def test_an_intact_model_is_equal(case: Case) -> None:
    checks = case.integers(case.file)
    assert differences(checks) == set()
    names = {check.name.rsplit(" ", 1)[-1] for check in checks}
    assert names >= {"first", "left", "sum", "last", "y_integers"}
    assert all(check.compared >= 40 * 4 for check in checks)
    removed = case.front.constant_channels
    assert removed == {"last": [2]}, "the case is meant to have a constant channel"
    (last,) = (check for check in checks if check.name.endswith(" last"))
    assert last.compared == 40 * 4 * 9


def test_every_threshold_is_checked(case: Case) -> None:
    checks, reachable = case.steps(case.file)
    assert len(checks) == 4 and not any(check.mismatches for check in checks)
    arrays = constants(case.file)
    thresholds = [a for name, a in arrays.items() if name.endswith("_thresholds")]
    assert 40 < reachable <= sum(a.size * (4 // len(a)) for a in thresholds)


def test_thresholds_off_by_one_are_found(case: Case) -> None:
    """At the border, too: thresholds of the first layer lie on a finer lattice there."""
    arrays, ours = constants(case.file), case.front.integer.ranges
    found = 0
    for node in case.front.integer.model.graph:
        if node.op_type != "MultiThreshold":
            continue
        name, range_ = g.name(node.inputs[1]), ours.scaled(node.inputs[0])  # type: ignore[arg-type]
        assert range_ is not None
        for index in list(np.ndindex(arrays[name].shape))[::5]:
            lo, hi = (int(q.reshape(-1)[index[0] % q.size]) for q in (range_.lo, range_.hi))
            for by in (1, -1):
                if lo < arrays[name][index] + min(by, 0) < hi:
                    checks, _ = case.steps(changed(case.file, name, index, by))
                    if any(check.mismatches for check in checks):
                        found += 1
                    else:  # no integer of the source lies between the old and the new threshold
                        assert name == "first_thresholds"
    assert found > 20


@pytest.mark.parametrize("suffix", ["_sign", "_border", "_multiple"])
def test_constants_in_front_of_thresholds(case: Case, suffix: str) -> None:
    arrays = constants(case.file)
    names = [name for name in arrays if name.endswith(suffix)]
    assert names, "the case is meant to have such constants"
    for name in names:
        step = {"_sign": 2, "_border": 3, "_multiple": -1}[suffix]  # 5 becomes 4, of the same type
        for index in list(np.ndindex(arrays[name].shape))[::29]:
            by = -step * np.sign(arrays[name][index]) if suffix == "_sign" else step
            file = changed(case.file, name, index, by)
            assert differences(case.steps(file)[0]) or differences(case.integers(file)), index


def test_single_weights_are_found(case: Case) -> None:
    for name, array in constants(case.file).items():
        if name.endswith("_weights"):
            for index in list(np.ndindex(array.shape))[::67]:
                file = changed(case.file, name, index)
                assert differences(case.integers(file)), (name, index)


def test_a_file_that_means_something_else(case: Case) -> None:
    """The original's own constants: a factor and an offset of a tail, the scale of a quantizer."""
    proto = residual_network()[0].proto()
    tails = ("Mul", "Add", "Quant")
    inputs = {n.name: n.input[1] for n in proto.graph.node if n.op_type in tails}
    computed = [n for n in inputs.values() if n in constants(proto)]
    dynamic = [n for n in computed if constants(proto)[n].size in (1, 4, 5)]
    found = 0
    for name in dynamic:
        file = changed(proto, name, (0,) * constants(proto)[name].ndim, 0.3)
        checks, _ = case.steps(case.file, Oracle(file))
        found += any(check.mismatches for check in checks)
        assert all(check.oracle for check in checks)
    assert found >= 5


def plane() -> tuple[Net, InputSpec]:
    """A sum of two integers whose scales are in no ratio of small ones."""
    random = np.random.default_rng(4)
    net = Net((1, 2, 3, 3))
    left = net.node("Conv", "x", net.quant(random.integers(-3, 4, (3, 2, 1, 1)), 1.0, 3))
    left = net.quant(left, [[[[0.75]], [[0.8]], [[0.9]]]], 4, output="left")
    right = net.node("Conv", "x", net.quant(random.integers(-3, 4, (3, 2, 1, 1)), 1.0, 3))
    right = net.quant(right, np.float32(np.pi / 4), 4, output="right")
    net.quant(net.node("Add", left, right), 1.1, 4, output="sum")
    return net, integers(0, 7)


def test_sums_of_unrelated_scales() -> None:
    net, spec = plane()
    proto = net.proto()
    front = transform(proto, {"x": spec})
    file, oracle = ir.to_proto(front.integer.model), Oracle(proto)

    def steps(file: onnx.ModelProto, oracle: Oracle = oracle) -> list[Check]:
        stage = with_constants(front.integer, file)
        return check_steps(stage, Oracle(file), front.loaded, oracle)[0]

    checks, reachable = check_steps(front.integer, Oracle(file), front.loaded, oracle)
    assert len(checks) == 3 and not any(check.mismatches for check in checks)
    sides = [front.loaded.ranges.scaled(name) for name in ("left", "right")]
    spans = [int((side.hi - side.lo).max()) + 1 for side in sides if side is not None]
    assert checks[-1].compared == 3 * spans[0] * spans[1] > 300, "all pairs"
    arrays = constants(file)
    (name,) = (n for n in arrays if n.startswith("sum") and n.endswith("_thresholds"))
    assert reachable > 30
    for index in list(np.ndindex(arrays[name].shape))[::4]:
        # The next sum that is attained may be several away.
        assert differences(steps(changed(file, name, index, 12))), index
    for name in arrays:
        if name.endswith("_multiple"):
            assert differences(steps(changed(file, name, (0,) * arrays[name].ndim, 9)))
    other = plane()[0]
    other.nodes[-1].input[1] = other.constant(1.2)
    assert differences(steps(file, Oracle(other.proto())))
