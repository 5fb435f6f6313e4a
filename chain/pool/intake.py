"""Home of the way into a node's pool: senders are recovered on a worker, then the transactions are admitted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from chain.errors import InvalidInput
from chain.executor import Chain
from chain.ledger import next_base_fee
from chain.pool.admission import RefusedByAccount
from chain.pool.mempool import Mempool
from chain.state import KIND_ACCOUNT, decode_account
from chain.threads import workers
from chain.transactions import InvalidTransaction, Transaction, decode, recover_senders

ACCOUNTS_MAX = 1 << 16

RECOVERED_AT_ONCE = 1000  # transactions; beyond it, further requests wait for the next job
EARLY_MAX = 1024  # transactions that wait for the next block outside of the pool
EARLY_BYTES_MAX = 1 << 22

Outcome: TypeAlias = bytes | Exception
Request: TypeAlias = "tuple[Sequence[bytes], asyncio.Future[list[Outcome]], bool]"


class Intake:
    """The pool's door, on the event loop. What arrives while the worker recovers senders is its next job together."""

    def __init__(self, chain: Chain, pool: Mempool) -> None:
        self.pool = pool
        self.followers: list[Callable[[Sequence[Transaction]], None]] = []
        self._chain = chain
        self._worker = workers(1, "senders")
        self._recovering = False
        self._waiting: deque[Request] = deque()
        self._accounts: dict[bytes, tuple[int, int]] = {}  # read since the last block
        self._early: list[Transaction] = []  # what may be let in after the next block
        self._early_bytes = 0

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    def account(self, address: bytes) -> tuple[int, int]:
        """Nonce and balance at the tip."""
        known = self._accounts.get(address)
        if known is None:
            if len(self._accounts) >= ACCOUNTS_MAX:
                self._accounts.clear()
            stored = self._chain.store.get(KIND_ACCOUNT + address)
            known = self._accounts[address] = decode_account(stored) if stored is not None else (0, 0)
        return known

    def candidates(self, base_fee: int) -> list[Transaction]:
        """What the pool offers for a block on the tip, best tip first."""
        account = self.account
        gas_limit = self._chain.parameters.block_gas_limit
        return self.pool.select(
            base_fee, gas_limit, lambda address: account(address)[0], lambda address: account(address)[1]
        )

    def committed(self, transactions: Sequence[Transaction]) -> None:
        """Forget what a block included, and what it made stale; let in what came before its time."""
        account = self.account
        self._accounts.clear()
        self.pool.remove_committed(
            transactions, lambda address: account(address)[0], lambda address: account(address)[1]
        )
        early, self._early, self._early_bytes = self._early, [], 0
        if early:
            base_fee = next_base_fee(self._chain.tip, self._chain.parameters)
            entered: list[Transaction] = []
            for transaction in early:
                self._admit(transaction, base_fee, entered)
            self._tell(entered)

    async def submit(self, raws: Sequence[bytes], *, patiently: bool = False) -> list[Outcome]:
        """Offer raw transactions, in order: each one's hash once it is in the pool, or why it was refused.

        Patiently: what its sender's account does not allow yet is offered once more after the next block. It is for
        what other nodes let in, which may know a block that is still to come here.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Outcome]] = loop.create_future()
        self._waiting.append((raws, future, patiently))
        if not self._recovering:
            self._recovering = True
            loop.call_soon(self._recover_waiting)
        return await future

    def _recover_waiting(self) -> None:
        """Give the worker what waits, if anything does."""
        batch: list[Request] = []
        transactions = 0
        while self._waiting and transactions < RECOVERED_AT_ONCE:
            request = self._waiting.popleft()
            batch.append(request)
            transactions += len(request[0])
        self._recovering = bool(batch)
        if batch:
            job = asyncio.get_running_loop().run_in_executor(
                self._worker, decode_and_recover, [raws for raws, _, _ in batch], self._chain.genesis.chain_id
            )
            job.add_done_callback(lambda done: self._admit_all(batch, done))

    def _admit_all(self, batch: list[Request], done: asyncio.Future[list[list[Transaction | Exception]]]) -> None:
        if done.cancelled():  # the node is closing
            for _, future, _ in batch:
                future.cancel()
            return
        self._recover_waiting()
        if failure := done.exception():
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(failure)
            return
        base_fee = next_base_fee(self._chain.tip, self._chain.parameters)
        entered: list[Transaction] = []
        for (_, future, patiently), decoded in zip(batch, done.result(), strict=True):
            outcomes = [self._admit(transaction, base_fee, entered) for transaction in decoded]
            if patiently:
                self._keep_early(decoded, outcomes)
            if not future.done():
                future.set_result(outcomes)
        self._tell(entered)

    def _tell(self, entered: list[Transaction]) -> None:
        if entered:
            for follower in self.followers:
                follower(entered)

    def _keep_early(self, decoded: Sequence[Transaction | Exception], outcomes: Sequence[Outcome]) -> None:
        for transaction, outcome in zip(decoded, outcomes, strict=True):
            if isinstance(outcome, RefusedByAccount) and isinstance(transaction, Transaction):
                size = len(transaction.raw)
                if len(self._early) < EARLY_MAX and self._early_bytes + size <= EARLY_BYTES_MAX:
                    self._early.append(transaction)
                    self._early_bytes += size

    def _admit(self, transaction: Transaction | Exception, base_fee: int, entered: list[Transaction]) -> Outcome:
        if isinstance(transaction, Exception):
            return transaction
        nonce, balance = self.account(transaction.sender)
        try:
            self.pool.add(transaction, nonce, balance, base_fee, self._chain.parameters.block_gas_limit)
        except InvalidInput as refusal:
            return refusal
        entered.append(transaction)
        return transaction.hash


def decode_and_recover(requests: Sequence[Sequence[bytes]], chain_id: int) -> list[list[Transaction | Exception]]:
    """Every request's transactions with their senders, or why one is none. For a worker: one recovery for all."""
    results: list[list[Transaction | Exception]] = []
    good: list[Transaction] = []
    for raws in requests:
        decoded: list[Transaction | Exception] = []
        for raw in raws:
            try:
                transaction = decode(raw, chain_id)
            except InvalidTransaction as refusal:
                decoded.append(refusal)
                continue
            decoded.append(transaction)
            good.append(transaction)
        results.append(decoded)
    bad = {id(t) for t, recovered in zip(good, recover_senders(good), strict=True) if not recovered}
    if bad:
        unsigned = InvalidTransaction("invalid sender: the signature gives no account")
        results = [[unsigned if id(item) in bad else item for item in decoded] for decoded in results]
    return results


def decode_committed(raws: Sequence[bytes], chain_id: int) -> list[Transaction]:
    """Transactions of committed blocks, in one recovery: they were valid when they got there."""
    transactions = [decode(raw, chain_id) for raw in raws]
    recover_committed(transactions)
    return transactions


def recover_committed(transactions: Sequence[Transaction]) -> None:
    """Fill in the senders of transactions of committed blocks."""
    assert all(recover_senders(transactions)), "a committed transaction has no sender"
