"""Folding: how many lanes each layer gets, and the width converters between them.

PE is the number of outputs, SIMD the number of inputs a layer handles in a cycle; a matrix-vector
unit takes (N / PE) * (K / SIMD) cycles for a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import gcd, lcm
from typing import TypeGuard

from hls.dataflow import Dataflow, Edge, Layer, Port, WindowGenerator
from hls.layers.parts.folding import divisors, refolded
from hls.layers.width_converter import WidthConverter
from sira.errors import SiraError
from sira.names import free_name

LEAST_TARGET_CYCLES = 1024
"""Cycles that a frame may take without a target, however small the network."""
DEFAULT_PRODUCTS = 512
"""Products that all layers together form in a cycle, in the mean, without a target."""

Factors = Mapping[str, Mapping[str, int]]


def default_target(dataflow: Dataflow) -> int:
    """Cycles a frame where the user names none."""
    wanted = sum(layer.products for layer in dataflow.layers) // DEFAULT_PRODUCTS
    return max(LEAST_TARGET_CYCLES, wanted)


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

    def chosen(layer: Layer, lanes: int, block: int | None = None) -> Layer:
        automatic = layer.folding(target, lanes, block)
        return refolded(layer, {**automatic, **factors.get(layer.name, {})})

    for layer in dataflow.layers:  # in topological order, so that lanes can follow the producer's
        if layer.name in layers:
            continue
        producer = layers.get(producers[layer.name])
        lanes = next(iter(producer.outputs.values())).lanes if producer else 1
        reader = readers.get(layer.name)
        if isinstance(layer, WindowGenerator) and _reads_windows(reader):
            layers[reader.name] = chosen(reader, lanes, layer.block_channels)
            layers[layer.name] = layer.following(layers[reader.name], target)
        else:
            layers[layer.name] = chosen(layer, lanes)
    return _connect(dataflow, {layer.name: layers[layer.name] for layer in dataflow.layers})


def _reads_windows(reader: Layer | None) -> TypeGuard[Layer]:
    return reader is not None and reader.window_order is not None


def _check(dataflow: Dataflow, factors: Factors) -> None:
    by_name = {layer.name: layer for layer in dataflow.layers}
    for name, chosen in factors.items():
        where = f"folding of {name}"
        if name not in by_name:
            raise SiraError("no such layer", where=where, expected=" | ".join(by_name), found=name)
        sizes = by_name[name].dimensions
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


def _fastest(layer: Layer, reader: Layer | None) -> Layer:
    """The layer with all lanes that it can have."""
    if isinstance(layer, WindowGenerator) and _reads_windows(reader):
        return layer.following(_fastest(reader, None), 0)
    return refolded(layer, layer.folding(0, 1))


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
