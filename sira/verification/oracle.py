"""Executes the original file in float64 with other people's code, to check our own integers.

The arithmetic is that of `onnx.reference` and of qonnx's quantizer functions; nothing of this
package's analysis takes part. What is ours is only the bookkeeping: float32 constants are widened
to float64, so that each is the exact number it encodes; weight and bias quantizers are folded once
to integers by qonnx's float32 executor and then mean ``(q - zero_point) * scale``.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from qonnx.core import onnx_exec
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from sira.errors import SiraError
from sira.verification.oracle_ops import OPERATORS, QONNX, QUANTIZERS, batches, lattice

Floats = NDArray[np.float64]
Value = NDArray[Any]

_ALIASES = ("onnx.brevitas", "finn.custom_op.general")


def repaired(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that qonnx and `onnx.reference` accept; tensor names stay.

    Aliases of qonnx's domain become that domain, missing opset imports are added, initializers
    are no longer graph inputs, and symbolic shapes of outputs are dropped.
    """
    model = copy.deepcopy(model)
    graph = model.graph
    for node in graph.node:
        if node.domain in _ALIASES:
            node.domain = QONNX
    imports = {entry.domain: entry.version for entry in model.opset_import}
    declared = [imports[domain] for domain in (QONNX, *_ALIASES) if domain in imports]
    del model.opset_import[:]
    for domain, version in imports.items():
        if domain not in (QONNX, *_ALIASES):
            model.opset_import.append(helper.make_opsetid(domain, version))
    # Trunc has six inputs since version 2; the other quantizers are the same in both.
    newer = any(node.op_type == "Trunc" and len(node.input) == 6 for node in graph.node)
    model.opset_import.append(helper.make_opsetid(QONNX, max([*declared, 2 if newer else 1])))
    constant = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constant]
    del graph.input[:]
    graph.input.extend(inputs)
    for output in graph.output:
        shape = output.type.tensor_type.shape
        if any(not dim.HasField("dim_value") for dim in shape.dim):
            output.type.tensor_type.ClearField("shape")
    return model


class Oracle:
    """A model file, executable in float64 as a whole or in part, and in float32.

    ``constants`` holds every tensor that does not depend on the input, in float64 where it is
    real; ``dynamic`` names the others in order of execution, the graph's input first.
    Models have one input of a fixed shape.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        model = repaired(model)
        self.input_name, self.input_shape = _only_input(model.graph)
        constant, self._nodes = _partition(model.graph)
        with _foreign():
            wrapper = ModelWrapper(model).transform(InferShapes())
        elem_type = model.graph.input[0].type.tensor_type.elem_type
        self._input_dtype = helper.tensor_dtype_to_np_dtype(elem_type)
        zeros = np.zeros(self.input_shape, self._input_dtype)
        with warnings.catch_warnings(category=UserWarning, action="ignore"), _foreign():
            # The executor finds shapes here that inference could not, and says so for each.
            float32 = execute_onnx(wrapper, {self.input_name: zeros}, True)
        self._opsets = tuple(model.opset_import)
        self.constants: Mapping[str, Value] = _fold(model.graph, constant, float32, self._opsets)
        self._float32 = _folded(model, constant, float32)
        self._whole = _evaluator(self._nodes, self._opsets)
        self._tails: dict[
            tuple[tuple[str, ...], str], tuple[list[onnx.NodeProto], ReferenceEvaluator]
        ] = {}
        outputs = [name for node in self._nodes for name in node.output if name]
        self.dynamic: tuple[str, ...] = (self.input_name, *outputs)

    def run(self, x: ArrayLike, names: Iterable[str] | None = None) -> dict[str, Floats]:
        """Executes samples ``x`` (samples, *input_shape) in float64.

        A leading batch of 1 may be missing from the samples. Returns (samples, *tensor_shape)
        for every dynamic tensor, or for ``names`` only.
        """
        chosen = self.dynamic if names is None else tuple(names)
        results: dict[str, list[Value]] = {name: [] for name in chosen}
        for sample in self._samples(x, np.dtype(np.float64)):
            values = _evaluate(self._whole, {**self.constants, self.input_name: sample})
            for name in chosen:
                results[name].append(values[name])
        return {name: np.stack(found).astype(np.float64) for name, found in results.items()}

    def run_tail(self, source: str, target: str, values: ArrayLike) -> Floats:
        """Executes only what lies between two tensors, ``values`` standing in for ``source``.

        ``values`` is (points, *shape of source), the result (points, *shape of target). Points
        run together where every op in between acts on each element or channel by itself.
        """
        return self.run_between({source: values}, target)

    def run_between(self, values: Mapping[str, ArrayLike], target: str) -> Floats:
        """The same for a target that is a function of several tensors of one rank."""
        points = {name: np.asarray(given, np.float64) for name, given in values.items()}
        sources = tuple(points)
        if target in points:
            return points[target]
        if (sources, target) not in self._tails:
            nodes = self._between(sources, target)
            self._tails[sources, target] = nodes, _evaluator(nodes, self._opsets)
        nodes, evaluator = self._tails[sources, target]
        ranks = {given.ndim - 1 for given in points.values()}

        def evaluate(at: Mapping[str, Floats]) -> Floats:
            result = _evaluate(evaluator, {**self.constants, **at})[target]
            return result.astype(np.float64)

        rank = min(ranks)
        together = all(batches(node, rank, self.constants) for node in nodes) and len(ranks) == 1
        if together and rank >= 1 and all(given.shape[1] == 1 for given in points.values()):
            return evaluate({name: given[:, 0] for name, given in points.items()})[:, None]
        each = zip(*points.values(), strict=True)
        return np.stack([evaluate(dict(zip(sources, point, strict=True))) for point in each])

    def run_float32(
        self, x: ArrayLike, names: Iterable[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Executes samples as `run` does, in float32 by qonnx's executor."""
        chosen = self.dynamic if names is None else tuple(names)
        results: dict[str, list[NDArray[np.float32]]] = {name: [] for name in chosen}
        with sessions_kept():
            for sample in self._samples(x, self._input_dtype):
                values = execute_onnx(self._float32, {self.input_name: sample}, True)
                for name in chosen:
                    results[name].append(np.asarray(values[name], np.float32))
        return {name: np.stack(found) for name, found in results.items()}

    def integers(self, name: str, values: ArrayLike) -> NDArray[np.int64]:
        """The integers behind ``values`` (..., *shape) of a quantizer's output tensor ``name``.

        They are on the quantizer's own scale: with its zero point for Quant and QuantizeLinear,
        -1 and +1 for BipolarQuant, the count for MultiThreshold.
        """
        [node] = [node for node in self._nodes if name in node.output]
        scale, zero_point = lattice(node, self.constants)
        exact = np.asarray(values, np.float64) / scale + zero_point
        return np.rint(exact).astype(np.int64)

    @property
    def quantizers(self) -> tuple[str, ...]:
        """Dynamic tensors that a quantizer writes, in order of execution."""
        return tuple(node.output[0] for node in self._nodes if node.op_type in QUANTIZERS)

    def _samples(self, x: ArrayLike, dtype: np.dtype[Any]) -> Value:
        samples = np.asarray(x, dtype)
        return samples.reshape(len(samples), *self.input_shape)

    def _between(self, sources: tuple[str, ...], target: str) -> list[onnx.NodeProto]:
        """The nodes that make ``target`` from ``sources`` and constants, in order."""
        needed, nodes, given = {target}, list[onnx.NodeProto](), set(sources)
        for node in reversed(self._nodes):
            if needed.intersection(node.output) and not given.intersection(node.output):
                nodes.insert(0, node)
                needed.update(name for name in node.input if name)
        made = {name for node in nodes for name in node.output}
        others = sorted(needed - made - given - self.constants.keys())
        if others or not given <= needed:
            expected = " and ".join(sources)
            raise SiraError(
                f"{target} is not a function of {expected} alone",
                where=target,
                expected=f"{expected} and constants",
                found=", ".join(others) or "constants only",
            )
        return nodes


@contextmanager
def sessions_kept() -> Iterator[None]:
    """Lets qonnx's executor make the onnxruntime session of a node once, not for each sample.

    A session has one thread, so results do not depend on the number of cores. Not for several
    threads at once.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    @functools.cache
    def session(model: bytes) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(model, options)

    theirs = onnx_exec.rt
    onnx_exec.rt = SimpleNamespace(InferenceSession=session)
    try:
        yield
    finally:
        onnx_exec.rt = theirs


@contextmanager
def _foreign() -> Iterator[None]:
    """What fails in the code that is not ours is a model that it does not support."""
    try:
        yield
    except SiraError:
        raise
    except Exception as error:
        raise SiraError(
            "the model cannot be checked by execution",
            expected="operators that onnx.reference or qonnx can execute",
            found=" ".join(f"{type(error).__name__}: {error}".split())[:200],
        ) from error


def _only_input(graph: onnx.GraphProto) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the graph's one input."""
    if len(graph.input) != 1:
        raise SiraError(
            "the model cannot be checked by execution",
            expected="one graph input",
            found=", ".join(entry.name for entry in graph.input) or "none",
        )
    [entry] = graph.input
    dims = entry.type.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
        raise SiraError(
            "the input's shape is not fixed",
            where=entry.name,
            expected="a positive number for each dimension",
            found=str([dim.dim_param or dim.dim_value for dim in dims]),
            remedy="export the model for a batch of 1",
        )
    return entry.name, tuple(dim.dim_value for dim in dims)


def _partition(
    graph: onnx.GraphProto,
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Nodes that do not depend on the input's values, and the others, in order.

    Shapes are fixed, so a Shape or Size node is constant whatever it looks at.
    """
    known = {tensor.name for tensor in graph.initializer} | {""}
    constant, dynamic = list[onnx.NodeProto](), list[onnx.NodeProto]()
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or known.issuperset(node.input):
            known.update(node.output)
            constant.append(node)
        else:
            dynamic.append(node)
    return constant, dynamic


def _fold(
    graph: onnx.GraphProto,
    constant: Sequence[onnx.NodeProto],
    float32: Mapping[str, Value],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> dict[str, Value]:
    """Values of all constant tensors, given those of qonnx's float32 executor.

    A quantizer's are made exact, ``(q - zero_point) * scale``; what is computed from exact
    values, as a transposed weight is, is computed in float64.
    """
    values = {tensor.name: _widen(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    exact: set[str] = set()
    for node in constant:
        outputs = [name for name in node.output if name]
        if node.op_type in ("Quant", "IntQuant", "BipolarQuant"):
            scale, zero_point = lattice(node, values)
            q = np.rint(float32[outputs[0]].astype(np.float64) / scale + zero_point)
            values[outputs[0]] = (q - zero_point) * scale
            exact.update(outputs)
        elif node.op_type == "DequantizeLinear" or exact.intersection(node.input):
            found = _evaluate(_evaluator([node], opsets), values)
            values.update({name: found[name] for name in outputs})
            exact.update(outputs)
        else:
            values.update({name: _widen(np.asarray(float32[name])) for name in outputs})
    return values


def _folded(
    model: onnx.ModelProto, constant: Sequence[onnx.NodeProto], float32: Mapping[str, Value]
) -> ModelWrapper:
    """The model with its constant nodes replaced by their float32 values, shapes inferred."""
    model = copy.deepcopy(model)
    graph = model.graph
    made = {name for node in constant for name in node.output if name}
    nodes = [node for node in graph.node if not made.intersection(node.output)]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for name in sorted(made & used):
        kept.append(numpy_helper.from_array(np.asarray(float32[name]), name))
    annotated = [entry for entry in graph.quantization_annotation if entry.tensor_name not in made]
    del graph.value_info[:]
    for field, entries in (
        (graph.node, nodes),
        (graph.initializer, kept),
        (graph.quantization_annotation, annotated),
    ):
        del field[:]
        field.extend(entries)
    return ModelWrapper(model).transform(InferShapes())


def _evaluator(
    nodes: Sequence[onnx.NodeProto], opsets: Sequence[onnx.OperatorSetIdProto]
) -> ReferenceEvaluator:
    graph = helper.make_graph([_widened(node) for node in nodes], "part", [], [])
    model = helper.make_model(graph, opset_imports=opsets)
    with _foreign():
        return ReferenceEvaluator(model, new_ops=list(OPERATORS))


def _evaluate(evaluator: ReferenceEvaluator, values: Mapping[str, Value]) -> dict[str, Value]:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"), _foreign():
        results: dict[str, Value] = evaluator.run(None, dict(values), intermediate=True)
    for name, value in results.items():
        narrow = value is not None and value.dtype.kind == "f" and value.dtype != np.float64
        assert not narrow, f"{name} was computed in {value.dtype}, not in float64"
    return results


def _widen(value: Value) -> Value:
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def _widened(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node with a Cast to float32 turned into one to float64."""
    if node.op_type != "Cast":
        return node
    wide = onnx.NodeProto()
    wide.CopyFrom(node)
    for attribute in wide.attribute:
        if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.DOUBLE
    return wide
