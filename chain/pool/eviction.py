"""Home of who leaves a full pool: the tail of the sender whose last transaction is worth least."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from chain.pool.sender_queue import Rank, SenderQueue


class Tails:
    """The senders' last transactions, worst first, at one base fee.

    Only tails leave, so that what stays remains executable. A heap of claims: one is out of date if its sender's
    queue has changed since, and whoever changes a queue calls `update`.
    """

    def __init__(self, queues: Mapping[bytes, SenderQueue], base_fee: int) -> None:
        self.base_fee = base_fee
        self._queues = queues
        self._claims: list[tuple[Rank, int, bytes, int]] = []
        self._rebuild()

    def _rebuild(self) -> None:
        self._claims = [self._claim(sender, queue) for sender, queue in self._queues.items()]
        heapq.heapify(self._claims)

    def _claim(self, sender: bytes, queue: SenderQueue) -> tuple[Rank, int, bytes, int]:
        tail = queue.entries[queue.last]
        rank = queue.rank(tail.transaction, self.base_fee)
        return rank, -tail.sequence, sender, queue.changes  # of equals the newest leaves first

    def update(self, sender: bytes) -> None:
        """Its queue has changed."""
        queue = self._queues.get(sender)
        if queue is None:
            return
        heapq.heappush(self._claims, self._claim(sender, queue))
        if len(self._claims) > 4 * len(self._queues) + 64:
            self._rebuild()

    def worst(self, spared: bytes) -> tuple[bytes, Rank] | None:
        """The sender with the worst tail, other than `spared`, and that tail's rank."""
        aside = None
        found = None
        while self._claims:
            rank, newest_first, sender, changes = self._claims[0]
            queue = self._queues.get(sender)
            if queue is None or (queue.changes, -queue.entries[queue.last].sequence) != (changes, newest_first):
                heapq.heappop(self._claims)
            elif sender == spared:
                aside = heapq.heappop(self._claims)
            else:
                found = sender, rank
                break
        if aside is not None:
            heapq.heappush(self._claims, aside)
        return found
