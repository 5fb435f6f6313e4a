"""Home of the genesis of a network that is measured: validators, funded senders, and who teaches where anybody does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import sender_addresses
from chain.crypto import address_of
from chain.development import (
    BOOTSTRAP_POWER,
    DEVELOPMENT_ACCOUNTS,
    DEVELOPMENT_BALANCE,
    ROLE_BALANCE,
    write_network,
)
from chain.genesis import DEVELOPMENT_CHAIN_ID
from chain.keys import load_or_make_plain_key
from chain.types import COIN

TASK = "digits"
CUSTODIANS = 3
MINERS = 3
SENDER_BALANCE = 10_000 * COIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """A custodian's files."""

    key: Path
    secrets: Path

    def arguments(self) -> list[str]:
        return ["custody", "--secrets", str(self.secrets), "--key", str(self.key)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """A miner's files and its share of the data."""

    key: Path
    journal: Path
    share: str

    def arguments(self) -> list[str]:
        data = f"{TASK}#{self.share}"
        return ["mine", "--task", TASK, "--data", data, "--key", str(self.key), "--dir", str(self.journal)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Who takes part beside the senders: the validators' key files, custodians and miners."""

    validators: tuple[Path, ...]
    custodians: tuple[Custody, ...]
    miners: tuple[Mining, ...]

    def role_arguments(self) -> list[list[str]]:
        """What `python -m chain` gets for each custodian and miner, but for the node's address."""
        return [each.arguments() for each in self.custodians] + [each.arguments() for each in self.miners]


def write_genesis(directory: Path, *, validators: int, senders: int, block_interval_ms: int, learning: bool) -> Members:
    """Write `genesis.json` with validators of equal power, and a folder with a key for each member."""
    members = Members(
        validators=tuple(directory / f"validator-{number}" / "key" for number in range(1, validators + 1)),
        custodians=tuple(
            Custody(
                key=directory / f"custodian-{number}" / "key", secrets=directory / f"custodian-{number}" / "secrets"
            )
            for number in range(1, CUSTODIANS * learning + 1)
        ),
        miners=tuple(
            Mining(
                key=directory / f"miner-{number}" / "key",
                journal=directory / f"miner-{number}" / "journal",
                share=f"{number}/{MINERS}",
            )
            for number in range(1, MINERS * learning + 1)
        ),
    )
    voters = [_account(path) for path in members.validators]
    custodians = [(_account(custody.key), custody.secrets) for custody in members.custodians]
    taking_part = [*voters, *(address for address, _ in custodians), *(_account(each.key) for each in members.miners)]
    balances = dict.fromkeys(sender_addresses(senders), SENDER_BALANCE)
    balances |= dict.fromkeys(DEVELOPMENT_ACCOUNTS, DEVELOPMENT_BALANCE)
    write_network(
        directory,
        chain_id=DEVELOPMENT_CHAIN_ID,
        names=[TASK] if learning else [],
        balances=balances | dict.fromkeys(taking_part, ROLE_BALANCE),
        validators=[(address, BOOTSTRAP_POWER) for address in voters],
        custodians=custodians,
        parameters={"block_interval_ms": block_interval_ms},
    )
    return members


def _account(key: Path) -> bytes:
    return address_of(load_or_make_plain_key(key))
