"""The seam for further ways to build a tail: a table of candidates, the least price wins."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from lookup_table import LookupTable, lookup_table
from lowering import lowered
from onnx_models import Net, integers

from hls.dataflow import Resources
from hls.device import default_device
from hls.inventory import Item, Logic
from hls.layers.thresholding import Thresholding
from hls.lower.lower import Lowered
from hls.lower.tails import CANDIDATES, TailFunction, cheapest, estimated_lut


def tail(channels: int = 3, steps: int = 5, bits: int = 4) -> TailFunction:
    rng = np.random.default_rng(7)
    thresholds = np.sort(rng.integers(0, 2**bits + 1, (channels, steps)), axis=1)
    return TailFunction("steps", thresholds, rng.random(channels) < 0.5, channels, bits, vectors=2)


def network() -> Lowered:
    """Two tails behind products, the first of few counts and with channels that fall.

    Every wire is compared with golden integers.
    """
    net, rng = Net((1, 6)), np.random.default_rng(7)
    first = net.node("MatMul", "x", net.quant(rng.integers(-1, 2, (6, 4)) * 0.25, 0.25))
    hidden = net.quant(net.node("Mul", first, [1.0, -1.0, 0.25, -0.5]), 0.5)
    second = net.node("MatMul", hidden, net.quant(rng.integers(-7, 8, (4, 3)) * 0.25, 0.25))
    net.quant(second, 0.75, bits=3)
    return lowered(net, integers(-2, 1, 0.5))


def kinds(result: Lowered) -> dict[str, type]:
    steps = {la.name: type(la) for la in result.dataflow.layers}
    return {name: kind for name, kind in steps.items() if name.startswith("Quant")}


def test_every_candidate_counts_as_the_tail_says() -> None:
    for bits in (1, 2, 5):
        steps = tail(bits=bits)
        counts = np.repeat(np.arange(2**bits)[:, None], 6, axis=1)
        (wanted,) = lookup_table(steps).execute(counts)
        for build in CANDIDATES.values():
            layer = build(steps)
            if layer is not None:
                assert layer.name == "steps" and layer.inputs["in"].elements == 6
                (found,) = layer.execute(counts)
                assert np.array_equal(found, wanted)
                assert layer.outputs["out"].bits >= int(wanted.max()).bit_length()


def test_thresholds_are_what_there_is() -> None:
    assert set(kinds(network()).values()) == {Thresholding}


def test_a_cheaper_candidate_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CANDIDATES, "table", lookup_table)
    assert set(kinds(network()).values()) == {LookupTable}


def test_a_dearer_candidate_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CANDIDATES, "table", partial(lookup_table, lut=10**6))
    assert set(kinds(network()).values()) == {Thresholding}


def test_each_tail_has_its_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate may refuse some tails, and is then not asked for its price."""
    widths = {la.name: la.inputs["in"].bits for la in network().dataflow.layers}
    narrow, wide = (name for name in kinds(network()))
    assert widths[narrow] < widths[wide]
    monkeypatch.setitem(
        CANDIDATES,
        "table",
        lambda steps: lookup_table(steps) if steps.input_bits <= widths[narrow] else None,
    )
    assert kinds(network()) == {narrow: LookupTable, wide: Thresholding}


def test_the_price_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CANDIDATES, "table", lookup_table)
    steps = tail()
    assert isinstance(cheapest(steps, estimated_lut(default_device())), LookupTable)
    assert isinstance(cheapest(steps, price=lambda la: isinstance(la, LookupTable)), Thresholding)
    first = next(iter(CANDIDATES.values()))(steps)
    assert type(cheapest(steps, price=lambda la: 1)) is type(first), (
        "the first where all cost alike"
    )


def test_the_prices_are_those_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(item: Item) -> Resources:
        return Resources(lut=10**6) if isinstance(item, Logic) else Resources()

    monkeypatch.setitem(CANDIDATES, "table", lookup_table)
    price = estimated_lut(replace(default_device(), cost=cost))
    assert isinstance(cheapest(tail(), price), Thresholding)


def test_a_wrong_candidate_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests of networks compare is what the layer really computes."""

    def wrong(steps: TailFunction) -> LookupTable:
        right = lookup_table(steps)
        return replace(right, table=right.table ^ 1)

    monkeypatch.setitem(CANDIDATES, "table", wrong)
    with pytest.raises(AssertionError):
        network()
