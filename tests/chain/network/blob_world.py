"""Home of a small network for tests of the exchange of blobs: a task whose blobs have several chunks each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from chain.abi import encode_call
from chain.blob_keeping import BlobKeeper
from chain.genesis import Genesis, genesis_json, parse_genesis
from chain.network.blobs import BlobExchange
from chain.network.messages import BlobChunk, GetBlobChunk, HaveBlobs, Message, NotHeld
from chain.operations.learning_store import read_task
from chain.operations.tasks import GenesisCustodian, GenesisTask, task_id
from chain.storage.blobs import BlobStore, UploadLimits
from chain.transactions import Transaction
from chain.types import COIN, CONTRACT_ADDRESS
from learning.architecture import Architecture
from learning.commitment import CHUNK_BYTES, blob_root, chunk_at, chunk_count, chunk_proof
from learning.shards import PreparedShards, Shard, prepare_shards
from tests.chain.ledger_world import ADDRESSES, BALANCE, PROPOSER, transaction
from tests.chain.network.gossip_world import Member, PoolNode
from tests.chain.operations.learning_world import CHAIN_ID, CUSTODIANS, SETTINGS, root, shard_keys, spec_json

ARCHITECTURE = Architecture(layers=(64, 512, 10), input_exponent=8)  # a head has 3 chunks
SAMPLES = 2500  # a sealed shard has 3 chunks too
SHARDS = 5
SPEC = spec_json(
    architecture=json.loads(ARCHITECTURE.to_json()),
    shard_samples=SAMPLES,
    schema={"columns": [[f"x{i}", "0.0", "1.0"] for i in range(64)], "labels": [str(i) for i in range(10)]},
    settings=SETTINGS,
)
TASK = task_id(CHAIN_ID, 0, SPEC)
COMMIT_HEIGHT = 5  # the first at which updates are taken
CYCLE_END = 15  # the first height of the next cycle
LIMITS = UploadLimits(blob_bytes=4 << 20, client_bytes=2 << 20, task_bytes=32 << 20, total_bytes=32 << 20)


@cache
def shards_of(custodian: bytes) -> PreparedShards:
    random = np.random.default_rng(custodian[0])
    shards = [
        Shard(
            inputs=random.integers(0, 256, (SAMPLES, 64), dtype=np.uint8),
            labels=random.integers(0, 10, SAMPLES, dtype=np.int64),
        )
        for _ in range(SHARDS)
    ]
    return prepare_shards(shards, seed=shard_keys(custodian).seed, task=TASK, custodian=custodian)


@cache
def sealed_blobs() -> dict[bytes, bytes]:
    """All manifests and sealed shards, by root."""
    found = {}
    for custodian in CUSTODIANS:
        made = shards_of(custodian)
        found |= {blob_root(blob): blob for blob in (made.manifest, *made.sealed)}
    return found


@cache
def blob_genesis() -> Genesis:
    custodians = [
        GenesisCustodian(
            address=address,
            shards_root=shards_of(address).root,
            key_anchor=shards_of(address).anchor,
            shards=SHARDS,
            bond=60 * COIN,
        )
        for address in CUSTODIANS
    ]
    return parse_genesis(
        genesis_json(
            chain_id=CHAIN_ID,
            time_ms=1_000,
            balances=dict.fromkeys((*ADDRESSES, PROPOSER), BALANCE),
            validators=[(PROPOSER, 1000, COIN)],
            tasks=[GenesisTask(spec=SPEC, custodians=tuple(custodians))],
            parameters={},
        )
    )


def content(name: str, length: int = 3 * CHUNK_BYTES + 7) -> bytes:
    """A blob like a sealed update."""
    return np.random.default_rng(list(name.encode())).bytes(length)


class BlobNode(PoolNode):
    """A member with a chain, a pool, a blob store and the exchange of blobs."""

    def __init__(self, directory: Path, ordinal: int, *, has_shards: bool = True) -> None:
        super().__init__(directory, ordinal, blob_genesis())
        self.blobs = BlobStore(self.directory / "blobs", root_of=blob_root, limits=LIMITS)
        if has_shards:
            for name, data in sealed_blobs().items():
                self.blobs.put(name, data)
        self.keeper = BlobKeeper(self.chain, self.blobs)

    def join(self, others: Sequence[Member]) -> None:
        super().join(others)
        self.exchange = BlobExchange(self.network, self.keeper, self.blobs)

    async def start(self) -> None:
        await super().start()
        self.running += [asyncio.create_task(part.run()) for part in (self.keeper, self.exchange)]

    async def close(self) -> None:
        await super().close()
        self.exchange.close()
        self.keeper.close()

    def has_all(self, roots: Sequence[bytes]) -> bool:
        return all(self.blobs.has(name) for name in roots)

    def block(self, *transactions: Transaction) -> None:
        super().block(*transactions)
        self.keeper.committed(None)  # type: ignore[arg-type]

    def go(self, height: int) -> None:
        """Empty blocks until the next one has this height."""
        while self.chain.tip.height + 1 < height:
            self.block()

    @property
    def pulling(self) -> Any:
        return self.exchange._pulls


def commit(node: BlobNode, sender: int, nonce: int, sealed_root: bytes, size: int) -> Transaction:
    """A miner's commit of an update to round 0."""
    state = read_task(node.chain.store, TASK)
    assert state is not None
    calldata = encode_call("commitUpdate", TASK, 0, state.head, sealed_root, size, root("key"))
    return transaction(sender, nonce, to=CONTRACT_ADDRESS, data=calldata, gas_limit=300_000, value=10 * COIN)


class BlobLiar(Member):
    """Tells of blobs, and gives what `give` makes of a question about a blob that it may have."""

    def __init__(self, directory: Path, ordinal: int, blobs: Sequence[bytes] = ()) -> None:
        super().__init__(directory, ordinal, blob_genesis())
        self.blobs = {blob_root(data): data for data in blobs}
        self.asked: list[GetBlobChunk] = []

    def join(self, others: Sequence[Member]) -> None:
        super().join(others)
        self.network.handle(HaveBlobs, lambda peer, message: None)
        self.network.answer(GetBlobChunk, self._answer)

    async def _answer(self, _: Any, asked: GetBlobChunk) -> Message:
        self.asked.append(asked)
        data = self.blobs.get(asked.root)
        if data is None or asked.index >= chunk_count(len(data)):
            return NotHeld(id=asked.id)
        return await self.give(asked, data)

    async def give(self, asked: GetBlobChunk, data: bytes) -> Message:
        """The right answer."""
        proof = chunk_proof(data, asked.index)
        return BlobChunk(id=asked.id, length=len(data), data=chunk_at(data, asked.index), proof=proof)

    def tell(self, other: Member, *roots: bytes) -> None:
        assert self.peer_of(other).send(HaveBlobs(roots=roots))
