"""Home of what nodes say to each other: one frame a message, its kind in the first byte, each kind with a bound.

A frame is the kind's byte and the canonical msgpack array of the message's fields. A frame longer than its kind's bound
is refused before anything of it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

from chain.codec import BLOCK_BYTES_MAX, HEADER_BYTES_MAX
from chain.errors import InvalidInput
from chain.light_blocks import LIGHT_BLOCK_BYTES_MAX
from chain.operations.schema import HASH, UINT, Layout, array, blob, fixed, pair
from chain.transactions import TRANSACTION_BYTES_MAX
from consensus.codec import COMMIT_BYTES_MAX, PROPOSAL_BYTES_MAX, VOTE_BYTES_MAX
from learning.commitment import CHUNK_BYTES

PEERS_MAX: Final = 64
HASHES_MAX: Final = 4096
TRANSACTIONS_MAX: Final = 2048
TRANSACTIONS_BYTES_MAX: Final = 1 << 19  # of a frame of transactions that were asked for
VOTES_MAX: Final = 256
STATUS_VOTES_MAX: Final = 64
STATUS_PROPOSALS_MAX: Final = 16
BITMAP_BYTES_MAX: Final = 125  # a bit for each of the most validators that a set can have
BLOCK_TRANSACTIONS_MAX: Final = 1 << 14  # what fits a block of the most bytes and more
BLOCKS_MAX: Final = 128
BLOCKS_BYTES_MAX: Final = 2 * BLOCK_BYTES_MAX  # of a frame of blocks; one always fits
HEADERS_MAX: Final = 256
HAVE_BLOBS_MAX: Final = 256
PROOF_HASHES_MAX: Final = 64
SNAPSHOTS_MAX: Final = 16
RECEIPTS_BYTES_MAX: Final = 2 * BLOCK_BYTES_MAX
SNAPSHOT_CHUNK_BYTES_MAX: Final = 3 << 20  # of encoded leaves
SNAPSHOT_SIBLINGS_BYTES_MAX: Final = 64 * 32
HOST_BYTES_MAX: Final = 255
PORT_MAX: Final = 65_535


class InvalidFrame(InvalidInput):
    """A frame that no honest node sends: whoever sent it is cut off."""


class Kind(IntEnum):
    """The first byte of a frame."""

    GET_PEERS = 10
    PEERS = 11
    NOT_HELD = 12

    TRANSACTION_HASHES = 20
    GET_TRANSACTIONS = 21
    TRANSACTIONS = 22

    COMPACT_PROPOSAL = 30
    WHOLE_PROPOSAL = 31
    VOTES = 32
    STATUS = 33
    GET_PROPOSAL_TRANSACTIONS = 34
    PROPOSAL_TRANSACTIONS = 35
    HAVE_PROPOSAL = 36
    GET_PROPOSAL = 37

    GET_BLOCKS = 40
    BLOCKS = 41
    GET_HEADERS = 42
    HEADERS = 43

    HAVE_BLOBS = 50
    GET_BLOB_CHUNK = 51
    BLOB_CHUNK = 52

    GET_SNAPSHOTS = 60
    SNAPSHOTS = 61
    GET_LIGHT_BLOCK = 62
    LIGHT_BLOCK_OF = 63
    GET_SNAPSHOT_BLOCK = 64
    SNAPSHOT_BLOCK = 65
    GET_SNAPSHOT_CHUNK = 66
    SNAPSHOT_CHUNK = 67


# ------------------------------------------------------------------------------------------------------------ peers


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAddress:
    """Where a node listens, and who it is: the address (20 bytes) of its node key."""

    node: bytes
    host: bytes  # a numeric address, ASCII
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPeers:
    """Asks for addresses of other nodes. `id` comes back in the answer, here and below."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    id: int
    addresses: tuple[PeerAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotHeld:
    """The answer to any request for something that the node does not have."""

    id: int


# ----------------------------------------------------------------------------------------------------- transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionHashes:
    """Announces transactions of the sender's pool: each once to each peer."""

    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTransactions:
    id: int
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """Those of the asked ones that are in the pool and fit a frame, in the order of the question."""

    id: int
    raws: tuple[bytes, ...]


# -------------------------------------------------------------------------------------------------------- consensus


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactProposal:
    """A proposal whose block names its transactions by hash: round 0, when everyone's pool should have them."""

    proposal: bytes  # consensus.codec.encode_proposal
    header: bytes
    last_commit: bytes
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeProposal:
    """A proposal with its encoded block."""

    proposal: bytes
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Encoded votes: flooded as they come, and sent to peers that lack them."""

    votes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVotes:
    """The voters whose vote for a block (empty: nil) is known, a bit for each member of the height's set, in order.

    Named by block, as of a voter that lies both votes may be needed. Bit i of byte i // 8 is the lowest first.
    """

    round: int
    kind: int
    block_id: bytes
    voters: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a node stands: it works on `height`, and what it knows there, so that others send what it lacks."""

    height: int
    round: int
    oldest_block: int  # the least height whose block the node can give
    votes: tuple[KnownVotes, ...]
    proposals: tuple[tuple[int, bytes], ...]  # (round, block id) of those whose block is at hand


@dataclass(frozen=True, slots=True, kw_only=True)
class GetProposalTransactions:
    """Asks the sender of a compact proposal for the transactions at these places of its block, ascending."""

    block_id: bytes
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalTransactions:
    block_id: bytes
    places: tuple[int, ...]
    raws: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HaveProposal:
    """Tells that the sender has a proposal with its block, found right: who lacks it asks."""

    height: int
    round: int
    block_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GetProposal:
    """Asks a peer for a proposal that it has."""

    height: int
    round: int
    block_id: bytes


# ------------------------------------------------------------------------------------------------------------- sync


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlocks:
    """Asks for decided blocks from a height on."""

    id: int
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """(encoded block, encoded commit that decided it), as many as fit a frame; NotHeld if there is not even one."""

    id: int
    first: int
    blocks: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHeaders:
    id: int
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """(encoded header, encoded commit that decided its block)."""

    id: int
    first: int
    headers: tuple[tuple[bytes, bytes], ...]


# ------------------------------------------------------------------------------------------------------------ blobs


@dataclass(frozen=True, slots=True, kw_only=True)
class HaveBlobs:
    """Tells of blobs that have come to the node and that others will want."""

    roots: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlobChunk:
    """Asks for a chunk (learning.commitment) of a blob; `task` is empty, or for a head the task whose head it is."""

    id: int
    root: bytes
    task: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobChunk:
    id: int
    length: int  # of the whole blob
    data: bytes
    proof: tuple[bytes, ...]


# -------------------------------------------------------------------------------------------------------- snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSnapshots:
    """Asks for the heights whose whole state the node can give."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    id: int
    heights: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLightBlock:
    """Asks for a block's header, commit and validators (chain/light_blocks.py)."""

    id: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LightBlockOf:
    id: int
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSnapshotBlock:
    """Asks for the block at a snapshot's height with its receipts."""

    id: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotBlock:
    id: int
    block: bytes
    receipts: bytes  # chain.codec.encode_receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSnapshotChunk:
    """Asks for the chunk (chain/sync/snapshot.py) of a snapshot whose place holds `start`."""

    id: int
    height: int
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotChunk:
    id: int
    start: int  # of the chunk's place
    bits: int
    items: bytes
    siblings: bytes


Message: TypeAlias = (
    GetPeers
    | Peers
    | NotHeld
    | TransactionHashes
    | GetTransactions
    | Transactions
    | CompactProposal
    | WholeProposal
    | Votes
    | Status
    | GetProposalTransactions
    | ProposalTransactions
    | HaveProposal
    | GetProposal
    | GetBlocks
    | Blocks
    | GetHeaders
    | Headers
    | HaveBlobs
    | GetBlobChunk
    | BlobChunk
    | GetSnapshots
    | Snapshots
    | GetLightBlock
    | LightBlockOf
    | GetSnapshotBlock
    | SnapshotBlock
    | GetSnapshotChunk
    | SnapshotChunk
)

# --------------------------------------------------------------------------------------------------------- encoding

_RAW = blob(BLOCK_BYTES_MAX)
_HEADER = blob(HEADER_BYTES_MAX)
_COMMIT = blob(COMMIT_BYTES_MAX)
_PROPOSAL = blob(PROPOSAL_BYTES_MAX)
_PLACES = array(UINT, BLOCK_TRANSACTIONS_MAX)
_PEER = Layout(PeerAddress, node=fixed(20), host=blob(HOST_BYTES_MAX), port=UINT)
_KNOWN_VOTES = Layout(KnownVotes, round=UINT, kind=UINT, block_id=blob(32), voters=blob(BITMAP_BYTES_MAX))

_SMALL: Final = 1 << 10

_KINDS: Final[tuple[tuple[Kind, type, Layout[Any], int], ...]] = tuple(
    (kind, cls, Layout(cls, **kinds), bytes_max)
    for kind, cls, bytes_max, kinds in (
        (Kind.GET_PEERS, GetPeers, _SMALL, {"id": UINT}),
        (Kind.PEERS, Peers, 32 << 10, {"id": UINT, "addresses": array(_PEER.kind, PEERS_MAX)}),
        (Kind.NOT_HELD, NotHeld, _SMALL, {"id": UINT}),
        (Kind.TRANSACTION_HASHES, TransactionHashes, 256 << 10, {"hashes": array(HASH, HASHES_MAX)}),
        (Kind.GET_TRANSACTIONS, GetTransactions, 128 << 10, {"id": UINT, "hashes": array(HASH, TRANSACTIONS_MAX)}),
        (
            Kind.TRANSACTIONS,
            Transactions,
            TRANSACTIONS_BYTES_MAX + (16 << 10),
            {"id": UINT, "raws": array(blob(TRANSACTION_BYTES_MAX), TRANSACTIONS_MAX)},
        ),
        (
            Kind.COMPACT_PROPOSAL,
            CompactProposal,
            BLOCK_BYTES_MAX,
            {
                "proposal": _PROPOSAL,
                "header": _HEADER,
                "last_commit": _COMMIT,
                "hashes": array(HASH, BLOCK_TRANSACTIONS_MAX),
            },
        ),
        (
            Kind.WHOLE_PROPOSAL,
            WholeProposal,
            BLOCK_BYTES_MAX + _SMALL,
            {"proposal": _PROPOSAL, "block": blob(BLOCK_BYTES_MAX)},
        ),
        (Kind.VOTES, Votes, 64 << 10, {"votes": array(blob(VOTE_BYTES_MAX), VOTES_MAX)}),
        (
            Kind.STATUS,
            Status,
            16 << 10,
            {
                "height": UINT,
                "round": UINT,
                "oldest_block": UINT,
                "votes": array(_KNOWN_VOTES.kind, STATUS_VOTES_MAX),
                "proposals": array(pair(UINT, HASH), STATUS_PROPOSALS_MAX),
            },
        ),
        (
            Kind.GET_PROPOSAL_TRANSACTIONS,
            GetProposalTransactions,
            64 << 10,
            {"block_id": HASH, "places": _PLACES},
        ),
        (
            Kind.PROPOSAL_TRANSACTIONS,
            ProposalTransactions,
            BLOCK_BYTES_MAX + (64 << 10),
            {"block_id": HASH, "places": _PLACES, "raws": array(_RAW, BLOCK_TRANSACTIONS_MAX)},
        ),
        (Kind.HAVE_PROPOSAL, HaveProposal, _SMALL, {"height": UINT, "round": UINT, "block_id": HASH}),
        (Kind.GET_PROPOSAL, GetProposal, _SMALL, {"height": UINT, "round": UINT, "block_id": HASH}),
        (Kind.GET_BLOCKS, GetBlocks, _SMALL, {"id": UINT, "first": UINT, "count": UINT}),
        (
            Kind.BLOCKS,
            Blocks,
            BLOCKS_BYTES_MAX + BLOCK_BYTES_MAX,
            {"id": UINT, "first": UINT, "blocks": array(pair(blob(BLOCK_BYTES_MAX), _COMMIT), BLOCKS_MAX)},
        ),
        (Kind.GET_HEADERS, GetHeaders, _SMALL, {"id": UINT, "first": UINT, "count": UINT}),
        (
            Kind.HEADERS,
            Headers,
            1 << 20,
            {"id": UINT, "first": UINT, "headers": array(pair(_HEADER, _COMMIT), HEADERS_MAX)},
        ),
        (Kind.HAVE_BLOBS, HaveBlobs, 16 << 10, {"roots": array(HASH, HAVE_BLOBS_MAX)}),
        (
            Kind.GET_BLOB_CHUNK,
            GetBlobChunk,
            _SMALL,
            {"id": UINT, "root": HASH, "task": blob(32), "index": UINT},
        ),
        (
            Kind.BLOB_CHUNK,
            BlobChunk,
            CHUNK_BYTES + (4 << 10),
            {"id": UINT, "length": UINT, "data": blob(CHUNK_BYTES), "proof": array(HASH, PROOF_HASHES_MAX)},
        ),
        (Kind.GET_SNAPSHOTS, GetSnapshots, _SMALL, {"id": UINT}),
        (Kind.SNAPSHOTS, Snapshots, _SMALL, {"id": UINT, "heights": array(UINT, SNAPSHOTS_MAX)}),
        (Kind.GET_LIGHT_BLOCK, GetLightBlock, _SMALL, {"id": UINT, "height": UINT}),
        (
            Kind.LIGHT_BLOCK_OF,
            LightBlockOf,
            LIGHT_BLOCK_BYTES_MAX + _SMALL,
            {"id": UINT, "block": blob(LIGHT_BLOCK_BYTES_MAX)},
        ),
        (Kind.GET_SNAPSHOT_BLOCK, GetSnapshotBlock, _SMALL, {"id": UINT, "height": UINT}),
        (
            Kind.SNAPSHOT_BLOCK,
            SnapshotBlock,
            BLOCK_BYTES_MAX + RECEIPTS_BYTES_MAX + _SMALL,
            {"id": UINT, "block": blob(BLOCK_BYTES_MAX), "receipts": blob(RECEIPTS_BYTES_MAX)},
        ),
        (Kind.GET_SNAPSHOT_CHUNK, GetSnapshotChunk, _SMALL, {"id": UINT, "height": UINT, "start": UINT}),
        (
            Kind.SNAPSHOT_CHUNK,
            SnapshotChunk,
            SNAPSHOT_CHUNK_BYTES_MAX + (4 << 10),
            {
                "id": UINT,
                "start": UINT,
                "bits": UINT,
                "items": blob(SNAPSHOT_CHUNK_BYTES_MAX),
                "siblings": blob(SNAPSHOT_SIBLINGS_BYTES_MAX),
            },
        ),
    )
)
_BY_CLASS: Final = {cls: (kind, layout, bytes_max) for kind, cls, layout, bytes_max in _KINDS}
_BY_KIND: Final = {int(kind): (layout, bytes_max) for kind, _, layout, bytes_max in _KINDS}

FRAME_BYTES_MAX: Final = 1 + max(bytes_max for _, _, _, bytes_max in _KINDS)
"""No frame of any kind is longer."""


def encode(message: Message) -> bytes:
    """The frame of a message."""
    kind, layout, bytes_max = _BY_CLASS[type(message)]
    body = layout.encode(message)
    assert len(body) <= bytes_max, f"a {type(message).__name__} of {len(body)} bytes"
    return bytes([kind]) + body


def decode(frame: bytes) -> Message:
    """The message of a frame. Raises InvalidFrame, before anything is read where the frame is too long."""
    known = _BY_KIND.get(frame[0]) if frame else None
    if known is None:
        raise InvalidFrame(f"a frame of unknown kind: {frame[:1].hex() or 'it is empty'}")
    layout, bytes_max = known
    if len(frame) - 1 > bytes_max:
        raise InvalidFrame(f"{len(frame)} bytes, at most {1 + bytes_max} are allowed for kind {frame[0]}")
    try:
        message: Message = layout.decode(frame[1:])
    except InvalidInput as error:
        raise InvalidFrame(f"kind {frame[0]}: {error}") from error
    return message


def frame_bytes_max(kind: int) -> int:
    """The most bytes of a frame of a kind, the kind's byte included. Raises InvalidFrame for an unknown one."""
    known = _BY_KIND.get(kind)
    if known is None:
        raise InvalidFrame(f"a frame of unknown kind: {kind:02x}")
    return 1 + known[1]


ANSWERS: Final[dict[type, type]] = {
    GetPeers: Peers,
    GetTransactions: Transactions,
    GetBlocks: Blocks,
    GetHeaders: Headers,
    GetBlobChunk: BlobChunk,
    GetSnapshots: Snapshots,
    GetLightBlock: LightBlockOf,
    GetSnapshotBlock: SnapshotBlock,
    GetSnapshotChunk: SnapshotChunk,
}
"""What answers a question, unless it is NotHeld. All of them carry an `id`, and an answer has that of its question."""

QUESTION_KINDS: Final = frozenset(int(_BY_CLASS[cls][0]) for cls in ANSWERS)
