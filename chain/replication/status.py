"""Home of the exchange of what is missing: what a node says that it has, and what it sends to a peer that lacks it."""

from __future__ import annotations

from typing import Final

from chain.network.messages import STATUS_PROPOSALS_MAX, Status
from chain.replication.events import Action, Send
from chain.replication.proposals import Proposals
from chain.replication.serving import Serving
from chain.replication.vote_exchange import known_votes, lacking_votes
from consensus.rules import State
from consensus.types import Vote

HELP_PROPOSALS_MAX: Final = 2


def build_status(
    height: int, oldest_block: int, votes: tuple[Vote, ...], state: State | None, proposals: Proposals
) -> Status:
    """Where a node stands that works on `height`; `state` and what goes with it count if they are of that height."""
    if state is None or state.height != height:
        return Status(height=height, round=0, oldest_block=oldest_block, votes=(), proposals=())
    held = [key for key, offer in proposals.offers.items() if offer.ready and proposals.bodies[key[1]].valid]
    return Status(
        height=height,
        round=state.round,
        oldest_block=oldest_block,
        votes=known_votes(votes, state),
        proposals=tuple(sorted(held, reverse=True)[:STATUS_PROPOSALS_MAX]),
    )


def help_with(peer: bytes, status: Status, votes: tuple[Vote, ...], state: State, serving: Serving) -> list[Action]:
    """Proposals with their blocks, and votes, that a peer at the same height lacks; the latest rounds first."""
    held = dict.fromkeys(status.proposals)
    lacks = [
        (key, offer)
        for key, offer in sorted(serving.proposals.offers.items(), reverse=True, key=lambda item: item[0])
        if offer.ready and serving.proposals.bodies[key[1]].valid and key not in held
    ]
    # The latest may be worthless to a peer that misses the one that was locked, or decided.
    lacks.sort(key=lambda item: not state.book.is_supported(item[1].proposal.round, item[1].proposal.block_id))
    actions: list[Action] = [
        Send(peers=(peer,), message=serving.whole(offer)) for _, offer in lacks[:HELP_PROPOSALS_MAX]
    ]
    actions += lacking_votes(peer, votes, state, status.votes)
    return actions
