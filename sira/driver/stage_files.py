"""The files of a model's stages, and the certificate of the last of them."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from sira.certificate import writer
from transforms.stages import Stages


def write_stages(stages: Stages, directory: Path) -> None:
    """Write the graph of each stage as ``stages/NN_*.onnx``, and the certificate of the last.

    Where no certificate can be written, nothing is.
    """
    files = {name: ir.to_proto(m).SerializeToString() for name, m in stages.models.items()}
    claims = writer.certificate(stages.integer.model, stages.integer.ranges, [*files.values()][-1])
    folder = directory / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        (folder / f"{name}.onnx").write_bytes(contents)
    writer.write(directory / "certificate.json.gz", claims)
