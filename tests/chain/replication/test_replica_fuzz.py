"""Whatever peers send, in whatever order, a replica neither fails nor signs twice, and its memory stays bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.network.messages import (
    Blocks,
    CompactProposal,
    GetBlocks,
    GetProposal,
    GetProposalTransactions,
    HaveProposal,
    KnownVotes,
    Message,
    NotHeld,
    ProposalTransactions,
    Status,
    Votes,
    WholeProposal,
)
from chain.replication.events import PeerConnected, PeerGone, Tick
from consensus.types import VoteKind
from consensus.votelog import VoteRecord, decode_record
from tests.chain.replication.replica_scene import block_of, chain_of, compact, id_of, transfer, vote, votes_of, whole
from tests.chain.replication.replica_world import World

RAW = transfer(0).raw
BLOCKS = [
    block_of(height, parent, time_ms, raws)
    for height, parent in ((1, bytes(32)), (2, bytes(32)), (1, b"p" * 32))
    for time_ms in (1_000_000, 10**12)
    for raws in ((), (RAW,))
]
IDS = st.sampled_from([id_of(block) for block in BLOCKS] + [b"x" * 32])
SMALL = st.sampled_from([0, 1, 2, 3, 7, 65_535, 2**63, 2**64 - 1])
ROUNDS = st.sampled_from([0, 1, 2, 3, 40])
KNOWN = st.builds(
    KnownVotes, round=SMALL, kind=SMALL, block_id=IDS | st.just(b""), voters=st.sampled_from([b"", b"\xff", b"\x05\0"])
)
PLACES = st.sampled_from([(), (0,), (0, 1), (1, 0), (2**64 - 1,)])
MADE = st.one_of(
    st.builds(
        lambda kind, voter, block_id, height, round_: votes_of(
            vote(kind, voter, block_id, height=height, round_=round_)
        ),
        st.sampled_from(VoteKind),
        st.integers(0, 6),
        IDS | st.none(),
        st.sampled_from([0, 1, 2, 3]),
        ROUNDS,
    ),
    st.builds(
        lambda make, block, round_, valid_round, by: make(
            block, round_=round_, valid_round=min(valid_round, round_ - 1), by=by
        ),
        st.sampled_from([compact, whole]),
        st.sampled_from(BLOCKS),
        ROUNDS,
        st.sampled_from([-1, 0, 1]),
        st.none() | st.integers(0, 3),
    ),
    st.builds(Status, height=SMALL, round=SMALL, oldest_block=SMALL, votes=st.tuples(KNOWN), proposals=st.just(())),
    st.builds(HaveProposal, height=SMALL, round=SMALL, block_id=IDS),
    st.builds(GetProposal, height=SMALL, round=SMALL, block_id=IDS),
    st.builds(GetProposalTransactions, block_id=IDS, places=PLACES),
    st.builds(ProposalTransactions, block_id=IDS, places=PLACES, raws=st.sampled_from([(), (RAW,), (b"x", b"y")])),
    st.builds(GetBlocks, id=SMALL, first=st.integers(0, 3), count=st.integers(0, 3)),
    st.builds(
        Blocks,
        id=st.integers(0, 3),
        first=SMALL,
        blocks=st.sampled_from([(), ((b"", b""),), ((b"\x90", b"\x90"),)]),
    ),
    st.builds(NotHeld, id=SMALL),
    st.builds(Votes, votes=st.lists(st.binary(max_size=160), max_size=3).map(tuple)),
    st.builds(
        CompactProposal,
        proposal=st.binary(max_size=160),
        header=st.binary(max_size=50),
        last_commit=st.binary(max_size=50),
        hashes=st.just((b"h" * 32,)),
    ),
    st.builds(WholeProposal, proposal=st.binary(max_size=160), block=st.binary(max_size=50)),
)
STEPS = st.lists(
    st.tuples(st.integers(0, 3), MADE | st.sampled_from(["tick", "gone", "connected", "later"])), max_size=40
)


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_a_replica_survives_everything(steps: list[tuple[int, Message | str]]) -> None:
    world = World(4)
    node = world.only(1)
    world.run(5)
    for peer, step in steps:
        match step:
            case "tick":
                node.handle(Tick())
            case "gone":
                node.handle(PeerGone(peer=world.nodes[peer].id))
            case "connected":
                node.handle(PeerConnected(peer=world.nodes[peer].id))
            case "later":
                world.run(700)
            case str():
                raise AssertionError
            case _:
                node.hear(peer, step)
    signed = [record.vote for record in map(decode_record, node.records) if isinstance(record, VoteRecord)]
    assert len({each.slot for each in signed}) == len(signed)


def test_proposals_with_decided_blocks_of_other_chains_are_not_followed() -> None:
    world = World(4)
    node = world.only(1)
    world.run(5)
    strange = chain_of(3, voters=(0, 1))
    for block, _ in strange:
        node.hear(0, whole(block))
    assert node.height == 0
