"""Folding: how many lanes each layer gets, and the width converters between them.

PE is the number of outputs, SIMD the number of inputs a layer handles in a cycle; a matrix-vector
unit takes (N / PE) * (K / SIMD) cycles for a vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from math import gcd, lcm
from pathlib import Path
from typing import Any

from hls.dataflow import Dataflow, Edge, Layer, Port
from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter
from sira.errors import SiraError

DEFAULT_TARGET_CYCLES = 1024
"""Cycles a frame where neither a folding file nor a target is given."""

Factors = Mapping[str, Mapping[str, int]]


def dimensions(layer: Layer) -> Mapping[str, int]:
    """The folding factors of a layer and the sizes they must divide."""
    match layer:
        case MatrixVector():
            outputs, inputs = layer.weights.shape
            return {"pe": outputs, "simd": inputs}
        case Thresholding():
            return {"pe": layer.channels}
        case ArgMax():
            return {"lanes": len(layer.scale)}
        case _:
            return {}


def read_folding(path: Path) -> Factors:
    """A folding file: ``{"layer": {"pe": 4, "simd": 16}, ...}``."""
    try:
        contents: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SiraError(
            "cannot be read as JSON", where=f"folding {path}", found=str(error)
        ) from error
    valid = isinstance(contents, dict) and all(
        isinstance(v, dict) and all(type(f) is int for f in v.values()) for v in contents.values()
    )
    if not valid:
        raise SiraError(
            "not a folding file",
            where=f"folding {path}",
            expected='{"layer name": {"pe": 4, "simd": 16}, ...}',
            found=type(contents).__name__,
        )
    return contents  # type: ignore[no-any-return]


def fold(
    dataflow: Dataflow, target_cycles: int = DEFAULT_TARGET_CYCLES, factors: Factors | None = None
) -> Dataflow:
    """Give every layer its lanes and connect them.

    Layers named in ``factors`` take those; the others the cheapest that meet ``target_cycles`` for
    a frame, or all lanes where none does.
    """
    factors = factors or {}
    _check(dataflow, factors)
    layers: dict[str, Layer] = {}
    lanes = 1
    for layer in dataflow.layers:  # in topological order, so that lanes can follow the producer's
        chosen = _automatic(layer, target_cycles, lanes)
        chosen = {**chosen, **factors.get(layer.name, {})}
        layers[layer.name] = _refold(layer, chosen)
        lanes = next(iter(layers[layer.name].outputs.values())).lanes
    return _connect(dataflow, layers)


def _check(dataflow: Dataflow, factors: Factors) -> None:
    by_name = {layer.name: layer for layer in dataflow.layers}
    for name, chosen in factors.items():
        where = f"folding of {name}"
        if name not in by_name:
            raise SiraError("no such layer", where=where, expected=" | ".join(by_name), found=name)
        sizes = dimensions(by_name[name])
        for factor, value in chosen.items():
            if factor not in sizes:
                raise SiraError(
                    "no such folding factor", where=where, expected=" | ".join(sizes), found=factor
                )
            if value < 1 or sizes[factor] % value:
                raise SiraError(
                    "illegal folding",
                    where=where,
                    expected=f"{factor} to divide {sizes[factor]}",
                    found=f"{factor}={value}",
                    remedy="choose one of " + ", ".join(map(str, divisors(sizes[factor]))),
                )


def _refold(layer: Layer, factors: Mapping[str, int]) -> Layer:
    match layer:
        case MatrixVector() | Thresholding() | ArgMax():
            return replace(layer, **factors)  # type: ignore[arg-type]
        case _:
            return layer


def divisors(n: int) -> list[int]:
    """All divisors, rising."""
    return [d for d in range(1, n + 1) if n % d == 0]


def _automatic(layer: Layer, target: int, producer_lanes: int) -> dict[str, int]:
    match layer:
        case MatrixVector():
            return _matrix_vector_folding(layer, target, producer_lanes)
        case Thresholding() | ArgMax():
            factor = "lanes" if isinstance(layer, ArgMax) else "pe"
            size = dimensions(layer)[factor]
            elements = next(iter(layer.inputs.values())).elements
            fit = [d for d in divisors(size) if elements // d <= target] or [size]
            matching = [d for d in fit if d == producer_lanes]
            return {factor: (matching or fit)[0]}
        case _:
            return {}


def _matrix_vector_folding(layer: MatrixVector, target: int, lanes: int) -> dict[str, int]:
    """Fewest multipliers that meet the target; among those no width converter, then more SIMD.

    SIMD costs less than PE: more inputs share an accumulator, more outputs need one each.
    """
    outputs, inputs = layer.weights.shape
    work = layer.vectors * outputs * inputs
    pairs = [(pe, simd) for pe in divisors(outputs) for simd in divisors(inputs)]
    fit = [p for p in pairs if work <= target * p[0] * p[1]] or [(outputs, inputs)]
    converter = {p: p[1] != lanes for p in fit}
    pe, simd = min(fit, key=lambda p: (p[0] * p[1], converter[p], -p[1]))
    return {"pe": pe, "simd": simd}


def _connect(dataflow: Dataflow, layers: Mapping[str, Layer]) -> Dataflow:
    """Put width converters where the lanes of two ends differ."""
    ordered: list[Layer] = []
    edges: list[Edge] = []
    names = set(layers)
    slowest = max((layer.cycles for layer in layers.values()), default=0)
    inserted: dict[str, list[Layer]] = {}
    for edge in dataflow.edges:
        source, target = edge.source, edge.target
        if not source.layer or not target.layer:
            edges.append(edge)
            continue
        out = layers[source.layer].outputs[source.port]
        into = layers[target.layer].inputs[target.port]
        steps = [out.lanes, into.lanes]
        if max(steps) % min(steps):
            # Neither divides the other: narrow first, then widen. Where so few lanes between would
            # slow the design down, widen first: both divide the elements, so their lcm does too.
            narrow = gcd(*steps)
            between = narrow if out.elements // narrow <= slowest else lcm(*steps)
            steps = [out.lanes, between, into.lanes]
        port = source
        for i, (have, want) in enumerate(pairwise(steps)):
            if have == want:
                continue
            name = f"{target.layer}_width" if i == 0 else f"{target.layer}_width_{i}"
            assert name not in names
            converter = WidthConverter(name, out.elements, have, want, out.bits)
            inserted.setdefault(target.layer, []).append(converter)
            edges.append(Edge(port, Port(name, "in"), edge.depth))
            port = Port(name, "out")
        edges.append(Edge(port, target, edge.depth))
    for layer in dataflow.layers:
        ordered += [*inserted.get(layer.name, []), layers[layer.name]]
    return Dataflow(dataflow.name, tuple(ordered), tuple(edges))
