"""Home of a game on a chain: miners of any strategy on digits, through the whole protocol, block after block.

Everything that a node does is done: signed transactions in blocks that consensus decides, sealed blobs, held, revealed
and judged, records attested and settled. What an account earned is its balance at the end less that at the start.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chain_network import Network, Wallet
from benchmarks.chain_public import PublicTask
from benchmarks.chain_setup import Draws, Seat, Setting, begin, course_of, divide
from benchmarks.disguises import DISGUISES
from benchmarks.strategies import STRATEGIES, Strategy, Vector
from chain.operations.clock import Phase
from chain.operations.learning_state import Fate, Round, RoundStatus
from chain.operations.learning_store import read_custodian
from chain.transactions import Transaction
from learning.commitment import key_commitment
from learning.datasets import Dataset
from learning.sealing import seal_update
from learning.shards import ShardKeys
from learning.updates import encode_update
from rpc.learn_formats import round_object

PLAYED: Mapping[str, Strategy] = {**STRATEGIES, **DISGUISES}
ENDED = (RoundStatus.SETTLED, RoundStatus.VOID, RoundStatus.EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one account had before and after a game and why, in 10^-18 coin; and the fates of its updates."""

    strategy: str
    address: bytes
    began: int
    ended: int
    reward: int
    charge: int
    cut: int
    fee: int
    gas: int
    fates: Mapping[str, int]

    @property
    def net(self) -> int:
        return self.ended - self.began


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A game's end. `rounds` are as `learn_round` answers; accuracies are of the head on samples that nobody saw."""

    statements: tuple[Statement, ...]
    rounds: tuple[dict[str, Any], ...]
    accuracies: tuple[float, ...]  # after every settled round
    height: int

    @property
    def accepted(self) -> int:
        return sum(bool(each["record"] and each["record"]["accepted"]) for each in self.rounds)


def play(setting: Setting, directory: Path | None = None) -> Outcome:
    """A game from genesis until its last round has ended; equal arguments play the same game.

    The chain is written to `directory`, an empty one, and stays there; without it, to a temporary one.
    """
    with tempfile.TemporaryDirectory(prefix="lyceum-game-") as scratch:
        game = Game(setting, directory or Path(scratch))
        try:
            return game.play()
        finally:
            game.network.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commitment:
    """An update that waits for being revealed."""

    round: int
    root: bytes
    key: bytes


@dataclass(slots=True, kw_only=True)
class _Miner:
    """One account at work."""

    seat: Seat
    strategy: Strategy
    wallet: Wallet
    private: Dataset
    began: int
    waiting: list[_Commitment] = field(default_factory=list)


class Game:
    """The players around a network."""

    def __init__(self, setting: Setting, directory: Path) -> None:
        self._setting, self._draws = setting, Draws(setting.seed)
        self._division = divide(self._draws)
        beginning = begin(setting, course_of(setting, self._division), self._draws)
        self.network = Network(directory, beginning.genesis, self._draws.validator_key(), beginning.blobs)
        self._public = PublicTask(self.network, beginning.task)
        self._task, self._clock = beginning.task, self._public.clock
        self._custodians = [self._wallet(self._draws.custodian_key(each)) for each in range(setting.custodians)]
        self._miners = [self._enroll(place, seat) for place, seat in enumerate(setting.seats)]
        self._accuracies: list[float] = []

    def _wallet(self, key: bytes) -> Wallet:
        return Wallet(key, self.network.chain)

    def _enroll(self, place: int, seat: Seat) -> _Miner:
        wallet = self._wallet(self._draws.miner_key(place))
        return _Miner(
            seat=seat,
            strategy=PLAYED[seat.strategy],
            wallet=wallet,
            private=self._division.shares[seat.share],
            began=self.network.balance(wallet.address),
        )

    def play(self) -> Outcome:
        last, evaluator = self._setting.rounds - 1, self.network.evaluator(self._task)
        test = self._division.test
        while (found := self._public.round(last)) is None or found.status not in ENDED:
            settled = self._public.state.settled
            self.network.block(self.transactions(self.network.chain.tip.height + 1))
            if self._public.state.settled != settled:
                right = evaluator.correct(self._public.head(), test.inputs, test.labels)
                self._accuracies.append(right / len(test))
        return self._outcome()

    # --------------------------------------------------------------------------------------------------- one block

    def transactions(self, height: int) -> list[Transaction]:
        """What miners and custodians send for the block of this height."""
        cycle = self._clock.cycle_of(height)
        sent = [*self._reveals(height), *self._openings(cycle - 1)]
        # Like the miner that comes with a node: once a round, as soon as the round before is settled.
        ready = self._clock.phase_of(height) is Phase.COMMIT and not self._public.state.unsettled
        if ready and cycle < self._setting.rounds and self._public.round(cycle) is None:
            sent += self._commits(cycle, height)
        return sent

    def _reveals(self, height: int) -> list[Transaction]:
        sent = []
        for miner in self._miners:
            due = [each for each in miner.waiting if self._clock.accepts_reveals(each.round, height)]
            miner.waiting = [each for each in miner.waiting if each not in due]
            sent += [miner.wallet.call("revealUpdate", self._task, each.round, each.root, each.key) for each in due]
        return sent

    def _openings(self, number: int) -> list[Transaction]:
        round_ = self._public.round(number)
        if round_ is None or round_.status is not RoundStatus.OPENING:
            return []
        opened = {opening.custodian for opening in round_.openings}
        return [self._opening(wallet, number, round_) for wallet in self._custodians if wallet.address not in opened]

    def _opening(self, wallet: Wallet, number: int, round_: Round) -> Transaction:
        custodian = read_custodian(self.network.store, self._task, wallet.address)
        assert custodian is not None
        index = custodian.index_at(round_.ordinal)
        assert index is not None, round_.ordinal
        key = ShardKeys(seed=self._draws.shard_seed(wallet.address), count=custodian.shards).key(index)
        return wallet.call("openShard", self._task, number, key)

    def _commits(self, number: int, height: int) -> list[Transaction]:
        """What all miners commit knowing the newest head, in a random order of places."""
        made = []
        for place, miner in enumerate(self._miners):
            known = self._public.known_to(miner.wallet.address, miner.private)
            made += [(miner, delta) for delta in miner.strategy(known, self._draws.generator("play", number, place))]
        order = self._draws.generator("order", number).permutation(len(made))
        return [self._commit(number, height, place, *made[at]) for place, at in enumerate(order)]

    def _commit(self, number: int, height: int, place: int, miner: _Miner, delta: Vector) -> Transaction:
        """Seal, upload and commit one update."""
        key, address, state = self._draws.secret("key", number, place), miner.wallet.address, self._public.state
        sealed = seal_update(encode_update(delta), key=key, task=self._task, round_number=number, miner=address)
        expires = height + self._clock.cycle
        root = self.network.blobs.upload(sealed, client=address.hex(), task=self._task, expires=expires)
        miner.waiting.append(_Commitment(round=number, root=root, key=key))
        key_hash = key_commitment(key=key, miner=address, task=self._task, round_number=number)
        bond = miner.seat.bond * self._setting.table.bond_minimum
        arguments = (self._task, number, state.head, root, len(sealed), key_hash)
        return miner.wallet.call("commitUpdate", *arguments, value=state.evaluation_fee + bond)

    # --------------------------------------------------------------------------------------------------------- end

    def _outcome(self) -> Outcome:
        rounds = [self._public.round(number) for number in range(self._setting.rounds)]
        held = [found for found in rounds if found is not None]
        assert len(held) == len(rounds), "something was committed in every round"
        return Outcome(
            statements=tuple(self._statement(miner, held) for miner in self._miners),
            rounds=tuple(round_object(self._task, number, found) for number, found in enumerate(held)),
            accuracies=tuple(self._accuracies),
            height=self.network.chain.tip.height,
        )

    def _statement(self, miner: _Miner, rounds: list[Round]) -> Statement:
        """Balances as the chain has them; that they moved by the sum of the reasons is checked to the unit."""
        own = [update for found in rounds for update in found.updates if update.miner == miner.wallet.address]
        statement = Statement(
            strategy=miner.seat.strategy,
            address=miner.wallet.address,
            began=miner.began,
            ended=self.network.balance(miner.wallet.address),
            reward=sum(update.reward for update in own),
            charge=sum(update.charge for update in own),
            cut=sum(update.cut for update in own),
            fee=sum(update.fee for update in own if update.fate not in (Fate.VOID, Fate.NOT_HELD)),
            gas=self.network.gas_paid.get(miner.wallet.address, 0),
            fates=dict(sorted(Counter(update.fate.name for update in own).items())),
        )
        explained = statement.reward - statement.charge - statement.cut - statement.fee - statement.gas
        assert statement.net == explained, f"{statement}: the balance moved by {statement.net}"
        return statement
