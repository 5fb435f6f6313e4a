"""Home of the chain that the sync benchmark follows: transfers and settled rounds in real blocks, made at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.chain_game import Game
from benchmarks.chain_setup import CHAIN_ID, Seat, Setting
from chain.crypto import address_of, sha256
from chain.operations.learning_store import read_task, read_tasks
from chain.signing import Fields, sign_transaction
from chain.transactions import Transaction
from chain.types import GWEI

SENDERS = 100
ROUNDS = 48  # as many as there is time for in 1,000 blocks
SAMPLES = 16  # held out for each


def sender_key(number: int) -> bytes:
    return sha256(b"sync benchmark %d" % number)


def transfers() -> Iterator[Transaction]:
    """Signed transfers without end, sender after sender, each to an account of its own."""
    keys = [sender_key(number) for number in range(SENDERS)]
    nonce = 0
    while True:
        for number, key in enumerate(keys):
            fields = Fields(
                chain_id=CHAIN_ID,
                nonce=nonce,
                max_priority_fee_per_gas=GWEI,
                max_fee_per_gas=10 * GWEI,
                gas_limit=21_000,
                to=sha256(b"sync receiver %d %d" % (number, nonce))[:20],
                value=1 + nonce,
            )
            yield sign_transaction(fields, key)
        nonce += 1


def make_chain(directory: Path, blocks: int, per_block: int, seed: int = 1) -> int:
    """Write a chain of so many blocks with so many transfers each, and rounds on digits; how many rounds settled."""
    setting = Setting(
        seed=seed,
        seats=tuple(Seat(strategy="honest", share=share) for share in range(3)),
        rounds=ROUNDS,
        samples=SAMPLES,
        others=tuple(address_of(sender_key(number)) for number in range(SENDERS)),
    )
    game = Game(setting, directory)
    try:
        others = transfers()
        for height in range(1, blocks + 1):
            game.network.block([*islice(others, per_block), *game.transactions(height)])
        states = [read_task(game.network.store, entry.task) for entry in read_tasks(game.network.store)]
        return sum(state.settled for state in states if state)
    finally:
        game.network.close()
