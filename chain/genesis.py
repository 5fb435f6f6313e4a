"""Home of a network's beginning: the genesis file, its hash, and the block and state that it stands for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain import contract
from chain.errors import InvalidInput
from chain.merkle import list_root
from chain.operations.tasks import GenesisCustodian, GenesisTask, GenesisValidator, canonical_json
from chain.parameters import Parameters, parameters_from
from chain.state import WorkingState
from chain.storage.statetree import StateTree
from chain.transition import validators_hash
from chain.types import EMPTY_BLOOM, ZERO_ADDRESS, Block, Header

DEVELOPMENT_CHAIN_ID = 1280918341
GENESIS_BYTES_MAX = 16 << 20
CHAIN_ID_MAX = 2**53 - 1


class InvalidGenesis(InvalidInput):
    """A genesis file that is none; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """What every node of a network starts from. `hash` is SHA-256 of the canonical JSON and names the network."""

    chain_id: int
    time_ms: int
    parameters: Parameters
    balances: tuple[tuple[bytes, int], ...]
    validators: tuple[GenesisValidator, ...]
    tasks: tuple[GenesisTask, ...]
    hash: bytes


def genesis_json(
    *,
    chain_id: int,
    time_ms: int,
    balances: Mapping[bytes, int],
    validators: Sequence[tuple[bytes, int, int]],  # address, power, bond
    tasks: Sequence[GenesisTask],
    parameters: Mapping[str, int],
) -> bytes:
    """A genesis file. Amounts are decimal strings, as they don't fit what JSON readers take for numbers."""
    return canonical_json(
        {
            "chain_id": chain_id,
            "time_ms": time_ms,
            "parameters": {name: str(value) for name, value in parameters.items()},
            "balances": {"0x" + address.hex(): str(amount) for address, amount in balances.items()},
            "validators": [
                {"address": "0x" + address.hex(), "power": str(power), "bond": str(bond)}
                for address, power, bond in validators
            ],
            "tasks": [
                {
                    "spec": json.loads(task.spec),
                    "custodians": [
                        {
                            "address": "0x" + custodian.address.hex(),
                            "shards_root": "0x" + custodian.shards_root.hex(),
                            "key_anchor": "0x" + custodian.key_anchor.hex(),
                            "shards": custodian.shards,
                            "bond": str(custodian.bond),
                        }
                        for custodian in task.custodians
                    ],
                }
                for task in tasks
            ],
        }
    )


def parse_genesis(data: bytes) -> Genesis:
    """The network that a genesis file describes, however it is spaced. Raises InvalidGenesis naming the field."""
    if len(data) > GENESIS_BYTES_MAX:
        raise InvalidGenesis(f"a genesis file of {len(data)} bytes; at most {GENESIS_BYTES_MAX} are read")
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidGenesis(f"the genesis file is no JSON: {error}") from error
    reader = _Reader(value, "genesis")
    known = {"chain_id", "time_ms", "parameters", "balances", "validators", "tasks"}
    unknown = sorted(set(reader.value) - known)
    if unknown:
        raise InvalidGenesis(f"genesis has a field {unknown[0]!r} that this version does not know")
    overrides = {name: _number(text, f"parameters.{name}") for name, text in reader.object("parameters").items()}
    return Genesis(
        chain_id=reader.integer("chain_id", CHAIN_ID_MAX),
        time_ms=reader.integer("time_ms", 2**53),
        parameters=parameters_from(overrides),
        balances=tuple(
            sorted(
                (_bytes(address, 20, "balances"), _number(amount, f"balances.{address}"))
                for address, amount in reader.object("balances").items()
            )
        ),
        validators=tuple(_validator(_Reader(item, f"validators[{i}]")) for i, item in reader.items("validators")),
        tasks=tuple(_task(_Reader(item, f"tasks[{i}]")) for i, item in reader.items("tasks")),
        hash=hashlib.sha256(canonical_json(value)).digest(),
    )


def genesis_block(genesis: Genesis) -> tuple[Block, dict[bytes, bytes | None]]:
    """Block 0 and the state after it: nobody proposed or signed it, its hash stands for the file's."""
    state = WorkingState(_Nothing())
    for address, amount in genesis.balances:
        state.account(address).balance += amount
    contract.genesis_learning(
        state, genesis.chain_id, genesis.parameters, genesis.tasks, genesis.validators, genesis.hash
    )
    changes = state.changes()
    tree = StateTree()
    voters = validators_hash(contract.voters_of(state))
    header = Header(
        chain_id=genesis.chain_id,
        height=0,
        time_ms=genesis.time_ms,
        parent=genesis.hash,
        proposer=ZERO_ADDRESS,
        transactions_root=list_root(()),
        receipts_root=list_root(()),
        state_root=tree.update(changes),
        weights_root=list_root(contract.heads(state)),
        last_commit_root=hashlib.sha256(b"").digest(),
        validators_hash=voters,
        next_validators_hash=voters,
        gas_used=0,
        gas_limit=genesis.parameters.block_gas_limit,
        base_fee=genesis.parameters.base_fee_initial,
        logs_bloom=EMPTY_BLOOM,
    )
    return Block(header=header, transactions=(), last_commit=b""), changes


class _Nothing:
    """The state before genesis."""

    def get(self, key: bytes) -> bytes | None:
        return None


class _Reader:
    """A JSON object whose fields are taken with their types checked."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise InvalidGenesis(f"{place} must be an object")
        self.value, self._place = value, place

    def _get(self, name: str, kind: type) -> Any:
        found = self.value.get(name)
        if type(found) is not kind:
            raise InvalidGenesis(f"{self._place}.{name} is {found!r}; it must be of type {kind.__name__}")
        return found

    def object(self, name: str) -> dict[str, Any]:
        return self._get(name, dict)  # type: ignore[no-any-return]

    def items(self, name: str) -> list[tuple[int, Any]]:
        return list(enumerate(self._get(name, list)))

    def integer(self, name: str, maximum: int) -> int:
        found = self._get(name, int)
        if not 0 <= found <= maximum:
            raise InvalidGenesis(f"{self._place}.{name} is {found}; it must be from 0 to {maximum}")
        return int(found)

    def number(self, name: str) -> int:
        return _number(self.value.get(name), f"{self._place}.{name}")

    def bytes(self, name: str, length: int) -> bytes:
        return _bytes(self.value.get(name), length, f"{self._place}.{name}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _number(text: Any, place: str) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 60:
        raise InvalidGenesis(f"{place} is {text!r}; it must be a decimal number in quotes")
    return int(text)


def _bytes(text: Any, length: int, place: str) -> bytes:
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise InvalidGenesis(f"{place} is {text!r}; it must be hexadecimal") from error
    if len(found) != length:
        raise InvalidGenesis(f"{place} has {len(found)} bytes; it must have {length}")
    return found


def _validator(reader: _Reader) -> GenesisValidator:
    return GenesisValidator(
        address=reader.bytes("address", 20), power=reader.number("power"), bond=reader.number("bond")
    )


def _task(reader: _Reader) -> GenesisTask:
    custodians = [_Reader(item, f"custodians[{i}]") for i, item in reader.items("custodians")]
    return GenesisTask(
        spec=canonical_json(reader.object("spec")),
        custodians=tuple(
            GenesisCustodian(
                address=custodian.bytes("address", 20),
                shards_root=custodian.bytes("shards_root", 32),
                key_anchor=custodian.bytes("key_anchor", 32),
                shards=custodian.integer("shards", 4096),
                bond=custodian.number("bond"),
            )
            for custodian in custodians
        ),
    )
