"""``sira.analyze``: ranges of a model in one call, without any hardware tool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from sira.analysis.ranges import Ranges
from sira.analysis.ranges import analyze as analyze_graph
from sira.datatypes import InputSpec, parse_specs
from sira.load import prepare, read


def analyze(
    model: str | Path | onnx.ModelProto, inputs: Mapping[str, str | InputSpec] | None = None
) -> Ranges:
    """Derive range, scale and bias of every tensor of a quantized model.

    ``inputs`` declares what the host sends, by input name, as ``"UINT8,scale=1/255"`` or as an
    `InputSpec`; it is needed only where the model neither quantizes nor annotates its input.
    ``ranges["tensor name"]`` is a `ScaledInt` (integers ``lo``, ``hi`` with scale and bias) or an
    `Interval` with the reason why the tensor has no integers.
    """
    proto = read(model) if isinstance(model, str | Path) else model
    return analyze_graph(
        prepare(proto, str(model) if isinstance(model, str | Path) else "model"),
        parse_specs(inputs or {}),
    )
