"""Home of one node's consensus over a network, without I/O: inputs in, actions out in the order they must be done.

It decides heights with its peers (deliberation.py), fetches those that were decided without it (catchup.py), and
exchanges what is missing. The node's shell (chain/node.py) and the simulator perform its actions.

    replica = Replica(...)
    for action in replica.handle(Opened(tip=...)): perform(action)

Rules for whoever performs them: those of the driver. One at a time and in order; nothing leaves before the Persist in
front of it is synced; an action that fails ends the process. Build, Check, CommitBlock and SendBlocks are answered
later, and nothing need wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from chain.replication.abstention import Abstention
from chain.replication.catchup import CatchUp, require_commit
from chain.replication.deliberation import Deliberation, ReplicaSettings
from chain.replication.events import (
    Action,
    Built,
    Checked,
    CommitBlock,
    Given,
    HeightDue,
    Opened,
    PeerConnected,
    PeerGone,
    Received,
    StartTimer,
    Stored,
    Tick,
    Tip,
)
from chain.replication.reception import MESSAGES, Reception
from chain.replication.vote_exchange import Recover
from chain.transactions import Transaction
from consensus.actions import Persist
from consensus.driver import Sign
from consensus.events import TimedOut
from consensus.types import Commit, Height, InvalidConsensus, Voter
from consensus.votelog import ClosedRecord, Recovered, encode_record

__all__ = ["MESSAGES", "Replica", "ReplicaSettings"]


class Replica:
    """One node's consensus. Deterministic, no I/O, not thread-safe."""

    def __init__(
        self,
        *,
        me: bytes | None,
        genesis: bytes,
        sign: Sign,
        log: Recovered,
        remembers: bool,
        recover: Recover,
        pool_get: Callable[[bytes], Transaction | None],
        clock_ms: Callable[[], int],
        time_ms: Callable[[], int],
        settings: ReplicaSettings,
    ) -> None:
        """`me` is the vote key's address, None for a node that only follows; `log` its recovered vote log.

        `remembers` is false where the log may lack votes of this key: it abstains at first (abstention.py).
        `clock_ms` never goes back and has any origin, `time_ms` is Unix time. `pool_get` gives a decoded transaction by
        its hash.
        """
        self.tip: Tip | None = None
        self._me = me
        self._genesis = genesis
        self._recover = recover
        self._clock_ms, self._time_ms = clock_ms, time_ms
        self._settings = settings
        self._deliberation = Deliberation(
            me=me,
            genesis=genesis,
            sign=sign,
            log=log,
            recover=recover,
            pool_get=pool_get,
            clock_ms=clock_ms,
            time_ms=time_ms,
            settings=settings,
        )
        self._catch_up = CatchUp(clock_ms=clock_ms)
        self._reception = Reception(deliberation=self._deliberation, catch_up=self._catch_up)
        self._abstention = Abstention(remembers=remembers)
        self._began_ms = time_ms()
        self._due = False  # the next height may start
        self._committing = False
        self._height_started_ms = 0

    # ------------------------------------------------------------------------------------------------- what is known

    @property
    def height(self) -> int:
        """The height that this node works on."""
        assert self.tip is not None
        return self._reception.height(self.tip)

    @property
    def round(self) -> int:
        """The round of the height that consensus works on, or has decided last."""
        state = self._deliberation.state
        return state.round if state else 0

    @property
    def height_started_ms(self) -> int:
        """When consensus on the current height began, by `clock_ms`."""
        return self._height_started_ms

    @property
    def highest(self) -> int:
        """The greatest height that a peer says to work on, at least the own one."""
        return max(self.height, self._catch_up.highest())

    @property
    def is_behind(self) -> bool:
        """Whether peers say that there are decided blocks beyond the next one."""
        return self.tip is not None and self._catch_up.highest() > self.tip.height + 2

    @property
    def abstains(self) -> bool:
        """Whether the own key says nothing because its log is gone."""
        return self._me is not None and not self._abstention.remembers

    # ---------------------------------------------------------------------------------------------------- the inputs

    def handle(self, given: Given) -> list[Action]:
        """What is to be done about an input, in order."""
        return self.handle_all((given,))

    def handle_all(self, given: Iterable[Given]) -> list[Action]:
        """The same for inputs that came together: what they make the node say shares frames and syncs."""
        actions: list[Action] = []
        for item in given:
            self._take(item, actions)
            if self.tip is not None:
                self._go_on(self.tip, actions)
        actions += self._deliberation.votes.flush(self._deliberation.peers)
        return actions

    def _take(self, given: Given, actions: list[Action]) -> None:
        match given:
            case Opened():
                self._open(given, actions)
            case PeerConnected():
                self._deliberation.peers = tuple(sorted({*self._deliberation.peers, given.peer}))
                self._deliberation.votes.met_peer(given.peer, called=given.called)
                if self.tip is not None:
                    self._reception.tell_status((given.peer,), self.tip, actions)
            case PeerGone():
                self._forget_peer(given.peer)
            case Received():
                if given.peer in self._deliberation.peers and self.tip is not None:
                    self._reception.receive(given.peer, given.message, self.tip, actions)
            case Tick():
                if self.tip is not None:
                    takes_ms = self._clock_ms() - self._height_started_ms
                    self._reception.tick(self.tip, takes_ms, actions)
            case HeightDue():
                self._due = self._due or (self.tip is not None and given.height == self.tip.height + 1)
            case TimedOut():
                self._deliberation.take_timeout(given, actions)
            case Built():
                self._deliberation.take_built(given, actions)
            case Checked():
                self._deliberation.take_checked(given, actions)
            case Stored():
                self._take_stored(given.tip, actions)
            case _:
                assert_never(given)

    def _open(self, given: Opened, actions: list[Action]) -> None:
        self.tip = given.tip
        self._catch_up.advanced(given.tip.height)
        self._deliberation.stored = given.tip.height
        self._deliberation.votes.start_height(given.tip.height, given.tip.validators)
        due = HeightDue(height=Height(given.tip.height + 1))
        actions.append(StartTimer(given=due, duration_ms=given.pause_ms))
        self._reception.tell_status(self._deliberation.peers, given.tip, actions)

    def _forget_peer(self, peer: bytes) -> None:
        self._deliberation.peers = tuple(other for other in self._deliberation.peers if other != peer)
        self._reception.forget_peer(peer)

    def _take_stored(self, tip: Tip, actions: list[Action]) -> None:
        assert self.tip is not None
        assert tip.height == self.tip.height + 1
        worked = self._deliberation.is_at(tip.height)
        self.tip, self._committing, self._due = tip, False, False
        self._catch_up.advanced(tip.height)
        # One that was made before this process began is no news: whoever has heard it all can say it to us again.
        decided = worked and self._deliberation.is_decided
        news = decided and tip.time_ms > self._began_ms
        self._abstention.stored(tip.height, decided_here=news, behind=self.is_behind)
        votes = self._deliberation.votes
        if worked:
            votes.next_validators = tip.validators
        else:
            votes.start_height(tip.height, tip.validators)
        due = HeightDue(height=Height(tip.height + 1))
        # Whoever had to fetch the block is late: the others have paced it, and are in the next height by now.
        actions.append(StartTimer(given=due, duration_ms=self._left_of_interval_ms(tip) if decided else 0))

    def _left_of_interval_ms(self, tip: Tip) -> int:
        """Until the next height may start: an interval after the own start, or the block's time where that is later.

        So a node that was early waits for the others, and all start together again, whoever proposes.
        """
        worked_ms = self._clock_ms() - self._height_started_ms
        age_ms = max(0, self._time_ms() - tip.time_ms)
        return max(0, self._settings.block_interval_ms - min(worked_ms, age_ms))

    # ------------------------------------------------------------------------------------------------- going on

    def _go_on(self, tip: Tip, actions: list[Action]) -> None:
        """Store what is decided, fetch what is missing, start the next height: whatever has become possible."""
        deliberation = self._deliberation
        self._committing = deliberation.stored > tip.height
        actions += self._catch_up.plan(deliberation.stored)
        while not self._committing and (fetched := self._catch_up.next()) is not None:
            try:
                require_commit(fetched.commit, tip.validators, self._genesis, self._recover)
            except InvalidConsensus as error:
                actions += self._catch_up.reject(fetched, str(error))
                continue
            self._notice_forgotten(fetched.commit, actions)
            self._committing, deliberation.stored = True, fetched.commit.height
            block_id = fetched.commit.block_id
            actions.append(CommitBlock(commit=fetched.commit, block_id=block_id, block=fetched.block, live=False))
        if self._may_start(tip):
            self._start_height(tip, actions)

    def _notice_forgotten(self, commit: Commit, actions: list[Action]) -> None:
        """Abstain from now on if the own key signed a commit that its log does not know: one from a backup, say.

        Two records of it make a node that is started again abstain too (votelog.ends_in_silence).
        """
        if self._abstention.remembers and self._deliberation.driver.forgets(commit):
            self._abstention.forgot()
            if self._deliberation.is_at(commit.height):
                self._deliberation.silence(actions)
            closed = [ClosedRecord(height=Height(height)) for height in (commit.height, commit.height + 1)]
            actions += [Persist(record=encode_record(record)) for record in closed]

    def _may_start(self, tip: Tip) -> bool:
        started = self._deliberation.is_at(tip.height + 1)
        if self._committing or started or self._catch_up.is_fetching():
            return False
        if tip.height == 0 and not self._abstention.may_begin(
            alone=self._me is None or len(tip.validators.members) == 1,
            highest=self._catch_up.highest(),  # of those that are believed still
        ):
            return False
        return self._due or tip.validators.is_one_third(self._deliberation.votes.next_power(tip.validators))

    def _start_height(self, tip: Tip, actions: list[Action]) -> None:
        height = Height(tip.height + 1)
        self._due = False
        self._height_started_ms = self._clock_ms()
        if tip.height == 0:
            self._abstention.remembers = True  # nobody has voted before, as far as anyone who was heard says
        if self.abstains and tip.validators.power(Voter(self._me or b"")):
            # Across a restart too, nothing is said at the next height either.
            actions.append(Persist(record=encode_record(ClosedRecord(height=Height(height + 1)))))
        self._deliberation.start(tip, self._abstention.remembers, actions)
        self._reception.take_early(tip, actions)
