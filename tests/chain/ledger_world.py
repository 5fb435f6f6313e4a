"""Home of a small chain for tests of the ledger: funded accounts, signed transactions, the state in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chain import merkle
from chain.abi import encode_call
from chain.crypto import address_of, sha256
from chain.genesis import Genesis, genesis_block, genesis_json, parse_genesis
from chain.operations.learning_store import read_task
from chain.operations.tasks import GenesisCustodian, GenesisTask, task_id
from chain.signing import Fields, sign_transaction
from chain.state import KIND_ACCOUNT, decode_account
from chain.transactions import Transaction
from chain.transition import Built, Execution, apply_block, build_block
from chain.types import COIN, CONTRACT_ADDRESS, GWEI, Block, Header
from chain.vote_signatures import VoteSignatures
from tests.chain.commits import last_commit
from tests.chain.operations.learning_world import CHAIN_ID, CUSTODIANS, SHARDS, prepared, spec_json
from tests.chain.operations.learning_world import root as root_named

KEYS = tuple(sha256(b"account %d" % number) for number in range(4))
ADDRESSES = tuple(address_of(key) for key in KEYS)
PROPOSER_KEY = sha256(b"proposer")
PROPOSER = address_of(PROPOSER_KEY)
STRANGER = sha256(b"stranger")[:20]
BALANCE = 100 * COIN
COMMIT_HEIGHT = 5  # the first at which the task of `network(task=True)` takes updates


def network(
    *,
    task: bool = False,
    balances: Mapping[bytes, int] | None = None,
    validators: Sequence[tuple[bytes, int, int]] = ((PROPOSER, 1000, COIN),),
    **parameters: int,
) -> Genesis:
    """A network whose KEYS hold BALANCE each and whose only validator is PROPOSER; `task`: with a toy task.

    Others may be given as (address, power, bond).
    """
    return parse_genesis(
        genesis_json(
            chain_id=CHAIN_ID,
            time_ms=1_000,
            balances=balances if balances is not None else dict.fromkeys(ADDRESSES, BALANCE),
            validators=validators,
            tasks=[_task()] if task else [],
            parameters=parameters,
        )
    )


def _task() -> GenesisTask:
    spec = spec_json()
    shards = [(address, prepared(address, task_id(CHAIN_ID, 0, spec))) for address in CUSTODIANS]
    custodians = [
        GenesisCustodian(address=address, shards_root=made.root, key_anchor=made.anchor, shards=SHARDS, bond=60 * COIN)
        for address, made in shards
    ]
    return GenesisTask(spec=spec, custodians=tuple(custodians))


def transaction(sender: int = 0, nonce: int = 0, **fields: Any) -> Transaction:
    """A signed transfer of 1 to STRANGER with a tip of 1 gwei; fields of `chain.signing` override."""
    chosen: dict[str, Any] = {
        "chain_id": CHAIN_ID,
        "nonce": nonce,
        "max_priority_fee_per_gas": GWEI,
        "max_fee_per_gas": 100 * GWEI,
        "gas_limit": 21_000,
        "to": STRANGER,
        "value": 1,
    }
    return sign_transaction(Fields(**(chosen | fields)), KEYS[sender])


def commit_update(chain: PlainChain, sender: int = 0, nonce: int = 0) -> Transaction:
    """A call that succeeds at COMMIT_HEIGHT, with its event."""
    task = task_id(CHAIN_ID, 0, spec_json())
    head = chain.read_head(task)
    calldata = encode_call("commitUpdate", task, 0, head, root_named("sealed"), 1000, root_named("key"))
    return transaction(sender, nonce, to=CONTRACT_ADDRESS, data=calldata, gas_limit=300_000, value=10 * COIN)


@dataclass(kw_only=True)
class PlainChain:
    """A chain without disk, tree or threads."""

    genesis: Genesis
    values: dict[bytes, bytes] = field(default_factory=dict)
    tip: Header = field(init=False)
    keys: tuple[bytes, ...] = (PROPOSER_KEY,)  # those that sign commits

    def __post_init__(self) -> None:
        block, changes = genesis_block(self.genesis)
        self.take(block, changes)

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def root_of(self, changes: Mapping[bytes, bytes | None]) -> bytes:
        return merkle.state_root(self._after(changes))

    def _after(self, changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
        return {key: value for key, value in {**self.values, **changes}.items() if value is not None}

    def take(self, block: Block, changes: Mapping[bytes, bytes | None]) -> None:
        """Make a block the tip."""
        self.values = self._after(changes)
        self.tip = block.header

    def build(self, candidates: Sequence[Transaction] = (), **given: Any) -> Built:
        chosen = {"time_ms": self.tip.time_ms + 1000, "proposer": PROPOSER, "last_commit": self.last_commit()} | given
        return build_block(
            self,
            self.tip,
            candidates,
            parameters=self.genesis.parameters,
            state_root_of=self.root_of,
            **chosen,
        )

    def last_commit(self) -> bytes:
        """The commit of the tip."""
        return last_commit(self.tip, self.genesis.hash, *self.keys)

    def apply(self, block: Block, transactions: Sequence[Transaction]) -> Execution:
        return apply_block(
            self,
            self.tip,
            block,
            transactions,
            parameters=self.genesis.parameters,
            state_root_of=self.root_of,
            signers_of=VoteSignatures(self.genesis.hash).signers_of,
        )

    def add(self, candidates: Sequence[Transaction] = ()) -> Built:
        """Build a block, and make it the tip."""
        built = self.build(candidates)
        self.take(built.block, built.execution.changes)
        return built

    def go(self, height: int) -> None:
        """Empty blocks until the next one has this height."""
        while self.tip.height + 1 < height:
            self.add()

    def account(self, address: bytes) -> tuple[int, int]:
        """Nonce and balance."""
        stored = self.values.get(KIND_ACCOUNT + address)
        return decode_account(stored) if stored is not None else (0, 0)

    def balance(self, address: bytes) -> int:
        return self.account(address)[1]

    def money(self, changes: Mapping[bytes, bytes | None] | None = None) -> int:
        """All balances together."""
        after = self._after(changes or {})
        return sum(decode_account(value)[1] for key, value in after.items() if key[:1] == KIND_ACCOUNT)

    def read_head(self, task: bytes) -> bytes:
        state = read_task(self, task)
        assert state is not None
        return state.head
