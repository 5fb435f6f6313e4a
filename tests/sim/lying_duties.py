"""Home of what a liar's account sends: attestations of what it has not seen, and evidence against the honest."""

from __future__ import annotations

from dataclasses import replace

from chain.abi import encode_call
from chain.operations.learning_state import Round, RoundStatus
from chain.operations.learning_store import read_round, read_task
from consensus.codec import vote_fields
from consensus.types import Vote, pack
from learning.commitment import attestation_digest, record_hash
from tests.sim import plan as plans
from tests.sim import task
from tests.sim.clients import Wish
from tests.sim.ledger import Ledger
from tests.sim.transactions import signature_of
from tests.sim.validator import Duties

ACCUSATIONS_MAX = 6


class LyingDuties(Duties):
    """A liar's account, as far as its traits go; otherwise as honest as any."""

    def heard(self, vote: Vote) -> None:
        """An honest vote that may be turned against its voter."""
        lying = "false evidence" in self._world.plan.traits and vote.voter != plans.voter(self.index)
        if lying and len(self._heard) < ACCUSATIONS_MAX:
            self._heard.append(vote)

    _heard: list[Vote]

    def __init__(self, world: object, index: int) -> None:
        super().__init__(world, index)  # type: ignore[arg-type]
        self._heard = []

    def wishes(self, ledger: Ledger, height: int) -> list[Wish]:
        honest = super().wishes(ledger, height)
        traits = self._world.plan.traits
        if "wrong attestations" in traits:
            honest = [wish for wish in honest if wish.name[0] not in ("attest", "attestHeld", "settle")]
            honest += self._attestations(ledger, height)
        if "false evidence" in traits:
            honest += self._false_evidence()
        return honest

    # ----------------------------------------------------------------------------------------------- attestations

    def _attestations(self, ledger: Ledger, height: int) -> list[Wish]:
        state = read_task(ledger.store, task.TASK)
        assert state is not None
        wishes = []
        for number in (*state.pending, *state.unsettled):
            round_ = read_round(ledger.store, task.TASK, number)
            if round_ is not None and round_.status is RoundStatus.COMMITTING:
                wishes.append(self._hold_all(number, round_))
            if round_ is not None and round_.status is RoundStatus.JUDGED:
                wishes += self._attest(ledger, number, round_, height)
        return wishes

    def _hold_all(self, number: int, round_: Round) -> Wish:
        """It holds every blob, whether it exists or not."""
        count = len(round_.updates)
        bitmap = ((1 << count) - 1).to_bytes((count + 7) // 8, "little")
        calldata = encode_call("attestHeld", task.TASK, number, bitmap)
        return Wish(name=("hold all", number, count), calldata=calldata)

    def _attest(self, ledger: Ledger, number: int, round_: Round, height: int) -> list[Wish]:
        """A record that was made up, another's attestation as it stands, or a settlement that nobody attested."""
        made_up = task.secret("record", number)
        digest = attestation_digest(record=record_hash(made_up), validator=self.address)
        if round_.attestations and height % 2:
            digest = round_.attestations[0][1]
        wishes = [Wish(name=("lie", number, digest), calldata=encode_call("attest", task.TASK, number, digest))]
        own = ledger.records.get((task.TASK, number))
        if own is not None:
            wishes.append(Wish(name=("grab", number), calldata=encode_call("settle", task.TASK, number, own)))
        return wishes

    # --------------------------------------------------------------------------------------------------- evidence

    def _false_evidence(self) -> list[Wish]:
        """Two votes that are no equivocation, or not of the voter that they name."""
        wishes = []
        for place, vote in enumerate(self._heard):
            other = (vote, self._forged(vote), self._later(place, vote))[place % 3]
            evidence = pack([vote_fields(vote), vote_fields(other)])
            wishes.append(Wish(name=("accuse", place), calldata=encode_call("submitEvidence", evidence)))
        return wishes

    def _forged(self, vote: Vote) -> Vote:
        """A vote for something else in the same slot, with the liar's own signature."""
        other = replace(vote, block_id=task.secret("nothing") if vote.block_id is None else None)
        message = other.sign_bytes(self._world.genesis.hash)
        return replace(other, signature=signature_of(plans.vote_key(self.index), message))

    def _later(self, place: int, vote: Vote) -> Vote:
        """Another honest vote of the same voter: of another height, round or kind."""
        others = [each for each in self._heard if each.voter == vote.voter and each.slot != vote.slot]
        return others[place % len(others)] if others else vote
