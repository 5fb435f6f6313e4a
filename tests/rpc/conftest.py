"""Fixtures of the tests of `rpc`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rpc.live import LiveChain


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveChain]:
    """A live chain that all tests of the session share; it has a few blocks."""
    chain = LiveChain(tmp_path_factory.mktemp("live"))
    try:
        chain.blocks(3)
        yield chain
    finally:
        chain.close()
