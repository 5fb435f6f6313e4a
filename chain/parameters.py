"""Home of every number that a network may choose: one table, a sentence each; genesis may override any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from chain.errors import InvalidInput
from chain.types import COIN, GWEI
from consensus.codec import commit_bytes_max
from consensus.types import VALIDATORS_MAX

BLOCK_ROOM_BYTES = 32 << 10
"""Of a block, what its last commit must leave for the header and transactions."""


class InvalidParameters(InvalidInput):
    """A genesis that overrides a parameter which does not exist, or with a value out of its bounds."""


def _number(default: int, sentence: str, *, minimum: int = 0, maximum: int = 2**128 - 1) -> Any:
    return field(default=default, metadata={"sentence": sentence, "minimum": minimum, "maximum": maximum})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The table. Heights and counts are plain integers, amounts 10^-18 coin, `_milli` thousandths."""

    # Blocks
    block_interval_ms: int = _number(1000, "The least time from one block to the next.", minimum=10, maximum=2**31)
    block_bytes_max: int = _number(1 << 20, "The most bytes of one encoded block.", minimum=1 << 16, maximum=1 << 20)
    block_gas_limit: int = _number(150_000_000, "The most gas of one block.", minimum=1_000_000, maximum=2**63 - 1)

    # Fee market (EIP-1559)
    base_fee_minimum: int = _number(GWEI, "The base fee never falls below this.", minimum=1)
    base_fee_initial: int = _number(GWEI, "The base fee of the first block.", minimum=1)
    base_fee_change_divisor: int = _number(8, "The base fee moves by at most one part in this many a block.", minimum=2)
    gas_elasticity: int = _number(2, "The gas target is the gas limit divided by this.", minimum=1, maximum=1000)

    # Gas of the learning contract's operations, beside the intrinsic gas: fixed, failing or not
    gas_create_task: int = _number(500_000, "Gas of createTask and closeTask.")
    gas_join_custody: int = _number(200_000, "Gas of joinCustody.")
    gas_open_shard: int = _number(60_000, "Gas of openShard.")
    gas_commit_update: int = _number(100_000, "Gas of commitUpdate.")
    gas_reveal_update: int = _number(60_000, "Gas of revealUpdate.")
    gas_attest: int = _number(40_000, "Gas of attestHeld and attest.")
    gas_settle: int = _number(400_000, "Gas of settle.")
    gas_validator: int = _number(100_000, "Gas of registerValidator, unbond, withdraw, the votes and evidence.")
    gas_view: int = _number(30_000, "Gas of a view of the contract, and of a call that it does not know.")

    # Rounds: defaults that a task's specification may change within the bounds beside them
    cycle_blocks: int = _number(20, "Blocks of one round's cycle (W).", minimum=8)
    reveal_blocks: int = _number(2, "Blocks at the start of a cycle in which keys are revealed.", minimum=1)
    open_blocks: int = _number(2, "Blocks after them in which custodians open their shards.", minimum=1)
    hold_blocks: int = _number(
        3, "Blocks at the end of a cycle without commits, for attesting that blobs are held.", minimum=1
    )
    settle_grace_cycles: int = _number(3, "A round unsettled this many cycles after it was judged is void.", minimum=1)
    unsettled_rounds_max: int = _number(
        4, "Commits are refused while this many judged rounds are unsettled.", minimum=1
    )
    staleness_max: int = _number(2, "An update's base is at most this many heads old.", minimum=2)
    copy_window_rounds: int = _number(
        4, "Copies are looked for among the updates of this many earlier rounds.", minimum=1
    )
    updates_per_round: int = _number(32, "The most updates of one round.", minimum=1, maximum=256)
    update_bytes_max: int = _number(1 << 20, "The most bytes of one sealed update.", minimum=64)
    shards_max: int = _number(4096, "The most shards that one custodian seals for one task.", minimum=1)
    custodians_max: int = _number(16, "The most custodians of one task.", minimum=1, maximum=64)
    tasks_max: int = _number(64, "The most tasks that are open at one time.", minimum=1)
    task_spec_bytes_max: int = _number(4096, "The most bytes of a task's specification.", minimum=512)

    # Money of learning
    price: int = _number(100 * COIN, "Pay for removing the whole loss once: pay is price * contribution / loss.")
    round_cap: int = _number(50 * COIN, "The most that the miners of one round are paid together.")
    loss_floor: int = _number(1 << 19, "Pay divides by the loss, never by less than this (2^-20 nat).", minimum=1)
    significance_milli: int = _number(1000, "A round counts if its summed gain exceeds this many standard errors.")
    charge_milli: int = _number(500, "Every update is charged this share of its weight's part of a round's pay (phi).")
    custodian_share_milli: int = _number(100, "Custodians share this part of a round's pay, on top, for opening.")
    bond_minimum: int = _number(8 * COIN, "The least bond of an update; at most eight times it counts.", minimum=1)
    malformed_cut_milli: int = _number(
        1000, "The share of the bond that a malformed or unrevealed update loses.", maximum=1000
    )
    harm_sigma: int = _number(3, "An update is harmful if its contribution is this many standard errors below zero.")
    harm_rounds: int = _number(3, "Harmful this many rounds running costs bond.", minimum=1)
    harm_cut_milli: int = _number(500, "The share of the bond that is cut then.", maximum=1000)
    evaluation_fee_initial: int = _number(COIN // 50, "The evaluation fee of a task's first commit.")
    evaluation_fee_minimum: int = _number(COIN // 50, "The evaluation fee never falls below this.")
    evaluation_fee_change_divisor: int = _number(
        8, "The evaluation fee moves by at most one part in this many a round.", minimum=2
    )
    evaluation_target_milli: int = _number(
        500, "The fee rises above this use of a round's slots and falls below it.", minimum=1
    )
    custodian_bond: int = _number(50 * COIN, "The bond of a custodian, at least the cap a round.")
    missed_opening_cut_minimum: int = _number(
        COIN, "A missed opening costs at least this, and half the trailing mean pay."
    )
    openings_minimum: int = _number(1, "A round with fewer usable shards is void.", minimum=1)

    # Power
    power_per_coin: int = _number(1000, "Power granted per coin of a native task's pay, times the task's weight.")
    power_openings_minimum: int = _number(3, "Power is granted only in rounds with this many usable shards.", minimum=1)
    epoch_blocks: int = _number(100, "Blocks of an epoch.", minimum=1, maximum=2**62)
    power_decay_milli: int = _number(995, "What remains of all power after an epoch with grants.", maximum=1000)
    power_grant_milli: int = _number(
        100, "Grants of an epoch are at most this share of all power at its start.", maximum=1000
    )
    validators_max: int = _number(100, "The most validators of an epoch.", minimum=1)
    bond_per_power: int = _number(COIN // 1000, "The bond that lets one unit of power vote.", minimum=1)
    validator_bond_minimum: int = _number(
        10 * COIN, "The least bond of an account that registers as a validator.", minimum=1
    )
    unbonding_blocks: int = _number(100_000, "Blocks from unbonding to withdrawal.", minimum=2, maximum=2**62)
    evidence_blocks_max: int = _number(
        50_000, "Two votes that contradict each other are punished for this many blocks.", minimum=1, maximum=2**62
    )
    slash_milli: int = _number(500, "The share of a validator's bond that is burnt then.", maximum=1000)

    # What nodes keep
    history_heights: int = _number(128, "Heights whose state every node can still read.", minimum=128)
    checkpoint_blocks: int = _number(
        500, "Nodes offer the whole state of the newest heights that are multiples of this.", minimum=5
    )


PARAMETER_NAMES = tuple(item.name for item in fields(Parameters))


def parameters_from(overrides: Mapping[str, Any]) -> Parameters:
    """The table with a genesis' overrides. Raises InvalidParameters naming what is wrong."""
    table = {item.name: item for item in fields(Parameters)}
    for name, value in overrides.items():
        if name not in table:
            raise InvalidParameters(f"genesis overrides {name!r}, which is no parameter; see chain/parameters.py")
        low, high = table[name].metadata["minimum"], table[name].metadata["maximum"]
        if type(value) is not int or not low <= value <= max(high, low):
            raise InvalidParameters(f"parameter {name} must be an integer from {low} to {high}, not {value!r}")
    parameters = Parameters(**overrides)
    phases = parameters.reveal_blocks + parameters.open_blocks + parameters.hold_blocks
    if phases >= parameters.cycle_blocks:
        raise InvalidParameters(f"cycle_blocks {parameters.cycle_blocks} leaves no block for commits after {phases}")
    if parameters.evidence_blocks_max >= parameters.unbonding_blocks:
        raise InvalidParameters(
            f"evidence_blocks_max {parameters.evidence_blocks_max} must be less than unbonding_blocks "
            f"{parameters.unbonding_blocks}, so that a bond can be cut for all that its validator signed"
        )
    _require_room(parameters)
    return parameters


def _require_room(parameters: Parameters) -> None:
    """A block holds the commit of the block before, signed by all validators, and something more."""
    validators = min(parameters.validators_max, VALIDATORS_MAX)
    needed = commit_bytes_max(validators) + BLOCK_ROOM_BYTES
    if parameters.block_bytes_max < needed:
        raise InvalidParameters(
            f"block_bytes_max {parameters.block_bytes_max} can't hold a commit of {validators} validators and "
            f"{BLOCK_ROOM_BYTES} bytes more: raise it to at least {needed}, or lower validators_max"
        )


def describe() -> list[tuple[str, int, str]]:
    """Every parameter as (name, default, sentence), in the table's order."""
    return [(item.name, item.default, item.metadata["sentence"]) for item in fields(Parameters)]  # type: ignore[misc]
