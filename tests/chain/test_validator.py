"""Tests of a node's part as a validator: it has who votes twice punished, once, and says what it lacks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain.abi import EVENTS, encode_call
from chain.crypto import address_of, sha256
from chain.evaluations import Evaluations
from chain.executor import Chain, Prepared
from chain.ledger import next_base_fee
from chain.node import Committed
from chain.operations.learning_store import read_validator
from chain.pool.intake import Intake
from chain.pool.mempool import Mempool
from chain.signing import Fields, sign_transaction
from chain.storage.blobs import BlobStore, UploadLimits
from chain.storage.store import Store
from chain.types import COIN, CONTRACT_ADDRESS, GWEI
from chain.validator import Validator
from chain.vote_signatures import sign_vote
from consensus.types import BlockId, Equivocation, Height, Round, Vote, VoteKind, Voter
from learning.commitment import blob_root
from tests.chain.commits import last_commit
from tests.chain.ledger_world import network

KEYS = tuple(sorted((sha256(b"validator %d" % number) for number in range(4)), key=address_of))
ADDRESSES = tuple(address_of(key) for key in KEYS)


class Nodes:
    """Four validators of one chain, each with a pool of its own; blocks are built from all of them."""

    def __init__(self, path: Path, *, funds: int = COIN, **parameters: int) -> None:
        genesis = network(
            balances=dict.fromkeys(ADDRESSES, funds),
            validators=[(address, 1000, COIN) for address in ADDRESSES],
            **parameters,
        )
        self.chain = Chain(Store.open(path / "chain", create=True, genesis=genesis.hash), genesis)
        self.signing: tuple[bytes, ...] = KEYS
        limits = UploadLimits(blob_bytes=1 << 20, client_bytes=1 << 20, task_bytes=1 << 20, total_bytes=1 << 20)
        blobs = BlobStore(path / "blobs", root_of=blob_root, limits=limits)
        self.intakes = [Intake(self.chain, Mempool()) for _ in KEYS]
        evaluations = [Evaluations(self.chain, blobs) for _ in KEYS]
        self.validators = [
            Validator(self.chain, blobs, evaluation, intake, key)
            for evaluation, intake, key in zip(evaluations, self.intakes, KEYS, strict=True)
        ]
        self._evaluations = evaluations

    def close(self) -> None:
        for each in (*self.intakes, *self._evaluations):
            each.close()
        self.chain.store.close()

    async def block(self) -> Prepared:
        """The next block, of which all validators hear; what they send is in their pools after it."""
        chain = self.chain
        fee = next_base_fee(chain.tip, chain.parameters)
        candidates = [each for intake in self.intakes for each in intake.candidates(fee)]
        prepared = chain.build(
            candidates, time_ms=chain.tip.time_ms + 1000, proposer=ADDRESSES[0], last_commit=chain.last_commit
        )
        chain.commit(prepared, last_commit(prepared.block.header, chain.genesis.hash, *self.signing))
        for intake, validator in zip(self.intakes, self.validators, strict=True):
            intake.committed(prepared.transactions)
            validator.committed(Committed(prepared=prepared, finality_ms=1.0))
        await self.settle()
        return prepared

    async def settle(self) -> None:
        """Let what is being sent come into the pools."""
        for validator in self.validators:
            await asyncio.gather(*validator._sending)

    def equivocation(self, height: int) -> Equivocation:
        """By the fourth validator."""
        votes = []
        for name in (b"one", b"two"):
            vote = Vote(
                height=Height(height),
                round=Round(0),
                kind=VoteKind.PRECOMMIT,
                block_id=BlockId(sha256(name)),
                voter=Voter(ADDRESSES[3]),
            )
            votes.append(replace(vote, signature=sign_vote(vote.sign_bytes(self.chain.genesis.hash), KEYS[3])))
        return Equivocation(first=votes[0], second=votes[1])


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    made.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("who", [(0, 1, 2, 3), (2,)])
async def test_who_votes_twice_is_punished_once_whoever_heard_of_it(nodes: Nodes, who: tuple[int, ...]) -> None:
    await nodes.block()
    for place in who:
        nodes.validators[place].report(nodes.equivocation(2))
    await nodes.settle()
    sent = 0
    for _ in range(12):
        prepared = await nodes.block()
        sent += len(prepared.transactions)
    assert read_validator(nodes.chain.store, ADDRESSES[3]).barred
    assert sent == 1
    assert all(not validator._evidence for validator in nodes.validators)


@pytest.mark.asyncio
async def test_evidence_of_a_voter_is_kept_once_and_let_go_when_it_is_too_old(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, evidence_blocks_max=2, funds=0)
    try:
        validator = nodes.validators[0]
        for height in (1, 1, 2):
            validator.report(nodes.equivocation(height))
        assert len(validator._evidence) == 1
        for _ in range(3):
            await nodes.block()
        assert not validator._evidence
    finally:
        nodes.close()


@pytest.mark.asyncio
async def test_a_node_whose_own_key_votes_elsewhere_says_so(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    nodes.validators[3].report(nodes.equivocation(1))
    assert "this node's vote key has signed twice at height 1" in caplog.text
    assert not nodes.validators[3]._evidence


@pytest.mark.asyncio
async def test_who_can_not_pay_for_its_duties_is_warned_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Nodes(tmp_path, funds=GWEI)
    try:
        caplog.set_level(logging.WARNING, "lyceum.validator")
        for _ in range(3):
            await nodes.block()
        warnings = [record.message for record in caplog.records]
        assert [sum(address.hex() in text for text in warnings) for address in ADDRESSES] == [1, 1, 1, 1]
        assert "coins for the gas of its duties: send it" in warnings[0]
    finally:
        nodes.close()


@pytest.mark.asyncio
async def test_who_is_left_out_is_told_how_to_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes(tmp_path, epoch_blocks=5, validator_bond_minimum=COIN)
    try:
        caplog.set_level(logging.WARNING, "lyceum.validator")
        nodes.signing = KEYS[:3]
        for _ in range(6):
            await nodes.block()
        told = [record.message for record in caplog.records]
        assert len(told) == 1
        assert f"the validator 0x{ADDRESSES[3].hex()} is left out" in told[0]
        call = sign_transaction(
            Fields(
                chain_id=nodes.chain.genesis.chain_id,
                nonce=0,
                max_priority_fee_per_gas=GWEI,
                max_fee_per_gas=2 * GWEI,
                gas_limit=200_000,
                to=CONTRACT_ADDRESS,
                data=encode_call("registerValidator", bytes(20)),
            ),
            KEYS[3],
        )
        (outcome,) = await nodes.intakes[3].submit([call.raw])
        assert outcome == call.hash
        prepared = await nodes.block()
        ((log,),) = [receipt.logs for receipt in prepared.execution.receipts]
        assert log.topics[0] == EVENTS["ValidatorRegistered"].topic
        for _ in range(4):
            await nodes.block()
        assert read_validator(nodes.chain.store, ADDRESSES[3]).registered
        assert len(caplog.records) == 1
    finally:
        nodes.close()
