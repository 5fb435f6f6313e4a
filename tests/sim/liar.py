"""Home of a simulated validator that lies: two proposals, two votes, to each peer what it likes."""

from consensus import proposer
from consensus.types import NO_ROUND, BlockId, Height, Proposal, Round, Vote, VoteKind
from tests.sim import blocks, plan
from tests.sim.messages import Decision, Message, Offer, Status, signed_proposal, signed_vote
from tests.sim.world import World


class Liar:
    """Signs anything as itself and nothing as others; needs no log, as it has nothing to keep."""

    def __init__(self, world: World, index: int) -> None:
        self.index = index
        self._world = world
        self._height = 1
        self._parent = blocks.GENESIS
        self._seen: dict[tuple[int, int], list[BlockId]] = {}
        self._offered: set[tuple[int, int]] = set()

    def start(self) -> None:
        self._offer(0)

    def height(self) -> int:
        return self._height - 1

    def crash(self) -> None:
        """Has nothing to lose."""

    def receive(self, sender: int, message: Message) -> None:
        """Answer what is heard with contradictions."""
        match message:
            case Offer():
                self._note(message.proposal)
                self._lie(message.proposal.height, message.proposal.round)
            case Vote():
                self._lie(message.height, message.round)
                if message.height == self._height and message.round < 50:
                    self._offer(message.round + 1)
            case Decision() if message.commit.height == self._height:
                self._height += 1
                self._parent = message.commit.block_id
                self._offer(0)
            case Status() if message.height < self._height or self._world.rng.random() < 0.5:
                pass
            case Status():
                empty = Status(height=self._height, votes=frozenset(), proposals=frozenset())
                self._world.send(self.index, sender, empty)  # asks for the decision that it lacks
            case _:
                pass

    def _note(self, proposal: Proposal) -> None:
        known = self._seen.setdefault((proposal.height, proposal.round), [])
        if proposal.block_id not in known:
            known.append(proposal.block_id)

    def _lie(self, height: int, round_: int) -> None:
        """To each peer a vote of either kind for any block of the round, or for nil, or none."""
        if not self._world.plan.validators(height).power(plan.address(self.index)):
            return
        choices = [None, *self._seen.get((height, round_), [])]
        for peer in self._world.peers:
            if peer.index == self.index or self._world.rng.random() < 0.5:
                continue
            vote = Vote(
                height=Height(height),
                round=Round(round_),
                kind=self._world.rng.choice((VoteKind.PREVOTE, VoteKind.PRECOMMIT)),
                block_id=self._world.rng.choice(choices),
                voter=plan.address(self.index),
            )
            signed = signed_vote(vote)
            self._world.checkers.vote_signed_by_anyone(signed)
            self._world.send(self.index, peer.index, signed)

    def _offer(self, round_: int) -> None:
        """Where it is the proposer: to each peer one of two blocks, sometimes a wrong one, or nothing."""
        validators = self._world.plan.validators(self._height)
        priorities = proposer.after(validators, (self._height - 1) % plan.EPOCH_HEIGHTS)
        mine = proposer.proposer(validators, priorities, Round(round_)) == plan.address(self.index)
        if not mine or (self._height, round_) in self._offered:
            return
        self._offered.add((self._height, round_))
        offers = [self._make(round_) for _ in range(2)]
        for peer in self._world.peers:
            if peer.index != self.index and self._world.rng.random() < 0.9:
                self._world.send(self.index, peer.index, self._world.rng.choice(offers))

    def _make(self, round_: int) -> Offer:
        rng = self._world.rng
        block = blocks.build(
            height=self._height,
            parent=self._parent,
            time_ms=self._world.now_ms,
            nonce=rng.getrandbits(64),
            right=not self._world.chance(self._world.plan.invalid_block),
        )
        self._world.checkers.block_made(block)
        proposal = Proposal(
            height=Height(self._height),
            round=Round(round_),
            block_id=blocks.block_id(block),
            valid_round=rng.choice((NO_ROUND, NO_ROUND, rng.randint(NO_ROUND, round_ - 1) if round_ else NO_ROUND)),
            proposer=plan.address(self.index),
        )
        self._note(proposal)
        return Offer(proposal=signed_proposal(proposal), block=block)
