"""Home of what a light client asks for, as JSON: blocks with who decided them, and state values with their proofs."""

from __future__ import annotations

from typing import Any

from chain.codec import block_hash, encode_header
from chain.light_blocks import Members
from chain.merkle import encode_proof
from chain.state import KIND_ACCOUNT, decode_account
from consensus.codec import encode_commit
from rpc.formats import data, quantity
from rpc.jsonrpc import INVALID_PARAMS, SERVER_ERROR, RpcError
from rpc.records import Records


class Proofs:
    """Answers that need not be believed: chain/light_answers.py verifies them."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._backend = records.backend

    def header(self, reference: int | str | bytes) -> dict[str, Any]:
        """A block's encoded header and commit, and the members of the sets whose hashes the header has."""
        height = self._records.known_height(reference)
        found = self._backend.light_block(height)
        if found is None:
            self._records.require_kept(height)
            raise RpcError(SERVER_ERROR, f"who decided block {height} is not kept here; newer blocks are")
        return {
            "height": quantity(height),
            "hash": data(block_hash(found.header)),
            "header": data(encode_header(found.header)),
            "commit": data(encode_commit(found.commit) if found.commit else b""),
            "validators": _members(found.validators),
            "nextValidators": _members(found.next_validators),
        }

    def proof(self, address_or_key: bytes, reference: int | str | bytes) -> dict[str, Any]:
        """A state value with its Merkle proof; 20 bytes are an account's address, anything else a flat key."""
        key = KIND_ACCOUNT + address_or_key if len(address_or_key) == 20 else address_or_key
        if not 1 <= len(key) <= 64:
            raise RpcError(INVALID_PARAMS, f"invalid argument 0: a key has 1 to 64 bytes, not {len(key)}")
        found = self._backend.prove(key, self._records.known_height(reference))
        shown = {
            "key": data(key),
            "value": data(found.value) if found.value is not None else None,
            "proof": data(encode_proof(found.proof)),
            "stateRoot": data(found.header.state_root),
            "height": quantity(found.header.height),
            "header": data(encode_header(found.header)),
            "commit": data(found.commit),
        }
        if key[:1] == KIND_ACCOUNT:
            nonce, balance = decode_account(found.value) if found.value is not None else (0, 0)
            shown |= {"nonce": quantity(nonce), "balance": quantity(balance)}
        return shown


def _members(members: Members) -> list[dict[str, str]]:
    return [{"address": data(address), "votingPower": quantity(power)} for address, power in members]
