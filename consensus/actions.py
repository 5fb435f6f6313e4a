"""Home of what a node gives to the consensus driver and what the driver asks of it (driver.py says how)."""

from dataclasses import dataclass

from consensus.events import HeightStarted, ReportEquivocation, TimedOut, TimeoutKind
from consensus.types import BlockId, Commit, Height, Proposal, Round, Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each timeout of round r takes, in milliseconds: base + r * step."""

    propose_ms: int = 3_000
    propose_step_ms: int = 500
    prevote_ms: int = 1_000
    prevote_step_ms: int = 500
    precommit_ms: int = 1_000
    precommit_step_ms: int = 500

    def duration_ms(self, kind: TimeoutKind, round_: Round) -> int:
        match kind:
            case TimeoutKind.PROPOSE:
                return self.propose_ms + round_ * self.propose_step_ms
            case TimeoutKind.PREVOTE:
                return self.prevote_ms + round_ * self.prevote_step_ms
            case TimeoutKind.PRECOMMIT:
                return self.precommit_ms + round_ * self.precommit_step_ms


# ------------------------------------------------------------------------- inputs, beside HeightStarted and TimedOut


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalReceived:
    """A peer's proposal with its block, signature and block checked (`valid`, `fresh_ok` as in events.Proposed)."""

    proposal: Proposal
    block: bytes
    valid: bool
    fresh_ok: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteReceived:
    """A peer's vote, signature checked."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBuilt:
    """The block that BuildBlock asked for: its id and its encoding."""

    height: Height
    round: Round
    block_id: BlockId
    block: bytes


Given = HeightStarted | TimedOut | ProposalReceived | VoteReceived | BlockBuilt


# ---------------------------------------------------------------------------------- actions, beside ReportEquivocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Append one record to the vote log and sync it before anything that follows."""

    record: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceLog:
    """Replace the vote log, atomically, by these records: the heights before are done with."""

    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendProposal:
    """Broadcast a signed proposal with its block."""

    proposal: Proposal
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SendVote:
    """Broadcast a signed vote."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimer:
    """Give back `TimedOut(kind, height, round)` after so many milliseconds."""

    kind: TimeoutKind
    height: Height
    round: Round
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildBlock:
    """Build a block on the last committed one, with `Driver.last_commit()` as its last commit where there is one."""

    height: Height
    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitBlock:
    """The height is decided: execute and store, synced, the block with its commit."""

    commit: Commit
    block: bytes


Action = Persist | ReplaceLog | SendProposal | SendVote | StartTimer | BuildBlock | CommitBlock | ReportEquivocation
