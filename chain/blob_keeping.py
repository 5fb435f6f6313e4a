"""Home of what a node keeps of blobs: those that the chain names, for good once they are held; uploads for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from chain.executor import Chain
from chain.history import StateAt, StateNotKept
from chain.named_blobs import NamedBlob, head_blob, named_blobs, needed_blobs
from chain.node import Committed
from chain.operations.learning_store import read_spec
from chain.operations.tasks import parse_spec
from chain.state import View
from chain.storage.blobs import BlobStore, InvalidUpload
from chain.threads import workers
from learning.architecture import Architecture
from rpc.backend import BlobRefused

log = logging.getLogger("lyceum.blobs")

UPLOAD_CYCLES: Final = 2  # an upload that no commit names is dropped after so many cycles
LACKING_MAX: Final = 1024  # blobs that are looked for at one time
TOLD_MAX: Final = 256  # updates under way that others are told of
CAME_S: Final = 0.05  # what comes within it is told of together


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look at the chain found."""

    lacking: tuple[NamedBlob, ...]
    under_way: tuple[bytes, ...]  # roots of updates at hand that validators do not hold yet
    complete: frozenset[bytes]  # manifests at hand, with all that they list


class BlobKeeper:
    """Follows the chain: pins what validators hold, drops uploads whose time has come, and knows what is lacking.

    Lives on the event loop; looks and writes on one thread, as both sync the disk.
    """

    def __init__(self, chain: Chain, blobs: BlobStore) -> None:
        self.lacking: tuple[NamedBlob, ...] = ()  # named by the chain and not here; what is needed first comes first
        self.under_way: tuple[bytes, ...] = ()
        self.followers: list[Callable[[], None]] = []  # called when blobs have come
        self.seekers: list[Callable[[], None]] = []  # called when `lacking` has changed
        self.tellers: list[Callable[[bytes], None]] = []  # called with the root of a new update
        self._chain = chain
        self._blobs = blobs
        self._worker = workers(1, "blobs")
        self._needed: dict[tuple[bytes, int], tuple[int, frozenset[bytes]]] = {}  # (task, round) -> height, roots
        self._heads: dict[bytes, bytes] = {}  # wanted heads: root -> task
        self._complete: frozenset[bytes] = frozenset()
        self._looking = self._look_again = False
        self._telling: asyncio.TimerHandle | None = None
        self._failure: asyncio.Future[None] | None = None
        self._closed = False

    async def run(self) -> None:
        """Keep until cancelled. Raises what a disk that fails raises."""
        self._failure = asyncio.get_running_loop().create_future()
        self.look()
        await self._failure

    def close(self) -> None:
        self._closed = True
        if self._telling:
            self._telling.cancel()
        self._worker.shutdown()

    # ---------------------------------------------------------------------------------------------- what is lacking

    @property
    def is_looking(self) -> bool:
        """Whether the chain is being compared with what is at hand."""
        return self._looking

    def committed(self, _: Committed) -> None:
        self.look()

    def need(self, task: bytes, round_number: int, height: int, roots: Sequence[bytes]) -> None:
        """Judging a round on the state of a height needs these too, heads among them; no roots: nothing any more."""
        if roots:
            self._needed[task, round_number] = height, frozenset(roots)
        elif self._needed.pop((task, round_number), None) is None:
            return
        self.look()

    def want_head(self, task: bytes, root: bytes) -> None:
        """Look for the weights of a head that this node can't make itself, as it did not judge the rounds before."""
        self._heads[root] = task
        self.look()

    def look(self) -> None:
        """Compare the chain with what is at hand."""
        if self._closed:
            return  # judging that ends meanwhile has no use for blobs any more
        self._look_again = self._looking
        if not self._looking:
            self._looking = True
            job = asyncio.get_running_loop().run_in_executor(self._worker, self._look_at, self._chain.tip.height)
            job.add_done_callback(self._looked)

    def _look_at(self, height: int) -> _Look:
        """On the worker: keep what is held for good, then drop uploads whose time has come.

        An upload becomes permanent when its update is held, not before: a commit alone, whose bond goes back, must not
        fill the disk. And it does not matter whether the blob or the commit came first.
        """
        blobs, parameters = self._blobs, self._chain.parameters
        view = StateAt(self._chain.store, height)
        named = named_blobs(view, parameters, blobs.get, self._complete)
        here = [blob for blob in named if blobs.size(blob.root) == blob.length]
        for blob in here:
            if not blob.miner:
                blobs.pin(blob.root)
        awaited = [blob.root for blob in here if blob.miner]
        blobs.expire(height, spared=frozenset(awaited))
        wanted = dict.fromkeys([*self._needed_now(), *self._heads_now(view), *named])
        lacking = [blob for blob in wanted if not blobs.has(blob.root)]
        complete = frozenset(blob.manifest for blob in named) - frozenset(blob.manifest for blob in lacking)
        return _Look(
            lacking=tuple(lacking[:LACKING_MAX]), under_way=tuple(awaited[-TOLD_MAX:]), complete=complete - {b""}
        )

    def _needed_now(self) -> list[NamedBlob]:
        found: list[NamedBlob] = []
        for (task, number), (height, roots) in list(self._needed.items()):
            view = StateAt(self._chain.store, height)
            try:
                found += needed_blobs(view, self._chain.parameters, task, self._blobs.get, roots)
            except StateNotKept:
                self._needed.pop((task, number), None)
        return found

    def _heads_now(self, view: View) -> list[NamedBlob]:
        for root in list(self._heads):
            if self._blobs.has(root):
                self._heads.pop(root, None)
        return [head_blob(view, self._chain.parameters, task, root) for root, task in list(self._heads.items())]

    def _looked(self, job: asyncio.Future[_Look]) -> None:
        self._looking = False
        if job.cancelled():
            return
        error = job.exception()
        if isinstance(error, StateNotKept):  # blocks come faster than looks
            self.look()
            return
        if error is not None:
            self._failed(error)
            return
        look = job.result()
        self._complete |= look.complete
        self.under_way = look.under_way
        if look.lacking != self.lacking:
            self.lacking = look.lacking
            for seeker in self.seekers:
                seeker()
        if self._look_again:
            self.look()

    def _failed(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def architecture(self, task: bytes) -> Architecture | None:
        """Of a task's models, None where there is no such task."""
        spec_json = read_spec(self._chain.store, task)
        return parse_spec(spec_json, self._chain.parameters).architecture if spec_json is not None else None

    # ---------------------------------------------------------------------------------------------------- what comes

    async def put(self, task: bytes, client: str, data: bytes) -> bytes:
        """Keep a sealed update until a commit names it; its root. Raises BlobRefused."""
        spec_json = read_spec(self._chain.store, task)
        if spec_json is None:
            raise BlobRefused(f"there is no task 0x{task.hex()}")
        numbers = parse_spec(spec_json, self._chain.parameters).numbers(self._chain.parameters)
        if len(data) > numbers.update_bytes_max:
            raise BlobRefused(f"{len(data)} bytes, where an update of this task has at most {numbers.update_bytes_max}")
        expires = self._chain.tip.height + UPLOAD_CYCLES * numbers.cycle_blocks
        try:
            root = await asyncio.to_thread(self._blobs.upload, data, client=client, task=task, expires=expires)
        except InvalidUpload as error:
            raise BlobRefused(str(error)) from error
        self._came(root, is_update=True)
        return root

    async def take(self, blob: NamedBlob, data: bytes) -> bool:
        """Keep what was lacking and has come, proved against its root; False if there is no room for it now.

        An update that may still vanish counts as an upload of its miner.
        """
        if blob.miner:
            try:
                await self.put(blob.task, "0x" + blob.miner.hex(), data)
            except BlobRefused as refusal:
                log.warning("blob 0x%s of miner 0x%s is not kept: %s", blob.root.hex(), blob.miner.hex(), refusal)
                return False
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._worker, self._blobs.put, blob.root, data)
            self._came(blob.root, is_update=not blob.manifest and not blob.head)
        return True

    def _came(self, root: bytes, *, is_update: bool) -> None:
        for teller in self.tellers if is_update else ():
            teller(root)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(CAME_S, self._tell_followers)

    def _tell_followers(self) -> None:
        self._telling = None
        self.look()
        for follower in self.followers:
            follower()
