"""Tests of the order in which blobs are pulled, in simulated time: whatever peers do, what one of them has comes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.named_blobs import NamedBlob
from chain.network import blob_pulls
from chain.network.blob_pull import HURRY_S, Piece, Verdict
from chain.network.blob_pulls import BACKOFF_MAX_S, Pulls
from learning.commitment import CHUNK_BYTES, blob_root, chunk_at, chunk_proof

BLOBS = [Random(number).randbytes(size) for number, size in enumerate((0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 200_000))]
NAMED = [NamedBlob(root=blob_root(data), length=len(data), task=bytes(32)) for data in BLOBS]
DATA = dict(zip([blob.root for blob in NAMED], BLOBS, strict=True))
PEERS = [bytes([number]) * 20 for number in range(4)]


def opened(pulls: Pulls) -> None:
    while (blob := pulls.next_to_open()) is not None:
        pulls.open(blob, None)


def answered(pulls: Pulls, peer: bytes, piece: Piece) -> Verdict:
    """The right answer."""
    data = DATA[piece.blob.root]
    return pulls.came(peer, piece, len(data), chunk_at(data, piece.index), chunk_proof(data, piece.index))


def pulls_of(*peers: bytes, want: list[NamedBlob]) -> Pulls:
    pulls = Pulls()
    for peer in peers:
        pulls.peer_came(peer)
    pulls.want(want)
    opened(pulls)
    return pulls


class Play:
    """Peers that have some of the blobs, some of which lie, are slow, come and go; two questions at a time to each."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 0.0
        self.pulls = Pulls()
        self.holdings = {peer: {blob.root for blob in NAMED if random.random() < 0.5} for peer in PEERS}
        self.liars = {peer for peer in PEERS if random.random() < 0.3}
        self.connected: set[bytes] = set()
        self.flying: list[tuple[bytes, Piece, float]] = []
        self.whole: dict[bytes, bytes] = {}
        self.pulls.want(NAMED)

    def step(self) -> None:
        peer = self.random.choice(PEERS)
        match self.random.randrange(8):
            case 0 if peer not in self.connected:
                self.connect(peer)
            case 1 if self.random.random() < 0.3:
                self.leave(peer)
            case 2 if peer in self.connected:
                told = self.holdings[peer] if peer not in self.liars else DATA.keys()
                self.pulls.peer_has(peer, sorted(told)[: self.random.randrange(6)])
            case 3:
                self.now += self.random.random() * 5
                self.pulls.wake(self.now)
            case 4 | 5 if self.flying:
                self.settle(*self.flying.pop(self.random.randrange(len(self.flying)))[:2])
            case _:
                self.ask(peer)
        opened(self.pulls)

    def connect(self, peer: bytes) -> None:
        self.connected.add(peer)
        self.pulls.peer_came(peer)

    def leave(self, peer: bytes) -> None:
        self.connected.discard(peer)
        self.pulls.peer_went(peer)
        for asked in [asked for asked in self.flying if asked[0] == peer]:
            self.flying.remove(asked)
            self.pulls.not_held(peer, asked[1], self.now)

    def ask(self, peer: bytes) -> None:
        if sum(asked == peer for asked, _, _ in self.flying) >= 2:
            return
        piece = self.pulls.next_piece(peer, self.now)
        if piece is not None:
            assert peer in self.connected
            same = [when for asked, other, when in self.flying if other == piece]
            assert len(same) <= 1
            assert all(self.now - when > HURRY_S for when in same)
            self.flying.append((peer, piece, self.now))

    def settle(self, peer: bytes, piece: Piece) -> None:
        root = piece.blob.root
        if peer in self.liars and self.random.random() < 0.5:
            if self.random.random() < 0.5:
                data = DATA[root]
                wrong = chunk_at(data, piece.index) + b"?"
                told = self.pulls.came(peer, piece, len(data), wrong, chunk_proof(data, piece.index))
                assert told in (Verdict.WRONG, Verdict.LATE)
                if told is Verdict.WRONG:
                    self.leave(peer)
            else:
                self.pulls.not_held(peer, piece, self.now)
        elif root not in self.holdings[peer]:
            self.pulls.not_held(peer, piece, self.now)
        elif answered(self.pulls, peer, piece) is Verdict.WHOLE:
            self.whole[root] = self.pulls.data(piece.name)
            self.pulls.drop(piece.name)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_whatever_peers_do_what_an_honest_one_has_comes_whole(seed: int) -> None:
    play = Play(Random(seed))
    for _ in range(300):
        play.step()
    honest = [peer for peer in PEERS if peer not in play.liars]
    for peer in play.liars:
        play.leave(peer)
    for peer in set(honest) - play.connected:
        play.connect(peer)
    for _ in range(200):
        play.now += BACKOFF_MAX_S
        play.pulls.wake(play.now)
        opened(play.pulls)
        for peer in honest:
            play.ask(peer)
        while play.flying:
            play.settle(*play.flying.pop()[:2])
    held = {root for peer in honest for root in play.holdings[peer]}
    assert held <= play.whole.keys()
    assert all(DATA[root] == data for root, data in play.whole.items())


def test_who_told_that_it_has_a_blob_is_asked_and_nobody_else() -> None:
    small = NAMED[1]
    pulls = pulls_of(*PEERS, want=[small])
    pulls.peer_has(PEERS[2], [small.root])
    assert [pulls.next_piece(peer, 0.0) for peer in PEERS] == [None, None, Piece(small, 0), None]


def test_where_nobody_told_one_at_a_time_is_asked_and_one_that_lacks_it_not_again_for_a_while() -> None:
    small = NAMED[1]
    pulls = pulls_of(*PEERS[:2], want=[small])
    piece = pulls.next_piece(PEERS[0], 0.0)
    assert piece is not None
    assert pulls.next_piece(PEERS[1], 0.0) is None
    pulls.not_held(PEERS[0], piece, 0.0)
    assert pulls.next_piece(PEERS[0], 0.1) is None
    piece = pulls.next_piece(PEERS[1], 0.1)
    assert piece is not None
    pulls.not_held(PEERS[1], piece, 0.1)
    assert not pulls.is_asking
    pulls.wake(0.9)
    opened(pulls)
    assert not pulls.is_asking, "the first one that may be asked again is after a second"
    pulls.wake(1.0)
    opened(pulls)
    assert pulls.next_piece(PEERS[0], 1.0) == piece


def test_waits_for_one_that_lacks_it_grow_to_a_bound() -> None:
    pulls = pulls_of(PEERS[0], want=[NAMED[1]])
    now, waits = 0.0, []
    for _ in range(8):
        piece = pulls.next_piece(PEERS[0], now)
        assert piece is not None
        pulls.not_held(PEERS[0], piece, now)
        asked = now
        while not pulls.is_asking or pulls._parked:
            now += 0.5
            pulls.wake(now)
            opened(pulls)
        waits.append(now - asked)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_chunk_that_is_long_in_coming_is_asked_of_one_other_that_has_it_and_the_first_answer_counts() -> None:
    small = NAMED[1]
    pulls = pulls_of(*PEERS[:3], want=[small])
    for peer in PEERS[:3]:
        pulls.peer_has(peer, [small.root])
    piece = pulls.next_piece(PEERS[0], 0.0)
    assert piece is not None
    assert pulls.next_piece(PEERS[1], 0.9) is None
    assert pulls.next_piece(PEERS[0], 1.1) is None
    assert pulls.next_piece(PEERS[1], 1.1) == piece
    assert pulls.next_piece(PEERS[2], 9.0) is None
    pulls.not_held(PEERS[0], piece, 9.0)
    assert pulls.next_piece(PEERS[2], 9.0) == piece
    assert answered(pulls, PEERS[1], piece) is Verdict.WHOLE
    assert answered(pulls, PEERS[2], piece) is Verdict.LATE


def test_blobs_that_are_pulled_at_one_time_are_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [NamedBlob(root=bytes([n]) * 32, length=1 << 20, task=b"") for n in range(100)]
    pulls = pulls_of(PEERS[0], want=many)
    assert len(pulls._open) == blob_pulls.OPEN_MAX
    monkeypatch.setattr(blob_pulls, "OPEN_BYTES_MAX", 3 << 20)
    pulls = pulls_of(PEERS[0], want=many)
    assert len(pulls._open) == 3
    pulls.want(many[50:])
    opened(pulls)
    assert [root for root, _ in pulls._open] == [blob.root for blob in many[50:53]]
    too_large = NamedBlob(root=bytes(32), length=blob_pulls.BLOB_BYTES_MAX + 1, task=b"")
    assert not pulls_of(PEERS[0], want=[too_large]).is_asking


def test_what_stays_wanted_keeps_its_chunks() -> None:
    large = NAMED[4]
    pulls = pulls_of(PEERS[0], want=[large])
    first = pulls.next_piece(PEERS[0], 0.0)
    assert first is not None
    assert answered(pulls, PEERS[0], first) is Verdict.FIRST
    pulls.want([NAMED[1], large])
    asked = []
    while (piece := pulls.next_piece(PEERS[0], 0.0)) is not None:
        asked.append(piece.index)
    assert asked == [1, 2, 3]


def test_a_head_is_pulled_as_one_though_somebody_committed_to_its_root_as_an_updates() -> None:
    update = NAMED[-1]
    head = replace(update, head=True)
    pulls = pulls_of(PEERS[0], want=[head, update])
    piece = pulls.next_piece(PEERS[0], 0.0)
    assert piece is not None
    assert piece.blob.head
    pulls = pulls_of(PEERS[0], want=[update])
    pulls.want([head, update])  # it turns out to be needed as a head while it is pulled
    opened(pulls)
    piece = pulls.next_piece(PEERS[0], 0.0)
    assert piece is not None
    assert piece.blob.head
