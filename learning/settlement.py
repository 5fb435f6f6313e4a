"""Home of `settle`: how one round of a task is judged, step by step as docs/settlement.md numbers them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from learning.commitment import Int32Array, Int64Array, weights_root
from learning.copies import find_copies
from learning.judging import Candidate, Game, Panel, choose_momentum, next_radius, play, propose
from learning.payment import Pay, after_harm, is_harmful, malformed_cut, no_pay, pay
from learning.record import CustodianFate, CustodianOutcome, Record, UpdateFate, UpdateOutcome
from learning.round import Evaluator, OpenedShard, PastUpdate, RevealedUpdate, Settlement, SettlementInput
from learning.rules import InvalidRules, Rules
from learning.sealing import SEAL_OVERHEAD_BYTES, InvalidSeal, open_shard, open_update
from learning.shards import InvalidShard, Shard, decode_shard
from learning.steps import bond_weight, clip, norm, rebase, weighted_median, weights_of
from learning.updates import InvalidUpdate, decode_update, update_bytes_max

__all__ = [
    "Evaluator",
    "InvalidRules",
    "OpenedShard",
    "PastUpdate",
    "RevealedUpdate",
    "Rules",
    "Settlement",
    "SettlementInput",
    "settle",
]


def settle(given: SettlementInput, evaluator: Evaluator) -> Settlement:
    """Judge a round: who contributed what, what the head becomes, who is paid and who is cut.

    Pure and exact: equal inputs give equal bits anywhere. What miners and custodians sent wrong becomes a fate in
    the record; nothing that they can send raises.
    """
    opened = [_judge_shard(given, shard) for shard in sorted(given.shards, key=lambda shard: shard.custodian)]
    entries = [_decode(given, update) for update in sorted(given.updates, key=lambda update: update.place)]
    used = tuple(shard.content for shard in opened if shard.content is not None)
    if len(used) < given.rules.minimum_openings:
        return _void(given, entries, opened)
    entries = _mark_copies(given, entries)
    return _judge(given, entries, opened, Panel.of(evaluator, used), used)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Opened:
    """An opened shard after step 1; `content` is there if it is used."""

    custodian: bytes
    fate: CustodianFate
    content: Shard | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entry:
    """A revealed update after steps 2 and 3; `fate` is there if it is not valid."""

    update: RevealedUpdate
    decoded: PastUpdate | None
    fate: UpdateFate | None


def _judge_shard(given: SettlementInput, opened: OpenedShard) -> _Opened:
    """Step 1, one shard. Shards of accounts that revealed are not used, as they knew this one."""
    rules = given.rules
    try:
        plaintext = open_shard(
            opened.sealed, key=opened.key, task=given.task, custodian=opened.custodian, index=opened.index
        )
        content = decode_shard(
            plaintext,
            samples=rules.shard_samples,
            width=rules.architecture.input_width,
            classes=rules.architecture.classes,
        )
    except (InvalidSeal, InvalidShard):
        return _Opened(custodian=opened.custodian, fate=CustodianFate.MALFORMED, content=None)
    if any(update.miner == opened.custodian for update in given.updates):
        return _Opened(custodian=opened.custodian, fate=CustodianFate.UNUSED, content=None)
    return _Opened(custodian=opened.custodian, fate=CustodianFate.USED, content=content)


def _decode(given: SettlementInput, update: RevealedUpdate) -> _Entry:
    """Step 2, one update."""
    parameters = given.rules.architecture.parameters
    try:
        if len(update.sealed) > update_bytes_max(parameters) + SEAL_OVERHEAD_BYTES:
            raise InvalidUpdate(f"{len(update.sealed)} sealed bytes are too many for {parameters} parameters")
        plaintext = open_update(
            update.sealed, key=update.key, task=given.task, round_number=given.round, miner=update.miner
        )
        delta = decode_update(plaintext, parameters)
    except (InvalidSeal, InvalidUpdate):
        return _Entry(update=update, decoded=None, fate=UpdateFate.MALFORMED)
    decoded = PastUpdate(miner=update.miner, delta=delta.astype(np.int32))
    return _Entry(update=update, decoded=decoded, fate=None)


def _past_updates(entries: list[_Entry]) -> tuple[PastUpdate, ...]:
    return tuple(entry.decoded for entry in entries if entry.decoded is not None)


def _mark_copies(given: SettlementInput, entries: list[_Entry]) -> list[_Entry]:
    """Step 3."""
    copies = iter(find_copies(_past_updates(entries), given.recent))
    return [
        replace(entry, fate=UpdateFate.COPY) if entry.decoded is not None and next(copies) else entry
        for entry in entries
    ]


def _judge(
    given: SettlementInput, entries: list[_Entry], opened: list[_Opened], panel: Panel, used: tuple[Shard, ...]
) -> Settlement:
    """Steps 4 to 15 of a round that is not void."""
    rules, head = given.rules, given.head
    valid = [entry for entry in entries if entry.fate is None]
    momentum, base, game = _play(given, valid, panel)
    candidate = propose(panel, base, game, rules.significance_milli)
    accepted = candidate.significant

    total_before, total_base = panel.total(head), panel.total(base)
    fallback = base if total_base <= total_before else head
    after = candidate.head if accepted else fallback
    radius = next_radius(panel, base, game, given.radius, given.radius_floor)
    paid = _pay(rules, valid, game, candidate, total_base // panel.samples, len(used))
    record = Record(
        task=given.task,
        round=given.round,
        parent=weights_root(rules.architecture, head),
        head=weights_root(rules.architecture, after),
        void=False,
        accepted=accepted,
        samples=panel.samples,
        loss_before=total_before // panel.samples,
        loss_momentum=total_base // panel.samples,
        loss_after=panel.total(after) // panel.samples,
        correct_before=panel.correct(head),
        correct_after=panel.correct(after),
        momentum=momentum,
        value=candidate.value // rules.shard_samples,
        radius=radius,
        updates=_update_outcomes(rules, entries, game, paid, accepted),
        custodians=_custodian_outcomes(opened, paid.custodian),
    )
    return Settlement(
        record=record,
        head=after,
        step=after - head if accepted else given.step,
        previous=used,
        radius=radius,
        decoded=_past_updates(entries),
    )


def _play(given: SettlementInput, valid: list[_Entry], panel: Panel) -> tuple[int, Int32Array, Game]:
    """Steps 4 to 9: the quarters of momentum, the head with it, and the game played on that."""
    momentum, base = 0, given.head
    if given.step is not None and given.previous:
        momentum, base = choose_momentum(Panel.of(panel.evaluator, given.previous), given.head, given.step)
    weights = weights_of([_weight(given.rules, entry) for entry in valid])
    scaled = _weighted_steps(given, valid, base, weights)
    return momentum, base, play(panel, base, scaled, weights, given.beacon)


def _weight(rules: Rules, entry: _Entry) -> int:
    return bond_weight(entry.update.bond, rules.bond_minimum)


def _weighted_steps(given: SettlementInput, valid: list[_Entry], base: Int32Array, weights: list[int]) -> Int64Array:
    """Steps 5 to 7: `u_i * D_i` int64[n, P]. Steps are made twice, as all of them at once would take much memory."""
    weighted = np.zeros((len(valid), len(base)), dtype=np.int64)
    if not valid:
        return weighted
    norms = [norm(_rebased(given, entry)) for entry in valid]
    median = weighted_median(norms, [_weight(given.rules, entry) for entry in valid])
    limit = min(given.radius, median)
    for row, entry, length, weight in zip(weighted, valid, norms, weights, strict=True):
        row[:] = weight * clip(_rebased(given, entry), length, limit, base)
    return weighted


def _rebased(given: SettlementInput, entry: _Entry) -> Int64Array:
    """Step 5 for one valid update."""
    assert entry.decoded is not None
    return rebase(entry.decoded.delta.astype(np.int64), given.head, entry.update.base)


def _pay(rules: Rules, valid: list[_Entry], game: Game, candidate: Candidate, loss: int, custodians: int) -> Pay:
    """Step 12."""
    if not candidate.significant:
        return no_pay(len(valid))
    return pay(
        rules,
        contributions=game.contributions,
        weights=game.weights,
        bonds=[entry.update.bond for entry in valid],
        loss=loss,
        value=candidate.value // rules.shard_samples,
        custodians=custodians,
    )


def _update_outcomes(
    rules: Rules, entries: list[_Entry], game: Game, paid: Pay, accepted: bool
) -> tuple[UpdateOutcome, ...]:
    """Steps 13 and 14, in commit order."""
    players = iter(range(len(game.weights)))
    return tuple(
        _player_outcome(rules, entry.update, game, paid, accepted, next(players))
        if entry.fate is None
        else _excluded_outcome(rules, entry.update, entry.fate)
        for entry in entries
    )


def _player_outcome(
    rules: Rules, update: RevealedUpdate, game: Game, paid: Pay, accepted: bool, player: int
) -> UpdateOutcome:
    helped = UpdateFate.ACCEPTED if accepted else UpdateFate.NOT_SIGNIFICANT
    harmful = is_harmful(rules, game.paired[player])
    charge = paid.charges[player]
    streak, cut = after_harm(rules, harmful=harmful, streak=update.streak, bond=update.bond, charge=charge)
    return UpdateOutcome(
        id=update.id,
        fate=helped if game.contributions[player] > 0 else UpdateFate.NO_GAIN,
        contribution=game.contributions[player],
        reward=paid.rewards[player],
        charge=charge,
        cut=cut,
        streak=streak,
    )


def _excluded_outcome(rules: Rules, update: RevealedUpdate, fate: UpdateFate) -> UpdateOutcome:
    cut = malformed_cut(rules, update.bond) if fate is UpdateFate.MALFORMED else 0
    return UpdateOutcome(id=update.id, fate=fate, contribution=0, reward=0, charge=0, cut=cut, streak=update.streak)


def _custodian_outcomes(opened: list[_Opened], share: int) -> tuple[CustodianOutcome, ...]:
    return tuple(
        CustodianOutcome(
            custodian=shard.custodian,
            fate=shard.fate,
            reward=share if shard.fate is CustodianFate.USED else 0,
        )
        for shard in opened
    )


def _void(given: SettlementInput, entries: list[_Entry], opened: list[_Opened]) -> Settlement:
    """A round with too few shards: nothing was measured, so nothing changes and nobody gains or loses."""
    root = weights_root(given.rules.architecture, given.head)
    record = Record(
        task=given.task,
        round=given.round,
        parent=root,
        head=root,
        void=True,
        accepted=False,
        samples=0,
        loss_before=0,
        loss_momentum=0,
        loss_after=0,
        correct_before=0,
        correct_after=0,
        momentum=0,
        value=0,
        radius=given.radius,
        updates=tuple(_excluded_outcome(given.rules, entry.update, UpdateFate.VOID) for entry in entries),
        custodians=_custodian_outcomes(opened, 0),
    )
    return Settlement(
        record=record,
        head=given.head,
        step=given.step,
        previous=given.previous,
        radius=given.radius,
        decoded=_past_updates(entries),
    )
