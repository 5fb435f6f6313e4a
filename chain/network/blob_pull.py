"""Home of one blob that is being pulled: its chunks here, asked for and to be asked for, each proved as it comes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from chain.named_blobs import NamedBlob
from learning.architecture import Architecture
from learning.commitment import Proof, chunk_count, verify_chunk, verify_weights_chunk

HURRY_S: Final = 1.0  # a chunk that has not come in that time is asked of another peer too

Name: TypeAlias = tuple[bytes, int]  # root and length: who copies another's root may say another length


class Verdict(Enum):
    """What a chunk that came was."""

    GOOD = "one more chunk"
    FIRST = "the first chunk that this peer gave of the blob, so that others may be tried now"
    WHOLE = "the last chunk that was missing"
    LATE = "of no use any more"
    OTHER_LENGTH = "proof that the blob has another length than the chain says, so that nobody can hold it"
    WRONG = "not what the root commits to"


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk to be asked for."""

    blob: NamedBlob
    index: int

    @property
    def name(self) -> Name:
        return self.blob.root, self.blob.length


@dataclass(slots=True, eq=False)
class Pull:
    """A blob under way; `pull_of` begins one."""

    blob: NamedBlob
    architecture: Architecture | None  # of a head
    chunks: list[bytes | None]
    free: deque[int]  # chunks that are neither here nor asked for
    flying: dict[int, dict[bytes, float]] = field(default_factory=dict)  # chunk asked for -> peer -> when
    givers: set[bytes] = field(default_factory=set)  # peers that gave a chunk

    @property
    def left(self) -> int:
        return len(self.free) + len(self.flying)

    @property
    def has_chunks(self) -> bool:
        return any(chunk is not None for chunk in self.chunks)

    def ask(self, index: int, peer: bytes, now: float) -> Piece:
        self.flying.setdefault(index, {})[peer] = now
        return Piece(self.blob, index)

    def overdue(self, peer: bytes, now: float) -> int | None:
        """A chunk that one other peer was asked for long ago."""
        for index, asked in self.flying.items():
            if len(asked) == 1 and peer not in asked and now - max(asked.values()) > HURRY_S:
                return index
        return None

    def returned(self, index: int, peer: bytes) -> bool:
        """The peer's turn with a chunk is over; False if it had none, as the chunk has come from another since."""
        return self.flying.get(index, {}).pop(peer, None) is not None

    def failed(self, index: int, peer: bytes) -> None:
        """After `returned`, without the chunk: it is to be asked for again, if nobody else is being asked."""
        self.givers.discard(peer)
        if not self.flying.get(index):
            self.flying.pop(index, None)
            self.free.appendleft(index)

    def take(self, index: int, peer: bytes, data: bytes) -> Verdict:
        """After `returned`, with the chunk."""
        self.flying.pop(index, None)
        self.chunks[index] = data
        verdict = Verdict.GOOD if peer in self.givers else Verdict.FIRST
        self.givers.add(peer)
        return verdict if self.left else Verdict.WHOLE

    def is_proved(self, length: int, index: int, data: bytes, proof: Proof) -> bool:
        """Whether this is a chunk of what the root commits to, of this length."""
        root = self.blob.root
        if self.architecture is not None:
            return length == self.blob.length and verify_weights_chunk(root, self.architecture, index, data, proof)
        return verify_chunk(root, length, index, data, proof)


def pull_of(blob: NamedBlob, architecture: Architecture | None) -> Pull:
    """None of its chunks is here yet; `architecture` is that of a head."""
    count = chunk_count(blob.length)
    return Pull(blob, architecture, [None] * count, deque(range(count)))
