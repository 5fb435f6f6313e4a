"""Home of the order in which blobs are pulled: which peer is asked for which chunk next, and what an answer changes.

It changes in place, but is a function of the calls made: times are told, and nothing is sent or stored here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.named_blobs import NamedBlob
from chain.network.blob_pull import Name, Piece, Pull, Verdict, pull_of
from learning.architecture import Architecture
from learning.commitment import Proof

OPEN_MAX: Final = 32  # blobs that are pulled at one time
OPEN_BYTES_MAX: Final = 64 << 20  # of them together, but one may be larger
BLOB_BYTES_MAX: Final = 64 << 20
HAS_MAX: Final = 2048  # roots remembered that a peer told of
IMPOSSIBLE_MAX: Final = 256
PROBED_CHUNKS: Final = 2  # of a blob with more chunks left, those are asked too that did not tell that they have it
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0


@dataclass(slots=True, eq=False)
class _Source:
    """A peer, what it told that it has, and what it did not have: (not asked again before, how often)."""

    has: dict[bytes, None] = field(default_factory=dict)
    lacks: dict[bytes, tuple[float, int]] = field(default_factory=dict)


class Pulls:
    """Blobs wanted, open (being pulled) and parked (nobody asked has them, until a time).

    Who told that it has a blob, or gave a chunk of it, is asked first; else one peer at a time is tried. A blob whose
    peers all lack it is parked, so that it keeps nobody else from being pulled.
    """

    def __init__(self) -> None:
        self._sources: dict[bytes, _Source] = {}
        self._wanted: dict[Name, NamedBlob] = {}
        self._queue: deque[Name] = deque()
        self._open: dict[Name, Pull] = {}
        self._open_bytes = 0
        self._parked: dict[Name, float] = {}
        self._impossible: dict[Name, None] = {}  # the chain says a wrong length

    # ------------------------------------------------------------------------------------------------------- wanting

    def want(self, blobs: Sequence[NamedBlob]) -> None:
        """These and no others, the first ones first; what is there of those that stay wanted is kept.

        Of several with one name the first counts: somebody may have committed to a head's root as that of an update.
        """
        named: dict[Name, NamedBlob] = {}
        for blob in blobs:
            if blob.length <= BLOB_BYTES_MAX:
                named.setdefault((blob.root, blob.length), blob)
        self._wanted = {name: blob for name, blob in named.items() if name not in self._impossible}
        for name, pull in list(self._open.items()):
            if name not in self._wanted or self._wanted[name].head != pull.blob.head:
                self._close(name)
        self._parked = {name: until for name, until in self._parked.items() if name in self._wanted}
        self._queue = deque(name for name in self._wanted if name not in self._open and name not in self._parked)
        roots = {root for root, _ in self._wanted}
        for source in self._sources.values():
            source.lacks = {root: lack for root, lack in source.lacks.items() if root in roots}

    def drop(self, name: Name) -> None:
        """Not wanted any more: it is stored, or nobody can have it."""
        self._wanted.pop(name, None)
        self._close(name)

    def park(self, name: Name, until: float) -> None:
        """Not before a time."""
        if name in self._open:
            self._close(name)
            self._parked[name] = until

    def _close(self, name: Name) -> None:
        if self._open.pop(name, None) is not None:
            self._open_bytes -= name[1]

    # --------------------------------------------------------------------------------------------------------- peers

    def peer_came(self, peer: bytes) -> None:
        self._sources[peer] = _Source()
        self._queue.extend(self._parked)  # it may have what the others lack
        self._parked.clear()

    def peer_went(self, peer: bytes) -> None:
        self._sources.pop(peer, None)

    def peer_has(self, peer: bytes, roots: Iterable[bytes]) -> None:
        """A peer told of blobs."""
        source = self._sources.get(peer)
        if source is None:
            return
        for root in roots:
            source.has.pop(root, None)  # the latest stay longest
            source.has[root] = None
            source.lacks.pop(root, None)
        while len(source.has) > HAS_MAX:
            source.has.pop(next(iter(source.has)))
        told = [name for name in self._parked if name[0] in source.has and name[0] not in source.lacks]
        for name in told:
            del self._parked[name]
            self._queue.appendleft(name)

    # -------------------------------------------------------------------------------------------------------- pulling

    def wake(self, now: float) -> None:
        """Let in again what was parked until now."""
        for name in [name for name, until in self._parked.items() if until <= now]:
            del self._parked[name]
            self._queue.append(name)

    def next_to_open(self) -> NamedBlob | None:
        """A blob for which there is room now; `open` it."""
        while self._queue and self._queue[0] not in self._wanted:
            self._queue.popleft()
        if not self._queue or not self._sources or len(self._open) >= OPEN_MAX:
            return None
        name = self._queue[0]
        if self._open and self._open_bytes + name[1] > OPEN_BYTES_MAX:
            return None
        return self._wanted[name]

    def open(self, blob: NamedBlob, architecture: Architecture | None) -> None:
        """Begin to pull what `next_to_open` gave; `architecture` is that of a head."""
        name = self._queue.popleft()
        assert name == (blob.root, blob.length)
        self._open[name] = pull_of(blob, architecture)
        self._open_bytes += blob.length

    def next_piece(self, peer: bytes, now: float) -> Piece | None:
        """What to ask a peer for now; it counts as asked for until one of the calls below."""
        source = self._sources.get(peer)
        if source is None:
            return None
        for pull in self._open.values():
            if pull.free and self._may_ask(pull, peer, source, now):
                return pull.ask(pull.free.popleft(), peer, now)
        for pull in self._open.values():
            if pull.flying and self._is_known(pull, peer) and _willing(source, pull.blob.root, now):
                index = pull.overdue(peer, now)
                if index is not None:
                    return pull.ask(index, peer, now)
        return None

    def _may_ask(self, pull: Pull, peer: bytes, source: _Source, now: float) -> bool:
        root = pull.blob.root
        if not _willing(source, root, now):
            return False
        if root in source.has or peer in pull.givers:
            return True
        if any(not self._is_known(pull, other) for asked in pull.flying.values() for other in asked):
            return False  # another one is tried
        if len(pull.free) > PROBED_CHUNKS:
            return True
        return not any(self._is_known(pull, other) and _willing(its, root, now) for other, its in self._sources.items())

    def _is_known(self, pull: Pull, peer: bytes) -> bool:
        """Whether a peer has the blob, as far as one can know."""
        source = self._sources.get(peer)
        return peer in pull.givers or (source is not None and pull.blob.root in source.has)

    def came(self, peer: bytes, piece: Piece, length: int, data: bytes, proof: Proof) -> Verdict:
        """A chunk came, of a blob of this length as the peer says."""
        pull = self._returned(peer, piece)
        if pull is None:
            return Verdict.LATE
        blob, index = piece.blob, piece.index
        if not pull.is_proved(length, index, data, proof):
            pull.failed(index, peer)
            self._lacking(peer, blob.root, float("inf"))
            return Verdict.WRONG
        if length != blob.length:
            self.drop(piece.name)
            while len(self._impossible) >= IMPOSSIBLE_MAX:
                self._impossible.pop(next(iter(self._impossible)))
            self._impossible[piece.name] = None
            return Verdict.OTHER_LENGTH
        return pull.take(index, peer, data)

    def not_held(self, peer: bytes, piece: Piece, now: float) -> None:
        """The peer does not have it, or did not answer."""
        pull = self._returned(peer, piece)
        if pull is None:
            return
        pull.failed(piece.index, peer)
        source = self._sources.get(peer)
        if source is not None:
            source.has.pop(piece.blob.root, None)
            _, times = source.lacks.get(piece.blob.root, (0.0, 0))
            self._lacking(peer, piece.blob.root, now + min(BACKOFF_FIRST_S * 2**times, BACKOFF_MAX_S))
        self._park_if_nobody_has_it(pull, now)

    def _returned(self, peer: bytes, piece: Piece) -> Pull | None:
        """The pull of a piece that was asked of a peer and has not come from another since."""
        pull = self._open.get(piece.name)
        return pull if pull is not None and pull.returned(piece.index, peer) else None

    def _lacking(self, peer: bytes, root: bytes, until: float) -> None:
        source = self._sources.get(peer)
        if source is not None:
            _, times = source.lacks.get(root, (0.0, 0))
            source.lacks[root] = until, min(times + 1, 16)

    def _park_if_nobody_has_it(self, pull: Pull, now: float) -> None:
        """Its chunks are kept if there are any: they hold room that is bounded, and it goes on where it stopped."""
        blob = pull.blob
        if pull.flying or any(_willing(source, blob.root, now) for source in self._sources.values()):
            return
        has_room = len(self._open) < OPEN_MAX and 2 * self._open_bytes <= OPEN_BYTES_MAX
        if has_room and pull.has_chunks:
            return
        again = [source.lacks[blob.root][0] for source in self._sources.values()]
        self.park((blob.root, blob.length), min(again, default=now))

    def data(self, name: Name) -> bytes:
        """A blob whose last chunk has come."""
        chunks = self._open[name].chunks
        return b"".join(chunk for chunk in chunks if chunk is not None)

    @property
    def is_asking(self) -> bool:
        """Whether chunks are to be asked for, or were and have not come."""
        return any(pull.left for pull in self._open.values())


def _willing(source: _Source, root: bytes, now: float) -> bool:
    return root not in source.lacks or source.lacks[root][0] <= now
