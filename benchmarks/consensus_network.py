"""Home of a network of real node processes on this machine, made for one measurement and gone after it."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.connection import Connection
from benchmarks.consensus_genesis import write_genesis
from benchmarks.consensus_relay import Relay
from benchmarks.processes import end_with_parent, free_port, stop
from chain.cli.run import configure

START_SECONDS = 60.0
SETTLING_BLOCKS = 6
PROFILE_NAME = "profile"
START_SECONDS_PER_NODE = 10.0
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is measured: `down` of the validators are killed after the start, the rest get the load."""

    validators: int
    down: int = 0
    delay_ms: int = 0  # from one node to another, each way
    learning: bool = False
    block_interval_ms: int = 1000
    senders: int = 1000

    @property
    def name(self) -> str:
        parts = [f"{self.validators} validators" if self.validators > 1 else "1 validator"]
        parts += [f"{self.down} down"] if self.down else []
        parts += [f"{self.delay_ms} ms apart"] if self.delay_ms else []
        parts += ["learning"] if self.learning else []
        return ", ".join(parts)


@dataclass(slots=True, kw_only=True)
class NodeProcess:
    """A validator's process."""

    folder: Path
    rpc_port: int
    p2p_port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def log(self) -> str:
        return (self.folder / "node.log").read_text()


@dataclass(slots=True)
class LocalNetwork:
    """An async context manager: inside it the network makes blocks, after it every process has ended."""

    directory: Path
    setting: Setting
    profile: bool = False
    nodes: list[NodeProcess] = field(default_factory=list)
    roles: list[subprocess.Popen[bytes]] = field(default_factory=list)
    relays: list[Relay] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def loaded(self) -> list[NodeProcess]:
        """The nodes that are not down."""
        return self.nodes[: self.setting.validators - self.setting.down]

    def require_alive(self) -> None:
        """Raises RuntimeError with the log of a node that has ended although nobody stopped it."""
        for node in self.loaded:
            if node.process.poll() is not None:
                raise RuntimeError(f"{node.folder.name} has ended:\n{node.log()[-3000:]}")

    async def sent_bytes(self) -> int | None:
        """What the nodes have sent on the connections that they have with each other, by their own count."""
        statuses = await asyncio.gather(*(call(node.url, "learn_status") for node in self.loaded))
        return sum(int(peer["bytesOut"]) for status in statuses for peer in status["network"]["peers"])

    async def stop(self) -> None:
        """End every process as Ctrl-C would; their directories stay until the end of the context."""
        for process in self.roles:
            process.kill()
            process.wait()
        await asyncio.gather(*(asyncio.to_thread(stop, node.process) for node in self.nodes))
        for relay in self.relays:
            await relay.close()

    async def _end(self) -> None:
        for process in [*self.roles, *(node.process for node in self.nodes)]:
            if process.poll() is None:
                process.kill()
                process.wait()
        for relay in self.relays:
            await relay.close()

    # ------------------------------------------------------------------------------------------------------ starting

    async def _start(self) -> None:
        setting = self.setting
        members = write_genesis(
            self.directory,
            validators=setting.validators,
            senders=setting.senders,
            block_interval_ms=setting.block_interval_ms,
            learning=setting.learning,
        )
        for number, key in enumerate(members.validators, start=1):
            self.nodes.append(await self._start_node(number, key))
        # A validator that starts a block after others says nothing at two heights: as good as down, so all wait for it.
        await self._wait(self.nodes, SETTLING_BLOCKS)
        for number, arguments in enumerate(members.role_arguments()):
            self.roles.append(self._start_role(number, arguments))
        for node in self.nodes[setting.validators - setting.down :]:
            node.process.kill()
            node.process.wait()
        if setting.down:
            await self._wait(self.loaded, 2)

    async def _start_node(self, number: int, key: Path) -> NodeProcess:
        folder = self.directory / f"validator-{number}"
        folder.mkdir(exist_ok=True)
        rpc_port, p2p_port = free_port(), free_port()
        command = [sys.executable, "-m", "chain", "run", "--data-dir", str(folder / "data"), "--quiet"]
        command += ["--genesis", str(self.directory / "genesis.json"), "--validator", str(key)]
        command += ["--rpc-port", str(rpc_port)]
        if speaks_to_others():
            command += ["--p2p-host", "127.0.0.1", "--p2p-port", str(p2p_port), "--no-discovery"]
        for other in self.nodes:
            command += ["--peer", f"127.0.0.1:{await self._port_to(other)}"]
        if self.profile:
            command += ["--profile", str(folder / PROFILE_NAME)]
        process = start_process(command, folder / "node.log")
        return NodeProcess(folder=folder, rpc_port=rpc_port, p2p_port=p2p_port, process=process)

    async def _port_to(self, other: NodeProcess) -> int:
        """Where a node reaches another: directly, or over a relay of their own."""
        if not self.setting.delay_ms:
            return other.p2p_port
        relay = Relay(other.p2p_port, self.setting.delay_ms / 1000)
        await relay.start()
        self.relays.append(relay)
        return relay.port

    def _start_role(self, number: int, arguments: list[str]) -> subprocess.Popen[bytes]:
        url = self.nodes[number % (self.setting.validators - self.setting.down)].url
        log = self.directory / f"role-{number + 1}.log"
        return start_process([sys.executable, "-m", "chain", *arguments, "--rpc", url], log)

    async def _wait(self, nodes: Sequence[NodeProcess], blocks: int) -> None:
        """Until all of these have made so many blocks more. RuntimeError with a node's log if one does not."""
        deadline = time.monotonic() + START_SECONDS + START_SECONDS_PER_NODE * len(self.nodes)
        wanted = 0
        for node in nodes:
            wanted = max(wanted, blocks + await self._reached(node, 0, deadline))
        for node in nodes:
            await self._reached(node, wanted, deadline)

    async def _reached(self, node: NodeProcess, height: int, deadline: float) -> int:
        """The node's height, once it has this one."""
        while (found := await height_of(node)) is None or found < height:
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{node.folder.name} does not reach height {height}:\n{node.log()[-3000:]}")
            await asyncio.sleep(0.1)
        return found


def start_process(command: list[str], log_path: Path) -> subprocess.Popen[bytes]:
    """A process of its own session with one thread a library, which does not outlive this one."""
    with log_path.open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            preexec_fn=end_with_parent,
            start_new_session=True,
        )


def speaks_to_others() -> bool:
    """Whether `run` takes part in a network."""
    parser = argparse.ArgumentParser()
    configure(parser)
    return "--p2p-port" in parser.format_help()


async def call(url: str, method: str, *parameters: Any) -> Any:
    """One call on a connection of its own. Raises OSError, RuntimeError."""
    connection = await Connection.open(url)
    try:
        return await connection.call(method, *parameters)
    finally:
        connection.close()


async def height_of(node: NodeProcess) -> int | None:
    """Its height, None while RPC does not answer."""
    try:
        return int(await call(node.url, "eth_blockNumber"), 16)
    except OSError:
        return None
