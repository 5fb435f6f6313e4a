"""Home of the blocks that a ledger which begins with a snapshot keeps: the snapshot's own, and genesis."""

from __future__ import annotations

import hashlib

from chain.codec import block_hash, decode_block, decode_receipts, encode_block, encode_header, encode_receipts
from chain.crypto import keccak256
from chain.genesis import Genesis, genesis_block
from chain.light import InvalidLight, Trusted
from chain.merkle import list_root
from chain.network.messages import SnapshotBlock
from chain.storage.store import StoredBlock


def stored_block(trusted: Trusted, answer: SnapshotBlock) -> StoredBlock:
    """A block and receipts as the store keeps them, if they are those of the trusted header. Raises InvalidInput."""
    block, receipts = decode_block(answer.block), decode_receipts(answer.receipts)
    header = trusted.header
    claims = (
        block.header,
        list_root(block.transactions),
        hashlib.sha256(block.last_commit).digest(),
        list_root(receipts),
    )
    if claims != (header, header.transactions_root, header.last_commit_root, header.receipts_root):
        raise InvalidLight(f"height {header.height}: the block or its receipts are not those of the header")
    return StoredBlock(
        height=header.height,
        block_hash=trusted.hash,
        header=encode_header(header),
        block=answer.block,
        receipts=answer.receipts,
        transaction_hashes=[keccak256(raw) for raw in block.transactions],
    )


def stored_genesis(genesis: Genesis) -> StoredBlock:
    """Genesis as the store keeps it."""
    block, _ = genesis_block(genesis)
    return StoredBlock(
        height=0,
        block_hash=block_hash(block.header),
        header=encode_header(block.header),
        block=encode_block(block),
        receipts=encode_receipts(()),
        transaction_hashes=(),
    )
