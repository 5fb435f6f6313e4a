"""Home of a live chain for tests: every part of a node, in a thread with its own loop, but blocks only on demand."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop

from chain.abi import encode_call
from chain.crypto import address_of
from chain.development import RoleKeys, make_development_chain
from chain.executor import Prepared
from chain.full_node import FullNode, NodeSettings
from chain.keys import load_or_make_plain_key
from chain.ledger import next_base_fee
from chain.node import Committed
from chain.node_directory import open_directory
from chain.operations.clock import Clock
from chain.operations.learning_store import read_tasks
from chain.signing import Fields, sign_transaction
from chain.transactions import Transaction
from chain.types import CONTRACT_ADDRESS, GWEI
from rpc.limits import Settings
from rpc.server import Server
from tests.chain.commits import last_commit

T = TypeVar("T")

# Accounts 0 and 1 of "test test test test test test test test test test test junk", path m/44'/60'/0'/0/i
KEYS = tuple(
    bytes.fromhex(key)
    for key in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    )
)
ADDRESSES = tuple(address_of(key) for key in KEYS)


class LiveChain:
    """A node whose validator is the test: `block` makes and commits one on the tip, from what the pool offers."""

    def __init__(self, directory: Path, task: str = "wine") -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="node", daemon=True)
        self._thread.start()
        keys = RoleKeys(directory=directory)
        make_development_chain(directory, task, 1000)
        opened = open_directory(directory, None, None, 1000)
        validator = load_or_make_plain_key(keys.validator)
        self._validator_key = validator
        self.proposer = address_of(validator)
        self.node = FullNode(opened, NodeSettings(rpc_port=0), validator, directory / "genesis-blobs")
        self.keys = keys
        self.run(self.node.start())
        self.url = self.node.url
        self.websocket_url = self.url.replace("http", "ws")
        self.chain_id = opened.genesis.chain_id

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the node's loop."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(60)

    def close(self) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _close(self) -> None:
        await self.node.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # handlers that wait for the rest of refused bodies
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def wait(self, seconds: float) -> None:
        """Let time pass where a test is about time."""
        time.sleep(seconds)

    @property
    def height(self) -> int:
        return self.node.chain.tip.height

    def blocks(self, count: int) -> None:
        for _ in range(count):
            self.block()

    def block(self) -> None:
        """Commit the next block, and tell all followers, as a node does."""
        self.run(self._block())

    async def _block(self) -> None:
        chain, intake = self.node.chain, self.node.intake
        candidates = intake.candidates(next_base_fee(chain.tip, chain.parameters))
        prepared = chain.build(
            candidates, time_ms=time.time_ns() // 1_000_000, proposer=self.proposer, last_commit=chain.last_commit
        )
        chain.commit(prepared, self.commit_of(prepared))
        intake.committed(prepared.transactions)
        for follower in self.node.node.followers:
            follower(Committed(prepared=prepared, finality_ms=1.0))

    def commit_of(self, prepared: Prepared) -> bytes:
        """What decides a block: the precommit of the only validator."""
        return last_commit(prepared.block.header, self.node.chain.genesis.hash, self._validator_key)

    def call(self, method: str, *params: Any, url: str = "") -> Any:
        """The result of one call. Raises AnsweredError."""
        answer = self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, url=url)
        if "error" in answer:
            raise AnsweredError(**answer["error"])
        return answer["result"]

    def post(self, body: Any, *, url: str = "") -> Any:
        """The answer to a JSON body."""
        request = urllib.request.Request(url or self.url, orjson.dumps(body), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return orjson.loads(response.read() or b"null")

    def get(self, path: str, *, url: str = "") -> tuple[int, bytes]:
        """Status and body of a GET."""
        with urllib.request.urlopen((url or self.url) + path, timeout=30) as response:
            return response.status, response.read()

    def send(self, transaction: Transaction) -> str:
        return str(self.call("eth_sendRawTransaction", "0x" + transaction.raw.hex()))

    def commit_update(self, *, sender: int = 0, sealed_root: bytes, key_hash: bytes = bytes(32)) -> str:
        """Send a commit of an update on the task's head in the running round, after waiting for its phase; the hash."""
        task = self.call("learn_tasks")[0]
        assert self.height < self.clock.last_height, "the task is over: too many blocks were made"
        while not self.clock.accepts_commits(self.height + 1):
            self.block()
        head, number = bytes.fromhex(task["head"][2:]), self.clock.cycle_of(self.height + 1)
        task_id = bytes.fromhex(task["task"][2:])
        calldata = encode_call("commitUpdate", task_id, number, head, sealed_root, 1000, key_hash)
        told = self.call("learn_task", task["task"])
        value = int(told["evaluationFee"], 16) + int(told["bondMinimum"], 16)
        return self.send(
            self.transfer(sender=sender, to=CONTRACT_ADDRESS, data=calldata, gas_limit=200_000, value=value)
        )

    @property
    def clock(self) -> Clock:
        """The clock of the chain's only task."""
        return read_tasks(self.node.chain.store)[0].clock

    def nonce(self, sender: int = 0) -> int:
        nonce, _ = self.node.intake.account(ADDRESSES[sender])
        return self.node.intake.pool.pending_nonce(ADDRESSES[sender], nonce)

    def transfer(self, *, sender: int = 0, nonce: int | None = None, **fields: Any) -> Transaction:
        """A signed transfer of 1 to account 1 on the pending nonce, not sent; fields of `chain.signing` override."""
        chosen: dict[str, Any] = {
            "chain_id": self.chain_id,
            "nonce": self.nonce(sender) if nonce is None else nonce,
            "max_priority_fee_per_gas": GWEI,
            "max_fee_per_gas": 100 * GWEI,
            "gas_limit": 21_000,
            "to": ADDRESSES[1],
            "value": 1,
        }
        return sign_transaction(Fields(**(chosen | fields)), KEYS[sender])

    def other_server(self, **settings: Any) -> OtherServer:
        """A second server over the same node, with settings of its own."""
        return OtherServer(self, Settings(**({"port": 0} | settings)))


class AnsweredError(Exception):
    """An error answer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message)
        self.code, self.message, self.data = code, message, data


class OtherServer:
    """A server with other settings, for the time of a `with` block; its value is the URL."""

    def __init__(self, live: LiveChain, settings: Settings) -> None:
        self._live = live
        self._settings = settings

    def __enter__(self) -> str:
        async def start() -> tuple[Server, int]:
            server = Server(self._live.node.service, self._settings)
            return server, await server.start()

        self._server, port = self._live.run(start())
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self._live.run(self._server.close())
