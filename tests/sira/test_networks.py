"""Whole convolutional networks, down to Verilator: one small one of each kind, and CNV."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import CNV, LARGE, MOBILENET, SMALL, Network

import sira
from hls.fifos.simulation import Deadlock, simulate
from hls.fifos.sizing import size_fifos
from sira.driver.hardware import build_dataflow
from sira.driver.options import Options
from transforms.stages import transform


def compiled(network: Network, folder: Path, samples: int) -> sira.Result:
    if not network.available:
        pytest.skip("SIRA_MODELS does not name the folder of the larger models")
    proto = network.proto()
    options = sira.Options(folder / "build", inputs=network.inputs(proto), verify=samples)
    return sira.compile(proto, options)


def agrees(result: sira.Result) -> None:
    """Bit-exact, and in as many cycles as the schedules predict: 2 % is what the flow promises."""
    verification, totals = result.verification, result.report["totals"]
    assert verification is not None and verification.checks
    assert [check for check in verification.checks if check.mismatches] == []
    steady, first = verification.hardware.cycles_per_sample, verification.hardware.cycles_first
    assert first is not None and abs(first / totals["cycles_first_predicted"] - 1) < 0.02
    if steady is not None:
        assert abs(steady / totals["cycles_predicted"] - 1) < 0.02


@pytest.mark.parametrize("network", SMALL, ids=lambda n: n.name)
def test_small_networks(network: Network, tmp_path: Path) -> None:
    agrees(compiled(network, tmp_path, 3))


def test_cnv_with_one_image(tmp_path: Path) -> None:
    agrees(compiled(CNV, tmp_path, 1))


@pytest.mark.slow
@pytest.mark.parametrize("network", LARGE, ids=lambda n: n.name)
def test_large_networks(network: Network, tmp_path: Path) -> None:
    agrees(compiled(network, tmp_path, 2))


@pytest.mark.slow
def test_mobilenet(tmp_path: Path) -> None:
    agrees(compiled(MOBILENET, tmp_path, 1))


def test_fifos_of_residual_branches_are_needed() -> None:
    """With registers alone, the branch that waits for the other one stops everything."""
    front = transform(SMALL[0].proto(), {})
    dataflow = build_dataflow(front, Options()).dataflow
    with pytest.raises(Deadlock):
        simulate(dataflow, [2] * len(dataflow.edges))
    simulate(size_fifos(dataflow).dataflow)
