"""Home of what peers say to a replica: who of its parts hears it, and when it is told what this node has.

Where a height takes long, Status goes out at every tick; who gets one sends what the other lacks, once between ticks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from chain.network.messages import (
    Blocks,
    CompactProposal,
    GetBlocks,
    GetProposal,
    GetProposalTransactions,
    HaveProposal,
    Message,
    NotHeld,
    ProposalTransactions,
    Status,
    Votes,
    WholeProposal,
)
from chain.replication.catchup import CatchUp
from chain.replication.deliberation import Deliberation
from chain.replication.events import BLAME_FATAL, Action, Blame, Send, SendBlocks, Tip
from chain.replication.waiting_room import Early, WaitingRoom
from consensus import codec
from consensus.types import InvalidConsensus

MESSAGES: Final = (
    CompactProposal,
    WholeProposal,
    Votes,
    Status,
    GetProposalTransactions,
    ProposalTransactions,
    HaveProposal,
    GetProposal,
    GetBlocks,
    Blocks,
    NotHeld,
)
"""The kinds of messages that a replica takes."""
PATIENCE_MS: Final = 1_000
"""A height that takes longer may lack something: what is known of it is exchanged at every tick."""


@dataclass(slots=True)
class Reception:
    """Takes the messages of peers, for the parts of a replica."""

    deliberation: Deliberation
    catch_up: CatchUp
    _early: WaitingRoom = field(default_factory=WaitingRoom)
    _told: dict[bytes, None] = field(default_factory=dict)  # peers that got a Status, or help, since the last tick
    _progress: int = -1

    def height(self, tip: Tip) -> int:
        """The height that this node works on."""
        state = self.deliberation.state
        return max(tip.height + 1, state.height if state else 0)

    def forget_peer(self, peer: bytes) -> None:
        self._told.pop(peer, None)
        for part in (self.deliberation, self.catch_up, self._early):
            part.forget_peer(peer)

    def receive(self, peer: bytes, message: Message, tip: Tip, actions: list[Action]) -> None:
        """A message of a connected peer."""
        proposals, serving = self.deliberation.proposals, self.deliberation.serving
        match message:
            case Votes():
                greatest = self.deliberation.take_votes(peer, message, actions)
                if greatest > self.height(tip) + 1:
                    self.catch_up.heard(peer, greatest - 1)
            case CompactProposal() | WholeProposal() | HaveProposal():
                self._take_proposal(peer, message, tip, actions)
            case GetProposal():
                actions += serving.answer(peer, message)
            case GetProposalTransactions():
                actions += serving.answer_transactions(peer, message)
            case ProposalTransactions():
                if self.deliberation.is_at(tip.height + 1):  # else fetched meanwhile
                    actions += proposals.take_transactions(peer, message)
            case Status():
                self._take_status(peer, message, tip, actions)
            case GetBlocks():
                actions.append(SendBlocks(peer=peer, id=message.id, first=message.first, count=message.count))
            case Blocks():
                actions += self.catch_up.take(peer, message)
            case NotHeld():
                actions += self.catch_up.not_held(peer, message.id)
            case _:
                raise AssertionError(f"{type(message).__name__} is no message for a replica")

    def _take_proposal(self, peer: bytes, message: Early, tip: Tip, actions: list[Action]) -> None:
        """One of this height is considered, one of the next waits until that starts."""
        try:
            if isinstance(message, HaveProposal):
                height = message.height
            else:
                height = codec.decode_proposal(message.proposal).height
        except InvalidConsensus as error:
            actions.append(Blame(peer=peer, points=BLAME_FATAL, reason=f"a proposal that is none: {error}"))
            return
        started = self.deliberation.is_at(tip.height + 1)
        coming = tip.height + 2 if started else tip.height + 1
        if height == coming:
            self._early.keep(peer, message, height)
        elif height > coming:
            self.catch_up.heard(peer, height)
        elif started and height == tip.height + 1:
            self.deliberation.take_proposal(peer, message, actions)

    def take_early(self, tip: Tip, actions: list[Action]) -> None:
        """The height after the tip has started: consider what came early."""
        for peer, message in self._early.take(tip.height + 1):
            self._take_proposal(peer, message, tip, actions)

    def _take_status(self, peer: bytes, message: Status, tip: Tip, actions: list[Action]) -> None:
        self.catch_up.heard(peer, message.height, message.oldest_block)
        if peer in self._told:
            return
        help_ = self.deliberation.help(peer, message)
        if help_:
            self._told[peer] = None
            actions += help_
        elif message.height < self.height(tip):
            self._told[peer] = None
            self.tell_status((peer,), tip, actions)

    def tell_status(self, peers: tuple[bytes, ...], tip: Tip, actions: list[Action]) -> None:
        """Tell peers what this node has."""
        if peers:
            status = self.deliberation.status(self.height(tip), tip.oldest_block)
            actions.append(Send(peers=peers, message=status))

    def tick(self, tip: Tip, takes_ms: int, actions: list[Action]) -> None:
        """A second has passed; the current height takes so long already."""
        self._told = {}
        self.deliberation.tick(actions)
        actions += self.catch_up.tick()
        before, self._progress = self._progress, self.catch_up.progress()
        waits = self.deliberation.is_at(tip.height)  # for its block interval
        if self._progress == before and takes_ms >= PATIENCE_MS and not waits:
            self.tell_status(self.deliberation.peers, tip, actions)
