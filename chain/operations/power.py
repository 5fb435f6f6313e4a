"""Home of power: what an epoch grants and what decays, what of it may vote, and who the next validators are."""

from __future__ import annotations

from dataclasses import replace

from chain.operations.learning_layouts import VALIDATORS_MAX
from chain.operations.learning_state import Epoch, Member, Validator
from chain.operations.learning_store import (
    read_epoch,
    read_holders,
    read_members,
    read_validator,
    read_validators,
    write_epoch,
    write_members,
    write_validator,
)
from chain.operations.voter_store import write_previous_members
from chain.parameters import Parameters
from chain.state import View, WorkingState


def voting_power(validator: Validator, parameters: Parameters) -> int:
    """What of an account's power may vote: as much as its bond covers, nothing while it is not registered."""
    if not validator.registered:
        return 0
    return min(validator.power, validator.bond // parameters.bond_per_power)


def grant(state: WorkingState, account: bytes, power: int) -> None:
    """Count power that an account earned. It becomes power, perhaps scaled down, at the end of the epoch.

    An account that is barred earns none any more.
    """
    assert power >= 0, power
    if not power:
        return
    validator = read_validator(state, account)
    if validator.barred:
        return
    write_validator(state, account, replace(validator, granted=validator.granted + power))
    epoch = read_epoch(state)
    write_epoch(state, replace(epoch, granted=epoch.granted + power))


def is_last_of_epoch(height: int, parameters: Parameters) -> bool:
    """Epoch e holds the heights from `e * epoch_blocks` on."""
    return (height + 1) % parameters.epoch_blocks == 0


def is_first_of_epoch(height: int, parameters: Parameters) -> bool:
    """Whether the set that votes on this height may be another than that which voted on the one before."""
    return height % parameters.epoch_blocks == 0


def next_epoch(height: int, parameters: Parameters) -> int:
    """The first height of the epoch after that of `height`."""
    return height - height % parameters.epoch_blocks + parameters.epoch_blocks


def end_epoch(state: WorkingState, height: int, parameters: Parameters) -> None:
    """What the last block of an epoch does after its transactions: decay and grants, then the set change."""
    epoch = read_epoch(state)
    if epoch.granted:
        _settle_grants(state, epoch, parameters)
    write_epoch(state, Epoch(power=total_power(state)))
    present = read_members(state)
    write_previous_members(state, present)
    chosen = choose_validators(state, parameters)
    if chosen:
        write_members(state, chosen)
    else:
        _keep_bonds(state, present, height, parameters)


def _keep_bonds(state: WorkingState, present: tuple[Member, ...], height: int, parameters: Parameters) -> None:
    """Members that vote on although they are unbonding, as nobody else can, stay at risk: their delay starts anew."""
    for member in present:
        validator = read_validator(state, member.account)
        if validator.withdraw_at:
            again = replace(validator, withdraw_at=withdrawal_height(height + 1, parameters))
            write_validator(state, member.account, again)


def withdrawal_height(height: int, parameters: Parameters) -> int:
    """From which height who unbonds at `height` may withdraw: after the delay, and not before the last vote that it
    may cast in this epoch is too old to be evidence."""
    last_vote = next_epoch(height, parameters) - 1
    return max(height + parameters.unbonding_blocks, last_vote + parameters.evidence_blocks_max + 1)


def _settle_grants(state: WorkingState, epoch: Epoch, parameters: Parameters) -> None:
    """Everybody's power decays, then the epoch's grants are added, scaled down together to what it may grant."""
    limit = min(epoch.granted, epoch.power * parameters.power_grant_milli // 1000)
    for address in read_holders(state):
        before = read_validator(state, address)
        after = replace(
            before,
            earned=before.earned * parameters.power_decay_milli // 1000 + before.granted * limit // epoch.granted,
            bootstrap=before.bootstrap * parameters.power_decay_milli // 1000,
            granted=0,
        )
        write_validator(state, address, after)


def total_power(view: View) -> int:
    """The power of all accounts, whether it may vote or not."""
    return sum(read_validator(view, address).power for address in read_holders(view))


def choose_validators(view: View, parameters: Parameters) -> tuple[Member, ...]:
    """The `validators_max` registered accounts of most voting power, ties to the lower address; by address."""
    candidates = []
    for account in read_holders(view):
        validator = read_validator(view, account)
        power = voting_power(validator, parameters)
        if power:
            candidates.append(Member(account=account, vote_address=validator.vote_address, power=power))
    candidates.sort(key=lambda member: (-member.power, member.account))
    chosen = candidates[: min(parameters.validators_max, VALIDATORS_MAX)]
    return tuple(sorted(chosen, key=lambda member: member.account))


def voters_of(members: tuple[Member, ...]) -> tuple[tuple[bytes, int], ...]:
    """What consensus sees of a set: (vote address, voting power) by vote address."""
    return tuple(sorted((member.vote_address, member.power) for member in members))


def power_of(view: View, account: bytes) -> int:
    """An account's voting power in the present set, 0 if it is no member."""
    return dict(read_validators(view)).get(account, 0)


def is_quorum(power: int, validators: tuple[tuple[bytes, int], ...]) -> bool:
    """Whether `power` is more than two thirds of the set's."""
    return 3 * power > 2 * sum(share for _, share in validators)
