"""Home of the `eth_*` methods that read the chain, with geth's answers for what is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.crypto import keccak256
from chain.ledger import next_base_fee
from chain.state import KIND_ACCOUNT, decode_account
from chain.transactions import Transaction
from chain.types import CONTRACT_ADDRESS
from rpc.backend import Backend
from rpc.formats import data, header_object, quantity, transaction_object
from rpc.records import Record, Records

# The learning contract is not run by an EVM. Wallets take an address for a contract if it has code: one opcode that
# stops every EVM (INVALID), and a name.
CONTRACT_CODE = b"\xfeLyceum"
ZERO_WORD = bytes(32)
PENDING_SHOWN_MAX = 1000
Reference = int | str | bytes


class Ethereum:
    """Answers about blocks, transactions and accounts."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._backend: Backend = records.backend

    # ------------------------------------------------------------------------------------------------- the node

    def chain_id(self) -> str:
        return quantity(self._backend.chain_id)

    def block_number(self) -> str:
        return quantity(self._backend.tip().header.height)

    def syncing(self) -> bool | dict[str, str]:
        progress = self._backend.syncing()
        if progress is None:
            return False
        return {
            "startingBlock": quantity(progress.starting),
            "currentBlock": quantity(progress.current),
            "highestBlock": quantity(progress.highest),
        }

    @staticmethod
    def accounts() -> list[str]:
        """The node keeps no keys of its users."""
        return []

    def net_version(self) -> str:
        return str(self._backend.chain_id)

    @staticmethod
    def listening() -> bool:
        return True

    def peer_count(self) -> str:
        return quantity(self._backend.peer_count())

    def client_version(self) -> str:
        return self._backend.client_version

    @staticmethod
    def sha3(content: bytes) -> str:
        return data(keccak256(content))

    def pool_status(self) -> dict[str, str]:
        pending, queued = self._backend.pool.counts()
        return {"pending": quantity(pending), "queued": quantity(queued)}

    # --------------------------------------------------------------------------------------------------- blocks

    async def block(self, reference: Reference, full: bool) -> dict[str, Any] | None:
        if reference == "pending":
            return self._pending_block(full)
        record = self._records.find(reference)
        return await record.block_json(full) if record else None

    def _pending_block(self, full: bool) -> dict[str, Any]:
        """The next block as it stands: what only its proposer will know (hash, roots, miner) is null or the tip's."""
        tip = self._backend.tip()
        base_fee = next_base_fee(tip.header, self._backend.parameters)
        shown = header_object(tip.header, tip.hash)
        following = tip.header.time_ms + self._backend.parameters.block_interval_ms
        shown |= {
            "number": quantity(tip.header.height + 1),
            "parentHash": data(tip.hash),
            "timestamp": quantity(following // 1000),
            "baseFeePerGas": quantity(base_fee),
            "gasUsed": "0x0",
            "size": "0x0",
            "hash": None,
            "nonce": None,
            "miner": None,
            "logsBloom": None,
            "uncles": [],
            "transactions": [transaction_object(each) if full else data(each.hash) for each in self._waiting()],
        }
        return shown

    def _waiting(self) -> Sequence[Transaction]:
        """The best of the pool, as the next block would take it."""
        base_fee = next_base_fee(self._backend.tip().header, self._backend.parameters)
        return self._backend.pool.candidates(base_fee, PENDING_SHOWN_MAX)

    def transaction_count_of_block(self, reference: Reference) -> str | None:
        if reference == "pending":
            return quantity(len(self._waiting()))
        record = self._records.find(reference)
        return quantity(len(record.block.transactions)) if record else None

    async def block_receipts(self, reference: Reference) -> list[dict[str, Any]] | None:
        if reference == "pending":
            return []
        record = self._records.find(reference)
        return await record.receipts_json() if record else None

    # --------------------------------------------------------------------------------------------- transactions

    async def transaction(self, transaction_hash: bytes) -> dict[str, Any] | None:
        location = self._backend.transaction_location(transaction_hash)
        if location is None:
            waiting = self._backend.pool.get(transaction_hash)
            return transaction_object(waiting) if waiting else None
        return await self._record(location[0]).transaction_json(location[1])

    async def transaction_in_block(self, reference: Reference, index: int) -> dict[str, Any] | None:
        if reference == "pending":
            waiting = self._waiting()
            return transaction_object(waiting[index]) if index < len(waiting) else None
        record = self._records.find(reference)
        if record is None or index >= len(record.block.transactions):
            return None
        return await record.transaction_json(index)

    async def receipt(self, transaction_hash: bytes) -> dict[str, Any] | None:
        location = self._backend.transaction_location(transaction_hash)
        if location is None:
            return None
        return (await self._record(location[0]).receipts_json([location[1]]))[0]

    def _record(self, height: int) -> Record:
        record = self._records.at(height)
        assert record is not None, "a transaction's location is a committed block"
        return record

    async def send(self, raw: bytes) -> str:
        """One raw transaction; batches take a shorter way."""
        (outcome,) = await self._backend.submit([raw])
        if isinstance(outcome, Exception):
            raise outcome
        return data(outcome)

    # ------------------------------------------------------------------------------------------------- accounts

    def balance(self, address: bytes, reference: Reference) -> str:
        return quantity(self._account(address, reference)[1])

    def transaction_count(self, address: bytes, reference: Reference) -> str:
        nonce = self._account(address, reference)[0]
        if reference == "pending":
            nonce = self._backend.pool.pending_nonce(address, nonce)
        return quantity(nonce)

    def code(self, address: bytes, reference: Reference) -> str:
        self._records.known_height(reference)
        return data(CONTRACT_CODE if address == CONTRACT_ADDRESS else b"")

    def storage(self, address: bytes, slot: bytes, reference: Reference) -> str:
        """Nothing here has storage of slots: always zero."""
        self._records.known_height(reference)
        return data(ZERO_WORD)

    def _account(self, address: bytes, reference: Reference) -> tuple[int, int]:
        stored = self._backend.state(self._records.known_height(reference)).get(KIND_ACCOUNT + address)
        return decode_account(stored) if stored is not None else (0, 0)
