"""Home of a round's second cycle: keys are revealed, then custodians open their shards, and the round is judged."""

from __future__ import annotations

from dataclasses import replace

from chain.abi import encode_event
from chain.operations.call import CallContext, CallOutcome, Revert, require
from chain.operations.committing import without_pending
from chain.operations.ending import end_empty
from chain.operations.learning_state import Custodian, Fate, Opening, Round, RoundStatus, UpdateLocation
from chain.operations.learning_store import (
    read_custodian,
    read_round,
    write_custodian,
    write_round,
    write_task,
    write_update_location,
)
from chain.operations.opened_task import OpenedTask, open_task, round_of
from chain.state import WorkingState
from learning.commitment import key_commitment
from learning.shards import verify_shard_key


def reveal_update(
    state: WorkingState, context: CallContext, task_id: bytes, round_number: int, sealed_root: bytes, key: bytes
) -> CallOutcome:
    """`revealUpdate`: the miner of a held update gives the key that it committed to."""
    task = open_task(state, context, task_id)
    require(
        task.clock.accepts_reveals(round_number, context.height),
        f"keys of round {round_number} are not taken at height {context.height}: "
        f"they are in the first {task.clock.reveal} blocks from {task.clock.start_of(round_number + 1)} on",
    )
    round_ = round_of(state, task, round_number)
    place = _place_of(round_, context.sender, sealed_root)
    update = round_.updates[place]
    require(update.fate is not Fate.NOT_HELD, "this update is left out, as validators did not hold its blob in time")
    require(not update.key, "this update is already revealed")
    commitment = key_commitment(key=key, miner=context.sender, task=task.id, round_number=round_number)
    require(commitment == update.key_hash, "the key is not the one that was committed to")
    revealed = replace(update, key=key, revealed_at=context.height)
    updates = (*round_.updates[:place], revealed, *round_.updates[place + 1 :])
    write_round(state, task.id, round_number, replace(round_, updates=updates))
    # Whoever copied the root has no key for it, so from here on the root is its author's.
    write_update_location(state, sealed_root, UpdateLocation(task=task.id, round=round_number, place=place))
    return CallOutcome(logs=(encode_event("UpdateRevealed", task.id, update.miner, round_number, sealed_root),))


def _place_of(round_: Round, miner: bytes, sealed_root: bytes) -> int:
    for place, update in enumerate(round_.updates):
        if update.miner == miner and update.sealed_root == sealed_root:
            return place
    raise Revert(f"this account committed no update with sealed root {sealed_root.hex()} in this round")


def close_reveals(state: WorkingState, task: OpenedTask, round_number: int, height: int) -> None:
    """The end of reveal: with a revealed update the shards are to be opened, without one the round is empty."""
    round_ = read_round(state, task.id, round_number)
    assert round_ is not None, round_number
    assert round_.status is RoundStatus.HELD, round_.status
    updates = tuple(
        replace(update, fate=Fate.NOT_REVEALED) if update.fate is Fate.PENDING and not update.key else update
        for update in round_.updates
    )
    after = replace(round_, updates=updates)
    if any(update.key for update in updates):
        opening = replace(after, status=RoundStatus.OPENING, ordinal=task.state.judged)
        write_round(state, task.id, round_number, opening)
    else:
        end_empty(state, task, round_number, after, height)


def open_shard(state: WorkingState, context: CallContext, task_id: bytes, round_number: int, key: bytes) -> CallOutcome:
    """`openShard`: a custodian gives the key of its shard for this round."""
    task = open_task(state, context, task_id)
    custodian = read_custodian(state, task.id, context.sender)
    if custodian is None:
        raise Revert("this account is no custodian of the task")
    require(
        task.clock.accepts_openings(round_number, context.height),
        f"shards for round {round_number} are not opened at height {context.height}: they are in the {task.clock.open} "
        f"blocks from {task.clock.start_of(round_number + 1) + task.clock.reveal} on",
    )
    round_ = round_of(state, task, round_number)
    require(round_.status is RoundStatus.OPENING, f"round {round_number} opens no shards: it is {round_.status.name}")
    require(
        all(opening.custodian != context.sender for opening in round_.openings),
        "this custodian has already opened its shard for this round",
    )
    index = _checked_index(custodian, round_.ordinal, key)
    opening = Opening(custodian=context.sender, index=index, shards_root=custodian.shards_root, key=key)
    openings = tuple(sorted((*round_.openings, opening), key=lambda each: each.custodian))
    write_round(state, task.id, round_number, replace(round_, openings=openings))
    write_custodian(state, task.id, context.sender, replace(custodian, opened=index + 1, last_key=key))
    return CallOutcome(logs=(encode_event("ShardOpened", task.id, context.sender, round_number),))


def _checked_index(custodian: Custodian, ordinal: int, key: bytes) -> int:
    """The shard for the round of this ordinal, if `key` is its key: it must hash to the last one that was opened."""
    index = custodian.index_at(ordinal)
    if index is None:
        raise Revert(f"this custodian's {custodian.shards} shards are used up")
    gap = index + 1 - custodian.opened
    require(verify_shard_key(custodian.last_key, gap, key), f"the key is not that of shard {index}")
    return index


def close_openings(state: WorkingState, task: OpenedTask, round_number: int, height: int) -> None:
    """The end of open: the round is judged, and waits for validators to attest its record."""
    round_ = read_round(state, task.id, round_number)
    assert round_ is not None, round_number
    assert round_.status is RoundStatus.OPENING, round_.status
    write_round(state, task.id, round_number, replace(round_, status=RoundStatus.JUDGED, judged_at=height))
    after = replace(
        without_pending(task.state, round_number),
        unsettled=(*task.state.unsettled, round_number),
        judged=task.state.judged + 1,
    )
    write_task(state, task.id, after)
