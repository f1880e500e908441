"""The headers of HLS simulations, compiled once, change nothing but the time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_checks import independent, random_inputs

from hls.emit.cpp import emit_hls
from hls.layers.width_converter import WidthConverter
from hls.simulate.cpp import simulate_hls


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def passes_elements(layer: WidthConverter, folder: Path) -> None:
    (frames,) = random_inputs(layer, 4, 1)
    dataflow = independent([layer])
    emit_hls(dataflow, folder)
    np.testing.assert_array_equal(simulate_hls(folder, dataflow, frames), frames)


def test_one_after_the_other(cache: Path, tmp_path: Path) -> None:
    """Compiled headers, streams too wide for them, and headers that the compiler refuses."""
    passes_elements(WidthConverter("first", 8, 2, 4, 3), tmp_path / "first")
    (headers,) = cache.glob("hls/prelude-*/prelude.h.gch")
    made = headers.stat().st_mtime_ns
    passes_elements(WidthConverter("second", 8, 4, 2, 5), tmp_path / "second")
    passes_elements(WidthConverter("wide", 80, 1, 40, 30), tmp_path / "wide")
    assert list(cache.glob("hls/prelude-*/prelude.h.gch")) == [headers]
    assert headers.stat().st_mtime_ns == made
    headers.write_bytes(b"")
    passes_elements(WidthConverter("third", 8, 4, 2, 6), tmp_path / "third")
