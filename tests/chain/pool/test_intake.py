"""Tests of the way into the pool: what arrives meanwhile is recovered together, and no failure stops what follows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from chain.crypto import Signature, address_of, sha256
from chain.executor import Chain
from chain.ledger import next_base_fee
from chain.pool import intake as module
from chain.pool.admission import RefusedTransaction
from chain.pool.intake import Intake, decode_and_recover
from chain.pool.mempool import Mempool
from chain.signing import Fields, encode_signed, sign_transaction
from chain.storage.store import Store
from chain.transactions import InvalidTransaction, Transaction
from chain.types import GWEI
from tests.chain.ledger_world import ADDRESSES, BALANCE, PROPOSER, network, transaction

GENESIS = network()
# 5 is no x of a point on the curve, so that no key can have made this signature
NO_SENDER = encode_signed(
    Fields(
        chain_id=GENESIS.chain_id,
        nonce=0,
        max_priority_fee_per_gas=GWEI,
        max_fee_per_gas=GWEI,
        gas_limit=21_000,
        to=ADDRESSES[0],
    ),
    Signature(r=5, s=1, parity=0),
)

STRANGER_KEY = sha256(b"an account without coins")
STRANGER_ADDRESS = address_of(STRANGER_KEY)


def stranger_transaction(nonce: int) -> Transaction:
    fields = Fields(
        chain_id=GENESIS.chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=GWEI,
        max_fee_per_gas=2 * GWEI,
        gas_limit=21_000,
        to=ADDRESSES[0],
        value=1,
    )
    return sign_transaction(fields, STRANGER_KEY)


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    store = Store.open(tmp_path / "chain", create=True, genesis=GENESIS.hash)
    opened = Intake(Chain(store, GENESIS), Mempool())
    yield opened
    opened.close()
    store.close()


def jobs_of(intake: Intake) -> list[list[Transaction]]:
    """What entered the pool from each job, as followers hear it."""
    jobs: list[list[Transaction]] = []
    intake.followers.append(lambda entered: jobs.append(list(entered)))
    return jobs


class Busy:
    """Keeps the worker busy for the time of a `with` block."""

    def __init__(self, intake: Intake) -> None:
        self._free = threading.Event()
        intake._worker.submit(self._free.wait, 10)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._free.set()


async def started(*requests: Sequence[bytes], to: Intake) -> list[asyncio.Task[list[bytes | Exception]]]:
    """Submissions, each made in a turn of the loop of its own."""
    tasks = []
    for raws in requests:
        tasks.append(asyncio.create_task(asyncio.wait_for(to.submit(raws), 10)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


@pytest.mark.asyncio
async def test_outcomes_are_in_the_order_of_the_transactions(intake: Intake) -> None:
    good, next_one, low = (
        transaction(0),
        transaction(0, 1),
        transaction(1, max_fee_per_gas=GWEI - 1, max_priority_fee_per_gas=0),
    )
    outcomes = await intake.submit([good.raw, b"\2junk", next_one.raw, good.raw, low.raw, NO_SENDER])
    assert [outcomes[0], outcomes[2]] == [good.hash, next_one.hash]
    assert isinstance(outcomes[1], InvalidTransaction)
    assert isinstance(outcomes[3], RefusedTransaction)
    assert str(outcomes[3]).startswith("already known")
    assert str(outcomes[4]).startswith("max fee per gas less than block base fee")
    assert isinstance(outcomes[5], InvalidTransaction)
    assert str(outcomes[5]).startswith("invalid sender")
    assert len(intake.pool) == 2


@pytest.mark.asyncio
async def test_requests_of_one_turn_are_one_job(intake: Intake) -> None:
    jobs = jobs_of(intake)
    sent = [transaction(number) for number in range(4)]
    await asyncio.gather(*(intake.submit([each.raw]) for each in sent))
    assert jobs == [sent]


@pytest.mark.asyncio
async def test_what_arrives_while_the_worker_is_busy_is_the_next_job(intake: Intake) -> None:
    jobs = jobs_of(intake)
    sent = [transaction(number % 4, number // 4) for number in range(6)]
    with Busy(intake):
        tasks = await started(*([each.raw] for each in sent), to=intake)
    assert [await task for task in tasks] == [[each.hash] for each in sent]
    assert jobs == [sent[:1], sent[1:]]


@pytest.mark.asyncio
async def test_a_job_is_bounded_in_whole_requests(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECOVERED_AT_ONCE", 3)
    jobs = jobs_of(intake)
    sent = [transaction(number % 4, number // 4) for number in range(9)]
    with Busy(intake):
        tasks = await started(*([a.raw, b.raw] for a, b in zip(sent[:8:2], sent[1:8:2], strict=True)), to=intake)
        tasks += await started([sent[8].raw], to=intake)
    await asyncio.gather(*tasks)
    assert jobs == [sent[:2], sent[2:6], sent[6:]]


@pytest.mark.asyncio
async def test_a_failed_job_fails_its_requests_alone(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_once(*arguments: object) -> object:
        monkeypatch.setattr(module, "decode_and_recover", decode_and_recover)
        raise MemoryError

    monkeypatch.setattr(module, "decode_and_recover", fail_once)
    with Busy(intake):
        first, second = await started([transaction(0).raw], [transaction(1).raw], to=intake)
    with pytest.raises(MemoryError):
        await first
    assert await second == [transaction(1).hash]
    assert await intake.submit([transaction(0).raw]) == [transaction(0).hash]


@pytest.mark.asyncio
async def test_who_stops_waiting_holds_up_nobody(intake: Intake) -> None:
    with Busy(intake):
        first, second = await started([transaction(0).raw], [transaction(1).raw], to=intake)
        first.cancel()
    assert await second == [transaction(1).hash]
    assert await intake.submit([transaction(2).raw]) == [transaction(2).hash]


@pytest.mark.asyncio
async def test_request_of_nothing_is_answered(intake: Intake) -> None:
    assert await intake.submit([]) == []
    assert await intake.submit([transaction(0).raw]) == [transaction(0).hash]


@pytest.mark.asyncio
async def test_accounts_are_those_of_the_tip(intake: Intake) -> None:
    chain = intake._chain
    assert intake.account(ADDRESSES[0]) == (0, BALANCE)
    await intake.submit([transaction(0).raw, transaction(0, 1).raw])
    candidates = intake.candidates(next_base_fee(chain.tip, chain.parameters))
    prepared = chain.build(candidates[:1], time_ms=5_000, proposer=PROPOSER, last_commit=b"")
    chain.commit(prepared, b"")
    intake.committed(prepared.transactions)
    spent = 1 + 21_000 * (prepared.block.header.base_fee + GWEI)
    assert intake.account(ADDRESSES[0]) == (1, BALANCE - spent)
    assert intake.candidates(GWEI) == [transaction(0, 1)]
    (late,) = await intake.submit([transaction(0).raw])
    assert str(late).startswith("nonce too low")


@pytest.mark.asyncio
async def test_what_came_before_the_block_that_allows_it_is_let_in_after_it_where_that_was_asked_for(
    intake: Intake,
) -> None:
    """Another node lets a transaction in on a block that is still to come here."""
    funding = transaction(0, to=STRANGER_ADDRESS, value=BALANCE // 2)
    spending = [stranger_transaction(nonce) for nonce in (0, 1)]
    jobs = jobs_of(intake)
    (hash_,) = await intake.submit([funding.raw])
    refused = await intake.submit([spending[0].raw], patiently=True)
    refused += await intake.submit([spending[1].raw])
    assert [str(each).split(":")[0] for each in refused] == ["insufficient funds for gas * price + value"] * 2
    chain = intake._chain
    prepared = chain.build([funding], time_ms=5_000, proposer=PROPOSER, last_commit=b"")
    chain.commit(prepared, b"")
    intake.committed(prepared.transactions)
    assert [[each.hash for each in job] for job in jobs] == [[hash_], [spending[0].hash]]
    assert intake.pool.hashes() == [spending[0].hash]
    intake.committed([])
    assert len(jobs) == 2


@pytest.mark.asyncio
async def test_what_comes_too_early_is_kept_within_bounds(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EARLY_MAX", 2)
    await intake.submit([stranger_transaction(nonce).raw for nonce in range(4)], patiently=True)
    assert len(intake._early) == 2
    monkeypatch.setattr(module, "EARLY_BYTES_MAX", 2 * len(stranger_transaction(0).raw) - 1)
    intake.committed([])
    assert not intake._early
    await intake.submit([stranger_transaction(nonce).raw for nonce in range(4)], patiently=True)
    assert len(intake._early) == 1
