"""Home of the values that the whole node speaks of: headers, blocks, receipts, logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Height = NewType("Height", int)
Amount = NewType("Amount", int)  # 10^-18 coin
Address = NewType("Address", bytes)  # 20 bytes
Hash = NewType("Hash", bytes)  # 32 bytes

ZERO_HASH = Hash(bytes(32))
ZERO_ADDRESS = Address(bytes(20))
EMPTY_BLOOM = bytes(256)
CONTRACT_ADDRESS = Address(bytes.fromhex("00000000000000000000000000004c796365756d"))
COIN = Amount(10**18)
GWEI = Amount(10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a block commits to. Its SHA-256 is the block's hash and consensus' block id."""

    chain_id: int
    height: int
    time_ms: int
    parent: bytes
    proposer: bytes
    transactions_root: bytes
    receipts_root: bytes
    state_root: bytes  # after this block
    weights_root: bytes  # of all tasks' heads after this block
    last_commit_root: bytes
    validators_hash: bytes
    next_validators_hash: bytes
    gas_used: int
    gas_limit: int
    base_fee: int
    logs_bloom: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A header, the raw transactions as they came, and the encoded commit of the parent (empty at height 1)."""

    header: Header
    transactions: tuple[bytes, ...]
    last_commit: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a transaction did. `gas_used` is its own, not cumulative."""

    status: int  # 1 done, 0 reverted
    gas_used: int
    effective_gas_price: int
    logs: tuple[Log, ...]
