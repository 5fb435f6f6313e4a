"""Home of `init`: a new network's genesis file, its sealed shards, and a folder of keys for everyone who takes part."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.cli.amounts import coins
from chain.cli.main import UsageError
from chain.cli.options import add_password, read_password
from chain.crypto import InvalidAddress, address_of, checksum_address, parse_address
from chain.errors import LyceumError
from chain.keys import encrypt_key, new_key, write_private

VALIDATORS_MAX = 100
CUSTODIANS_MAX = 16
MINERS_MAX = 1000
POWER_OPENINGS = 3  # a network of fewer custodians must do with fewer
CHAIN_ID_MIN, CHAIN_ID_MAX = 1, 2**53 - 1
RANDOM_CHAIN_IDS = range(10**9, 2 * 10**9)
SECRETS_NAME = "secrets"
TRAINING_NAME = "training"
README_NAME = "README.txt"


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for all of it")
    add(
        "--task",
        action="append",
        required=True,
        metavar="NAME|CSV",
        help="what is taught: digits, breast-cancer, wine or a CSV file[,label=NAME]; several follow each other",
    )
    add("--validators", type=int, default=1, metavar="N", help="nodes that vote, of equal power (1)")
    add("--custodians", type=int, default=1, metavar="N", help="who hold the held-out data, a part each (1)")
    add("--miners", type=int, default=1, metavar="N", help="accounts with coins for fees and bonds (1)")
    add("--fund", action="append", default=[], type=grant, metavar="ADDRESS=COINS", help="coins for another account")
    add("--chain-id", type=int, metavar="ID", help="a random one, so that no other network takes your signatures")
    add("--block-interval", type=float, default=1.0, metavar="SECONDS", help="from block to block, at least (1)")
    add_password(parser)


def grant(text: str) -> tuple[bytes, int]:
    """`ADDRESS=COINS`."""
    address, mark, amount = text.partition("=")
    if not mark:
        raise argparse.ArgumentTypeError(f"{text!r} must be ADDRESS=COINS")
    try:
        return parse_address(address), coins(amount)
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Someone with a folder and a key in it."""

    folder: str
    key_file: str
    address: bytes


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LyceumError(f"{out} exists already, and nothing is ever overwritten: choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        chain_id = arguments.chain_id or secrets.choice(RANDOM_CHAIN_IDS)
        _write(making, arguments, chain_id, _password(arguments))
        os.replace(making, out)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    print(f"network {chain_id} is in {out}; {out / README_NAME} says how to start it")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    bounds = {"validators": (1, VALIDATORS_MAX), "custodians": (1, CUSTODIANS_MAX), "miners": (0, MINERS_MAX)}
    for name, (low, high) in bounds.items():
        if not low <= getattr(arguments, name) <= high:
            raise UsageError(f"--{name} {getattr(arguments, name)} must be from {low} to {high}")
    if arguments.chain_id is not None and not CHAIN_ID_MIN <= arguments.chain_id <= CHAIN_ID_MAX:
        raise UsageError(f"--chain-id {arguments.chain_id} must be from {CHAIN_ID_MIN} to {CHAIN_ID_MAX}")
    if not 0.05 <= arguments.block_interval <= 3600:
        raise UsageError(f"--block-interval {arguments.block_interval} must be from 0.05 to 3600 seconds")
    names = [Path(task.partition(",label=")[0]).stem for task in arguments.task]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two tasks are called {name!r}: miners could not tell them apart; rename a file")


def _password(arguments: argparse.Namespace) -> str | None:
    """A password if one is given; nobody is asked for one, as keys without are what servers start with unattended."""
    given = arguments.password_file or "LYCEUM_PASSWORD" in os.environ
    return read_password(arguments) if given else None


def _write(directory: Path, arguments: argparse.Namespace, chain_id: int, password: str | None) -> None:
    from chain.development import BOOTSTRAP_POWER, ROLE_BALANCE, ROLES_NAME, write_network

    counts = {"validator": arguments.validators, "custodian": arguments.custodians, "miner": arguments.miners}
    members = {
        role: [_member(directory, role, number, password) for number in range(1, count + 1)]
        for role, count in counts.items()
    }
    balances = {member.address: ROLE_BALANCE for group in members.values() for member in group}
    for address, amount in arguments.fund:
        balances[address] = balances.get(address, 0) + amount
    write_network(
        directory,
        chain_id=chain_id,
        names=arguments.task,
        balances=balances,
        validators=[(member.address, BOOTSTRAP_POWER) for member in members["validator"]],
        custodians=[(member.address, directory / member.folder / SECRETS_NAME) for member in members["custodian"]],
        parameters={
            "power_openings_minimum": min(POWER_OPENINGS, arguments.custodians),
            "block_interval_ms": round(arguments.block_interval * 1000),
        },
    )
    os.replace(directory / ROLES_NAME, directory / TRAINING_NAME)
    readme = describe(arguments.out, chain_id, members, _sources(directory / TRAINING_NAME), password is not None)
    (directory / README_NAME).write_text(readme, encoding="utf-8")


def _member(directory: Path, role: str, number: int, password: str | None) -> Member:
    """Make a folder with a new key in it."""
    key, folder = new_key(), f"{role}-{number}"
    key_file = f"{role}.key" if password is None else f"{role}.json"
    content = key.hex().encode() if password is None else encrypt_key(key, password)
    write_private(directory / folder / key_file, content + b"\n")
    return Member(folder=folder, key_file=key_file, address=address_of(key))


def _sources(training: Path) -> dict[str, str]:
    """Task name -> SPEC of the data that is left for training, relative to its folder."""
    from chain.development import SOURCES_NAME

    sources: dict[str, str] = json.loads((training / SOURCES_NAME).read_text())
    (training / SOURCES_NAME).unlink()
    if not any(training.iterdir()):
        training.rmdir()
    return sources


# ------------------------------------------------------------------------------------------------------------ readme


def describe(out: Path, chain_id: int, members: dict[str, list[Member]], sources: dict[str, str], locked: bool) -> str:
    """The text of README.txt: what lies where, what is secret, and the commands to start everything."""
    from learning.datasets import BUILT_IN

    lines = [
        f"A Lyceum network: chain id {chain_id}, tasks: {', '.join(sources)}.",
        "",
        "  genesis.json     what the network starts from; every node needs it, with genesis-blobs beside it",
        "  genesis-blobs/   the sealed held-out shards; public",
        f"  {TRAINING_NAME + '/':<17}what files leave for training; for those who shall mine on it",
        "  */               one folder for each of those who take part; SECRET, for them alone",
        "",
    ]
    for role, group in members.items():
        lines += [
            f"  {role} {member.folder.rpartition('-')[2]}: {checksum_address(member.address)}" for member in group
        ]
    lines += ["", "Keep the custodians' secrets: a custodian that can't open its shards loses its bond."]
    if any(name in BUILT_IN for name in sources):
        lines.append("Built-in sets are public, held-out samples too: among strangers, teach on data of your own.")
    lines.append("")
    password = " --password-file FILE" if locked else ""
    lines += [f"NETWORK={shlex.quote(str(out.absolute()))}", ""]
    lines += [
        "# Nodes. More than two thirds of the validators make blocks.",
        *_run_lines(members["validator"], password),
    ]
    lines += ["", "# Custodians: each opens one shard a round.", *_custody_lines(members["custodian"], password)]
    lines += ["", "# Miners.", *_mine_lines(members["miner"], sources, password), ""]
    return "\n".join(lines)


def _run_lines(members: Sequence[Member], password: str) -> list[str]:
    return [
        f'python -m chain run --genesis "$NETWORK/genesis.json" --validator "$NETWORK/{each.folder}/{each.key_file}"'
        f' --data-dir "$NETWORK/{each.folder}/data" --rpc-port {8545 + place}{password}'
        for place, each in enumerate(members)
    ]


def _custody_lines(members: Sequence[Member], password: str) -> list[str]:
    return [
        f'python -m chain custody --secrets "$NETWORK/{each.folder}/{SECRETS_NAME}"'
        f' --key "$NETWORK/{each.folder}/{each.key_file}"{password}'
        for each in members
    ]


def _mine_lines(members: Sequence[Member], sources: dict[str, str], password: str) -> list[str]:
    lines = []
    for number, each in enumerate(members, start=1):
        share = f"#{number}/{len(members)}" if len(members) > 1 else ""
        courses = ""
        for task, spec in sources.items():
            kind, mark, name = spec.partition(":")
            data = f"{kind}:$NETWORK/{TRAINING_NAME}/{name}" if mark else spec
            courses += f' --task {shlex.quote(task)} --data "{data}{share}"'
        lines.append(
            f'python -m chain mine{courses} --key "$NETWORK/{each.folder}/{each.key_file}"'
            f' --dir "$NETWORK/{each.folder}/journal"{password}'
        )
    return lines
