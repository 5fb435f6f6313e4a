"""Home of what a node's `learn_header` and `learn_proof` answer, taken apart and verified field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.codec import InvalidEncoding, block_hash, decode_header, encode_header
from chain.last_commit import SignersOf
from chain.light import InvalidLight, Trusted, verify_commit
from chain.light_blocks import LightBlock, Members
from chain.merkle import PROOF_BYTES_MAX, Proof, decode_proof, verify
from chain.operations.learning_layouts import MINER, ROUND, TASK
from chain.operations.learning_state import Miner, Round, TaskState
from chain.operations.learning_store import miner_key, round_key, task_key
from chain.operations.schema import VALUE_BYTES_MAX
from chain.state import KIND_ACCOUNT, decode_account
from consensus.codec import decode_commit
from consensus.types import InvalidConsensus


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A flat key's value (None: absent) as someone says it is after a block, with the proof."""

    height: int
    key: bytes
    value: bytes | None
    proof: Proof


def verified_value(trusted: Trusted, proved: Proved) -> bytes | None:
    """The value, if it stands so under the trusted header's state root. Raises InvalidLight."""
    if proved.height != trusted.height:
        raise InvalidLight(f"the proof is for height {proved.height}, the trusted header for {trusted.height}")
    if not verify(trusted.header.state_root, proved.key, proved.value, proved.proof):
        raise InvalidLight(f"height {proved.height}: the proof of 0x{proved.key.hex()} does not hold")
    return proved.value


# ----------------------------------------------------------------------------------------------------- flat keys


def account_key(address: bytes) -> bytes:
    return KIND_ACCOUNT + address


def account_of(value: bytes | None) -> tuple[int, int]:
    """(nonce, balance in 10^-18 coin) of an account's value; nothing is kept of an empty account."""
    return (0, 0) if value is None else decode_account(value)


def head_of(value: bytes | None) -> bytes | None:
    """The weights root of the newest head in a task's value; None where there is no such task."""
    return None if value is None else _task(value).head


def round_of(value: bytes | None) -> Round | None:
    """The round in a round's value: updates with fates and rewards, record; None where nothing was committed."""
    if value is None:
        return None
    decoded: Round = ROUND.decode(value)
    return decoded


def miner_of(value: bytes | None) -> Miner:
    """An account's sums over its ended rounds of a task, `rewarded` among them."""
    return Miner() if value is None else MINER.decode(value)


def _task(value: bytes) -> TaskState:
    decoded: TaskState = TASK.decode(value)
    return decoded


__all__ = [
    "Proved",
    "account_key",
    "account_of",
    "head_of",
    "miner_key",
    "miner_of",
    "read_light_block",
    "read_proof",
    "round_key",
    "round_of",
    "task_key",
    "verified_value",
]

# ------------------------------------------------------------------------------------------------------- answers


def read_light_block(answer: Any) -> LightBlock:
    """The light block of a `learn_header` answer; nothing of it is verified. Raises InvalidLight."""
    try:
        fields = _object(answer)
        header = decode_header(_data(fields, "header", 1 << 12))
        commit = _data(fields, "commit", 1 << 18)
        block = LightBlock(
            header=header,
            commit=decode_commit(commit) if commit else None,
            validators=_members(fields, "validators"),
            next_validators=_members(fields, "nextValidators"),
        )
    except (InvalidEncoding, InvalidConsensus) as error:
        raise InvalidLight(f"learn_header: {error}") from error
    _same("height", _quantity(fields, "height"), header.height)
    _same("hash", _data(fields, "hash", 32), block_hash(header))
    return block


def read_proof(answer: Any, trusted: Trusted, key: bytes, signers_of: SignersOf) -> Proved:
    """The proof of a `learn_proof` answer for `key` at the trusted height. Raises InvalidLight where a field of it
    does not agree with the others, with the question, or with the trusted header."""
    try:
        fields = _object(answer)
        value = None if fields.get("value", 0) is None else _data(fields, "value", VALUE_BYTES_MAX)
        proof = decode_proof(_data(fields, "proof", PROOF_BYTES_MAX))
        _same("key", _data(fields, "key", 64), key)
        _same("header", _data(fields, "header", 1 << 12), encode_header(trusted.header))
        _same("stateRoot", _data(fields, "stateRoot", 32), trusted.header.state_root)
        commit = _data(fields, "commit", 1 << 18)
        if commit or trusted.height:
            verify_commit(trusted.header, decode_commit(commit), trusted.validators, signers_of)
        if key[:1] == KIND_ACCOUNT:
            _same("nonce, balance", (_quantity(fields, "nonce"), _quantity(fields, "balance")), account_of(value))
    except (InvalidEncoding, InvalidConsensus) as error:
        raise InvalidLight(f"learn_proof: {error}") from error
    return Proved(height=_quantity(fields, "height"), key=key, value=value, proof=proof)


def _object(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise InvalidLight(f"an answer must be an object, not {type(answer).__name__}")
    return answer


def _data(fields: Mapping[str, Any], name: str, bytes_max: int) -> bytes:
    text = fields.get(name)
    if not isinstance(text, str) or text[:2] != "0x" or len(text) > 2 + 2 * bytes_max:
        raise InvalidLight(f"{name} must be at most {bytes_max} bytes in hexadecimal, not {text!r:.100}")
    try:
        return bytes.fromhex(text[2:])
    except ValueError as error:
        raise InvalidLight(f"{name}: {error}") from error


def _quantity(fields: Mapping[str, Any], name: str) -> int:
    text = fields.get(name)
    if not isinstance(text, str) or text[:2] != "0x" or len(text) > 66:
        raise InvalidLight(f"{name} must be a quantity, not {text!r:.100}")
    try:
        value = int(text, 16)
    except ValueError as error:
        raise InvalidLight(f"{name}: {error}") from error
    if hex(value) != text:
        raise InvalidLight(f"{name} must be {value:#x}, not {text!r}")
    return value


def _members(fields: Mapping[str, Any], name: str) -> Members:
    entries = fields.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InvalidLight(f"{name} must be an array of objects")
    return tuple((_data(entry, "address", 20), _quantity(entry, "votingPower")) for entry in entries)


def _same(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise InvalidLight(f"{name} is {found!r:.200}, it must be {expected!r:.200}")
