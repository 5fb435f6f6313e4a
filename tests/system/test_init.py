"""Home of tests of `init`: what it writes runs as its README says, is private, and overwrites nothing."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.processes import (
    ROOT,
    clean_environment,
    free_port,
    run_command,
    running_node,
    wait_for_no_process,
)

pytestmark = pytest.mark.system


def commands_of(network: Path, port: int) -> dict[str, list[str]]:
    """The README's commands as arguments of `python -m chain`, by subcommand (of several, the last), on a port."""
    text = (network / "README.txt").read_text()
    found = {}
    for line in text.splitlines():
        if line.startswith("python -m chain "):
            expanded = line.replace("$NETWORK", str(network)).replace("--rpc-port 8545", f"--rpc-port {port}")
            arguments = shlex.split(expanded)[3:]
            rest = [] if arguments[0] == "run" else ["--rpc", f"http://127.0.0.1:{port}"]
            found[arguments[0]] = [*arguments, *rest]
    return found


def test_network_of_one_validator_settles_rounds_by_the_commands_of_its_readme(tmp_path: Path) -> None:
    network, port = tmp_path / "net work", free_port()
    table = tmp_path / "dots.csv"
    rows = [f"{i % 7},{i % 5},{'even' if (i % 7 + i % 5) % 2 == 0 else 'odd'}" for i in range(400)]
    table.write_text("\n".join(["a,b,kind", *rows]))
    made = run_command("init", "--out", network, "--task", table, "--block-interval", "0.15")
    assert made.status == 0, made.errors
    commands = commands_of(network, port)
    data = Path(commands["run"][commands["run"].index("--data-dir") + 1])
    extra = [word for word in commands["run"][1:] if word not in ("--data-dir", str(data), "--rpc-port", str(port))]
    roles = []
    with running_node(data, *extra, port=port) as node:
        try:
            for name in ("custody", "mine"):
                line = [sys.executable, "-m", "chain", *commands[name]]
                roles.append(subprocess.Popen(line, cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL))
            (task,) = node.call("learn_tasks")

            def is_settled() -> bool:
                state = node.call("learn_task", task["task"])
                return bool(state["settledRounds"] >= 1 and state["last"]["height"])

            node.wait_until(is_settled, 60, "settled round")
        finally:
            for role in roles:
                role.terminate()
                role.wait(10)
        (miner,) = re.findall(r"miner 1: (0x\w{40})", (network / "README.txt").read_text())
        earned = node.call("learn_contributions", miner)["tasks"]
        assert [each["task"] for each in earned] == [task["task"]]
        assert int(node.call("eth_chainId"), 16) in range(10**9, 2 * 10**9)
        assert node.stop() == 0
    wait_for_no_process(str(network))


def test_init_overwrites_nothing_and_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    network = tmp_path / "network"
    network.mkdir()
    (network / "precious").write_text("x")
    refused = run_command("init", "--out", network, "--task", "wine")
    assert (refused.status, refused.output) == (1, "")
    assert "nothing is ever overwritten" in refused.errors
    assert [path.name for path in network.iterdir()] == ["precious"]
    assert run_command("init", "--out", tmp_path / "other", "--task", "wine", "--custodians", "4").status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["network"]


def test_keys_are_readable_by_their_owner_alone_and_locked_by_a_password(tmp_path: Path) -> None:
    plain, locked = tmp_path / "plain", tmp_path / "locked"
    assert run_command("init", "--out", plain, "--task", "wine", "--custodians", "2", "--validators", "2").status == 0
    keys = sorted(path for pattern in ("*/*.key", "*/secrets/*") for path in plain.glob(pattern))
    assert [path.parts[-2] for path in keys if path.suffix == ".key"] == [
        "custodian-1", "custodian-2", "miner-1", "validator-1", "validator-2",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    password = {"LYCEUM_PASSWORD": "correct horse"}
    assert run_command("init", "--out", locked, "--task", "wine", "--miners", "0", environment=password).status == 0
    start = ["run", "--genesis", locked / "genesis.json", "--validator", locked / "validator-1" / "validator.json"]
    refused = run_command(*start, "--data-dir", tmp_path / "data", environment={"LYCEUM_PASSWORD": "wrong"})
    assert refused.status == 1
    assert "wrong password" in refused.errors
    assert not (tmp_path / "data").exists()
