"""Home of what goes into a replica (chain/replication/replica.py) and of what it asks its shell to do.

Times are milliseconds; peers are the 20-byte addresses of their node keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from chain.network.messages import Message
from chain.transactions import Transaction
from chain.types import Block
from consensus.actions import Persist, ReplaceLog
from consensus.events import ReportEquivocation, TimedOut
from consensus.proposer import Priorities
from consensus.types import BlockId, Commit, Height, Round, ValidatorSet

BLAME_FATAL: Final = 100
"""Points for what no honest node sends: the peer is cut off."""
BLAME_SLOW: Final = 1
"""Points for what a slow link or a busy machine explains as well, and may explain for long."""
BLAME_SLIGHT: Final = 10
"""Points for what an honest node may do now and then, a slow one say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """Where a ledger stands: its last block, and who votes on the next one."""

    height: Height
    block_id: BlockId
    validators: ValidatorSet  # of height + 1
    priorities: Priorities  # that `height` left
    oldest_block: int  # the least height whose block can be given to others
    time_ms: int = 0  # the block's own


# ------------------------------------------------------------------------------------------------------------ inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The first input: what the disk holds. The first height starts after the pause."""

    tip: Tip
    pause_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnected:
    """`called`: by this node, which is harder to bring about for an attacker than a connection that comes."""

    peer: bytes
    called: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerGone:
    peer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A decoded message of a connected peer, of one of `MESSAGES`; others are nobody's business here."""

    peer: bytes
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A second has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightDue:
    """The block interval has passed: this height may start."""

    height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The block that Build asked for, executed."""

    height: Height
    round: Round
    block_id: BlockId
    block: Block
    encoded: bytes
    transactions: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The verdict on a block that Check asked for: executed on its parent's state. `reason` says why it is invalid.

    There is none on a block whose parent is not the tip any more.
    """

    block_id: BlockId
    valid: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The block that CommitBlock asked for is on the disk."""

    tip: Tip


Given: TypeAlias = Opened | PeerConnected | PeerGone | Received | Tick | HeightDue | TimedOut | Built | Checked | Stored


# ----------------------------------------------------------------------------------------- actions, in order to be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send a message to some peers (ascending), never waiting; one that is gone, or does not read, is left out."""

    peers: tuple[bytes, ...]
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimer:
    """Give back `given` after so many milliseconds."""

    given: TimedOut | HeightDue
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Build a block on the tip and answer with Built, or not at all. `last_commit`: None for the stored one."""

    height: Height
    round: Round
    last_commit: Commit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Execute a block on the tip and answer with Checked; no answer if the tip has moved on.

    `transactions` are the block's: from the pool where they are decoded, raw where that is still to be done.
    """

    block_id: BlockId
    block: Block
    transactions: tuple[Transaction | bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """A decided block will be committed soon: its transactions may be decoded and recovered on a worker meanwhile."""

    block_id: BlockId
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitBlock:
    """Store a decided block, synced, with its commit, and answer with Stored.

    A block that was built or checked on the tip has been executed; another is executed first. Two thirds have signed
    it: if it is invalid here, the node stops. `live` says that it was decided here, not fetched.
    """

    commit: Commit
    block_id: BlockId
    block: Block
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SendBlocks:
    """Send Blocks with what is stored from `first` on, at most `count` and what fits a frame, or NotHeld."""

    peer: bytes
    id: int
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Hold something against a peer; at BLAME_FATAL it is cut off."""

    peer: bytes
    points: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the node with this error: two thirds have signed what it judges invalid."""

    reason: str


Action: TypeAlias = (
    Persist
    | ReplaceLog
    | Send
    | StartTimer
    | Build
    | Check
    | Decode
    | CommitBlock
    | SendBlocks
    | Blame
    | Stop
    | ReportEquivocation
)
