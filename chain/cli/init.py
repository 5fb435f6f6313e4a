"""Home of `init`: a new network's genesis file, its sealed shards, and a folder of keys for everyone who takes part."""

from __future__ import annotations

import argparse
import os
import secrets
from collections import Counter
from pathlib import Path

from chain.cli.amounts import coins
from chain.cli.main import UsageError
from chain.cli.network_commands import P2P_PORT
from chain.cli.network_folder import Place, Plan, make_aside, write_folder
from chain.cli.network_readme import Hosts, describe
from chain.cli.options import add_password, read_password
from chain.crypto import InvalidAddress, parse_address

VALIDATORS_MAX = 100
CUSTODIANS_MAX = 16
MINERS_MAX = 1000
POWER_OPENINGS = 3  # a network of fewer custodians must do with fewer
CHAIN_ID_MIN, CHAIN_ID_MAX = 1, 2**53 - 1
RANDOM_CHAIN_IDS = range(10**9, 2 * 10**9)
README_NAME = "README.txt"


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for all of it")
    add_members(parser, validators=1, miners=1)
    add("--listen", action="append", default=[], type=parse_place, metavar="HOST:PORT",
        help="where others reach a validator's node, once for each; without it, all are on this machine")  # fmt: skip
    add("--private", action="store_true", help="let the validators' nodes talk to each other and nobody else")
    add("--fund", action="append", default=[], type=grant, metavar="ADDRESS=COINS", help="coins for another account")
    add("--chain-id", type=int, metavar="ID", help="a random one, so that no other network takes your signatures")
    add_password(parser)


def add_members(parser: argparse.ArgumentParser, *, validators: int, miners: int) -> None:
    """Options that `init` and `devnet` share."""
    add = parser.add_argument
    add("--task", action="append", required=parser.prog.endswith("init"), metavar="NAME|CSV",
        help="what is taught: digits, breast-cancer, wine or a CSV file[,label=NAME]; several follow each other",
    )  # fmt: skip
    add("--validators", type=int, metavar="N", help=f"nodes that vote, of equal power ({validators})")
    add("--custodians", type=int, metavar="N", help="who hold the held-out data, a part each (1)")
    add("--miners", type=int, metavar="N", help=f"accounts with coins for fees and bonds ({miners})")
    add("--block-interval", type=float, metavar="SECONDS", help="from block to block, at least (1)")
    add("--parameter", action="append", default=[], type=parameter, metavar="NAME=NUMBER",
        help="another value for a number of chain/parameters.py")  # fmt: skip
    parser.set_defaults(standard={"validators": validators, "custodians": 1, "miners": miners, "block_interval": 1.0})


def grant(text: str) -> tuple[bytes, int]:
    """`ADDRESS=COINS`."""
    address, mark, amount = text.partition("=")
    if not mark:
        raise argparse.ArgumentTypeError(f"{text!r} must be ADDRESS=COINS")
    try:
        return parse_address(address), coins(amount)
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_place(text: str) -> Place:
    """`HOST:PORT`, `HOST` on the usual port, or `[IPV6]:PORT`."""
    host, mark, port = text.rpartition(":")
    if not mark or "]" in port:
        host, port = text, str(P2P_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare) != (host != bare) or not port.isdigit() or not 0 < int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} must be HOST:PORT, an IPv6 address in brackets")
    return Place(host=bare, port=int(port))


def parameter(text: str) -> tuple[str, int]:
    """`NAME=NUMBER`."""
    name, mark, number = text.partition("=")
    if not mark or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=NUMBER")
    return name, int(number)


def run(arguments: argparse.Namespace) -> int:
    fill_in(arguments)
    check_members(arguments)
    _check(arguments)
    out: Path = arguments.out
    chain_id = arguments.chain_id or secrets.choice(RANDOM_CHAIN_IDS)
    plan = plan_of(arguments, chain_id=chain_id, funds=arguments.fund, password=_password(arguments))
    hosts = Hosts(given=tuple(arguments.listen), validators=arguments.validators, private=arguments.private)

    def write(making: Path) -> None:
        folder = write_folder(making, plan)
        text = describe(out, chain_id, folder, hosts, plan.password is not None)
        (making / README_NAME).write_text(text, encoding="utf-8")

    make_aside(out, write)
    print(f"network {chain_id} is in {out}; {out / README_NAME} says how to start it")
    return 0


def fill_in(arguments: argparse.Namespace) -> None:
    """Give what was not given its standard value."""
    for name, value in arguments.standard.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)


def check_members(arguments: argparse.Namespace) -> None:
    """Raises UsageError."""
    bounds = {"validators": (1, VALIDATORS_MAX), "custodians": (1, CUSTODIANS_MAX), "miners": (0, MINERS_MAX)}
    for name, (low, high) in bounds.items():
        if not low <= getattr(arguments, name) <= high:
            raise UsageError(f"--{name} {getattr(arguments, name)} must be from {low} to {high}")
    if not 0.05 <= arguments.block_interval <= 3600:
        raise UsageError(f"--block-interval {arguments.block_interval} must be from 0.05 to 3600 seconds")
    names = [Path(task.partition(",label=")[0]).stem for task in arguments.task]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two tasks are called {name!r}: miners could not tell them apart; rename a file")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.chain_id is not None and not CHAIN_ID_MIN <= arguments.chain_id <= CHAIN_ID_MAX:
        raise UsageError(f"--chain-id {arguments.chain_id} must be from {CHAIN_ID_MIN} to {CHAIN_ID_MAX}")
    listen = arguments.listen
    if listen and len(listen) != arguments.validators:
        raise UsageError(f"{len(listen)} --listen for {arguments.validators} validators: give one for each, or none")
    (most, count), *_ = Counter(listen).most_common(1) or [(None, 0)]
    if count > 1:
        raise UsageError(f"two validators can't both listen at {most}")


def plan_of(
    arguments: argparse.Namespace, *, chain_id: int, funds: list[tuple[bytes, int]], password: str | None
) -> Plan:
    """The plan that the options say. The same account may be funded several times."""
    total: Counter[bytes] = Counter()
    for address, amount in funds:
        total[address] += amount
    parameters = {
        "power_openings_minimum": min(POWER_OPENINGS, arguments.custodians),
        "block_interval_ms": round(arguments.block_interval * 1000),
        **dict(arguments.parameter),
    }
    return Plan(
        chain_id=chain_id,
        tasks=arguments.task,
        validators=arguments.validators,
        custodians=arguments.custodians,
        miners=arguments.miners,
        parameters=parameters,
        funds=total,
        password=password,
    )


def _password(arguments: argparse.Namespace) -> str | None:
    """A password if one is given; nobody is asked for one, as keys without are what servers start with unattended."""
    given = arguments.password_file or "LYCEUM_PASSWORD" in os.environ
    return read_password(arguments) if given else None
