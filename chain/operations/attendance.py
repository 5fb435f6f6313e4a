"""Home of who voted on a block, and of validators that don't: absences of an epoch are counted, and have an end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from chain.operations.learning_state import Member
from chain.operations.learning_store import read_members, read_validator, write_validator
from chain.operations.power import is_first_of_epoch
from chain.operations.voter_store import read_absences, read_previous_members, write_absences
from chain.parameters import Parameters
from chain.state import View, WorkingState


def members_on_parent(view: View, height: int, parameters: Parameters) -> tuple[Member, ...]:
    """Who voted on the block before that of `height`, from the state after it: in an epoch's first block, the set
    before the present one."""
    previous = read_previous_members(view) if is_first_of_epoch(height, parameters) else ()
    return previous or read_members(view)


def count_absences(state: WorkingState, height: int, parameters: Parameters, signers: Collection[bytes]) -> None:
    """Count the members of the present set whose vote address is not among the signers of the last commit.

    An epoch's first block carries the last commit of the epoch before, whose set is settled: it counts for nobody.
    """
    if not _is_counted(height, parameters):
        return
    members = read_members(state)
    absent = [int(member.vote_address not in signers) for member in members]
    if not any(absent):
        return
    before = read_absences(state) or (0,) * len(members)
    write_absences(state, tuple(count + more for count, more in zip(before, absent, strict=True)))


def leave_out_the_absent(state: WorkingState, height: int, parameters: Parameters) -> None:
    """With an epoch's last block: who is absent from over half of its commits is registered no more."""
    absences = read_absences(state)
    commits = commits_counted(height, parameters)
    for member, count in zip(read_members(state), absences, strict=False):
        validator = read_validator(state, member.account)
        if 2 * count > commits and validator.registered:
            write_validator(state, member.account, replace(validator, registered=0))
    write_absences(state, ())


def absences_by_account(view: View) -> dict[bytes, int]:
    """How many commits of the running epoch each member of the present set is not in."""
    members = read_members(view)
    counts = read_absences(view) or (0,) * len(members)
    return {member.account: count for member, count in zip(members, counts, strict=True)}


def commits_counted(height: int, parameters: Parameters) -> int:
    """How many commits of the epoch of `height` were counted, with that in the block of this height."""
    first = height - height % parameters.epoch_blocks
    return max(0, height - max(first, 1))


def _is_counted(height: int, parameters: Parameters) -> bool:
    return height > 1 and not is_first_of_epoch(height, parameters)
