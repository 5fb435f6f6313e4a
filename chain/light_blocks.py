"""Home of light blocks and their encodings: all that there is to verify of a block by who signed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from chain.codec import (
    HEADER_BYTES_MAX,
    InvalidEncoding,
    decode_header,
    encode_header,
    expect_array,
    pack,
    unpack,
)
from chain.operations.schema import ADDRESS, AMOUNT, array, pair
from chain.types import Header
from consensus.codec import COMMIT_BYTES_MAX, VALIDATORS_BYTES_MAX, decode_commit, encode_commit
from consensus.types import VALIDATORS_MAX, Commit, InvalidConsensus

Members: TypeAlias = tuple[tuple[bytes, int], ...]  # (vote key's address, voting power), ascending

LIGHT_BLOCK_BYTES_MAX = HEADER_BYTES_MAX + COMMIT_BYTES_MAX + 2 * VALIDATORS_BYTES_MAX + 64
_MEMBERS = array(pair(ADDRESS, AMOUNT), VALIDATORS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightBlock:
    """A block's header, who decided it, and the members of both sets that the header names."""

    header: Header
    commit: Commit | None  # None for genesis alone
    validators: Members  # who voted on it
    next_validators: Members


def encode_members(members: Members) -> bytes:
    """[[address, power as minimal big-endian bytes], ...]: what `transition.validators_hash` hashes, in its domain."""
    return pack(_MEMBERS.write(members))


def decode_members(data: bytes) -> Members:
    """The members whose encoding is `data`. Raises InvalidEncoding; order and powers are for ValidatorSet to check."""
    members: Members = _MEMBERS.read(unpack(data, bytes_max=VALIDATORS_BYTES_MAX), "validators")
    return members


def encode_light_block(block: LightBlock) -> bytes:
    """[header, commit (empty for genesis), validators, next validators (empty: the same)], each encoded."""
    following = b"" if block.next_validators == block.validators else encode_members(block.next_validators)
    commit = b"" if block.commit is None else encode_commit(block.commit)
    return pack((encode_header(block.header), commit, encode_members(block.validators), following))


def decode_light_block(data: bytes) -> LightBlock:
    """The light block whose encoding is `data`; nothing of it is verified. Raises InvalidEncoding."""
    parts = expect_array(unpack(data, bytes_max=LIGHT_BLOCK_BYTES_MAX), 4, "a light block")
    header, commit, validators, following = (_bytes(part) for part in parts)
    members = decode_members(validators)
    if following and (later := decode_members(following)) != members:
        return _light_block(header, commit, members, later)
    if following:
        raise InvalidEncoding("next validators that are the same must be empty")
    return _light_block(header, commit, members, members)


def _light_block(header: bytes, commit: bytes, validators: Members, following: Members) -> LightBlock:
    try:
        decoded = decode_commit(commit) if commit else None
    except InvalidConsensus as error:
        raise InvalidEncoding(f"the commit of a light block: {error}") from error
    return LightBlock(header=decode_header(header), commit=decoded, validators=validators, next_validators=following)


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise InvalidEncoding(f"a light block's parts must be bytes, not {value!r:.100}")
    return value
