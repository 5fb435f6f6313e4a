"""Tests of an open chain: blocks are prepared beside one another, one is committed, and a restart finds just that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.codec import decode_block, decode_receipts
from chain.executor import PREPARED_BLOCKS_MAX, Chain, Prepared
from chain.history import StateAt
from chain.merkle import verify
from chain.state import KIND_ACCOUNT, encode_account
from chain.storage.leveldb import Database, Kind
from chain.storage.store import DataDirectoryDamaged, Store
from chain.transactions import Transaction, decode_with_sender
from chain.transition import InvalidBlock
from chain.types import COIN
from tests.chain.commits import last_commit
from tests.chain.ledger_world import ADDRESSES, PROPOSER, PROPOSER_KEY, STRANGER, PlainChain, network, transaction

GENESIS = network()


def open_chain(path: Path) -> Chain:
    return Chain(Store.open(path, create=True, genesis=GENESIS.hash), GENESIS)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = open_chain(tmp_path / "chain")
    yield opened
    opened.store.close()


def reopened(chain: Chain) -> Chain:
    chain.store.close()
    return open_chain(chain.store.path)


def build(chain: Chain, *candidates: Transaction, **given_: Any) -> Prepared:
    commit = last_commit(chain.tip, GENESIS.hash, PROPOSER_KEY)
    chosen = {"time_ms": chain.tip.time_ms + 1000, "proposer": PROPOSER, "last_commit": commit} | given_
    return chain.build(candidates, **chosen)


def check(chain: Chain, prepared: Prepared) -> Prepared:
    """As who received the block's bytes."""
    block = decode_block(prepared.encoded)
    return chain.check(block, [decode_with_sender(raw, GENESIS.chain_id) for raw in block.transactions])


def balance(chain: Chain, address: bytes) -> bytes | None:
    return chain.store.get(KIND_ACCOUNT + address)


def test_committed_block_is_stored_whole(chain: Chain) -> None:
    sent = transaction(0), transaction(1)
    prepared = build(chain, *sent)
    chain.commit(prepared, b"its commit")
    store = chain.store
    assert (chain.tip, chain.tip_hash) == (prepared.block.header, prepared.hash)
    assert (store.tip(), store.tip_hash(), store.height_of_hash(prepared.hash)) == (1, prepared.hash, 1)
    assert store.block(1) == prepared.encoded
    assert decode_receipts(store.receipts(1) or b"") == prepared.execution.encoded_receipts
    assert [store.transaction_location(each.hash) for each in sent] == [(1, 0), (1, 1)]
    assert balance(chain, STRANGER) == encode_account(0, 2)
    assert chain.last_commit == b"its commit"


def test_preparing_changes_nothing(chain: Chain) -> None:
    root, tip = chain.tree.root, chain.tip
    for number in range(4):
        build(chain, transaction(number))
    assert (chain.tree.root, chain.tip, chain.store.tip()) == (root, tip, 0)
    assert balance(chain, STRANGER) is None


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_any_of_several_prepared_blocks_can_be_committed(chain: Chain, chosen: int) -> None:
    prepared = [build(chain, transaction(number, value=1 + number)) for number in range(3)]
    chain.commit(prepared[chosen], b"")
    assert chain.tree.root == prepared[chosen].block.header.state_root
    assert balance(chain, STRANGER) == encode_account(0, 1 + chosen)
    assert all(chain.prepared(each.hash) is None for each in prepared)
    chain.commit(build(chain, transaction(chosen, 1)), b"")
    assert balance(chain, STRANGER) == encode_account(0, 2 + chosen)


def test_prepared_blocks_are_bounded(chain: Chain) -> None:
    prepared = [build(chain, time_ms=10_000 + number) for number in range(PREPARED_BLOCKS_MAX + 1)]
    assert [chain.prepared(each.hash) is not None for each in prepared] == [False] + [True] * PREPARED_BLOCKS_MAX


def test_checked_block_is_what_was_built_and_checked_once(chain: Chain, tmp_path: Path) -> None:
    other = open_chain(tmp_path / "other")
    built = build(chain, transaction(0), transaction(1))
    checked = check(other, built)
    assert (checked.hash, checked.encoded, checked.execution) == (built.hash, built.encoded, built.execution)
    assert check(other, built) is checked
    for each, prepared in ((chain, built), (other, checked)):
        each.commit(prepared, b"")
    assert (chain.tip_hash, chain.tree.root) == (other.tip_hash, other.tree.root)
    other.store.close()


def test_invalid_block_leaves_nothing_behind(chain: Chain, tmp_path: Path) -> None:
    other = open_chain(tmp_path / "other")
    other.commit(build(other, transaction(2)), b"")
    root = chain.tree.root
    with pytest.raises(InvalidBlock, match="height 2: height: header says 2, it is 1"):
        check(chain, build(other, transaction(0)))
    assert chain.tree.root == root
    chain.commit(build(chain, transaction(0)), b"")
    other.store.close()


def test_blocks_are_committed_in_order(chain: Chain) -> None:
    prepared = build(chain)
    chain.commit(prepared, b"")
    with pytest.raises(AssertionError, match="in order"):
        chain.commit(prepared, b"")


def test_restart_finds_the_last_committed_block(chain: Chain) -> None:
    chain.commit(build(chain, transaction(0)), b"first")
    tip, root = chain.tip, chain.tree.root
    lost = build(chain, transaction(1))
    chain = reopened(chain)
    assert (chain.tip, chain.tree.root, chain.last_commit) == (tip, root, b"first")
    assert chain.prepared(lost.hash) is None
    chain.commit(check(chain, lost), b"second")  # as a vote log gives it back
    assert reopened(chain).tip_hash == lost.hash


def test_changed_state_is_found_at_the_start(chain: Chain) -> None:
    chain.commit(build(chain, transaction(0)), b"")
    chain.store.close()
    database = Database(chain.store.path)
    database.write({bytes(Kind.STATE) + KIND_ACCOUNT + STRANGER: encode_account(0, COIN)})
    database.close()
    with pytest.raises(DataDirectoryDamaged, match="height 1: state_root"):
        open_chain(chain.store.path)


def test_proofs_of_recent_heights_hold(chain: Chain) -> None:
    headers = [chain.tip]
    for nonce in range(3):
        chain.commit(build(chain, transaction(0, nonce)), b"")
        headers.append(chain.tip)
    build(chain, transaction(1))
    for header in headers:
        for address in (*ADDRESSES, STRANGER):
            key = KIND_ACCOUNT + address
            proof = chain.prove(key, header.height)
            assert proof is not None
            assert verify(header.state_root, key, StateAt(chain.store, header.height).get(key), proof)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(
        st.tuples(st.lists(st.integers(0, 3), max_size=5), st.booleans(), st.booleans()), min_size=1, max_size=5
    )
)
def test_chain_on_disk_is_the_plain_one(tmp_path_factory: pytest.TempPathFactory, plan: Any) -> None:
    """Whatever is prepared beside it and whenever it restarts."""
    chain, plain = open_chain(tmp_path_factory.mktemp("chain") / "data"), PlainChain(genesis=GENESIS)
    nonces = [0] * 4
    for senders, distracted, restarted in plan:
        sent = []
        for sender in senders:
            sent.append(transaction(sender, nonces[sender], to=ADDRESSES[(sender + 1) % 4], value=COIN))
            nonces[sender] += 1
        if distracted:
            build(chain, *(transaction(number, nonces[number], value=3) for number in range(4)))
        prepared = build(chain, *sent)
        if restarted:
            chain = reopened(chain)
        chain.commit(check(chain, prepared), b"")
        built = plain.add(sent)
        assert (chain.tip_hash, chain.tip, chain.tree.root) == (built.hash, plain.tip, plain.tip.state_root)
        assert dict(chain.store.items()) == plain.values
    chain.store.close()
