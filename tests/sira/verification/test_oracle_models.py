"""The oracle on whole networks: the bundled ones, and those of the folder SIRA_MODELS."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from sira.verification.oracle import Oracle

MODELS = Path(__file__).parents[2] / "models"
BUNDLED = ("digits_mlp_w2a2", "digits_mlp_w1a1", "digits_mlp_w4a4")


def bundled(name: str) -> Oracle:
    return Oracle(onnx.load(MODELS / f"{name}.onnx"))


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(MODELS / "digits_test.npz") as data:
        return data["x"], data["y"]


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_equal_float32_at_every_quantizer(name: str, digits: Any) -> None:
    # Nothing in these images comes within 1e-5 steps of a threshold, so there are no ties.
    oracle, x = bundled(name), digits[0][::6]
    exact, float32 = oracle.run(x), oracle.run_float32(x, oracle.quantizers)
    assert len(oracle.quantizers) >= 3
    for tensor in oracle.quantizers:
        integers = oracle.integers(tensor, exact[tensor])
        assert np.unique(integers).size > 1
        assert (integers == oracle.integers(tensor, float32[tensor])).all(), tensor


@pytest.mark.parametrize("name, right", [
    ("digits_mlp_w2a2", 351), ("digits_mlp_w1a1", 345), ("digits_mlp_w4a4", 356),
])  # fmt: skip
def test_bundled_models_classify_as_stated(name: str, right: int, digits: Any) -> None:
    x, y = digits
    oracle = bundled(name)
    scores = oracle.run(x, [oracle.dynamic[-1]])[oracle.dynamic[-1]]
    assert scores.shape == (360, 1, 10)
    assert int((scores[:, 0].argmax(axis=1) == y).sum()) == right
    assert f"{right / 360:.2%}".replace("%", " %") in (MODELS / "README.md").read_text()


def test_integers_of_the_first_layers_by_hand(digits: Any) -> None:
    """The ternary network up to its second quantizer, from the file's bytes, in integers."""
    file = onnx.load(MODELS / "digits_mlp_w2a2.onnx")
    arrays = {t.name: numpy_helper.to_array(t) for t in file.graph.initializer}
    oracle, x = Oracle(file), digits[0][:100]
    values = oracle.run(x)
    first, second, _ = oracle.quantizers
    pixels = np.minimum(x.reshape(-1, 64) * 16, 15).astype(np.int64)
    assert (oracle.integers(first, values[first]).reshape(-1, 64) == pixels).all()
    weights = np.rint(np.clip(arrays["2.weight"], -1, 1)).astype(np.int64)
    accumulators = pixels @ weights.T
    assert (values["/2/MatMul_output_0"][:, 0] * 16 == accumulators).all()
    channels = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, variance = ([*map(Fraction, arrays[f"3.{c}"].tolist())] for c in channels)
    epsilon = Fraction(float(np.float32(1e-5)))
    for channel in range(64):
        found = oracle.integers(second, values[second])[:, 0, channel]
        for accumulator in np.unique(accumulators[:, channel]).tolist():
            # gamma (a - mean) / sqrt(variance + epsilon) + beta >= 1/2, without the root
            centred = gamma[channel] * (Fraction(accumulator, 16) - mean[channel])
            squared = variance[channel] + epsilon

            def reaches(
                step: Fraction, c: Fraction = centred, s: Fraction = squared, n: int = channel
            ) -> bool:
                need = step - beta[n]
                if c >= 0:
                    return need <= 0 or c * c >= need * need * s
                return need <= 0 and c * c <= need * need * s

            count = reaches(Fraction(1, 2)) + reaches(Fraction(-1, 2)) - 1
            assert (found[accumulators[:, channel] == accumulator] == count).all()


@pytest.mark.parametrize("name", BUNDLED)
def test_tails_of_bundled_models_repeat_the_run(name: str, digits: Any) -> None:
    oracle, x = bundled(name), digits[0][:40]
    values = oracle.run(x)
    sources = [t for t in oracle.dynamic if "MatMul" in t or t.startswith("linear")]
    for source, target in zip(sources[:2], oracle.quantizers[-2:], strict=True):
        assert (oracle.run_tail(source, target, values[source]) == values[target]).all()


# Models that are not part of the project: the folder is named by SIRA_MODELS


def outside(name: str) -> Path:
    folder = os.environ.get("SIRA_MODELS")
    if not folder:
        pytest.skip("SIRA_MODELS does not name a folder of models")
    return Path(folder) / name


@pytest.mark.parametrize("name", ["TFC_2W2A", "TFC_1W1A", "unsw_nb15-mlp-w2a2"])
def test_outside_models_equal_float32_at_every_quantizer(name: str) -> None:
    oracle = Oracle(onnx.load(outside(f"{name}.onnx")))
    rng = np.random.default_rng(0)
    x: NDArray[Any] = rng.choice([-1.0, 1.0], (12, *oracle.input_shape))
    if name.startswith("TFC"):
        x = (rng.integers(0, 256, (12, *oracle.input_shape)) / 255).astype(np.float32)
    exact, float32 = oracle.run(x), oracle.run_float32(x)
    for tensor in oracle.quantizers:
        integers = oracle.integers(tensor, exact[tensor])
        assert (integers == oracle.integers(tensor, float32[tensor])).all(), tensor


@pytest.mark.parametrize("name", ["digits_mlp_s0_w4a4", "digits_mlp_s0_w8a8"])
def test_outputs_recorded_by_the_exporter(name: str) -> None:
    """They are float32, so they agree within the a-priori bound of the last float32 layer."""
    oracle = Oracle(onnx.load(outside(f"{name}.onnx")))
    with np.load(outside(f"{name}_io.npz")) as data:
        x, y, recorded = data["x"], data["y"], data["out"].astype(np.float64)
    last, out = oracle.quantizers[-1], oracle.dynamic[-1]
    values = oracle.run(x, [last, out])
    activations, scores = values[last][:, 0], values[out][:, 0]
    weights, bias = oracle.constants["_symbolic_5"], oracle.constants["layers.2.bias"]
    # K products and sums, one bias, and the roundings of both factors: (K + 4) half-ulps
    bound = (weights.shape[1] + 4) * 2.0**-24 * (activations @ abs(weights.T) + abs(bias))
    assert (abs(recorded - scores) <= bound).all()
    assert bound.max() < 1e-3
    assert (recorded.argmax(1) == y).sum() == (scores.argmax(1) == y).sum()
