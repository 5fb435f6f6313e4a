"""Home of vote counting: who voted for what in each round of a height, once each, and with how much power."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from consensus.types import BlockId, Equivocation, Round, ValidatorSet, Vote, VoteKind, Voter

AHEAD_ROUNDS_MAX: Final = 2
"""Rounds beyond the next one in which a single voter's votes are kept (its latest), so nobody can fill the book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The votes of one round and kind: the first of each voter, the power for each block, and in all.

    `others` are contradictory votes that count for their block as well: see `add`.
    """

    votes: Mapping[Voter, Vote] = field(default_factory=dict)
    others: tuple[Vote, ...] = ()
    powers: Mapping[BlockId | None, int] = field(default_factory=dict)
    total: int = 0

    def with_vote(self, vote: Vote, power: int) -> "Tally":
        assert vote.voter not in self.votes
        return replace(
            self,
            votes={**self.votes, vote.voter: vote},
            powers={**self.powers, vote.block_id: self.power_for(vote.block_id) + power},
            total=self.total + power,
        )

    def with_other(self, vote: Vote, power: int) -> "Tally":
        assert all(vote.voter != known.voter for known in self.votes_for(vote.block_id))
        powers = {**self.powers, vote.block_id: self.power_for(vote.block_id) + power}
        return replace(self, others=(*self.others, vote), powers=powers)

    def without(self, voter: Voter, power: int) -> "Tally":
        """The tally without anything from a voter."""
        gone = [vote for vote in self.all_votes() if vote.voter == voter]
        powers = dict(self.powers)
        for vote in gone:
            powers[vote.block_id] -= power
        return Tally(
            votes={other: vote for other, vote in self.votes.items() if other != voter},
            others=tuple(vote for vote in self.others if vote.voter != voter),
            powers={block_id: left for block_id, left in powers.items() if left},
            total=self.total - (power if gone else 0),
        )

    def power_for(self, block_id: BlockId | None) -> int:
        return self.powers.get(block_id, 0)

    def votes_for(self, block_id: BlockId | None) -> tuple[Vote, ...]:
        """The votes for a block by ascending address of their voters."""
        chosen = [vote for vote in self.all_votes() if vote.block_id == block_id]
        return tuple(sorted(chosen, key=lambda vote: vote.voter))

    def all_votes(self) -> tuple[Vote, ...]:
        return (*self.votes.values(), *self.others)


EMPTY: Final = Tally()


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteBook:
    """Every vote of a height that is counted, by round and kind."""

    validators: ValidatorSet
    tallies: Mapping[tuple[Round, VoteKind], Tally] = field(default_factory=dict)
    reported: tuple[Voter, ...] = ()
    """Voters whose equivocation has been reported: once a height is enough."""

    def prevotes(self, round_: int) -> Tally:
        return self.tallies.get((Round(round_), VoteKind.PREVOTE), EMPTY)

    def precommits(self, round_: int) -> Tally:
        return self.tallies.get((Round(round_), VoteKind.PRECOMMIT), EMPTY)

    def has_polka(self, round_: int, block_id: BlockId | None) -> bool:
        """2f + 1 prevotes of a round for one block, or for nil."""
        return self.validators.is_quorum(self.prevotes(round_).power_for(block_id))

    def is_supported(self, round_: Round, block_id: BlockId) -> bool:
        """Whether an honest voter has voted for the block in this round."""
        power = max(self.prevotes(round_).power_for(block_id), self.precommits(round_).power_for(block_id))
        return self.validators.is_one_third(power)

    def rounds_after(self, round_: Round) -> Iterable[Round]:
        """Rounds above `round_` in which somebody has voted, each once."""
        return {other: None for other, _ in self.tallies if other > round_}

    def power_in(self, round_: Round) -> int:
        """The power of those who cast any vote in a round."""
        voters = {**self.prevotes(round_).votes, **self.precommits(round_).votes}
        return sum(self.validators.power(voter) for voter in voters)

    def all_votes(self) -> tuple[Vote, ...]:
        return tuple(vote for tally in self.tallies.values() for vote in tally.all_votes())


def add(book: VoteBook, vote: Vote, current: Round) -> tuple[VoteBook, Equivocation | None]:
    """The book with a member's vote, or the same book where it changes nothing; evidence where it contradicts.

    A voter's first vote counts. A contradictory one counts for its block too once an honest voter stands behind that
    block (more than a third of power): others may have counted it for their quorum, as in the paper, where messages
    are counted and not their senders' minds; without it, a voter that tells us one thing and them another could
    keep us from ever seeing what they saw. Two blocks at most can have such support in votes of a kind: a bound.
    """
    tally = book.tallies.get((vote.round, vote.kind), EMPTY)
    earlier = tally.votes.get(vote.voter)
    if earlier is not None:
        return _add_other(book, tally, earlier, vote)
    made_room = _make_room(book, vote, current)
    if made_room is None:
        return book, None
    return _with_tally(made_room, vote, tally.with_vote(vote, book.validators.power(vote.voter))), None


def _add_other(book: VoteBook, tally: Tally, earlier: Vote, vote: Vote) -> tuple[VoteBook, Equivocation | None]:
    if earlier.block_id == vote.block_id:
        return book, None
    evidence = None
    if vote.voter not in book.reported:
        book = replace(book, reported=(*book.reported, vote.voter))
        evidence = Equivocation(first=earlier, second=vote)
    known = any((other.voter, other.block_id) == (vote.voter, vote.block_id) for other in tally.others)
    if known or vote.block_id is None or not book.is_supported(vote.round, vote.block_id):
        return book, evidence
    return _with_tally(book, vote, tally.with_other(vote, book.validators.power(vote.voter))), evidence


def _with_tally(book: VoteBook, vote: Vote, tally: Tally) -> VoteBook:
    return replace(book, tallies={**book.tallies, (vote.round, vote.kind): tally})


def _make_room(book: VoteBook, vote: Vote, current: Round) -> VoteBook | None:
    """The book with room for the vote, or None where its voter has filled its room with later rounds.

    Rounds up to the next one are for everyone. Beyond, only a voter's latest rounds are kept: an honest voter that is
    ahead is found at its latest round, and a dishonest one can push out nothing but its own votes.
    """
    if vote.round <= current + 1:
        return book
    voter = vote.voter
    ahead = sorted({r: None for (r, _), tally in book.tallies.items() if r > current + 1 and voter in tally.votes})
    if vote.round in ahead or len(ahead) < AHEAD_ROUNDS_MAX:
        return book
    if vote.round < ahead[0]:
        return None
    return _forget(book, voter, ahead[0])


def _forget(book: VoteBook, voter: Voter, round_: Round) -> VoteBook:
    power = book.validators.power(voter)
    tallies = dict(book.tallies)
    for kind in VoteKind:
        tally = tallies.pop((round_, kind), EMPTY).without(voter, power)
        if tally.votes:
            tallies[round_, kind] = tally
    return replace(book, tallies=tallies)
