"""Home of the glue between the Tendermint core and a node: inputs in, actions out in the order they must be done.

The driver signs what the core decides to say, logs it, loops it back into the core (own votes and proposals take the
path of everyone's), and holds the bytes of the blocks of the current height. It has no clock, disk or socket: a
node and the simulator perform its actions, and that is all they need to do.

    driver = Driver(me, genesis, sign, timeouts)
    for action in driver.handle(HeightStarted(...)):
        match action:
            case Persist():        vote_log.append(action.record)        # returns when synced
            case SendProposal():   gossip(action.proposal, action.block)
            case SendVote():       gossip(action.vote)
            case StartTimer():     call_later(action.duration_ms, TimerFired(kind, height, round))
            case BuildBlock():     build on a worker, then handle(BlockBuilt(...)) (no answer is allowed)
            case CommitBlock():    execute and store the block with its commit, synced, then start the next height
            case ReplaceLog():     vote_log.replace(action.records)      # atomic
            case ReportEquivocation(): put the evidence into a block

Rules for whoever performs them:

- One at a time and in order; an action that fails (a full disk) ends the process, as the driver has moved on and only
  the log knows what was said. Nothing may leave the node before the `Persist` in front of it has returned.
- Only what has been verified goes in: `VoteReceived` and `ProposalReceived` carry signatures that the node has
  checked over `sign_bytes(genesis)`; whether voter and proposer may speak is checked here.
- `ProposalReceived.valid` is the objective verdict on the block (it and its parent's state); `fresh_ok` is the local
  one (its time is not too far ahead). A proposal may come late, and again, and no answer is always allowed.
- `CommitBlock` comes once a height. The node starts the next one when it likes (that is the block interval) by
  `HeightStarted`; precommits that arrive in between still join `last_commit()`.
- Messages of the next height: votes are kept (bounded); the node itself keeps a proposal until its height starts.
- Messages of another height or an outsider are ignored. `InvalidConsensus` is raised for what no honest node sends.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consensus.events import HeightStarted, ReportEquivocation, TimedOut, TimeoutKind
from consensus.types import BlockId, Commit, Height, Proposal, Round, Vote, Voter


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


Action = (
    Persist
    | ReplaceLog
    | SendProposal
    | SendVote
    | StartTimer
    | BuildBlock
    | CommitBlock
    | ReportEquivocation
)

Sign = Callable[[bytes], bytes]
"""Signs what `sign_bytes` gives, with the key of the driver's `me`; must be deterministic."""


class Driver:
    """One node's consensus: feed `handle`, perform what it returns. Deterministic, no I/O, not thread-safe.

    Driver(me: Voter | None, genesis: bytes, sign: Sign, timeouts: Timeouts, log: Recovered)
      log = votelog.recover(records) of the vote log as found at start; me is None for a node without a key.
    handle(given: Given) -> list[Action]
    last_commit() -> Commit | None      of the height before, with late precommits; None: use the stored one
    votes() -> tuple[Vote, ...]         every vote of this height that it counts (to send to peers that lack them)
    proposals() -> tuple[tuple[Proposal, bytes], ...]   the proposals of this height with their blocks
    state -> tendermint.State           height, round, step and lock, for status
    """
