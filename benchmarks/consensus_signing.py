"""Home of transfers signed before a measurement: each sender's in the order of its nonces, on all cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.processes import end_with_parent
from chain.crypto import keccak256, sha256, sign
from chain.signing import Fields, encode_signed, signing_hash_of

TRANSFER_GAS = 21_000
SIGNED_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all transfers of a network have in common; fees are 10^-18 coin per gas."""

    chain_id: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int


@dataclass(frozen=True, slots=True, order=True)
class Transfer:
    """A signed transfer; they are offered in this order, so that nobody's next one is ever far."""

    nonce: int
    sender: int  # its place among the senders
    raw: str  # 0x-hexadecimal
    hash: str


def sign_transfers(keys: Sequence[bytes], first: Sequence[int], count: int, terms: Terms) -> list[Transfer]:
    """`count` transfers of 1 unit and up, each to an account of its own; `first` are the senders' next nonces."""
    turns = -(-count // len(keys))
    wanted = [(number, start + turn) for turn in range(turns) for number, start in enumerate(first)][:count]
    parts = [wanted[at : at + SIGNED_AT_ONCE] for at in range(0, count, SIGNED_AT_ONCE)]
    if len(parts) == 1:
        return _sign_part(keys, parts[0], terms)
    context = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=end_with_parent) as pool:
        signed = pool.map(_sign_part, [keys] * len(parts), parts, [terms] * len(parts))
        return [transfer for part in signed for transfer in part]


def _sign_part(keys: Sequence[bytes], wanted: Sequence[tuple[int, int]], terms: Terms) -> list[Transfer]:
    return [_signed(keys[number], number, nonce, terms) for number, nonce in wanted]


def _signed(key: bytes, number: int, nonce: int, terms: Terms) -> Transfer:
    receiver = sha256(b"receiver" + number.to_bytes(4, "big") + nonce.to_bytes(4, "big"))[:20]
    return signed_transfer(key, number, nonce, receiver, 1 + nonce, terms)


def signed_transfer(key: bytes, number: int, nonce: int, receiver: bytes, value: int, terms: Terms) -> Transfer:
    """One transfer of `value` units to a receiver."""
    fields = Fields(
        chain_id=terms.chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=terms.max_priority_fee_per_gas,
        max_fee_per_gas=terms.max_fee_per_gas,
        gas_limit=TRANSFER_GAS,
        to=receiver,
        value=value,
    )
    raw = encode_signed(fields, sign(signing_hash_of(fields), key))
    return Transfer(nonce=nonce, sender=number, raw="0x" + raw.hex(), hash="0x" + keccak256(raw).hex())
