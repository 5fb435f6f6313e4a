"""Home of `wallet`: accounts in keystore files, their balances, and transfers signed here and sent through any node."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from pathlib import Path

from chain.cli.amounts import coins, coins_text
from chain.cli.keystore import (
    StoredAccount,
    add_account,
    address_named,
    check_name,
    default_directory,
    find_account,
    list_accounts,
)
from chain.cli.main import UsageError
from chain.cli.options import add_password, add_rpc, read_key, read_password
from chain.cli.tables import aligned
from chain.cli.transfer import Transfer, balances, make_transfer
from chain.crypto import address_of
from chain.errors import LyceumError
from chain.keys import KeyFileError, load_key, load_plain_key, new_key, write_private

MNEMONIC_PATH = "m/44'/60'/0'/0/"
INDEX_MAX = 2**31 - 1
WAIT_SECONDS = 60.0
WAIT_SECONDS_MAX = 86_400


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def command(name: str, sentence: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence)
        added.add_argument("--keystore", type=Path, metavar="DIR", help="where accounts are (~/.lyceum/keystore)")
        return added

    new = command("new", "make an account: a fresh key, encrypted with a password")
    new.add_argument("--name", help="what to call it (account-1, account-2, ...)")
    add_password(new)

    adopt = command("import", "adopt a private key, read from standard input; it is never an argument")
    adopt.add_argument("--name", help="what to call it (account-1, account-2, ...)")
    source = adopt.add_mutually_exclusive_group()
    source.add_argument("--key-file", type=Path, metavar="FILE", help="read the key, in hexadecimal, from a file")
    source.add_argument("--mnemonic", action="store_true", help="standard input is a BIP-39 mnemonic, in words")
    adopt.add_argument("--index", type=int, default=0, metavar="N", help=f"the mnemonic's account {MNEMONIC_PATH}N (0)")
    add_password(adopt)

    command("list", "names and addresses of all accounts")

    balance = command("balance", "coins of an account, or of all in the keystore")
    balance.add_argument("account", nargs="?", metavar="ADDRESS|NAME")
    add_rpc(balance)

    send = command("send", "send coins, and wait until they have arrived")
    send.add_argument("--to", required=True, metavar="ADDRESS|NAME")
    send.add_argument("--amount", required=True, type=coins, metavar="COINS")
    send.add_argument(
        "--from", dest="sender", metavar="ADDRESS|NAME", help="the account that pays, if there are several"
    )
    send.add_argument(
        "--key", type=Path, metavar="FILE", help="pay with this key file in place of a keystore's account"
    )
    send.add_argument(
        "--wait", type=float, default=WAIT_SECONDS, metavar="SECONDS", help="for the receipt (60; 0 does not wait)"
    )
    add_rpc(send)
    add_password(send)

    export = command("export", "print an account's private key")
    export.add_argument("account", metavar="ADDRESS|NAME")
    export.add_argument("--out", type=Path, metavar="FILE", help="write it to a new file that only you can read")
    add_password(export)


def run(arguments: argparse.Namespace) -> int:
    arguments.keystore = arguments.keystore or default_directory()
    actions = {"new": new, "import": adopt, "list": show_list, "balance": balance, "send": send, "export": export}
    return actions[arguments.action](arguments)


# ---------------------------------------------------------------------------------------------------------- accounts


def new(arguments: argparse.Namespace) -> int:
    name = check_name(arguments.keystore, arguments.name)
    return _keep(arguments, name, new_key())


def adopt(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.index <= INDEX_MAX:
        raise UsageError(f"--index {arguments.index} must be from 0 to {INDEX_MAX}")
    if arguments.index and not arguments.mnemonic:
        raise UsageError("--index is for --mnemonic: a private key has no accounts below it")
    name = check_name(arguments.keystore, arguments.name)
    if arguments.mnemonic:
        key = key_of_mnemonic(_read_secret("Mnemonic: "), arguments.index)
    elif arguments.key_file:
        key = _key_in_file(arguments.key_file)
    else:
        key = key_of_text(_read_secret("Private key: "))
    return _keep(arguments, name, key)


def show_list(arguments: argparse.Namespace) -> int:
    accounts, damaged = list_accounts(arguments.keystore)
    for error in damaged:
        print(f"left out: {error}", file=sys.stderr)
    if not accounts:
        print(f"{arguments.keystore} holds no accounts: make one with `wallet new`", file=sys.stderr)
        return 0
    print("\n".join(aligned([(account.name, str(account)) for account in accounts], [False, False])))
    return 0


def export(arguments: argparse.Namespace) -> int:
    account = find_account(arguments.keystore, arguments.account)
    key = _unlock(arguments, account)
    if arguments.out:
        write_private(arguments.out, key.hex().encode() + b"\n")
        print(f"the private key of {account} is in {arguments.out}")
    else:
        print("Whoever has this key has the account's coins.", file=sys.stderr)
        print(f"0x{key.hex()}")
    return 0


def _keep(arguments: argparse.Namespace, name: str, key: bytes) -> int:
    password = read_password(arguments, "Password for the new account: ", confirm=True)
    if not password:
        raise LyceumError(
            "an account needs a password: give it with --password-file or LYCEUM_PASSWORD, or run in a terminal"
        )
    account = add_account(arguments.keystore, name, key, password)
    print(f"{account.name}  {account}")
    return 0


def _unlock(arguments: argparse.Namespace, account: StoredAccount) -> bytes:
    return load_key(account.path, read_password(arguments, f"Password of {account.name}: "))


def _read_secret(prompt: str) -> str:
    """One line that a terminal does not show, or all that is piped in."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.read(4096)


def _key_in_file(path: Path) -> bytes:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"can't read the key file {path}: {error}") from error
    if content.lstrip().startswith("{"):
        raise KeyFileError(f"{path} is a keystore file already: copy it into the keystore's directory")
    return load_plain_key(path)


def key_of_text(text: str) -> bytes:
    """A private key in hexadecimal. Raises LyceumError, which never holds any of it."""
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) != 32:
        raise LyceumError("that is no private key: it must be 64 hexadecimal digits, with or without 0x")
    return key


def key_of_mnemonic(words: str, index: int) -> bytes:
    """The key m/44'/60'/0'/0/INDEX of a BIP-39 mnemonic (BIP-32, BIP-44). Raises LyceumError."""
    from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
    from eth_utils.exceptions import ValidationError

    try:
        return bytes(key_from_seed(seed_from_mnemonic(" ".join(words.split()), ""), f"{MNEMONIC_PATH}{index}"))
    except ValidationError as error:
        raise LyceumError("that is no BIP-39 mnemonic: is a word missing, mistyped or out of order?") from error


# ------------------------------------------------------------------------------------------------------------- coins


def balance(arguments: argparse.Namespace) -> int:
    if arguments.account:
        address = address_named(arguments.keystore, arguments.account)
        print(coins_text(asyncio.run(balances(arguments.rpc, [address]))[0]))
        return 0
    accounts, _ = list_accounts(arguments.keystore)
    if not accounts:
        raise UsageError(f"{arguments.keystore} holds no accounts: give an address")
    amounts = asyncio.run(balances(arguments.rpc, [account.address for account in accounts]))
    rows = [(a.name, str(a), coins_text(amount)) for a, amount in zip(accounts, amounts, strict=True)]
    print("\n".join(aligned(rows, [False] * 3)))
    return 0


def send(arguments: argparse.Namespace) -> int:
    if arguments.key and arguments.sender:
        raise UsageError("--key and --from both name who pays: give one of them")
    if not 0 <= arguments.wait <= WAIT_SECONDS_MAX:
        raise UsageError(f"--wait {arguments.wait} must be from 0 to {WAIT_SECONDS_MAX} seconds")
    to = address_named(arguments.keystore, arguments.to)
    if arguments.key:
        key = read_key(arguments, arguments.key)
        transfer = Transfer(sender=address_of(key), unlock=lambda: key, to=to, amount=arguments.amount)
    else:
        account = find_account(arguments.keystore, arguments.sender)
        transfer = Transfer(
            sender=account.address, unlock=lambda: _unlock(arguments, account), to=to, amount=arguments.amount
        )
    asyncio.run(make_transfer(arguments.rpc, transfer, arguments.wait))
    return 0
