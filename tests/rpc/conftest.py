"""Fixtures of the tests of `rpc`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.rpc.live import LiveChain


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveChain]:
    """A live chain that all tests of the session share; it has a few blocks."""
    from tests.rpc.live import LiveChain  # loads a whole node, which the other tests do without

    chain = LiveChain(tmp_path_factory.mktemp("live"))
    try:
        chain.blocks(3)
        yield chain
    finally:
        chain.close()
