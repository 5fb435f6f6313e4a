"""Home of the tests that web3.py, which knows nothing of Lyceum, works as it is: over HTTP and over WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from eth_account import Account
from web3 import AsyncWeb3, HTTPProvider, Web3, WebSocketProvider
from web3.exceptions import (
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3RPCError,
)
from web3.types import RPCEndpoint

from chain.types import COIN
from tests.rpc.live import ADDRESSES, KEYS, LiveChain

CONTRACT = Web3.to_checksum_address("0x00000000000000000000000000004c796365756d")
ME = Web3.to_checksum_address(ADDRESSES[0])
OTHER = Web3.to_checksum_address(ADDRESSES[1])
GWEI = 10**9


@pytest.fixture(scope="module")
def w3(live: LiveChain) -> Iterator[Web3]:
    provider = HTTPProvider(live.url)
    yield Web3(provider)
    provider._request_session_manager.session_cache.clear()


def send(w3: Web3, live: LiveChain, **fields: Any) -> Any:
    """Fill in, sign, send and include a transaction as web3.py's users do; its receipt."""
    filled = {"from": ME, "chainId": w3.eth.chain_id, "nonce": w3.eth.get_transaction_count(ME, "pending")} | fields
    if "gasPrice" not in filled:
        filled |= {"maxPriorityFeePerGas": w3.eth.max_priority_fee, "maxFeePerGas": 50 * GWEI}
    if "gas" not in filled:
        filled["gas"] = w3.eth.estimate_gas(filled)
    del filled["from"]
    raw = Account.sign_transaction(filled, KEYS[0]).raw_transaction
    transaction_hash = w3.eth.send_raw_transaction(raw)
    live.block()
    return w3.eth.wait_for_transaction_receipt(transaction_hash, timeout=5)


def contract_of(w3: Web3, live: LiveChain) -> Any:
    return w3.eth.contract(address=CONTRACT, abi=live.call("learn_abi"))


def test_a_transfer_of_each_kind_is_sent_and_read_back(w3: Web3, live: LiveChain) -> None:
    assert w3.is_connected()
    before = w3.eth.get_balance(OTHER)
    kinds = (
        {"gasPrice": 9 * GWEI},
        {"gasPrice": 9 * GWEI, "type": 1, "accessList": [{"address": OTHER, "storageKeys": ["0x" + "00" * 32]}]},
        {},
    )
    for kind, fields in enumerate(kinds):
        receipt = send(w3, live, to=OTHER, value=7, **fields)
        shown = w3.eth.get_transaction(receipt["transactionHash"])
        assert (receipt["status"], receipt["type"], shown["type"], shown["value"]) == (1, kind, kind, 7)
        assert receipt["effectiveGasPrice"] == shown["gasPrice"]
        block = w3.eth.get_block(receipt["blockNumber"], full_transactions=True)
        assert block["transactions"][receipt["transactionIndex"]] == shown
    assert w3.eth.get_balance(OTHER) == before + 21


def test_blocks_and_pending_ones_are_read(w3: Web3, live: LiveChain) -> None:
    for reference in ("latest", "safe", "finalized", "earliest", "pending", 1):
        block = w3.eth.get_block(reference)
        assert block["baseFeePerGas"] >= GWEI
    assert w3.eth.get_block("latest")["number"] == w3.eth.block_number == live.height
    with pytest.raises(BlockNotFound):
        w3.eth.get_block(10**6)
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction("0x" + "00" * 32)
    history = w3.eth.fee_history(3, "latest", [10, 90])
    assert len(history["baseFeePerGas"]) == 4
    assert w3.eth.gas_price >= GWEI


def test_views_are_called_through_the_abi(w3: Web3, live: LiveChain) -> None:
    contract = contract_of(w3, live)
    task = live.call("learn_tasks")[0]
    spec, status, number, phase, head, loss, escrow = contract.functions.task(task["task"]).call()
    assert '"name":"wine"' in spec
    assert ("0x" + head.hex(), status, escrow) == (task["head"], 1, 0)
    assert (number, loss) == (task["round"], task["last"]["lossAfter"])
    assert phase in range(6)
    accounts, powers = contract.functions.validators().call()
    assert [account.lower() for account in accounts] == ["0x" + live.proposer.hex()]
    assert contract.functions.powerOf(accounts[0]).call()[0] == powers[0]


def test_events_are_read_through_the_abi(w3: Web3, live: LiveChain) -> None:
    contract = contract_of(w3, live)
    events = contract.events.UpdateCommitted
    watching = events.create_filter(from_block="latest", argument_filters={"miner": ME})
    transaction_hash = live.commit_update(sealed_root=b"\xe1" * 32)
    live.block()
    receipt = w3.eth.wait_for_transaction_receipt(transaction_hash, timeout=5)
    (event,) = events().process_receipt(receipt)
    assert (event["args"]["miner"], event["args"]["sealedRoot"]) == (ME, b"\xe1" * 32)
    assert watching.get_new_entries() == [event]
    assert watching.get_new_entries() == []
    assert events.get_logs(from_block=receipt["blockNumber"], argument_filters={"miner": ME}) == [event]
    assert events.get_logs(from_block=receipt["blockNumber"], argument_filters={"miner": OTHER}) == []
    assert w3.eth.uninstall_filter(watching.filter_id)


def test_failures_come_as_the_exceptions_of_web3(w3: Web3, live: LiveChain) -> None:
    contract = contract_of(w3, live)
    for attempt in (contract.functions.head(bytes(32)).call, contract.functions.revealUpdate(
            bytes(32), 0, bytes(32), bytes(32)).estimate_gas):  # fmt: skip
        with pytest.raises(ContractLogicError, match="execution reverted: "):
            attempt({"from": ME})
    with pytest.raises(Web3RPCError, match="insufficient funds for gas"):
        send(w3, live, to=OTHER, value=20_000 * COIN, gas=21_000)
    with pytest.raises(Web3RPCError, match="nonce too low"):
        send(w3, live, to=OTHER, nonce=0)
    with pytest.raises(Web3RPCError, match="does not exist/is not available"):
        w3.manager.request_blocking(RPCEndpoint("eth_fillTransaction"), [])
    receipt = send(w3, live, to=CONTRACT, data="0x01020304", gas=100_000)
    assert (receipt["status"], receipt["logs"]) == (0, [])


def test_batches_are_answered(w3: Web3, live: LiveChain) -> None:
    with w3.batch_requests() as batch:
        batch.add(w3.eth.get_block(1))
        batch.add(w3.eth.get_balance(ME))
        block, balance = batch.execute()
    assert block["number"] == 1
    assert balance == w3.eth.get_balance(ME)


def test_calls_subscriptions_and_batches_work_over_a_websocket(live: LiveChain) -> None:
    async def story() -> None:
        async with AsyncWeb3(WebSocketProvider(live.websocket_url)) as w3:
            assert await w3.eth.chain_id == live.chain_id
            heads = await w3.eth.subscribe("newHeads")
            logs = await w3.eth.subscribe("logs", {"address": CONTRACT})
            pending = await w3.eth.subscribe("newPendingTransactions")
            async with w3.batch_requests() as batch:
                batch.add(w3.eth.get_block("latest"))
                batch.add(w3.eth.get_transaction_count(ME))
                block, nonce = await batch.async_execute()
            assert block["number"] == live.height
            assert nonce == live.nonce()
            sent = await asyncio.to_thread(live.commit_update, sealed_root=b"\xe2" * 32)
            height = live.height + 1
            await asyncio.to_thread(live.block)
            assert (await w3.eth.get_transaction_receipt(sent))["status"] == 1
            seen: dict[Any, Any] = {}
            async with asyncio.timeout(10):
                async for message in w3.socket.process_subscriptions():
                    result = message["result"]
                    if message["subscription"] != heads or result["number"] == height:
                        seen[message["subscription"]] = result
                    if len(seen) == 3:
                        break
            assert seen[pending].to_0x_hex() == sent
            assert seen[logs]["transactionHash"].to_0x_hex() == sent
            assert seen[heads]["hash"] == (await w3.eth.get_block(height))["hash"]
            assert await w3.eth.unsubscribe(heads)

    asyncio.run(story())
