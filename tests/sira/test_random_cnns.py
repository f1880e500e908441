"""Random convolutional networks through the whole flow, down to Verilator and the HLS C++."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from random_cnns import Cnn, cnns

import sira

_EVERY = settings(
    phases=[Phase.generate],  # a failing network is small as it is, and each takes seconds
    suppress_health_check=list(HealthCheck),
)


def check(cnn: Cnn) -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = sira.Options(Path(folder) / "build", verify=3, backend="both", target_cycles=64)
        result = sira.compile(cnn.proto, options)
    verification, totals = result.verification, result.report["totals"]
    assert verification is not None and verification.samples == 3
    assert [c for c in verification.checks if c.mismatches] == [], cnn.steps
    assert verification.hardware.cycles_first == totals["cycles_first_predicted"], cnn.steps


@settings(_EVERY, max_examples=6)
@given(cnns())
def test_random_networks(cnn: Cnn) -> None:
    check(cnn)


@pytest.mark.slow
@settings(_EVERY, max_examples=100)
@given(cnns())
def test_many_random_networks(cnn: Cnn) -> None:
    check(cnn)
