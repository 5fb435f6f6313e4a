"""Home of networks on disk: the private development chain that a node makes for itself, and what `init` writes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chain.crypto import address_of
from chain.genesis import DEVELOPMENT_CHAIN_ID, genesis_json
from chain.keys import load_or_make_plain_key
from chain.network_setup import Course, courses, open_task
from chain.operations.tasks import parse_spec
from chain.parameters import parameters_from
from chain.storage.datadir import storage_error
from chain.types import COIN
from learning.commitment import blob_root

# Accounts 0 to 9 of "test test test test test test test test test test test junk", path m/44'/60'/0'/0/i.
DEVELOPMENT_ACCOUNTS = tuple(
    bytes.fromhex(address)
    for address in (
        "f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
        "90f79bf6eb2c4f870365e785982e1f101e93b906",
        "15d34aaf54267db7d7c367839aaf71a00a2c6a65",
        "9965507d1a55bcc2695c58ba16fb37d819b0a4dc",
        "976ea74026e726554db657fa54763abd0c3a0aa9",
        "14dc79964da2c08b23698b3d3cc7ca32193d9955",
        "23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
        "a0ee7a142d267c1f36714e4a8f75612f20a79720",
    )
)
DEVELOPMENT_BALANCE = 10_000 * COIN
ROLE_BALANCE = 1_000 * COIN
BOOTSTRAP_POWER = 1_000_000
MINERS = 3

GENESIS_NAME = "genesis.json"
BLOBS_NAME = "genesis-blobs"
KEYS_NAME = "keys"
ROLES_NAME = "roles"
MAKING_NAME = "making"
SOURCES_NAME = "sources.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """Where a development chain keeps the keys of its own accounts."""

    directory: Path

    @property
    def validator(self) -> Path:
        return self.directory / KEYS_NAME / "validator.key"

    @property
    def custodian(self) -> Path:
        return self.directory / KEYS_NAME / "custodian.key"

    @property
    def miners(self) -> list[Path]:
        return [self.directory / KEYS_NAME / f"miner-{number}.key" for number in range(1, MINERS + 1)]


def development_names(task: str | None) -> list[str]:
    """The tasks of a development chain: all built-in ones one after the other, or the one that was asked for."""
    return ["digits", "breast-cancer", "wine"] if task is None else [task]


def make_development_chain(directory: Path, task: str | None, block_interval_ms: int) -> None:
    """Write genesis, keys, custodian's secrets and sealed shards into a data directory that has none yet.

    Everything is made aside and moved into place, the genesis file last: a crash leaves nothing half-made behind.
    """
    making = directory / MAKING_NAME
    for leftover in (MAKING_NAME, BLOBS_NAME, KEYS_NAME, ROLES_NAME):
        shutil.rmtree(directory / leftover, ignore_errors=True)
    try:
        making.mkdir(parents=True)
        _write_development_network(making, development_names(task), block_interval_ms)
        for name in (BLOBS_NAME, KEYS_NAME, ROLES_NAME, GENESIS_NAME):
            os.replace(making / name, directory / name)
        making.rmdir()
        _sync(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(making)
        raise storage_error(f"can't make a development chain in {directory}", error) from error


def _write_development_network(directory: Path, names: Sequence[str], block_interval_ms: int) -> None:
    keys = RoleKeys(directory=directory)
    validator = address_of(load_or_make_plain_key(keys.validator))
    custodian = address_of(load_or_make_plain_key(keys.custodian))
    miners = [address_of(load_or_make_plain_key(path)) for path in keys.miners]
    balances = dict.fromkeys(DEVELOPMENT_ACCOUNTS, DEVELOPMENT_BALANCE)
    balances |= dict.fromkeys((validator, custodian, *miners), ROLE_BALANCE)
    write_network(
        directory,
        chain_id=DEVELOPMENT_CHAIN_ID,
        names=names,
        balances=balances,
        validators=[(validator, BOOTSTRAP_POWER)],
        custodians=[(custodian, directory / ROLES_NAME / "custodian")],
        parameters={"power_openings_minimum": 1, "block_interval_ms": block_interval_ms},
    )


def write_network(
    directory: Path,
    *,
    chain_id: int,
    names: Sequence[str],
    balances: dict[bytes, int],
    validators: Sequence[tuple[bytes, int]],  # address, bootstrap power; the bond that makes all of it vote is minted
    custodians: Sequence[tuple[bytes, Path]],  # address, where the secrets of its shards go
    parameters: dict[str, int],
) -> None:
    """Write `genesis.json`, the blobs that it names, and what is left for training. Raises InvalidInput, OSError."""
    table = parameters_from(parameters)
    planned = courses(names, table.cycle_blocks)
    opened = [
        open_task(
            course,
            ordinal=ordinal,
            chain_id=chain_id,
            custodians=custodians,
            bond=table.custodian_bond,
            settings={},
        )
        for ordinal, course in enumerate(planned)
    ]
    for task in opened:
        parse_spec(task.task.spec, table)
    blobs = directory / BLOBS_NAME
    blobs.mkdir(parents=True, exist_ok=True)
    for task in opened:
        for blob in task.blobs:
            (blobs / blob_root(blob).hex()).write_bytes(blob)
    _write_sources(directory, planned)
    genesis = genesis_json(
        chain_id=chain_id,
        time_ms=time.time_ns() // 1_000_000,
        balances=balances,
        validators=[(address, power, power * table.bond_per_power) for address, power in validators],
        tasks=[task.task for task in opened],
        parameters=parameters,
    )
    with (directory / GENESIS_NAME).open("wb") as file:
        file.write(genesis + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _write_sources(directory: Path, planned: Sequence[Course]) -> None:
    """`roles/sources.json`: each task's training data as a SPEC relative to the folder, in the tasks' order."""
    roles = directory / ROLES_NAME
    roles.mkdir(exist_ok=True)
    sources = {}
    for course in planned:
        sources[course.name] = course.name
        if course.training is not None:
            sources[course.name] = f"npz:{course.name}.npz"
            np.savez(roles / f"{course.name}.npz", inputs=course.training.inputs, labels=course.training.labels)
    (roles / SOURCES_NAME).write_text(json.dumps(sources, indent=1) + "\n")


def read_sources(directory: Path) -> dict[str, str]:
    """Task name -> SPEC of its training data, of a development chain in a data directory."""
    roles = directory / ROLES_NAME
    sources: dict[str, str] = json.loads((roles / SOURCES_NAME).read_text())
    return {
        name: f"npz:{roles / spec.removeprefix('npz:')}" if spec.startswith("npz:") else spec
        for name, spec in sources.items()
    }


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
