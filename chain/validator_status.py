"""Home of how the validators of a height stand, as RPC tells it."""

from __future__ import annotations

from chain.contract import voters_of
from chain.node import priorities_before
from chain.operations.attendance import absences_by_account
from chain.operations.learning_store import read_members, read_validator
from chain.parameters import Parameters
from chain.state import View
from consensus.types import ValidatorSet, Voter
from rpc.backend import ValidatorStatus


def validator_statuses(view: View, height: int, parameters: Parameters) -> list[ValidatorStatus]:
    """Who votes on the block after that of `height`, after which `view` is; by account."""
    voters = ValidatorSet(members=tuple((Voter(address), power) for address, power in voters_of(view)))
    priorities = priorities_before(height + 1, voters, parameters.epoch_blocks)
    priority_of = {bytes(voter): each for (voter, _), each in zip(voters.members, priorities, strict=True)}
    absences = absences_by_account(view)
    statuses = []
    for member in read_members(view):
        known = read_validator(view, member.account)
        statuses.append(
            ValidatorStatus(
                address=member.account,
                vote_key=member.vote_address,
                voting_power=member.power,
                earned_power=known.earned,
                bootstrap_power=known.bootstrap,
                bond=known.bond,
                registered=bool(known.registered),
                barred=bool(known.barred),
                absences=absences[member.account],
                proposer_priority=priority_of[member.vote_address],
            )
        )
    return statuses
