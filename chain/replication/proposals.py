"""Home of the current height's proposals: checked for who speaks, completed from pool and peers, kept for others.

Proposer and signature come first, then the body (bodies.py), then its execution by whoever holds the ledger. A peer
whose list of transactions can't be completed in time is left, and another one that has the proposal is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.network.messages import (
    CompactProposal,
    GetProposal,
    GetProposalTransactions,
    ProposalTransactions,
    WholeProposal,
)
from chain.replication.bodies import Body, InvalidBody, compact_body, whole_body
from chain.replication.events import BLAME_FATAL, BLAME_SLOW, Action, Blame, Check, Send
from chain.replication.vote_exchange import Recover
from chain.transactions import Transaction
from consensus import codec
from consensus.proposer import proposer
from consensus.rules import State, is_recent
from consensus.types import BlockId, Proposal

PROPOSALS_PER_ROUND_MAX: Final = 2
ANSWER_MS: Final = 500  # after which, at the next tick, another peer is asked
WANTED_MAX: Final = 32
WANTED_PER_PEER_MAX: Final = 4

Key = tuple[int, bytes]
"""(round, block id)"""


@dataclass(slots=True)
class Offer:
    """A proposal whose proposer has signed it, and the peers known to have it, in the order in which they told."""

    proposal: Proposal
    encoded: bytes
    holders: dict[bytes, None]
    ready: bool = False  # given to consensus


@dataclass(slots=True)
class _Wanted:
    """A proposal that was asked for: of whom, and who else has it."""

    asked: bytes
    asked_ms: int
    others: dict[bytes, None]


@dataclass(slots=True)
class Proposals:
    """The proposals of one height. What is ready for consensus is in `ready` until it is taken."""

    genesis: bytes
    recover: Recover
    pool_get: Callable[[bytes], Transaction | None]
    clock_ms: Callable[[], int]
    height: int = 0
    bodies: dict[bytes, Body] = field(default_factory=dict)
    offers: dict[Key, Offer] = field(default_factory=dict)
    ready: list[Offer] = field(default_factory=list)
    _wanted: dict[Key, _Wanted] = field(default_factory=dict)
    _failed: dict[tuple[bytes, bytes], None] = field(default_factory=dict)  # (peer, block id)

    def start_height(self, height: int) -> None:
        self.height = height
        self.bodies, self.offers, self.ready = {}, {}, []
        self._wanted, self._failed = {}, {}

    # --------------------------------------------------------------------------------------------------- coming in

    def take(self, peer: bytes, sent: CompactProposal | WholeProposal, state: State) -> list[Action]:
        """A proposal of this height; what is to be done about it. One that is known, or not wanted, is dropped."""
        actions: list[Action] = []
        offer = self._enter(peer, sent, state, actions)
        if offer is None or offer.ready:
            return actions
        block_id = offer.proposal.block_id
        self._wanted.pop((offer.proposal.round, block_id), None)
        body = self.bodies.get(block_id)
        if body is None or (body.block is None and isinstance(sent, WholeProposal)):
            self._take_body(peer, sent, block_id, actions)
        elif body.valid is not None:
            self._get_ready(offer)
        return actions

    def _enter(
        self, peer: bytes, sent: CompactProposal | WholeProposal, state: State, actions: list[Action]
    ) -> Offer | None:
        """The offer of a proposal, a new one if its proposer has signed it and there is room."""
        try:
            proposal = codec.decode_proposal(sent.proposal)
        except codec.InvalidEncoding as error:
            return _blamed(actions, peer, f"a proposal that is none: {error}")
        key = proposal.round, proposal.block_id
        known = self.offers.get(key)
        if known is not None:
            known.holders[peer] = None
            return known
        if not self._has_room(proposal, state):
            return None
        if isinstance(sent, CompactProposal) and (peer, proposal.block_id) in self._failed:
            return None
        if proposal.proposer != proposer(state.validators, state.priorities, proposal.round):
            return _blamed(actions, peer, f"a proposal for round {proposal.round} by {proposal.proposer.hex()}")
        if self.recover([(proposal.sign_bytes(self.genesis), proposal.signature)]) != [proposal.proposer]:
            return _blamed(actions, peer, f"a proposal that {proposal.proposer.hex()} did not sign")
        wanted = self._wanted.get(key)
        others = wanted.others if wanted else {}
        offer = Offer(proposal=proposal, encoded=sent.proposal, holders={**others, peer: None})
        self.offers[key] = offer
        return offer

    def _has_room(self, proposal: Proposal, state: State) -> bool:
        if proposal.height != self.height or proposal.round > state.round + 1:
            return False
        if state.book.is_supported(proposal.round, proposal.block_id):
            return True
        known = sum(round_ == proposal.round for round_, _ in self.offers)
        return known < PROPOSALS_PER_ROUND_MAX and is_recent(state, proposal)

    def _take_body(
        self, peer: bytes, sent: CompactProposal | WholeProposal, block_id: BlockId, actions: list[Action]
    ) -> None:
        try:
            if isinstance(sent, CompactProposal):
                body = compact_body(sent, block_id, self.pool_get, peer)
            else:
                body = whole_body(sent.block, block_id, self.pool_get)
        except InvalidBody as error:
            self._fail(peer, block_id, BLAME_FATAL, str(error), actions)
            return
        self.bodies[block_id] = body
        missing = body.missing()
        if missing:
            body.asked_ms = self.clock_ms()
            actions.append(Send(peers=(peer,), message=GetProposalTransactions(block_id=block_id, places=missing)))
        else:
            self._complete(peer, body, actions)

    def take_transactions(self, peer: bytes, sent: ProposalTransactions) -> list[Action]:
        """Transactions that a peer's compact proposal lacked here."""
        body = self.bodies.get(sent.block_id)
        if body is None or body.source != peer or body.block is not None:
            return []  # late, and done without it
        actions: list[Action] = []
        try:
            if len(sent.places) != len(sent.raws):
                raise InvalidBody(f"{len(sent.raws)} transactions for {len(sent.places)} places")
            body.fill(sent.places, sent.raws)
        except InvalidBody as error:
            self._fail(peer, body.block_id, BLAME_FATAL, str(error), actions)
            return actions
        if not body.missing():
            self._complete(peer, body, actions)
        return actions

    def _complete(self, peer: bytes, body: Body, actions: list[Action]) -> None:
        try:
            if body.block is None:
                body.bind()
        except InvalidBody as error:
            self._fail(peer, body.block_id, BLAME_FATAL, str(error), actions)
            return
        assert body.block is not None
        actions.append(Check(block_id=BlockId(body.block_id), block=body.block, transactions=body.checkable()))

    def _fail(self, peer: bytes, block_id: bytes, points: int, reason: str, actions: list[Action]) -> None:
        """Leave what a peer said of a block's body, and ask another one that has it."""
        actions.append(Blame(peer=peer, points=points, reason=reason))
        self._failed[peer, block_id] = None
        body = self.bodies.get(block_id)
        if body is not None and body.block is None:
            del self.bodies[block_id]
        if block_id in self.bodies:
            return
        for key in [key for key in self.offers if key[1] == block_id]:
            holders = self.offers.pop(key).holders
            self._want(key, [other for other in holders if (other, block_id) not in self._failed], actions)

    # ------------------------------------------------------------------------------------- asking for whole proposals

    def take_have(self, peer: bytes, round_: int, block_id: bytes, state: State) -> list[Action]:
        """A peer says that it has a proposal of this height: ask for it if it may be wanted."""
        key, actions = (round_, block_id), list[Action]()
        if key in self.offers:
            self.offers[key].holders[peer] = None
        elif key in self._wanted:
            self._wanted[key].others[peer] = None
        elif round_ <= state.round + 1 and (peer, block_id) not in self._failed:
            self._want(key, [peer], actions)
        return actions

    def _want(self, key: Key, holders: Sequence[bytes], actions: list[Action]) -> None:
        if not holders or len(self._wanted) >= WANTED_MAX:
            return
        asked, *others = holders
        if sum(wanted.asked == asked for wanted in self._wanted.values()) >= WANTED_PER_PEER_MAX:
            return
        self._wanted[key] = _Wanted(asked=asked, asked_ms=self.clock_ms(), others=dict.fromkeys(others))
        round_, block_id = key
        ask = GetProposal(height=self.height, round=round_, block_id=block_id)
        actions.append(Send(peers=(asked,), message=ask))

    def tick(self, state: State) -> list[Action]:
        """Ask others for what has not been answered; forget what consensus has no use for, give it what it lacks."""
        actions: list[Action] = []
        late = self.clock_ms() - ANSWER_MS
        for key, wanted in [(key, wanted) for key, wanted in self._wanted.items() if wanted.asked_ms <= late]:
            del self._wanted[key]
            self._want(key, list(wanted.others), actions)
        for body in list(self.bodies.values()):
            if body.block is None and body.source is not None and body.asked_ms <= late:
                reason = f"it did not give the transactions of its proposal {body.block_id.hex()}"
                self._fail(body.source, body.block_id, BLAME_SLOW, reason, actions)
        self._prune(state)
        known = [(round_, given.proposal.block_id) for round_, row in state.proposals.items() for given in row]
        # Consensus may have dropped one as too old, until votes told that it was wanted.
        self.ready += [offer for key, offer in self.offers.items() if offer.ready and key not in known]
        return actions

    def _prune(self, state: State) -> None:
        self.offers = {key: offer for key, offer in self.offers.items() if is_recent(state, offer.proposal)}
        used = {block_id: None for _, block_id in self.offers}
        self.bodies = {block_id: body for block_id, body in self.bodies.items() if block_id in used}

    def forget_peer(self, peer: bytes) -> None:
        for offer in self.offers.values():
            offer.holders.pop(peer, None)
        for wanted in self._wanted.values():
            wanted.others.pop(peer, None)

    # ------------------------------------------------------------------------------------------- judged, and our own

    def checked(self, block_id: bytes, valid: bool, reason: str) -> None:
        """The verdict on a body: its proposals are ready."""
        body = self.bodies.get(block_id)
        if body is None or body.block is None or body.valid is not None:
            return
        body.valid, body.reason = valid, reason
        for offer in list(self.offers.values()):
            if offer.proposal.block_id == block_id:
                self._get_ready(offer)

    def _get_ready(self, offer: Offer) -> None:
        if not offer.ready:
            offer.ready = True
            self.ready.append(offer)

    def remember(self, proposal: Proposal, block: bytes) -> Offer:
        """A proposal that consensus has: an own one, or one from the log."""
        if proposal.block_id not in self.bodies:
            body = whole_body(block, proposal.block_id)
            body.valid = True
            self.bodies[proposal.block_id] = body
        key = proposal.round, proposal.block_id
        if key not in self.offers:
            encoded = codec.encode_proposal(proposal)
            self.offers[key] = Offer(proposal=proposal, encoded=encoded, holders={}, ready=True)
        return self.offers[key]


def _blamed(actions: list[Action], peer: bytes, reason: str) -> Offer | None:
    actions.append(Blame(peer=peer, points=BLAME_FATAL, reason=reason))
    return None
