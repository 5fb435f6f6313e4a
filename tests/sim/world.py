"""Home of the simulated world: one queue of events, one clock, one network, one source of chance."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.sim import plan as plans
from tests.sim.checkers import Checkers, Violation
from tests.sim.messages import Message

EVENTS_MAX = 200_000
PROGRESS_HEIGHTS = 3
PROGRESS_MS_MAX = 300_000
PARTITION_MS = 4_000
BLACKOUT_MS = 700


class Peer(Protocol):
    """Anything with a place in the network."""

    index: int

    def start(self) -> None: ...

    def receive(self, sender: int, message: Message) -> None: ...

    def height(self) -> int: ...

    def crash(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a history came to."""

    seed: int
    events: int
    checks: int
    crashes: int
    decided: int
    rounds_max: int
    time_ms: int


class World:
    """A history that a seed determines wholly."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plan = plans.make(seed)
        self.rng = random.Random(seed + 1_000_000_007)
        self.checkers = Checkers(plan=self.plan)
        self.now_ms = 0
        self.peers: list[Peer] = []
        self.crashes = 0
        self.rounds_max = 0
        self.island: frozenset[int] = frozenset()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def quiet(self) -> bool:
        """Whether faults have stopped."""
        return self.now_ms >= self.plan.quiet_at_ms

    def chance(self, rate: float) -> bool:
        """Whether a fault of this rate strikes now."""
        return not self.quiet and self.rng.random() < rate

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + max(delay_ms, 0), self._count, action))

    def send(self, sender: int, receiver: int, message: Message) -> None:
        """Carry a message: it may be lost, late, twice, or overtaken."""
        if self.chance(self.plan.loss) or self._is_cut(sender, receiver):
            return
        for _ in range(2 if self.chance(self.plan.duplication) else 1):
            delay_ms = self.rng.randint(1, self.plan.delay_ms_max)
            if self.chance(self.plan.delay_tail):
                delay_ms += self.rng.randint(0, 5_000)
            self.after(delay_ms, lambda: self.peers[receiver].receive(sender, message))

    def broadcast(self, sender: int, message: Message) -> None:
        for peer in self.peers:
            if peer.index != sender:
                self.send(sender, peer.index, message)

    def run(self, honest: list[int]) -> Summary:
        """Run until faults have stopped and every honest node has gone on since; Violation otherwise."""
        for peer in self.peers:
            self.after(0, peer.start)
        self.after(0, self._partition)
        self.after(BLACKOUT_MS, self._black_out)
        target: int | None = None
        events = 0
        while events < EVENTS_MAX and self._queue:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
            events += 1
            if not self.quiet:
                continue
            heights = [self.peers[index].height() for index in honest]
            target = target if target is not None else max(heights) + PROGRESS_HEIGHTS
            if min(heights) >= target:
                return self._summary(events)
            if self.now_ms > self.plan.quiet_at_ms + PROGRESS_MS_MAX:
                break
            if not self.plan.progress and self.now_ms > self.plan.quiet_at_ms + PARTITION_MS:
                return self._summary(events)
        raise Violation(f"no progress: heights {heights}, wanted {target}, after {events} events, {self.now_ms} ms")

    def _summary(self, events: int) -> Summary:
        return Summary(
            seed=self.seed,
            events=events,
            checks=self.checkers.checks,
            crashes=self.crashes,
            decided=len(self.checkers.decided),
            rounds_max=self.rounds_max,
            time_ms=self.now_ms,
        )

    def _is_cut(self, sender: int, receiver: int) -> bool:
        return not self.quiet and (sender in self.island) != (receiver in self.island)

    def _black_out(self) -> None:
        """Now and then, everybody's power fails at once."""
        if self.chance(self.plan.blackout):
            for peer in self.peers:
                peer.crash()
        if not self.quiet:
            self.after(BLACKOUT_MS, self._black_out)

    def _partition(self) -> None:
        """Now and then, some nodes are cut off from the others for a while."""
        cut = self.chance(self.plan.partition)
        self.island = frozenset(i for i in range(len(self.peers)) if cut and self.rng.random() < 0.5)
        if not self.quiet:
            self.after(PARTITION_MS, self._partition)
