"""Home of the table of all methods: their parameters, results and who answers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rpc import parameters as parse
from rpc import schemas as of
from rpc.discover import document
from rpc.dispatch import SEND_RAW_TRANSACTION, Method
from rpc.eth import Ethereum
from rpc.execution import Execution, message
from rpc.fees import Fees
from rpc.filters import Filters
from rpc.learn import Learning
from rpc.learn_accounts import LearningAccounts
from rpc.learn_proofs import Proofs
from rpc.logs import LogSearch, log_filter
from rpc.subscriptions import Subscriptions

MODULES = {"eth": "1.0", "learn": "1.0", "net": "1.0", "rpc": "1.0", "txpool": "1.0", "web3": "1.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerers:
    """Everything that methods are answered by."""

    ethereum: Ethereum
    fees: Fees
    execution: Execution
    search: LogSearch
    filters: Filters
    subscriptions: Subscriptions
    learning: Learning
    accounts: LearningAccounts
    proofs: Proofs


def all_methods(by: Answerers, version: str) -> list[Method]:
    """Every method that the server has, `rpc.discover` among them."""
    methods = [
        *node_methods(by.ethereum),
        *chain_methods(by.ethereum),
        *account_methods(by.ethereum, by.fees, by.execution),
        *log_methods(by.search, by.filters, by.subscriptions),
        *learning_methods(by.learning, by.accounts, by.subscriptions),
        *proof_methods(by.proofs),
    ]
    methods.append(_method("rpc_modules", "The namespaces of this server", of.OBJECT, lambda: MODULES))
    described: dict[str, Any] = {}
    methods.append(_method("rpc.discover", "This document (OpenRPC)", of.OBJECT, lambda: described))
    described |= document(methods, version)
    return methods


def _method(
    name: str, summary: str, result: of.Schema, handler: Any, *parameters: parse.Parameter, connected: bool = False
) -> Method:
    return Method(
        name=name, summary=summary, parameters=parameters, result=result, handler=handler, connected=connected
    )


def node_methods(eth: Ethereum) -> list[Method]:
    return [
        _method("eth_chainId", "The chain id", of.QUANTITY, eth.chain_id),
        _method("eth_blockNumber", "The height of the last committed block", of.QUANTITY, eth.block_number),
        _method("eth_syncing", "False, or how far the node has caught up", {}, eth.syncing),
        _method("eth_accounts", "Accounts that the node signs for: none", of.array(of.ADDRESS), eth.accounts),
        _method("net_version", "The chain id in decimal", of.DECIMAL, eth.net_version),
        _method("net_listening", "Whether the node listens", of.BOOLEAN, eth.listening),
        _method("net_peerCount", "Connected peers", of.QUANTITY, eth.peer_count),
        _method("web3_clientVersion", "Name and version of the node", of.STRING, eth.client_version),
        _method("web3_sha3", "Keccak-256", of.HASH, eth.sha3, of.parameter("data", parse.data, of.BYTES)),
        _method("txpool_status", "Transactions that wait", of.OBJECT, eth.pool_status),
    ]


def chain_methods(eth: Ethereum) -> list[Method]:
    full = of.parameter("fullTransactions", parse.boolean, of.BOOLEAN)
    raw = of.parameter("transaction", parse.data, of.BYTES)
    block, transaction = of.maybe(of.OBJECT), of.maybe(of.OBJECT)
    count, receipts = of.maybe(of.QUANTITY), of.maybe(of.array(of.OBJECT))
    in_block, of_block = eth.transaction_in_block, eth.transaction_count_of_block
    return [
        _method("eth_getBlockByNumber", "A block by height or tag", block, eth.block, of.NUMBER, full),
        _method("eth_getBlockByHash", "A block by hash", block, eth.block, of.BLOCK_HASH, full),
        _method("eth_getBlockReceipts", "All receipts of a block", receipts, eth.block_receipts, of.REFERENCE),
        _method("eth_getBlockTransactionCountByNumber", "How many transactions it has", count, of_block, of.NUMBER),
        _method("eth_getBlockTransactionCountByHash", "How many transactions it has", count, of_block, of.BLOCK_HASH),
        _method("eth_getTransactionByHash", "A transaction", transaction, eth.transaction, of.TRANSACTION_HASH),
        _method("eth_getTransactionByBlockNumberAndIndex", "By its place", transaction, in_block, of.NUMBER, of.INDEX),
        _method(
            "eth_getTransactionByBlockHashAndIndex", "By its place", transaction, in_block, of.BLOCK_HASH, of.INDEX
        ),
        _method("eth_getTransactionReceipt", "What it did", transaction, eth.receipt, of.TRANSACTION_HASH),
        _method(SEND_RAW_TRANSACTION, "Send a signed transaction", of.HASH, eth.send, raw),
    ]


def account_methods(eth: Ethereum, fees: Fees, execution: Execution) -> list[Method]:
    block = of.OPTIONAL_REFERENCE
    call = of.parameter("transaction", message, of.OBJECT)
    slot = of.parameter("slot", parse.storage_slot, of.BYTES)
    blocks = of.parameter("blockCount", parse.count, of.QUANTITY)
    percentiles = of.optional("rewardPercentiles", parse.percentiles, of.array({"type": "number"}))
    return [
        _method("eth_getBalance", "In 10^-18 coin", of.QUANTITY, eth.balance, of.ACCOUNT, block),
        _method("eth_getTransactionCount", "The next nonce", of.QUANTITY, eth.transaction_count, of.ACCOUNT, block),
        _method("eth_getCode", "Code: the learning contract has some", of.BYTES, eth.code, of.ACCOUNT, block),
        _method("eth_getStorageAt", "Always zero", of.HASH, eth.storage, of.ACCOUNT, slot, block),
        _method("eth_call", "What a message would return", of.BYTES, execution.call, call, block),
        _method("eth_estimateGas", "The gas that it would use", of.QUANTITY, execution.estimate, call, block),
        _method("eth_gasPrice", "Next base fee and a tip", of.QUANTITY, fees.gas_price),
        _method("eth_maxPriorityFeePerGas", "A tip that suffices", of.QUANTITY, fees.max_priority_fee_per_gas),
        _method("eth_feeHistory", "Base fees, use and tips", of.OBJECT, fees.history, blocks, of.NUMBER, percentiles),
    ]


def log_methods(search: LogSearch, filters: Filters, subscriptions: Subscriptions) -> list[Method]:
    wanted = of.parameter("filter", log_filter, of.OBJECT)
    kind = of.parameter("kind", parse.text, of.STRING)
    detail = of.optional("detail", lambda value: value, {})
    subscription = of.parameter("subscription", parse.text, of.QUANTITY)
    logs, changes = of.array(of.OBJECT), of.array({})
    end, unsubscribe = of.BOOLEAN, subscriptions.unsubscribe
    return [
        _method("eth_getLogs", "Logs of a range of blocks", logs, search.find, wanted),
        _method("eth_newFilter", "Poll for logs", of.QUANTITY, filters.new_log_filter, wanted),
        _method("eth_newBlockFilter", "Poll for blocks", of.QUANTITY, filters.new_block_filter),
        _method("eth_newPendingTransactionFilter", "Poll the pool", of.QUANTITY, filters.new_pending_filter),
        _method("eth_getFilterChanges", "What is new", changes, filters.changes, of.FILTER_ID),
        _method("eth_getFilterLogs", "All that it means", logs, filters.logs, of.FILTER_ID),
        _method("eth_uninstallFilter", "End a filter", end, filters.uninstall, of.FILTER_ID),
        _method("eth_subscribe", "Be told", of.QUANTITY, subscriptions.subscribe, kind, detail, connected=True),
        _method("eth_unsubscribe", "End that", end, unsubscribe, subscription, connected=True),
    ]


def learning_methods(learning: Learning, accounts: LearningAccounts, subscriptions: Subscriptions) -> list[Method]:
    task, block = of.TASK, of.OPTIONAL_REFERENCE
    number = of.parameter("round", parse.integer, of.INTEGER)
    first, last = of.optional("from", parse.integer, of.INTEGER), of.optional("to", parse.integer, of.INTEGER)
    sealed_root = of.parameter("sealedRoot", parse.hash32, of.HASH)
    shard = of.parameter("shardRoot", parse.hash32, of.HASH)
    root = of.optional("root", parse.hash32, of.HASH)
    kind = of.parameter("kind", parse.text, of.STRING)
    one_task = of.optional("task", parse.hash32, of.HASH)
    subscription = of.parameter("subscription", parse.text, of.QUANTITY)
    some, many, maybe = of.OBJECT, of.array(of.OBJECT), of.maybe(of.OBJECT)
    subscribe, unsubscribe = subscriptions.subscribe_learning, subscriptions.unsubscribe
    return [
        _method("learn_tasks", "All tasks in short", many, learning.tasks),
        _method("learn_task", "A task, its specification and its moving parts", some, learning.task, task),
        _method("learn_head", "A task's newest head", some, learning.head, task),
        _method("learn_round", "A round: updates, openings, record", maybe, learning.round, task, number),
        _method("learn_update", "An update's life", maybe, learning.update, sealed_root),
        _method("learn_lineage", "The heads since genesis", many, learning.lineage, task, first, last),
        _method("learn_contributions", "Earnings of an account", some, accounts.contributions, of.ACCOUNT),
        _method("learn_validators", "Who votes next", many, accounts.validators, block),
        _method("learn_validator", "An account's power, bond and vote", some, accounts.validator, of.ACCOUNT),
        _method("learn_evaluate", "A head on a shard, now", some, accounts.evaluate, task, shard, root),
        _method("learn_abi", "The contract's ABI", many, learning.abi),
        _method("learn_status", "The node", some, accounts.status),
        _method(
            "learn_subscribe", "Be told of rounds or updates", of.QUANTITY, subscribe, kind, one_task, connected=True
        ),
        _method("learn_unsubscribe", "End that", of.BOOLEAN, unsubscribe, subscription, connected=True),
    ]


def proof_methods(proofs: Proofs) -> list[Method]:
    key = of.parameter("addressOrKey", parse.data, of.BYTES)
    return [
        _method("learn_header", "A block's header and who decided it", of.OBJECT, proofs.header, of.OPTIONAL_REFERENCE),
        _method("learn_proof", "A state value, proved", of.OBJECT, proofs.proof, key, of.OPTIONAL_REFERENCE),
    ]
