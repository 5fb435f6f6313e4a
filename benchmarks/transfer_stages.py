"""Home of where a transfer's time goes: each stage of its way through a node on its own, without sockets or threads."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.load import bodies, presigned
from chain.crypto import address_of
from chain.executor import Chain, Prepared
from chain.keys import load_or_make_plain_key
from chain.ledger import next_base_fee
from chain.merkle import list_root
from chain.node_directory import open_directory
from chain.pool.intake import Intake
from chain.pool.mempool import Mempool
from chain.storage.statetree import warm
from chain.transactions import Transaction, decode, recover_senders
from chain.transition import environment_of, execute
from chain.types import ZERO_ADDRESS
from chain.vote_signatures import sign_vote
from consensus.codec import decode_commit, encode_commit
from consensus.types import BlockId, Commit, Height, Round, Vote, VoteKind, Voter
from rpc.dispatch import Dispatcher

T = TypeVar("T")

BLOCKS = 4
TRANSFERS_MAX = 7_000  # of a block


class Stages:
    """CPU seconds of this thread by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], T]) -> T:
        started = time.thread_time()
        result = work()
        self.spent[stage] = self.spent.get(stage, 0.0) + time.thread_time() - started
        return result


def measure_stages(directory: Path, senders: int) -> dict[str, float]:
    """CPU microseconds a transfer by stage, over full blocks on a fresh chain of the network in `directory`."""
    warm()
    opened = open_directory(directory / "data", directory / "genesis.json", None, 1000)
    chain = Chain(opened.store, opened.genesis)
    intake = Intake(chain, Mempool())
    key = load_or_make_plain_key(directory / "validator.key")
    per_sender = max(1, TRANSFERS_MAX // senders)
    gc.collect()
    gc.freeze()
    stages = Stages()
    for block in range(-1, BLOCKS):
        if block == 0:
            stages = Stages()  # the block before has warmed up
        nonces = range((block + 1) * per_sender, (block + 2) * per_sender)
        _play(stages, chain, intake, list(presigned(senders, nonces)), key)
    intake.close()
    opened.store.close()
    transfers = BLOCKS * per_sender * senders
    return {stage: round(spent / transfers * 1e6, 2) for stage, spent in stages.spent.items()}


def _play(stages: Stages, chain: Chain, intake: Intake, raws: Sequence[bytes], key: bytes) -> None:
    """One block's transfers from the request to the end of its commit."""
    hashes = iter([bytes(32)] * len(raws))

    async def submit(some: Sequence[bytes]) -> list[bytes | Exception]:
        return [next(hashes) for _ in some]

    dispatcher = Dispatcher([], submit, batch_calls_max=1000, response_bytes_max=1 << 25)

    async def answer_all(requests: Sequence[bytes]) -> None:
        for request in requests:
            await dispatcher.answer(request)

    requests = bodies(raws, 100)
    stages.time("read calls, write answers", lambda: asyncio.run(answer_all(requests)))
    transactions = stages.time("decode", lambda: [decode(raw, chain.genesis.chain_id) for raw in raws])
    stages.time("recover senders", lambda: recover_senders(transactions))
    base_fee = next_base_fee(chain.tip, chain.parameters)
    stages.time("enter the pool", lambda: _admit(intake, transactions, base_fee, chain.parameters.block_gas_limit))
    candidates = stages.time("select for a block", lambda: intake.candidates(base_fee))
    prepared = stages.time("build a block, all in all", lambda: _build(chain, candidates))
    assert len(prepared.transactions) == len(raws)
    changes = stages.time("- execute", lambda: _execute(chain, prepared))
    stages.time("- state root", lambda: chain.tree.preview(changes))
    stages.time("- roots of transactions and receipts", lambda: _roots(prepared))
    commit = encode_commit(_decided(chain, prepared, key))
    stages.time("commit", lambda: chain.commit(prepared, commit))
    stages.time("clear the pool", lambda: intake.committed(prepared.transactions))


def _admit(intake: Intake, transactions: Sequence[Transaction], base_fee: int, gas_limit: int) -> None:
    for transaction in transactions:
        intake.pool.add(transaction, *intake.account(transaction.sender), base_fee, gas_limit)


def _build(chain: Chain, candidates: Sequence[Transaction]) -> Prepared:
    return chain.build(
        candidates, time_ms=time.time_ns() // 1_000_000, proposer=ZERO_ADDRESS, last_commit=chain.last_commit
    )


def _decided(chain: Chain, prepared: Prepared, key: bytes) -> Commit:
    """The commit of the only validator."""
    vote = Vote(
        height=Height(prepared.block.header.height),
        round=Round(0),
        kind=VoteKind.PRECOMMIT,
        block_id=BlockId(prepared.hash),
        voter=Voter(address_of(key)),
    )
    signature = sign_vote(vote.sign_bytes(chain.genesis.hash), key)
    assert vote.block_id
    return Commit(height=vote.height, round=vote.round, block_id=vote.block_id, signatures=((vote.voter, signature),))


def _execute(chain: Chain, prepared: Prepared) -> dict[bytes, bytes | None]:
    environment = environment_of(prepared.block.header, chain.parameters)
    commit = decode_commit(prepared.block.last_commit) if prepared.block.last_commit else None
    return execute(chain.store, prepared.transactions, environment, commit).changes


def _roots(prepared: Prepared) -> tuple[bytes, bytes]:
    return list_root(prepared.block.transactions), list_root(prepared.execution.encoded_receipts)
