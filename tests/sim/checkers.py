"""Home of what must hold in every simulated history, checked after every step with arithmetic of its own.

Votes and commits are judged here by sums made anew and by logs searched as bytes; blocks, money and learning by the
observer, which executes every final block once more (tests/sim/observer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chain.codec import block_hash, decode_header
from chain.crypto import keccak256
from chain.genesis import Genesis
from chain.storage.statetree import StateTree
from consensus.rules import State
from consensus.types import BlockId, Commit, Equivocation, Proposal, Vote, VoteKind
from consensus.votelog import ProposalRecord, VoteRecord, encode_record
from tests.sim import rotation
from tests.sim.disk import Disk
from tests.sim.observer import Observer
from tests.sim.plan import Plan, account
from tests.sim.transactions import recovered
from tests.sim.violation import Violation, require

__all__ = ["Checkers", "Lock", "Violation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A block that a node was locked on, or may have been, and the round of its polka."""

    height: int
    round: int
    block_id: BlockId


@dataclass
class Checkers:
    """The whole history as an observer with all knowledge sees it."""

    plan: Plan
    genesis: Genesis
    blobs: dict[bytes, bytes]  # every blob that anybody ever made
    signed: dict[tuple[bytes, tuple[int, int, int]], BlockId | None] = field(default_factory=dict)
    proposed: dict[tuple[bytes, int, int], BlockId] = field(default_factory=dict)
    prevoted: dict[tuple[int, int, BlockId], dict[bytes, bytes]] = field(default_factory=dict)
    """(height, round, block) -> voter -> signature."""
    blocks: dict[BlockId, bytes] = field(default_factory=dict)
    stored_heights: dict[int, int] = field(default_factory=dict)
    checks: int = 0

    def __post_init__(self) -> None:
        self.observer = Observer(plan=self.plan, genesis=self.genesis, blobs=self.blobs)
        self._said: set[bytes] = set()
        self._offered: set[Proposal] = set()
        self._liars = {account(index) for index in self.plan.liars}

    @property
    def height(self) -> int:
        """Of the last block that anybody decided."""
        return self.observer.height

    @property
    def settled(self) -> int:
        """Rounds of learning that a record settled, void ones not counted."""
        return self.observer.settled

    @property
    def sets(self) -> set[tuple[tuple[bytes, int], ...]]:
        return set(self.observer.sets.values())

    @property
    def slashed(self) -> int:
        return self.observer.slashed

    # ---------------------------------------------------------------------------------------------- what is told

    def block_made(self, block_id: bytes, block: bytes) -> None:
        """Any block, by anybody."""
        self.blocks.setdefault(BlockId(block_id), block)  # a body that is not its own may come under the id, too

    def blob_made(self, root: bytes, data: bytes) -> None:
        """Any blob, by anybody, whoever gets it."""
        self.blobs[root] = data

    def vote_signed_by_anyone(self, vote: Vote) -> None:
        """Any vote, by liars too: what can be in somebody's quorum."""
        if vote.kind == VoteKind.PREVOTE and vote.block_id is not None:
            key = (vote.height, vote.round, vote.block_id)
            self.prevoted.setdefault(key, {})[vote.voter] = vote.signature

    # --------------------------------------------------------------------------------------- votes and proposals

    def vote_sent(self, vote: Vote, disk: Disk) -> None:
        """An honest vote leaves: it is on the disk, contradicts none before it, and respects the lock."""
        self.checks += 1
        self.vote_signed_by_anyone(vote)
        encoded = encode_record(VoteRecord(vote=vote))
        if encoded in self._said:
            return  # it was synced once; when its height is decided, its voter passes it on like anybody's
        self._said.add(encoded)
        require(encoded in disk.durable, f"a vote left before it was synced to its log: {vote}")
        earlier = self.signed.setdefault((vote.voter, vote.slot), vote.block_id)
        require(earlier == vote.block_id, f"an honest voter signed twice: {vote} after {earlier!r}")
        if vote.block_id is None:
            return
        if vote.kind == VoteKind.PRECOMMIT:
            signatures = self._polka(vote.height, vote.round, vote.block_id)
            logged = {voter for voter, signature in signatures.items() if signature in disk.durable}
            require(self._exceeds_two_thirds(vote.height, logged), f"a precommit without a logged polka: {vote}")
            require(self.blocks[vote.block_id] in disk.durable, f"a precommit without a logged block: {vote}")
        else:
            self._check_lock(vote)

    def prevote_is_fair(self, vote: Vote, state: State | None, locks: Sequence[Lock]) -> None:
        """A valid block that is proposed again, with a polka as new as the own lock, is not turned down (lines 28-33).

        For a vote that no timeout has made, of a node that is in this state after the input that led to it, and had
        `locks` from before that input on: one input, of many votes, may lead to a vote and then on to another lock.
        """
        if state is None or vote.kind != VoteKind.PREVOTE or vote.block_id is not None:
            return
        known = state.proposals.get(vote.round, ()) if vote.height == state.height else ()
        if not known or not known[0].valid or known[0].proposal.valid_round < 0:
            return
        block_id, valid_round = known[0].proposal.block_id, known[0].proposal.valid_round
        polka = {each.voter for each in state.book.prevotes(valid_round).votes_for(block_id)}
        held = [lock for lock in locks if lock.height == vote.height]
        locked = any(lock.round > valid_round and lock.block_id != block_id for lock in held)
        require(
            locked or not self._exceeds_two_thirds(vote.height, polka),
            f"a block proposed again with a polka is turned down: {vote}, {known[0]}",
        )

    def proposal_sent(self, proposal: Proposal, disk: Disk) -> None:
        """An honest proposal leaves: by the round's proposer, one for a round, on the disk with its block."""
        self.checks += 1
        if proposal in self._offered:
            return  # as with votes
        self._offered.add(proposal)
        block = self.blocks[proposal.block_id]
        logged = [encode_record(ProposalRecord(proposal=proposal, block=given)) for given in (block, b"")]
        require(any(r in disk.durable for r in logged), f"a proposal left before it was synced: {proposal}")
        require(block in disk.durable, f"a proposal left before its block was synced: {proposal}")
        key = (proposal.proposer, proposal.height, proposal.round)
        earlier = self.proposed.setdefault(key, proposal.block_id)
        require(earlier == proposal.block_id, f"an honest proposer proposed twice: {proposal}")
        expected = rotation.proposer(self.observer.sets, proposal.height, proposal.round, self.plan.epoch_blocks)
        require(proposal.proposer == expected, f"it is the turn of {expected.hex()}, not of {proposal}")

    def evidence_found(self, evidence: Equivocation) -> None:
        """An honest node accuses somebody: who is no liar never signs twice."""
        for vote in (evidence.first, evidence.second):
            require(self._is_signed(vote), f"evidence without a signature: {evidence}")
        require(evidence.first.voter in self._liars, f"evidence against an honest voter: {evidence}")

    # --------------------------------------------------------------------------------------------------- commits

    def committed(self, index: int, commit: Commit, block: bytes) -> None:
        """A height is decided by somebody: by enough power, for the same valid block as by everybody else."""
        self.checks += 1
        signers = {voter for voter, _ in commit.signatures}
        require(len(signers) == len(commit.signatures), f"a commit counts a voter twice: {commit}")
        require(all(map(self._is_signed, commit.votes())), f"a commit with a wrong signature: {commit}")
        require(self._exceeds_two_thirds(commit.height, signers), f"a commit without two thirds: {commit}")
        if commit.height == self.height + 1:
            self.observer.execute(commit.block_id, block)
        decided = self.observer.decided[commit.height]
        require(
            decided == commit.block_id,
            f"disagreement at height {commit.height}: {decided.hex()} and {commit.block_id.hex()} of node {index}",
        )

    def stored(self, index: int, height: int) -> None:
        """A node has synced a block, or has come up again: no height that was there is gone."""
        require(height >= self.stored_heights.get(index, 0), f"node {index} lost blocks above height {height}")
        self.stored_heights[index] = height

    def wiped(self, index: int) -> None:
        """A node's disk is empty: nobody expects anything on it."""
        self.stored_heights[index] = 0

    def judged(self, index: int, round_number: int, record: bytes) -> None:
        """An honest node has judged a round: as the observer did."""
        self.checks += 1
        expected = self.observer.records[round_number]
        require(record == expected, f"node {index} judged round {round_number} otherwise: {record!r}, {expected!r}")

    def at_the_end(self, peers: Sequence[Any]) -> None:
        """What every honest node holds is what it should be: state by its root made anew, blocks, and the last head."""
        for peer in peers:
            if not peer.honest:
                continue
            store, tip = peer.disk.ledger, peer.ledger.chain.tip
            require(StateTree(store.items()).root == tip.state_root, f"node {peer.index}: state has another root")
            for height in range(1, tip.height + 1):
                block_id = block_hash(decode_header(store.header(height)))
                require(block_id == self.observer.decided[height], f"node {peer.index}: height {height} differs")

    # ------------------------------------------------------------------------------------------------------ parts

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
        require(unlocked, f"a prevote against the lock of round {lock[0]} on {lock[1]!r}: {vote}")

    def _polka(self, height: int, round_: int, block_id: BlockId) -> dict[bytes, bytes]:
        return self.prevoted.get((height, round_, block_id), {})

    def _exceeds_two_thirds(self, height: int, voters: set[bytes]) -> bool:
        members = self.observer.sets[height]
        power = sum(power for voter, power in members if voter in voters)
        return power * 3 > 2 * sum(power for _, power in members)

    def _is_signed(self, vote: Vote) -> bool:
        digest = keccak256(vote.sign_bytes(self.genesis.hash))
        return recovered(digest, vote.signature) == vote.voter
