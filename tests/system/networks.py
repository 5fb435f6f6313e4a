"""Home of development networks for system tests: phases long enough for a busy machine, roles as processes, money moving."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.abi import EVENTS
from chain.crypto import address_of
from chain.development import DEVELOPMENT_ACCOUNTS, GENESIS_NAME, ROLES_NAME, RoleKeys, make_development_chain
from chain.genesis import DEVELOPMENT_CHAIN_ID
from chain.keys import load_key
from chain.operations.tasks import canonical_json
from chain.signing import Fields, sign_transaction
from chain.types import GWEI
from tests.system.processes import ROOT, RunningNode, clean_environment, command

# Of DEVELOPMENT_ACCOUNTS, in their order: "test test test test test test test test test test test junk".
ACCOUNT_KEYS = tuple(
    bytes.fromhex(key)
    for key in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
        "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
        "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
        "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
        "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
        "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
        "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    )
)
assert tuple(address_of(key) for key in ACCOUNT_KEYS) == DEVELOPMENT_ACCOUNTS

# Blocks: a cycle of 20 leaves 9 for training and committing, 4 for reveals and 4 for openings.
CALM = {"cycle_blocks": 20, "reveal_blocks": 4, "open_blocks": 4, "hold_blocks": 3}


def make_network(directory: Path, interval_seconds: float, parameters: Mapping[str, int], task: str = "digits") -> Path:
    """A development chain with other parameters than a node would choose; returns its data directory."""
    directory.mkdir(parents=True)
    make_development_chain(directory, task, round(interval_seconds * 1000))
    path = directory / GENESIS_NAME
    genesis = json.loads(path.read_bytes())
    genesis["parameters"] |= {name: str(value) for name, value in parameters.items()}
    path.write_bytes(canonical_json(genesis))
    return directory


def signed_transfers(sender: int, count: int, *, to: int, first_nonce: int = 0) -> list[bytes]:
    """Raw transfers of 1 wei from one of the development accounts to another, on consecutive nonces."""
    return [
        sign_transaction(
            Fields(
                chain_id=DEVELOPMENT_CHAIN_ID,
                nonce=nonce,
                max_priority_fee_per_gas=GWEI,
                max_fee_per_gas=100 * GWEI,
                gas_limit=21_000,
                to=DEVELOPMENT_ACCOUNTS[to],
                value=1,
                data=b"",
            ),
            ACCOUNT_KEYS[sender],
        ).raw
        for nonce in range(first_nonce, first_nonce + count)
    ]


def events(node: RunningNode, name: str, first: int = 0) -> list[dict[str, Any]]:
    """The logs of one of the contract's events from a height on."""
    wanted = {"fromBlock": hex(first), "toBlock": "latest", "topics": ["0x" + EVENTS[name].topic.hex()]}
    found: list[dict[str, Any]] = node.call("eth_getLogs", wanted)
    return found


def only_task(node: RunningNode) -> str:
    """The id of the only task."""
    (task,) = node.call("learn_tasks")
    return str(task["task"])


@dataclass
class Role:
    """A miner or custodian, as a process of its own that goes on while its node restarts."""

    arguments: Sequence[str]
    log_path: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it at once; nothing that it would do at its end is done."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        assert self.process.poll() is not None, "it still runs"
        self.process = _start(self.arguments, self.log_path)

    def log(self) -> str:
        return self.log_path.read_text()


@contextmanager
def running_role(arguments: Sequence[object], log_path: Path) -> Iterator[Role]:
    """Run `python -m chain ARGUMENTS` until the end of the block."""
    words = [str(word) for word in arguments]
    role = Role(arguments=words, log_path=log_path, process=_start(words, log_path))
    try:
        yield role
    finally:
        if role.process.poll() is None:
            role.kill()


def _start(arguments: Sequence[str], log_path: Path) -> subprocess.Popen[bytes]:
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=clean_environment({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}),
            start_new_session=True,
        )


def custodian_arguments(directory: Path, url: str) -> list[str]:
    keys = RoleKeys(directory=directory)
    return [
        "custody",
        "--rpc",
        url,
        "--secrets",
        str(directory / ROLES_NAME / "custodian"),
        "--key",
        str(keys.custodian),
    ]


def miner_arguments(directory: Path, url: str, number: int, miners: int = 3) -> list[str]:
    """Miner 1, 2 or 3 of the development chain on `digits`, of which each of so many has its own share."""
    key = RoleKeys(directory=directory).miners[number - 1]
    place = directory / ROLES_NAME / f"miner-{number}"
    data = f"digits#{number}/{miners}" if miners > 1 else "digits"
    # Few steps: then the second round of a lone miner improves the model as surely as the first.
    training = ["--task", "digits", "--data", data, "--steps", "15"]
    return ["mine", "--rpc", url, *training, "--key", str(key), "--dir", str(place)]


def miner_address(directory: Path, number: int) -> str:
    return "0x" + address_of(load_key(RoleKeys(directory=directory).miners[number - 1], None)).hex()


def eventually(condition: Callable[[], Any], seconds: float, what: str, pause_seconds: float = 0.02) -> Any:
    """The first true value of a condition; fails when it stays false for so long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(pause_seconds)
    return found
