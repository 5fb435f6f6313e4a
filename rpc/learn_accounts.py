"""Home of what `learn_*` methods tell of accounts, validators and the node itself, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from chain.operations.learning_state import Round, TaskEntry
from chain.operations.learning_store import read_members, read_miner, read_task, read_tasks, read_validator
from learning.record import Record
from rpc import learn_formats as formats
from rpc.formats import data, quantity
from rpc.learn import LINEAGE_ROUNDS_MAX, Learning
from rpc.records import Records


class LearningAccounts:
    """Answers about who earned what, from the state at the tip, and about the node."""

    def __init__(self, records: Records, learning: Learning) -> None:
        self._records = records
        self._backend = records.backend
        self._learning = learning

    async def contributions(self, address: bytes) -> dict[str, Any]:
        """What an account earned and lost, by task and round (of the last 1,000), and the power that it has."""
        view = self._backend.state()
        validator = read_validator(view, address)
        shown: dict[str, Any] = {
            "address": data(address),
            "power": quantity(validator.power),
            "earnedPower": quantity(validator.earned),
            "bootstrapPower": quantity(validator.bootstrap),
            "validatorBond": quantity(validator.bond),
            "tasks": [],
        }
        for entry in read_tasks(view):
            found = await self._contributions_to(entry, address)
            if found is not None:
                shown["tasks"].append(found)
        return shown

    async def _contributions_to(self, entry: TaskEntry, address: bytes) -> dict[str, Any] | None:
        view = self._backend.state()
        miner = read_miner(view, entry.task, address)
        state = read_task(view, entry.task)
        assert state is not None
        newest = entry.clock.cycle_of(self._backend.tip().header.height)
        mined, kept = [], []
        for number in range(max(0, newest - LINEAGE_ROUNDS_MAX + 1), newest + 1):
            found = await self._learning.round_in_turn(entry.task, number)
            if found is not None:
                mined += [
                    {"round": number, **formats.update_object(update)}
                    for update in found.updates
                    if update.miner == address
                ]
                kept += _openings_of(number, found, address)
        if not mined and not kept and not miner.rounds and address not in state.custodians:
            return None
        return {
            "task": data(entry.task),
            "rounds": miner.rounds,
            **formats.measure("contribution", miner.contribution),
            "rewarded": quantity(miner.rewarded),
            "charged": quantity(miner.charged),
            "cut": quantity(miner.cut),
            "harmfulStreak": miner.streak,
            "updates": mined,
            "openings": kept,
        }

    def validators(self, reference: int | str | bytes) -> list[dict[str, Any]]:
        height = self._records.known_height(reference)
        return [
            {
                "address": data(each.address),
                "votingPower": quantity(each.voting_power),
                "power": quantity(each.earned_power + each.bootstrap_power),
                "earnedPower": quantity(each.earned_power),
                "bootstrapPower": quantity(each.bootstrap_power),
                "bond": quantity(each.bond),
                "voteKey": data(each.vote_key),
                "registered": each.registered,
                "barred": each.barred,
                "absences": each.absences,
                "proposerPriority": hex(each.proposer_priority),  # signed, and of the size of powers
            }
            for each in self._backend.validators(height)
        ]

    def validator(self, address: bytes) -> dict[str, Any]:
        """How an account stands that is a validator, was one or may become one; heights null where there are none."""
        view = self._backend.state()
        known, members = read_validator(view, address), read_members(view)
        own = next((member for member in members if member.account == address), None)
        return {
            "address": data(address),
            "power": quantity(known.power),
            "earnedPower": quantity(known.earned),
            "bootstrapPower": quantity(known.bootstrap),
            "grantedPower": quantity(known.granted),
            "bond": quantity(known.bond),
            "registered": bool(known.registered),
            "barred": bool(known.barred),
            "voteKey": data(known.vote_address) if any(known.vote_address) else None,
            "withdrawAt": quantity(known.withdraw_at) if known.withdraw_at else None,
            "votingPower": quantity(own.power if own else 0),
            "totalVotingPower": quantity(sum(member.power for member in members)),
        }

    # ---------------------------------------------------------------------------------------------- evaluation

    async def evaluate(self, task: bytes, shard_root: bytes, root: bytes | None) -> dict[str, Any]:
        """Loss and correct count of a head on an opened shard, computed now."""
        self._learning.known(self._backend.state(), task)
        found = await self._backend.evaluate(task, shard_root, root)
        return {
            "task": data(task),
            "shard": data(shard_root),
            "samples": found.samples,
            "correct": found.correct,
            **formats.measure("loss", found.loss),
            **formats.measure("meanLoss", found.loss // max(1, found.samples)),
        }

    # -------------------------------------------------------------------------------------------------- the node

    def status(self) -> dict[str, Any]:
        tip = self._backend.tip()
        pending, queued = self._backend.pool.counts()
        syncing = self._backend.syncing()
        return {
            "version": self._backend.client_version,
            "chainId": quantity(self._backend.chain_id),
            "genesis": data(self._backend.genesis_hash),
            "height": quantity(tip.header.height),
            "hash": data(tip.hash),
            "syncing": asdict(syncing) if syncing else False,
            "peers": self._backend.peer_count(),
            "network": self._backend.network_status(),
            "mempool": {"pending": pending, "queued": queued},
            **self._backend.learning_status(),
        }


def _openings_of(number: int, found: Round, address: bytes) -> list[dict[str, Any]]:
    """What a custodian opened in a round, and was paid for it once that is settled."""
    lines = Record.decode(found.record).custodians if found.record else ()
    rewards = {line.custodian: line for line in lines}
    shown = []
    for opening in found.openings:
        if opening.custodian == address:
            line = rewards.get(address)
            shown.append(
                {
                    "round": number,
                    "index": opening.index,
                    "fate": formats.name_of(line.fate) if line else "pending",
                    "reward": quantity(line.reward) if line else "0x0",
                }
            )
    return shown
