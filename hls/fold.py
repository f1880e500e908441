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

from hls.dataflow import Dataflow, Edge, Layer, Port, free_name
from hls.layers import (
    ArgMax,
    Concat,
    DepthToSpace,
    DepthwiseVector,
    Elementwise,
    Fork,
    GlobalPooling,
    MatrixVector,
    Pooling,
    Slice,
    SlidingWindow,
    Thresholding,
    Upsample,
    WidthConverter,
    ZeroInsertion,
)
from sira.errors import SiraError

LEAST_TARGET_CYCLES = 1024
DEFAULT_PRODUCTS = 512
"""Without a target, a frame may take so many cycles that the layers form this many products a
cycle in the mean, but no fewer than `LEAST_TARGET_CYCLES`."""

Factors = Mapping[str, Mapping[str, int]]

_VECTOR_LAYERS = (MatrixVector, DepthwiseVector, Pooling)
"""What reads the windows of a window generator."""


def dimensions(layer: Layer) -> Mapping[str, int]:
    """The folding factors of a layer and the sizes they must divide.

    A window generator has none of its own: it follows the layer that reads it.
    """
    match layer:
        case MatrixVector():
            outputs, inputs = layer.weights.shape
            return {"pe": outputs // layer.groups, "simd": inputs}
        case DepthwiseVector():
            return {"pe": len(layer.weights)}
        case Thresholding():
            return {"pe": layer.channels}
        case ArgMax():
            return {"lanes": len(layer.scale)}
        case Pooling() | GlobalPooling() | Elementwise():
            return {"lanes": layer.channels}
        case Fork():
            return {"lanes": layer.elements}
        case Concat():
            return {"lanes": gcd(*layer.channels)}
        case Slice():
            return {"lanes": layer.most_lanes}
        case Upsample() | ZeroInsertion():
            return {"lanes": layer.shape[2]}
        case DepthToSpace():
            return {"lanes": layer.output_shape[2]}
        case _:
            return {}


def products(layer: Layer) -> int:
    """Products of a frame."""
    match layer:
        case MatrixVector() | DepthwiseVector():
            return layer.vectors * layer.weights.size
        case _:
            return 0


def default_target(dataflow: Dataflow) -> int:
    """Cycles a frame where the user names none."""
    wanted = sum(products(layer) for layer in dataflow.layers) // DEFAULT_PRODUCTS
    return max(LEAST_TARGET_CYCLES, wanted)


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
    dataflow: Dataflow, target_cycles: int | None = None, factors: Factors | None = None
) -> Dataflow:
    """Give every layer its lanes and connect them.

    Layers named in ``factors`` take those; the others the cheapest that meet ``target_cycles`` for
    a frame (default: `default_target`), or what the slowest layer can reach where that is more.
    """
    factors = factors or {}
    _check(dataflow, factors)
    target = default_target(dataflow) if target_cycles is None else target_cycles
    by_name = {layer.name: layer for layer in dataflow.layers}
    producers = {edge.target.layer: edge.source.layer for edge in dataflow.edges}
    readers = {edge.source.layer: by_name.get(edge.target.layer) for edge in dataflow.edges}
    fastest = [_fastest(layer, readers.get(layer.name)).cycles for layer in dataflow.layers]
    target = max(target, *fastest)
    layers: dict[str, Layer] = {}

    def chosen(layer: Layer, lanes: int, window: SlidingWindow | None = None) -> Layer:
        automatic = _automatic(layer, target, lanes, window)
        return _refold(layer, {**automatic, **factors.get(layer.name, {})})

    for layer in dataflow.layers:  # in topological order, so that lanes can follow the producer's
        if layer.name in layers:
            continue
        producer = layers.get(producers[layer.name])
        lanes = next(iter(producer.outputs.values())).lanes if producer else 1
        reader = readers.get(layer.name)
        if isinstance(layer, SlidingWindow) and isinstance(reader, _VECTOR_LAYERS):
            layers[reader.name] = chosen(reader, lanes, layer)
            layers[layer.name] = _following(layer, layers[reader.name], target)
        else:
            layers[layer.name] = chosen(layer, lanes)
    return _connect(dataflow, {layer.name: layers[layer.name] for layer in dataflow.layers})


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
    return replace(layer, **factors) if factors else layer  # type: ignore[type-var]


def _fastest(layer: Layer, reader: Layer | None) -> Layer:
    """The layer with all lanes that it can have."""
    if isinstance(layer, SlidingWindow):
        if isinstance(reader, _VECTOR_LAYERS):
            return _following(layer, _fastest(reader, None), 0)
        return _with_lanes(layer, layer.shape[2] // layer.blocks)
    return _refold(layer, dimensions(layer))


def divisors(n: int) -> list[int]:
    """All divisors, rising."""
    return [d for d in range(1, n + 1) if n % d == 0]


def _automatic(
    layer: Layer, target: int, lanes: int, window: SlidingWindow | None
) -> Mapping[str, int]:
    """The cheapest factors that meet the target; ``lanes`` are those of the producer."""
    match layer:
        case MatrixVector():
            return _matrix_vector_folding(layer, target, lanes, window)
        case SlidingWindow():
            sizes: Mapping[str, int] = {"lanes": layer.shape[2] // layer.blocks}
        case _:
            sizes = dimensions(layer)
    for factor, size in sizes.items():
        fit = [d for d in divisors(size) if _cycles(layer, {factor: d}) <= target] or [size]
        return {factor: lanes if lanes in fit else fit[0]}
    return {}


def _cycles(layer: Layer, factors: Mapping[str, int]) -> int:
    return _refold(layer, factors).cycles


def _matrix_vector_folding(
    layer: MatrixVector, target: int, lanes: int, window: SlidingWindow | None
) -> Mapping[str, int]:
    """Fewest multipliers that meet the target; among those no width converter, then more SIMD.

    SIMD costs less than PE: more inputs share an accumulator, more outputs need one each. A window
    generator has as many lanes as it is asked for, up to the channels of a block.
    """
    sizes = dimensions(layer)
    work = products(layer)
    pairs = [(pe, simd) for pe in divisors(sizes["pe"]) for simd in divisors(sizes["simd"])]
    fit = [p for p in pairs if work <= target * p[0] * p[1]] or [(sizes["pe"], sizes["simd"])]
    block = window.shape[2] // window.blocks if window else lanes
    converter = {p: block % p[1] if window else p[1] != lanes for p in fit}
    pe, simd = min(fit, key=lambda p: (p[0] * p[1], converter[p] != 0, -p[1]))
    return {"pe": pe, "simd": simd}


def _following(window: SlidingWindow, reader: Layer, target: int) -> SlidingWindow:
    """A window generator with the lanes that suit the layer that reads its windows."""
    match reader:
        case DepthwiseVector():
            return replace(window, lanes=reader.pe, blocks=window.shape[2] // reader.pe)
        case Pooling():
            return replace(window, lanes=reader.lanes, blocks=window.shape[2] // reader.lanes)
        case _:
            assert isinstance(reader, MatrixVector)
            block, simd = window.shape[2] // window.blocks, reader.simd
            fit = [d for d in divisors(block) if _with_lanes(window, d).cycles <= target] or [block]
            even = [d for d in fit if simd % d == 0 or d % simd == 0]
            return _with_lanes(window, simd if simd in fit else (even or fit)[0])


def _with_lanes(window: SlidingWindow, lanes: int) -> SlidingWindow:
    return replace(window, lanes=lanes)


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
            wanted = f"{target.layer}_width" if i == 0 else f"{target.layer}_width_{i}"
            name = free_name(wanted, names)
            names.add(name)
            converter = WidthConverter(name, out.elements, have, want, out.bits)
            inserted.setdefault(target.layer, []).append(converter)
            edges.append(Edge(port, Port(name, "in"), edge.depth))
            port = Port(name, "out")
        edges.append(Edge(port, target, edge.depth))
    for layer in dataflow.layers:
        ordered += [*inserted.get(layer.name, []), layers[layer.name]]
    return Dataflow(dataflow.name, tuple(ordered), tuple(edges))
