"""Home of a simulated validator that lies: an honest node's whole machinery, with something wrong at every exit.

It signs anything as itself and nothing as others. It lies only at heights at which liars have no more than a third of
all power: beyond that no protocol promises anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chain.codec import block_hash
from chain.network.messages import CompactProposal, Message, ProposalTransactions, Status, Votes, WholeProposal
from chain.replication.events import Action, Blame, Build, Built, Given, Send, SendBlocks, Stop
from consensus import codec, votelog
from consensus.actions import Persist, ReplaceLog
from consensus.events import ReportEquivocation
from consensus.types import NO_ROUND, BlockId, Height, Proposal, Round, Vote, VoteKind
from tests.sim import forgery
from tests.sim import plan as plans
from tests.sim.lying_duties import LyingDuties
from tests.sim.messages import SimMessage, WantBlobs
from tests.sim.node import Node, own_words
from tests.sim.services import Services
from tests.sim.transactions import signature_of

if TYPE_CHECKING:
    from tests.sim.world import World

ROUNDS_LIED_MAX = 12
LIES_A_ROUND_MAX = 12
BAD_BLOCK_RATE = 0.7


class Liar(Node):
    """Follows the chain like everybody, and says what it likes; its traits are the plan's."""

    honest = False

    def __init__(self, world: World, index: int) -> None:
        super().__init__(world, index)
        self.traits = world.plan.traits
        self.services = Services(self, LyingDuties(world, index))
        self._seen: dict[tuple[int, int], list[BlockId]] = {}
        self._other: dict[BlockId, WholeProposal] = {}  # to one's proposal for a block, another one
        self._lies: dict[tuple[int, int], int] = {}

    def lies(self, height: int | None = None) -> bool:
        """Whether liars have a third of the power at most, at a height or at the next one."""
        members = self.world.checkers.observer.sets.get(height or self.height() + 1, ())
        liars = {plans.voter(index) for index in self.world.plan.liars}
        return 3 * sum(power for voter, power in members if voter in liars) <= sum(power for _, power in members)

    # ------------------------------------------------------------------------------------------- life and actions

    def start(self) -> None:
        if "amnesia" in self.traits and not self.up():
            self.disk.lose_log()
        super().start()

    def remembers(self, log: votelog.Recovered, records: Sequence[bytes]) -> bool:
        return True

    def handle(self, given: Given) -> None:
        """Whatever its own lies do to its own machinery, it goes on."""
        try:
            super().handle(given)
        except Exception:
            self.crash()

    def perform(self, action: Action) -> None:
        match action:
            case Persist() | ReplaceLog() if "amnesia" in self.traits:
                pass
            case Blame() | ReportEquivocation():
                pass
            case Stop():
                self.crash()
            case _:
                super().perform(action)

    def receive(self, sender: int, message: SimMessage) -> None:
        """Note what is offered, answer with contradictions, and go on as if nothing were."""
        if "withheld blobs" in self.traits and isinstance(message, WantBlobs):
            return
        if self.up() and self.lies():
            self._hear(message)
        super().receive(sender, message)

    def _hear(self, message: SimMessage) -> None:
        duties = self.services.duties
        assert isinstance(duties, LyingDuties)
        match message:
            case Votes():
                for encoded in message.votes:
                    vote = codec.decode_vote(encoded)
                    duties.heard(vote)
                    self._contradict(vote.height, vote.round)
            case CompactProposal() | WholeProposal():
                proposal = codec.decode_proposal(message.proposal)
                self._note(proposal)
                self._contradict(proposal.height, proposal.round)

    # ------------------------------------------------------------------------------------------------- own words

    def send(self, action: Send) -> None:
        """What the replica wants to be sent, or something else to each peer."""
        own = own_words(action.message, self.voter)
        if not own or not self.lies(own[0].height):
            self._register(own)
            self._send_mangled(action)
        elif "silence" not in self.traits:
            self._register(own)
            for peer in action.peers:
                self.tell(peer[0] - 1, self._version(action.message, own[0]))

    def _register(self, own: tuple[Vote | Proposal, ...]) -> None:
        for said in own:
            if isinstance(said, Vote):
                self.world.checkers.vote_signed_by_anyone(said)
            else:
                self._note(said)

    def _send_mangled(self, action: Send) -> None:
        """Others' words and answers go on as they are, but for transactions that somebody lacks."""
        message: Message = action.message
        if isinstance(message, ProposalTransactions) and "bad blocks" in self.traits and self.lies():
            message = replace(message, raws=tuple(reversed(message.raws)))
        for peer in action.peers:
            self.tell(peer[0] - 1, message)

    def _version(self, message: Message, said: Vote | Proposal) -> Message:
        """One peer's version of an own message."""
        rng = self.world.rng
        if isinstance(said, Proposal) and "two blocks" in self.traits:
            other = self._other.get(said.block_id)
            if other is not None and rng.random() < 0.5:
                return other
            if isinstance(message, CompactProposal) and rng.random() < 0.3:
                return replace(message, hashes=tuple(reversed(message.hashes)))
        if isinstance(said, Vote) and "equivocation" in self.traits and rng.random() < 0.7:
            return Votes(votes=(codec.encode_vote(self._vote(said.height, said.round, said.kind)),))
        return message

    def _note(self, proposal: Proposal) -> None:
        known = self._seen.setdefault((proposal.height, proposal.round), [])
        if proposal.block_id not in known:
            known.append(proposal.block_id)

    def _vote(self, height: int, round_: int, kind: VoteKind) -> Vote:
        """A signed vote for anything that was seen, or for nil."""
        vote = Vote(
            height=Height(height),
            round=Round(round_),
            kind=kind,
            block_id=self.world.rng.choice([None, *self._seen.get((height, round_), [])]),
            voter=self.voter,
        )
        signed = replace(vote, signature=self._signature(vote.sign_bytes(self.world.genesis.hash)))
        self.world.checkers.vote_signed_by_anyone(signed)
        return signed

    def _signature(self, message: bytes) -> bytes:
        return signature_of(plans.vote_key(self.index), message)

    def _contradict(self, height: int, round_: int) -> None:
        """To some peers a vote of either kind for any block of the round, or for nil."""
        if "equivocation" not in self.traits or round_ > ROUNDS_LIED_MAX or height < self.height():
            return
        members = dict(self.world.checkers.observer.sets.get(height, ()))
        count = self._lies.get((height, round_), 0)
        if self.voter not in members or count >= LIES_A_ROUND_MAX:
            return
        self._lies[height, round_] = count + 1
        for other in self.linked():
            if self.world.rng.random() < 0.5:
                kind = self.world.rng.choice((VoteKind.PREVOTE, VoteKind.PRECOMMIT))
                self.tell(other, Votes(votes=(codec.encode_vote(self._vote(height, round_, kind)),)))

    # ---------------------------------------------------------------------------------------------------- blocks

    def build(self, asked: Build) -> None:
        """A block of its own, or one that is none, or two of them."""
        if self._has_moved_on():
            return
        prepared = self.prepare(asked)
        block = prepared.block
        if "bad blocks" in self.traits and self.lies() and self.world.rng.random() < BAD_BLOCK_RATE:
            block = forgery.bad_block(block, self.world.rng, plans.voter(1))
        self.world.checkers.block_made(block_hash(block.header), forgery.encoded(block))
        if "two blocks" in self.traits and self.lies():
            self._make_other(asked, block_hash(block.header), forgery.another_block(block, self.world.rng))
        self.answer(
            Built(
                height=asked.height,
                round=asked.round,
                block_id=BlockId(block_hash(block.header)),
                block=block,
                encoded=forgery.encoded(block),
                transactions=prepared.transactions if block.transactions == prepared.block.transactions else (),
            )
        )

    def _make_other(self, asked: Build, first: bytes, block: object) -> None:
        """Another proposal for the same round, to be sent to some."""
        encoded = forgery.encoded(block)  # type: ignore[arg-type]
        block_id = BlockId(block_hash(block.header))  # type: ignore[attr-defined]
        self.world.checkers.block_made(block_id, encoded)
        proposal = Proposal(
            height=asked.height,
            round=asked.round,
            block_id=block_id,
            valid_round=self.world.rng.choice((NO_ROUND, NO_ROUND, asked.round - 1)),
            proposer=self.voter,
        )
        signed = replace(proposal, signature=self._signature(proposal.sign_bytes(self.world.genesis.hash)))
        self._note(signed)
        self._other[BlockId(first)] = WholeProposal(proposal=codec.encode_proposal(signed), block=encoded)

    def send_blocks(self, asked: SendBlocks) -> None:
        """To those that are behind: blocks that were decided, or commits that decide nothing."""
        if "forged commits" not in self.traits or not self.lies():
            super().send_blocks(asked)
            return
        found = self.decided(asked.first)
        if found is not None:
            self.tell(asked.peer[0] - 1, forgery.forged_blocks(asked, found, self))

    def _tick(self) -> None:
        super()._tick()
        if "forged commits" in self.traits and self.up() and self.lies():
            ahead = Status(height=self.height() + 3, round=0, oldest_block=1, votes=(), proposals=())
            for other in self.linked():
                self.tell(other, ahead)

    def sign_vote(self, vote: Vote) -> bytes:
        """Its signature under a vote that names whomever."""
        return self._signature(vote.sign_bytes(self.world.genesis.hash))
