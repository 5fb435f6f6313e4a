"""Home of what must hold in every simulated history, checked after every step with arithmetic of its own.

Nothing here uses the rules under test: powers are summed and compared anew, logs are searched as bytes.
"""

from dataclasses import dataclass, field

from consensus.types import BlockId, Commit, Proposal, ValidatorSet, Vote, VoteKind
from consensus.votelog import ProposalRecord, VoteRecord, encode_record
from tests.sim import blocks
from tests.sim.disk import Disk
from tests.sim.plan import Plan


class Violation(AssertionError):
    """A history in which something that must hold does not."""


@dataclass
class Checkers:
    """The whole history as an observer with all knowledge sees it."""

    plan: Plan
    decided: dict[int, BlockId] = field(default_factory=dict)
    signed: dict[tuple[bytes, tuple[int, int, int]], BlockId | None] = field(default_factory=dict)
    proposed: dict[tuple[bytes, int, int], BlockId] = field(default_factory=dict)
    prevoted: dict[tuple[int, int, BlockId], dict[bytes, bytes]] = field(default_factory=dict)
    """(height, round, block) -> voter -> signature."""
    blocks: dict[BlockId, bytes] = field(default_factory=dict)
    stored_heights: dict[int, int] = field(default_factory=dict)
    checks: int = 0

    def block_made(self, block: bytes) -> None:
        """Any block, by anybody."""
        self.blocks[blocks.block_id(block)] = block

    def vote_signed_by_anyone(self, vote: Vote) -> None:
        """Any vote, by liars too: what can be in somebody's quorum."""
        if vote.kind == VoteKind.PREVOTE and vote.block_id is not None:
            key = (vote.height, vote.round, vote.block_id)
            self.prevoted.setdefault(key, {})[vote.voter] = vote.signature

    def vote_sent(self, vote: Vote, disk: Disk) -> None:
        """An honest vote leaves: it is on the disk, contradicts none before it, and respects the lock."""
        self.checks += 1
        self.vote_signed_by_anyone(vote)
        _require(
            encode_record(VoteRecord(vote=vote)) in disk.durable,
            f"a vote left before it was synced to its log: {vote}",
        )
        earlier = self.signed.setdefault((vote.voter, vote.slot), vote.block_id)
        _require(earlier == vote.block_id, f"an honest voter signed twice: {vote} after {earlier!r}")
        if vote.block_id is None:
            return
        if vote.kind == VoteKind.PRECOMMIT:
            signatures = self._polka(vote.height, vote.round, vote.block_id)
            logged = {voter for voter, signature in signatures.items() if signature in disk.durable}
            _require(self._exceeds_two_thirds(vote.height, logged), f"a precommit without a logged polka: {vote}")
            _require(self.blocks[vote.block_id] in disk.durable, f"a precommit without a logged block: {vote}")
        else:
            self._check_lock(vote)

    def proposal_sent(self, proposal: Proposal, block: bytes, disk: Disk) -> None:
        """An honest proposal leaves: one for a round, on the disk with its block."""
        self.checks += 1
        logged = [encode_record(ProposalRecord(proposal=proposal, block=given)) for given in (block, b"")]
        _require(any(r in disk.durable for r in logged), f"a proposal left before it was synced: {proposal}")
        _require(block in disk.durable, f"a proposal left before its block was synced: {proposal}")
        key = (proposal.proposer, proposal.height, proposal.round)
        earlier = self.proposed.setdefault(key, proposal.block_id)
        _require(earlier == proposal.block_id, f"an honest proposer proposed twice: {proposal}")

    def committed(self, commit: Commit, block: bytes) -> None:
        """A height is decided by somebody: by enough power, for the same valid block as by everybody else."""
        self.checks += 1
        signers = {voter for voter, _ in commit.signatures}
        _require(len(signers) == len(commit.signatures), f"a commit counts a voter twice: {commit}")
        _require(self._exceeds_two_thirds(commit.height, signers), f"a commit without two thirds: {commit}")
        _require(blocks.block_id(block) == commit.block_id, f"a commit for another block: {commit}")
        parent = self.decided.get(commit.height - 1, blocks.GENESIS)
        verdict = blocks.judge(block, height=commit.height, parent=parent, clock_ms=0)
        _require(verdict.valid, f"an invalid block is decided: {commit}")
        earlier = self.decided.setdefault(commit.height, commit.block_id)
        _require(
            earlier == commit.block_id,
            f"disagreement at height {commit.height}: {earlier.hex()} and {commit.block_id.hex()}",
        )

    def stored(self, index: int, height: int) -> None:
        """A node has synced a block, or has come up again: no height that was there is gone."""
        _require(height >= self.stored_heights.get(index, 0), f"node {index} lost blocks above height {height}")
        self.stored_heights[index] = height

    def _check_lock(self, vote: Vote) -> None:
        """A prevote against an own precommit needs a polka at least as new as that precommit."""
        assert vote.block_id is not None
        rounds = range(vote.round - 1, -1, -1)
        own = ((r, self.signed.get((vote.voter, (vote.height, r, int(VoteKind.PRECOMMIT))))) for r in rounds)
        lock = next(((r, block_id) for r, block_id in own if block_id is not None), None)
        if lock is None or lock[1] == vote.block_id:
            return
        polkas = (set(self._polka(vote.height, r, vote.block_id)) for r in range(lock[0], vote.round))
        unlocked = any(self._exceeds_two_thirds(vote.height, voters) for voters in polkas)
        _require(unlocked, f"a prevote against the lock of round {lock[0]} on {lock[1]!r}: {vote}")

    def _polka(self, height: int, round_: int, block_id: BlockId) -> dict[bytes, bytes]:
        return self.prevoted.get((height, round_, block_id), {})

    def _exceeds_two_thirds(self, height: int, voters: set[bytes]) -> bool:
        members: ValidatorSet = self.plan.validators(height)
        power = sum(power for voter, power in members.members if voter in voters)
        return power * 3 > 2 * sum(power for _, power in members.members)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)
