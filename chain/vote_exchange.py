"""Home of how votes go round: each verified once, passed on to peers not known to have it, exchanged by Status.

A vote is known by its slot, block and voter. Bounds: a peer can have so many signatures checked between two ticks, a
voter so many votes in one slot and in rounds ahead; what is left out comes again by Status if it was of any use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chain.network.messages import STATUS_VOTES_MAX, VOTES_MAX, KnownVotes, Votes
from chain.replica_events import BLAME_FATAL, Blame, Send
from consensus.codec import InvalidEncoding, decode_vote, encode_vote
from consensus.types import Round, ValidatorSet, Vote, Voter

Recover: TypeAlias = Callable[[Sequence[tuple[bytes, bytes]]], "list[bytes | None]"]
"""(message, signature) pairs -> the addresses whose keys have signed them, None where none has."""

CHECKS_BESIDE_SET: Final = 256  # signatures checked for a peer between ticks, beside eight for each member
BLOCKS_PER_SLOT_MAX: Final = 3  # of a voter that contradicts itself; an honest one has one
ROUNDS_AHEAD: Final = 1
VOTES_AHEAD_MAX: Final = 8  # of one voter between ticks, beyond the next round
SEEN_MAX: Final = 20_000  # with more votes of a height at hand, none beyond the next round is taken
HELP_VOTES_MAX: Final = 4 * VOTES_MAX

Known: TypeAlias = tuple[int, int, int, "bytes | None", bytes]


@dataclass(slots=True)
class _Seen:
    """A verified vote: its encoding and the peers known to have it."""

    encoded: bytes
    holders: set[bytes]


@dataclass(slots=True)
class VoteExchange:
    """The votes of a height and of the next one, as they pass through this node."""

    genesis: bytes
    recover: Recover
    height: int = 0
    validators: ValidatorSet | None = None
    next_validators: ValidatorSet | None = None
    _seen: dict[Known, _Seen] = field(default_factory=dict)
    _by_encoding: dict[bytes, _Seen] = field(default_factory=dict)
    _in_slot: dict[tuple[int, int, int, bytes], int] = field(default_factory=dict)
    _checks: dict[bytes, int] = field(default_factory=dict)
    _ahead: dict[bytes, int] = field(default_factory=dict)
    _outgoing: list[_Seen] = field(default_factory=list)

    def start_height(self, height: int, validators: ValidatorSet) -> None:
        """Keep what is of this height (it came early) and of the next, and forget the rest."""
        self.height, self.validators, self.next_validators = height, validators, None
        self._seen = {known: seen for known, seen in self._seen.items() if known[0] >= height}
        self._by_encoding = {seen.encoded: seen for seen in self._seen.values()}
        self._in_slot = {slot: count for slot, count in self._in_slot.items() if slot[0] >= height}

    def of_height(self) -> list[Vote]:
        """The votes of this height that came before it started here."""
        return [decode_vote(seen.encoded) for known, seen in self._seen.items() if known[0] == self.height]

    def tick(self) -> None:
        self._checks, self._ahead = {}, {}

    # ------------------------------------------------------------------------------------------------- coming in

    def take(self, peer: bytes, encoded: Iterable[bytes], round_: Round) -> tuple[list[Vote], int, Blame | None]:
        """The verified votes among those of a peer that are new; the greatest height among all; what is wrong."""
        fresh: dict[Known, tuple[bytes, Vote]] = {}
        greatest = 0
        for raw in encoded:
            seen = self._by_encoding.get(raw)
            if seen is not None:
                seen.holders.add(peer)
                continue
            try:
                vote = decode_vote(raw)
            except InvalidEncoding as error:
                return [], 0, Blame(peer=peer, points=BLAME_FATAL, reason=f"a vote that is none: {error}")
            greatest = max(greatest, vote.height)
            if vote.height != self.height and vote.height != self.height + 1:
                continue
            if not self._is_voter(vote):
                continue  # who is a height behind passes on votes of members of the set before
            if self._is_worth_checking(peer, vote, round_):
                fresh[_known(vote)] = raw, vote
        good, blame = self._verify(peer, fresh)
        return good, greatest, blame

    def _is_voter(self, vote: Vote) -> bool:
        validators = self.validators if vote.height == self.height else self.next_validators or self.validators
        return validators is not None and validators.power(vote.voter) > 0

    def _is_worth_checking(self, peer: bytes, vote: Vote, round_: Round) -> bool:
        seen = self._seen.get(_known(vote))
        if seen is not None:  # signed once more: one signature is enough
            seen.holders.add(peer)
            return False
        if self._in_slot.get((*vote.slot, vote.voter), 0) >= BLOCKS_PER_SLOT_MAX:
            return False
        if vote.round > (round_ if vote.height == self.height else 0) + ROUNDS_AHEAD:
            if self._ahead.get(vote.voter, 0) >= VOTES_AHEAD_MAX or len(self._seen) >= SEEN_MAX:
                return False
            self._ahead[vote.voter] = self._ahead.get(vote.voter, 0) + 1
        assert self.validators is not None
        if self._checks.get(peer, 0) >= CHECKS_BESIDE_SET + 8 * len(self.validators.members):
            return False
        self._checks[peer] = self._checks.get(peer, 0) + 1
        return True

    def _verify(self, peer: bytes, fresh: dict[Known, tuple[bytes, Vote]]) -> tuple[list[Vote], Blame | None]:
        if not fresh:
            return [], None
        signed = [(vote.sign_bytes(self.genesis), vote.signature) for _, vote in fresh.values()]
        good: list[Vote] = []
        blame = None
        for (raw, vote), signer in zip(fresh.values(), self.recover(signed), strict=True):
            if signer != vote.voter:
                blame = Blame(
                    peer=peer, points=BLAME_FATAL, reason=f"a vote of {vote.voter.hex()} that it did not sign"
                )
                continue
            self._add(vote, raw, {peer})
            good.append(vote)
        return good, blame

    def _add(self, vote: Vote, encoded: bytes, holders: set[bytes]) -> None:
        seen = _Seen(encoded=encoded, holders=holders)
        self._seen[_known(vote)] = self._by_encoding[encoded] = seen
        slot = (*vote.slot, vote.voter)
        self._in_slot[slot] = self._in_slot.get(slot, 0) + 1
        self._outgoing.append(seen)

    def next_power(self, validators: ValidatorSet) -> int:
        """The power of those whose votes of the next height are known, in that height's set."""
        voters = {known[4]: None for known in self._seen if known[0] == self.height + 1}
        return sum(validators.power(Voter(voter)) for voter in voters)

    # ------------------------------------------------------------------------------------------------- going out

    def say(self, vote: Vote) -> None:
        """An own vote, on its way to everyone."""
        known = self._seen.get(_known(vote))
        if known is None:
            self._add(vote, encode_vote(vote), set())
        else:  # said again after a restart
            self._outgoing.append(known)

    def flush(self, peers: Sequence[bytes]) -> list[Send]:
        """What has come since the last time, to those not known to have it: `peers` are all, ascending."""
        if not self._outgoing:
            return []
        outgoing, self._outgoing = self._outgoing, []
        groups: dict[tuple[bytes, ...], list[bytes]] = {}
        for peer in peers:
            lacks = tuple(seen.encoded for seen in outgoing if peer not in seen.holders)
            if lacks:
                groups.setdefault(lacks, []).append(peer)
        for seen in outgoing:
            seen.holders.update(peers)
        return [send for lacks, to in groups.items() for send in _frames(tuple(to), lacks)]

    def forget_peer(self, peer: bytes) -> None:
        """It may come again without what it had."""
        for seen in self._seen.values():
            seen.holders.discard(peer)
        self._checks.pop(peer, None)


def known_votes(votes: Iterable[Vote], validators: ValidatorSet) -> tuple[KnownVotes, ...]:
    """What Status says of votes, the latest rounds first, as many as fit."""
    places = {voter: index for index, (voter, _) in enumerate(validators.members)}
    bits: dict[tuple[int, int, bytes], bytearray] = {}
    for vote in votes:
        row = bits.setdefault(_row(vote), bytearray((len(places) + 7) // 8))
        place = places[vote.voter]
        row[place // 8] |= 1 << place % 8
    newest = sorted(bits, reverse=True)[:STATUS_VOTES_MAX]
    return tuple(KnownVotes(round=row[0], kind=row[1], block_id=row[2], voters=bytes(bits[row])) for row in newest)


def lacking_votes(
    peer: bytes, votes: Iterable[Vote], validators: ValidatorSet, known: Iterable[KnownVotes]
) -> list[Send]:
    """The votes that a peer's Status does not name, the latest rounds first."""
    places = {voter: index for index, (voter, _) in enumerate(validators.members)}
    rows = {(row.round, row.kind, row.block_id): row.voters for row in known}

    def is_known(vote: Vote) -> bool:
        place, row = places[vote.voter], rows.get(_row(vote), b"")
        return place // 8 < len(row) and bool(row[place // 8] >> place % 8 & 1)

    lacks = sorted((vote for vote in votes if not is_known(vote)), key=_row, reverse=True)[:HELP_VOTES_MAX]
    return _frames((peer,), tuple(encode_vote(vote) for vote in lacks))


def _frames(peers: tuple[bytes, ...], encoded: tuple[bytes, ...]) -> list[Send]:
    starts = range(0, len(encoded), VOTES_MAX)
    return [Send(peers=peers, message=Votes(votes=encoded[start : start + VOTES_MAX])) for start in starts]


def _row(vote: Vote) -> tuple[int, int, bytes]:
    return vote.round, int(vote.kind), vote.block_id or b""


def _known(vote: Vote) -> Known:
    return (*vote.slot, vote.block_id, vote.voter)
