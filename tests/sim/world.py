"""Home of the simulated world: one queue of events, one clock, one network, one source of chance."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from chain.genesis import Genesis
from tests.sim import plan as plans
from tests.sim import task
from tests.sim.checkers import Checkers, Violation
from tests.sim.messages import SimMessage, checked_frame

EVENTS_MAX = 120_000
PROGRESS_HEIGHTS = 3
PROGRESS_MS_MAX = 240_000
ROUND_HEIGHTS_MAX = 8 * task.CYCLE_BLOCKS
"""Heights within which a round must be settled once faults have stopped, with liars still at it."""
PARTITION_MS = 3_000
BLACKOUT_MS = 700
CALM_DELAY_MS_MAX = 40
"""How long a message takes at most once faults have stopped."""
STOPPED_MS = 4_000
"""How long a history goes on after faults have stopped where no progress can be demanded."""
FRAMES_CHECKED = 16
"""Every so-manieth message goes through its encoding, which all of them would on a wire."""


class Peer(Protocol):
    """Anything with a place in the network."""

    index: int
    honest: bool

    def start(self) -> None: ...

    def receive(self, sender: int, message: SimMessage) -> None: ...

    def up(self) -> bool: ...

    def height(self) -> int: ...

    def crash(self) -> None: ...

    def settled_rounds(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a history came to."""

    seed: int
    events: int
    checks: int
    crashes: int
    decided: int
    rounds_max: int  # of consensus
    settled: int  # rounds of learning
    sets: int  # different validator sets
    slashed: int
    time_ms: int


class World:
    """A history that a seed determines wholly."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plan = plans.make(seed)
        self.rng = random.Random(seed + 1_000_000_007)
        self.genesis = _genesis(self.plan)
        self.blobs = task.blobs_of_genesis(custodians())
        self.checkers = Checkers(plan=self.plan, genesis=self.genesis, blobs=dict(self.blobs))
        self.now_ms = 0
        self.peers: list[Any] = []
        self.clients: list[Any] = []
        self.crashes = 0
        self.rounds_max = 0
        self.quiet = False
        self.cut: frozenset[tuple[int, int]] = frozenset()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._sent = 0
        self._linked = 0
        self._heights: list[int] = []
        self._target = 0
        self._rounds_before = 0

    # ---------------------------------------------------------------------------------------------------- chance

    def chance(self, rate: float) -> bool:
        """Whether a fault of this rate strikes now."""
        return rate > 0 and not self.quiet and self.rng.random() < rate

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + max(delay_ms, 0), self._count, action))

    # --------------------------------------------------------------------------------------------------- network

    def next_link(self) -> int:
        self._linked += 1
        return self._linked

    def send(self, sender: int, receiver: int, message: SimMessage, link: int) -> None:
        """Carry a message over a connection: it may be lost, late, twice, or overtaken, and is lost with that."""
        if self.chance(self.plan.loss) or (sender, receiver) in self.cut:
            return
        self._sent += 1
        if self._sent % FRAMES_CHECKED == 0:
            checked_frame(message)
        for _ in range(2 if self.chance(self.plan.duplication) else 1):
            self.after(self.delay_ms(), lambda: self._deliver(sender, receiver, message, link))

    def _deliver(self, sender: int, receiver: int, message: SimMessage, link: int) -> None:
        if self.peers[receiver].has_link(sender, link):
            self.peers[receiver].receive(sender, message)

    def delay_ms(self) -> int:
        """How long a message takes."""
        most = self.plan.delay_ms_max
        delay_ms = self.rng.randint(1, min(most, CALM_DELAY_MS_MAX) if self.quiet else most)
        return delay_ms + (self.rng.randint(0, 5_000) if self.chance(self.plan.delay_tail) else 0)

    def others(self, index: int) -> list[int]:
        return [peer.index for peer in self.peers if peer.index != index]

    # ------------------------------------------------------------------------------------------------------- run

    def run(self) -> Summary:
        """Run until faults have stopped and every honest node has gone on since; Violation otherwise."""
        for peer in self.peers:
            self.after(0, peer.start)
        self.after(0, self._partition)
        self.after(BLACKOUT_MS, self._black_out)
        events = 0
        while events < EVENTS_MAX and self._queue:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
            events += 1
            if not self.quiet:
                self._become_quiet_in_time()
            elif self._is_done() or (self._is_late() and self._is_stalled()):
                self.checkers.at_the_end(self.peers)
                return self._summary(events)
            elif self._is_late():
                break
        raise Violation(
            f"no progress: heights {self._now()}, wanted {self._target}, settled {self.checkers.settled} after"
            f" {self._rounds_before}, {events} events, {self.now_ms} ms"
        )

    def _now(self) -> list[int]:
        return [peer.height() for peer in self.peers if peer.honest]

    def min_height(self) -> int:
        return min(peer.height() for peer in self.peers)

    def _become_quiet_in_time(self) -> None:
        """Faults stop at a time or a height: everybody comes up, nothing is lost any more."""
        if self.now_ms < self.plan.quiet_at_ms and self.checkers.height < self.plan.quiet_at_height:
            return
        self.quiet = True
        self._quiet_since_ms = self.now_ms
        self.cut = frozenset()
        self._target = max(self._now()) + PROGRESS_HEIGHTS
        self._rounds_before = self.checkers.settled
        self._height_of_quiet = self.checkers.height
        for peer in self.peers:
            if not peer.up():
                peer.start()

    def _is_done(self) -> bool:
        if not self.plan.progress:
            return self.now_ms > self._quiet_since_ms + STOPPED_MS
        if min(self._now()) < self._target:
            return self.now_ms > self._quiet_since_ms + STOPPED_MS and self._is_stalled()
        if not self.plan.rounds:
            return True
        late = self.checkers.height > self._height_of_quiet + ROUND_HEIGHTS_MAX
        if late and self.checkers.settled == self._rounds_before:
            raise Violation(f"no round was settled in {ROUND_HEIGHTS_MAX} heights after faults had stopped")
        return all(peer.settled_rounds() > self._rounds_before for peer in self.peers if peer.honest)

    def _is_late(self) -> bool:
        return self.plan.progress and self.now_ms > self._quiet_since_ms + PROGRESS_MS_MAX

    def _is_stalled(self) -> bool:
        """Whether those that may vote are no two thirds: liars may be silent, and keys without their logs are.

        Who is left out for its absence makes the shares of the others larger, so that no plan can rule this out.
        """
        members = self.checkers.observer.sets[self.checkers.height + 1]
        speaking = {plans.voter(peer.index) for peer in self.peers if peer.honest and not peer.abstains()}
        power = sum(power for voter, power in members if voter in speaking)
        return 3 * power <= 2 * sum(power for _, power in members)

    def _summary(self, events: int) -> Summary:
        return Summary(
            seed=self.seed,
            events=events,
            checks=self.checkers.checks,
            crashes=self.crashes,
            decided=self.checkers.height,
            rounds_max=self.rounds_max,
            settled=self.checkers.settled,
            sets=len(self.checkers.sets),
            slashed=self.checkers.slashed,
            time_ms=self.now_ms,
        )

    # ---------------------------------------------------------------------------------------------------- faults

    def _black_out(self) -> None:
        """Now and then, everybody's power fails at once."""
        if self.chance(self.plan.blackout):
            for peer in self.peers:
                peer.crash()
        if not self.quiet:
            self.after(BLACKOUT_MS, self._black_out)

    def _partition(self) -> None:
        """Now and then, some nodes are cut off from the others for a while, in one direction or in both."""
        if self.quiet:
            return
        nodes = range(len(self.peers))
        struck = self.chance(self.plan.partition)
        island = frozenset(i for i in nodes if struck and self.rng.random() < 0.5)
        both = self.rng.random() >= self.plan.one_way
        self.cut = frozenset((i, j) for i in island for j in nodes if j not in island)
        if both:
            self.cut |= frozenset((j, i) for i, j in self.cut)
        self.after(PARTITION_MS, self._partition)


def custodians() -> tuple[bytes, ...]:
    return tuple(plans.custodian(number) for number in range(plans.CUSTODIANS))


def _genesis(plan: plans.Plan) -> Genesis:
    powers = tuple(sorted((plans.account(index), power) for index, power in enumerate(plan.powers) if power))
    accounts = (*(plans.account(index) for index in range(plans.NODES_MAX)), plans.account(plans.PAYER))
    return task.genesis(powers, accounts, custodians(), epoch_blocks=plan.epoch_blocks)
