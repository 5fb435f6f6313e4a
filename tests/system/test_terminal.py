"""Home of tests of what people see and type: the live status, and questions for passwords."""

from __future__ import annotations

import re
import termios
from pathlib import Path

import pytest

from tests.system.disks import fill
from tests.system.processes import FAST, run_command, wait_for_no_process
from tests.system.terminal import terminal

pytestmark = pytest.mark.system

ALTERNATE_SCREEN, NORMAL_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_status_follows_the_chain_and_ctrl_c_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    with terminal("run", "--data-dir", directory, "--rpc-port", "0", *FAST, "--task", "wine", "--no-mine") as screen:
        screen.wait_for("Ctrl-C stops it")
        screen.wait_for("height ")
        seen = len(screen.output)
        screen.wait_for("round 1 of 30", since=seen)
        screen.resize(40, 10)
        seen = len(screen.output)
        screen.wait_for("…", since=seen)
        screen.press("\x03")
        assert screen.wait() == 0
        for on, off in ((ALTERNATE_SCREEN, NORMAL_SCREEN), (HIDE_CURSOR, SHOW_CURSOR)):
            assert 0 < screen.output.rfind(on) < screen.output.rfind(off)
        said = " ".join(screen.output.rpartition(NORMAL_SCREEN)[2].split())
        assert re.fullmatch(r"Stopping at height \d+; the next start goes on from there\.", said)
        assert "Traceback" not in screen.output
        assert termios.tcgetattr(screen.other_end) == screen.settings
    wait_for_no_process(str(directory))


def test_a_node_that_fails_leaves_the_terminal_as_it_was_and_its_reason_on_it(small_disk: Path) -> None:
    start = ("run", "--data-dir", small_disk / "node", "--rpc-port", "0", *FAST, "--task", "wine", "--no-mine")
    with terminal(*start) as screen:
        screen.wait_for("Ctrl-C stops it")
        fill(small_disk)
        assert screen.wait() == 1
        said = screen.output.rpartition(NORMAL_SCREEN)[2]
        assert "the disk is full; free some space and start again" in " ".join(said.split())
        assert "Traceback" not in screen.output
        assert "Logging error" not in screen.output
        assert termios.tcgetattr(screen.other_end) == screen.settings


def test_passwords_are_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    keystore = ("--keystore", tmp_path / "keys")
    with terminal("wallet", "new", *keystore) as screen:
        screen.wait_for("Password for the new account: ")
        screen.press("correct horse\n")
        screen.wait_for("Again: ")
        screen.press("correct house\n")
        assert screen.wait() == 1
        assert "the two passwords differ; nothing was written" in screen.output
        assert not (tmp_path / "keys").exists()
    with terminal("wallet", "import", *keystore) as screen:
        screen.wait_for("Private key: ")
        screen.press("11" * 32 + "\n")
        for question in ("Password for the new account: ", "Again: "):
            screen.wait_for(question)
            screen.press("correct horse\n")
        assert screen.wait() == 0
        assert "account-1  0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A" in screen.output
        assert "1111" not in screen.output
        assert "horse" not in screen.output
    exported = run_command("wallet", "export", "account-1", *keystore, environment={"LYCEUM_PASSWORD": "correct horse"})
    assert exported.output == f"0x{'11' * 32}\n"
