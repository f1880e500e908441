"""Trains the three bundled models on scikit-learn's digits and writes them as QONNX.

    pip install .[train]
    python notebooks/train_digits.py tests/models

The networks differ on purpose in how they are quantized and exported, as models in the wild do:

- ``digits_mlp_w2a2``: ternary weights, signed ternary activations, batch normalisation, and the
  TorchScript exporter;
- ``digits_mlp_w1a1``: bipolar weights and activations, with a batch normalisation behind the
  input's 16 grey levels that gives every pixel its own threshold, and the Dynamo exporter;
- ``digits_mlp_w4a4``: 4-bit weights with one scale per output channel, biases, unsigned 4-bit
  activations behind ReLU, and the Dynamo exporter.

Also written: ``digits_test.npz``, the held-out images ``x`` (360, 1, 8, 8) in [0, 1] and their
labels ``y`` (360,). The accuracy printed is that of the exported file in qonnx's executor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    SignedTernaryActPerTensorConst,
    SignedTernaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
    Uint8ActPerTensorFloatMaxInit,
)
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

CLASSES = 10
PIXELS = 64


class BipolarWeight(SignedBinaryWeightPerTensorConst):
    """Weights in {-1, +1}."""

    scaling_const = 1.0


class TernaryWeight(SignedTernaryWeightPerTensorConst):
    """Weights in {-1, 0, +1}."""

    scaling_const = 1.0


class GreyLevels(Uint8ActPerTensorFloatMaxInit):
    """The input in 16 levels of 1/16; the images' full white, 16/16, saturates."""

    bit_width = 4
    max_val = 15 / 16
    scaling_impl_type = "const"


def w2a2() -> nn.Sequential:
    """A 64-64-64-10 network of ternary weights and activations."""

    def hidden(inputs: int, outputs: int) -> list[nn.Module]:
        linear = qnn.QuantLinear(inputs, outputs, bias=False, weight_quant=TernaryWeight)
        nn.init.uniform_(linear.weight, -1, 1)  # torch's own, narrower start rounds to all zeros
        return [
            linear,
            nn.BatchNorm1d(outputs),
            qnn.QuantIdentity(act_quant=SignedTernaryActPerTensorConst),
        ]

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=GreyLevels),
        nn.Flatten(),
        *hidden(PIXELS, 64),
        *hidden(64, 64),
        qnn.QuantLinear(
            64, CLASSES, bias=False, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=2
        ),
    )


def w1a1() -> nn.Sequential:
    """A 64-128-128-10 network of bipolar weights and activations."""

    def bipolar(features: int) -> list[nn.Module]:
        return [
            nn.BatchNorm1d(features),
            qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
        ]

    def linear(inputs: int, outputs: int) -> nn.Module:
        return qnn.QuantLinear(inputs, outputs, bias=False, weight_quant=BipolarWeight)

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=GreyLevels),
        nn.Flatten(),
        *bipolar(PIXELS),
        linear(PIXELS, 128),
        *bipolar(128),
        linear(128, 128),
        *bipolar(128),
        linear(128, CLASSES),
        nn.BatchNorm1d(CLASSES),
    )


def w4a4() -> nn.Sequential:
    """A 64-64-64-10 network of 4-bit weights, scaled per output channel, and activations."""

    def linear(inputs: int, outputs: int) -> nn.Module:
        return qnn.QuantLinear(
            inputs,
            outputs,
            bias=True,
            weight_quant=Int8WeightPerChannelFloat,
            weight_bit_width=4,
        )

    def relu() -> nn.Module:
        return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4)

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=GreyLevels),
        nn.Flatten(),
        linear(PIXELS, 64),
        relu(),
        linear(64, 64),
        nn.BatchNorm1d(64),
        relu(),
        linear(64, CLASSES),
    )


@dataclass(frozen=True)
class Recipe:
    """How one model is built, trained and exported; ``dynamo`` chooses torch's exporter."""

    name: str
    build: Callable[[], nn.Sequential]
    epochs: int
    learning_rate: float
    dynamo: bool


RECIPES = (
    Recipe("digits_mlp_w2a2", w2a2, epochs=150, learning_rate=5e-3, dynamo=False),
    Recipe("digits_mlp_w1a1", w1a1, epochs=200, learning_rate=5e-3, dynamo=True),
    Recipe("digits_mlp_w4a4", w4a4, epochs=100, learning_rate=5e-3, dynamo=True),
)


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) in multiples of 1/16 from 0 to 1, and labels (N,)."""

    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray


def digits() -> Digits:
    """scikit-learn's digits, a fifth of them held out, every class in proportion."""
    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return Digits(*train_test_split(images, y, test_size=0.2, random_state=0, stratify=y))


def train(recipe: Recipe, data: Digits) -> nn.Sequential:
    """Trains with Adam and a cosine schedule, from a fixed seed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums in one order: the same file on every run
    model = recipe.build()
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for _ in range(recipe.epochs):
        model.train()
        for batch in torch.randperm(len(x)).split(64):
            logits: Tensor = model(x[batch])
            loss = loss_of(logits, y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def export(model: nn.Sequential, path: Path, dynamo: bool) -> None:
    """Writes ``model`` for one image; drops the exporter's notes, which hold local file names."""
    options: dict[str, object] = {"dynamo": dynamo, "input_names": ["x"]}
    if dynamo:
        options["external_data"] = False
    export_qonnx(model, torch.zeros(1, 1, 8, 8), export_path=str(path), **options)
    proto = onnx.load(path)
    del proto.metadata_props[:]
    graph = proto.graph
    del graph.metadata_props[:]
    graph.doc_string = ""
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    onnx.save(proto, path)


def accuracy(path: Path, data: Digits) -> float:
    """Share of the held-out images that the file at ``path`` classifies rightly."""
    model = ModelWrapper(str(path)).transform(InferShapes())
    name, output = model.graph.input[0].name, model.graph.output[0].name
    found = [execute_onnx(model, {name: x[None]})[output].argmax() for x in data.x_test]
    return float(np.mean(np.array(found) == data.y_test))


def main() -> None:
    """Trains, exports and checks every recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the models are written")
    parser.add_argument("names", nargs="*", help="which models (default: all)")
    arguments = parser.parse_args()
    data = digits()
    np.savez_compressed(arguments.folder / "digits_test.npz", x=data.x_test, y=data.y_test)
    for recipe in RECIPES:
        if arguments.names and recipe.name not in arguments.names:
            continue
        path = arguments.folder / f"{recipe.name}.onnx"
        export(train(recipe, data), path, recipe.dynamo)
        print(f"{path.name}: {accuracy(path, data):.2%} of {len(data.y_test)} images")


if __name__ == "__main__":
    main()
