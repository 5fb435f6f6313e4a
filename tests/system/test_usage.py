"""Home of tests of what can't be meant: every command says so in one line and ends with status 2, having done nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chain.cli.main import COMMANDS, main
from tests.system.processes import run_command

pytestmark = pytest.mark.system

SEND = ["wallet", "send", "--to", "x"]
MINE = ["mine", "--key", "k"]
INIT = ["init", "--out", "network"]
BAD = [
    ["nonsense"],
    ["run", "surplus"],
    ["--nonsense"],
    ["run", "--rpc-port", "70000"],
    ["run", "--rpc-port", "x"],
    ["run", "--block-interval", "0"],
    ["run", "--block-interval", "x"],
    ["run", "--evaluation", "gpu"],
    ["run", "--evaluation-threads", "0"],
    ["run", "--log-format", "xml"],
    ["run", "--genesis", "g", "--task", "digits"],
    ["init"],
    ["init", "--task", "wine"],
    [*INIT],
    [*INIT, "--task", "wine", "--validators", "0"],
    [*INIT, "--task", "wine", "--custodians", "17"],
    [*INIT, "--task", "wine", "--miners", "-1"],
    [*INIT, "--task", "wine", "--chain-id", "0"],
    [*INIT, "--task", "wine", "--fund", "0x12=1"],
    [*INIT, "--task", "wine", "--fund", "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"],
    [*INIT, "--task", "wine", "--task", "wine"],
    ["wallet"],
    ["wallet", "steal"],
    ["wallet", "import", "--index", "1"],
    ["wallet", "import", "--mnemonic", "--index", "-1"],
    ["wallet", "import", "--mnemonic", "--key-file", "f"],
    ["wallet", "balance"],
    ["wallet", "send", "--to", "x"],
    [*SEND, "--amount", "-1"],
    [*SEND, "--amount", "1e-19"],
    [*SEND, "--amount", "nan"],
    [*SEND, "--amount", "1", "--wait", "-1"],
    [*SEND, "--amount", "1", "--key", "k", "--from", "y"],
    ["wallet", "export"],
    ["task"],
    ["task", "show"],
    ["task", "show", "wine", "--rounds", "-1"],
    ["mine"],
    [*MINE, "--task", "wine"],
    [*MINE, "--task", "wine", "--task", "digits", "--data", "wine"],
    [*MINE, "--task", "wine", "--data", "wine", "--steps", "0"],
    [*MINE, "--task", "wine", "--data", "wine", "--bond", "x"],
    ["custody"],
    ["model"],
    ["model", "pull", "wine"],
    ["model", "pull", "wine", "--out", "wine.bin"],
    ["model", "eval", "wine"],
    ["model", "eval", "wine", "--data", "wine", "--threads", "0"],
    ["verify", "surplus"],
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_what_can_not_be_meant_is_told_in_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LYCEUM_KEYSTORE", "keystore")
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("python -m chain")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"usage: python -m chain {name}")
    assert printed.err == ""


def test_exit_status_is_that_of_the_process(tmp_path: Path) -> None:
    assert run_command("nonsense").status == 2
    assert run_command("--version").output.startswith("Lyceum/v")
    listed = run_command("wallet", "list", "--keystore", tmp_path / "none")
    assert (listed.status, listed.output) == (0, "")
    failed = run_command("wallet", "export", "x", "--keystore", tmp_path / "none")
    assert (failed.status, failed.output) == (1, "")
    assert len(failed.errors.splitlines()) == 1
