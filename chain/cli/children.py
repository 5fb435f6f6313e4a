"""Home of the processes that a development chain starts beside its node: its custodian and its miners."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from chain.development import ROLES_NAME, RoleKeys, read_sources
from chain.full_node import LOGS_NAME

log = logging.getLogger("lyceum.roles")

STOP_SECONDS = 5.0
RESTART_SECONDS = 3.0


class Roles:
    """Starts the roles, starts one anew that ends by itself, and ends all of them.

    A role ends when its standard input closes, so that none is left behind however the node itself ends. What it prints
    goes to a file of its own in the data directory.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self._directory, self._url = directory, url
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def commands(self) -> dict[str, list[str]]:
        """Name -> arguments of `python -m chain`."""
        keys, roles = RoleKeys(directory=self._directory), self._directory / ROLES_NAME
        found = {
            "custodian": ["custody", "--secrets", str(roles / "custodian"), "--key", str(keys.custodian)],
        }
        for number, path in enumerate(keys.miners, start=1):
            courses = []
            for task, data in read_sources(self._directory).items():
                courses += ["--task", task, "--data", f"{data}#{number}/{len(keys.miners)}"]
            found[f"miner-{number}"] = ["mine", *courses, "--key", str(path), "--dir", str(roles / f"miner-{number}")]
        return {name: [*command, "--rpc", self._url, "--until-stdin-closes"] for name, command in found.items()}

    async def run(self) -> None:
        """Keep the roles running until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, command in self.commands().items():
                group.create_task(self._keep_running(name, command))

    async def _keep_running(self, name: str, command: list[str]) -> None:
        logs = self._directory / LOGS_NAME
        logs.mkdir(exist_ok=True)
        while True:
            with (logs / f"{name}.log").open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "chain",
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                )
            self._processes[name] = process
            try:
                status = await process.wait()
            except asyncio.CancelledError:
                await self._end(process)
                raise
            log.warning("%s ended with status %d; see %s; starting it again", name, status, logs / f"{name}.log")
            await asyncio.sleep(RESTART_SECONDS)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def until_stdin_closes() -> None:
    """Return when whoever started this process has closed its end of standard input, or has ended."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass


async def run_role(job: Coroutine[Any, Any, None], ends_with_stdin: bool) -> None:
    """Run a role until it is interrupted, or until standard input closes."""
    tasks = [asyncio.create_task(job)]
    if ends_with_stdin:
        tasks.append(asyncio.create_task(until_stdin_closes()))
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
