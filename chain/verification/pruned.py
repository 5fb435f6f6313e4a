"""Home of `verify` on a directory without its first blocks: what they leave to be checked, and the state to go on from.

Of blocks whose state is gone, all that does not need it is checked: their links, transactions, receipts and who decided
them. Replay begins at the oldest state that is kept, which must be the one that its block's header commits to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from chain.codec import InvalidEncoding, block_hash, decode_block, decode_receipts, encode_header
from chain.executor import validators_name
from chain.last_commit import SignersOf
from chain.light import InvalidLight, verify_commit
from chain.light_blocks import Members, decode_members
from chain.merkle import list_root
from chain.storage.store import Store
from chain.transition import validators_hash
from chain.types import Block, Header
from chain.verification.replay import Different, compare
from consensus.codec import decode_commit
from consensus.types import InvalidConsensus


def oldest_replayable(store: Store) -> int:
    """The height whose state is kept, and from which on all blocks are."""
    return max(store.oldest_height, store.oldest_block)


def state_after(store: Store, height: int) -> dict[bytes, bytes]:
    """All values after a block, as the store has them."""
    with store.freeze(height) as frozen:
        return dict(frozen.items())


def verify_blocks(
    store: Store, first: int, last: int, signers_of: SignersOf, progress: Callable[[int, int], None]
) -> Header:
    """Check the blocks of these heights without executing them; the header of the last. Raises Different."""
    parent: Header | None = None
    for height in range(first, last + 1):
        parent = _verify_block(store, height, parent, signers_of)
        progress(height, store.tip() or 0)
    assert parent is not None, "there is at least one"
    return parent


def _verify_block(store: Store, height: int, parent: Header | None, signers_of: SignersOf) -> Header:
    block = _read(store, height)
    header = block.header
    compare(height, "header", store.header(height), encode_header(header))
    _require(height, "height", header.height == height)
    _require(height, "parent", parent is None or header.parent == block_hash(parent))
    _require(height, "validators_hash", parent is None or header.validators_hash == parent.next_validators_hash)
    _require(height, "transactions_root", header.transactions_root == list_root(block.transactions))
    _require(height, "last_commit_root", header.last_commit_root == hashlib.sha256(block.last_commit).digest())
    try:
        receipts = decode_receipts(store.receipts(height) or b"")
    except InvalidEncoding as error:
        raise Different(height, "receipts", str(error)) from error
    _require(height, "receipts", header.receipts_root == list_root(receipts))
    _require(height, "block hash", store.height_of_hash(block_hash(header)) == height)
    _verify_commit(store, header, signers_of)
    return header


def _verify_commit(store: Store, header: Header, signers_of: SignersOf) -> None:
    """What decided a block: it stands in the child, or beside the ledger's last block."""
    height = header.height
    encoded = store.meta("commit") or b"" if height == store.tip() else _read(store, height + 1).last_commit
    try:
        verify_commit(header, decode_commit(encoded), _members(store, header), signers_of)
    except (InvalidLight, InvalidConsensus) as error:
        raise Different(min(height + 1, store.tip() or 0), "last_commit", str(error)) from error


def _members(store: Store, header: Header) -> Members:
    """Who voted on a block."""
    encoded = store.meta(validators_name(header.validators_hash))
    if encoded is None:
        raise Different(header.height, "validators", "who voted on this block is missing")
    try:
        members = decode_members(encoded)
    except InvalidEncoding as error:
        raise Different(header.height, "validators", str(error)) from error
    _require(header.height, "validators", validators_hash(members) == header.validators_hash)
    return members


def _read(store: Store, height: int) -> Block:
    encoded = store.block(height)
    if encoded is None:
        raise Different(height, "block", "it is missing")
    try:
        return decode_block(encoded)
    except InvalidEncoding as error:
        raise Different(height, "block", str(error)) from error


def _require(height: int, name: str, holds: bool) -> None:
    if not holds:
        raise Different(height, name, "it does not agree with the header")
