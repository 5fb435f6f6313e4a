"""Home of networks of real nodes in tests: processes, sockets and directories of their own, faults between them.

with running_cluster(tmp_path, miners=2) as cluster:
    cluster.proxy.split([0, 1], [2, 3])
    cluster.nodes[3].kill()
    cluster.start(3)
    cluster.wait_until_level()
    cluster.verify()
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chain.cli.network_commands import custodian_command, miner_command, node_command, node_name
from chain.cli.network_folder import DATA_NAME, Folder, Place, Plan, write_folder
from chain.development import DEVELOPMENT_ACCOUNTS, DEVELOPMENT_BALANCE
from chain.genesis import DEVELOPMENT_CHAIN_ID
from tests.system.networks import Role, events, running_role
from tests.system.processes import STOP_SECONDS, RunningNode, free_port, run_command, start_process, wait_for_rpc
from tests.system.proxy import FaultProxy
from tests.system.traffic import GONE, Traffic

INTERVAL_SECONDS = 0.3
LOOPBACK = "127.0.0.1"
# Blocks: a cycle of 20 leaves 9 for training and committing, 4 for reveals and 4 for openings.
# Epochs are long, so that nobody is left out who is away for a while.
CALM = {"cycle_blocks": 20, "reveal_blocks": 4, "open_blocks": 4, "hold_blocks": 3, "epoch_blocks": 1000}
PAUSE_SECONDS = 0.5  # between rounds of sending: nodes shall have time for other things
FEW_STEPS = ("--steps", "15")


@dataclass
class Cluster:
    """A network in a folder. Nodes and their validators are counted from 0, and reach each other by the proxy only."""

    directory: Path
    folder: Folder
    proxy: FaultProxy
    p2p_ports: Sequence[int]
    rpc_ports: Sequence[int]
    nodes: dict[int, RunningNode] = field(default_factory=dict)
    clients: dict[str, Role] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    # ------------------------------------------------------------------------------------------------------ starting

    def data_directory(self, number: int) -> Path:
        return self.directory / self.folder.validators[number].folder / DATA_NAME

    def start(self, *numbers: int, extra: Sequence[object] = (), module: str = "chain") -> None:
        """Start nodes that don't run, and wait until they answer; `module` may be one that alters a node."""
        for number in numbers:
            places = [
                Place(host=LOOPBACK, port=self.p2p_ports[other] if other == number else self.proxy.port(number, other))
                for other in range(len(self.folder.validators))
            ]
            words = node_command(
                str(self.directory), number, self.folder.validators, places,
                rpc_port=self.rpc_ports[number], p2p_host=LOOPBACK,
            )  # fmt: skip
            self.nodes[number] = start_process(
                self.data_directory(number), *words[1:], "--no-discovery", *extra,
                port=self.rpc_ports[number], module=module,
            )  # fmt: skip
        for number in numbers:
            wait_for_rpc(self.nodes[number])

    def start_clients(self) -> None:
        """All custodians and miners, the i-th of each at node i; they outlive restarts of their node."""
        for member in self.folder.custodians:
            self._client(member.folder, custodian_command(str(self.directory), member, self._url(member.number)))
        for member in self.folder.miners:
            words = miner_command(
                str(self.directory), member, len(self.folder.miners), self.folder.sources, self._url(member.number)
            )
            self._client(member.folder, [*words, *FEW_STEPS])

    def _client(self, name: str, words: Sequence[str]) -> None:
        self.clients[name] = self.stack.enter_context(running_role(words, self.directory / f"{name}.log"))

    def _url(self, number: int) -> str:
        return f"http://{LOOPBACK}:{self.rpc_ports[(number - 1) % len(self.rpc_ports)]}"

    def peer(self, number: int) -> str:
        """A node's address without the proxy, as an option of `run` has it."""
        return f"{node_name(self.folder.validators[number].node_id)}@{LOOPBACK}:{self.p2p_ports[number]}"

    @contextmanager
    def newcomer(self, name: str, *arguments: object, module: str = "chain") -> Iterator[RunningNode]:
        """One more node, in a directory of its own, which knows the genesis file and one peer's address."""
        folder = self.directory / name
        folder.mkdir()
        shutil.copy(self.directory / "genesis.json", folder)
        node = start_process(
            folder / DATA_NAME,
            "--genesis", folder / "genesis.json", "--p2p-host", LOOPBACK, "--p2p-port", 0, "--peer", self.peer(0),
            *arguments, module=module,
        )  # fmt: skip
        try:
            wait_for_rpc(node)
            yield node
        finally:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait()

    # ----------------------------------------------------------------------------------------------------- observing

    @property
    def running(self) -> list[RunningNode]:
        return [node for node in self.nodes.values() if node.process.poll() is None]

    def height(self) -> int:
        """The highest of all nodes."""
        return max(node.height() for node in self.running)

    def wait_for_blocks(self, count: int, *numbers: int, seconds: float = 60.0) -> None:
        """Wait until nodes, all that run if none are named, are so many blocks above the highest."""
        height = self.height() + count
        for node in [self.nodes[number] for number in numbers] or self.running:
            node.wait_for_height(height, seconds)

    def settled(self, number: int = 0) -> int:
        """Rounds that have been settled, as a node tells."""
        return len(events(self.nodes[number], "RoundSettled"))

    def wait_for_settlements(self, count: int, number: int = 0, seconds: float = 60.0) -> None:
        """Wait for so many more of them."""
        wanted = self.settled(number) + count
        self.nodes[number].wait_until(lambda: self.settled(number) >= wanted, seconds, f"{count} settlements")

    def assert_stands_still(self, seconds: float, *numbers: int) -> None:
        """Nodes commit nothing for a while; what was under way is given a second."""
        time.sleep(1)
        before = [self.nodes[number].height() for number in numbers]
        time.sleep(seconds)
        assert [self.nodes[number].height() for number in numbers] == before

    def wait_until_level(self, seconds: float = 60.0) -> None:
        """Wait until every node has what the highest has now, and find the same block and state at that height."""
        height = self.height()
        for node in self.running:
            node.wait_for_height(height, seconds)
        self.assert_same_history(self.running)

    @staticmethod
    def assert_same_history(nodes: Collection[RunningNode], first: int | None = None) -> None:
        """All nodes have the same block at the height of the lowest, state root included; at `first` too, if given.

        A block's hash stands for all blocks before it.
        """
        height = min(node.height() for node in nodes)
        for at in (height,) if first is None else (first, height):
            blocks = [node.call("eth_getBlockByNumber", hex(at), False) for node in nodes]
            assert all(block == blocks[0] for block in blocks), f"nodes differ at height {at}: {blocks}"
            assert int(blocks[0]["stateRoot"], 16)

    # ------------------------------------------------------------------------------------------------------- the end

    def stop(self) -> None:
        """End clients, then nodes, as their owners would."""
        for client in self.clients.values():
            if client.process.poll() is None:
                client.kill()
        running = self.running
        for node in running:
            node.process.terminate()
        for node in running:
            status = node.process.wait(STOP_SECONDS)
            assert status == 0, f"a node ended with {status}; its log:\n{node.log()[-3000:]}"

    def verify(self, *more: Path) -> None:
        """Stop everything; every directory then holds a history that is true from genesis on, to the byte."""
        self.stop()
        directories = [self.data_directory(number) for number in self.nodes] + list(more)
        with ThreadPoolExecutor(2) as pool:
            for done in pool.map(lambda path: run_command("verify", "--data-dir", path, timeout=120), directories):
                assert done.status == 0, done.errors


@contextmanager
def running_cluster(
    directory: Path,
    *,
    validators: int = 4,
    custodians: int = 1,
    miners: int = 0,
    task: str = "digits",
    interval_seconds: float = INTERVAL_SECONDS,
    parameters: Mapping[str, int] | None = None,
    funds: Mapping[bytes, int] | None = None,
) -> Iterator[Cluster]:
    """A new network whose nodes run; its ten development accounts are funded. All its processes end with the block."""
    directory.mkdir(parents=True)
    standard = {"power_openings_minimum": 1, "block_interval_ms": round(interval_seconds * 1000), **CALM}
    plan = Plan(
        chain_id=DEVELOPMENT_CHAIN_ID,
        tasks=[task],
        validators=validators,
        custodians=custodians,
        miners=miners,
        parameters={**standard, **(parameters or {})},
        funds={**dict.fromkeys(DEVELOPMENT_ACCOUNTS, DEVELOPMENT_BALANCE), **(funds or {})},
    )
    folder = write_folder(directory, plan)
    p2p_ports = [free_port() for _ in range(validators)]
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(dict(enumerate(p2p_ports))))
        cluster = Cluster(
            directory=directory,
            folder=folder,
            proxy=proxy,
            p2p_ports=p2p_ports,
            rpc_ports=[free_port() for _ in range(validators)],
            stack=stack,
        )
        stack.callback(_kill_all, cluster)
        cluster.start(*range(validators))
        cluster.start_clients()
        yield cluster


def _kill_all(cluster: Cluster) -> None:
    for node in cluster.running:
        node.process.kill()
        node.process.wait()


class Sender:
    """Sends transfers to the nodes in turn, from a thread of its own, until stopped; those that are away are left out."""

    def __init__(self, cluster: Cluster, transfers_each: int) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self.traffic = Traffic(transfers_each)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for node in [node for node in self._cluster.running if node.url]:  # the others are starting
                    try:
                        self.traffic.step(node.url)
                    except GONE:
                        continue
                self._stopping.wait(PAUSE_SECONDS)
        except BaseException as error:  # told by `stop`
            self._failure = error

    @property
    def included(self) -> int:
        """Transfers whose receipts have been seen."""
        return len(self.traffic.receipts)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        if self._failure:
            raise self._failure
