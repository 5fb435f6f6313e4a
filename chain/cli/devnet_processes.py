"""Home of the processes of a local network: each started, watched, started again when it ends, stopped in order."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chain.cli.children import RESTART_SECONDS, end_role, start_role
from chain.cli.network_folder import VALIDATOR
from chain.errors import LyceumError

log = logging.getLogger("lyceum.devnet")

NODE_STOP_SECONDS = 30.0  # a node finishes what it writes
CLIENT_STOP_SECONDS = 5.0
TAIL_BYTES = 2000


class CannotStart(LyceumError):
    """A node of the network ended before it had ever answered; the message says why, in its own words."""


@dataclass
class Child:
    """A process of the network. `url` is the RPC of the node that it is, or that it is a client of."""

    name: str
    role: str
    arguments: Sequence[str]  # of `python -m chain`
    url: str
    log_path: Path
    state: str = "starting"
    reached: bool = field(default=False)  # whether it has ever answered; of nodes

    @property
    def is_node(self) -> bool:
        return self.role == VALIDATOR

    def last_words(self) -> str:
        """The last line that it printed."""
        try:
            with self.log_path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Processes:
    """Keeps the children running. Each ends when its standard input closes, so that none outlives this process."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep all running until cancelled; then clients are stopped, and nodes after them. Raises CannotStart.

        Clients are started first: they wait for their node, and a reveal may be due in its first block.
        """
        order = sorted(self.children, key=lambda child: child.is_node)
        self._tasks = {child.name: asyncio.create_task(self._keep_running(child)) for child in order}
        try:
            done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for nodes in (False, True):
                tasks = [self._tasks[child.name] for child in order if child.is_node is nodes]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_running(self, child: Child) -> None:
        while True:
            with child.log_path.open("ab") as output:
                process = start_role([*child.arguments, "--until-stdin-closes"], output)
            child.state = "starting" if child.is_node else "running"
            status = await _ended(process, NODE_STOP_SECONDS if child.is_node else CLIENT_STOP_SECONDS)
            child.state = f"ended with status {status}"
            words = child.last_words()
            if child.is_node and not child.reached:
                raise CannotStart(f"{child.name} ended with status {status}: {words}")
            log.warning("%s %s: %s; starting it again (%s)", child.name, child.state, words, child.log_path)
            await asyncio.sleep(RESTART_SECONDS)


async def _ended(process: subprocess.Popen[bytes], stop_seconds: float) -> int:
    """The exit status, when it has ended by itself; ends it when this is cancelled."""
    waiting = asyncio.ensure_future(asyncio.to_thread(process.wait))
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await end_role(process, waiting, stop_seconds)
        raise
