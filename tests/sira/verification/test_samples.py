"""Samples reach everything a quantizer can tell apart, and damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_models import Net

from sira.analysis.ranges import analyze
from sira.errors import SiraError
from sira.load import prepare
from sira.verification import golden
from sira.verification.samples import draw, read


def preprocessed(factor: float, offset: float) -> Net:
    net = Net((1, 6))
    scaled = net.node("Mul", net.node("Sub", "x", offset), factor)
    quantized = net.quant(scaled, 1 / 8, 4)
    weights = net.quant(np.ones((6, 2)), 1.0, 2)
    net.node("MatMul", quantized, weights)
    return net


@pytest.mark.parametrize(
    ("factor", "offset"), [(1 / 255, 0), (-1 / 255, 0), (1, 0), (1000, 0), (1 / 64, 128), (3, 1000)]
)
def test_the_quantizer_sees_its_whole_range(factor: float, offset: float) -> None:
    x = draw_from(factor, offset)
    assert x.dtype == np.float32 and x.shape == (64, 1, 6)
    q = np.clip(np.rint((x.astype(float) - offset) * factor * 8), -8, 7)
    assert len(np.unique(q)) == 16
    # Nor does it see little else: the values between the ends are not rare.
    assert (abs(q + 0.5) < 7).mean() > 0.3


def draw_from(factor: float, offset: float, seed: int = 0) -> np.ndarray:
    model = prepare(preprocessed(factor, offset).proto(), "test")
    return draw(model, analyze(model, {}), 64, seed)["x"]


def test_the_golden_model_agrees() -> None:
    model = prepare(preprocessed(1 / 255, 0).proto(), "test")
    ranges = analyze(model, {})
    x = draw(model, ranges, 64)["x"]
    values = golden.run(model, ranges, {"x": golden.encode(ranges, model.graph.inputs[0], x)})
    first = next(v for node in model.graph for v in node.outputs if ranges.scaled(v) is not None
                 and v.name in values)  # fmt: skip
    found = values[str(first.name)]
    assert set(np.unique(found.lo)) == set(range(-8, 8))  # type: ignore[union-attr]


def test_the_same_seed_draws_the_same() -> None:
    assert np.array_equal(draw_from(1 / 255, 0, 3), draw_from(1 / 255, 0, 3))
    assert not np.array_equal(draw_from(1 / 255, 0, 3), draw_from(1 / 255, 0, 4))


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32))
    intact = path.read_bytes()
    assert read(path, (1, 6), 20)["x"].shape == (20, 6)
    name = intact.index(b"x.npy")
    directory = intact.rindex(b"PK\x01\x02")
    damaged = {
        "cut off": intact[:-30],
        "empty": b"",
        "data": intact[: name + 40] + bytes(400) + intact[name + 440 :],
        "block type": intact[: name + 25] + b"\xff" * 20 + intact[name + 45 :],
        "compression": intact[: directory + 10] + b"\x63" + intact[directory + 11 :],
        "encrypted": intact[: directory + 8] + b"\x01" + intact[directory + 9 :],
    }
    for how, contents in damaged.items():
        path.write_bytes(contents)
        with pytest.raises(SiraError, match=r"samples .*: cannot be read"):
            read(path, (1, 6), None)
            pytest.fail(how)
