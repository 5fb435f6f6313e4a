"""Home of `--sync snap`: an empty ledger takes a recent state from peers, verified from genesis or a named block on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chain.codec import block_hash
from chain.errors import InvalidInput, LyceumError
from chain.executor import validators_name
from chain.genesis import Genesis
from chain.light import (
    AheadOfClock,
    InvalidLight,
    TooLong,
    Trusted,
    TrustExpired,
    descend,
    reach,
    rules_of,
    trust_block,
    trust_genesis,
    verify_commit,
)
from chain.light_blocks import LightBlock, decode_light_block, encode_members
from chain.network.messages import (
    GetLightBlock,
    GetSnapshotBlock,
    GetSnapshots,
    LightBlockOf,
    Message,
    SnapshotBlock,
    Snapshots,
)
from chain.network.peer import PeerGone, RequestTimedOut
from chain.storage.store import Store, StoredBlock
from chain.sync.snapshot_block import stored_block, stored_genesis
from chain.sync.snapshot_pull import FORGERY, CannotPull, Pull, Source
from chain.vote_signatures import VoteSignatures
from consensus.codec import encode_commit
from consensus.types import Commit

log = logging.getLogger("lyceum.snapshots")

ANSWER_SECONDS = 10.0
POLL_SECONDS = 1.0
PEERS_SECONDS = 30.0  # how long peers with a snapshot are waited for
SILENCE_SECONDS = 3.0  # after which a peer that did not answer is asked again; twice as many each further time
DESCENT_BLOCKS_MAX = 5000  # light blocks fetched one by one from --trust down to an older snapshot

Trust: TypeAlias = "tuple[int, bytes]"
Told: TypeAlias = Callable[[int, float, int], None]
"""Hears of progress: the snapshot's height, which part of its keys is there (0 to 1), how many bytes have come."""


class SnapshotRefused(LyceumError):
    """Peers give what can't be believed: a person has to say which chain is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A block whose state is to be pulled, and who gives it."""

    trusted: Trusted
    commit: Commit
    sources: tuple[Source, ...]


class SnapshotSync:
    """Fills an empty store. Nothing else may use the store meanwhile; the chain is opened on it afterwards."""

    def __init__(
        self,
        peers: Callable[[], Sequence[Source]],
        store: Store,
        genesis: Genesis,
        *,
        trust: Trust | None,
        now_ms: Callable[[], int],
        told: Told = lambda height, part, data: None,
        patience_s: float = PEERS_SECONDS,
    ) -> None:
        """`peers` are those connected now; `trust` is height and hash of a block that a person knows to be right."""
        self._peers, self._store, self._genesis, self._trust = peers, store, genesis, trust
        self._now_ms, self._told, self._patience_s = now_ms, told, patience_s
        self._rules = rules_of(genesis, VoteSignatures(genesis.hash).signers_of, aging=trust is not None)
        self._distrusted: list[Source] = []
        self._silent: list[tuple[Source, float]] = []  # each time that one did not answer, until when it is left alone
        self._descent_max = max(DESCENT_BLOCKS_MAX, 2 * genesis.parameters.checkpoint_blocks)
        self._too_far = ""
        self._begun = False
        self._disagreement = ""

    async def run(self) -> int | None:
        """The height whose state is in the store now; None, with an empty store, where no peer has a snapshot.

        Raises SnapshotRefused, StorageFailed. A crash at any point leaves an empty ledger.
        """
        if self._store.tip() not in (None, 0):
            return None
        if self._trust is None:
            log.warning(
                "taking the state from peers without --trust HEIGHT:HASH: whoever holds two thirds of a former "
                "validator set's keys could deceive this node; name a recent block that you know to be right"
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while loop.time() < deadline:
            target = await self._find()
            if target is None:
                await asyncio.sleep(POLL_SECONDS)
                continue
            try:
                return await self._take(target)
            except CannotPull as error:
                log.warning("%s; looking for another", error)
                deadline = loop.time() + self._patience_s
        if self._begun:  # what was put of a state that did not come whole must not become part of another one
            await asyncio.to_thread(self._store.begin_snapshot)
        if self._disagreement:
            raise SnapshotRefused(self._disagreement)
        log.warning("no peer has a snapshot to give%s", self._too_far)
        return None

    # --------------------------------------------------------------------------------------------------- finding

    async def _find(self) -> _Target | None:
        """The newest snapshot that is offered and can be believed."""
        offers: dict[int, list[Source]] = {}
        for source, answer in await self._ask_all(GetSnapshots(id=0)):
            for height in answer.heights if isinstance(answer, Snapshots) else ():
                offers.setdefault(height, []).append(source)
        for height in sorted(offers, reverse=True):
            if self._is_near(height) and (target := await self._verified(height, offers[height])) is not None:
                return target
        return None

    def _is_near(self, height: int) -> bool:
        """Whether the way from the named block down to a snapshot is short enough: every block on it is asked for."""
        if self._trust is not None and height < self._trust[0] - self._descent_max:
            self._too_far = (
                f" that is at most {self._descent_max} blocks older than --trust: one of height {height} was offered, "
                "whose way there is too long to be checked; name an older block"
            )
            return False
        return height > 0

    async def _ask_all(self, message: Message) -> list[tuple[Source, Message]]:
        sources = [source for source in self._peers() if self._is_asked(source)]
        answers = await asyncio.gather(*(self._ask(source, message) for source in sources))
        return [(source, answer) for source, answer in zip(sources, answers, strict=True) if answer is not None]

    def _is_asked(self, source: Source) -> bool:
        now = asyncio.get_running_loop().time()
        return source not in self._distrusted and all(now >= until for other, until in self._silent if other == source)

    def _leave_alone(self, source: Source) -> None:
        """For a while: whoever is silent shall not hold up the others, but may be slow, and the only one."""
        times = sum(other == source for other, _ in self._silent)
        self._silent.append((source, asyncio.get_running_loop().time() + SILENCE_SECONDS * 2**times))

    @staticmethod
    async def _ask(source: Source, message: Message) -> Message | None:
        try:
            return await source.request(message, ANSWER_SECONDS)
        except (PeerGone, RequestTimedOut):
            return None

    async def _verified(self, height: int, sources: Sequence[Source]) -> _Target | None:
        """The block of a height as its validators signed it, with those who have that block."""
        found: dict[bytes, _Target] = {}
        for source in sources:
            if not self._is_asked(source):
                continue  # since it was asked what it has
            try:
                trusted, commit = await self._walk(source, height)
            except _Lacking:
                continue
            except TrustExpired as error:
                raise SnapshotRefused(f"--trust: {error}") from error
            except AheadOfClock as error:  # ours may be the wrong one
                log.warning("%s: is this machine's clock right?", error)
                self._leave_alone(source)
            except TooLong as error:  # that took long enough, and is nobody's fault
                log.warning("%s", error)
                self._distrusted.append(source)
            except InvalidInput as error:
                self._distrust(source, str(error))
            else:
                others = found[trusted.hash].sources if trusted.hash in found else ()
                found[trusted.hash] = _Target(trusted=trusted, commit=commit, sources=(*others, source))
        if len(found) > 1:
            hashes = " and ".join(f"0x{hash_.hex()}" for hash_ in sorted(found))
            raise SnapshotRefused(
                f"peers give {len(found)} blocks of height {height} that validators have signed, {hashes}: find out "
                "from people whom you trust which one is right, and name a block of its chain with --trust HEIGHT:HASH"
            )
        return next(iter(found.values()), None)

    def _distrust(self, source: Source, reason: str) -> None:
        """Without `--trust` a forgery is the peer's fault; with it, what the person named may be wrong as well."""
        self._distrusted.append(source)
        log.warning("a peer's chain is not believed: %s", reason)
        if self._trust is None:
            source.blame(FORGERY, reason)
        else:
            self._disagreement = (
                f"no peer's chain agrees with --trust {self._trust[0]}:0x{self._trust[1].hex()}: {reason}"
            )

    async def _walk(self, source: Source, height: int) -> tuple[Trusted, Commit]:
        """From what is trusted to a height, by light blocks of one peer. Raises InvalidLight, _Lacking."""
        own: LightBlock | None = None

        async def fetch(wanted: int) -> LightBlock:
            nonlocal own
            if wanted == height and own is not None:
                return own
            block = await self._light_block(source, wanted)
            if wanted == height:
                own = block
            return block

        start = trust_genesis(self._genesis)
        if self._trust is not None:
            start = trust_block(await fetch(self._trust[0]), *self._trust)
        back = height < start.height
        walk = descend(start, height) if back else reach(start, height, self._rules, self._now_ms())
        trusted = await _finish(walk, fetch)
        block = await fetch(height)
        verify_commit(block.header, block.commit, block.validators, self._rules.signers_of)
        if block_hash(block.header) != trusted.hash or block.commit is None:
            raise InvalidLight(f"height {height}: two blocks were given")
        return trusted, block.commit

    async def _light_block(self, source: Source, height: int) -> LightBlock:
        answer = await self._ask(source, GetLightBlock(id=0, height=height))
        if answer is None:
            self._leave_alone(source)
        if not isinstance(answer, LightBlockOf):
            raise _Lacking
        block = decode_light_block(answer.block)
        if block.header.height != height:
            raise InvalidLight(f"height {block.header.height} was given for {height}")
        return block

    # ---------------------------------------------------------------------------------------------------- taking

    async def _take(self, target: _Target) -> int:
        """Pull a state and make it the tip. Raises CannotPull, StorageFailed."""
        header = target.trusted.header
        stored = await self._block(target)
        log.info("taking the state of height %d from %d peers", header.height, len(target.sources))
        self._begun = True
        await asyncio.to_thread(self._store.begin_snapshot)
        pull = Pull(
            header.height,
            header.state_root,
            self._store.put_snapshot,
            lambda part, data: self._told(header.height, part, data),
        )
        await pull.run(target.sources)
        following = tuple((bytes(voter), power) for voter, power in target.trusted.next_validators.members)
        meta = {
            "commit": encode_commit(target.commit),
            validators_name(header.validators_hash): encode_members(target.trusted.validators),
            validators_name(header.next_validators_hash): encode_members(following),
        }
        await asyncio.to_thread(self._store.finish_snapshot, stored, stored_genesis(self._genesis), meta)
        log.info("the state of height %d is complete", header.height)
        return header.height

    async def _block(self, target: _Target) -> StoredBlock:
        """The block of the snapshot's height and its receipts, which its header commits to."""
        for source in target.sources:
            answer = await self._ask(source, GetSnapshotBlock(id=0, height=target.trusted.height))
            if isinstance(answer, SnapshotBlock):
                try:
                    return stored_block(target.trusted, answer)
                except InvalidInput as error:
                    source.blame(FORGERY, str(error))
        raise CannotPull(f"no peer gives the block of height {target.trusted.height}")


class _Lacking(Exception):
    """A peer does not have a light block that is needed; that is no fault."""


async def _finish(walk: Generator[int, LightBlock, Trusted], fetch: Callable[[int], Awaitable[LightBlock]]) -> Trusted:
    try:
        wanted = next(walk)
        while True:
            wanted = walk.send(await fetch(wanted))
    except StopIteration as done:
        trusted: Trusted = done.value
        return trusted
