"""The pool once more, in the plainest way: one list, everything computed anew for every question."""

from __future__ import annotations

from dataclasses import dataclass, field

from chain.pool.admission import Limits
from chain.transactions import Transaction, intrinsic_gas


@dataclass
class PlainMempool:
    """`nonces` and `balances` are the accounts' at the tip; `held` is in order of arrival."""

    limits: Limits
    nonces: dict[bytes, int]
    balances: dict[bytes, int]
    held: list[tuple[int, Transaction]] = field(default_factory=list)
    arrivals: int = 0

    def of(self, sender: bytes) -> dict[int, Transaction]:
        return {t.nonce: t for _, t in self.held if t.sender == sender}

    def rank(self, transaction: Transaction, base_fee: int) -> tuple[bool, int]:
        mine = self.of(transaction.sender) | {transaction.nonce: transaction}
        before = range(self.nonces[transaction.sender], transaction.nonce + 1)
        tips = {n: min(t.max_priority_fee_per_gas, t.max_fee_per_gas - base_fee) for n, t in mine.items()}
        if all(n in mine for n in before):
            return True, min(tips[n] for n in before)
        return False, tips[transaction.nonce]

    def add(self, new: Transaction, base_fee: int, block_gas_limit: int) -> tuple[str, bytes | None, tuple[bytes, ...]]:
        """(the beginning of the refusal or "", hash replaced, hashes evicted)."""
        sender, nonce, balance = new.sender, self.nonces[new.sender], self.balances[new.sender]
        mine = self.of(sender)
        old = mine.get(new.nonce)
        others_cost = sum(t.cost for t in mine.values() if t is not old)
        refusals = [
            (any(t.hash == new.hash for t in mine.values()), "already known"),
            (new.gas_limit > block_gas_limit, "exceeds block gas limit"),
            (new.gas_limit < intrinsic_gas(new), "intrinsic gas too low"),
            (
                new.max_priority_fee_per_gas > new.max_fee_per_gas,
                "max priority fee per gas higher than max fee per gas",
            ),
            (new.max_fee_per_gas < self.limits.base_fee_minimum, "max fee per gas less than block base fee"),
            (new.nonce < nonce, "nonce too low"),
            (new.nonce - nonce >= self.limits.nonces_ahead_max, "nonce too high"),
            (others_cost + new.cost > balance, "insufficient funds for gas * price + value"),
            (old is not None and not outbids(new, old), "replacement transaction underpriced"),
        ]
        for holds, text in refusals:
            if holds:
                return text, None, ()
        self.arrivals += 1
        kept = [(n, t) for n, t in self.held if t is not old]
        evicted = self.make_room(kept, new, base_fee)
        if isinstance(evicted, str):
            return evicted, None, ()
        self.held = [(n, t) for n, t in kept if t.hash not in evicted] + [(self.arrivals, new)]
        return "", old.hash if old else None, evicted

    def make_room(
        self, kept: list[tuple[int, Transaction]], new: Transaction, base_fee: int
    ) -> tuple[bytes, ...] | str:
        rank = self.rank(new, base_fee)
        kept = list(kept)
        evicted: list[bytes] = []
        while len(kept) >= self.limits.transactions_max or (
            sum(len(t.raw) for _, t in kept) + len(new.raw) > self.limits.bytes_max
        ):
            tails: dict[bytes, tuple[int, Transaction]] = {}
            for arrival, t in kept:
                if t.sender != new.sender and (t.sender not in tails or tails[t.sender][1].nonce < t.nonce):
                    tails[t.sender] = (arrival, t)
            if not tails:
                return "txpool is full"
            worst_rank, _, worst = min(
                ((self.rank(t, base_fee), -arrival, t) for arrival, t in tails.values()), key=lambda claim: claim[:2]
            )
            if worst_rank >= rank:
                return "transaction underpriced" if rank[0] else "txpool is full"
            kept = [(n, t) for n, t in kept if t is not worst]
            evicted.append(worst.hash)
        return tuple(evicted)

    def select(self, base_fee: int, gas_limit: int) -> list[Transaction]:
        """Always the best of all senders' next ones; equals by the arrival of the lowest one of their run so far."""
        arrival_of = {t.hash: arrival for arrival, t in self.held}
        next_nonce, left = dict(self.nonces), dict(self.balances)
        lowest: dict[bytes, tuple[int, int]] = {}  # (tip, -arrival) of the lowest so far
        chosen: list[Transaction] = []
        while True:
            heads = []
            for sender in self.nonces:
                t = self.of(sender).get(next_nonce[sender])
                if t is None or t.max_fee_per_gas < base_fee or t.cost > left[sender]:
                    continue
                tip = min(t.max_priority_fee_per_gas, t.max_fee_per_gas - base_fee)
                so_far = lowest.get(sender)
                since = so_far if so_far and so_far[0] <= tip else (tip, -arrival_of[t.hash])
                heads.append(((tip, since[1]), since, t))
            if not heads:
                return chosen
            _, since, best = max(heads, key=lambda head: head[0])
            gas_limit -= intrinsic_gas(best)
            if gas_limit < 0:
                return chosen
            lowest[best.sender] = since
            next_nonce[best.sender] += 1
            left[best.sender] -= best.cost
            chosen.append(best)

    def commit(self, included: list[Transaction]) -> None:
        """A block took these; the accounts' nonces and balances are already those after it."""
        for sender in {t.sender for t in included}:
            mine = self.of(sender)
            cost = 0
            gone = {n for n in mine if n < self.nonces[sender]}
            for n in sorted(set(mine) - gone):
                cost += mine[n].cost
                if cost > self.balances[sender]:
                    gone |= {m for m in mine if m >= n}
            self.held = [(a, t) for a, t in self.held if t.sender != sender or t.nonce not in gone]

    def content(self) -> dict[bytes, tuple[list[Transaction], list[Transaction]]]:
        found = {}
        for sender in sorted({t.sender for _, t in self.held}):
            mine = self.of(sender)
            after = self.nonces[sender]
            while after in mine:
                after += 1
            ordered = [mine[n] for n in sorted(mine)]
            found[sender] = ([t for t in ordered if t.nonce < after], [t for t in ordered if t.nonce > after])
        return found


def outbids(new: Transaction, old: Transaction) -> bool:
    return all(
        getattr(new, fee) > getattr(old, fee) and getattr(new, fee) >= getattr(old, fee) * 110 // 100
        for fee in ("max_fee_per_gas", "max_priority_fee_per_gas")
    )
