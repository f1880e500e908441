"""Every integer of the last stage has a datatype, for those who take the file elsewhere."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_models import Net, integers
from qonnx.core.modelwrapper import ModelWrapper
from residual_net import residual_network

from sira.verification.oracle import Oracle
from transforms.stages import transform


def test_every_integer_is_annotated_with_a_type_that_holds_it() -> None:
    net, spec = residual_network()
    front = transform(net.proto(), {"x": spec})
    proto = ir.to_proto(front.integer.model)
    model = ModelWrapper(proto)
    q = np.random.default_rng(0).integers(0, 16, (40, 1, 2, 5, 5))
    q[0], q[1] = 0, 15
    values = Oracle(proto).run(q)
    assert model.get_tensor_datatype("x").name == "UINT4"
    real = {"y", "y_scaled"}  # behind the last integer
    for node in proto.graph.node:
        (output,) = node.output
        datatype = model.get_tensor_datatype(output)
        assert datatype.is_integer() == (output not in real), output
        if datatype.is_integer():
            found = values[output]
            assert datatype.min() <= found.min() and found.max() <= datatype.max(), output
            unused = (datatype.bitwidth() - 2) if datatype.signed() else (datatype.bitwidth() - 1)
            assert max(-found.min() - 1, found.max()) < 2 ** (unused + 1)
    for tensor in proto.graph.initializer:
        datatype = model.get_tensor_datatype(tensor.name)
        contents = model.get_initializer(tensor.name)
        if contents.dtype.kind == "f" and not tensor.name.startswith(("y_scale", "y_bias")):
            assert datatype.is_integer(), tensor.name
            assert all(datatype.allowed(v) for v in np.unique(contents)), tensor.name


def test_a_file_says_what_float32_cannot_hold() -> None:
    net = Net((1, 4))
    net.node("MatMul", "x", net.quant(np.array([[100.0], [99], [98], [97]]), 1.0, 8), output="y")
    front = transform(net.proto(), {"x": integers(0, 2**20)})
    text = front.integer.model.metadata_props["sira.float32"]
    assert "reach 2**24" in text and "y_integers" in text
    assert "sira.float32" not in front.models["04_thresholds"].metadata_props
