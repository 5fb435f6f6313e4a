"""Home of block sync: which decided blocks are asked of which peers, and what has come of them, in order and bounded.

A peer's height is a claim. Whoever does not deliver what it claims is believed no more until it tells again, and is
held responsible; consensus goes on meanwhile, and waits for nobody who has failed to deliver before. What comes late is
used: a slow link is no fault. Commits are checked in step with execution, as only that tells the sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from chain.codec import InvalidEncoding, decode_block
from chain.network.messages import BLOCKS_MAX, Blocks, GetBlocks
from chain.replication.bodies import InvalidBody, require_bound
from chain.replication.events import BLAME_FATAL, BLAME_SLIGHT, Action, Blame, Decode, Send
from chain.replication.vote_exchange import Recover
from chain.types import Block
from consensus.codec import decode_commit
from consensus.types import Commit, InvalidConsensus, ValidatorSet

BATCH_BLOCKS: Final = 32
WINDOW_BLOCKS: Final = 512  # beyond the tip, asked for or waiting
WAITING_BYTES_MAX: Final = 32 << 20
REQUESTS_MAX: Final = 8
REQUESTS_PER_PEER_MAX: Final = 2
ANSWER_MS: Final = 5_000  # after which another peer is asked
LATE_MS: Final = 30_000  # after which an answer is not expected any more
PATIENCE_MS: Final = 2_000  # for which the next height waits for blocks that are on their way
DOUBT_MS: Final = 60_000  # for which nobody is waited for once a claim has come to nothing, unless blocks come
IDS_MAX: Final = 1 << 31  # ids above are the transport's


class InvalidCommit(InvalidConsensus):
    """A commit that does not prove its block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A decided block as a peer gave it: bound to its id, its commit not checked yet."""

    peer: bytes
    block: Block
    commit: Commit
    size: int


@dataclass(slots=True)
class _Claim:
    """The heights whose blocks a peer says it can give: oldest to below."""

    oldest: int
    below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    peer: bytes
    first: int
    count: int
    asked_ms: int


@dataclass(slots=True)
class CatchUp:
    """Fetching of the blocks after the tip. `height` is the tip's."""

    clock_ms: Callable[[], int]
    height: int = 0
    _claims: dict[bytes, _Claim] = field(default_factory=dict)
    _requests: dict[int, _Request] = field(default_factory=dict)
    _late: dict[int, _Request] = field(default_factory=dict)  # others were asked, the answer may come yet
    _failed: dict[bytes, None] = field(default_factory=dict)  # peers that gave nothing in time when last asked
    _waiting: dict[int, Fetched] = field(default_factory=dict)
    _bytes: int = 0
    _last_id: int = 0
    _storing: int = 0
    _doubt_ends_ms: int = 0  # a claim costs nothing, nor does a new name for who made it

    # ------------------------------------------------------------------------------------------------ what is known

    def heard(self, peer: bytes, height: int, oldest: int | None = None) -> None:
        """A peer works on a height, so that it has the blocks below; `oldest` where it has told."""
        claim = self._claims.setdefault(peer, _Claim(oldest=oldest or 1, below=height))
        claim.below = max(claim.below, height)
        claim.oldest = claim.oldest if oldest is None else oldest

    def forget_peer(self, peer: bytes) -> None:
        self._claims.pop(peer, None)
        self._failed.pop(peer, None)
        if any(request.peer == peer for request in self._requests.values()):
            self._doubt()
        self._requests = {id_: request for id_, request in self._requests.items() if request.peer != peer}
        self._late = {id_: request for id_, request in self._late.items() if request.peer != peer}

    def advanced(self, height: int) -> None:
        """The tip is at this height now."""
        self.height = height
        for below in [other for other in self._waiting if other <= height]:
            self._drop(below)

    def highest(self) -> int:
        """The greatest height that some peer says to work on."""
        return max((claim.below for claim in self._claims.values()), default=0)

    def is_fetching(self) -> bool:
        """Whether blocks of more than the next height are on their way, and have been for no longer than is usual."""
        if self.clock_ms() < self._doubt_ends_ms:
            return False
        recent = self.clock_ms() - PATIENCE_MS
        trusted = [request for request in self._requests.values() if request.peer not in self._failed]
        return self.highest() > self.height + 2 and any(request.asked_ms > recent for request in trusted)

    def _doubt(self) -> None:
        self._doubt_ends_ms = self.clock_ms() + DOUBT_MS

    def next(self) -> Fetched | None:
        """The block after the tip, if it is here."""
        return self._waiting.get(self.height + 1)

    def progress(self) -> int:
        """A number that changes as blocks come."""
        return self.height + len(self._waiting)

    # ------------------------------------------------------------------------------------------------------- asking

    def plan(self, committing: int) -> list[Action]:
        """Ask for what is not here up to what peers claim; nothing up to `committing`, which is being stored."""
        self._storing = committing
        actions: list[Action] = []
        taken = {h: None for r in self._requests.values() for h in range(r.first, r.first + r.count)}
        height = max(self.height, committing) + 1
        end = min(self.highest(), self.height + 1 + WINDOW_BLOCKS)
        while height < end and len(self._requests) < REQUESTS_MAX and self._bytes < WAITING_BYTES_MAX:
            if height in taken or height in self._waiting:
                height += 1
                continue
            count = 1
            while count < BATCH_BLOCKS and height + count not in taken and height + count not in self._waiting:
                count += 1
            asked = self._ask(height, min(count, end - height))
            if asked is not None:
                actions.append(asked)
            height += count
        return actions

    def _ask(self, first: int, count: int) -> Send | None:
        busy: dict[bytes, int] = {}
        for request in (*self._requests.values(), *self._late.values()):  # who is slow is not asked for more
            busy[request.peer] = busy.get(request.peer, 0) + 1
        able = [peer for peer, claim in self._claims.items() if claim.oldest <= first < claim.below]
        able = [peer for peer in able if busy.get(peer, 0) < REQUESTS_PER_PEER_MAX]
        if not able:
            return None

        def cost(peer: bytes) -> tuple[bool, int, int, bytes]:
            return peer in self._failed, busy.get(peer, 0), (first // BATCH_BLOCKS + peer[-1]) % 8, peer

        peer = min(able, key=cost)
        count = min(count, self._claims[peer].below - first)
        self._last_id = (self._last_id + 1) % IDS_MAX
        self._requests[self._last_id] = _Request(peer=peer, first=first, count=count, asked_ms=self.clock_ms())
        return Send(peers=(peer,), message=GetBlocks(id=self._last_id, first=first, count=count))

    def tick(self) -> list[Action]:
        """Leave those who did not answer."""
        now = self.clock_ms()
        actions: list[Action] = []
        for id_, request in list(self._requests.items()):
            if request.asked_ms <= now - ANSWER_MS:
                self._late[id_] = self._requests.pop(id_)
                self._fail(request.peer)
        for id_, request in list(self._late.items()):
            if request.asked_ms <= now - LATE_MS:
                del self._late[id_]
                reason = f"it did not give the blocks from {request.first} on"
                actions.append(Blame(peer=request.peer, points=BLAME_SLIGHT, reason=reason))
        return actions

    def _fail(self, peer: bytes) -> None:
        self._claims.pop(peer, None)
        self._failed[peer] = None
        self._doubt()

    # ----------------------------------------------------------------------------------------------------- answers

    def _answered(self, peer: bytes, id_: int) -> _Request | None:
        """The request that a peer answers; None if there is none of this number to it."""
        for requests in (self._requests, self._late):
            request = requests.get(id_)
            if request is not None and request.peer == peer:
                return requests.pop(id_)
        return None

    def not_held(self, peer: bytes, id_: int) -> list[Action]:
        """A peer does not have what it claimed."""
        request = self._answered(peer, id_)
        if request is None:
            return []
        self._fail(peer)
        reason = f"it has not the block {request.first} that it claimed"
        return [Blame(peer=peer, points=BLAME_SLIGHT, reason=reason)]

    def take(self, peer: bytes, sent: Blocks) -> list[Action]:
        """Blocks that were asked for; each may be decoded further ahead of its turn."""
        request = self._answered(peer, sent.id)
        if request is None:
            return []  # far too late
        self._failed.pop(peer, None)
        if sent.first != request.first or not 0 < len(sent.blocks) <= min(request.count, BLOCKS_MAX):
            return [Blame(peer=peer, points=BLAME_FATAL, reason="it gave other blocks than it was asked for")]
        actions: list[Action] = []
        for height, (block, commit) in enumerate(sent.blocks, sent.first):
            try:
                fetched = _fetched(peer, height, block, commit)
            except (InvalidBody, InvalidEncoding, InvalidConsensus) as error:
                return [*actions, Blame(peer=peer, points=BLAME_FATAL, reason=f"block {height}: {error}")]
            if height > self.height and height not in self._waiting:
                self._waiting[height] = fetched
                self._bytes += fetched.size
                actions.append(Decode(block_id=fetched.commit.block_id, block=fetched.block))
        if sent.first == self.height + 1 > self._storing:  # its commit is checked at once
            self._doubt_ends_ms = 0
        return actions

    def reject(self, fetched: Fetched, reason: str) -> list[Action]:
        """A commit was none: nothing of that peer is used."""
        for height in [height for height, other in self._waiting.items() if other.peer == fetched.peer]:
            self._drop(height)
        self.forget_peer(fetched.peer)
        self._doubt()
        return [Blame(peer=fetched.peer, points=BLAME_FATAL, reason=reason)]

    def _drop(self, height: int) -> None:
        self._bytes -= self._waiting.pop(height).size


def _fetched(peer: bytes, height: int, encoded_block: bytes, encoded_commit: bytes) -> Fetched:
    block, commit = decode_block(encoded_block), decode_commit(encoded_commit)
    if block.header.height != height or commit.height != height:
        raise InvalidBody(f"a block of height {block.header.height} with a commit of height {commit.height}")
    require_bound(block, commit.block_id)
    return Fetched(peer=peer, block=block, commit=commit, size=len(encoded_block) + len(encoded_commit))


def require_commit(commit: Commit, validators: ValidatorSet, genesis: bytes, recover: Recover) -> None:
    """More than two thirds of a set have signed. Raises InvalidCommit, InvalidConsensus."""
    if not validators.is_quorum(commit.power(validators)):
        raise InvalidCommit(f"the commit of height {commit.height} has the power of no two thirds")
    votes = commit.votes()
    signers = recover([(vote.sign_bytes(genesis), vote.signature) for vote in votes])
    for vote, signer in zip(votes, signers, strict=True):
        if signer != vote.voter:
            raise InvalidCommit(f"the commit of height {commit.height}: {vote.voter.hex()} did not sign it")
