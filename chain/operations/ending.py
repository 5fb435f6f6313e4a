"""Home of what happens to bonds, fees and copies when a round ends: settled, void or empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from chain.abi import encode_event
from chain.operations.committing import without_pending
from chain.operations.learning_state import (
    Fate,
    PenaltyReason,
    RecentUpdate,
    Round,
    RoundStatus,
    TaskState,
    Update,
)
from chain.operations.learning_store import (
    read_custodian,
    read_miner,
    read_round,
    write_custodian,
    write_miner,
    write_round,
    write_task,
)
from chain.operations.opened_task import OpenedTask, expected_custodians
from chain.operations.treasury import burn, mint, release
from chain.state import WorkingState
from chain.types import Log

MISSED_OPENING_PART = 2  # of the trailing mean pay of a round, one part in so many


def end_empty(state: WorkingState, task: OpenedTask, round_number: int, round_: Round, height: int) -> None:
    """No held update was revealed: nothing was opened. Those who did not reveal are punished here."""
    updates, _ = close_updates(state, task, round_number, round_.updates)
    ended = replace(round_, status=RoundStatus.EMPTY, updates=updates, ended_at=height)
    write_round(state, task.id, round_number, ended)
    write_task(state, task.id, without_pending(task.state, round_number))


def end_unsettled(state: WorkingState, task: OpenedTask, height: int) -> TaskState:
    """The oldest judged round was not settled in time: it is void, but what the chain itself saw is still punished."""
    round_number = task.state.unsettled[0]
    round_ = read_round(state, task.id, round_number)
    assert round_ is not None, round_number
    assert round_.status is RoundStatus.JUDGED, round_.status
    void = tuple(replace(item, fate=Fate.VOID) if item.key else item for item in round_.updates)
    updates, _ = close_updates(state, task, round_number, void)
    punish_custodians(state, task, round_number, missed=missed_openings(state, task, round_), malformed=())
    ended = replace(round_, status=RoundStatus.VOID, updates=updates, ended_at=height)
    write_round(state, task.id, round_number, ended)
    after = task_after_round(task, round_number, round_)
    write_task(state, task.id, after)
    return after


def close_updates(
    state: WorkingState, task: OpenedTask, round_number: int, updates: Iterable[Update]
) -> tuple[tuple[Update, ...], tuple[Log, ...]]:
    """Pay out every update of a round whose fate is known, and sum up what each miner did.

    Fees: of unrevealed updates burnt, of void ones returned; those of measured ones are the evaluators', and have left
    the contract's hands when this is called.
    """
    closed: list[Update] = []
    logs: list[Log] = []
    for update in updates:
        assert update.fate is not Fate.PENDING, update
        if update.fate is Fate.NOT_REVEALED:
            cut = update.bond * task.numbers.malformed_cut_milli // 1000
            update = replace(update, cut=cut)
            burn(state, update.fee)
        if update.fate is not Fate.NOT_HELD:
            _pay_out(state, update)
        closed.append(update)
        logs.extend(_logs_of(task, round_number, update))
    _add_totals(state, task, closed)
    return tuple(closed), tuple(logs)


def _pay_out(state: WorkingState, update: Update) -> None:
    """The bond goes back less charge and cut, with the reward; a charge is so paid from the reward first."""
    lost = update.charge + update.cut
    assert lost <= update.bond, update
    burn(state, lost)
    release(state, update.miner, update.bond - lost + (update.fee if update.fate is Fate.VOID else 0))
    mint(state, update.miner, update.reward)


_PENALTY_OF_FATE = {Fate.NOT_REVEALED: PenaltyReason.NOT_REVEALED, Fate.MALFORMED: PenaltyReason.MALFORMED}


def _logs_of(task: OpenedTask, round_number: int, update: Update) -> Iterable[Log]:
    if update.reward:
        yield encode_event("Rewarded", task.id, update.miner, round_number, update.contribution, update.reward)
    if update.cut:
        reason = _PENALTY_OF_FATE.get(update.fate, PenaltyReason.HARMFUL)
        yield encode_event("Penalised", task.id, update.miner, round_number, reason, update.cut)


def _add_totals(state: WorkingState, task: OpenedTask, updates: Iterable[Update]) -> None:
    by_miner: dict[bytes, list[Update]] = {}
    for update in updates:
        if update.fate is not Fate.NOT_HELD:
            by_miner.setdefault(update.miner, []).append(update)
    for address, own in by_miner.items():
        miner = read_miner(state, task.id, address)
        summed = replace(
            miner,
            contribution=miner.contribution + sum(update.contribution for update in own),
            rewarded=miner.rewarded + sum(update.reward for update in own),
            charged=miner.charged + sum(update.charge for update in own),
            cut=miner.cut + sum(update.cut for update in own),
            rounds=miner.rounds + 1,
        )
        write_miner(state, task.id, address, summed)


def missed_openings(state: WorkingState, task: OpenedTask, round_: Round) -> tuple[bytes, ...]:
    """The custodians that had a shard for a judged round and did not open it."""
    opened = [opening.custodian for opening in round_.openings]
    return tuple(each for each in expected_custodians(state, task, round_.ordinal) if each not in opened)


def punish_custodians(
    state: WorkingState,
    task: OpenedTask,
    round_number: int,
    *,
    missed: tuple[bytes, ...],
    malformed: tuple[bytes, ...],
) -> tuple[Log, ...]:
    """Cut the bonds of custodians that gave a round nothing to judge with: no key, or a shard that is none."""
    cut = max(task.numbers.missed_opening_cut_minimum, task.state.mean_pay // MISSED_OPENING_PART)
    reasons = dict.fromkeys(missed, PenaltyReason.MISSED_OPENING)
    reasons |= dict.fromkeys(malformed, PenaltyReason.MALFORMED_SHARD)
    logs = []
    for address in sorted(reasons):
        custodian = read_custodian(state, task.id, address)
        assert custodian is not None, address.hex()
        lost = min(cut, custodian.bond)
        burn(state, lost)
        write_custodian(state, task.id, address, replace(custodian, bond=custodian.bond - lost))
        logs.append(encode_event("Penalised", task.id, address, round_number, reasons[address], lost))
    return tuple(logs)


def task_after_round(task: OpenedTask, round_number: int, round_: Round) -> TaskState:
    """The task without the round among the unsettled ones, and with its revealed updates among the recent ones."""
    oldest = round_number + 1 - task.numbers.copy_window_rounds
    revealed = tuple(
        RecentUpdate(round=round_number, miner=update.miner, sealed_root=update.sealed_root, key=update.key)
        for update in round_.updates
        if update.key
    )
    recent = tuple(each for each in (*task.state.recent, *revealed) if each.round >= oldest)
    unsettled = tuple(number for number in task.state.unsettled if number != round_number)
    return replace(task.state, recent=recent, unsettled=unsettled)
