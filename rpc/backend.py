"""Home of what the RPC server needs from a node, and of nothing else: one protocol, to be implemented by the node.

The node implements `Backend`, in full, as follows.

- Everything here is called on the node's event loop. Methods without `async` answer at once, from memory or from
  one read of the store; they never wait. What takes longer (recovering senders, reading blobs, evaluating) is `async`
  and runs on the node's workers.
- Heights are those of committed blocks, genesis being height 0; `tip` is the last committed one and never goes back.
  Unknown heights, hashes and roots give None. Only `state` raises: `StateNotKept` for a height whose state is gone.
- What a caller did wrong is an `InvalidInput`, its message fit to be shown, with geth's text where wallets match on it
  ("nonce too low: ...", "already known", ...). Any other exception is our own mistake: it is logged, and the
  caller is told nothing of it but "internal error".
- `on_block` calls back after a block and everything that it changes can be read here, once a block, in order;
  `on_pending` with the transactions that newly entered the pool. Callbacks return at once and do not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chain.errors import InvalidInput
from chain.history import StateNotKept
from chain.light_blocks import LightBlock
from chain.merkle import Proof
from chain.parameters import Parameters
from chain.state import View
from chain.transactions import Transaction
from chain.types import Block, Header, Receipt

__all__ = [
    "Backend",
    "BlobRefused",
    "EvaluationRefused",
    "EvaluationResult",
    "PoolReader",
    "StateNotKept",
    "StateProof",
    "Syncing",
    "Tip",
    "ValidatorStatus",
]


class BlobRefused(InvalidInput):
    """An upload that is too large, belongs to no open task or exceeds a quota."""


class EvaluationRefused(InvalidInput):
    """An evaluation that can't be done here: unknown root, sealed shard, blob not held, or too many at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """The last committed block."""

    header: Header
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Syncing:
    """Progress of catching up, in heights."""

    starting: int
    current: int
    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorStatus:
    """A validator of one height. Powers are units of power; `voting_power` is what counts in a quorum."""

    address: bytes  # its account's
    vote_key: bytes  # the address of the key that signs its votes
    voting_power: int
    earned_power: int
    bootstrap_power: int
    bond: int
    registered: bool  # whether it may be in the next epoch's set
    barred: bool
    absences: int  # commits of the running epoch that it is not in
    proposer_priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateProof:
    """A value of the state after `header`'s block (None: absent), proved under `header.state_root`.

    `commit` is the encoded commit of that block, empty where the node has none yet.
    """

    header: Header
    value: bytes | None
    proof: Proof
    commit: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """Loss of a head on a shard: summed over `samples`, in 2^-20 nat."""

    loss: int
    correct: int
    samples: int


class PoolReader(Protocol):
    """Read access to the pool of transactions that wait."""

    def get(self, transaction_hash: bytes) -> Transaction | None: ...

    def pending_nonce(self, address: bytes, nonce: int) -> int:
        """The nonce after the sender's executable transactions, if `nonce` is that of its account."""
        ...

    def counts(self) -> tuple[int, int]:
        """Executable transactions, and those behind a nonce gap."""
        ...

    def candidates(self, base_fee: int, limit: int) -> Sequence[Transaction]:
        """At most `limit` executable transactions in the order in which a block would take them."""
        ...


class Backend(Protocol):
    """A node, as the RPC server sees it."""

    @property
    def chain_id(self) -> int: ...

    @property
    def genesis_hash(self) -> bytes: ...

    @property
    def client_version(self) -> str:
        """Like "Lyceum/v0.1.0/linux-x86_64/python3.11"."""
        ...

    @property
    def parameters(self) -> Parameters: ...

    @property
    def pool(self) -> PoolReader: ...

    # ------------------------------------------------------------------------------------------------- the chain

    @property
    def oldest_block(self) -> int:
        """The height from which on all blocks are kept; genesis is kept always."""
        ...

    def tip(self) -> Tip: ...

    def header(self, height: int) -> Header | None: ...

    def block(self, height: int) -> Block | None: ...

    def receipts(self, height: int) -> tuple[Receipt, ...] | None: ...

    def height_of_hash(self, block_hash: bytes) -> int | None: ...

    def transaction_location(self, transaction_hash: bytes) -> tuple[int, int] | None:
        """Height and place in the block of a committed transaction."""
        ...

    def state(self, height: int | None = None) -> View:
        """The state after the block of this height, by default after the tip's. Raises StateNotKept.

        The view is read at once, before the caller next awaits.
        """
        ...

    async def decode_transactions(self, raws: Sequence[bytes]) -> Sequence[Transaction]:
        """Transactions of committed blocks with their senders, in order; recovered on a worker where not cached."""
        ...

    # -------------------------------------------------------------------------------------------- what comes in

    async def submit(self, raws: Sequence[bytes]) -> Sequence[bytes | Exception]:
        """Offer raw transactions to the pool, in order: each one's hash, or why it was refused (InvalidInput).

        Senders are recovered in one worker job for all of them. A hash is returned once the transaction is in the pool.
        """
        ...

    async def put_blob(self, task: bytes, client: str, data: bytes) -> bytes:
        """Keep an uploaded sealed blob for a task until a commit names it; its root. Raises BlobRefused."""
        ...

    # ------------------------------------------------------------------------------------------------- learning

    def blob_size(self, root: bytes) -> int | None: ...

    async def read_blob(self, root: bytes, start: int, length: int) -> bytes | None: ...

    def validators(self, height: int | None = None) -> Sequence[ValidatorStatus]:
        """Who votes on the block after this height, by default after the tip. Raises StateNotKept."""
        ...

    def light_block(self, height: int) -> LightBlock | None:
        """Who decided a block; None where the block, or the members of its sets, are not kept."""
        ...

    def prove(self, key: bytes, height: int | None = None) -> StateProof:
        """The value of a flat key with its proof. Raises StateNotKept where the tree is not kept that far back."""
        ...

    async def evaluate(self, task: bytes, shard_root: bytes, root: bytes | None) -> EvaluationResult:
        """Evaluate a head (by default the current one) on an opened shard, now. Raises EvaluationRefused."""
        ...

    def learning_status(self) -> dict[str, Any]:
        """What the node itself knows of its evaluations: at least `evaluationBacklog` (rounds), JSON values only."""
        ...

    # -------------------------------------------------------------------------------------------------- the node

    def syncing(self) -> Syncing | None:
        """None when the node has caught up."""
        ...

    def peer_count(self) -> int: ...

    def network_status(self) -> dict[str, Any] | None:
        """What `learn_status` tells of the network and its peers, None for a node by itself."""
        ...

    def network_traffic(self) -> Mapping[str, tuple[int, int, int, int]]:
        """Frames in, bytes in, frames out, bytes out by kind of message, since the start."""
        ...

    def on_block(self, callback: Callable[[Tip], None]) -> Callable[[], None]:
        """Be called after each commit; what is returned ends that."""
        ...

    def on_pending(self, callback: Callable[[Sequence[Transaction]], None]) -> Callable[[], None]:
        """Be called with transactions that entered the pool; what is returned ends that."""
        ...
