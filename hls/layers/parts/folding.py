"""Folding of a layer: what most layers answer alike, and the choice of a single factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hls.dataflow import Layer, Matrix, WindowOrder


class Defaults:
    """What most layers answer to `Layer`: no products, no windows, and lanes as few as will do.

    A layer overrides the answers that differ. There is no state here.
    """

    @property
    def dimensions(self) -> Mapping[str, int]:
        return {}

    @property
    def products(self) -> int:
        return 0

    @property
    def matrix(self) -> Matrix | None:
        return None

    @property
    def window_order(self) -> WindowOrder | None:
        return None

    def folding(
        self: Layer, target: int, lanes: int, block: int | None = None
    ) -> Mapping[str, int]:
        return fewest_lanes(self, self.dimensions, target, lanes)


def divisors(n: int) -> list[int]:
    """All divisors, rising."""
    return [d for d in range(1, n + 1) if n % d == 0]


def fewest_lanes(
    layer: Layer, sizes: Mapping[str, int], target: int, lanes: int
) -> Mapping[str, int]:
    """The smallest value of the one factor in ``sizes`` with which a frame takes ``target`` cycles.

    A value that makes it as many as ``lanes`` is preferred where it meets the target, as it needs
    no width converter. Where none meets the target it is the largest.
    """
    for factor, size in sizes.items():
        fit = [d for d in divisors(size) if refolded(layer, {factor: d}).cycles <= target]
        fit = fit or [size]
        return {factor: lanes if lanes in fit else fit[0]}
    return {}


def refolded(layer: Layer, factors: Mapping[str, int]) -> Layer:
    """The layer with these folding factors."""
    return replace(layer, **factors) if factors else layer  # type: ignore[type-var]
