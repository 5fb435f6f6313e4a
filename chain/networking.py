"""Home of what a full node does with its network: consensus, transactions, blobs, snapshots over one set of peers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chain.blob_keeping import BlobKeeper
from chain.network.blobs import BlobExchange
from chain.network.identity import load_node_key
from chain.network.messages import GetBlocks, Message
from chain.network.network import Network
from chain.network.peer import Peer
from chain.network.settings import NetworkSettings
from chain.network.snapshots import SnapshotServer
from chain.network.transactions import TransactionGossip
from chain.node import Committed, Node
from chain.pool.intake import Intake
from chain.replication.replica import MESSAGES
from chain.storage.blobs import BlobStore
from chain.sync.snapshot_files import SnapshotFiles


class Networking:
    """Joins a node's parts to its peers, from `start` to `close`; `run` in between."""

    def __init__(
        self,
        settings: NetworkSettings,
        directory: Path,
        genesis_hash: bytes,
        node: Node,
        intake: Intake,
        keeper: BlobKeeper,
        blobs: BlobStore,
    ) -> None:
        """Makes the node key on first use. Raises KeyFileError, InvalidPeer."""
        self.network = Network(settings, load_node_key(directory), genesis_hash, directory)
        self._node = node
        self._gossip = TransactionGossip(self.network, intake)
        self._exchange = BlobExchange(self.network, keeper, blobs)
        self._snapshots = SnapshotServer(self.network, node.chain, SnapshotFiles(directory, node.chain))
        node.transport = self
        node.followers.append(self._committed)
        for kind in MESSAGES:
            if kind is not GetBlocks:
                self.network.handle(kind, self._received)
        self.network.answer(GetBlocks, self._blocks)
        self.network.connected.append(lambda peer: node.connected(peer.id, called=not peer.inbound))
        self.network.gone.append(lambda peer: node.gone(peer.id))

    async def start(self) -> None:
        """Listen. Raises PortInUse, CannotListen."""
        await self.network.start()
        self._snapshots.committed()

    async def run(self) -> None:
        """Keep up with peers until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in (self._gossip, self._exchange, self.network):
                group.create_task(part.run())

    async def close(self) -> None:
        """Take leave of all peers."""
        await self.network.close()
        self._exchange.close()
        self._snapshots.close()

    # ------------------------------------------------------------------------------------------- consensus' transport

    def send(self, peers: Sequence[bytes], message: Message) -> None:
        """Send to those of these peers that are connected; the frame is encoded once."""
        frame = self.network.encode(message)
        for node in peers:
            peer = self.network.peer(node)
            if peer is not None:
                peer.send_frame(frame)

    def blame(self, peer: bytes, points: int, reason: str) -> None:
        """Hold something against a peer, if it is still there."""
        found = self.network.peer(peer)
        if found is not None:
            found.blame(points, reason)

    def _received(self, peer: Peer, message: Any) -> None:
        self._node.received(peer.id, message)

    async def _blocks(self, _: Peer, asked: GetBlocks) -> Message:
        return await self._node.blocks(asked.id, asked.first, asked.count)

    def _committed(self, committed: Committed) -> None:
        self._gossip.committed(committed.prepared.transactions)
        self._snapshots.committed(committed)
