"""Random histories of the learning contract: whatever is called in whatever order, money and state add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chain.abi import FUNCTIONS, encode_call
from chain.contract import voters_of
from chain.operations.call import Revert
from chain.operations.clock import Phase
from chain.operations.learning_layouts import CUSTODIAN, MINER, ROUND, TASK, VALIDATOR, VOTE_KEY
from chain.operations.learning_state import Fate, RoundStatus
from chain.operations.learning_store import read_epoch, read_holders, read_members, read_validator, read_validators
from chain.operations.power import total_power
from chain.operations.voter_store import read_absences, read_vote_key
from chain.state import KIND_CUSTODIAN, KIND_MINER, KIND_ROUND, KIND_TASK, KIND_VALIDATOR, KIND_VOTE_KEY
from chain.types import COIN
from learning.record import CustodianFate, CustodianOutcome, Record, UpdateFate, UpdateOutcome
from tests.chain.operations.learning_world import (
    CUSTODIANS,
    MINERS,
    SAMPLES,
    VALIDATOR_KEYS,
    VALIDATORS,
    World,
    account,
    make_world,
    root,
)
from tests.chain.operations.test_evidence import twice

LAYOUTS = {KIND_TASK: TASK, KIND_ROUND: ROUND, KIND_CUSTODIAN: CUSTODIAN, KIND_MINER: MINER, KIND_VALIDATOR: VALIDATOR}
LAYOUTS[KIND_VOTE_KEY] = VOTE_KEY
ENDED = (RoundStatus.SETTLED, RoundStatus.VOID, RoundStatus.EMPTY)
ACTORS = (*MINERS, *CUSTODIANS, *VALIDATORS)
VOTE_KEYS = (bytes(20), account("a vote key"), *MINERS[:2], *VALIDATORS[:2])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "uint32": st.integers(0, 5) | st.just(2**32 - 1),
    "address": st.sampled_from(ACTORS),
    "bytes": st.binary(max_size=40),
}


def drawn_record(draw: Any, world: World, number: int) -> Record:
    """Any record that the rules allow for a judged round, paying and cutting as much as they let it."""
    state, round_, numbers = world.task_state, world.round(number), world.parameters
    revealed = [update for update in round_.updates if update.key]
    miners = [update.miner for update in revealed]
    fates = [
        CustodianFate.UNUSED if opening.custodian in miners else draw(st.sampled_from((1, 1, 1, 3)))
        for opening in round_.openings
    ]
    used = fates.count(CustodianFate.USED)
    void = used < numbers.openings_minimum
    accepted = not void and bool(revealed) and draw(st.sampled_from((True, True, False)))
    lines = tuple(drawn_line(draw, update, void, accepted, COIN * 50 // len(revealed)) for update in revealed)
    share = sum(line.reward for line in lines) * numbers.custodian_share_milli // 1000 // max(used, 1)
    return Record(
        task=world.task,
        round=number,
        parent=state.head,
        head=root(f"head {number} {draw(st.integers(0, 1))}") if accepted else state.head,
        void=void,
        accepted=accepted,
        samples=used * SAMPLES * (not void),
        loss_before=0 if void else draw(st.integers(0, 2**25)),
        loss_momentum=0,
        loss_after=0 if void else draw(st.integers(0, 2**25)),
        correct_before=0,
        correct_after=0,
        momentum=0,
        value=0,
        radius=state.radius if void else draw(st.integers(state.radius_floor, 2**40)),
        updates=lines,
        custodians=tuple(
            CustodianOutcome(
                custodian=opening.custodian,
                fate=CustodianFate(fate),
                reward=0 if void or fate != CustodianFate.USED else share,
            )
            for opening, fate in zip(round_.openings, fates, strict=True)
        ),
    )


def drawn_line(draw: Any, update: Any, void: bool, accepted: bool, reward_max: int) -> UpdateOutcome:
    if void:
        return UpdateOutcome(id=update.id, fate=UpdateFate.VOID, contribution=0, reward=0, charge=0, cut=0, streak=0)
    gained = UpdateFate.ACCEPTED if accepted else UpdateFate.NOT_SIGNIFICANT
    fate = draw(st.sampled_from((gained, gained, UpdateFate.NO_GAIN, UpdateFate.COPY, UpdateFate.MALFORMED)))
    measured = fate in (gained, UpdateFate.NO_GAIN)
    charge = draw(st.integers(0, update.bond)) if measured else 0
    cut = draw(st.integers(0, update.bond - charge)) if measured or fate is UpdateFate.MALFORMED else 0
    contribution = draw(st.integers(1, 2**25)) if fate is gained else -5 * measured
    reward = reward_max - draw(st.integers(0, reward_max)) if fate is UpdateFate.ACCEPTED else 0
    return UpdateOutcome(
        id=update.id, fate=fate, contribution=contribution, reward=reward, charge=charge, cut=cut, streak=0
    )


class LearningHistory(RuleBasedStateMachine):
    """Miners, custodians and validators do what they like; `World` counts the money after each call and block."""

    world: World
    known: dict[bytes, tuple[bytes, str]]  # sealed root -> miner and name of its key

    @initialize(grace=st.integers(1, 2), epoch=st.integers(3, 15))
    def found(self, grace: int, epoch: int) -> None:
        settings_ = {"cycle_blocks": 12, "updates_per_round": 5, "settle_grace_cycles": grace, "copy_window_rounds": 2}
        parameters = {"epoch_blocks": epoch, "unbonding_blocks": 12, "evidence_blocks_max": 6}
        self.world = make_world(parameters=parameters | {"validator_bond_minimum": COIN}, settings=settings_, rounds=3)
        for each in (*CUSTODIANS, *VALIDATORS):
            self.world.give(each, 100 * COIN)
        self.world.go(self.world.clock.start + 2)
        self.known = {}

    @property
    def rounds(self) -> list[int]:
        return [*self.world.task_state.unsettled, *self.world.task_state.pending]

    def attempt(self, sender: bytes, name: str, *arguments: Any, value: int = 0) -> bool:
        before = dict(self.world.values)
        try:
            self.world.call(sender, name, *arguments, value=value)
        except Revert:
            assert self.world.values == before
            return False
        return True

    @rule(miner=st.sampled_from((*MINERS, *CUSTODIANS)), bond=st.integers(0, 8), name=st.integers(0, 20))
    def commit(self, miner: bytes, bond: int, name: int) -> None:
        before = self.world.balance(miner)
        try:
            sealed = self.world.commit_update(miner, f"key {name}", bond=bond * COIN)
        except (Revert, AssertionError):  # no coins left
            assert self.world.balance(miner) == before
            return
        self.known[sealed] = (miner, f"key {name}")

    @rule(validator=st.sampled_from(VALIDATORS), bits=st.integers(0, 63), number=st.integers(0, 4))
    def hold(self, validator: bytes, bits: int, number: int) -> None:
        self.attempt(validator, "attestHeld", self.world.task, number, bytes([bits]))

    @precondition(lambda self: self.world.task_state.pending)
    @rule()
    def hold_all(self) -> None:
        number = self.world.task_state.pending[-1]
        if self.world.round(number).status is RoundStatus.COMMITTING:
            self._hold(number)

    def _hold(self, number: int) -> None:
        self.world.hold(number, validators=tuple(member.account for member in read_members(self.world)))

    @precondition(lambda self: self.rounds)
    @rule(data=st.data())
    def reveal(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.rounds))
        update = data.draw(st.sampled_from(self.world.round(number).updates))
        name = self.known.get(update.sealed_root, (b"", "?"))[1]
        done = self.attempt(update.miner, "revealUpdate", self.world.task, number, update.sealed_root, root(name))
        assert not done or self.world.clock.phase_of(self.world.height) is Phase.REVEAL

    @precondition(lambda self: self.rounds)
    @rule(custodian=st.sampled_from(CUSTODIANS), data=st.data())
    def open(self, custodian: bytes, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.rounds))
        opened = [each.custodian for each in self.world.round(number).openings]
        if self.world.round(number).status is RoundStatus.OPENING and custodian not in opened:
            self.world.open_shard(custodian, number)

    @precondition(lambda self: self.world.task_state.unsettled)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self._settle(self.world.task_state.unsettled[0], data)

    def _settle(self, number: int, data: st.DataObject) -> None:
        record = drawn_record(data.draw, self.world, number).encode()
        voting = tuple(account for account, _ in read_validators(self.world))
        self.world.attest(number, record, voting)
        self.world.call(MINERS[0], "settle", self.world.task, number, record)
        assert self.world.round(number).status in ENDED

    @rule(
        name=st.sampled_from(sorted(FUNCTIONS)), sender=st.sampled_from(ACTORS), value=st.integers(0, 3), data=st.data()
    )
    def call_anything(self, name: str, sender: bytes, value: int, data: st.DataObject) -> None:
        known = st.sampled_from((self.world.task, bytes(32), *self.known))
        arguments = [data.draw(VALUES.get(each.type, known)) for each in FUNCTIONS[name].inputs]
        if self.world.balance(sender) < value:
            return
        before = dict(self.world.values)
        try:
            self.world.raw_call(sender, encode_call(name, *arguments), value)
        except Revert:
            assert self.world.values == before

    @rule()
    def advance(self) -> None:
        self.world.end_block()

    # ------------------------------------------------------------------------------------------------ validators

    @rule(sender=st.sampled_from(ACTORS), vote_key=st.sampled_from(VOTE_KEYS), bond=st.sampled_from((0, 1, 5)))
    def register(self, sender: bytes, vote_key: bytes, bond: int) -> None:
        if self.world.balance(sender) >= bond * COIN:
            self.attempt(sender, "registerValidator", vote_key, value=bond * COIN)

    @rule(sender=st.sampled_from(ACTORS), name=st.sampled_from(("unbond", "withdraw", "withdraw")))
    def leave(self, sender: bytes, name: str) -> None:
        self.attempt(sender, name)

    @rule(key=st.sampled_from(VALIDATOR_KEYS), age=st.integers(-1, 8), sender=st.sampled_from(ACTORS))
    def accuse(self, key: bytes, age: int, sender: bytes) -> None:
        height = max(0, self.world.height - age)
        done = self.attempt(sender, "submitEvidence", twice(key, height))
        assert not done or 0 <= self.world.height - height <= 6

    @rule(signing=st.none() | st.sets(st.sampled_from(VOTE_KEYS + ACTORS)))
    def sign(self, signing: set[bytes] | None) -> None:
        self.world.signers = None if signing is None else frozenset(signing)

    def do_what_is_due_and_go_to_the_next_phase(self, data: st.DataObject, share: int) -> None:
        """Most of what honest parties would do at this height; `share` of 9 parts of it left undone."""
        does = st.integers(0, 8).map(lambda number: number <= 8 - share)
        phase = self.world.clock.phase_of(self.world.height)
        if phase is Phase.OVER:
            return
        if phase is Phase.COMMIT:
            for miner in (*MINERS[:2], CUSTODIANS[0]):
                if data.draw(does):
                    self.commit(miner, data.draw(st.integers(2, 5)), data.draw(st.integers(0, 20)))
        for number in self.rounds:
            self._do_round(number, phase, lambda: data.draw(does), data)
        while self.world.clock.phase_of(self.world.height) is phase:
            self.world.end_block()

    # Under several names, so that histories get far beside all that is done at random.
    _often = rule(data=st.data(), share=st.integers(0, 2))
    go_on = _often(do_what_is_due_and_go_to_the_next_phase)
    and_on = _often(do_what_is_due_and_go_to_the_next_phase)
    and_further = _often(do_what_is_due_and_go_to_the_next_phase)

    def _do_round(self, number: int, phase: Phase, does: Callable[[], bool], data: st.DataObject) -> None:
        round_ = self.world.round(number)
        if round_.status is RoundStatus.COMMITTING and does():
            self._hold(number)
        if round_.status is RoundStatus.HELD:
            for update in round_.updates:
                if does() and update.fate is Fate.PENDING and not update.key:
                    name = self.known[update.sealed_root][1]
                    self.world.reveal(update.miner, number, update.sealed_root, name)
        if round_.status is RoundStatus.OPENING:
            for custodian in CUSTODIANS:
                if does() and custodian not in [each.custodian for each in round_.openings]:
                    self.world.open_shard(custodian, number)
        if round_.status is RoundStatus.JUDGED and does() and self.world.task_state.unsettled[0] == number:
            self._settle(number, data)

    @invariant()
    def every_value_has_one_encoding(self) -> None:
        for key, value in self.world.values.items():
            layout: Any = LAYOUTS.get(key[:1])
            assert layout is None or layout.encode(layout.decode(value)) == value

    @invariant()
    def what_ended_is_paid_out_and_what_waits_is_bounded(self) -> None:
        state = self.world.task_state
        assert len(state.pending) <= 2
        assert len(state.unsettled) <= 3
        assert all(update.round >= self.world.clock.cycle_of(self.world.height) - 6 for update in state.recent)
        for number in range(4):
            round_ = self.world.get(b"r" + self.world.task + number.to_bytes(4, "big"))
            if round_ is not None:
                decoded = ROUND.decode(round_)
                ended = decoded.status in ENDED
                assert (number in self.rounds) != ended
                assert not ended or all(update.fate is not Fate.PENDING for update in decoded.updates)

    @invariant()
    def power_is_listed_and_summed(self) -> None:
        holders = read_holders(self.world)
        assert list(holders) == sorted(holders)
        assert sorted(key[1:] for key in self.world.values if key[:1] == KIND_VALIDATOR) == list(holders)
        epoch = read_epoch(self.world)
        assert epoch.granted == sum(read_validator(self.world, address).granted for address in holders)
        barred = any(read_validator(self.world, address).barred for address in holders)
        assert total_power(self.world) == epoch.power or (barred and total_power(self.world) < epoch.power)

    @invariant()
    def who_votes_is_one_voter_and_what_is_barred_has_nothing(self) -> None:
        members, voters = read_members(self.world), voters_of(self.world)
        assert members
        assert len({address for address, _ in voters}) == len(members)
        assert list(voters) == sorted(voters)
        assert [member.account for member in members] == sorted(member.account for member in members)
        assert len(read_absences(self.world)) in (0, len(members))
        used = set()
        for address in read_holders(self.world):
            each = read_validator(self.world, address)
            assert not each.barred or (each.registered, each.power, each.granted) == (0, 0, 0)
            assert not each.withdraw_at or (each.bond and not each.registered)
            if each.registered:
                assert each.vote_address not in used
                used.add(each.vote_address)
                holder = read_vote_key(self.world, each.vote_address)
                assert each.vote_address == address or (holder and holder.account == address and not holder.until)


LearningHistory.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_whatever_is_called_money_and_state_add_up = LearningHistory.TestCase
