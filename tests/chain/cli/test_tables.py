"""Home of tests of tables."""

from __future__ import annotations

import re

import pytest

from chain.cli.tables import print_table, short


def test_plain_tables_align_numbers_right_and_words_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "loss"], [["digits", "0.5"], ["x", "12.25"]])
    assert capsys.readouterr().out == "name     loss\ndigits    0.5\nx       12.25\n"


def test_tables_on_a_terminal_fit_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    print_table(["name", "reason"], [["digits", "a reason of many words that is longer than the line " * 2]])
    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 50
    assert "".join("".join(line.split()) for line in lines).count("longer") == 2


def test_long_hexadecimals_are_shortened_and_short_ones_are_not() -> None:
    assert short("0x" + "ab" * 32, 12) == "0xabababababab…"
    assert short("0x1234") == "0x1234"
