"""Home of real `python -m chain` processes in tests: nodes that are waited for, commands that are run, none left over.

with running_node(tmp_path / "node", "--block-interval", "0.1", "--no-mine") as node:
    node.wait_for_height(3)
    assert node.call("eth_blockNumber") == "0x3"

assert run_command("wallet", "list", "--keystore", tmp_path).status == 0
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import free_port as free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0  # the first start on a machine compiles kernels
STOP_SECONDS = 30.0
FAST = ("--block-interval", "0.1")
_URL = re.compile(r"RPC on (http://\S+?),")


class RpcFailed(Exception):
    """A node's answer that is an error; the arguments are its code and message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended."""

    status: int
    output: str
    errors: str


def run_command(
    *arguments: object, stdin: str = "", environment: Mapping[str, str] | None = None, timeout: float = 60
) -> Finished:
    """Run `python -m chain ARGUMENTS` to its end, without a terminal."""
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env=clean_environment(environment),
        check=False,
    )
    return Finished(status=done.returncode, output=done.stdout, errors=done.stderr)


def command(*arguments: object, module: str = "chain") -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what the caller's own use of Lyceum put there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LYCEUM_")}
    return {**kept, **(changes or {})}


@dataclass
class RunningNode:
    """A node, started with its RPC on a free port. What it prints is in `log_path`."""

    process: subprocess.Popen[bytes]
    directory: Path
    log_path: Path
    url: str = ""

    def log(self) -> str:
        return self.log_path.read_text()

    def call(self, method: str, *parameters: Any) -> Any:
        """The result of a JSON-RPC call. Raises RpcFailed, OSError."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RpcFailed(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    def height(self) -> int:
        return int(self.call("eth_blockNumber"), 16)

    def wait_for_height(self, height: int, seconds: float = START_SECONDS) -> None:
        self.wait_until(lambda: self.height() >= height, seconds, f"height {height}")

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition on a living node; fails with the end of its log. While RPC is away, it is not met."""
        deadline = time.monotonic() + seconds

        def is_met() -> bool:
            try:
                return condition()
            except OSError:
                return False

        while not is_met():
            late = time.monotonic() > deadline
            if late or self.process.poll() is not None:
                raise AssertionError(f"{'no' if late else 'it ended before'} {what}; its log:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """End it as Ctrl-C would; the exit status."""
        return self.signal(signal.SIGINT)

    def kill(self) -> int:
        return self.signal(signal.SIGKILL)

    def processes(self) -> list[int]:
        """Living processes that name its data directory: itself and its roles."""
        return processes_naming(str(self.directory))


def start_process(
    directory: Path,
    *arguments: object,
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    module: str = "chain",
) -> RunningNode:
    """Start `run` on a data directory, logging lines, without waiting for anything."""
    log_path = directory.with_name(f"{directory.name}-{time.monotonic_ns()}.log")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    line = command("run", "--data-dir", directory, "--rpc-port", port, "--quiet", *arguments, module=module)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=clean_environment(environment),
            start_new_session=True,
        )
    return RunningNode(process=process, directory=directory, log_path=log_path)


def wait_for_rpc(node: RunningNode) -> None:
    """Wait until a node that was started answers."""
    node.wait_until(lambda: _URL.search(node.log()) is not None, START_SECONDS, "RPC")
    found = _URL.search(node.log())
    assert found
    node.url = found.group(1)


@contextmanager
def running_node(
    directory: Path, *arguments: object, port: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[RunningNode]:
    """A node whose RPC answers. It is killed at the end if the test has not ended it."""
    node = start_process(directory, *arguments, port=port, environment=environment)
    try:
        wait_for_rpc(node)
        yield node
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


def processes_naming(text: str) -> list[int]:
    """Ids of living processes with a text in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line, state = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            if text.encode() in line and state.rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
    return found


def wait_for_no_process(text: str, seconds: float = 15.0) -> None:
    """Wait until no process names a text; fails with those that still do."""
    deadline = time.monotonic() + seconds
    while left := processes_naming(text):
        assert time.monotonic() < deadline, f"processes {left} are left behind"
        time.sleep(0.05)
