"""Home of a validator's coming and going: it registers with a bond and a vote key, unbonds, and withdraws."""

from __future__ import annotations

from dataclasses import replace

from chain.abi import encode_event
from chain.operations.call import CallContext, CallOutcome, Revert, require
from chain.operations.learning_state import Validator, VoteKey
from chain.operations.learning_store import has_room, read_validator, write_validator
from chain.operations.power import next_epoch, withdrawal_height
from chain.operations.treasury import release
from chain.operations.voter_store import read_vote_key, write_vote_key
from chain.parameters import Parameters
from chain.state import View, WorkingState
from chain.types import ZERO_ADDRESS


def register_validator(state: WorkingState, context: CallContext, vote_key: bytes) -> CallOutcome:
    """`registerValidator`: be a validator from the next epoch on, as far as power and bond reach; the value adds to the
    bond. Registering again changes the vote key, ends an unbonding, and lets one back in that was left out."""
    account = context.sender
    validator = read_validator(state, account)
    require(not validator.barred, "this account is barred for voting twice: it can't be a validator any more")
    bond, least = validator.bond + context.value, context.parameters.validator_bond_minimum
    require(bond >= least, f"a validator's bond is at least {least}: with the value sent it would be {bond}")
    known = validator != Validator()
    require(known or has_room(state, account), "no more validators are taken whose addresses start like this one's")
    _take_back_own_key(state, context.height, context.parameters, account)
    vote_address = account if vote_key == ZERO_ADDRESS else vote_key
    if vote_address != account:
        _claim(state, account, vote_address)
    registered = replace(validator, bond=bond, registered=1, vote_address=vote_address, withdraw_at=0)
    write_validator(state, account, registered)
    return CallOutcome(logs=(encode_event("ValidatorRegistered", account),))


def _claim(state: WorkingState, account: bytes, vote_address: bytes) -> None:
    """Keep a key for an account, for ever: what it signed earlier must stay known as that account's."""
    shown = f"the vote key 0x{vote_address.hex()}"
    require(not has_registered(read_validator(state, vote_address)), f"{shown} is another validator's account")
    holder = read_vote_key(state, vote_address)
    if holder is None:
        write_vote_key(state, vote_address, VoteKey(account=account))
    else:
        require(holder.account == account, f"{shown} is that of the validator 0x{holder.account.hex()}: choose another")
        # Its later votes are known as its own account's: whoever voted with it again could not be held to them.
        require(not holder.until, f"{shown} is not yours any more, as its own account took it back: choose another")


def _take_back_own_key(state: WorkingState, height: int, parameters: Parameters, account: bytes) -> None:
    """An account's own key is its own, even where another validator registered with it: that one must do so again.

    Whoever knows an address could keep its account from validating otherwise.
    """
    holder = read_vote_key(state, account)
    if holder is None or holder.until:
        return
    write_vote_key(state, account, replace(holder, until=next_epoch(height, parameters)))
    other = read_validator(state, holder.account)
    if other.vote_address == account:
        write_validator(state, holder.account, replace(other, registered=0))


def has_registered(validator: Validator) -> bool:
    """Whether the account registered, and has not withdrawn its bond since."""
    return validator.vote_address != ZERO_ADDRESS


def account_behind(view: View, vote_address: bytes, height: int) -> bytes:
    """Whose key voted at a height, be it in use any more or not; the key's own account if nobody else registered it."""
    holder = read_vote_key(view, vote_address)
    if holder is None or (holder.until and height >= holder.until):
        return vote_address
    return holder.account


def unbond(state: WorkingState, context: CallContext) -> CallOutcome:
    """`unbond`: leave the set with the next epoch; the bond may be withdrawn after the delay."""
    validator = read_validator(state, context.sender)
    _require_bond(validator)
    require(not validator.withdraw_at, f"the bond is unbonding: withdraw it from height {validator.withdraw_at} on")
    height = withdrawal_height(context.height, context.parameters)
    write_validator(state, context.sender, replace(validator, registered=0, withdraw_at=height))
    return CallOutcome(logs=(encode_event("Unbonding", context.sender, height),))


def withdraw(state: WorkingState, context: CallContext) -> CallOutcome:
    """`withdraw`: the bond goes back, once its delay is over; what the account signed is too old for evidence then."""
    validator = read_validator(state, context.sender)
    _require_bond(validator)
    if not validator.withdraw_at:
        raise Revert("the bond is not unbonding: call unbond first")
    require(
        context.height >= validator.withdraw_at,
        f"the bond may be withdrawn from height {validator.withdraw_at} on, this is {context.height}",
    )
    release(state, context.sender, validator.bond)
    write_validator(state, context.sender, replace(validator, bond=0, withdraw_at=0, vote_address=ZERO_ADDRESS))
    return CallOutcome()


def _require_bond(validator: Validator) -> None:
    require(validator.bond > 0, "this account has no validator's bond")
