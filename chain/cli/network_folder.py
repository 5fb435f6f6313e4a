"""Home of a new network's folder: genesis, sealed shards, and a folder with keys for everyone who takes part."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.crypto import address_of
from chain.errors import LyceumError
from chain.keys import encrypt_key, load_or_make_plain_key, new_key, write_private
from chain.network.identity import NODE_KEY_NAME
from chain.storage.votelog_file import VOTES_NAME, begin_vote_log

SECRETS_NAME = "secrets"
TRAINING_NAME = "training"
DATA_NAME = "data"
JOURNAL_NAME = "journal"
VALIDATOR, CUSTODIAN, MINER = "validator", "custodian", "miner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node listens for other nodes."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Someone with a folder and a key in it; a validator has a node as well."""

    role: str
    number: int  # from 1
    key_file: str
    address: bytes
    node_id: bytes = b""  # the address (20 bytes) of a validator's node key

    @property
    def folder(self) -> str:
        return f"{self.role}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a new network shall be."""

    chain_id: int
    tasks: Sequence[str]  # built-in names and CSV files
    validators: int
    custodians: int
    miners: int
    parameters: Mapping[str, int]
    funds: Mapping[bytes, int]  # address -> 10^-18 coin, of accounts beside the members'
    password: str | None = None  # of the members' keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A network's folder that has been written."""

    validators: tuple[Member, ...]
    custodians: tuple[Member, ...]
    miners: tuple[Member, ...]
    sources: Mapping[str, str]  # task name -> SPEC of its training data, a file's relative to `training`

    @property
    def members(self) -> tuple[Member, ...]:
        return (*self.validators, *self.custodians, *self.miners)


def make_aside(out: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder that becomes `out` when it is whole; when it fails, nothing is left behind.

    Raises LyceumError if there is something at `out`: nothing is ever overwritten.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LyceumError(f"{out} exists already, and nothing is ever overwritten: choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        write(making)
        os.replace(making, out)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def write_folder(directory: Path, plan: Plan) -> Folder:
    """Write a network into an empty directory. Raises InvalidInput for tasks and parameters that can't be, OSError."""
    from chain.development import BOOTSTRAP_POWER, ROLE_BALANCE, ROLES_NAME, write_network

    validators = _members(directory, VALIDATOR, plan.validators, plan.password)
    custodians = _members(directory, CUSTODIAN, plan.custodians, plan.password)
    miners = _members(directory, MINER, plan.miners, plan.password)
    balances = {member.address: ROLE_BALANCE for member in (*validators, *custodians, *miners)}
    for address, amount in plan.funds.items():
        balances[address] = balances.get(address, 0) + amount
    write_network(
        directory,
        chain_id=plan.chain_id,
        names=plan.tasks,
        balances=balances,
        validators=[(member.address, BOOTSTRAP_POWER) for member in validators],
        custodians=[(member.address, directory / member.folder / SECRETS_NAME) for member in custodians],
        parameters=dict(plan.parameters),
    )
    os.replace(directory / ROLES_NAME, directory / TRAINING_NAME)
    sources = _sources(directory / TRAINING_NAME)
    return Folder(validators=validators, custodians=custodians, miners=miners, sources=sources)


def _members(directory: Path, role: str, count: int, password: str | None) -> tuple[Member, ...]:
    return tuple(_member(directory, role, number, password) for number in range(1, count + 1))


def _member(directory: Path, role: str, number: int, password: str | None) -> Member:
    """Make a folder with a new key in it.

    A validator's node gets its key too, so that others can name it, and a vote log that says that nothing was signed.
    """
    key, folder = new_key(), directory / f"{role}-{number}"
    key_file = f"{role}.key" if password is None else f"{role}.json"
    content = key.hex().encode() if password is None else encrypt_key(key, password)
    write_private(folder / key_file, content + b"\n")
    node_id = b""
    if role == VALIDATOR:
        node_id = address_of(load_or_make_plain_key(folder / DATA_NAME / NODE_KEY_NAME))
        begin_vote_log(folder / DATA_NAME / VOTES_NAME)
    return Member(role=role, number=number, key_file=key_file, address=address_of(key), node_id=node_id)


def _sources(training: Path) -> dict[str, str]:
    """Task name -> SPEC of the data that is left for training, relative to its folder."""
    from chain.development import SOURCES_NAME

    sources: dict[str, str] = json.loads((training / SOURCES_NAME).read_text())
    (training / SOURCES_NAME).unlink()
    if not any(training.iterdir()):
        training.rmdir()
    return sources
