"""From a file to a graph: what exporters write, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import QONNX, Net, annotated

from sira import graph as g
from sira.analysis.ranges import analyze
from sira.errors import SiraError
from sira.load import annotation, load, prepare
from sira.numbers.scaled import ScaledInt
from sira.ops import Constant

W = np.random.default_rng(0).normal(0, 1, (4, 3)).astype(np.float32)


def layer(**options: Any) -> Net:
    """Quantizer, dense layer, quantizer."""
    net = Net((1, 4), **options)
    y = net.node("MatMul", net.quant("x"), net.quant(W, 0.25))
    net.quant(y)
    return net


def int64(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


@pytest.mark.parametrize("domain", [QONNX, "onnx.brevitas", "finn.custom_op.general"])
@pytest.mark.parametrize("imports", [True, False])
def test_every_custom_domain_becomes_one(domain: str, imports: bool) -> None:
    model = prepare(layer(domain=domain).proto(imports=imports))
    assert {n.domain for n in model.graph if n.op_type == "Quant"} == {QONNX}
    assert model.graph.opset_imports[QONNX] == 1
    assert set(model.graph.opset_imports) == {"", QONNX}


def test_opset_2_of_quant_is_kept() -> None:
    proto = layer().proto()
    proto.opset_import[1].version = 2
    assert prepare(proto).graph.opset_imports[QONNX] == 2


@pytest.mark.parametrize("version", [3, 7, 14])
def test_ir_version_is_one_that_onnxruntime_takes(version: int) -> None:
    assert 4 <= (prepare(layer().proto(ir_version=version)).ir_version or 0) <= 10


def test_initializers_listed_as_inputs() -> None:
    proto = layer().proto()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        )
    assert [v.name for v in prepare(proto).graph.inputs] == ["x"]


def test_the_argument_is_not_changed() -> None:
    proto = layer(domain="onnx.brevitas").proto(imports=False)
    before = proto.SerializeToString()
    prepare(proto)
    assert proto.SerializeToString() == before


def test_symbolic_output_dimensions_are_replaced() -> None:
    proto = layer().proto()
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    for name in ("batch", "classes"):
        dims.add(dim_param=name)
    assert g.shape(prepare(proto).graph.outputs[0]) == (1, 3)


@pytest.mark.parametrize("attribute, value, dtype", [
    ("value", numpy_helper.from_array(np.array([0.5], np.float32)), np.float32),
    ("value_float", 0.5, np.float32), ("value_floats", [0.5], np.float32),
    ("value_int", 3, np.int64), ("value_ints", [1, 3], np.int64),
])  # fmt: skip
def test_constant_nodes_become_initializers(attribute: str, value: Any, dtype: Any) -> None:
    net = layer()
    net.nodes.insert(0, helper.make_node("Constant", [], ["k"], **{attribute: value}))
    net.node("Mul" if dtype == np.float32 else "Reshape", net.nodes[-1].output[0], "k")
    if dtype == np.int64 and attribute == "value_int":
        net.nodes[-1].op_type = "Unsqueeze"
        net.nodes[0].attribute[0].i = 1
    model = prepare(net.proto())
    contents = g.array(model.graph.initializers["k"])
    assert contents is not None and contents.dtype == dtype
    assert all(n.op_type != "Constant" for n in model.graph)


def test_shapes_computed_in_the_graph() -> None:
    """Flatten as old exporters write it: Shape, Gather, Unsqueeze, Concat, Reshape."""
    net = Net((1, 2, 3))
    x = net.quant("x")
    batch = net.node("Gather", net.node("Shape", x), np.array(0), axis=0)
    net.constant(int64(-1), "rest")
    target = net.node("Concat", net.node("Unsqueeze", batch, int64(0)), "rest", axis=0)
    y = net.node("Reshape", x, target)
    model = prepare(net.proto(y))
    assert [n.op_type for n in model.graph] == ["Quant", "Reshape"]
    assert g.shape(model.graph.outputs[0]) == (1, 6)
    found = analyze(model)[y]
    assert isinstance(found, ScaledInt) and (found.lo, found.hi) == (-8, 7)


def test_a_slice_of_a_shape() -> None:
    net = Net((1, 2, 3), opset=15)
    x = net.quant("x")
    rows = net.node("Shape", x, start=-3, end=-1)
    y = net.node("Reshape", x, net.node("Concat", rows, int64(1, 3), axis=0))
    assert g.shape(prepare(net.proto(y)).graph.outputs[0]) == (1, 2, 1, 3)


def test_constants_computed_in_the_graph() -> None:
    """A deviation from a variance by Pow, in float32 as the file says."""
    net = layer()
    deviation = net.node("Pow", np.array([2.0, 3, 5], np.float32), 0.5)
    net.node("Div", "t3", deviation)
    model = prepare(net.proto())
    assert [n.op_type for n in model.graph][-2:] == ["Quant", "Div"]
    found = g.array(model.graph.initializers[deviation])
    assert found is not None
    assert np.array_equal(found, np.sqrt(np.array([2, 3, 5], np.float32)))


def test_weights_stay_quantizers_and_are_constants() -> None:
    net = Net((1, 4))
    w = net.node("Transpose", net.quant(W.T, 0.25), perm=[1, 0])
    net.node("MatMul", net.quant("x"), w)
    model = prepare(net.proto())
    assert [n.op_type for n in model.graph] == ["Quant", "Transpose", "Quant", "MatMul"]
    assert isinstance(analyze(model)[w], Constant)


def test_nodes_are_sorted_and_names_told_apart() -> None:
    proto = layer().proto()
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    for node in nodes:
        node.name = "same" if node.op_type == "Quant" else ""
    proto.graph.node.extend(nodes)
    model = prepare(proto)
    position = {n.op_type: i for i, n in enumerate(model.graph)}
    assert position["MatMul"] == 2
    assert sorted(n.name for n in model.graph if n.name) == ["same", "same_2", "same_3"]


def test_datatype_annotations() -> None:
    model = prepare(annotated(layer().proto(), "INT3"))
    assert annotation(model.graph.inputs[0]) == "INT3"
    found = analyze(model)["x"]
    assert isinstance(found, ScaledInt) and (found.lo, found.hi) == (-4, 3)


# What is refused.


def refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SiraError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def changed(change: Callable[[onnx.ModelProto], Any]) -> Callable[[], Any]:
    proto = layer().proto()
    change(proto)
    return lambda: prepare(proto)


def shaped(*shape: Any) -> Callable[[], Any]:
    net = layer()
    net.shape = shape
    return lambda: prepare(net.proto())


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    refused(lambda: load(path), r"model\.onnx: no such file; check the path of the model$")
    refused(lambda: load(tmp_path), "no such file")
    path.write_text("this is not a model\n" * 9)
    refused(lambda: load(path), r"cannot be read as ONNX, expected a complete .* found 180 bytes")
    path.write_bytes(b"")
    refused(lambda: load(path), "one without nodes, expected a graph of nodes, found 0 bytes")
    whole = layer().proto().SerializeToString()
    path.write_bytes(whole)
    assert load(path).graph.num_nodes() == 4


def test_every_truncation_is_refused_or_complete(tmp_path: Path) -> None:
    """Whatever is left of a file, the answer is an error of one line or a model."""
    whole = layer().proto().SerializeToString()
    path = tmp_path / "model.onnx"
    refusals = 0
    for size in range(0, len(whole), 11):
        path.write_bytes(whole[:size])
        try:
            load(path)
        except SiraError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > 20


def test_float_models() -> None:
    net = Net((1, 4))
    net.node("Relu", net.node("MatMul", "x", W))
    refused(net.model, "the model has no quantizers.*found MatMul, Relu; quantize the model first")
    proto = annotated(net.proto(), "FLOAT32")
    refused(lambda: prepare(proto), "the model has no quantizers")


def test_unsupported_operators() -> None:
    net = layer()
    net.node("NonZero", "t3")
    refused(
        net.model,
        r"node NonZero_4: operator NonZero is not supported, expected one of Abs, Add,.*rewrite",
    )
    refused(
        changed(lambda p: setattr(p.graph.node[0], "domain", "acme")),
        "operator acme::Quant is not supported",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_constants_that_are_no_numbers(value: float) -> None:
    net = Net((1, 4))
    w = W.copy()
    w[1, 2] = value
    net.node("MatMul", net.quant("x"), net.quant(w, 0.25))
    refused(
        net.model,
        r"initializer c3 of node Quant_1: a constant holds NaN or infinity, .* 1 of 12 not finite",
    )


def test_input_shapes() -> None:
    static = "input x: the input shape must be static, expected .* found .*'batch'.*batch size 1"
    refused(shaped("batch", 4), static)
    refused(shaped(0, 4), "the input shape must be static")
    refused(shaped(2, 4), "input x: the batch size must be 1, expected 1, found 2; export")


def test_two_inputs() -> None:
    refused(
        changed(lambda p: p.graph.input.append(
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, (1, 3)))),
        "the model must have one input, .* found x, mask; make the others initializers",
    )  # fmt: skip


def test_tensors_from_nowhere() -> None:
    refused(
        changed(lambda p: p.graph.node[2].input.__setitem__(1, "lost")),
        "MatMul MatMul_2: tensor lost comes from nowhere",
    )
    refused(
        changed(lambda p: setattr(p.graph.output[0], "name", "lost")),
        "output lost: no node makes this graph output",
    )


def test_cycles() -> None:
    refused(
        changed(lambda p: p.graph.node[0].input.__setitem__(0, p.graph.node[3].output[0])),
        "the graph is not valid|comes from nowhere",
    )


def test_outputs_that_are_constant() -> None:
    net = layer()
    y = net.node("Pow", np.array([2.0]), 0.5)
    refused(lambda: prepare(net.proto(y)), "a graph output does not depend on the input")


def test_an_output_that_is_the_input() -> None:
    net = layer()
    proto = net.proto()
    proto.graph.output.append(proto.graph.input[0])
    refused(lambda: prepare(proto), "output x: a graph output is the input itself")


def test_a_nameless_node_is_told_apart_from_a_name_like_its_output() -> None:
    net = layer()
    first, second = net.nodes[-2:]
    first.name, second.name = "", first.output[0]
    labels = [g.label(node) for node in net.model().graph]
    assert len(set(labels)) == len(labels) and f"{first.output[0]}_2" in labels


def test_constants_that_cannot_be_computed() -> None:
    net = layer()
    net.node("Mul", "t3", net.node("Concat", np.ones(2), np.ones((2, 2)), axis=0))
    refused(net.model, "Concat Concat_4: cannot compute a constant, found ")
