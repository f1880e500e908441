"""Functions in front of quantizers: golden integers against float64 execution, and thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import Net, integers, point

from sira.analysis.ranges import analyze
from sira.analysis.tail import find_tail
from sira.load import prepare
from sira.numbers.scaled import ScaledInt
from sira.verification import golden
from sira.verification.oracle import Oracle
from transforms.thresholds import staircase

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, int]]] = [
    ("Exp", (), {}, (-40, 20)),
    ("Log", (), {}, (1, 200)),
    ("Sqrt", (), {}, (0, 200)),
    ("Erf", (), {}, (-40, 40)),
    ("Softplus", (), {}, (-60, 60)),
    ("Reciprocal", (), {}, (1, 100)),
    ("Elu", (), {"alpha": 0.7}, (-60, 60)),
    ("Selu", (), {}, (-60, 60)),
    ("Celu", (), {"alpha": 1.5}, (-60, 60)),
    ("HardSigmoid", (), {}, (-60, 60)),
    ("Pow", (3.0,), {}, (-20, 20)),
    ("Pow", (2.0,), {}, (0, 40)),
    ("Pow", (1.5,), {}, (0, 60)),
    ("Gelu", (), {}, (-4, 60)),
    ("Gelu", (), {"approximate": "tanh"}, (-4, 60)),
    ("HardSwish", (), {}, (-60, 60)),
    ("Mish", (), {}, (-60, 60)),
]


@pytest.mark.parametrize(("op", "constants", "attributes", "span"), CASES)
def test_golden_thresholds_and_float64_agree(
    op: str, constants: tuple[Any, ...], attributes: dict[str, Any], span: tuple[int, int]
) -> None:
    """Every integer of the range; the step is no ratio of small integers, so no ties occur."""
    net = Net((1, 1), opset=22)
    step = 0.83 if op in ("HardSwish", "Mish", "Exp") else 0.137
    out = net.quant(net.node(op, "x", *constants, **attributes), scale=step, bits=6)
    proto = net.proto()
    model = prepare(proto)
    ranges = analyze(model, {"x": integers(*span, 0.125)})
    q = np.arange(span[0], span[1] + 1).reshape(-1, 1, 1)
    found = golden.run(model, ranges, point(ranges, model, q))[out]
    assert isinstance(found, ScaledInt)
    oracle = Oracle(proto)
    wanted = oracle.integers(out, oracle.run(q * 0.125)[out])
    assert np.array_equal(found.lo, wanted)
    range_ = ranges.scaled(model.graph.outputs[0])
    assert range_ is not None
    assert (range_.lo.min(), range_.hi.max()) == (wanted.min(), wanted.max())
    stairs = staircase(find_tail(model.graph.outputs[0]), ranges)
    sign = int(stairs.sign[0])
    counted = stairs.base + (sign * q.reshape(-1, 1) >= stairs.thresholds[0]).sum(axis=1)
    assert np.array_equal(counted, wanted.ravel())
