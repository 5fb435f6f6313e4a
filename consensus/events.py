"""Home of what goes into the Tendermint core and what comes out of it."""

from dataclasses import dataclass
from enum import IntEnum

from consensus.proposer import Priorities
from consensus.types import (
    NO_ROUND,
    BlockId,
    Commit,
    Equivocation,
    Height,
    Proposal,
    Round,
    ValidatorSet,
    Vote,
)


class Step(IntEnum):
    """Where a round stands, in the order of the paper; DECIDED until the next height starts."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    DECIDED = 4


class TimeoutKind(IntEnum):
    """The three timeouts of a round (paper, lines 57, 61 and 65)."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a node's log knows of a height: where it stood, its lock, and signed messages to begin with.

    `votes` hold its own votes and the kept polkas; `proposals` its own and those of the kept blocks, all valid.
    """

    round: Round
    step: Step
    locked_round: int = NO_ROUND
    locked_id: BlockId | None = None
    valid_round: int = NO_ROUND
    valid_id: BlockId | None = None
    votes: tuple[Vote, ...] = ()
    proposals: tuple[Proposal, ...] = ()


# ------------------------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightStarted:
    """Begin a height (paper, lines 10 and 52 to 54), above the last one; `memory` after a restart within it.

    `priorities` are those that the height before left (proposer.start in an epoch's first). A node whose address is no
    member, or whose `voting` is false, follows without a word.
    """

    height: Height
    validators: ValidatorSet
    priorities: Priorities
    voting: bool = True
    memory: Memory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A proposal whose signature is right and whose block is at hand.

    `valid` is the objective verdict on the block (it and its parent's state). `fresh_ok` is a local condition such as
    the clock: false turns the prevote on a fresh proposal to nil and has no other effect.
    """

    proposal: Proposal
    valid: bool
    fresh_ok: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """A vote whose signature is right."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueBuilt:
    """The block that BuildValue asked for."""

    height: Height
    round: Round
    block_id: BlockId


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """A scheduled timeout has passed; one of an earlier height, round or step is ignored."""

    kind: TimeoutKind
    height: Height
    round: Round


Input = HeightStarted | Proposed | Voted | ValueBuilt | TimedOut


# ------------------------------------------------------------------------------- effects, in the order to be done


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildValue:
    """It is our turn and no block has a polka: build one and answer with ValueBuilt (line 18, getValue)."""

    height: Height
    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class SendProposal:
    """Sign and broadcast (line 19), and give it back as Proposed."""

    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class SendVote:
    """Sign, log, broadcast (lines 24 to 64), and give it back as Voted."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTimeout:
    """Give back TimedOut after the duration of this kind and round (lines 21, 35 and 48)."""

    kind: TimeoutKind
    height: Height
    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBlockAndPolka:
    """Put block, proposal and polka into the synced log: it precedes the precommit that rests on them (line 36)."""

    proposal: Proposal
    polka: tuple[Vote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The height is decided (line 51): nothing more comes from it but evidence."""

    commit: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEquivocation:
    """A voter signed two votes in one slot; the first one counts."""

    evidence: Equivocation


Effect = BuildValue | SendProposal | SendVote | ScheduleTimeout | KeepBlockAndPolka | Decided | ReportEquivocation
