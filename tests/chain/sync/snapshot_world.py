"""Home of a chain of one validator whose state fills many chunks, for tests of snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.codec import block_hash, decode_block
from chain.crypto import keccak256, sha256
from chain.executor import Chain, Prepared, validators_name
from chain.genesis import Genesis
from chain.light_blocks import encode_members
from chain.pool.intake import decode_committed
from chain.storage.store import Store, StoredBlock
from chain.sync import snapshot
from chain.types import COIN
from consensus.codec import encode_commit
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


def take(source: Chain, height: int, path: Path) -> Chain:
    """A chain in a new directory that begins with the source's state of a height, as a snapshot leaves it."""
    light = source.light_block(height)
    assert light is not None
    assert light.commit is not None
    store = Store.open(path, create=True, genesis=source.genesis.hash)
    store.begin_snapshot()
    with source.store.freeze(height) as frozen:
        store.put_snapshot(frozen.items())
    meta = {"commit": encode_commit(light.commit)}
    for hash_, members in (
        (light.header.validators_hash, light.validators),
        (light.header.next_validators_hash, light.next_validators),
    ):
        meta[validators_name(hash_)] = encode_members(members)
    store.finish_snapshot(stored(source, height), stored(source, 0), meta)
    return Chain(store, source.genesis)


def stored(chain: Chain, height: int) -> StoredBlock:
    """A block as its chain's store has it."""
    header, block, receipts = (read(height) for read in (chain.store.header, chain.store.block, chain.store.receipts))
    assert header is not None
    assert block is not None
    assert receipts is not None
    decoded = decode_block(block)
    return StoredBlock(
        height=height,
        block_hash=block_hash(decoded.header),
        header=header,
        block=block,
        receipts=receipts,
        transaction_hashes=[keccak256(raw) for raw in decoded.transactions],
    )
