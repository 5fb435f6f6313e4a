"""Home of a game without a chain: miners of any strategy on digits, round after round of the real settlement."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from math import isqrt

import numpy as np

from benchmarks.strategies import STRATEGIES, Knowledge, Revealed, Vector
from chain.parameters import Parameters
from chain.types import COIN
from learning.architecture import Architecture
from learning.commitment import Int32Array, beacon, blob_root, update_id
from learning.datasets import BUILT_IN, PARTS, Dataset, load
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.record import UpdateOutcome
from learning.round import OpenedShard, PastUpdate, RevealedUpdate, Settlement, SettlementInput
from learning.rules import Rules
from learning.sealing import seal_update
from learning.settlement import settle
from learning.shards import PreparedShards, Shard, ShardKeys, prepare_shards
from learning.updates import encode_update

CHAIN_ID = 1
HONEST = 3
SHARE_CONCENTRATION = 0.5  # of the Dirichlet draw that divides each class among the accounts that have data
GAS_PER_ROUND = COIN // 1000  # of a commit and a reveal, at several times the least gas price
ARCHITECTURE = Architecture(layers=(64, 32, 10), input_exponent=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The numbers of a game; amounts in 10^-18 coin, `samples` held out a round by all custodians together."""

    seed: int
    rounds: int
    custodians: int
    samples: int
    bond: int
    fee: int
    parameters: Parameters

    @property
    def rules(self) -> Rules:
        """The task's rules as a chain with these parameters has them."""
        table = self.parameters
        numbers = {name: getattr(table, name) for name in Parameters.__dataclass_fields__}
        numbers |= {"cap": table.round_cap, "minimum_openings": table.openings_minimum}
        numbers |= {
            "shard_samples": self.samples // self.custodians,
            "bond_minimum": min(table.bond_minimum, self.bond),
        }
        return Rules.from_mapping(numbers, ARCHITECTURE)


@dataclass(slots=True, kw_only=True)
class Account:
    """What one account got and paid so far, in 10^-18 coin, and what became of its updates."""

    strategy: str
    address: bytes
    private: Dataset
    reward: int = 0
    charge: int = 0
    cut: int = 0
    fee: int = 0
    gas: int = 0
    streak: int = 0
    fates: dict[str, int] = field(default_factory=dict)

    @property
    def net(self) -> int:
        return self.reward - self.charge - self.cut - self.fee - self.gas

    def book(self, outcomes: list[UpdateOutcome]) -> None:
        """Take the record's lines on this account's updates of one round."""
        for outcome in outcomes:
            self.reward += outcome.reward
            self.charge += outcome.charge
            self.cut += outcome.cut
            self.fates[outcome.fate.name] = self.fates.get(outcome.fate.name, 0) + 1
        self.streak = max((outcome.streak for outcome in outcomes), default=self.streak)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A game's end: accounts, accepted rounds, and the head's accuracy on never-seen samples after every round."""

    accounts: tuple[Account, ...]
    accepted: int
    accuracies: tuple[float, ...]


def play(setting: Setting, hostile: tuple[str, ...]) -> Outcome:
    """A game of three honest miners and the hostile ones; equal arguments play the same game."""
    return _Game(setting, hostile).play()


class _Game:
    """What a chain would hold of one task, its accounts and its custodians."""

    def __init__(self, setting: Setting, hostile: tuple[str, ...]) -> None:
        self.setting, self.rules = setting, setting.rules
        self.task = self._secret("task")
        self.evaluator = Evaluator(ARCHITECTURE)
        self.test, held_out, pool = _cut(setting)
        self.accounts = self._enroll(hostile, pool)
        self.custodians = sorted(self._secret("custodian", j)[:20] for j in range(setting.custodians))
        self.shards = [self._shards_of(held_out, j) for j in range(setting.custodians)]
        self.prepared = [
            self._prepare(shards, address) for shards, address in zip(self.shards, self.custodians, strict=True)
        ]
        head = initial_weights(ARCHITECTURE, self._secret("weights"))
        self.heads: list[Int32Array] = [head]
        self.radius = isqrt(int(np.square(head.astype(np.int64)).sum())) // 2
        self.radius_floor = self.radius // 10
        self.step: Int32Array | None = None
        self.previous: tuple[Shard, ...] = ()
        self.decoded: list[tuple[PastUpdate, ...]] = []  # of each round
        self.revealed: tuple[Revealed, ...] = ()

    def play(self) -> Outcome:
        accepted, accuracies = 0, []
        for round_number in range(self.setting.rounds):
            updates = self._commit(round_number)
            given = self._given(round_number, updates)
            settlement = settle(given, self.evaluator)
            self._take(given, settlement)
            accepted += settlement.record.accepted
            right = self.evaluator.correct(settlement.head, self.test.inputs, self.test.labels)
            accuracies.append(right / len(self.test))
        return Outcome(accounts=tuple(self.accounts), accepted=accepted, accuracies=tuple(accuracies))

    def _enroll(self, hostile: tuple[str, ...], pool: Dataset) -> list[Account]:
        """The honest on the first shares, all hostile ones on the last: adding some takes no data from the honest."""
        shares = _non_iid(pool, HONEST + 1, self._generator("shares"))
        names = ("honest",) * HONEST + hostile
        return [
            Account(strategy=name, address=self._secret("account", i)[:20], private=shares[min(i, HONEST)])
            for i, name in enumerate(names)
        ]

    def _commit(self, round_number: int) -> tuple[RevealedUpdate, ...]:
        """What all accounts commit knowing the newest head, sealed, in a random order of places."""
        committed = []
        for i, account in enumerate(self.accounts):
            deltas = STRATEGIES[account.strategy](
                self._known_to(account, round_number), self._generator("play", round_number, i)
            )
            account.fee += self.setting.fee * len(deltas)
            account.gas += GAS_PER_ROUND * bool(deltas)
            committed += [(account, self._secret("key", round_number, i, j), delta) for j, delta in enumerate(deltas)]
        order = self._generator("order", round_number).permutation(len(committed))
        return tuple(self._sealed(round_number, place, *committed[at]) for place, at in enumerate(order))

    def _known_to(self, account: Account, round_number: int) -> Knowledge:
        opened = [shard for shards in self.shards for shard in shards[:round_number]]
        inputs = [shard.inputs for shard in opened] or [account.private.inputs[:0]]
        labels = [shard.labels for shard in opened] or [account.private.labels[:0]]
        return Knowledge(
            account=account.address,
            architecture=ARCHITECTURE,
            heads=tuple(head.astype(np.int64) for head in self.heads[-3:]),
            revealed=self.revealed,
            radius=self.radius,
            private=account.private,
            public=Dataset(inputs=np.concatenate(inputs), labels=np.concatenate(labels), classes=ARCHITECTURE.classes),
        )

    def _sealed(self, round_number: int, place: int, account: Account, key: bytes, delta: Vector) -> RevealedUpdate:
        plain, miner = encode_update(delta), account.address
        sealed = seal_update(plain, key=key, task=self.task, round_number=round_number, miner=miner)
        name = update_id(
            chain_id=CHAIN_ID, task=self.task, round_number=round_number, miner=miner, sealed_root=blob_root(sealed)
        )
        return RevealedUpdate(
            place=place,
            id=name,
            miner=miner,
            bond=self.setting.bond,
            base=self.heads[-1],
            key=key,
            sealed=sealed,
            streak=account.streak,
        )

    def _given(self, round_number: int, updates: tuple[RevealedUpdate, ...]) -> SettlementInput:
        opened = tuple(self._opened(j, round_number) for j in range(self.setting.custodians))
        keys = [shard.key for shard in opened]
        window = self.decoded[-self.setting.parameters.copy_window_rounds :]
        return SettlementInput(
            rules=self.rules,
            task=self.task,
            round=round_number,
            beacon=beacon(
                task=self.task,
                round_number=round_number,
                shard_keys=keys,
                update_keys=[update.key for update in updates],
            ),
            head=self.heads[-1],
            updates=updates,
            shards=opened,
            step=self.step,
            previous=self.previous,
            radius=self.radius,
            radius_floor=self.radius_floor,
            recent=tuple(past for decoded in window for past in decoded),
        )

    def _take(self, given: SettlementInput, settlement: Settlement) -> None:
        """What a chain does with a settled record: book it, and keep what the next round is given."""
        miner_of = {update.id: update.miner for update in given.updates}
        for account in self.accounts:
            account.book([line for line in settlement.record.updates if miner_of[line.id] == account.address])
        lines = settlement.record.updates
        assert len(lines) == len(settlement.decoded), "every update of a game is well-formed"
        self.revealed = tuple(
            Revealed(account=past.miner, delta=past.delta.astype(np.int64), contribution=line.contribution)
            for past, line in zip(settlement.decoded, lines, strict=True)
        )
        self.heads.append(settlement.head)
        self.decoded.append(settlement.decoded)
        self.step, self.previous, self.radius = settlement.step, settlement.previous, settlement.radius

    def _shards_of(self, held_out: Dataset, custodian: int) -> list[Shard]:
        count, size = self.setting.custodians, self.rules.shard_samples
        starts = [(round_number * count + custodian) * size for round_number in range(self.setting.rounds)]
        parts = [held_out.take(slice(start, start + size)) for start in starts]
        return [Shard(inputs=part.inputs, labels=part.labels) for part in parts]

    def _prepare(self, shards: list[Shard], address: bytes) -> PreparedShards:
        return prepare_shards(shards, seed=self._secret("shard-seed", address), task=self.task, custodian=address)

    def _opened(self, custodian: int, index: int) -> OpenedShard:
        address = self.custodians[custodian]
        keys = ShardKeys(seed=self._secret("shard-seed", address), count=self.setting.rounds)
        sealed = self.prepared[custodian].sealed[index]
        return OpenedShard(custodian=address, index=index, key=keys.key(index), sealed=sealed)

    def _secret(self, *name: object) -> bytes:
        """32 bytes that depend on the game's seed and the name alone."""
        return hashlib.sha256(repr((self.setting.seed, *name)).encode()).digest()

    def _generator(self, *name: object) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(int.from_bytes(self._secret("generator", *name), "big")))


def _cut(setting: Setting) -> tuple[Dataset, Dataset, Dataset]:
    """All digits in an order of the seed's: never seen by anyone, held out, and for miners to train on."""
    parts = [load(f"digits@{part}") for part in PARTS]
    digits = Dataset(
        inputs=np.concatenate([part.inputs for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        classes=parts[0].classes,
    )
    order = np.random.Generator(np.random.PCG64(setting.seed)).permutation(len(digits))
    test, held_out = BUILT_IN["digits"].test_samples, BUILT_IN["digits"].held_out_samples
    assert setting.rounds * setting.samples <= held_out, (setting.rounds, setting.samples, held_out)
    return (
        digits.take(order[:test]),
        digits.take(order[test : test + held_out]),
        digits.take(order[test + held_out :]),
    )


def _non_iid(data: Dataset, count: int, rng: np.random.Generator) -> list[Dataset]:
    """Disjoint shares, each class divided by a Dirichlet draw (Hsu et al. 2019)."""
    picked: list[list[int]] = [[] for _ in range(count)]
    for label in range(data.classes):
        indices = np.flatnonzero(data.labels == label)
        cuts = (np.cumsum(rng.dirichlet([SHARE_CONCENTRATION] * count)) * len(indices)).astype(int)
        for share, part in zip(picked, np.split(indices, cuts[:-1]), strict=True):
            share.extend(part.tolist())
    return [data.take(np.array(share, dtype=np.int64)) for share in picked]
