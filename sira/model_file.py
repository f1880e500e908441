"""Reading a model file, before anything of the compiler is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sira.errors import SiraError

if TYPE_CHECKING:
    import onnx


def check_readable(path: str | Path) -> None:
    """Raises `SiraError` where there is no file, or one that may not be read."""
    file = Path(path)
    if not file.is_file():
        raise SiraError("no such file", where=str(path), remedy="check the path of the model")
    try:
        file.open("rb").close()
    except OSError as error:
        raise SiraError("cannot be opened", where=str(path), found=str(error.strerror)) from error


def read(path: str | Path) -> onnx.ModelProto:
    """Parse the file, as it is. Raises `SiraError` for a file that holds no model."""
    check_readable(path)
    file = Path(path)
    import onnx  # takes longer than to find out that there is no such file

    try:
        proto = onnx.load(str(file))
    except Exception as error:
        raise SiraError(
            "cannot be read as ONNX",
            where=str(path),
            expected="a complete .onnx file",
            found=f"{file.stat().st_size} bytes that do not parse ({type(error).__name__})",
            remedy="export the model again",
        ) from error
    if not proto.graph.node:
        raise SiraError(
            "not an ONNX model, or one without nodes",
            where=str(path),
            expected="a graph of nodes",
            found=f"{file.stat().st_size} bytes without any node",
            remedy="export the model again",
        )
    return proto


def input_names(proto: onnx.ModelProto) -> list[str]:
    """The graph inputs that are not initializers."""
    initializers = {tensor.name for tensor in proto.graph.initializer}
    return [v.name for v in proto.graph.input if v.name not in initializers]
