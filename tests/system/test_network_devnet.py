"""Home of tests of `devnet`: a network of processes that starts, mends itself, stops in order and goes on."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

import pytest

from tests.system.cluster import Cluster
from tests.system.networks import eventually
from tests.system.processes import (
    ROOT,
    RunningNode,
    clean_environment,
    command,
    processes_naming,
    run_command,
    wait_for_no_process,
)
from tests.system.terminal import terminal

pytestmark = pytest.mark.system

VALIDATORS = 4
NEW = ("--miners", 1, "--task", "wine", "--block-interval", "0.3")


def free_ports() -> int:
    """A port at which so many consecutive ones, and those a hundred above, are free now."""
    while True:
        base = SystemRandom().randrange(20_000, 32_000)
        wanted = [base + above + i for above in (0, 100) for i in range(VALIDATORS)]
        if all(_is_free(port) for port in wanted):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def running_devnet(directory: Path, base_port: int, *arguments: object) -> Iterator[list[RunningNode]]:
    """A local network with its nodes as it tells of them; ended by SIGTERM, after which none of its processes is left."""
    log_path = directory.with_name(f"devnet-{time.monotonic_ns()}.log")
    line = command("devnet", "--data-dir", directory, "--base-port", base_port, "--quiet", *arguments)
    with log_path.open("wb") as log:
        process = subprocess.Popen(line, cwd=ROOT, env=clean_environment(), stdout=log, stderr=log)
    try:
        told = re.compile(r"validator-\d: RPC on (\S+),")
        eventually(lambda: len(told.findall(log_path.read_text())) == VALIDATORS or process.poll(), 90, "all nodes")
        assert process.poll() is None, log_path.read_text()
        urls = sorted(told.findall(log_path.read_text()))
        yield [RunningNode(process=process, directory=directory, log_path=log_path, url=url) for url in urls]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log_path.read_text()
        assert "Traceback" not in log_path.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        wait_for_no_process(str(directory))


def test_a_local_network_mends_itself_stops_in_order_and_goes_on(tmp_path: Path) -> None:
    directory, base_port = tmp_path / "network", free_ports()
    with running_devnet(directory, base_port, "--validators", VALIDATORS, *NEW) as nodes:
        for node in nodes:
            node.wait_for_height(5)
            node.wait_until(lambda node=node: node.call("net_peerCount") == "0x3", 30, "three peers")
        (killed,) = [each for each in processes_naming(f"{directory}/validator-4/data") if each != nodes[0].process.pid]
        subprocess.run(["kill", "-9", str(killed)], check=True)
        nodes[3].wait_until(lambda: "validator-4 ended with status -9" in nodes[0].log(), 10, "report")
        height = nodes[0].height()
        for node in nodes:
            node.wait_for_height(height + 5)
        Cluster.assert_same_history(nodes)
        height = nodes[0].height()
    assert run_command("devnet", "--data-dir", directory, "--validators", 5).status == 2
    with running_devnet(directory, base_port) as nodes:
        for node in nodes:
            node.wait_for_height(height + 3)
        Cluster.assert_same_history(nodes)
    for number in range(1, VALIDATORS + 1):
        log = (directory / "logs" / f"validator-{number}.log").read_text()
        assert "Traceback" not in log
    verified = run_command("verify", "--data-dir", directory / "validator-4" / "data")
    assert verified.status == 0, verified.errors


def test_nothing_is_left_of_a_local_network_that_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "network"
    with terminal("devnet", "--data-dir", directory, "--base-port", free_ports(), "--validators", 1, *NEW) as screen:
        screen.wait_for("custodian-1")
        screen.wait_for("wine 0 of 30")
        screen.process.kill()
        screen.process.wait()
        wait_for_no_process(str(directory))


def test_a_taken_port_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    base_port = free_ports()
    start = ("devnet", "--data-dir", tmp_path / "network", "--base-port", base_port, "--quiet", "--validators", 1, *NEW)
    with socket.create_server(("127.0.0.1", base_port)):
        done = run_command(*start)
    assert done.status == 1
    assert re.search(r"validator-1 ended with status 1: .*port", done.errors), done.errors
    wait_for_no_process(str(tmp_path / "network"))
