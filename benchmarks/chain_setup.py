"""Home of how a game on a chain begins: its setting, the division of the data, sealed shards and genesis."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from chain.crypto import address_of
from chain.development import BOOTSTRAP_POWER, ROLE_BALANCE
from chain.genesis import genesis_json
from chain.network_setup import Course, built_in_course, shards_of
from chain.operations.tasks import GenesisCustodian, GenesisTask, task_id
from chain.parameters import Parameters, parameters_from
from learning.datasets import BUILT_IN, PARTS, Dataset, load
from learning.shards import prepare_shards

CHAIN_ID = 1280918342
GENESIS_TIME_MS = 1_700_000_000_000
ORDINAL = 0  # of the only task
SHARES = 4  # three for honest miners; all that hostile ones have is the fourth
SHARE_CONCENTRATION = 0.5  # of the Dirichlet draw that divides each class among those who have data


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One account of a game: what it does, on which share of the data, and what it bonds with each update."""

    strategy: str
    share: int  # from 0 to SHARES - 1
    bond: int = 1  # in least bonds


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A game. `samples` are held out a round by all custodians together; `parameters` override the network's table."""

    seed: int
    seats: tuple[Seat, ...]
    rounds: int = 15
    custodians: int = 1
    samples: int = BUILT_IN["digits"].shard_samples
    parameters: Mapping[str, int] = field(default_factory=dict)
    others: tuple[bytes, ...] = ()  # addresses of accounts beside the players'

    @property
    def overrides(self) -> dict[str, int]:
        """What genesis overrides: as on a development chain, fewer custodians than usual are enough for power."""
        return {"power_openings_minimum": 1, **self.parameters}

    @property
    def table(self) -> Parameters:
        return parameters_from(self.overrides)


class Draws:
    """Everything random in a game: it depends on the game's seed and on the name of what is drawn."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def secret(self, *name: object) -> bytes:
        """32 bytes."""
        return hashlib.sha256(repr((self._seed, *name)).encode()).digest()

    def generator(self, *name: object) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(int.from_bytes(self.secret("generator", *name), "big")))

    def validator_key(self) -> bytes:
        return self.secret("validator")

    def custodian_key(self, number: int) -> bytes:
        return self.secret("custodian", number)

    def miner_key(self, place: int) -> bytes:
        return self.secret("miner", place)

    def shard_seed(self, custodian: bytes) -> bytes:
        """What the chain of a custodian's shard keys grows from."""
        return self.secret("shards", custodian)


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The samples of one seed's game, disjoint: never seen by anyone, held out by custodians, and miners' shares."""

    test: Dataset
    held_out: Dataset
    shares: tuple[Dataset, ...]


def divide(draws: Draws) -> Division:
    """All of digits in an order of the seed's, cut as a development chain's task cuts it."""
    parts = [load(f"digits@{part}") for part in PARTS]
    digits = Dataset(
        inputs=np.concatenate([part.inputs for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        classes=parts[0].classes,
    )
    order = draws.generator("division").permutation(len(digits))
    cut = BUILT_IN["digits"]
    test, held_out, pool = np.split(order, [cut.test_samples, cut.test_samples + cut.held_out_samples])
    return Division(
        test=digits.take(test),
        held_out=digits.take(held_out),
        shares=_non_iid(digits.take(pool), SHARES, draws.generator("shares")),
    )


def _non_iid(data: Dataset, count: int, generator: np.random.Generator) -> tuple[Dataset, ...]:
    """Disjoint shares, each class divided by a Dirichlet draw (Hsu et al. 2019)."""
    picked: list[list[int]] = [[] for _ in range(count)]
    for label in range(data.classes):
        indices = np.flatnonzero(data.labels == label)
        cuts = (np.cumsum(generator.dirichlet([SHARE_CONCENTRATION] * count)) * len(indices)).astype(int)
        for share, part in zip(picked, np.split(indices, cuts[:-1]), strict=True):
            share.extend(part.tolist())
    return tuple(data.take(np.array(share, dtype=np.int64)) for share in picked)


def course_of(setting: Setting, division: Division) -> Course:
    """The digits task of a development chain, on this division and with initial weights of the seed's own."""
    rounds = len(division.held_out) // setting.samples
    assert setting.rounds <= rounds, f"{setting.rounds} rounds of {setting.samples} samples: {rounds} can be had"
    return replace(
        built_in_course("digits", start=1),
        name=f"digits {setting.seed}",
        held_out=division.held_out,
        shard_samples=setting.samples,
        rounds=rounds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A network's genesis file, its only task, and the blobs that genesis names: manifests and sealed shards."""

    genesis: bytes
    task: bytes
    blobs: tuple[bytes, ...]


def begin(setting: Setting, course: Course, draws: Draws) -> Beginning:
    """Seal the held-out shards and write genesis. All keys come from the seed, so that a game can be repeated."""
    spec = course.spec({}, course.shard_samples // setting.custodians)
    task = task_id(CHAIN_ID, ORDINAL, spec)
    members: list[GenesisCustodian] = []
    blobs: list[bytes] = []
    for part in range(setting.custodians):
        address, shards = address_of(draws.custodian_key(part)), shards_of(course, part, setting.custodians)
        made = prepare_shards(shards, seed=draws.shard_seed(address), task=task, custodian=address)
        blobs += [made.manifest, *made.sealed]
        members.append(
            GenesisCustodian(
                address=address,
                shards_root=made.root,
                key_anchor=made.anchor,
                shards=len(shards),
                bond=setting.table.custodian_bond,
            )
        )
    members.sort(key=lambda member: member.address)
    genesis = _genesis(setting, draws, GenesisTask(spec=spec, custodians=tuple(members)))
    return Beginning(genesis=genesis, task=task, blobs=tuple(blobs))


def _genesis(setting: Setting, draws: Draws, task: GenesisTask) -> bytes:
    """One validator, and accounts as rich as the roles of a development chain."""
    validator = address_of(draws.validator_key())
    accounts = [validator, *(custodian.address for custodian in task.custodians)]
    accounts += [address_of(draws.miner_key(place)) for place in range(len(setting.seats))]
    accounts += setting.others
    return genesis_json(
        chain_id=CHAIN_ID,
        time_ms=GENESIS_TIME_MS,
        balances=dict.fromkeys(accounts, ROLE_BALANCE),
        validators=[(validator, BOOTSTRAP_POWER, BOOTSTRAP_POWER * setting.table.bond_per_power)],
        tasks=[task],
        parameters=setting.overrides,
    )
