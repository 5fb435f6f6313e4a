"""Home of tests of where keys and passwords come from."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from chain.cli import options
from chain.cli.options import read_key, read_password
from chain.errors import LyceumError
from chain.keys import KeyFileError, encrypt_key

KEY = bytes(31) + b"\x01"


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A terminal at which these answers are typed."""
    answers: list[str] = []
    monkeypatch.delenv("LYCEUM_PASSWORD", raising=False)
    monkeypatch.setattr(options.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(options.getpass, "getpass", lambda prompt: answers.pop(0))
    return answers


def given(password_file: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(password_file=password_file)


def test_nobody_is_asked_for_the_password_of_a_plain_key(tmp_path: Path) -> None:
    path = tmp_path / "plain.key"
    path.write_text(KEY.hex())
    assert read_key(given(), path) == KEY


def test_a_locked_key_opens_with_the_password_from_file_environment_or_terminal(
    tmp_path: Path, terminal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "locked.json", tmp_path / "password"
    path.write_bytes(encrypt_key(KEY, "secret", light=True))
    terminal.append("secret")
    assert read_key(given(), path) == KEY
    monkeypatch.setenv("LYCEUM_PASSWORD", "wrong")
    with pytest.raises(KeyFileError, match="wrong password"):
        read_key(given(), path)
    file.write_text("secret\n")
    assert read_key(given(file), path) == KEY
    assert terminal == []


def test_a_new_password_is_typed_twice_alike(terminal: list[str]) -> None:
    terminal += ["a", "a", "a", "b"]
    assert read_password(given(), confirm=True) == "a"
    with pytest.raises(LyceumError, match="the two passwords differ"):
        read_password(given(), confirm=True)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(LyceumError, match=r"can't read the key file .*none: No such file"):
        read_key(given(), tmp_path / "none")
    with pytest.raises(LyceumError, match=r"can't read the password file .*none: No such file"):
        read_password(given(tmp_path / "none"))
