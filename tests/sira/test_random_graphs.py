"""Random graphs of all operators: ranges and golden integers against execution in float64."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_models import point
from random_graphs import Case, random_graph

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.load import prepare
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt
from sira.ops import RULES
from sira.verification import golden
from sira.verification.oracle import Oracle

HANDS = 6
DECK = range(HANDS)
"""The graphs of one deck, which together hold every step."""
SEEDS = range(4 * HANDS)
FIRST = 60 * HANDS * int(os.environ.get("SIRA_TEST_SEED", 0))
SLOW_SEEDS = range(FIRST + 4 * HANDS, FIRST + 60 * HANDS)
OPERATOR_TESTS = Path(__file__).parent / "ops"

RELATIVE = 2.0**-36
"""Rounding of float64 allowed where a range is real, per unit of the largest operand: 2**16 ulps,
for graphs of some 100 operations whose quantizers stop the growth of errors."""


def largest(values: dict[str, NDArray[np.float64]]) -> float:
    """The largest magnitude that was computed, at least 1."""
    return max(1.0, *(float(np.abs(v).max()) for v in values.values()))


def integers_of(values: NDArray[np.float64], range_: ScaledInt) -> NDArray[np.int64]:
    """The integers behind executed values, which must lie on the lattice of the range."""
    q = (values - range_.bias_float) / range_.scale_float
    found = np.rint(q)
    assert (np.abs(q - found) < 2.0**-20).all(), "executed values are off the integer lattice"
    return found.astype(np.int64)


def check(case: Case, decide: bool = True) -> tuple[set[str], set[str]]:
    """Every tensor of the graph: executed values in range, and integers equal to golden's.

    Without ``decide`` the golden model is not run, only the ranges are compared.
    Returns the kinds of operators of the graph, and of those with an integer result.
    """
    model = prepare(case.proto)
    ranges = analyze(model, {"x": case.spec})
    exact = golden.run(model, ranges, point(ranges, model, case.q)) if decide else {}
    static = ranges.scaled(model.graph.inputs[0])
    assert static is not None
    executed = Oracle(case.proto).run(golden.decode(static, case.q))
    slack = RELATIVE * largest(executed)
    kinds, integer = set[str](), set[str]()
    for node in model.graph:
        for output in node.outputs:
            name = g.name(output)
            if name not in executed:
                continue
            values, range_, found = executed[name], ranges[name], exact.get(name)
            where = f"{g.describe(node)} -> {name}"
            assert values.shape[1:] == g.shape(output), where
            kinds.add(node.op_type)
            match range_:
                case ScaledInt():
                    q = integers_of(values, range_)
                    assert ((range_.lo <= q) & (q <= range_.hi)).all(), where
                    integer.add(node.op_type)
                    if found is None:
                        continue
                    assert isinstance(found, ScaledInt), where
                    assert np.array_equal(np.broadcast_to(found.lo, q.shape), q), where
                case Interval():
                    assert range_.reason, where
                    inside = (range_.lo - slack <= values) & (values <= range_.hi + slack)
                    assert inside.all(), where
                    if found is None:
                        continue
                    real = found.interval if isinstance(found, ScaledInt | Exact) else found
                    inside = (real.lo - slack <= values) & (values <= real.hi + slack)
                    assert inside.all(), where
                case _:
                    raise AssertionError(where)
    return kinds, integer


@pytest.mark.parametrize("seed", SEEDS)
def test_executed_values_lie_in_their_ranges_and_integers_are_equal(seed: int) -> None:
    kinds, integer = check(random_graph(seed, HANDS))
    assert len(kinds) >= 12 and len(integer) >= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_ranges_where_half_of_the_quantizers_are_left_out(seed: int) -> None:
    """Real ranges go through all kinds of operators; golden refuses some of these graphs."""
    check(random_graph(seed, HANDS, skip=0.5), decide=False)


def test_seeds_cover_the_operators() -> None:
    """As many as when this was written; the others are named in tests of their own."""
    kinds = {node.op_type for seed in DECK for node in random_graph(seed, HANDS).proto.graph.node}
    tests = [path.read_text() for path in OPERATOR_TESTS.glob("test_*.py")]
    assert [op for op in RULES.keys() - kinds if not any(f'"{op}"' in t for t in tests)] == []
    assert len(RULES.keys() & kinds) >= 78


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_more_of_them(seed: int) -> None:
    check(random_graph(seed, HANDS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_more_of_them_with_fewer_quantizers(seed: int) -> None:
    check(random_graph(seed, HANDS, skip=0.5), decide=False)
