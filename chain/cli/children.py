"""Home of the processes that a development chain starts beside its node: its custodian and its miners."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO

from chain.development import ROLES_NAME, RoleKeys, read_sources
from chain.node_directory import LOGS_NAME

log = logging.getLogger("lyceum.roles")

STOP_SECONDS = 5.0
RESTART_SECONDS = 3.0
READY_SECONDS = 20.0


class Roles:
    """Starts the roles, starts one anew that ends by itself, and ends all of them.

    A role ends when its standard input closes, so that none is left behind however the node itself ends. What it prints
    goes to a file of its own in the data directory.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self._directory, self._url = directory, url
        self._ready_directory = directory / ROLES_NAME / "ready"
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start all roles and wait until they follow the chain, or for READY_SECONDS.

        Before that, blocks would pass in which they should have revealed or opened something.
        """
        shutil.rmtree(self._ready_directory, ignore_errors=True)
        self._ready_directory.mkdir(parents=True)
        names = list(self.commands())
        self._running = asyncio.create_task(self._run())
        deadline = time.monotonic() + READY_SECONDS
        for name in names:
            while time.monotonic() < deadline and not (self._ready_directory / name).exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def run(self) -> None:
        """Keep the roles running until cancelled; after `start`."""
        assert self._running is not None
        try:
            await asyncio.shield(self._running)
        finally:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

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
        for name, command in found.items():
            command += ["--rpc", self._url, "--until-stdin-closes", "--ready-file", str(self._ready_directory / name)]
        return found

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, command in self.commands().items():
                group.create_task(self._keep_running(name, command))

    async def _keep_running(self, name: str, command: list[str]) -> None:
        logs = self._directory / LOGS_NAME
        logs.mkdir(exist_ok=True)
        while True:
            with (logs / f"{name}.log").open("ab") as output:
                process = start_role(command, output)
            waiting = asyncio.ensure_future(asyncio.to_thread(process.wait))
            try:
                status = await asyncio.shield(waiting)
            except asyncio.CancelledError:
                await end_role(process, waiting)
                raise
            log.warning("%s ended with status %d; see %s; starting it again", name, status, logs / f"{name}.log")
            await asyncio.sleep(RESTART_SECONDS)


def start_role(command: list[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    """Start `python -m chain COMMAND`; of this process' files it gets nothing but its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-m", "chain", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )


async def end_role(
    process: subprocess.Popen[bytes], waiting: asyncio.Future[int], seconds: float = STOP_SECONDS
) -> None:
    """Close its standard input, at which it ends; kill it if it does not. `waiting` is who waits for it."""
    assert process.stdin is not None
    process.stdin.close()
    ended, _ = await asyncio.wait([waiting], timeout=seconds)
    if not ended:
        process.kill()
        await waiting


async def until_stdin_closes() -> None:
    """Return when whoever started this process has closed its end of standard input, or has ended."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass


def add_supervision(parser: argparse.ArgumentParser) -> None:
    """Options by which a node watches over the roles that it has started."""
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ready-file", type=Path, help=argparse.SUPPRESS)


def report_ready(arguments: argparse.Namespace) -> Callable[[], None]:
    """What a role calls when it follows the chain."""
    return arguments.ready_file.touch if arguments.ready_file else lambda: None


async def run_role(job: Coroutine[Any, Any, None], arguments: argparse.Namespace) -> None:
    """Run a role until it is interrupted, or until standard input closes."""
    tasks = [asyncio.create_task(job)]
    if arguments.until_stdin_closes:
        tasks.append(asyncio.create_task(until_stdin_closes()))
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    logging.shutdown()
    os._exit(0)  # at once: what must last is synced already, and a training thread could take seconds to end
