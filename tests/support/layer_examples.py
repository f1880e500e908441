"""The layers that the tests of ``hls/layers`` check, without a list of them."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from hls.dataflow import Layer

FOLDER = Path(__file__).parents[1] / "hls" / "layers"


def example_layers() -> dict[str, list[Layer]]:
    """The list ``LAYERS`` of each test that has one, by the name of the layer's module."""
    found = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        spec = spec_from_file_location(f"layers_of_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        if hasattr(module, "LAYERS"):
            found[path.stem.removeprefix("test_")] = list(module.LAYERS)
    return found
