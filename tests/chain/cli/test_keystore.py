"""Home of tests of wallets' directories: names, addresses, and files of other wallets beside ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from eth_account import Account

from chain.cli import keystore
from chain.cli.keystore import (
    InvalidName,
    UnknownAccount,
    add_account,
    address_named,
    check_name,
    find_account,
    list_accounts,
)
from chain.cli.wallet import key_of_mnemonic, key_of_text
from chain.crypto import InvalidAddress, address_of, checksum_address
from chain.errors import LyceumError
from chain.keys import encrypt_key, load_key

KEYS = [bytes([i]) * 32 for i in (1, 2, 3)]
ADDRESSES = [checksum_address(address_of(key)) for key in KEYS]
MNEMONIC = "test test test test test test test test test test test junk"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two accounts, their keys encrypted with little work."""
    monkeypatch.setattr(keystore, "encrypt_key", lambda key, password: encrypt_key(key, password, light=True))
    for name, key in zip(("anna", "bert"), KEYS, strict=False):
        add_account(tmp_path / "keys", name, key, "secret")
    return tmp_path / "keys"


def test_accounts_are_found_by_name_and_by_address_in_any_case(directory: Path) -> None:
    for text in ("bert", ADDRESSES[1], ADDRESSES[1].lower()):
        found = find_account(directory, text)
        assert (found.name, str(found)) == ("bert", ADDRESSES[1])
        assert address_named(directory, text) == found.address
    assert load_key(find_account(directory, "anna").path, "secret") == KEYS[0]


def test_what_is_not_there_is_told_with_what_is(directory: Path) -> None:
    with pytest.raises(UnknownAccount, match="it has: anna, bert"):
        find_account(directory, "carl")
    with pytest.raises(UnknownAccount, match="several accounts: name one with --from: anna, bert"):
        find_account(directory, None)
    with pytest.raises(InvalidAddress, match="checksum"):
        find_account(directory, ADDRESSES[1].replace("a", "A", 1).replace("b", "B", 1))
    with pytest.raises(UnknownAccount, match="make one with `wallet new`"):
        find_account(directory / "none", None)


def test_the_only_account_needs_no_name(directory: Path) -> None:
    (directory / "anna.json").unlink()
    assert find_account(directory, None).name == "bert"


def test_files_of_other_wallets_are_accounts_and_damaged_ones_are_named(directory: Path) -> None:
    theirs = "UTC--2026-01-01T00-00-00.000000000Z--" + ADDRESSES[2][2:].lower()
    content = Account.encrypt(KEYS[2], "secret", kdf="pbkdf2", iterations=2)
    (directory / theirs).write_text(json.dumps(content))
    (directory / "broken.json").write_text("{")
    (directory / "notes.txt").write_text("not an account")
    accounts, damaged = list_accounts(directory)
    assert [account.name for account in accounts] == [theirs, "anna", "bert"]
    assert ["broken.json" in str(error) for error in damaged] == [True]
    assert load_key(find_account(directory, ADDRESSES[2]).path, "secret") == KEYS[2]


def test_our_files_open_in_other_wallets(directory: Path) -> None:
    assert Account.decrypt((directory / "anna.json").read_text(), "secret") == KEYS[0]
    assert (directory / "anna.json").stat().st_mode & 0o777 == 0o600


def test_an_account_is_kept_once_and_no_file_is_written_over(directory: Path) -> None:
    with pytest.raises(LyceumError, match="already, as 'anna'"):
        add_account(directory, "carl", KEYS[0], "secret")
    with pytest.raises(LyceumError, match="exists already"):
        add_account(directory, "bert", KEYS[2], "secret")
    assert sorted(path.name for path in directory.iterdir()) == ["anna.json", "bert.json"]


def test_names_are_plain_and_counted_where_none_is_given(directory: Path) -> None:
    for name in ("", "../x", "a/b", "0x12", ".hidden", "a b", "x" * 64):
        with pytest.raises(InvalidName):
            check_name(directory, name)
    with pytest.raises(InvalidName, match="already"):
        check_name(directory, "anna")
    assert check_name(directory, None) == "account-1"
    shutil.copy(directory / "anna.json", directory / "account-7.json")
    assert check_name(directory, None) == "account-8"


def test_mnemonics_give_the_customary_accounts() -> None:
    assert checksum_address(address_of(key_of_mnemonic(MNEMONIC, 0))) == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert checksum_address(address_of(key_of_mnemonic(f" {MNEMONIC}\n", 9))) == (
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
    )
    for words in ("", "test", MNEMONIC.replace("junk", "test"), MNEMONIC + " junk"):
        with pytest.raises(LyceumError, match="no BIP-39 mnemonic"):
            key_of_mnemonic(words, 0)


def test_keys_are_read_with_or_without_0x_and_never_repeated_in_errors() -> None:
    text = KEYS[1].hex()
    assert key_of_text(f"0x{text}\n") == key_of_text(text) == KEYS[1]
    for wrong in (text[:-2], text + "00", "x" + text[1:], ""):
        with pytest.raises(LyceumError) as refused:
            key_of_text(wrong)
        assert text[:8] not in str(refused.value)
