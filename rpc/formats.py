"""Home of the JSON shapes of blocks, transactions, receipts and logs, as the execution API specification has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.bloom import bloom_of
from chain.crypto import keccak256
from chain.transactions import DYNAMIC_FEE, LEGACY, Transaction
from chain.types import EMPTY_BLOOM, Header, Log, Receipt

# What no block of this chain has, in the form in which blocks without it show it
EMPTY_UNCLES_HASH = "0x" + keccak256(b"\xc0").hex()  # of an empty RLP list
ZERO_HASH_TEXT = "0x" + bytes(32).hex()
EMPTY_BLOOM_TEXT = "0x" + EMPTY_BLOOM.hex()
BLOCK_NONCE_TEXT = "0x" + bytes(8).hex()


def quantity(number: int) -> str:
    return hex(number)


def data(value: bytes) -> str:
    return "0x" + value.hex()


def bloom_text(bloom: bytes) -> str:
    return EMPTY_BLOOM_TEXT if bloom == EMPTY_BLOOM else data(bloom)


def header_object(header: Header, block_hash: bytes) -> dict[str, Any]:
    """A header as Ethereum shows one, and nothing else: web3.py tells newHeads from others by their names."""
    return {
        "hash": data(block_hash),
        "parentHash": data(header.parent),
        "sha3Uncles": EMPTY_UNCLES_HASH,
        "miner": data(header.proposer),
        "stateRoot": data(header.state_root),
        "transactionsRoot": data(header.transactions_root),
        "receiptsRoot": data(header.receipts_root),
        "logsBloom": bloom_text(header.logs_bloom),
        "difficulty": "0x0",
        "number": hex(header.height),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.time_ms // 1000),
        "extraData": "0x",
        "mixHash": ZERO_HASH_TEXT,
        "nonce": BLOCK_NONCE_TEXT,
        "baseFeePerGas": hex(header.base_fee),
    }


def block_object(
    header: Header, block_hash: bytes, size: int, transactions: Sequence[str | dict[str, Any]]
) -> dict[str, Any]:
    """A block with its transactions' hashes, or the transactions whole. `size` in bytes.

    What Lyceum's headers have beside Ethereum's comes under names of its own.
    """
    shown = header_object(header, block_hash)
    shown["timestampMs"] = hex(header.time_ms)
    shown["weightsRoot"] = data(header.weights_root)
    shown["lastCommitRoot"] = data(header.last_commit_root)
    shown["validatorsHash"] = data(header.validators_hash)
    shown["nextValidatorsHash"] = data(header.next_validators_hash)
    shown["size"] = hex(size)
    shown["transactions"] = transactions
    shown["uncles"] = []
    return shown


def transaction_object(transaction: Transaction) -> dict[str, Any]:
    """A transaction that waits in the pool: what places it in a block is null."""
    shown: dict[str, Any] = {
        "type": hex(transaction.kind),
        "hash": data(transaction.hash),
        "from": data(transaction.sender),
        "to": data(transaction.to),
        "nonce": hex(transaction.nonce),
        "gas": hex(transaction.gas_limit),
        "value": hex(transaction.value),
        "input": data(transaction.data),
        "chainId": hex(transaction.chain_id),
        "gasPrice": hex(transaction.max_fee_per_gas),
        "v": hex(transaction.v),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "blockHash": None,
        "blockNumber": None,
        "blockTimestamp": None,
        "transactionIndex": None,
    }
    if transaction.kind != LEGACY:
        shown["yParity"] = hex(transaction.y_parity)
        shown["accessList"] = [
            {"address": data(address), "storageKeys": [data(key) for key in keys]}
            for address, keys in transaction.access_list
        ]
    if transaction.kind == DYNAMIC_FEE:
        shown["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        shown["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return shown


def included_transaction_object(
    transaction: Transaction, header: Header, block_hash: bytes, index: int
) -> dict[str, Any]:
    shown = transaction_object(transaction)
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - header.base_fee)
    shown["gasPrice"] = hex(header.base_fee + tip)
    shown["blockHash"] = data(block_hash)
    shown["blockNumber"] = hex(header.height)
    shown["blockTimestamp"] = hex(header.time_ms // 1000)
    shown["transactionIndex"] = hex(index)
    return shown


def log_object(
    log: Log, header: Header, block_hash: bytes, transaction_hash: bytes, index: int, log_index: int
) -> dict[str, Any]:
    """A log; `index` is its transaction's place in the block, `log_index` its own."""
    return {
        "address": data(log.address),
        "topics": [data(topic) for topic in log.topics],
        "data": data(log.data),
        "blockNumber": hex(header.height),
        "blockHash": data(block_hash),
        "blockTimestamp": hex(header.time_ms // 1000),
        "transactionHash": data(transaction_hash),
        "transactionIndex": hex(index),
        "logIndex": hex(log_index),
        "removed": False,
    }


def receipt_object(
    transaction: Transaction,
    receipt: Receipt,
    header: Header,
    block_hash: bytes,
    *,
    index: int,
    cumulative_gas: int,
    first_log: int,
) -> dict[str, Any]:
    """A receipt; `cumulative_gas` with its own, `first_log` the place of its first log in the block."""
    return {
        "type": hex(transaction.kind),
        "status": hex(receipt.status),
        "transactionHash": data(transaction.hash),
        "transactionIndex": hex(index),
        "blockHash": data(block_hash),
        "blockNumber": hex(header.height),
        "from": data(transaction.sender),
        "to": data(transaction.to),
        "contractAddress": None,
        "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(cumulative_gas),
        "effectiveGasPrice": hex(receipt.effective_gas_price),
        "logs": [
            log_object(log, header, block_hash, transaction.hash, index, first_log + place)
            for place, log in enumerate(receipt.logs)
        ],
        "logsBloom": bloom_text(bloom_of(receipt.logs)),
    }
