"""Tests of a block's life: what is built on a parent is accepted there, nothing else is, and no money appears."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.bloom import bloom_of, may_contain
from chain.codec import decode_block, encode_block, encode_receipt
from chain.ledger import next_base_fee
from chain.merkle import list_root
from chain.transactions import Transaction, decode_with_sender, intrinsic_gas
from chain.transition import InvalidBlock
from chain.types import COIN, CONTRACT_ADDRESS, EMPTY_BLOOM, GWEI, ZERO_HASH, Header
from tests.chain.ledger_world import (
    ADDRESSES,
    BALANCE,
    COMMIT_HEIGHT,
    PROPOSER,
    STRANGER,
    PlainChain,
    commit_update,
    network,
    transaction,
)

GENESIS = network(block_gas_limit=1_000_000)
GAS_OF_AN_UNKNOWN_CALL = GENESIS.parameters.gas_view

transactions = st.fixed_dictionaries(
    {
        "sender": st.integers(0, 3),
        "skip": st.sampled_from([0] * 8 + [1, -1]),
        "to": st.sampled_from([STRANGER, *ADDRESSES, PROPOSER, CONTRACT_ADDRESS, CONTRACT_ADDRESS]),
        "value": st.sampled_from([0, 1, COIN, BALANCE // 3, BALANCE]),
        "tip": st.sampled_from([0, 1, GWEI, 5 * GWEI]),
        "fee": st.sampled_from([GWEI - 1, GWEI, GWEI + 1, 2 * GWEI, 100 * GWEI]),
        "gas_limit": st.sampled_from([20_999, 21_000, 22_000, 60_000, 400_000]),
        "data": st.sampled_from([b"", b"", b"\0\1"]),
    }
)


def signed(drawn: list[dict[str, Any]]) -> list[Transaction]:
    """The drawn transactions, each sender's on nonces that mostly follow one another."""
    nonces = [0] * 4
    made = []
    for given_ in drawn:
        sender = given_["sender"]
        made.append(
            transaction(
                sender,
                max(0, nonces[sender] + given_["skip"]),
                to=given_["to"],
                value=given_["value"],
                max_fee_per_gas=given_["fee"],
                max_priority_fee_per_gas=min(given_["tip"], given_["fee"]),
                gas_limit=given_["gas_limit"],
                data=given_["data"],
            )
        )
        nonces[sender] += 1
    return made


@dataclass
class PlainLedger:
    """The rules once more, without calls that succeed: balances and nonces of a dictionary each."""

    base_fee: int
    gas_left: int
    balances: dict[bytes, int]
    nonces: dict[bytes, int] = field(default_factory=dict)
    burnt: int = 0
    receipts: list[tuple[int, int]] = field(default_factory=list)  # status, gas
    included: list[Transaction] = field(default_factory=list)

    def add(self, sent: Transaction) -> None:
        sender, balances = sent.sender, self.balances
        stands = (
            self.gas_left >= sent.gas_limit >= intrinsic_gas(sent)
            and sent.nonce == self.nonces.get(sender, 0)
            and sent.max_fee_per_gas >= self.base_fee
            and balances[sender] >= sent.gas_limit * sent.max_fee_per_gas + sent.value
        )
        if not stands:
            return
        status, gas = 1, intrinsic_gas(sent)
        if sent.to == CONTRACT_ADDRESS:  # no calldata drawn is one that the contract knows
            status, gas = 0, min(sent.gas_limit, gas + GAS_OF_AN_UNKNOWN_CALL)
        tip = min(sent.max_priority_fee_per_gas, sent.max_fee_per_gas - self.base_fee)
        self.nonces[sender] = sent.nonce + 1
        balances[sender] -= gas * (self.base_fee + tip) + sent.value * status
        balances[sent.to] = balances.get(sent.to, 0) + sent.value * status
        balances[PROPOSER] = balances.get(PROPOSER, 0) + gas * tip
        self.burnt += gas * self.base_fee
        self.gas_left -= gas
        self.receipts.append((status, gas))
        self.included.append(sent)


@settings(max_examples=80)
@given(st.lists(transactions, max_size=12))
def test_block_of_any_candidates_is_accepted_and_does_what_the_plain_rules_say(drawn: list[dict[str, Any]]) -> None:
    chain = PlainChain(genesis=GENESIS)
    candidates = signed(drawn)
    built = chain.build(candidates)
    plain = PlainLedger(
        base_fee=built.block.header.base_fee, gas_left=1_000_000, balances=dict.fromkeys(ADDRESSES, BALANCE)
    )
    for candidate in candidates:
        plain.add(candidate)
    assert list(built.transactions) == plain.included
    assert [(receipt.status, receipt.gas_used) for receipt in built.execution.receipts] == plain.receipts

    received = decode_block(encode_block(built.block))
    decoded = [decode_with_sender(raw, GENESIS.chain_id) for raw in received.transactions]
    assert chain.apply(received, decoded) == built.execution

    before = chain.money()
    chain.take(built.block, built.execution.changes)
    assert chain.money() == before - plain.burnt
    for address in (*ADDRESSES, STRANGER, PROPOSER):
        assert chain.account(address) == (plain.nonces.get(address, 0), plain.balances.get(address, 0))


@settings(max_examples=15)
@given(st.lists(st.lists(transactions, max_size=4), min_size=2, max_size=4))
def test_blocks_on_blocks_burn_the_base_fee_and_nothing_else(drawn: list[list[dict[str, Any]]]) -> None:
    chain = PlainChain(genesis=GENESIS)
    for some in drawn:
        money = chain.money()
        built = chain.add(signed(some))
        assert chain.money() == money - built.execution.gas_used * built.block.header.base_fee


# -------------------------------------------------------------------------------------------- what makes one invalid


@pytest.fixture
def chain() -> PlainChain:
    return PlainChain(genesis=GENESIS)


def refusal(chain: PlainChain, built: Any, **changes: Any) -> str:
    block = replace(built.block, header=replace(built.block.header, **changes))
    with pytest.raises(InvalidBlock) as raised:
        chain.apply(block, built.transactions)
    return str(raised.value)


WRONG: dict[str, Any] = {
    name: bytes(range(32))
    for name in (
        "parent",
        "transactions_root",
        "receipts_root",
        "state_root",
        "weights_root",
        "last_commit_root",
        "validators_hash",
        "next_validators_hash",
    )
}
WRONG |= {"chain_id": 78, "height": 3, "time_ms": 1_000, "gas_used": 42_001, "gas_limit": 1_000_001}
WRONG |= {"base_fee": GWEI + 1, "logs_bloom": bytes(255) + b"\1"}


def test_every_header_field_is_tried() -> None:
    assert {*WRONG, "proposer"} == {item.name for item in fields(Header)}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_header_field_is_named_with_the_height(chain: PlainChain, name: str) -> None:
    chain.add()
    built = chain.build([transaction(), transaction(1)])
    if name == "height":
        assert refusal(chain, built, height=7) == "height 7: height: header says 7, it is 2"
        return
    if name == "time_ms":
        assert refusal(chain, built, time_ms=chain.tip.time_ms).startswith("height 2: time_ms: header says")
        return
    message = refusal(chain, built, **{name: WRONG[name]})
    assert message.startswith(f"height 2: {name}: header says ")


def test_message_shows_both_values(chain: PlainChain) -> None:
    built = chain.build([transaction()])
    assert refusal(chain, built, gas_used=5) == "height 1: gas_used: header says 5, it is 21000"
    right = built.block.header.state_root.hex()
    assert (
        refusal(chain, built, state_root=ZERO_HASH) == f"height 1: state_root: header says {'00' * 32}, it is {right}"
    )


def test_any_later_time_is_valid(chain: PlainChain) -> None:
    built = chain.build([transaction()])
    for time_ms in (chain.tip.time_ms + 1, 2**63):
        header = replace(built.block.header, time_ms=time_ms)
        assert chain.apply(replace(built.block, header=header), built.transactions) == built.execution


def test_a_builder_that_is_no_validator_makes_a_block_invalid(chain: PlainChain) -> None:
    assert "height 1: proposer:" in refusal(chain, chain.build([transaction()]), proposer=STRANGER)
    assert "height 1: proposer:" in refusal(chain, chain.build([]), proposer=CONTRACT_ADDRESS)


def test_transaction_that_cannot_stand_is_named(chain: PlainChain) -> None:
    built = chain.build([transaction(), transaction(nonce=1)])
    (first, second), block = built.transactions, built.block
    for wrong, reason in (((second, first), "nonce 1 where the account's next is 0"), ((first, first), "nonce 0")):
        swapped = replace(block, transactions=tuple(sent.raw for sent in wrong))
        with pytest.raises(InvalidBlock, match=f"height 1: transactions: {reason}"):
            chain.apply(swapped, wrong)


def test_transactions_after_one_another_are_committed_in_their_order(chain: PlainChain) -> None:
    built = chain.build([transaction(), transaction(1)])
    swapped = replace(built.block, transactions=built.block.transactions[::-1])
    with pytest.raises(InvalidBlock, match="height 1: transactions_root"):
        chain.apply(swapped, built.transactions[::-1])


def test_other_last_commit_is_named(chain: PlainChain) -> None:
    built = chain.build()
    with pytest.raises(InvalidBlock, match="height 1: last_commit_root"):
        chain.apply(replace(built.block, last_commit=b"another"), ())


def test_block_above_the_size_is_named() -> None:
    chain = PlainChain(genesis=network(block_bytes_max=1 << 16))
    sent = tuple(transaction(number, data=bytes(30_000), gas_limit=200_000) for number in range(3))
    block = replace(chain.build().block, transactions=tuple(each.raw for each in sent))
    with pytest.raises(InvalidBlock, match=r"height 1: size: \d+ bytes, at most 65536"):
        chain.apply(block, sent)


def test_gas_of_a_block_is_bounded(chain: PlainChain) -> None:
    sent = [transaction(0, nonce, gas_limit=400_000) for nonce in range(3)] + [transaction(1)]
    assert len(chain.build(sent).transactions) == 4  # a limit is only set aside, what is used counts
    full = [transaction(number % 4, number // 4) for number in range(50)]
    built = chain.build(full)
    assert (len(built.transactions), built.execution.gas_used) == (47, 987_000)
    chain.apply(built.block, built.transactions)


# ------------------------------------------------------------------------------------------------- what one is made of


def test_bytes_of_a_block_are_bounded() -> None:
    chain = PlainChain(genesis=network(block_bytes_max=1 << 16))
    large = [transaction(number, data=bytes(30_000), gas_limit=200_000) for number in range(3)]
    built = chain.build([*large, transaction(3)])
    assert [sent.sender for sent in built.transactions] == [ADDRESSES[0], ADDRESSES[1], ADDRESSES[3]]
    assert len(encode_block(built.block)) <= 1 << 16
    chain.apply(built.block, built.transactions)


def test_header_commits_to_what_the_block_did(chain: PlainChain) -> None:
    sent = [transaction(), transaction(1, to=CONTRACT_ADDRESS, gas_limit=60_000)]
    built = chain.build(sent)
    header, receipts = built.block.header, built.execution.receipts
    assert header.transactions_root == list_root([each.raw for each in sent])
    assert [receipt.status for receipt in receipts] == [1, 0]
    assert built.execution.encoded_receipts == tuple(encode_receipt(receipt) for receipt in receipts)
    assert header.receipts_root == list_root(built.execution.encoded_receipts)
    assert header.state_root == chain.root_of(built.execution.changes)
    assert (header.gas_used, header.logs_bloom) == (sum(receipt.gas_used for receipt in receipts), EMPTY_BLOOM)
    assert header.base_fee == next_base_fee(chain.tip, GENESIS.parameters)
    assert header.parent != chain.tip.parent


def test_time_rises_even_if_the_clock_fell_behind(chain: PlainChain) -> None:
    assert chain.build(time_ms=5).block.header.time_ms == chain.tip.time_ms + 1


def test_successful_call_logs_and_keeps_its_value() -> None:
    chain = PlainChain(genesis=network(task=True))
    chain.go(COMMIT_HEIGHT)
    call = commit_update(chain)
    held, money = chain.balance(CONTRACT_ADDRESS), chain.money()
    built = chain.add([call])
    (receipt,) = built.execution.receipts
    assert receipt.status == 1
    assert receipt.gas_used == intrinsic_gas(call) + GENESIS.parameters.gas_commit_update
    bloom = built.block.header.logs_bloom
    assert bloom == bloom_of(receipt.logs)
    assert all(may_contain(bloom, item) for item in (CONTRACT_ADDRESS, *receipt.logs[0].topics))
    assert chain.balance(CONTRACT_ADDRESS) == held + call.value
    assert chain.money() == money - receipt.gas_used * built.block.header.base_fee
