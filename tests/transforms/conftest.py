"""The stages of a model are executed by qonnx for many samples, node by node."""

from collections.abc import Iterator

import pytest

from sira.verification.oracle import sessions_kept


@pytest.fixture(scope="module", autouse=True)
def sessions() -> Iterator[None]:
    with sessions_kept():
        yield
