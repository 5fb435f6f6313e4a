"""Home of one sender's waiting transactions: the executable run from the account's nonce, and what waits behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from chain.pool.admission import effective_tip
from chain.transactions import Transaction


class Entry(NamedTuple):
    """A transaction in the pool, with what is asked about it often."""

    transaction: Transaction
    sequence: int  # order of arrival in the pool
    cost: int
    intrinsic_gas: int


class Rank(NamedTuple):
    """What a transaction is worth to the pool; the lowest goes first."""

    executable: bool
    tip: int  # per gas: for an executable one the lowest from the account's nonce up to it


class SenderQueue:
    """Entries by nonce, never empty while the pool holds it, none below `start`."""

    __slots__ = ("after", "changes", "cost", "entries", "last", "start")

    def __init__(self, account_nonce: int) -> None:
        self.entries: dict[int, Entry] = {}
        self.start = account_nonce  # the account's nonce, as last told
        self.after = account_nonce  # the first nonce from `start` on that is missing
        self.last = -1  # the highest nonce
        self.cost = 0  # of all entries
        self.changes = 0  # counts them, so that what was derived from the queue is known to be old

    def insert(self, entry: Entry) -> None:
        """Add an entry, in the place of one with its nonce if there is one."""
        nonce = entry.transaction.nonce
        assert nonce >= self.start
        old = self.entries.get(nonce)
        self.cost += entry.cost - (old.cost if old else 0)
        self.entries[nonce] = entry
        self.changes += 1
        if nonce > self.last:
            self.last = nonce
        if nonce == self.after:
            self._extend()

    def remove_tail(self) -> Entry:
        """Take out the entry with the highest nonce."""
        entry = self.entries.pop(self.last)
        self.after = min(self.after, self.last)
        self.last = max(self.entries, default=-1)
        self.cost -= entry.cost
        self.changes += 1
        return entry

    def advance(self, account_nonce: int) -> list[Entry]:
        """Take out what the account's new nonce made stale."""
        stale = [self.entries.pop(nonce) for nonce in sorted(self.entries) if nonce < account_nonce]
        self.cost -= sum(entry.cost for entry in stale)
        self.start = account_nonce
        self.after = account_nonce
        self._extend()
        if not self.entries:
            self.last = -1
        self.changes += 1
        return stale

    def _extend(self) -> None:
        after = self.after
        while after in self.entries:
            after += 1
        self.after = after

    def run(self, account_nonce: int) -> Iterator[Entry]:
        """The entries that can be executed one after another from a nonce on."""
        entry = self.entries.get(account_nonce)
        while entry is not None:
            yield entry
            account_nonce += 1
            entry = self.entries.get(account_nonce)

    def rank(self, transaction: Transaction, base_fee: int) -> Rank:
        """Of one of this sender's transactions, be it in the queue or not."""
        tip = effective_tip(transaction, base_fee)
        nonce = transaction.nonce
        if nonce > self.after:
            return Rank(False, tip)
        for before in range(self.start, nonce):
            tip = min(tip, effective_tip(self.entries[before].transaction, base_fee))
        return Rank(True, tip)
