"""Home of `validator`: an account becomes a validator by what it taught, stops being one, and takes its bond back."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chain.cli.amounts import coins, coins_text
from chain.cli.main import UsageError
from chain.cli.options import add_key, add_password, add_rpc, read_key
from chain.cli.tables import print_fields
from chain.crypto import InvalidAddress, address_of, checksum_address, parse_address
from chain.errors import LyceumError

if TYPE_CHECKING:
    from chain.roles.client import NodeClient

WAIT_BLOCKS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def command(name: str, sentence: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence)
        add_rpc(added)
        return added

    register = command("register", "vote with the account's power, as far as its bond covers it; may be repeated")
    add_key(register)
    register.add_argument("--bond", type=coins, default=0, metavar="COINS", help="added to the account's bond (0)")
    register.add_argument(
        "--vote-key",
        type=address,
        metavar="ADDRESS",
        help="of the key that the node votes with, `run --validator`; the account's own if not given",
    )
    add_key(command("unbond", "stop voting with the next epoch; the bond can be withdrawn after the unbonding time"))
    add_key(command("withdraw", "take back an unbonded bond"))
    status = command("status", "an account's power, bond and vote")
    status.add_argument("--key", type=Path, metavar="KEYSTORE", help="the account's key file")
    status.add_argument("--address", type=address, metavar="ADDRESS", help="the account, in place of --key")
    status.add_argument("--json", action="store_true", help="print what the node says, for scripts")
    add_password(status)


def address(text: str) -> bytes:
    """An address as an argument's type."""
    try:
        return parse_address(text)
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> int:
    from chain.abi import encode_call

    if arguments.action == "status":
        if (arguments.key is None) == (arguments.address is None):
            raise UsageError("name the account: give --key or --address")
        account = arguments.address or address_of(read_key(arguments, arguments.key))
        asyncio.run(show(arguments.rpc, account, as_json=arguments.json))
        return 0
    key = read_key(arguments, arguments.key)
    if arguments.action == "register":
        data = encode_call("registerValidator", "0x" + (arguments.vote_key or address_of(key)).hex())
        asyncio.run(call(arguments.rpc, key, data, arguments.bond))
    else:
        asyncio.run(call(arguments.rpc, key, encode_call(arguments.action), 0))
    return 0


async def call(url: str, key: bytes, data: bytes, value: int) -> None:
    """Call the contract and tell what became of it, then how the account stands. Raises LyceumError."""
    from chain.roles.client import Account, NodeClient, NodeError

    async with NodeClient(url) as node:
        account = Account(node, key)
        try:
            hash_ = await account.call_contract(data, value)
        except NodeError as error:
            raise LyceumError(f"nothing was sent: {error}") from error
        print(hash_, flush=True)
        receipt = await account.receipt(hash_, WAIT_BLOCKS)
        if receipt is None:
            raise LyceumError(f"{hash_} was sent, but is in none of the {WAIT_BLOCKS} blocks since; it may still be")
        if int(receipt["status"], 16) != 1:
            raise LyceumError(f"it was reverted in block {int(receipt['blockNumber'], 16)}, and cost its gas")
        print_fields([("block", str(int(receipt["blockNumber"], 16))), *await _fields(node, account.address)])


async def show(url: str, account: bytes, *, as_json: bool) -> None:
    """Print how an account stands."""
    from chain.roles.client import NodeClient

    async with NodeClient(url) as node:
        if as_json:
            print(json.dumps(await _standing(node, account), indent=1))
        else:
            print_fields(await _fields(node, account))


async def _standing(node: NodeClient, account: bytes) -> dict[str, Any]:
    """What the node tells of an account that may be a validator."""
    found: dict[str, Any] = await node.call("learn_validator", "0x" + account.hex())
    return found


async def _fields(node: NodeClient, account: bytes) -> list[tuple[str, str]]:
    found = await _standing(node, account)
    power, earned, bootstrap, voting, total = (
        int(found[name], 16) for name in ("power", "earnedPower", "bootstrapPower", "votingPower", "totalVotingPower")
    )
    share = f" ({100 * voting / total:.1f} % of the set)" if total else ""
    return [
        ("account", checksum_address(account)),
        ("power", f"{power}: {earned} earned, {bootstrap} from genesis"),
        ("bond", coins_text(int(found["bond"], 16))),
        ("votes now with", f"{voting}{share}"),
        ("state", _state(found)),
    ]


def _state(found: dict[str, Any]) -> str:
    if found["barred"]:
        return "barred for ever: it signed two votes that contradict each other"
    if found["registered"]:
        return f"registered, votes with the key of {found['voteKey']}"
    if found["withdrawAt"] is not None:
        return f"unbonding: its bond can be withdrawn from height {int(found['withdrawAt'], 16)} on"
    if int(found["bond"], 16):
        return "left out: it was absent from over half of an epoch; `validator register` lets it vote again"
    return "not registered"
