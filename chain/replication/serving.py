"""Home of giving proposals to others: told of, sent whole or by their transactions' hashes, completed on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from chain.codec import encode_header
from chain.network.messages import (
    CompactProposal,
    GetProposal,
    GetProposalTransactions,
    HaveProposal,
    ProposalTransactions,
    WholeProposal,
)
from chain.replication.events import BLAME_FATAL, Action, Blame, Send
from chain.replication.proposals import Offer, Proposals

SERVED_MAX: Final = 16  # answers to one peer in a height


@dataclass(slots=True)
class Serving:
    """Gives the current height's proposals to peers."""

    proposals: Proposals
    _served: dict[bytes, int] = field(default_factory=dict)

    def start_height(self) -> None:
        self._served = {}

    def forget_peer(self, peer: bytes) -> None:
        self._served.pop(peer, None)

    def compact(self, offer: Offer) -> CompactProposal:
        body = self.proposals.bodies[offer.proposal.block_id]
        return CompactProposal(
            proposal=offer.encoded,
            header=encode_header(body.header),
            last_commit=body.last_commit,
            hashes=body.hashes,
        )

    def whole(self, offer: Offer) -> WholeProposal:
        return WholeProposal(proposal=offer.encoded, block=self.proposals.bodies[offer.proposal.block_id].encoded())

    def announce(self, offer: Offer, peers: Sequence[bytes]) -> list[Action]:
        """Tell those not known to have a valid proposal that it is here."""
        lacks = tuple(peer for peer in peers if peer not in offer.holders)
        proposal = offer.proposal
        have = HaveProposal(height=proposal.height, round=proposal.round, block_id=proposal.block_id)
        return [Send(peers=lacks, message=have)] if lacks and self.proposals.bodies[proposal.block_id].valid else []

    def answer(self, peer: bytes, asked: GetProposal) -> list[Action]:
        """A proposal that a peer asked for, if it is here, found right, and has not been asked for too often."""
        offer = self.proposals.offers.get((asked.round, asked.block_id))
        body = self.proposals.bodies.get(asked.block_id)
        if (
            offer is None
            or body is None
            or not body.valid
            or asked.height != self.proposals.height
            or not self._serve(peer)
        ):
            return []
        return [Send(peers=(peer,), message=self.compact(offer))]

    def answer_transactions(self, peer: bytes, asked: GetProposalTransactions) -> list[Action]:
        """Transactions of a block at hand."""
        body = self.proposals.bodies.get(asked.block_id)
        if body is None or body.block is None or not self._serve(peer):
            return []
        raws, places = body.raws(), asked.places
        if any(a >= b for a, b in pairwise(places)) or (places and places[-1] >= len(raws)):
            reason = f"it asked for places that block {asked.block_id.hex()} does not have"
            return [Blame(peer=peer, points=BLAME_FATAL, reason=reason)]
        given = tuple(raws[place] for place in places)
        sent = ProposalTransactions(block_id=asked.block_id, places=places, raws=given)
        return [Send(peers=(peer,), message=sent)]

    def _serve(self, peer: bytes) -> bool:
        self._served[peer] = self._served.get(peer, 0) + 1
        return self._served[peer] <= SERVED_MAX
