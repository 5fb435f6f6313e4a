"""Home of a network that `init` wrote and that runs by the commands of its README, one process each."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.processes import (
    ROOT,
    RunningNode,
    clean_environment,
    command,
    free_port,
    run_command,
    running_node,
)


@dataclass
class Network:
    """A node of one validator, with a custodian and a miner beside it."""

    directory: Path
    node: RunningNode

    @property
    def miner(self) -> str:
        """The miner's address."""
        (address,) = re.findall(r"miner 1: (0x\w{40})", (self.directory / "README.txt").read_text())
        return str(address)

    def task(self, name: str) -> str:
        """The id of a task."""
        (found,) = (task["task"] for task in self.node.call("learn_tasks") if task["name"] == name)
        return str(found)


def commands_of(directory: Path, port: int) -> dict[str, list[str]]:
    """The README's commands as arguments of `python -m chain`, by subcommand, with the node on a port."""
    found = {}
    for line in (directory / "README.txt").read_text().splitlines():
        if line.startswith("python -m chain "):
            expanded = line.replace("$NETWORK", str(directory)).replace("--rpc-port 8545", f"--rpc-port {port}")
            expanded = expanded.replace("--p2p-port 30333", "--p2p-port 0")
            arguments = shlex.split(expanded)[3:]
            rest = [] if arguments[0] == "run" else ["--rpc", f"http://127.0.0.1:{port}"]
            found[arguments[0]] = [*arguments, *rest]
    return found


@contextmanager
def running_network(directory: Path, *arguments: object) -> Iterator[Network]:
    """Make a network with `init ARGUMENTS` and run it; every process is ended at the end."""
    made = run_command("init", "--out", directory, *arguments)
    assert made.status == 0, made.errors
    port = free_port()
    commands = commands_of(directory, port)
    assert commands.keys() == {"run", "custody", "mine"}
    run = commands["run"]
    data = Path(run[run.index("--data-dir") + 1])
    extra = [word for word in run[1:] if word not in ("--data-dir", str(data), "--rpc-port", str(port))]
    roles = []
    with running_node(data, *extra, port=port) as node:
        try:
            for name in ("custody", "mine"):
                line = command(*commands[name])
                output = (directory / f"{name}.log").open("wb")
                roles.append(subprocess.Popen(line, cwd=ROOT, env=clean_environment(), stdout=output, stderr=output))
                output.close()
            yield Network(directory=directory, node=node)
        finally:
            for role in roles:
                role.terminate()
                role.wait(15)
