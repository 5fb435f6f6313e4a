"""Home of a chain of one validator whose state fills many chunks, for tests of snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain import snapshot
from chain.codec import decode_block
from chain.crypto import sha256
from chain.executor import Chain, Prepared
from chain.genesis import Genesis
from chain.intake import decode_committed
from chain.store import Store
from chain.types import COIN
from tests.chain.commits import last_commit
from tests.chain.ledger_world import ADDRESSES, BALANCE, PROPOSER, STRANGER, network, transaction

VALIDATOR = sha256(b"proposer")
CHECKPOINT = 5
STRANGERS = 400
GENESIS = network(
    balances=dict.fromkeys(ADDRESSES, BALANCE)
    | {sha256(b"holder %d" % number)[:20]: COIN for number in range(STRANGERS)},
    checkpoint_blocks=CHECKPOINT,
)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_BYTES", 1500)


def open_chain(path: Path, genesis: Genesis = GENESIS) -> Chain:
    return Chain(Store.open(path, create=True, genesis=genesis.hash), genesis)


def add(chain: Chain, value: int = 1) -> Prepared:
    """Commit a block with two transfers, one of them to a new account."""
    height = chain.tip.height + 1
    sent = [
        transaction(0, height - 1, to=STRANGER, value=value),
        transaction(1, height - 1, to=sha256(b"new %d" % height)[:20], value=value),
    ]
    prepared = chain.build(sent, time_ms=chain.tip.time_ms + 1000, proposer=PROPOSER, last_commit=chain.last_commit)
    assert len(prepared.transactions) == 2
    chain.commit(prepared, last_commit(prepared.block.header, chain.genesis.hash, VALIDATOR))
    return prepared


def grow(chain: Chain, height: int, value: int = 1) -> None:
    while chain.tip.height < height:
        add(chain, value)


def follow(chain: Chain, source: Chain) -> None:
    """Check and commit what the source has beyond the chain's tip, as block sync does."""
    while chain.tip.height < source.tip.height:
        height = chain.tip.height + 1
        encoded = source.store.block(height)
        light = source.light_block(height)
        assert encoded is not None
        assert light is not None
        block = decode_block(encoded)
        prepared = chain.check(block, decode_committed(block.transactions, chain.genesis.chain_id))
        chain.commit(prepared, last_commit(block.header, chain.genesis.hash, VALIDATOR))


def state_of(chain: Chain) -> dict[bytes, bytes]:
    return dict(chain.store.items())
