"""A small network, and one build of it that many tests look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_net import small_network

import sira


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(small_network().proto(), str(path))
    return path


@pytest.fixture(scope="session")
def small_samples(small_model: Path) -> Path:
    """64 samples over the whole input range, and labels that mean nothing."""
    random = np.random.default_rng(6)
    path = small_model.with_name("samples.npz")
    np.savez(
        path,
        x=random.uniform(-1, 1, (64, 8)).astype(np.float32),
        y=random.integers(0, 4, 64),
    )
    return path


@pytest.fixture(scope="session")
def small_result(
    small_model: Path, small_samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> sira.Result:
    """The network compiled with both back ends and verified. Do not change its folder."""
    options = sira.Options(
        output=tmp_path_factory.mktemp("build") / "small",
        verify_data=small_samples,
        backend="both",
        target_cycles=24,
    )
    return sira.compile(small_model, options)
