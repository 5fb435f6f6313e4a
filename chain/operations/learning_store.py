"""Home of where the learning contract's values stand in state: their flat keys, reading and writing them."""

from __future__ import annotations

from functools import lru_cache

from chain.codec import pack, unpack
from chain.operations.learning_layouts import (
    CUSTODIAN,
    EPOCH,
    MEMBER,
    MINER,
    ROUND,
    SUPPLY,
    TASK,
    TASK_ENTRY,
    TASKS_MAX,
    UPDATE_LOCATION,
    VALIDATOR,
    VALIDATORS_MAX,
)
from chain.operations.learning_state import (
    Custodian,
    Epoch,
    Member,
    Miner,
    Round,
    Supply,
    TaskEntry,
    TaskState,
    UpdateLocation,
    Validator,
)
from chain.operations.schema import ADDRESS, HASH, VALUE_BYTES_MAX, array
from chain.state import (
    KIND_CUSTODIAN,
    KIND_GLOBAL,
    KIND_MINER,
    KIND_ROUND,
    KIND_TASK,
    KIND_TASK_SPEC,
    KIND_UPDATE,
    KIND_VALIDATOR,
    View,
    WorkingState,
)
from learning.encoding import u32

TASKS_KEY = KIND_GLOBAL + b"tasks"  # every task in order of its ordinal
HEADS_KEY = KIND_GLOBAL + b"heads"  # their newest heads, in the same order
VALIDATORS_KEY = KIND_GLOBAL + b"validators"  # who votes on the next block, by account
EPOCH_KEY = KIND_GLOBAL + b"epoch"
SUPPLY_KEY = KIND_GLOBAL + b"supply"
HOLDERS_PREFIX = KIND_GLOBAL + b"holders"  # and the first byte of an address: accounts with a validator value
HOLDERS_MAX = 1 << 16  # of one first byte

_decode_task = lru_cache(maxsize=128)(TASK.decode)
_decode_round = lru_cache(maxsize=64)(ROUND.decode)
_ENTRIES = array(TASK_ENTRY.kind, TASKS_MAX)
_HEADS = array(HASH, TASKS_MAX)
_MEMBERS = array(MEMBER.kind, VALIDATORS_MAX)
_HOLDERS = array(ADDRESS, HOLDERS_MAX)


def spec_key(task: bytes) -> bytes:
    return KIND_TASK_SPEC + task


def task_key(task: bytes) -> bytes:
    return KIND_TASK + task


def round_key(task: bytes, round_number: int) -> bytes:
    return KIND_ROUND + task + u32(round_number)


def update_key(sealed_root: bytes) -> bytes:
    return KIND_UPDATE + sealed_root


def custodian_key(task: bytes, address: bytes) -> bytes:
    return KIND_CUSTODIAN + task + address


def miner_key(task: bytes, address: bytes) -> bytes:
    return KIND_MINER + task + address


def validator_key(address: bytes) -> bytes:
    return KIND_VALIDATOR + address


# ------------------------------------------------------------------------------------------------------------ tasks


@lru_cache(maxsize=8)
def _decode_entries(value: bytes) -> tuple[TaskEntry, ...]:
    entries: tuple[TaskEntry, ...] = _ENTRIES.read(unpack(value, bytes_max=VALUE_BYTES_MAX), "tasks")
    return entries


def read_tasks(view: View) -> tuple[TaskEntry, ...]:
    """All tasks, in the order in which they were created."""
    value = view.get(TASKS_KEY)
    return _decode_entries(value) if value is not None else ()


def write_tasks(state: WorkingState, entries: tuple[TaskEntry, ...]) -> None:
    state.put(TASKS_KEY, pack(_ENTRIES.write(entries)))


def read_heads(view: View) -> tuple[bytes, ...]:
    """The newest heads of all tasks, in the order of `read_tasks`."""
    value = view.get(HEADS_KEY)
    if value is None:
        return ()
    heads: tuple[bytes, ...] = _HEADS.read(unpack(value, bytes_max=VALUE_BYTES_MAX), "heads")
    return heads


def write_heads(state: WorkingState, heads: tuple[bytes, ...]) -> None:
    state.put(HEADS_KEY, pack(_HEADS.write(heads)))


def read_spec(view: View, task: bytes) -> bytes | None:
    """The canonical JSON of a task's specification."""
    return view.get(spec_key(task))


def read_task(view: View, task: bytes) -> TaskState | None:
    value = view.get(task_key(task))
    return _decode_task(value) if value is not None else None


def write_task(state: WorkingState, task: bytes, value: TaskState) -> None:
    state.put(task_key(task), TASK.encode(value))


def read_round(view: View, task: bytes, round_number: int) -> Round | None:
    """A round in which something was committed, None for others."""
    value = view.get(round_key(task, round_number))
    return _decode_round(value) if value is not None else None


def write_round(state: WorkingState, task: bytes, round_number: int, value: Round) -> None:
    state.put(round_key(task, round_number), ROUND.encode(value))


def read_update_location(view: View, sealed_root: bytes) -> UpdateLocation | None:
    """Where the update stands that was last committed, or revealed, under this root."""
    value = view.get(update_key(sealed_root))
    return UPDATE_LOCATION.decode(value) if value is not None else None


def write_update_location(state: WorkingState, sealed_root: bytes, value: UpdateLocation) -> None:
    state.put(update_key(sealed_root), UPDATE_LOCATION.encode(value))


def read_custodian(view: View, task: bytes, address: bytes) -> Custodian | None:
    value = view.get(custodian_key(task, address))
    return CUSTODIAN.decode(value) if value is not None else None


def write_custodian(state: WorkingState, task: bytes, address: bytes, value: Custodian) -> None:
    state.put(custodian_key(task, address), CUSTODIAN.encode(value))


def read_miner(view: View, task: bytes, address: bytes) -> Miner:
    """Totals of an account in a task; all zero before its first round ended."""
    value = view.get(miner_key(task, address))
    return MINER.decode(value) if value is not None else Miner()


def write_miner(state: WorkingState, task: bytes, address: bytes, value: Miner) -> None:
    state.put(miner_key(task, address), MINER.encode(value))


# ------------------------------------------------------------------------------------------------- power and supply


def read_validator(view: View, address: bytes) -> Validator:
    """Power and bond of an account; all zero if it has none."""
    value = view.get(validator_key(address))
    return VALIDATOR.decode(value) if value is not None else Validator()


def write_validator(state: WorkingState, address: bytes, value: Validator) -> None:
    """Write, list or, where nothing is left of it, delete an account's power and bond."""
    listed = state.get(validator_key(address)) is not None
    kept = value != Validator()
    state.put(validator_key(address), VALIDATOR.encode(value) if kept else None)
    if kept != listed:
        _list_holder(state, address, kept)


def _list_holder(state: WorkingState, address: bytes, kept: bool) -> None:
    key = HOLDERS_PREFIX + address[:1]
    others = tuple(other for other in _read_holders(state, key) if other != address)
    holders = tuple(sorted((*others, address))) if kept else others
    assert len(holders) <= HOLDERS_MAX, len(holders)
    state.put(key, pack(_HOLDERS.write(holders)) if holders else None)


def _read_holders(view: View, key: bytes) -> tuple[bytes, ...]:
    value = view.get(key)
    if value is None:
        return ()
    holders: tuple[bytes, ...] = _HOLDERS.read(unpack(value, bytes_max=VALUE_BYTES_MAX), "holders")
    return holders


def has_room(view: View, address: bytes) -> bool:
    """Whether one more account may be listed beside this one; half of the room is kept for who earns power."""
    return 2 * len(_read_holders(view, HOLDERS_PREFIX + address[:1])) < HOLDERS_MAX


def read_holders(view: View) -> tuple[bytes, ...]:
    """Every account with power or a validator's bond, by address."""
    return tuple(address for first in range(256) for address in _read_holders(view, HOLDERS_PREFIX + bytes([first])))


@lru_cache(maxsize=16)
def decode_members(value: bytes) -> tuple[Member, ...]:
    members: tuple[Member, ...] = _MEMBERS.read(unpack(value, bytes_max=VALUE_BYTES_MAX), "validators")
    return members


def encode_members(members: tuple[Member, ...]) -> bytes:
    return pack(_MEMBERS.write(members))


def read_members(view: View) -> tuple[Member, ...]:
    """Who votes on the next block, by account."""
    value = view.get(VALIDATORS_KEY)
    return decode_members(value) if value is not None else ()


def read_validators(view: View) -> tuple[tuple[bytes, int], ...]:
    """Who votes on the next block: (account, voting power) by account."""
    return tuple((member.account, member.power) for member in read_members(view))


def acting_member(view: View, sender: bytes) -> Member | None:
    """The member of the present set that a transaction's sender speaks for: its account, or its vote key does."""
    members = read_members(view)
    own = next((member for member in members if member.account == sender), None)
    return own or next((member for member in members if member.vote_address == sender), None)


def write_members(state: WorkingState, members: tuple[Member, ...]) -> None:
    state.put(VALIDATORS_KEY, encode_members(members))


def read_epoch(view: View) -> Epoch:
    value = view.get(EPOCH_KEY)
    return EPOCH.decode(value) if value is not None else Epoch()


def write_epoch(state: WorkingState, value: Epoch) -> None:
    state.put(EPOCH_KEY, EPOCH.encode(value))


def read_supply(view: View) -> Supply:
    value = view.get(SUPPLY_KEY)
    return SUPPLY.decode(value) if value is not None else Supply()


def write_supply(state: WorkingState, value: Supply) -> None:
    state.put(SUPPLY_KEY, SUPPLY.encode(value))
