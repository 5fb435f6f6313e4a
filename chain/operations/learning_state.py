"""Home of what the learning contract keeps in state: tasks, rounds, custodians, miners and validators."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from chain.operations.clock import Clock
from chain.types import ZERO_ADDRESS


class TaskStatus(IntEnum):
    """Whether a task still does anything."""

    ACTIVE = 1
    OVER = 2  # every round has ended, and the custodians' bonds have gone back


class RoundStatus(IntEnum):
    """How far a round has come."""

    COMMITTING = 1  # its cycle runs: updates are committed and attested as held
    HELD = 2  # its cycle is over; held updates wait for their keys
    OPENING = 3  # at least one update was revealed; shards are opened
    JUDGED = 4  # shards are open; validators attest records
    SETTLED = 5
    VOID = 6  # too few shards, or not settled in time: bonds and fees went back
    EMPTY = 7  # no held update was revealed: no shard was used


class Fate(IntEnum):
    """What became of an update: 1 to 6 are the fates of a record, see `learning.record.UpdateFate`."""

    PENDING = 0
    ACCEPTED = 1
    NO_GAIN = 2
    NOT_SIGNIFICANT = 3
    COPY = 4
    MALFORMED = 5
    VOID = 6
    NOT_HELD = 7  # validators did not have its blob in time; bond and fee went back
    NOT_REVEALED = 8  # held, but its key never came; bond cut, fee burnt


class PenaltyReason(IntEnum):
    """The `reason` of the event `Penalised`."""

    MALFORMED = 1  # an update that does not open or decode
    NOT_REVEALED = 2
    HARMFUL = 3  # several rounds running
    MISSED_OPENING = 4
    MALFORMED_SHARD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A committed update. Bond and fee are held by the contract until its round ends."""

    id: bytes
    miner: bytes
    sealed_root: bytes
    size: int  # bytes of the sealed blob
    key_hash: bytes
    base: bytes  # weights root
    bond: int
    fee: int
    committed_at: int  # height
    key: bytes = b""  # empty until revealed
    revealed_at: int = 0
    fate: Fate = Fate.PENDING
    contribution: int = 0  # 2^-20 nat a sample
    reward: int = 0
    charge: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A shard that a custodian opened: its index, the manifest it stands in, and its key."""

    custodian: bytes
    index: int
    shards_root: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of a task. Updates stand in commit order; holdings, openings and attestations by address."""

    status: RoundStatus = RoundStatus.COMMITTING
    updates: tuple[Update, ...] = ()
    holdings: tuple[tuple[bytes, bytes], ...] = ()  # (validator, bitmap: bit i % 8 of byte i // 8 is update i)
    ordinal: int = 0  # rounds judged before this one; known from OPENING on
    openings: tuple[Opening, ...] = ()
    attestations: tuple[tuple[bytes, bytes], ...] = ()  # (validator, digest)
    judged_at: int = 0
    ended_at: int = 0
    record: bytes = b""  # once settled by a record


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head and the round whose settlement made it; the initial one has the first round's number too."""

    root: bytes
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentUpdate:
    """A revealed update of an ended round within the copy window."""

    round: int
    miner: bytes
    sealed_root: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the last round settled by a record, and not void, found. Losses are means in 2^-20 nat."""

    round: int = 0
    loss_before: int = 0
    loss_after: int = 0
    correct_before: int = 0
    correct_after: int = 0
    samples: int = 0
    height: int = 0  # of its settlement; 0 if there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """A task's moving parts."""

    heads: tuple[Head, ...]  # the last staleness_max + 1, newest last
    radius: int  # trust radius, 2^-20
    radius_floor: int
    evaluation_fee: int
    custodians: tuple[bytes, ...]  # by address
    pending: tuple[int, ...] = ()  # rounds from commit to open, oldest first
    unsettled: tuple[int, ...] = ()  # judged rounds that have not ended, oldest first
    judged: int = 0  # rounds judged so far: the ordinal of the next
    settled: int = 0  # rounds settled by a record, void ones too
    step_from: bytes = b""  # the last accepted step led from this head
    step_to: bytes = b""  # to this one; both empty if there was none
    mean_pay: int = 0  # trailing mean of a settled round's pay to miners
    escrow: int = 0  # of a sponsored task
    measured: Measured = field(default_factory=Measured)
    recent: tuple[RecentUpdate, ...] = ()
    previous: tuple[Opening, ...] = ()  # used shards of the last round that was judged and not void

    @property
    def head(self) -> bytes:
        """The weights root of the newest head."""
        return self.heads[-1].root


@dataclass(frozen=True, slots=True, kw_only=True)
class Custodian:
    """An account's custody of one task. Bond is held by the contract."""

    shards_root: bytes
    key_anchor: bytes
    shards: int
    bond: int
    joined: int  # the ordinal of the round that its shard 0 is for
    opened: int  # one more than the index of the last shard that it opened; 0 before the first
    last_key: bytes  # of that shard, or the anchor

    def index_at(self, ordinal: int) -> int | None:
        """The shard that judges the round of this ordinal, None where the custodian has none for it."""
        index = ordinal - self.joined
        return index if 0 <= index < self.shards else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Miner:
    """What an account did in one task, summed over its ended rounds."""

    contribution: int = 0
    rewarded: int = 0
    charged: int = 0
    cut: int = 0
    rounds: int = 0
    streak: int = 0  # rounds running in which it was found harmful


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """An account with power or a validator's bond. Bond is held by the contract."""

    earned: int = 0
    bootstrap: int = 0
    granted: int = 0  # in the running epoch, before it is scaled; becomes power at the epoch's end
    bond: int = 0
    registered: int = 0  # 1 while it may be a validator
    vote_address: bytes = ZERO_ADDRESS  # of the key that signs its votes; zero before it first registered
    barred: int = 0  # 1 for ever once an equivocation of its vote key was proved
    withdraw_at: int = 0  # the height from which its bond may be withdrawn; 0 while it is not unbonding

    @property
    def power(self) -> int:
        return self.earned + self.bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A validator of one epoch: its vote key and power stay, whatever becomes of its account meanwhile."""

    account: bytes
    vote_address: bytes
    power: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteKey:
    """Who registered with a vote key that is not its own account's, and until when."""

    account: bytes
    until: int = 0  # the first height whose votes are the key's own account's; 0: it has not registered itself


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """A task in the list of all tasks, with its clock, so that idle blocks read nothing else."""

    task: bytes
    status: TaskStatus
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateLocation:
    """Where an update stands."""

    task: bytes
    round: int
    place: int  # in commit order


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The running epoch: all power at its start, and what was granted in it, before scaling."""

    power: int = 0
    granted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Coins that the contract has minted and burnt since genesis. Base fees are burnt beside it."""

    minted: int = 0
    burnt: int = 0
