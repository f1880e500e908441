"""The networks that the project is measured on, with what `--input` says about them.

Those that are not part of it are looked for in the folder ``SIRA_MODELS``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path

import onnx

from sira.datatypes import InputSpec, parse_datatype
from sira.model_file import read

OWN = Path(__file__).parents[1] / "models"

_PIXELS = "UINT8,scale=1/255"
_NORMALIZED = InputSpec(  # (x / 255 - mean) / 0.226 of each channel
    parse_datatype("UINT8", "MNv1_w4a4"),
    (Fraction(100, 5763),),
    tuple(Fraction(-mean, 226) for mean in (485, 456, 406)),
)


@dataclass(frozen=True)
class Network:
    """A network: its file, or a super-resolution network of the qonnx package for small images."""

    name: str
    spec: InputSpec | str | None = None
    own: bool = True
    crop: int | None = None

    def proto(self) -> onnx.ModelProto:
        if self.crop is not None:
            return cropped(self.name.removeprefix("espcn_"), self.crop)
        return read((OWN if self.own else Path(os.environ["SIRA_MODELS"])) / f"{self.name}.onnx")

    @property
    def available(self) -> bool:
        return self.own or "SIRA_MODELS" in os.environ

    def inputs(self, proto: onnx.ModelProto) -> dict[str, InputSpec | str]:
        constants = {tensor.name for tensor in proto.graph.initializer}
        (image,) = (i.name for i in proto.graph.input if i.name not in constants)
        return {} if self.spec is None else {image: self.spec}


SMALL = (
    Network("residual_w3a3"),
    Network("unequal_residual_w4a4"),
    Network("depthwise_w4a4"),
    Network("skip_concat_w4a4"),
    Network("one_dimensional_w4a4"),
    Network("transposed_w4a4"),
    Network("normalized_w4a4", _PIXELS),
    Network("qcdq_residual_w8a8"),
    Network("qcdq_depthwise_w8a8"),
)
CNV = Network("CNV_w2a2", own=False)
LARGE = (
    Network("digits_cnn_s0_w4a4", own=False),
    CNV,
    Network("RN8_w3a3", own=False),
    Network("espcn_nn_resize", _PIXELS, crop=24),
    Network("espcn_subpixel", _PIXELS, crop=24),
)
MOBILENET = Network("MNv1_w4a4", _NORMALIZED, own=False)


def cropped(name: str, size: int) -> onnx.ModelProto:
    """One of the super-resolution networks of the qonnx package, for smaller images."""
    folder = resources.files("qonnx.data") / "onnx" / "bsd300x3-espcn" / name
    proto = onnx.load_from_string((folder / "quant_model.onnx").read_bytes())
    constants = {tensor.name for tensor in proto.graph.initializer}
    (image,) = (i for i in proto.graph.input if i.name not in constants)
    for axis in (2, 3):
        image.type.tensor_type.shape.dim[axis].dim_value = size
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    return proto
