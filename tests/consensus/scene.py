"""Home of short ways to write down votes, proposals and states of four equal validators."""

from collections.abc import Iterable
from typing import Any

from consensus import proposer, votes
from consensus.events import HeightStarted, Proposed, Step
from consensus.rules import State
from consensus.types import (
    NO_ROUND,
    BlockId,
    Height,
    Proposal,
    Round,
    ValidatorSet,
    Vote,
    VoteKind,
    Voter,
)
from consensus.votes import VoteBook

HEIGHT = Height(7)
ONE, TWO, THREE, FOUR, STRANGER = (Voter(bytes([n]) * 20) for n in (1, 2, 3, 4, 9))
EQUAL = ValidatorSet(members=((ONE, 1), (TWO, 1), (THREE, 1), (FOUR, 1)))
"""From fresh priorities, round 0 is ONE's to propose, round 1 TWO's, and so on."""
X, Y = BlockId(b"x" * 32), BlockId(b"y" * 32)


def vote(kind: VoteKind, round_: int, block_id: BlockId | None, voter: Voter, height: Height = HEIGHT) -> Vote:
    return Vote(height=height, round=Round(round_), kind=kind, block_id=block_id, voter=voter, signature=b"s" + voter)


def prevotes(round_: int, block_id: BlockId | None, *voters: Voter) -> list[Vote]:
    return [vote(VoteKind.PREVOTE, round_, block_id, voter) for voter in voters]


def precommits(round_: int, block_id: BlockId | None, *voters: Voter) -> list[Vote]:
    return [vote(VoteKind.PRECOMMIT, round_, block_id, voter) for voter in voters]


def proposal(round_: int, block_id: BlockId, valid_round: int = NO_ROUND, height: Height = HEIGHT) -> Proposal:
    return Proposal(
        height=height,
        round=Round(round_),
        block_id=block_id,
        valid_round=valid_round,
        proposer=proposer.proposer(EQUAL, proposer.start(EQUAL), Round(round_)),
        signature=b"p",
    )


def proposed(
    round_: int, block_id: BlockId, valid_round: int = NO_ROUND, *, valid: bool = True, fresh_ok: bool = True
) -> Proposed:
    return Proposed(proposal=proposal(round_, block_id, valid_round), valid=valid, fresh_ok=fresh_ok)


def begin(validators: ValidatorSet = EQUAL, **fields: Any) -> HeightStarted:
    return HeightStarted(height=HEIGHT, validators=validators, priorities=proposer.start(validators), **fields)


def state(
    *,
    me: Voter = FOUR,
    round_: int = 0,
    step: Step = Step.PROPOSE,
    known: Iterable[Vote] = (),
    proposals: Iterable[Proposed] = (),
    **fields: Any,
) -> State:
    """A state in which these messages are known and no rule applies, if the test says so rightly."""
    book = VoteBook(validators=EQUAL)
    for given in known:
        book, _ = votes.add(book, given, Round(round_))
    rows: dict[Round, tuple[Proposed, ...]] = {}
    for item in proposals:
        rows[item.proposal.round] = (*rows.get(item.proposal.round, ()), item)
    whole: dict[str, Any] = {
        "me": me,
        "voting": True,
        "height": HEIGHT,
        "validators": EQUAL,
        "priorities": proposer.start(EQUAL),
        "round": Round(round_),
        "step": step,
        "book": book,
        "proposals": rows,
    }
    return State(**{**whole, **fields})
