"""Home of those who use simulated nodes: miners, custodians and payers, which act on what a node's tip says.

They are processes of their own, which no crash reaches; what they sent and what had no effect is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.abi import encode_call
from chain.crypto import address_of
from chain.judging import head_weights
from chain.operations.clock import Clock
from chain.operations.learning_state import RoundStatus
from chain.operations.learning_store import read_custodian, read_round, read_task, read_tasks
from chain.operations.tasks import parse_spec
from chain.types import COIN
from learning.commitment import blob_root, key_commitment
from learning.sealing import seal_update
from learning.updates import encode_update
from tests.sim import task, transactions
from tests.sim.ledger import Ledger

if TYPE_CHECKING:
    from tests.sim.world import World

RESEND_BLOCKS = 3
NOISES = 4
"""Different noises of a miner's updates: few, so that equal rounds of different histories are settled once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A call that is due. `name` is the same as long as it is the same wish."""

    name: tuple[object, ...]
    calldata: bytes
    value: int = 0


class Client:
    """An account with a favourite node; where that is down, it turns to the next one that is up."""

    def __init__(self, world: World, key: bytes, home: int) -> None:
        self.address = address_of(key)
        self.home = home
        self._world, self._key = world, key
        self._sent: dict[tuple[object, ...], int] = {}

    def serves(self, index: int) -> bool:
        """Whether node `index` is the one whose tip this client follows now."""
        count = len(self._world.peers)
        order = ((self.home + step) % count for step in range(count))
        return index == next((each for each in order if self._world.peers[each].up()), -1)

    def act(self, ledger: Ledger) -> list[bytes]:
        """Transactions for the next block, to be sent to every node: what is due and was not sent lately."""
        height = ledger.chain.tip.height
        nonce, raws = ledger.next_nonce(self.address), []
        for wish in self.wishes(ledger, height + 1):
            if self._sent.get(wish.name, -RESEND_BLOCKS) + RESEND_BLOCKS > height:
                continue
            self._sent[wish.name] = height
            made = transactions.call(self._key, nonce, wish.calldata, wish.value, ledger.chain.parameters)
            raws.append(made.raw)
            nonce += 1
        return raws

    def wishes(self, ledger: Ledger, height: int) -> list[Wish]:
        raise NotImplementedError


class Custodian(Client):
    """Opens its shard when a round opens shards."""

    def wishes(self, ledger: Ledger, height: int) -> list[Wish]:
        number = _clock(ledger).cycle_of(height) - 1
        round_ = read_round(ledger.store, task.TASK, number) if number >= 0 else None
        if round_ is None or round_.status is not RoundStatus.OPENING:
            return []
        custodian = read_custodian(ledger.store, task.TASK, self.address)
        index = custodian.index_at(round_.ordinal) if custodian else None
        if index is None or any(opening.custodian == self.address for opening in round_.openings):
            return []
        key = task.shard_keys(self.address).key(index)
        return [Wish(name=("open", number), calldata=encode_call("openShard", task.TASK, number, key))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    """A sealed update and its key."""

    root: bytes
    key: bytes
    size: int
    base: bytes
    sealed: bytes


class Miner(Client):
    """Commits an update a round and reveals it; `withholds` its blobs if it is a liar's."""

    def __init__(self, world: World, key: bytes, home: int, *, withholds: bool = False) -> None:
        super().__init__(world, key, home)
        self._withholds = withholds
        self._updates: dict[int, _Update] = {}

    def wishes(self, ledger: Ledger, height: int) -> list[Wish]:
        clock = _clock(ledger)
        cycle = clock.cycle_of(height)
        wishes = []
        if clock.accepts_reveals(cycle - 1, height) and (update := self._updates.get(cycle - 1)):
            wishes += self._reveal(ledger, cycle - 1, update)
        if clock.accepts_commits(height) and clock.position_of(height) < clock.cycle - clock.hold - 1:
            wishes += self._commit(ledger, cycle)
        return wishes

    def _reveal(self, ledger: Ledger, number: int, update: _Update) -> list[Wish]:
        round_ = read_round(ledger.store, task.TASK, number)
        own = [each for each in (round_.updates if round_ else ()) if each.sealed_root == update.root and not each.key]
        if not own:
            return []
        calldata = encode_call("revealUpdate", task.TASK, number, update.root, update.key)
        return [Wish(name=("reveal", number), calldata=calldata)]

    def _commit(self, ledger: Ledger, number: int) -> list[Wish]:
        round_, state = read_round(ledger.store, task.TASK, number), read_task(ledger.store, task.TASK)
        assert state is not None
        if round_ is not None and any(each.miner == self.address for each in round_.updates):
            return []
        update = self._updates.get(number) or self._make(ledger, number, state.head)
        if update is None:
            return []
        self._updates[number] = update
        self._world.checkers.blob_made(update.root, update.sealed)
        if not self._withholds:
            self._upload(ledger, update)
        key_hash = key_commitment(key=update.key, miner=self.address, task=task.TASK, round_number=number)
        arguments = (task.TASK, number, update.base, update.root, update.size, key_hash)
        value = state.evaluation_fee + task.BOND
        return [Wish(name=("commit", number), calldata=encode_call("commitUpdate", *arguments), value=value)]

    def _upload(self, ledger: Ledger, update: _Update) -> None:
        """Give the blob to the own node; the others get it from there, if nothing is lost on the way."""
        ledger.blobs.put(update.sealed)

    def _make(self, ledger: Ledger, number: int, base: bytes) -> _Update | None:
        spec = parse_spec(task.spec_json(), ledger.chain.parameters)
        weights = head_weights(spec, base, ledger.blobs.get)
        if weights is None:
            return None
        delta = task.update_from(weights, self.address[0] * NOISES + number % NOISES)
        key = task.secret("update", self.address, number)
        sealed = seal_update(encode_update(delta), key=key, task=task.TASK, round_number=number, miner=self.address)
        return _Update(root=blob_root(sealed), key=key, size=len(sealed), base=base, sealed=sealed)


class Payer(Client):
    """Sends a coin to somebody with every block, so that blocks have something to say."""

    def act(self, ledger: Ledger) -> list[bytes]:
        height = ledger.chain.tip.height
        nonce, balance = ledger.next_nonce(self.address), ledger.account(self.address)[1]
        if balance < 2 * COIN or height % 2:
            return []
        to = task.secret("receiver", height % 3)[:20]
        return [transactions.transfer(self._key, nonce, to, COIN + height).raw]


def _clock(ledger: Ledger) -> Clock:
    return next(entry.clock for entry in read_tasks(ledger.store) if entry.task == task.TASK)
