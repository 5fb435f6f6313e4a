"""Home of a chain of nothing but learning: calls and blocks on a plain dictionary, with the money counted each time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chain import contract
from chain.abi import decode_event, decode_result, encode_call
from chain.crypto import address_of
from chain.operations.call import CallContext, CallOutcome, Revert
from chain.operations.clock import Clock
from chain.operations.learning_state import Custodian, Member, Round, TaskState
from chain.operations.learning_store import read_custodian, read_round, read_supply, read_task, write_members
from chain.operations.tasks import GenesisCustodian, GenesisTask, GenesisValidator, canonical_json, parse_spec, task_id
from chain.operations.treasury import held_for_others
from chain.parameters import Parameters, parameters_from
from chain.state import KIND_ACCOUNT, WorkingState, decode_account
from chain.types import COIN, CONTRACT_ADDRESS, ZERO_ADDRESS
from learning.architecture import Architecture
from learning.commitment import attestation_digest, blob_root, key_commitment, record_hash
from learning.sealing import seal_update
from learning.shards import PreparedShards, Shard, ShardKeys, decode_manifest, prepare_shards
from learning.updates import encode_update

CHAIN_ID = 77
ARCHITECTURE = Architecture(layers=(4, 3, 2), input_exponent=8)
SAMPLES = 30  # of a shard
SHARDS = 5
GENESIS_HASH = hashlib.sha256(b"genesis").digest()
W = 12  # blocks of a cycle: reveal 0-1, open 2-3, commit 2-8, hold 9-11
START = 3
BALANCE = 1000 * COIN
BOND = 2 * COIN


def account(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:20]


def root(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


CUSTODIANS = tuple(sorted((account("custodian a"), account("custodian b"))))
VALIDATOR_KEYS = tuple(sorted((root(f"validator {i}") for i in range(3)), key=address_of))
VALIDATORS = tuple(address_of(key) for key in VALIDATOR_KEYS)
POWERS = (500_000, 300_000, 200_000)
MINERS = tuple(account(f"miner {i}") for i in range(4))
SETTINGS = {"cycle_blocks": W, "updates_per_round": 8, "openings_minimum": 1}


def spec_json(**changes: Any) -> bytes:
    """A valid specification, with some fields changed."""
    fields: dict[str, Any] = {
        "name": "toy",
        "description": "four inputs, two classes",
        "architecture": json.loads(ARCHITECTURE.to_json()),
        "initial_seed": "0x" + root("seed").hex(),
        "shard_samples": SAMPLES,
        "start": START,
        "rounds": 4,
        "native": True,
        "power_weight_milli": 1000,
        "schema": {"columns": [[f"x{i}", "0.0", "1.0"] for i in range(4)], "labels": ["no", "yes"]},
        "settings": SETTINGS,
    }
    return canonical_json(fields | changes)


def samples(seed: int, count: int) -> Shard:
    """Samples whose class is whether the first two inputs outweigh the others."""
    inputs = np.random.default_rng(seed).integers(0, 256, (count, 4), dtype=np.uint8)
    wide = inputs.astype(np.int64)
    labels = (wide[:, 0] + wide[:, 1] > wide[:, 2] + wide[:, 3]).astype(np.int64)
    return Shard(inputs=inputs, labels=labels)


def shard_keys(custodian: bytes) -> ShardKeys:
    return ShardKeys(seed=hashlib.sha256(b"shards" + custodian).digest(), count=SHARDS)


def prepared(custodian: bytes, task: bytes) -> PreparedShards:
    shards = [samples(custodian[0] * 100 + i, SAMPLES) for i in range(SHARDS)]
    return prepare_shards(shards, seed=shard_keys(custodian).seed, task=task, custodian=custodian)


@dataclass(kw_only=True)
class World:
    """State, height and blobs. Every call and block checks that no unit of money appeared or went."""

    parameters: Parameters
    spec: bytes
    task: bytes
    values: dict[bytes, bytes] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    height: int = 1
    supply: int = 0
    signers: frozenset[bytes] | None = None  # who signs the commits of the blocks to come; None: there are none

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    # ------------------------------------------------------------------------------------------------- execution

    def context(self, sender: bytes = ZERO_ADDRESS, value: int = 0) -> CallContext:
        return CallContext(
            chain_id=CHAIN_ID, height=self.height, sender=sender, value=value, parameters=self.parameters
        )

    def commit(self, state: WorkingState) -> None:
        for key, value in state.changes().items():
            if value is None:
                del self.values[key]
            else:
                self.values[key] = value
        self.check_money()

    def check_money(self) -> None:
        balances = {key[1:]: decode_account(value)[1] for key, value in self.values.items() if key[:1] == KIND_ACCOUNT}
        minted_less_burnt = read_supply(self).minted - read_supply(self).burnt
        assert sum(balances.values()) - minted_less_burnt == self.supply
        assert balances.get(CONTRACT_ADDRESS, 0) == held_for_others(self)

    def raw_call(self, sender: bytes, calldata: bytes, value: int = 0) -> CallOutcome:
        """What the ledger does with a call; raises Revert, and then nothing has changed."""
        state = WorkingState(self)
        child = state.child()
        child.account(sender).balance -= value
        child.account(CONTRACT_ADDRESS).balance += value
        assert child.account(sender).balance >= 0
        outcome = contract.execute(child, self.context(sender, value), calldata)
        state.merge(child)
        self.commit(state)
        return outcome

    def call(self, sender: bytes, name: str, *arguments: Any, value: int = 0) -> list[tuple[str, dict[str, Any]]]:
        """The events of a successful call."""
        outcome = self.raw_call(sender, encode_call(name, *arguments), value)
        return [decode_event(log) for log in outcome.logs]

    def reason(self, sender: bytes, name: str, *arguments: Any, value: int = 0) -> str:
        """Why a call reverts."""
        try:
            self.call(sender, name, *arguments, value=value)
        except Revert as revert:
            return revert.reason
        raise AssertionError(f"{name} did not revert")

    def view(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        return decode_result(name, contract.call_view(self, self.context(), encode_call(name, *arguments)).output)

    def end_block(self) -> None:
        """The end of the block under way, and the beginning of the next."""
        state = WorkingState(self)
        contract.end_block(state, self.context())
        self.commit(state)
        self.height += 1
        state = WorkingState(self)
        contract.begin_block(state, self.context(), self.signers)
        self.commit(state)

    def go(self, height: int) -> None:
        assert height >= self.height, (height, self.height)
        while self.height < height:
            self.end_block()

    def go_to(self, cycle: int, position: int) -> None:
        self.go(self.clock.start_of(cycle) + position)

    # ------------------------------------------------------------------------------------------------- what there is

    @property
    def clock(self) -> Clock:
        return parse_spec(self.spec, self.parameters).clock(self.parameters)

    @property
    def task_state(self) -> TaskState:
        state = read_task(self, self.task)
        assert state is not None
        return state

    def round(self, number: int) -> Round:
        found = read_round(self, self.task, number)
        assert found is not None
        return found

    def custodian(self, address: bytes) -> Custodian:
        found = read_custodian(self, self.task, address)
        assert found is not None
        return found

    def balance(self, address: bytes) -> int:
        value = self.values.get(KIND_ACCOUNT + address)
        return decode_account(value)[1] if value else 0

    # -------------------------------------------------------------------------------------------------- operations

    def commit_update(
        self, miner: bytes, name: str, *, delta: Any = None, bond: int = BOND, base: bytes | None = None
    ) -> bytes:
        """Commit a sealed update (of a delta, or of rubbish) to the present round; its sealed root."""
        number = max(self.clock.cycle_of(self.height), 0)
        plaintext = encode_update(delta) if delta is not None else name.encode()
        sealed = seal_update(plaintext, key=root(name), task=self.task, round_number=number, miner=miner)
        sealed_root = blob_root(sealed)
        self.blobs[sealed_root] = sealed
        key_hash = key_commitment(key=root(name), miner=miner, task=self.task, round_number=number)
        state = self.task_state
        arguments = (self.task, number, base or state.head, sealed_root, len(sealed), key_hash)
        (event,) = self.call(miner, "commitUpdate", *arguments, value=bond + state.evaluation_fee)
        expected = {"task": self.task, "miner": miner, "round": number, "sealedRoot": sealed_root}
        assert event == ("UpdateCommitted", expected)
        return sealed_root

    def hold(self, number: int, *, validators: tuple[bytes, ...] = VALIDATORS) -> None:
        """All of these validators hold all updates of the round."""
        count = len(self.round(number).updates)
        bitmap = ((1 << count) - 1).to_bytes((count + 7) // 8, "little")
        for validator in validators:
            self.call(validator, "attestHeld", self.task, number, bitmap)

    def reveal(self, miner: bytes, number: int, sealed_root: bytes, name: str) -> None:
        self.call(miner, "revealUpdate", self.task, number, sealed_root, root(name))

    def give(self, address: bytes, amount: int) -> None:
        """Coins from nowhere, as genesis gives them."""
        state = WorkingState(self)
        state.account(address).balance += amount
        self.supply += amount
        self.commit(state)

    def set_validators(self, powers: tuple[tuple[bytes, int], ...]) -> None:
        state = WorkingState(self)
        write_members(state, tuple(Member(account=each, vote_address=each, power=power) for each, power in powers))
        self.commit(state)

    def open_shard(self, custodian: bytes, number: int) -> None:
        index = self.round(number).ordinal - self.custodian(custodian).joined
        self.call(custodian, "openShard", self.task, number, shard_keys(custodian).key(index))

    def attest(self, number: int, record: bytes, validators: tuple[bytes, ...] = VALIDATORS) -> None:
        for validator in validators:
            digest = attestation_digest(record=record_hash(record), validator=validator)
            self.call(validator, "attest", self.task, number, digest)


def make_world(
    *, parameters: dict[str, int] | None = None, custodian_bond: int = 60 * COIN, **spec_changes: Any
) -> World:
    """A chain at height 1 with one task, two custodians, three validators and four miners with money."""
    table = parameters_from(
        {"power_openings_minimum": 1, "epoch_blocks": 10, "base_fee_initial": 10**9, "bond_minimum": COIN}
        | (parameters or {})
    )
    spec = spec_json(**spec_changes)
    task = task_id(CHAIN_ID, 0, spec)
    world = World(parameters=table, spec=spec, task=task)
    custodians = []
    for address in CUSTODIANS:
        made = prepared(address, task)
        entries = decode_manifest(made.manifest, shards=SHARDS, samples=SAMPLES, width=4)
        world.blobs |= {entry.root: sealed for entry, sealed in zip(entries, made.sealed, strict=True)}
        world.blobs[made.root] = made.manifest
        custodians.append(
            GenesisCustodian(
                address=address, shards_root=made.root, key_anchor=made.anchor, shards=SHARDS, bond=custodian_bond
            )
        )
    validators = [
        GenesisValidator(address=address, power=power, bond=power * table.bond_per_power)
        for address, power in zip(VALIDATORS, POWERS, strict=True)
    ]
    state = WorkingState(world)
    for address in MINERS:
        state.account(address).balance += BALANCE
    genesis_task = GenesisTask(spec=spec, custodians=tuple(custodians))
    contract.genesis_learning(state, CHAIN_ID, table, [genesis_task], validators, GENESIS_HASH)
    world.supply = len(MINERS) * BALANCE + 2 * custodian_bond + sum(POWERS) * table.bond_per_power
    world.commit(state)
    return world
