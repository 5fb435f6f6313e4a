"""Home of a development chain that really learned, made once a session, of which tests get copies."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.networks import CALM, events, make_network, signed_transfers
from tests.system.processes import running_node

SHORT_SETTLEMENTS, SHORT_BLOCKS = 2, 40
LONG_SETTLEMENTS, LONG_BLOCKS = 10, 200
TRANSFERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedChains:
    """Data directories of stopped nodes; copy them before writing to them."""

    short: Path  # stopped and copied while the chain was young
    long: Path  # the same chain, grown


@pytest.fixture(scope="session")
def learned_chains(tmp_path_factory: pytest.TempPathFactory) -> LearnedChains:
    """A development chain with its validator, custodian and three miners, blocks every 0.1 s, and some transfers."""
    folder = tmp_path_factory.mktemp("learned")
    directory = make_network(folder / "long", 0.1, CALM)
    grow(directory, SHORT_SETTLEMENTS, SHORT_BLOCKS, first_nonce=0)
    short = Path(shutil.copytree(directory, folder / "short"))
    grow(directory, LONG_SETTLEMENTS, LONG_BLOCKS, first_nonce=TRANSFERS)
    return LearnedChains(short=short, long=directory)


def grow(directory: Path, settlements: int, height: int, first_nonce: int) -> None:
    """Run a node with all its roles until its chain is so long."""
    with running_node(directory) as node:
        for raw in signed_transfers(0, TRANSFERS, to=1, first_nonce=first_nonce):
            node.call("eth_sendRawTransaction", "0x" + raw.hex())
        what = f"{settlements} settlements"
        node.wait_until(lambda: len(events(node, "RoundSettled")) >= settlements, 120, what)
        node.wait_for_height(height)
        assert node.stop() == 0


@pytest.fixture
def short_chain(learned_chains: LearnedChains, tmp_path: Path) -> Path:
    """An own copy of the short chain."""
    return Path(shutil.copytree(learned_chains.short, tmp_path / "chain"))
