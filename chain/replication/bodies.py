"""Home of a block on its way to being judged: its transactions by hash, at hand or missing, and what binds them to it.

A block's id commits to its header, the header to the transactions and the last commit. So a body is either the block's
or it is not, whoever sent it; only a body that is the block's is executed, and only then the block itself is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chain.codec import InvalidEncoding, decode_block, decode_header, encode_block, encode_header
from chain.crypto import keccak256
from chain.errors import InvalidInput
from chain.merkle import list_root
from chain.network.messages import CompactProposal
from chain.transactions import Transaction
from chain.types import Block, Header


class InvalidBody(InvalidInput):
    """What was sent as a block's body is not the block's: the sender's fault, not the block's."""


@dataclass(slots=True)
class Body:
    """A block's parts. `transactions` are decoded ones of the pool, raw ones, or None where they are missing."""

    block_id: bytes
    header: Header
    last_commit: bytes
    hashes: tuple[bytes, ...]
    transactions: list[Transaction | bytes | None]
    source: bytes | None  # the peer that listed the hashes; None for a body that is whole
    asked_ms: int = 0
    block: Block | None = None  # once the body is known to be the block's
    valid: bool | None = None  # once it has been executed
    reason: str = ""
    _encoded: bytes = field(default=b"", repr=False)

    def missing(self) -> tuple[int, ...]:
        """The places of the transactions that are not at hand."""
        return tuple([place for place, item in enumerate(self.transactions) if item is None])

    def fill(self, places: Sequence[int], raws: Sequence[bytes]) -> None:
        """Put transactions in their places. Raises InvalidBody where one is not what the hashes say."""
        for place, raw in zip(places, raws, strict=True):
            if place >= len(self.hashes) or keccak256(raw) != self.hashes[place]:
                raise InvalidBody(f"the transaction for place {place} of block {self.block_id.hex()} is another one")
            if self.transactions[place] is None:
                self.transactions[place] = raw

    def bind(self) -> None:
        """Make the block of a body without gaps. Raises InvalidBody if it is not this block's."""
        raws = tuple([item if type(item) is bytes else item.raw for item in self.transactions])  # type: ignore[union-attr]
        block = Block(header=self.header, transactions=raws, last_commit=self.last_commit)
        require_bound(block, self.block_id)
        self.block = block

    def encoded(self) -> bytes:
        """The block's encoding."""
        assert self.block is not None
        if not self._encoded:
            self._encoded = encode_block(self.block)
        return self._encoded

    def checkable(self) -> tuple[Transaction | bytes, ...]:
        """The transactions of a body without gaps."""
        return tuple(item for item in self.transactions if item is not None)

    def raws(self) -> tuple[bytes, ...]:
        assert self.block is not None
        return self.block.transactions


def require_bound(block: Block, block_id: bytes) -> None:
    """The header is the id's, transactions and last commit are the header's. Raises InvalidBody."""
    header = block.header
    if hashlib.sha256(encode_header(header)).digest() != block_id:
        raise InvalidBody(f"the header is not that of block {block_id.hex()}")
    if hashlib.sha256(block.last_commit).digest() != header.last_commit_root:
        raise InvalidBody(f"the last commit is not that of block {block_id.hex()}")
    if list_root(block.transactions) != header.transactions_root:
        raise InvalidBody(f"the transactions are not those of block {block_id.hex()}")


def compact_body(
    sent: CompactProposal, block_id: bytes, pool_get: Callable[[bytes], Transaction | None], source: bytes
) -> Body:
    """The body that a compact proposal tells of, from the pool as far as that goes. Raises InvalidBody."""
    if hashlib.sha256(sent.header).digest() != block_id:
        raise InvalidBody(f"the header is not that of block {block_id.hex()}")
    try:
        header = decode_header(sent.header)
    except InvalidEncoding as error:
        raise InvalidBody(f"the header of block {block_id.hex()}: {error}") from error
    if hashlib.sha256(sent.last_commit).digest() != header.last_commit_root:
        raise InvalidBody(f"the last commit is not that of block {block_id.hex()}")
    return Body(
        block_id=block_id,
        header=header,
        last_commit=sent.last_commit,
        hashes=sent.hashes,
        transactions=[pool_get(hash_) for hash_ in sent.hashes],
        source=source,
    )


def whole_body(encoded: bytes, block_id: bytes, pool_get: Callable[[bytes], Transaction | None] | None = None) -> Body:
    """The body of an encoded block; with a pool, its transactions need not be decoded again. Raises InvalidBody."""
    try:
        block = decode_block(encoded)
    except InvalidEncoding as error:
        raise InvalidBody(f"block {block_id.hex()}: {error}") from error
    require_bound(block, block_id)
    hashes = tuple([keccak256(raw) for raw in block.transactions])
    known = [pool_get(hash_) if pool_get else None for hash_ in hashes]
    return Body(
        block_id=block_id,
        header=block.header,
        last_commit=block.last_commit,
        hashes=hashes,
        transactions=[item or raw for item, raw in zip(known, block.transactions, strict=True)],
        source=None,
        block=block,
        _encoded=encoded,
    )


def built_body(block_id: bytes, block: Block, encoded: bytes, transactions: Sequence[Transaction]) -> Body:
    """The body of a block that was built here."""
    return Body(
        block_id=block_id,
        header=block.header,
        last_commit=block.last_commit,
        hashes=tuple([transaction.hash for transaction in transactions]),
        transactions=list(transactions),
        source=None,
        block=block,
        valid=True,
        _encoded=encoded,
    )
