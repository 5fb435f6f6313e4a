"""Home of how votes go round: each verified once, passed on to peers not known to have it, exchanged by Status.

A vote is known by its slot, block and voter. Its voter sends it to all its peers; who hears it passes it on to a few of
those not known to have it, by turns (chain/network/relays.py). What is missed after all comes by Status.

Bounds: a peer can have so many signatures checked between two ticks, a voter so many votes in one slot and in rounds
ahead; what is left out comes again by Status if it was of any use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chain.network.messages import STATUS_VOTES_MAX, VOTES_MAX, KnownVotes, Votes
from chain.network.relays import relays
from chain.replication.events import BLAME_FATAL, Blame, Send
from consensus.codec import InvalidEncoding, decode_vote, encode_vote
from consensus.rules import State
from consensus.types import ValidatorSet, Vote, Voter
from consensus.votes import EMPTY

Recover: TypeAlias = Callable[[Sequence[tuple[bytes, bytes]]], "list[bytes | None]"]
"""(message, signature) pairs -> the addresses whose keys have signed them, None where none has."""

CHECKS_BESIDE_SET: Final = 256  # signatures checked for a peer between ticks, beside eight for each member
CHECKS_GROWTH: Final = 8  # a part of a frame's votes is so many times as large as the one before, which was right
BLOCKS_PER_SLOT_MAX: Final = 3  # of a voter that contradicts itself; an honest one has one
ROUNDS_AHEAD: Final = 1
VOTES_AHEAD_MAX: Final = 8  # of one voter between ticks, beyond the next round
SEEN_MAX: Final = 20_000  # with more votes of a height at hand, none beyond the next round is taken
HELP_VOTES_MAX: Final = 4 * VOTES_MAX

Known: TypeAlias = tuple[int, int, int, "bytes | None", bytes]


@dataclass(slots=True)
class _Seen:
    """A verified vote, its encoding, and the peers known to have it."""

    vote: Vote
    encoded: bytes
    holders: set[bytes]
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of a peer's votes: those for consensus, the greatest height among all, and what is wrong with one."""

    votes: tuple[Vote, ...] = ()
    greatest: int = 0
    blame: Blame | None = None


@dataclass(slots=True)
class VoteExchange:
    """The votes of a height and of the next one, as they pass through this node."""

    genesis: bytes
    recover: Recover
    height: int = 0
    validators: ValidatorSet | None = None
    next_validators: ValidatorSet | None = None
    turn: int = 0  # whose turn it is among peers to have a vote passed on; best begun with another number at each node
    _seen: dict[Known, _Seen] = field(default_factory=dict)
    _by_encoding: dict[bytes, _Seen] = field(default_factory=dict)
    _in_slot: dict[tuple[int, int, int, bytes], int] = field(default_factory=dict)
    _checks: dict[bytes, int] = field(default_factory=dict)
    _ahead: dict[bytes, int] = field(default_factory=dict)
    _outgoing: list[_Seen] = field(default_factory=list)
    _called: dict[bytes, None] = field(default_factory=dict)

    def start_height(self, height: int, validators: ValidatorSet) -> tuple[Vote, ...]:
        """The votes of this height that came early, for consensus. What is of earlier heights is forgotten."""
        self.height, self.validators, self.next_validators = height, validators, None
        self._seen = {known: seen for known, seen in self._seen.items() if known[0] >= height}
        self._by_encoding = {seen.encoded: seen for seen in self._seen.values()}
        self._in_slot = {slot: count for slot, count in self._in_slot.items() if slot[0] >= height}
        early = [seen.vote for known, seen in self._seen.items() if known[0] == height]
        return tuple(vote for vote in early if validators.power(vote.voter))

    def tick(self) -> None:
        self._checks, self._ahead = {}, {}

    # ------------------------------------------------------------------------------------------------- coming in

    def take(self, peer: bytes, encoded: Iterable[bytes], state: State | None) -> Taken:
        """A peer's votes. Those for consensus are of this height, verified, and new, or not in its book (any more)."""
        fresh: dict[Known, tuple[bytes, Vote]] = {}
        again: list[Vote] = []
        greatest = 0
        for raw in encoded:
            try:
                vote = self._known_again(peer, raw) or decode_vote(raw)
            except InvalidEncoding as error:
                return Taken(blame=_blame(peer, f"a vote that is none: {error}"))
            greatest = max(greatest, vote.height)
            if vote.height != self.height and vote.height != self.height + 1:
                continue
            seen = self._seen.get(_known(vote))
            if seen is not None:  # perhaps signed once more: one signature is enough
                seen.holders.add(peer)
                if vote.height == self.height and not _is_counted(seen.vote, state):
                    again.append(seen.vote)
            elif self._is_voter(vote) and self._is_worth_checking(peer, vote, state):
                fresh[_known(vote)] = raw, vote
            # One of no validator is nobody's fault: who is a height behind passes it on by the set that it knows.
        good, blame = self._verify(peer, fresh, state)
        votes = [vote for vote in (*again, *good) if vote.height == self.height]
        return Taken(votes=tuple(votes), greatest=greatest, blame=blame)

    def _known_again(self, peer: bytes, raw: bytes) -> Vote | None:
        seen = self._by_encoding.get(raw)
        if seen is None:
            return None
        seen.holders.add(peer)
        return seen.vote

    def _is_voter(self, vote: Vote) -> bool:
        validators = self.validators if vote.height == self.height else self.next_validators or self.validators
        return validators is not None and validators.power(vote.voter) > 0

    def _is_worth_checking(self, peer: bytes, vote: Vote, state: State | None) -> bool:
        if not self._has_room(vote, state):
            return False
        current = state.round if state and state.height == vote.height else 0
        if vote.round > current + ROUNDS_AHEAD:
            if self._ahead.get(vote.voter, 0) >= VOTES_AHEAD_MAX or len(self._seen) >= SEEN_MAX:
                return False
            self._ahead[vote.voter] = self._ahead.get(vote.voter, 0) + 1
        assert self.validators is not None
        if self._checks.get(peer, 0) >= CHECKS_BESIDE_SET + 8 * len(self.validators.members):
            return False
        self._checks[peer] = self._checks.get(peer, 0) + 1
        return True

    def _has_room(self, vote: Vote, state: State | None) -> bool:
        return self._in_slot.get((*vote.slot, vote.voter), 0) < BLOCKS_PER_SLOT_MAX or _is_supported(vote, state)

    def _verify(
        self, peer: bytes, fresh: dict[Known, tuple[bytes, Vote]], state: State | None
    ) -> tuple[list[Vote], Blame | None]:
        """In parts that grow while all is well, up to the first wrong one: who forges many has few looked at."""
        rows, good = list(fresh.values()), list[Vote]()
        start, size = 0, 1
        while start < len(rows):
            part = rows[start : start + size]
            signed = [(vote.sign_bytes(self.genesis), vote.signature) for _, vote in part]
            for (raw, vote), signer in zip(part, self.recover(signed), strict=True):
                if signer != vote.voter:
                    return good, _blame(peer, f"a vote of {vote.voter.hex()} that it did not sign")
                if self._has_room(vote, state):
                    self._outgoing.append(self._add(vote, raw, {peer}))
                    good.append(vote)
            start, size = start + size, CHECKS_GROWTH * size
        return good, None

    def _add(self, vote: Vote, encoded: bytes, holders: set[bytes]) -> _Seen:
        seen = _Seen(vote=vote, encoded=encoded, holders=holders)
        self._seen[_known(vote)] = self._by_encoding[encoded] = seen
        slot = (*vote.slot, vote.voter)
        self._in_slot[slot] = self._in_slot.get(slot, 0) + 1
        return seen

    def next_power(self, validators: ValidatorSet) -> int:
        """The power of those whose votes of the next height are known, in that height's set."""
        voters = {known[4]: None for known in self._seen if known[0] == self.height + 1}
        return sum(validators.power(Voter(voter)) for voter in voters)

    # ------------------------------------------------------------------------------------------------- going out

    def say(self, vote: Vote) -> None:
        """An own vote, on its way to everyone."""
        seen = self._seen.get(_known(vote)) or self._add(vote, encode_vote(vote), set())  # known: after a restart
        seen.own = True
        self._outgoing.append(seen)

    def flush(self, peers: Sequence[bytes]) -> list[Send]:
        """What has come since the last time, on its way to those not known to have it: `peers` are all, ascending."""
        if not self._outgoing:
            return []
        outgoing, self._outgoing = self._outgoing, []
        bundles: dict[bytes, tuple[bytes, ...]] = {}
        for seen in outgoing:
            for peer in self._receivers(seen, peers):
                bundles[peer] = (*bundles.get(peer, ()), seen.encoded)
                seen.holders.add(peer)
        groups: dict[tuple[bytes, ...], list[bytes]] = {}
        for peer, bundle in sorted(bundles.items()):
            groups.setdefault(bundle, []).append(peer)
        return [send for bundle, to in groups.items() for send in _frames(tuple(to), bundle)]

    def _receivers(self, seen: _Seen, peers: Sequence[bytes]) -> Sequence[bytes]:
        lacking = [peer for peer in peers if peer not in seen.holders]
        if seen.own:
            return lacking
        called = [peer for peer in lacking if peer in self._called]
        self.turn += 1
        return relays(called, [peer for peer in lacking if peer not in self._called], self.turn)

    def met_peer(self, peer: bytes, *, called: bool) -> None:
        """A peer has connected; `called` by this node."""
        if called:
            self._called[peer] = None

    def forget_peer(self, peer: bytes) -> None:
        """It may come again without what it had."""
        for seen in self._seen.values():
            seen.holders.discard(peer)
        self._checks.pop(peer, None)
        self._called.pop(peer, None)


def known_votes(votes: Iterable[Vote], state: State) -> tuple[KnownVotes, ...]:
    """What Status says of votes, as many as fit."""
    members = state.validators.members
    places = {voter: index for index, (voter, _) in enumerate(members)}
    bits: dict[tuple[int, int, bytes], bytearray] = {}
    for vote in _by_worth(votes, state):
        row = bits.setdefault(_row(vote), bytearray((len(members) + 7) // 8))
        place = places[vote.voter]
        row[place // 8] |= 1 << place % 8
    rows = list(bits.items())[:STATUS_VOTES_MAX]
    return tuple(KnownVotes(round=row[0], kind=row[1], block_id=row[2], voters=bytes(known)) for row, known in rows)


def lacking_votes(peer: bytes, votes: Iterable[Vote], state: State, known: Iterable[KnownVotes]) -> list[Send]:
    """The votes that a peer's Status does not name."""
    places = {voter: index for index, (voter, _) in enumerate(state.validators.members)}
    rows = {(row.round, row.kind, row.block_id): row.voters for row in known}

    def is_known(vote: Vote) -> bool:
        place, row = places[vote.voter], rows.get(_row(vote), b"")
        return place // 8 < len(row) and bool(row[place // 8] >> place % 8 & 1)

    lacks = _by_worth((vote for vote in votes if not is_known(vote)), state)[:HELP_VOTES_MAX]
    return _frames((peer,), tuple(encode_vote(vote) for vote in lacks))


def _by_worth(votes: Iterable[Vote], state: State) -> list[Vote]:
    """First what stands behind a block that may be locked or decided, then the latest rounds."""

    def worth(vote: Vote) -> tuple[bool, tuple[int, int, bytes]]:
        return _is_supported(vote, state), _row(vote)

    return sorted(votes, key=worth, reverse=True)


def _is_counted(vote: Vote, state: State | None) -> bool:
    """Whether a verified vote is in the book, or of no use to it; it drops those of rounds far ahead to make room."""
    if state is None or state.height != vote.height:
        return True
    tally = state.book.tallies.get((vote.round, vote.kind), EMPTY)
    if any((other.voter, other.block_id) == (vote.voter, vote.block_id) for other in tally.others):
        return True
    first = tally.votes.get(vote.voter)
    if first is None:
        return False
    # A contradiction has been reported already, and it counts only once others stand behind its block.
    return first.block_id == vote.block_id or not _is_supported(vote, state)


def _is_supported(vote: Vote, state: State | None) -> bool:
    if state is None or state.height != vote.height or vote.block_id is None:
        return False
    return state.book.is_supported(vote.round, vote.block_id)


def _frames(peers: tuple[bytes, ...], encoded: tuple[bytes, ...]) -> list[Send]:
    starts = range(0, len(encoded), VOTES_MAX)
    return [Send(peers=peers, message=Votes(votes=encoded[start : start + VOTES_MAX])) for start in starts]


def _row(vote: Vote) -> tuple[int, int, bytes]:
    return vote.round, int(vote.kind), vote.block_id or b""


def _known(vote: Vote) -> Known:
    return (*vote.slot, vote.block_id, vote.voter)


def _blame(peer: bytes, reason: str) -> Blame:
    return Blame(peer=peer, points=BLAME_FATAL, reason=reason)
