"""Home of what state keeps of voting beside the present set: the set before it, absences, vote keys, the genesis."""

from __future__ import annotations

from functools import lru_cache

from chain.codec import expect_bytes, pack, unpack
from chain.operations.learning_layouts import VALIDATORS_MAX, VOTE_KEY
from chain.operations.learning_state import Member, VoteKey
from chain.operations.learning_store import decode_members, encode_members
from chain.operations.schema import UINT, VALUE_BYTES_MAX, array
from chain.state import KIND_GLOBAL, KIND_VOTE_KEY, View, WorkingState

PREVIOUS_VALIDATORS_KEY = KIND_GLOBAL + b"previous validators"  # who voted in the epoch before the running one
ABSENCES_KEY = KIND_GLOBAL + b"absences"  # of the running epoch, one count a member of the present set, in its order
GENESIS_KEY = KIND_GLOBAL + b"genesis"  # the hash of the genesis file, which every vote signs

_ABSENCES = array(UINT, VALIDATORS_MAX)


def vote_key_key(vote_address: bytes) -> bytes:
    return KIND_VOTE_KEY + vote_address


def read_previous_members(view: View) -> tuple[Member, ...]:
    """Who voted in the epoch before the running one, by account; empty in the first epoch."""
    value = view.get(PREVIOUS_VALIDATORS_KEY)
    return decode_members(value) if value is not None else ()


def write_previous_members(state: WorkingState, members: tuple[Member, ...]) -> None:
    state.put(PREVIOUS_VALIDATORS_KEY, encode_members(members))


@lru_cache(maxsize=16)
def _decode_absences(value: bytes) -> tuple[int, ...]:
    counts: tuple[int, ...] = _ABSENCES.read(unpack(value, bytes_max=VALUE_BYTES_MAX), "absences")
    return counts


def read_absences(view: View) -> tuple[int, ...]:
    """How many commits of the running epoch each member of the present set is not in; empty if all are in all."""
    value = view.get(ABSENCES_KEY)
    return _decode_absences(value) if value is not None else ()


def write_absences(state: WorkingState, counts: tuple[int, ...]) -> None:
    state.put(ABSENCES_KEY, pack(_ABSENCES.write(counts)) if counts else None)


def read_vote_key(view: View, vote_address: bytes) -> VoteKey | None:
    """Which other account registered with this vote key; None for one that only its own account can have used."""
    value = view.get(vote_key_key(vote_address))
    return VOTE_KEY.decode(value) if value is not None else None


def write_vote_key(state: WorkingState, vote_address: bytes, value: VoteKey) -> None:
    state.put(vote_key_key(vote_address), VOTE_KEY.encode(value))


def read_genesis_hash(view: View) -> bytes:
    """SHA-256 of the canonical genesis file, 32 bytes."""
    value = view.get(GENESIS_KEY)
    assert value is not None, "genesis writes its hash"
    return expect_bytes(value, 32, "genesis hash")


def write_genesis_hash(state: WorkingState, genesis_hash: bytes) -> None:
    state.put(GENESIS_KEY, expect_bytes(genesis_hash, 32, "genesis hash"))
