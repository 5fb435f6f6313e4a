"""Home of what everybody can know of a task on a chain: read from state at the tip and from blobs that keys open."""

from __future__ import annotations

import numpy as np

from benchmarks.chain_network import Network
from benchmarks.strategies import Knowledge, Revealed
from chain.judging import head_weights
from chain.operations.learning_state import Opening, Round, TaskState
from chain.operations.learning_store import read_custodian, read_round, read_task
from learning.commitment import Int32Array
from learning.datasets import Dataset
from learning.sealing import open_shard, open_update
from learning.shards import Shard, decode_manifest, decode_shard
from learning.updates import decode_update


class PublicTask:
    """One task of a network, to anybody who follows it. Opened shards are kept, as there are more every round."""

    def __init__(self, network: Network, task: bytes) -> None:
        self._network, self.task = network, task
        self.spec = network.spec(task)
        self.clock = self.spec.clock(network.chain.parameters)
        self._shards: list[Shard] = []
        self._rounds_read = 0

    @property
    def state(self) -> TaskState:
        state = read_task(self._network.store, self.task)
        assert state is not None
        return state

    def round(self, number: int) -> Round | None:
        """None where nothing was committed."""
        return read_round(self._network.store, self.task, number) if number >= 0 else None

    def head(self, place: int = -1) -> Int32Array:
        """The weights int32[P] of one of the newest heads, oldest first."""
        weights = head_weights(self.spec, self.state.heads[place].root, self._network.blobs.get)
        assert weights is not None
        return weights

    def known_to(self, account: bytes, private: Dataset) -> Knowledge:
        """What an account with these samples can know when it commits on the tip."""
        state = self.state
        return Knowledge(
            account=account,
            architecture=self.spec.architecture,
            heads=tuple(self.head(place).astype(np.int64) for place in range(len(state.heads))),
            revealed=self._revealed(state.settled - 1),
            radius=state.radius,
            private=private,
            public=self._opened(),
        )

    def _revealed(self, number: int) -> tuple[Revealed, ...]:
        """The updates of a settled round, opened with their keys. All of them are well-formed, as strategies' are."""
        found = self.round(number)
        return tuple(
            Revealed(
                account=update.miner,
                delta=decode_update(
                    open_update(
                        self._blob(update.sealed_root),
                        key=update.key,
                        task=self.task,
                        round_number=number,
                        miner=update.miner,
                    ),
                    self.spec.architecture.parameters,
                ).astype(np.int64),
                contribution=update.contribution,
            )
            for update in (found.updates if found else ())
        )

    def _opened(self) -> Dataset:
        """The samples of all shards of settled rounds."""
        while self._rounds_read < self.state.settled:
            found = self.round(self._rounds_read)
            assert found is not None
            self._shards += [self._shard(opening) for opening in found.openings]
            self._rounds_read += 1
        width = self.spec.architecture.input_width
        return Dataset(
            inputs=np.concatenate([np.empty((0, width), np.uint8), *(shard.inputs for shard in self._shards)]),
            labels=np.concatenate([np.empty(0, np.int64), *(shard.labels for shard in self._shards)]),
            classes=self.spec.architecture.classes,
        )

    def _shard(self, opening: Opening) -> Shard:
        custodian = read_custodian(self._network.store, self.task, opening.custodian)
        assert custodian is not None
        samples, architecture = self.spec.shard_samples, self.spec.architecture
        manifest = self._blob(opening.shards_root)
        entries = decode_manifest(manifest, shards=custodian.shards, samples=samples, width=architecture.input_width)
        plain = open_shard(
            self._blob(entries[opening.index].root),
            key=opening.key,
            task=self.task,
            custodian=opening.custodian,
            index=opening.index,
        )
        return decode_shard(plain, samples=samples, width=architecture.input_width, classes=architecture.classes)

    def _blob(self, root: bytes) -> bytes:
        blob = self._network.blobs.get(root)
        assert blob is not None, root.hex()
        return blob
