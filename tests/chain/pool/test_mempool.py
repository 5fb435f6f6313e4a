"""The pool: who gets in, in whose words the others are refused, who must leave, and what a block is offered."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.pool.admission import Limits, RefusedTransaction
from chain.pool.mempool import EVICTED_MAX, Added, Mempool, Waiting
from chain.signing import Fields, sign_transaction
from chain.transactions import Transaction
from tests.chain.pool.plain_mempool import PlainMempool

GWEI = 10**9
COIN = 10**18
BLOCK_GAS = 30_000_000
ALICE, BOB, CAROL, DAVE = (bytes([n]) * 20 for n in range(1, 5))
TO = b"\xee" * 20


def transfer(
    sender: bytes,
    nonce: int,
    *,
    tip: int = GWEI,
    fee: int = 10 * GWEI,
    gas: int = 21_000,
    value: int = 0,
    size: int = 110,
    data: bytes = b"",
) -> Transaction:
    """A transaction as the pool sees it; whether its signature is right is settled before."""
    parts = (sender, nonce, tip, fee, gas, value, data)
    raw = repr(parts).encode().ljust(size, b".")[:size]
    return Transaction(
        kind=2, chain_id=1, nonce=nonce, max_priority_fee_per_gas=tip, max_fee_per_gas=fee, gas_limit=gas, to=TO,
        value=value, data=data, access_list=(), y_parity=0, r=1, s=1, raw=raw,
        hash=hashlib.sha256(repr(parts).encode() + raw).digest(), sender=sender,
    )  # fmt: skip


def put(pool: Mempool, *transactions: Transaction, nonce: int = 0, balance: int = COIN, base_fee: int = GWEI) -> Added:
    for transaction in transactions:
        added = pool.add(transaction, nonce, balance, base_fee, BLOCK_GAS)
    return added


def refusal(pool: Mempool, transaction: Transaction, **told: Any) -> str:
    before = pool.content()
    with pytest.raises(RefusedTransaction) as refused:
        put(pool, transaction, **told)
    assert pool.content() == before
    return str(refused.value)


def select(pool: Mempool, base_fee: int = GWEI, gas_limit: int = BLOCK_GAS, nonce: int = 0) -> list[Transaction]:
    return pool.select(base_fee, gas_limit, lambda _: nonce, lambda _: COIN)


# ------------------------------------------------------------------------------------------- the words of refusals


def test_a_known_transaction_is_refused() -> None:
    pool = Mempool()
    known = transfer(ALICE, 0)
    put(pool, known)
    assert refusal(pool, known) == f"already known: 0x{known.hash.hex()}"


def test_a_used_nonce_is_refused() -> None:
    assert refusal(Mempool(), transfer(ALICE, 4), nonce=7) == "nonce too low: next nonce 7, tx nonce 4"


def test_a_nonce_waits_behind_a_gap_of_bounded_length() -> None:
    pool = Mempool(Limits(nonces_ahead_max=5))
    assert put(pool, transfer(ALICE, 11), nonce=7) == Added(executable=False)
    assert refusal(pool, transfer(ALICE, 12), nonce=7) == (
        "nonce too high: next nonce 7, tx nonce 12, less than 5 ahead may wait: send the missing ones first"
    )


def test_the_balance_must_cover_the_cost() -> None:
    cost = 21_000 * 10 * GWEI + 5
    assert put(Mempool(), transfer(ALICE, 0, value=5), balance=cost) == Added(executable=True)
    assert refusal(Mempool(), transfer(ALICE, 0, value=5), balance=cost - 1) == (
        f"insufficient funds for gas * price + value: balance {cost - 1}, tx cost {cost}, overshot 1"
    )


def test_the_balance_must_cover_all_that_waits_from_the_sender() -> None:
    cost = 21_000 * 10 * GWEI
    pool = Mempool()
    put(pool, transfer(ALICE, 0), transfer(ALICE, 2), balance=3 * cost + 9)
    assert refusal(pool, transfer(ALICE, 1, value=10), balance=3 * cost + 9) == (
        f"insufficient funds for gas * price + value: balance {3 * cost + 9}, queued cost {2 * cost}, "
        f"tx cost {cost + 10}, overshot 1"
    )
    put(pool, transfer(ALICE, 1, value=9), balance=3 * cost + 9)


def test_a_replacement_frees_the_cost_of_what_it_replaces() -> None:
    cost = 21_000 * 10 * GWEI
    pool = Mempool()
    old = transfer(ALICE, 0, value=COIN)
    put(pool, old, balance=COIN + cost)
    new = transfer(ALICE, 0, value=0, tip=2 * GWEI, fee=11 * GWEI)
    assert put(pool, new, balance=COIN + cost) == Added(executable=True, replaced=old.hash)
    assert (pool.get(old.hash), pool.get(new.hash), len(pool)) == (None, new, 1)


@pytest.mark.parametrize(
    ("tip", "fee", "passes"),
    [(110, 1100, True), (109, 1100, False), (110, 1099, False), (100, 1000, False), (300, 1000, False)],
)
def test_a_replacement_raises_both_fees_by_a_tenth(tip: int, fee: int, passes: bool) -> None:
    pool = Mempool()
    put(pool, transfer(ALICE, 0, tip=100 * GWEI, fee=1000 * GWEI))
    new = transfer(ALICE, 0, tip=tip * GWEI, fee=fee * GWEI, value=1)
    if passes:
        put(pool, new)
    else:
        assert refusal(pool, new).startswith("replacement transaction underpriced: maxFeePerGas ")


def test_a_replacement_of_small_fees_raises_them_all_the_same() -> None:
    pool = Mempool(Limits(base_fee_minimum=1))
    put(pool, transfer(ALICE, 0, tip=0, fee=5), base_fee=1)
    assert refusal(pool, transfer(ALICE, 0, tip=0, fee=6), base_fee=1).startswith("replacement transaction underpriced")
    put(pool, transfer(ALICE, 0, tip=1, fee=6), base_fee=1)


def test_gas_stands_between_the_intrinsic_and_the_blocks() -> None:
    text = refusal(Mempool(), transfer(ALICE, 0, gas=21_015, data=b"\x01"))
    assert text == "intrinsic gas too low: gas 21015, minimum needed 21016"
    assert refusal(Mempool(), transfer(ALICE, 0, gas=BLOCK_GAS + 1)) == (
        "exceeds block gas limit: gas 30000001, limit 30000000"
    )
    put(Mempool(), transfer(ALICE, 0, gas=21_016, data=b"\x01"))
    put(Mempool(), transfer(ALICE, 0, gas=BLOCK_GAS))


def test_a_tip_above_the_fee_is_refused() -> None:
    assert refusal(Mempool(), transfer(ALICE, 0, tip=3 * GWEI, fee=2 * GWEI)).startswith(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: 3000000000"
    )


def test_a_fee_below_the_least_base_fee_is_refused() -> None:
    assert refusal(Mempool(), transfer(ALICE, 0, tip=0, fee=GWEI - 1)) == (
        f"max fee per gas less than block base fee: address 0x{ALICE.hex()}, maxFeePerGas: 999999999, baseFee: 1000000000"
    )


def test_a_fee_below_the_base_fee_waits_until_it_falls() -> None:
    pool = Mempool()
    waiting, behind = transfer(ALICE, 0, fee=2 * GWEI), transfer(ALICE, 1, fee=90 * GWEI)
    put(pool, waiting, behind, base_fee=3 * GWEI)
    assert select(pool, base_fee=3 * GWEI) == []
    assert select(pool, base_fee=2 * GWEI) == [waiting, behind]


# --------------------------------------------------------------------------------------------------- a full pool


def full(*transactions: Transaction, **limits: int) -> Mempool:
    pool = Mempool(Limits(**({"transactions_max": len(transactions)} | limits)))
    put(pool, *transactions)
    return pool


def test_the_cheapest_tail_leaves_a_full_pool() -> None:
    cheap_head, tail, other = transfer(ALICE, 0, tip=1), transfer(ALICE, 1, tip=9), transfer(BOB, 0, tip=5)
    pool = full(cheap_head, tail, other)
    # Alice's second is worth no more than her first, without which it can't run.
    new = transfer(CAROL, 0, tip=2)
    assert put(pool, new) == Added(executable=True, evicted=(tail.hash,))
    assert pool.content() == {
        ALICE: Waiting(executable=(cheap_head,), queued=()),
        BOB: Waiting(executable=(other,), queued=()),
        CAROL: Waiting(executable=(new,), queued=()),
    }


def test_of_equals_the_newest_leaves() -> None:
    first, second = transfer(ALICE, 0, tip=1), transfer(BOB, 0, tip=1)
    assert put(full(first, second), transfer(CAROL, 0, tip=2)).evicted == (second.hash,)
    assert put(full(second, first), transfer(CAROL, 0, tip=2)).evicted == (first.hash,)


def test_what_is_not_better_stays_out_of_a_full_pool() -> None:
    pool = full(transfer(ALICE, 0, tip=5), transfer(BOB, 0, tip=6))
    assert refusal(pool, transfer(CAROL, 0, tip=5)) == (
        "transaction underpriced: the pool is full, its cheapest transaction gives 5 per gas and this one 5: "
        "raise maxPriorityFeePerGas"
    )


def test_what_waits_behind_a_gap_leaves_first() -> None:
    gapped = transfer(ALICE, 1, tip=9 * GWEI)
    pool = full(gapped, transfer(BOB, 0, tip=1))
    assert refusal(pool, transfer(CAROL, 3, tip=8 * GWEI)) == (
        "txpool is full: nothing more can wait behind a missing nonce"
    )
    assert put(pool, transfer(CAROL, 0, tip=1)).evicted == (gapped.hash,)


def test_nobody_evicts_his_own() -> None:
    pool = full(transfer(ALICE, 0, tip=5), transfer(ALICE, 1, tip=6))
    assert refusal(pool, transfer(ALICE, 2, tip=7)) == "txpool is full: try again after the next block"


def test_the_first_nonce_of_a_waiting_sender_finds_room() -> None:
    waiting, other = transfer(ALICE, 1, tip=3), transfer(BOB, 0, tip=1)
    pool = full(waiting, other)
    assert put(pool, transfer(ALICE, 0, tip=2)) == Added(executable=True, evicted=(other.hash,))
    assert pool.counts() == (2, 0)


def test_the_pool_is_bounded_in_bytes() -> None:
    small = [transfer(bytes([n]) * 20, 0, tip=n, size=100) for n in range(10, 20)]
    pool = full(*small, bytes_max=1_000, transactions_max=100)
    assert refusal(pool, transfer(ALICE, 0, tip=12, size=400)).startswith("transaction underpriced")
    large = transfer(ALICE, 0, tip=14, size=400)
    assert put(pool, large).evicted == tuple(t.hash for t in small[:4])
    assert pool.bytes_held == 1_000
    assert refusal(pool, transfer(BOB, 0, tip=GWEI, size=1_001)) == "txpool is full: try again after the next block"


def test_one_transaction_pushes_out_a_bounded_number() -> None:
    small = [transfer(bytes([n]) * 20, 0, tip=n, size=90) for n in range(1, EVICTED_MAX + 30)]
    pool = full(*small, bytes_max=sum(len(t.raw) for t in small))
    assert len(put(pool, transfer(b"x" * 20, 0, size=90 * EVICTED_MAX)).evicted) == EVICTED_MAX
    text = refusal(full(*small, bytes_max=90 * len(small)), transfer(b"x" * 20, 0, size=90 * EVICTED_MAX + 1))
    assert text == "txpool is full: try again after the next block"


def test_the_worst_is_judged_at_the_base_fee_of_the_moment() -> None:
    capped, open_ended = transfer(ALICE, 0, tip=5 * GWEI, fee=6 * GWEI), transfer(BOB, 0, tip=3 * GWEI, fee=90 * GWEI)
    new = transfer(CAROL, 0, tip=4 * GWEI, fee=90 * GWEI)
    assert put(full(capped, open_ended), new, base_fee=GWEI).evicted == (open_ended.hash,)
    assert put(full(capped, open_ended), new, base_fee=5 * GWEI).evicted == (capped.hash,)


# ---------------------------------------------------------------------------------------------------- selection


def test_the_best_tip_comes_first_and_nonces_stay_in_order() -> None:
    pool = Mempool()
    a0, a1 = transfer(ALICE, 0, tip=1), transfer(ALICE, 1, tip=9)
    b0, b1 = transfer(BOB, 0, tip=5), transfer(BOB, 1, tip=2)
    c0 = transfer(CAROL, 0, tip=7)
    put(pool, a0, a1, b0, b1, c0)
    assert select(pool) == [c0, b0, b1, a0, a1]


def test_the_tip_is_what_the_base_fee_leaves() -> None:
    pool = Mempool()
    capped, plain = transfer(ALICE, 0, tip=9 * GWEI, fee=10 * GWEI), transfer(BOB, 0, tip=4 * GWEI, fee=20 * GWEI)
    put(pool, capped, plain)
    assert select(pool, base_fee=GWEI) == [capped, plain]
    assert select(pool, base_fee=7 * GWEI) == [plain, capped]


def test_a_gap_ends_a_senders_run() -> None:
    pool = Mempool()
    put(pool, transfer(ALICE, 0), transfer(ALICE, 2))
    assert [t.nonce for t in select(pool)] == [0]
    put(pool, transfer(ALICE, 1))
    assert [t.nonce for t in select(pool)] == [0, 1, 2]


def test_gas_is_counted_as_used_at_least() -> None:
    pool = Mempool()
    # A limit far above the use must not keep everybody else out of the block.
    greedy = transfer(ALICE, 0, tip=9, gas=BLOCK_GAS)
    others = [transfer(bytes([n]) * 20, 0, tip=5) for n in range(10, 20)]
    put(pool, greedy, *others)
    assert select(pool, gas_limit=21_000 * 4) == [greedy, *others[:3]]


def test_a_sender_that_can_no_longer_pay_is_left_out() -> None:
    pool = Mempool()
    cost = 21_000 * 10 * GWEI
    first, second = transfer(ALICE, 0), transfer(ALICE, 1)
    put(pool, first, second)
    for balance, expected in ((2 * cost, [first, second]), (2 * cost - 1, [first]), (cost - 1, [])):
        assert pool.select(GWEI, BLOCK_GAS, lambda _: 0, lambda _, b=balance: b) == expected  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------- after a block


def test_a_block_takes_out_what_it_included_and_what_it_made_stale() -> None:
    pool = Mempool()
    a0, a1, b0, elsewhere = transfer(ALICE, 0), transfer(ALICE, 1), transfer(BOB, 0), transfer(BOB, 0, value=7)
    put(pool, a0, a1, b0)
    pool.remove_committed([a0, elsewhere], lambda _: 1, lambda _: COIN)
    assert pool.content() == {ALICE: Waiting(executable=(a1,), queued=())}
    assert (pool.get(b0.hash), pool.counts(), pool.bytes_held) == (None, (1, 0), len(a1.raw))
    assert refusal(pool, b0, nonce=1) == "nonce too low: next nonce 1, tx nonce 0"


def test_what_a_sender_can_no_longer_pay_leaves_after_a_block() -> None:
    pool = Mempool()
    cost = 21_000 * 10 * GWEI
    waiting = [transfer(ALICE, n) for n in range(5)]
    put(pool, *waiting)
    pool.remove_committed([waiting[0]], lambda _: 1, lambda _: 2 * cost + 1)
    assert pool.content() == {ALICE: Waiting(executable=tuple(waiting[1:3]), queued=())}


def test_pending_nonce_follows_the_executable_ones() -> None:
    pool = Mempool()
    assert pool.pending_nonce(ALICE, 3) == 3
    put(pool, transfer(ALICE, 3), transfer(ALICE, 4), transfer(ALICE, 6), nonce=3)
    assert pool.pending_nonce(ALICE, 3) == 5
    assert pool.pending_nonce(ALICE, 4) == 5
    assert pool.pending_nonce(ALICE, 6) == 7
    assert pool.pending_nonce(BOB, 2) == 2
    assert pool.counts() == (2, 1)
    put(pool, transfer(ALICE, 5), nonce=3)
    assert (pool.pending_nonce(ALICE, 3), pool.counts()) == (7, (4, 0))


def test_candidates_are_the_first_of_the_order_of_selection() -> None:
    pool = Mempool()
    put(pool, *(transfer(bytes([n]) * 20, 0, tip=n) for n in range(10, 20)))
    assert pool.candidates(GWEI, 4) == select(pool)[:4]
    assert pool.candidates(GWEI, 100) == select(pool)


def test_a_signed_transaction_passes_through() -> None:
    key = b"\x05" * 32
    signed = sign_transaction(
        Fields(chain_id=1, nonce=0, max_priority_fee_per_gas=1, max_fee_per_gas=GWEI, gas_limit=21_000, to=TO), key
    )
    pool = Mempool()
    assert put(pool, signed) == Added(executable=True)
    assert (pool.get(signed.hash), select(pool, base_fee=GWEI)) == (signed, [signed])


# ----------------------------------------------------------------------------------------- against the plain pool

SENDERS = [ALICE, BOB, CAROL, DAVE, bytes(20)[:-1] + b"\x01"]
SMALL = Limits(transactions_max=7, bytes_max=1_000, nonces_ahead_max=4)


def offered(random: Random, nonce_of: dict[bytes, int]) -> Transaction:
    """A transaction that mostly could get in, so that the pool is mostly full."""
    sender = random.choice(SENDERS)
    return transfer(
        sender,
        nonce_of[sender] + random.choice([0, 0, 0, 1, 1, 1, 2, 2, 3] + [4, -1] * random.randrange(2)),
        tip=random.choice([random.randint(1, 9), random.randint(1, 9), random.randint(1, 9) * GWEI]),
        fee=random.choice([10, 11, 100, 100, random.randint(0, 9)]) * GWEI,
        gas=random.choice([21_000] * 10 + [50_000, 20_999, BLOCK_GAS + 1]),
        value=random.choice([0, 0, 0, 0, COIN // 10, COIN // 4]),
        size=random.choice([90, 110, 110, 300] + [600, 950] * random.randrange(2)),
    )


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_the_pool_does_what_the_plain_one_does(seed: int) -> None:
    random = Random(seed)
    nonces = dict.fromkeys(SENDERS, 10)
    balances = dict.fromkeys(SENDERS, COIN)
    plain = PlainMempool(SMALL, nonces, balances)
    pool = Mempool(SMALL)
    base_fee = GWEI
    for _ in range(150):
        event = random.random()
        if event < 0.85:
            new = offered(random, nonces)
            expected = plain.add(new, base_fee, BLOCK_GAS)
            assert outcome(pool, new, nonces[new.sender], balances[new.sender], base_fee, expected[0]) == expected
        elif event < 0.90:
            gas = 21_000 * random.randint(1, 4)
            settle(pool, plain, pool.select(base_fee, gas, nonces.__getitem__, balances.__getitem__))
        elif event < 0.93:  # a block holds a transaction that the pool never saw
            sender = random.choice(SENDERS)
            value = min(balances[sender], random.randint(0, 8) * COIN // 10)
            settle(pool, plain, [transfer(sender, nonces[sender], value=value)])
            balances[sender] = max(balances[sender], random.choice([0, COIN]))
        else:
            base_fee = random.choice([1, 1, 3, 9]) * GWEI
        compare(pool, plain, base_fee)


def outcome(
    pool: Mempool, new: Transaction, nonce: int, balance: int, base_fee: int, text: str
) -> tuple[str, bytes | None, tuple[bytes, ...]]:
    try:
        added = pool.add(new, nonce, balance, base_fee, BLOCK_GAS)
    except RefusedTransaction as refused:
        return (text if text and str(refused).startswith(text) else str(refused)), None, ()
    return "", added.replaced, added.evicted


def settle(pool: Mempool, plain: PlainMempool, included: list[Transaction]) -> None:
    for transaction in included:
        plain.nonces[transaction.sender] += 1
        plain.balances[transaction.sender] -= transaction.value
    plain.commit(included)
    pool.remove_committed(included, plain.nonces.__getitem__, plain.balances.__getitem__)


def compare(pool: Mempool, plain: PlainMempool, base_fee: int) -> None:
    content = {who: (list(waiting.executable), list(waiting.queued)) for who, waiting in pool.content().items()}
    assert content == plain.content()
    assert len(pool) == len(plain.held) <= SMALL.transactions_max
    assert pool.bytes_held == sum(len(t.raw) for _, t in plain.held) <= SMALL.bytes_max
    assert pool.counts() == (
        sum(len(run) for run, _ in content.values()),
        sum(len(queued) for _, queued in content.values()),
    )
    for sender, nonce in plain.nonces.items():
        assert pool.pending_nonce(sender, nonce) == nonce + len(content.get(sender, ([], []))[0])
    for _, transaction in plain.held:
        assert pool.get(transaction.hash) is transaction
    for gas_limit in (21_000 * 3, BLOCK_GAS):
        chosen = pool.select(base_fee, gas_limit, plain.nonces.__getitem__, plain.balances.__getitem__)
        assert chosen == plain.select(base_fee, gas_limit)
