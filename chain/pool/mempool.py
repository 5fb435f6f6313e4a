"""Home of the pool of transactions that wait for a block: bounded, a queue of nonces for each sender.

It changes in place, but is a function of the calls made: no clock, no randomness. A transaction is executable if
the pool holds all of its sender's nonces from the account's up to it; others wait behind the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chain.pool.admission import (
    Limits,
    RefusedTransaction,
    check_funds,
    check_nonce,
    check_replacement,
    check_static,
    effective_tip,
)
from chain.pool.eviction import Tails
from chain.pool.sender_queue import Entry, Rank, SenderQueue
from chain.transactions import Transaction, intrinsic_gas

EVICTED_MAX = 64  # at most this many make room for one


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What a transaction pushed out: the one with its nonce, and others for want of room."""

    executable: bool
    replaced: bytes | None = None
    evicted: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One sender's transactions by nonce."""

    executable: tuple[Transaction, ...]
    queued: tuple[Transaction, ...]


_EXECUTABLE = Added(executable=True)
_QUEUED = Added(executable=False)


class Mempool:
    """The pool. Accounts' nonces and balances are those of the chain's tip, told with each call."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._by_hash: dict[bytes, Transaction] = {}
        self._queues: dict[bytes, SenderQueue] = {}
        self._bytes = 0
        self._sequence = 0
        self._tails: Tails | None = None  # only while the pool is full

    # ----------------------------------------------------------------------------------------------------- adding

    def add(
        self,
        transaction: Transaction,
        account_nonce: int,
        account_balance: int,
        base_fee: int,
        block_gas_limit: int,
    ) -> Added:
        """Take in a transaction whose sender is known; `base_fee` is the next block's.

        One whose fee is below the base fee waits, if it is not below the least base fee. Raises
        RefusedTransaction, and then nothing entered and nobody had to leave for it.
        """
        if transaction.hash in self._by_hash:
            raise RefusedTransaction(f"already known: 0x{transaction.hash.hex()}")
        sender, nonce = transaction.sender, transaction.nonce
        assert sender
        intrinsic = intrinsic_gas(transaction)
        check_static(transaction, intrinsic, block_gas_limit, self.limits)
        check_nonce(nonce, account_nonce, self.limits)
        queue = self._queue_at(sender, account_nonce)
        cost = transaction.cost
        old = None
        if queue is None:
            check_funds(cost, 0, account_balance)
            queue = SenderQueue(account_nonce)
        else:
            old = queue.entries.get(nonce)
            check_funds(cost, queue.cost - (old.cost if old else 0), account_balance)
            if old:
                check_replacement(old.transaction, transaction, self.limits)
        evicted = self._make_room(transaction, queue, old, base_fee)
        self._queues[sender] = queue
        self._sequence += 1
        self._insert(queue, Entry(transaction, self._sequence, cost, intrinsic), old)
        if not old and not evicted:
            return _EXECUTABLE if nonce < queue.after else _QUEUED
        replaced = old.transaction.hash if old else None
        return Added(executable=nonce < queue.after, replaced=replaced, evicted=evicted)

    def _queue_at(self, sender: bytes, account_nonce: int) -> SenderQueue | None:
        """The sender's queue, brought to the account's nonce; None if nothing waits."""
        queue = self._queues.get(sender)
        if queue is not None and queue.start != account_nonce:
            self._forget(queue.advance(account_nonce))
            self._changed(sender, queue)
        return self._queues.get(sender)

    def _insert(self, queue: SenderQueue, entry: Entry, old: Entry | None = None) -> None:
        if old:
            self._forget([old])
        transaction = entry.transaction
        queue.insert(entry)
        self._by_hash[transaction.hash] = transaction
        self._bytes += len(transaction.raw)
        if self._tails:
            self._tails.update(transaction.sender)

    def _forget(self, entries: Iterable[Entry]) -> None:
        """What has left its queue leaves the rest too."""
        for entry in entries:
            del self._by_hash[entry.transaction.hash]
            self._bytes -= len(entry.transaction.raw)

    def _changed(self, sender: bytes, queue: SenderQueue) -> None:
        if not queue.entries:
            del self._queues[sender]
        elif self._tails:
            self._tails.update(sender)

    def _make_room(
        self, transaction: Transaction, queue: SenderQueue, old: Entry | None, base_fee: int
    ) -> tuple[bytes, ...]:
        """Evict worse tails of other senders until the transaction fits; the hashes that left."""
        count_max = self.limits.transactions_max - (0 if old else 1)
        bytes_max = self.limits.bytes_max - len(transaction.raw) + (len(old.transaction.raw) if old else 0)
        if len(self._by_hash) <= count_max and self._bytes <= bytes_max:
            return ()
        if self._tails is None or self._tails.base_fee != base_fee:
            self._tails = Tails(self._queues, base_fee)
        rank = queue.rank(transaction, base_fee)
        evicted: list[tuple[SenderQueue, Entry]] = []
        while len(self._by_hash) > count_max or self._bytes > bytes_max:
            worst = self._tails.worst(spared=transaction.sender)
            if worst is None or worst[1] >= rank or len(evicted) == EVICTED_MAX:
                self._restore(evicted)
                raise RefusedTransaction(_why_no_room(rank, worst[1] if worst else None))
            evicted.append(self._evict_tail(worst[0]))
        return tuple(entry.transaction.hash for _, entry in evicted)

    def _evict_tail(self, sender: bytes) -> tuple[SenderQueue, Entry]:
        queue = self._queues[sender]
        entry = queue.remove_tail()
        self._forget([entry])
        self._changed(sender, queue)
        return queue, entry

    def _restore(self, evicted: list[tuple[SenderQueue, Entry]]) -> None:
        for queue, entry in reversed(evicted):
            self._queues[entry.transaction.sender] = queue
            self._insert(queue, entry)

    # ------------------------------------------------------------------------------------------------- a block's life

    def select(
        self,
        base_fee: int,
        gas_limit: int,
        nonce_of: Callable[[bytes], int],
        balance_of: Callable[[bytes], int],
    ) -> list[Transaction]:
        """What a block could take, best effective tip first and each sender's by nonce; older first among equals.

        Of every sender what its balance covers, whatever it receives meanwhile. Gas is counted as the intrinsic,
        the least that will be used: who builds the block knows what is used, and leaves out what does not fit.
        """
        selected = []
        for entry in self._in_order(base_fee, nonce_of, balance_of):
            gas_limit -= entry.intrinsic_gas
            if gas_limit < 0:
                break
            selected.append(entry.transaction)
        return selected

    def _in_order(
        self, base_fee: int, nonce_of: Callable[[bytes], int], balance_of: Callable[[bytes], int]
    ) -> list[Entry]:
        """Executable entries in the order in which always taking the best of the senders' next ones takes them.

        That is the order of the lowest tip among a transaction and its sender's before it: once that lowest one
        was the best, so are the better ones behind it.
        """
        ranked: list[tuple[int, int, int, Entry]] = []
        for sender, queue in self._queues.items():
            balance = balance_of(sender)
            lowest, since = -1, 0
            for entry in queue.run(nonce_of(sender)):
                tip = effective_tip(entry.transaction, base_fee)
                balance -= entry.cost
                if tip < 0 or balance < 0:
                    break
                if not since or tip < lowest:
                    lowest, since = tip, entry.sequence
                ranked.append((-lowest, since, entry.transaction.nonce, entry))
        ranked.sort()  # `since` belongs to one sender, so entries are never compared
        return [entry for _, _, _, entry in ranked]

    def remove_committed(
        self,
        transactions: Iterable[Transaction],
        nonce_of: Callable[[bytes], int],
        balance_of: Callable[[bytes], int] | None = None,
    ) -> None:
        """Drop what a block included or made stale; both functions tell the state after it.

        With `balance_of`, senders of the block also lose from their tails what they can no longer pay: else who
        spends elsewhere what many waiting transactions need would occupy the pool for nothing.
        """
        self._tails = None
        for sender in dict.fromkeys(transaction.sender for transaction in transactions):
            queue = self._queue_at(sender, nonce_of(sender))
            if queue is not None and balance_of is not None:
                balance = balance_of(sender)
                while queue.cost > balance:
                    self._evict_tail(sender)

    # ---------------------------------------------------------------------------------------------------- reading

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, transaction_hash: bytes) -> Transaction | None:
        return self._by_hash.get(transaction_hash)

    def hashes(self) -> list[bytes]:
        """Of all that waits, in the order of arrival."""
        return list(self._by_hash)

    def pending_nonce(self, address: bytes, account_nonce: int) -> int:
        """The nonce after the sender's executable transactions: what a wallet uses next."""
        queue = self._queues.get(address)
        if queue is None:
            return account_nonce
        if queue.start == account_nonce:
            return queue.after
        return account_nonce + sum(1 for _ in queue.run(account_nonce))

    def candidates(self, base_fee: int, limit: int) -> list[Transaction]:
        """At most `limit` executable transactions in the order of `select`, whatever gas they use."""
        starts = self._queues
        ordered = self._in_order(base_fee, lambda sender: starts[sender].start, lambda sender: starts[sender].cost)
        return [entry.transaction for entry in ordered[:limit]]

    def content(self) -> dict[bytes, Waiting]:
        """All that waits, by sender in ascending order."""
        found = {}
        for sender in sorted(self._queues):
            queue = self._queues[sender]
            ordered = [queue.entries[nonce].transaction for nonce in sorted(queue.entries)]
            run = queue.after - queue.start
            found[sender] = Waiting(executable=tuple(ordered[:run]), queued=tuple(ordered[run:]))
        return found

    def counts(self) -> tuple[int, int]:
        """How many are executable, and how many wait behind a gap."""
        executable = sum(queue.after - queue.start for queue in self._queues.values())
        return executable, len(self._by_hash) - executable

    @property
    def bytes_held(self) -> int:
        """Raw bytes of all that waits."""
        return self._bytes


def _why_no_room(rank: Rank, cheapest: Rank | None) -> str:
    if cheapest is None or cheapest < rank:
        return "txpool is full: try again after the next block"
    if not rank.executable:
        return "txpool is full: nothing more can wait behind a missing nonce"
    return (
        f"transaction underpriced: the pool is full, its cheapest transaction gives {cheapest.tip} per gas and this "
        f"one {rank.tip}: raise maxPriorityFeePerGas"
    )
