"""Home of what a record must say beside a round's state, so that even a quorum can't pay outside the rules."""

from __future__ import annotations

from chain.operations.call import require
from chain.operations.learning_state import Round
from chain.operations.opened_task import OpenedTask
from learning.record import CustodianFate, CustodianOutcome, Record, UpdateFate, UpdateOutcome
from learning.round import RADIUS_MAX

LOSS_MAX = 2**25  # at which a sample's loss saturates, 2^-20 nat
_MEASURED_AS_ZERO = (
    "samples", "loss_before", "loss_momentum", "loss_after", "correct_before", "correct_after", "momentum", "value",
)  # fmt: skip


def check_record(record: Record, task: OpenedTask, round_number: int, round_: Round, streaks: tuple[int, ...]) -> None:
    """Reverts unless the record is of this round and within its rules. `streaks` are those of the updates' miners."""
    require(record.task == task.id, f"the record is of task {record.task.hex()}")
    require(record.round == round_number, f"the record is of round {record.round}")
    require(record.parent == task.state.head, f"the record's parent is not the head {task.state.head.hex()}")
    revealed = [(update, streak) for update, streak in zip(round_.updates, streaks, strict=True) if update.key]
    require(
        [line.id for line in record.updates] == [update.id for update, _ in revealed],
        "the record's updates are not those revealed, in commit order",
    )
    require(
        [line.custodian for line in record.custodians] == [opening.custodian for opening in round_.openings],
        "the record's custodians are not those that opened",
    )
    for line, (update, streak) in zip(record.updates, revealed, strict=True):
        require(line.streak <= streak + 1, f"update {line.id.hex()} has a streak of {line.streak} after {streak}")
        require(line.charge + line.cut <= update.bond, f"update {line.id.hex()} loses more than its bond")
    used = sum(line.fate is CustodianFate.USED for line in record.custodians)
    void = used < task.numbers.openings_minimum
    require(record.void == void, f"{used} shards are used, {task.numbers.openings_minimum} make a round")
    if void:
        _check_void(record, task)
    else:
        _check_measured(record, task, used)


def _check_void(record: Record, task: OpenedTask) -> None:
    nothing = all(getattr(record, name) == 0 for name in _MEASURED_AS_ZERO)
    require(nothing, "a void record measures nothing")
    require(record.head == record.parent and record.radius == task.state.radius, "a void record changes nothing")
    require(all(_is_void(line) for line in record.updates), "a void record judges no update")
    require(all(line.reward == 0 for line in record.custodians), "a void record pays nobody")


def _is_void(line: UpdateOutcome) -> bool:
    return line.fate is UpdateFate.VOID and not (line.contribution or line.reward or line.charge or line.cut)


def _check_measured(record: Record, task: OpenedTask, used: int) -> None:
    numbers, spec = task.numbers, task.spec
    require(record.samples == used * spec.shard_samples, f"{used} shards have no {record.samples} samples")
    losses = (record.loss_before, record.loss_momentum, record.loss_after)
    require(max(losses) <= LOSS_MAX, f"losses {losses} are above {LOSS_MAX}")
    correct = max(record.correct_before, record.correct_after)
    require(correct <= record.samples, f"{correct} of {record.samples} samples can't be right")
    require(
        task.state.radius_floor <= record.radius <= RADIUS_MAX,
        f"radius {record.radius} is not from {task.state.radius_floor} to {RADIUS_MAX}",
    )
    changed = record.accepted or record.momentum
    require(bool(changed) or record.head == record.parent, "the head changed without an accepted round or momentum")
    require(all(_is_judged(line, record) for line in record.updates), "an update's line contradicts its fate")
    pay = sum(line.reward for line in record.updates)
    require(pay <= numbers.round_cap, f"pay of {pay} is above the cap {numbers.round_cap}")
    shares = sum(line.reward for line in record.custodians)
    allowed = pay * numbers.custodian_share_milli // 1000
    require(
        shares <= allowed and all(_is_due(line) for line in record.custodians),
        f"custodians are due at most {allowed} together, and only those whose shard was used",
    )


def _is_judged(line: UpdateOutcome, record: Record) -> bool:
    if not -LOSS_MAX <= line.contribution <= LOSS_MAX or (line.reward and line.fate is not UpdateFate.ACCEPTED):
        return False
    match line.fate:
        case UpdateFate.ACCEPTED:
            return record.accepted and line.contribution > 0
        case UpdateFate.NOT_SIGNIFICANT:
            return not record.accepted and line.contribution > 0
        case UpdateFate.NO_GAIN:
            return line.contribution <= 0
        case UpdateFate.COPY:
            return not (line.contribution or line.charge or line.cut)
        case UpdateFate.MALFORMED:
            return not (line.contribution or line.charge)
        case _:
            return False


def _is_due(line: CustodianOutcome) -> bool:
    return line.reward == 0 or line.fate is CustodianFate.USED
