"""Home of tests of a node as a process: how it starts, ends, goes on and is killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.system.processes import FAST, running_node, wait_for_no_process

pytestmark = pytest.mark.system


def test_second_run_on_a_directory_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    with running_node(directory, *FAST, "--no-mine") as node:
        node.wait_for_height(5)
        block = node.call("eth_getBlockByNumber", "0x5", False)
        assert node.stop() == 0
    with running_node(directory, "--no-mine") as node:
        assert node.height() >= 5
        assert node.call("eth_getBlockByNumber", "0x5", False) == block
        node.wait_for_height(node.height() + 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_node_and_its_roles_without_a_traceback(tmp_path: Path, number: signal.Signals) -> None:
    with running_node(tmp_path / "node", *FAST) as node:
        node.wait_until(lambda: len(node.processes()) == 5, 30, "four roles")
        assert node.signal(number) == 0
        wait_for_no_process(str(node.directory), seconds=2)
        assert "Traceback" not in node.log()
        for log in (node.directory / "logs").iterdir():
            assert "Traceback" not in log.read_text(), log.name


def test_roles_end_when_their_node_is_killed(tmp_path: Path) -> None:
    with running_node(tmp_path / "node", *FAST) as node:
        node.wait_until(lambda: len(node.processes()) == 5, 30, "four roles")
        node.kill()
        wait_for_no_process(str(node.directory))
