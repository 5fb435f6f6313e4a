"""Home of a block's life: what executing it changes, how one is built on a parent, and when one is invalid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chain import contract
from chain.bloom import bloom_of
from chain.codec import amount_to_bytes, block_hash, encode_block, encode_receipt, pack
from chain.errors import InvalidInput
from chain.last_commit import InvalidCommit, SignersOf, check_signatures, read_last_commit
from chain.ledger import Environment, InexecutableTransaction, apply_transaction, call_context, next_base_fee
from chain.merkle import list_root
from chain.parameters import Parameters
from chain.state import View, WorkingState
from chain.transactions import Transaction
from chain.types import EMPTY_BLOOM, ZERO_ADDRESS, Block, Header, Log, Receipt
from consensus.types import Commit

GAS_OF_A_TRANSFER = 21_000


class InvalidBlock(InvalidInput):
    """A block that no honest proposer builds on its parent; the message names height and field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a block's transactions and phase ends did to the state before it."""

    changes: dict[bytes, bytes | None]
    receipts: tuple[Receipt, ...]
    encoded_receipts: tuple[bytes, ...]
    gas_used: int
    logs_bloom: bytes
    weights_root: bytes
    voters: tuple[tuple[bytes, int], ...]  # who votes on the next block: (vote address, power)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A block, its decoded transactions, and what it changes."""

    block: Block
    hash: bytes
    transactions: tuple[Transaction, ...]
    execution: Execution


def validators_hash(validators: Iterable[tuple[bytes, int]]) -> bytes:
    """Commitment of a header to the vote addresses and voting powers of one height."""
    return hashlib.sha256(
        b"lyceum/validators/1\0" + pack(tuple((address, amount_to_bytes(power)) for address, power in validators))
    ).digest()


def environment_of(header: Header, parameters: Parameters) -> Environment:
    return Environment(
        chain_id=header.chain_id,
        height=header.height,
        time_ms=header.time_ms,
        proposer=header.proposer,
        base_fee=header.base_fee,
        gas_limit=header.gas_limit,
        parameters=parameters,
    )


def execute(
    view: View, transactions: Iterable[Transaction], environment: Environment, last_commit: Commit | None
) -> Execution:
    """Run a block's transactions in order, then the ends of phases and epochs that fall on its height.

    Raises InexecutableTransaction for the first one that can't stand where it is.
    """
    state = begin(view, environment, last_commit)
    receipts = []
    gas_left = environment.gas_limit
    for transaction in transactions:
        receipt = apply_transaction(state, transaction, gas_left, environment)
        gas_left -= receipt.gas_used
        receipts.append(receipt)
    return finish(state, receipts, environment)


def begin(view: View, environment: Environment, last_commit: Commit | None) -> WorkingState:
    """The state that a block's first transaction meets."""
    state = WorkingState(view)
    signers = frozenset(voter for voter, _ in last_commit.signatures) if last_commit else None
    contract.begin_block(state, call_context(ZERO_ADDRESS, 0, environment), signers)
    return state


def finish(state: WorkingState, receipts: Sequence[Receipt], environment: Environment) -> Execution:
    contract.end_block(state, call_context(ZERO_ADDRESS, 0, environment))
    logs: list[Log] = [log for receipt in receipts for log in receipt.logs]
    return Execution(
        changes=state.changes(),
        receipts=tuple(receipts),
        encoded_receipts=encode_all(receipts),
        gas_used=sum(receipt.gas_used for receipt in receipts),
        logs_bloom=bloom_of(logs) if logs else EMPTY_BLOOM,
        weights_root=list_root(contract.heads(state)),
        voters=contract.voters_of(state),
    )


def encode_all(receipts: Sequence[Receipt]) -> tuple[bytes, ...]:
    """Encoded receipts; transfers at one price share a receipt, and so its encoding."""
    known: dict[int, bytes] = {}
    for receipt in receipts:
        if id(receipt) not in known:
            known[id(receipt)] = encode_receipt(receipt)
    return tuple([known[id(receipt)] for receipt in receipts])


def build_block(
    view: View,
    parent: Header,
    candidates: Sequence[Transaction],
    *,
    time_ms: int,
    proposer: bytes,
    last_commit: bytes,
    parameters: Parameters,
    state_root_of: Callable[[dict[bytes, bytes | None]], bytes],
) -> Built:
    """The block of the candidates, in their order, that fit on `parent`; those that can't stand are left out.

    `state_root_of` gives the root of the parent's state with the changes. Raises InvalidBlock for a last commit that no
    block may carry; its signatures are taken to be right.
    """
    draft = draft_header(parent, time_ms=time_ms, proposer=proposer, last_commit=last_commit, parameters=parameters)
    environment = environment_of(draft, parameters)
    state = begin(view, environment, _last_commit(view, parent, last_commit, parameters))
    receipts: list[Receipt] = []
    included: list[Transaction] = []
    gas_left = draft.gas_limit
    bytes_left = parameters.block_bytes_max - len(last_commit) - 2048
    for transaction in candidates:
        if gas_left < GAS_OF_A_TRANSFER:
            break
        if len(transaction.raw) + 5 > bytes_left:
            continue
        try:
            receipt = apply_transaction(state, transaction, gas_left, environment)
        except InexecutableTransaction:
            continue
        gas_left -= receipt.gas_used
        bytes_left -= len(transaction.raw) + 5
        receipts.append(receipt)
        included.append(transaction)
    execution = finish(state, receipts, environment)
    raws = tuple(transaction.raw for transaction in included)
    header = replace(
        draft,
        transactions_root=list_root(raws),
        receipts_root=list_root(execution.encoded_receipts),
        state_root=state_root_of(execution.changes),
        weights_root=execution.weights_root,
        validators_hash=parent.next_validators_hash,
        next_validators_hash=validators_hash(execution.voters),
        gas_used=execution.gas_used,
        logs_bloom=execution.logs_bloom,
    )
    block = Block(header=header, transactions=raws, last_commit=last_commit)
    return Built(block=block, hash=block_hash(header), transactions=tuple(included), execution=execution)


def draft_header(
    parent: Header, *, time_ms: int, proposer: bytes, last_commit: bytes, parameters: Parameters
) -> Header:
    """The child's header with everything that is known before execution; the rest as in the parent."""
    return replace(
        parent,
        height=parent.height + 1,
        time_ms=max(time_ms, parent.time_ms + 1),
        parent=block_hash(parent),
        proposer=proposer,
        last_commit_root=hashlib.sha256(last_commit).digest(),
        gas_limit=parameters.block_gas_limit,
        base_fee=next_base_fee(parent, parameters),
    )


def apply_block(
    view: View,
    parent: Header,
    block: Block,
    transactions: Sequence[Transaction],
    *,
    parameters: Parameters,
    state_root_of: Callable[[dict[bytes, bytes | None]], bytes],
    signers_of: SignersOf,
) -> Execution:
    """Execute a block on its parent's state and compare everything that its header claims.

    `transactions` are the block's, decoded, with recovered senders. `signers_of` recovers the signers of its last
    commit. Raises InvalidBlock naming height and field.
    """
    header = block.header
    check_header(parent, block, parameters)
    if header.proposer not in dict(contract.voters_of(view)):
        raise InvalidBlock(f"height {header.height}: proposer: 0x{header.proposer.hex()} is no validator's vote key")
    commit = _last_commit(view, parent, block.last_commit, parameters, signers_of)
    try:
        execution = execute(view, transactions, environment_of(header, parameters), commit)
    except InexecutableTransaction as error:
        raise InvalidBlock(f"height {header.height}: transactions: {error}") from error
    claims = {
        "transactions_root": list_root(block.transactions),
        "receipts_root": list_root(execution.encoded_receipts),
        "gas_used": execution.gas_used,
        "logs_bloom": execution.logs_bloom,
        "weights_root": execution.weights_root,
        "next_validators_hash": validators_hash(execution.voters),
    }
    for field, expected in claims.items():
        require(header, field, expected)
    require(header, "state_root", state_root_of(execution.changes))
    return execution


def _last_commit(
    view: View, parent: Header, encoded: bytes, parameters: Parameters, signers_of: SignersOf | None = None
) -> Commit | None:
    """The commit in the block after `parent`. Raises InvalidBlock."""
    try:
        commit = read_last_commit(view, parent, encoded, parameters)
        if commit and signers_of:
            check_signatures(commit, signers_of)
    except InvalidCommit as error:
        raise InvalidBlock(f"height {parent.height + 1}: last_commit: {error}") from error
    return commit


def check_header(parent: Header, block: Block, parameters: Parameters) -> None:
    """Everything that a header must say before its transactions are executed."""
    header = block.header
    expected = draft_header(
        parent,
        time_ms=header.time_ms,
        proposer=header.proposer,
        last_commit=block.last_commit,
        parameters=parameters,
    )
    for field in ("chain_id", "height", "parent", "time_ms", "last_commit_root", "gas_limit", "base_fee"):
        require(header, field, getattr(expected, field))
    require(header, "validators_hash", parent.next_validators_hash)
    size = len(encode_block(block))
    if size > parameters.block_bytes_max:
        raise InvalidBlock(f"height {header.height}: size: {size} bytes, at most {parameters.block_bytes_max}")


def require(header: Header, field: str, expected: object) -> None:
    claimed = getattr(header, field)
    if claimed != expected:
        raise InvalidBlock(f"height {header.height}: {field}: header says {shown(claimed)}, it is {shown(expected)}")


def shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
