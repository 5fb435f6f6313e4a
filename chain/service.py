"""Home of a node as its RPC server sees it: the `rpc.backend.Backend` of a running node."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from chain.blob_keeping import BlobKeeper
from chain.codec import decode_block, decode_header, decode_receipt, decode_receipts
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.history import StateAt, StateNotKept
from chain.light_blocks import LightBlock
from chain.node import Committed, Node
from chain.parameters import Parameters
from chain.pool.intake import Intake, recover_committed
from chain.pool.mempool import Mempool
from chain.state import View
from chain.storage.blobs import BlobStore
from chain.storage.recent_values import UNKNOWN, RecentValues
from chain.sync.sync_progress import SyncProgress
from chain.transactions import Transaction, decode, fill_in_sender
from chain.types import Block, Header, Receipt
from chain.validator_status import validator_statuses
from chain.version import CLIENT_VERSION
from rpc.backend import EvaluationResult, StateProof, Syncing, Tip, ValidatorStatus

RECENT_BLOCKS = 64
RECENT_SENDERS_MAX = 1 << 16  # and as many that are older
DECODED_AT_ONCE_MAX = 16  # transactions; more are decoded on a worker


class PeerNetwork(Protocol):
    """What is told of a node's network."""

    def peers(self) -> Sequence[object]: ...

    def status(self) -> dict[str, Any]: ...

    def traffic(self) -> Mapping[str, tuple[int, int, int, int]]: ...


class Service:
    """Implements `rpc.backend.Backend` over a node's parts."""

    def __init__(
        self,
        chain: Chain,
        node: Node,
        intake: Intake,
        blobs: BlobStore,
        evaluations: Evaluations,
        keeper: BlobKeeper,
    ) -> None:
        self._chain = chain
        self._store = chain.store
        self._intake = intake
        self._blobs = blobs
        self._evaluations = evaluations
        self._keeper = keeper
        self.network: PeerNetwork | None = None  # set once, where the node has one
        self.progress: SyncProgress | None = None  # likewise
        self._tip = Tip(header=chain.tip, hash=chain.tip_hash)
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._receipts: OrderedDict[int, tuple[Receipt, ...]] = OrderedDict()
        self._senders = RecentValues(RECENT_SENDERS_MAX)  # transaction hash -> sender
        self._block_callbacks: list[Callable[[Tip], None]] = []
        self._pending_callbacks: list[Callable[[Sequence[Transaction]], None]] = []
        node.followers.append(self._committed)
        intake.followers.append(self._entered)

    def _committed(self, committed: Committed) -> None:
        prepared = committed.prepared
        height = prepared.block.header.height
        _keep(self._blocks, height, prepared.block, RECENT_BLOCKS)
        _keep(self._receipts, height, prepared.execution.receipts, RECENT_BLOCKS)
        for transaction in prepared.transactions:
            self._senders.put(transaction.hash, transaction.sender)
        self._tip = Tip(header=prepared.block.header, hash=prepared.hash)
        for callback in list(self._block_callbacks):
            callback(self._tip)

    def _entered(self, transactions: Sequence[Transaction]) -> None:
        for callback in list(self._pending_callbacks):
            callback(transactions)

    # ------------------------------------------------------------------------------------------------ the chain

    @property
    def chain_id(self) -> int:
        return self._chain.genesis.chain_id

    @property
    def genesis_hash(self) -> bytes:
        return self._chain.genesis.hash

    @property
    def client_version(self) -> str:
        return CLIENT_VERSION

    @property
    def parameters(self) -> Parameters:
        return self._chain.parameters

    @property
    def pool(self) -> Mempool:
        return self._intake.pool

    @property
    def oldest_block(self) -> int:
        return self._store.oldest_block

    def tip(self) -> Tip:
        return self._tip

    def header(self, height: int) -> Header | None:
        if height in self._blocks:
            return self._blocks[height].header
        encoded = self._store.header(height)
        return None if encoded is None or height > self._tip.header.height else decode_header(encoded)

    def block(self, height: int) -> Block | None:
        if height in self._blocks:
            return self._blocks[height]
        encoded = self._store.block(height)
        return None if encoded is None or height > self._tip.header.height else decode_block(encoded)

    def receipts(self, height: int) -> tuple[Receipt, ...] | None:
        if height in self._receipts:
            return self._receipts[height]
        encoded = self._store.receipts(height)
        if encoded is None or height > self._tip.header.height:
            return None
        return tuple(decode_receipt(item) for item in decode_receipts(encoded))

    def height_of_hash(self, block_hash: bytes) -> int | None:
        height = self._store.height_of_hash(block_hash)
        return None if height is None or height > self._tip.header.height else height

    def transaction_location(self, transaction_hash: bytes) -> tuple[int, int] | None:
        location = self._store.transaction_location(transaction_hash)
        return None if location is None or location[0] > self._tip.header.height else location

    def state(self, height: int | None = None) -> View:
        if height is None or height == self._tip.header.height:
            return StateAt(self._store, self._tip.header.height)
        if not self._store.oldest_height <= height < self._tip.header.height:
            kept = f"{self._store.oldest_height} to {self._tip.header.height}"
            raise StateNotKept(f"historical state of block {height} is not available; kept are {kept}")
        return StateAt(self._store, height)

    async def decode_transactions(self, raws: Sequence[bytes]) -> Sequence[Transaction]:
        if len(raws) <= DECODED_AT_ONCE_MAX:
            return self._decode(raws)
        return await asyncio.to_thread(self._decode, raws)

    def _decode(self, raws: Sequence[bytes]) -> list[Transaction]:
        """Recovery takes most of the time: senders of recent transactions are remembered."""
        transactions = [decode(raw, self.chain_id) for raw in raws]
        unknown = []
        for transaction in transactions:
            sender = self._senders.young(transaction.hash)
            if sender is UNKNOWN:
                sender = self._senders.old(transaction.hash)
            if sender is None or sender is UNKNOWN:
                unknown.append(transaction)
            else:
                fill_in_sender(transaction, sender)
        recover_committed(unknown)
        return transactions

    # -------------------------------------------------------------------------------------------- what comes in

    async def submit(self, raws: Sequence[bytes]) -> Sequence[bytes | Exception]:
        return await self._intake.submit(raws)

    async def put_blob(self, task: bytes, client: str, data: bytes) -> bytes:
        return await self._keeper.put(task, client, data)

    # ------------------------------------------------------------------------------------------------- learning

    def blob_size(self, root: bytes) -> int | None:
        return self._blobs.size(root)

    async def read_blob(self, root: bytes, start: int, length: int) -> bytes | None:
        return await asyncio.to_thread(self._blobs.read, root, start, length)

    def validators(self, height: int | None = None) -> Sequence[ValidatorStatus]:
        at = self._tip.header.height if height is None else height
        return validator_statuses(self.state(height), at, self.parameters)

    def light_block(self, height: int) -> LightBlock | None:
        return None if height > self._tip.header.height else self._chain.light_block(height)

    def prove(self, key: bytes, height: int | None = None) -> StateProof:
        at = self._tip.header.height if height is None else height
        header = self.header(at)
        value = self.state(at).get(key)
        proof = self._chain.prove(key, at)
        if header is None or proof is None:
            raise StateNotKept(f"no proofs are kept for block {at}; newer blocks have them")
        latest = self._chain.last_commit  # before the child is looked for: it may be committed at this moment
        child = self._store.block(at + 1)
        commit = decode_block(child).last_commit if child else latest
        return StateProof(header=header, value=value, proof=proof, commit=commit)

    async def evaluate(self, task: bytes, shard_root: bytes, root: bytes | None) -> EvaluationResult:
        return await self._evaluations.evaluate(task, shard_root, root)

    def learning_status(self) -> dict[str, Any]:
        return self._evaluations.status()

    # -------------------------------------------------------------------------------------------------- the node

    def syncing(self) -> Syncing | None:
        return self.progress.syncing() if self.progress else None

    def peer_count(self) -> int:
        return len(self.network.peers()) if self.network else 0

    def network_status(self) -> dict[str, Any] | None:
        return self.network.status() if self.network else None

    def network_traffic(self) -> Mapping[str, tuple[int, int, int, int]]:
        return self.network.traffic() if self.network else {}

    def on_block(self, callback: Callable[[Tip], None]) -> Callable[[], None]:
        self._block_callbacks.append(callback)
        return lambda: self._block_callbacks.remove(callback)

    def on_pending(self, callback: Callable[[Sequence[Transaction]], None]) -> Callable[[], None]:
        self._pending_callbacks.append(callback)
        return lambda: self._pending_callbacks.remove(callback)


def _keep(cache: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
