"""Home of a wallet's directory: keystore V3 files by name, which other wallets of the Ethereum family can read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from chain.crypto import InvalidAddress, address_of, checksum_address, parse_address
from chain.errors import InvalidInput, LyceumError
from chain.keys import KeyFileError, encrypt_key, keystore_address, write_private

SUFFIX = ".json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_GENERATED = re.compile(r"account-([1-9][0-9]{0,5})")


class InvalidName(InvalidInput):
    """A name that no account can have."""


class UnknownAccount(InvalidInput):
    """A name or an address of which the directory has no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAccount:
    """A keystore file: its name is the file's, without `.json`."""

    name: str
    address: bytes
    path: Path

    def __str__(self) -> str:
        return checksum_address(self.address)


def default_directory() -> Path:
    return Path(os.environ.get("LYCEUM_KEYSTORE") or Path.home() / ".lyceum" / "keystore")


def list_accounts(directory: Path) -> tuple[list[StoredAccount], list[KeyFileError]]:
    """The accounts in a directory by name, and what is wrong with files that look like accounts and are none."""
    accounts, damaged = [], []
    paths = [path for path in directory.iterdir() if _looks_like_account(path)] if directory.is_dir() else []
    for path in sorted(paths):
        try:
            accounts.append(
                StoredAccount(name=path.name.removesuffix(SUFFIX), address=keystore_address(path), path=path)
            )
        except KeyFileError as error:
            damaged.append(error)
    return accounts, damaged


def _looks_like_account(path: Path) -> bool:
    """Ours end with .json; go-ethereum's have no ending and begin with UTC--."""
    return path.is_file() and (path.suffix == SUFFIX or path.name.startswith("UTC--"))


def find_account(directory: Path, name_or_address: str | None) -> StoredAccount:
    """The account of this name or address, or the only one. Raises UnknownAccount, InvalidAddress."""
    accounts, _ = list_accounts(directory)
    known = ", ".join(account.name for account in accounts) or "none"
    if name_or_address is None:
        if len(accounts) == 1:
            return accounts[0]
        if not accounts:
            raise UnknownAccount(f"{directory} holds no accounts: make one with `wallet new`")
        raise UnknownAccount(f"{directory} holds several accounts: name one with --from: {known}")
    address = parse_address(name_or_address) if name_or_address.startswith("0x") else None
    for account in accounts:
        if account.name == name_or_address or account.address == address:
            return account
    raise UnknownAccount(f"{directory} holds no account {name_or_address!r}; it has: {known}")


def address_named(directory: Path, name_or_address: str) -> bytes:
    """The address that a person wrote, by itself or as an account's name. Raises UnknownAccount, InvalidAddress."""
    if name_or_address.startswith("0x"):
        return parse_address(name_or_address)
    try:
        return find_account(directory, name_or_address).address
    except UnknownAccount as error:
        raise InvalidAddress(f"{error}; an address is 0x and 40 hexadecimal digits") from error


def check_name(directory: Path, name: str | None) -> str:
    """A name that is free to be used, account-1 and so on if none is given. Raises InvalidName."""
    accounts, _ = list_accounts(directory)
    if name is None:
        used = [int(match[1]) for account in accounts if (match := _GENERATED.fullmatch(account.name))]
        return f"account-{max(used, default=0) + 1}"
    if not _NAME.fullmatch(name) or name.startswith("0x"):
        raise InvalidName(f"{name!r} is no name: use letters, digits, dots, dashes; it must not begin with 0x")
    if (directory / f"{name}{SUFFIX}").exists():
        raise InvalidName(f"{directory} has an account {name!r} already: choose another name")
    return name


def add_account(directory: Path, name: str, key: bytes, password: str) -> StoredAccount:
    """Encrypt a key into a new file. Raises InvalidName, KeyFileError, LyceumError if its account is there already."""
    address = address_of(key)
    for account in list_accounts(directory)[0]:
        if account.address == address:
            raise LyceumError(f"{directory} has the account {account} already, as {account.name!r}")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{name}{SUFFIX}"
    write_private(path, encrypt_key(key, password) + b"\n")
    return StoredAccount(name=name, address=address, path=path)
