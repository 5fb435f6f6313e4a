"""Home of the tests of answers in geth's manner: unknown things, past heights, errors that wallets match on."""

from __future__ import annotations

from typing import Any

import pytest

from chain.abi import encode_call, revert_reason
from chain.types import COIN, CONTRACT_ADDRESS, GWEI
from tests.rpc.live import ADDRESSES, AnsweredError, LiveChain

CONTRACT = "0x" + CONTRACT_ADDRESS.hex()
ME, OTHER = ("0x" + address.hex() for address in ADDRESSES)
NOBODY = "0x" + "99" * 20
TASK = bytes(32)


def refusal(live: LiveChain, method: str, *params: Any) -> tuple[int, str]:
    with pytest.raises(AnsweredError) as error:
        live.call(method, *params)
    return error.value.code, error.value.message


def test_the_pool_refuses_in_the_words_that_wallets_know(live: LiveChain) -> None:
    sent = live.transfer()
    live.send(sent)

    def refused(**fields: Any) -> tuple[int, str]:
        return refusal(live, "eth_sendRawTransaction", "0x" + live.transfer(**fields).raw.hex())

    again = refusal(live, "eth_sendRawTransaction", "0x" + sent.raw.hex())
    cheaper = refused(nonce=sent.nonce, value=2)
    live.block()
    refusals = {
        "already known": again,
        "replacement transaction underpriced": cheaper,
        "nonce too low": refused(nonce=sent.nonce),
        "insufficient funds for gas * price + value": refused(value=20_000 * COIN),
        "intrinsic gas too low": refused(gas_limit=20_999),
        "max fee per gas less than block base fee": refused(max_fee_per_gas=1, max_priority_fee_per_gas=1),
        "exceeds block gas limit": refused(gas_limit=2**40),
    }
    for words, (code, message) in refusals.items():
        assert code == -32000, (words, message)
        assert message.startswith(words), message
    assert refusal(live, "eth_sendRawTransaction", "0x03ff")[1].startswith("blob transactions (type 3)")
    assert refusal(live, "eth_sendRawTransaction", "0x04ff")[1].startswith("set-code transactions (type 4)")
    assert refusal(live, "eth_sendRawTransaction", "0x")[0] == -32000


def test_a_batch_of_transactions_is_taken_whole_and_answered_in_order(live: LiveChain) -> None:
    first = live.nonce()
    sent = [live.transfer(nonce=first + place) for place in range(20)]
    sent[7] = live.transfer(nonce=first + 6)  # known already, under another price
    calls = [
        {"jsonrpc": "2.0", "id": place, "method": "eth_sendRawTransaction", "params": ["0x" + each.raw.hex()]}
        for place, each in enumerate(sent)
    ]
    calls.append({"jsonrpc": "2.0", "id": 20, "method": "eth_getTransactionCount", "params": [ME, "pending"]})
    answers = live.post(calls)
    assert [answer["id"] for answer in answers] == list(range(21))
    assert answers[7]["error"]["message"].startswith("already known")
    assert [answers[place]["result"] for place in (0, 6, 8)] == ["0x" + sent[place].hash.hex() for place in (0, 6, 8)]
    assert int(answers[20]["result"], 16) == first + 7
    assert live.call("txpool_status") == {"pending": "0x7", "queued": "0xc"}
    live.send(live.transfer(nonce=first + 7))
    live.block()
    assert int(live.call("eth_getTransactionCount", ME, "latest"), 16) == first + 20
    assert live.call("txpool_status") == {"pending": "0x0", "queued": "0x0"}


def test_a_waiting_transaction_is_shown_without_a_block(live: LiveChain) -> None:
    transaction_hash = live.send(live.transfer())
    shown = live.call("eth_getTransactionByHash", transaction_hash)
    assert (shown["from"], shown["blockHash"], shown["blockNumber"], shown["transactionIndex"]) == (
        ME,
        None,
        None,
        None,
    )
    assert live.call("eth_getTransactionReceipt", transaction_hash) is None
    pending = live.call("eth_getBlockByNumber", "pending", False)
    assert pending["transactions"] == [transaction_hash]
    assert int(pending["number"], 16) == live.height + 1
    live.block()
    assert live.call("eth_getTransactionByHash", transaction_hash)["blockNumber"] == hex(live.height)


def test_money_moves_and_past_balances_stay_readable(live: LiveChain) -> None:
    def balances(reference: Any) -> list[int]:
        return [int(live.call("eth_getBalance", owner, reference), 16) for owner in (ME, OTHER)]

    def moved() -> bool:
        receipt_of = live.send(live.transfer(value=5))
        live.block()
        receipt = live.call("eth_getTransactionReceipt", receipt_of)
        paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
        return balances("latest") == [before[0] - 5 - paid, before[1] + 5]

    before, height = balances("latest"), live.height
    if not moved():  # the end of a phase in this very block may have returned a bond
        before, height = balances("latest"), live.height
        assert moved()
    block_hash = live.call("eth_getBlockByNumber", hex(height), False)["hash"]
    for reference in (hex(height), block_hash, {"blockHash": block_hash}, {"blockNumber": hex(height)}):
        assert balances(reference) == before
    assert balances("earliest")[0] == 10_000 * COIN


def test_unknown_blocks_are_errors_where_state_is_asked_for(live: LiveChain) -> None:
    for method, params in (("eth_getBalance", [ME]), ("eth_call", [{"to": ME}]), ("eth_getCode", [ME])):
        assert refusal(live, method, *params, "0xffffff") == (-32000, "header not found")
        assert refusal(live, method, *params, "0x" + "77" * 32) == (-32000, "header for hash not found")
    code, message = refusal(live, "eth_feeHistory", "0x1", "0xffffff", [])
    assert (code, message) == (-32000, f"request beyond head block: requested 16777215, head {live.height}")


def test_only_the_contract_has_code(live: LiveChain) -> None:
    assert len(live.call("eth_getCode", CONTRACT, "latest")) > 2
    assert live.call("eth_getCode", ME, "latest") == "0x"
    assert live.call("eth_getStorageAt", CONTRACT, "0x0", "latest") == "0x" + "00" * 32


def test_a_revert_is_error_3_with_its_reason_and_data(live: LiveChain) -> None:
    calls = (
        ({"to": CONTRACT, "data": "0x01020304"}, "unknown function selector 0x01020304"),
        ({"to": CONTRACT}, "empty calldata"),
        (
            {"from": ME, "to": CONTRACT, "data": "0x" + encode_call("head", TASK).hex(), "value": "0x1"},
            "takes no value",
        ),
    )
    for call, words in calls:
        for method in ("eth_call", "eth_estimateGas"):
            with pytest.raises(AnsweredError) as error:
                live.call(method, call, "latest")
            assert error.value.code == 3
            assert error.value.message.startswith("execution reverted: ")
            assert words in error.value.message
            assert revert_reason(bytes.fromhex(error.value.data[2:])) in error.value.message


def test_the_estimate_is_the_gas_that_is_used(live: LiveChain) -> None:
    head = {"to": CONTRACT, "data": "0x" + encode_call("validators").hex()}
    for call in ({"to": OTHER, "value": "0x5"}, {"to": OTHER, "data": "0x00ff"}, head):
        estimate = int(live.call("eth_estimateGas", {"from": ME, **call}), 16)
        assert int(live.call("eth_estimateGas", {"from": ME, **call}, "latest"), 16) == estimate
        fields = {
            "to": bytes.fromhex(call["to"][2:]),
            "data": bytes.fromhex(call.get("data", "0x")[2:]),
            "gas_limit": estimate,
            "value": int(call.get("value", "0x0"), 16),
        }
        sent = live.send(live.transfer(**fields))
        live.block()
        receipt = live.call("eth_getTransactionReceipt", sent)
        assert (receipt["status"], int(receipt["gasUsed"], 16)) == ("0x1", estimate)
        if estimate > 21_000:
            with pytest.raises(AnsweredError, match="gas required exceeds allowance"):
                live.call("eth_estimateGas", {"from": ME, **call, "gas": hex(estimate - 1)})
        with pytest.raises(AnsweredError, match="gas required exceeds allowance"):
            live.call("eth_estimateGas", {"from": ME, **call, "gasPrice": hex(COIN)})


def test_a_message_needs_funds(live: LiveChain) -> None:
    poor = {"from": NOBODY, "to": ME, "value": "0x1"}
    assert refusal(live, "eth_estimateGas", poor) == (-32000, "insufficient funds for transfer")
    assert refusal(live, "eth_call", poor) == (-32000, "insufficient funds for transfer")
    priced = refusal(live, "eth_call", {"from": NOBODY, "to": ME, "gasPrice": hex(100 * GWEI)})
    assert priced[0] == -32000
    assert priced[1].startswith(f"insufficient funds for gas * price + value: address {NOBODY} have 0 want")
    cheap = refusal(live, "eth_call", {"from": ME, "to": ME, "gasPrice": "0x1"})
    assert cheap[1].startswith("max fee per gas less than block base fee")
    assert live.call("eth_call", {"from": NOBODY, "to": ME}) == "0x"


def test_contracts_cannot_be_created(live: LiveChain) -> None:
    for method in ("eth_call", "eth_estimateGas"):
        code, message = refusal(live, method, {"from": ME, "data": "0x6000"})
        assert code == -32000
        assert message.startswith("contract creation is not supported")


def test_a_message_for_another_chain_is_refused(live: LiveChain) -> None:
    code, message = refusal(live, "eth_call", {"to": ME, "chainId": "0x1"})
    assert (code, message) == (-32602, f"chainId does not match node's (have=1, want={live.chain_id})")


def test_block_ranges_are_checked(live: LiveChain) -> None:
    assert refusal(live, "eth_getLogs", {"fromBlock": "0x3", "toBlock": "0x1"}) == (
        -32602,
        "invalid block range params",
    )
    assert refusal(live, "eth_getLogs", {"blockHash": "0x" + "77" * 32}) == (-32000, "unknown block")
    assert live.call("eth_getLogs", {"fromBlock": "0xffffff"}) == []
    assert live.call("eth_getLogs", {"fromBlock": "0x1", "toBlock": "0xffff"}) == live.call(
        "eth_getLogs", {"fromBlock": "0x1", "toBlock": "latest"}
    )
    with live.other_server(log_range_blocks_max=2, log_results_max=1) as url:
        with pytest.raises(AnsweredError, match="exceed max block range: 3 blocks, at most 2") as error:
            live.call("eth_getLogs", {"fromBlock": "0x1", "toBlock": "0x3"}, url=url)
        assert error.value.code == -32602
        assert live.call("eth_getLogs", {"fromBlock": "0x1", "toBlock": "0x2"}, url=url) == []


def test_too_many_logs_are_refused_with_a_range_to_try(live: LiveChain) -> None:
    for place in range(3):
        live.commit_update(sealed_root=bytes([0xA0 + place]) * 32)
    live.block()
    block = {"fromBlock": hex(live.height), "toBlock": hex(live.height)}
    assert len(live.call("eth_getLogs", block)) == 3
    with live.other_server(log_results_max=2) as url:
        with pytest.raises(AnsweredError, match="query returns more than 2 logs") as error:
            live.call("eth_getLogs", block, url=url)
        assert error.value.code == -32602


def test_fees_follow_the_blocks(live: LiveChain) -> None:
    for tip in (2, 3, 4):
        live.send(live.transfer(max_priority_fee_per_gas=tip * GWEI))
    live.block()
    history = live.call("eth_feeHistory", "0x2", "latest", [0, 50, 100])
    assert history["oldestBlock"] == hex(live.height - 1)
    assert [int(reward, 16) // GWEI for reward in history["reward"][1]] == [2, 3, 4]
    assert history["gasUsedRatio"][1] == 63_000 / 150_000_000
    blocks = [live.call("eth_getBlockByNumber", hex(live.height - back), False) for back in (1, 0)]
    assert history["baseFeePerGas"][:2] == [block["baseFeePerGas"] for block in blocks]
    assert live.call("eth_feeHistory", 1, "latest")["baseFeePerGas"] == history["baseFeePerGas"][1:]
    price, tip = (int(live.call(method), 16) for method in ("eth_gasPrice", "eth_maxPriorityFeePerGas"))
    assert price == int(history["baseFeePerGas"][2], 16) + tip
    assert refusal(live, "eth_feeHistory", "0x0", "latest", []) == (
        -32602,
        "invalid argument 0: at least one block is needed",
    )


def test_forgotten_state_is_said_to_be_so(live: LiveChain) -> None:
    live.blocks(140)
    code, message = refusal(live, "eth_getBalance", ME, "0x1")
    assert code == -32000
    assert message.startswith("historical state")
    assert refusal(live, "eth_call", {"to": CONTRACT}, "0x1") == (code, message)
    live.call("eth_getBalance", ME, hex(live.height - 120))


def test_filters_tell_what_is_new_once(live: LiveChain) -> None:
    logs, blocks, pending = (
        live.call("eth_newFilter", {"address": CONTRACT}),
        live.call("eth_newBlockFilter"),
        live.call("eth_newPendingTransactionFilter"),
    )
    first = live.height
    sent = [live.commit_update(sealed_root=bytes([0xC0 + place]) * 32) for place in range(2)]
    live.blocks(2)
    assert live.call("eth_getFilterChanges", pending) == sent
    hashes = live.call("eth_getFilterChanges", blocks)
    assert len(hashes) == live.height - first
    assert hashes[-1] == live.call("eth_getBlockByNumber", "latest", False)["hash"]
    assert [log["transactionHash"] for log in live.call("eth_getFilterChanges", logs)] == sent
    for each in (logs, blocks, pending):
        assert live.call("eth_getFilterChanges", each) == []
    assert live.call("eth_getFilterLogs", logs) == []  # by default from the tip on, which has none
    assert refusal(live, "eth_getFilterLogs", blocks) == (-32000, "filter not found")
    for each in (logs, blocks, pending):
        assert live.call("eth_uninstallFilter", each) is True
        assert refusal(live, "eth_getFilterChanges", each) == (-32000, "filter not found")


def test_filters_are_bounded_and_expire(live: LiveChain) -> None:
    with live.other_server(filters_max=2, filter_idle_seconds=0.3) as url:
        first = live.call("eth_newBlockFilter", url=url)
        live.call("eth_newBlockFilter", url=url)
        with pytest.raises(AnsweredError, match="too many filters: 2 exist") as error:
            live.call("eth_newBlockFilter", url=url)
        assert error.value.code == -32000
        live.wait(0.4)
        with pytest.raises(AnsweredError, match="filter not found"):
            live.call("eth_getFilterChanges", first, url=url)
        live.call("eth_newBlockFilter", url=url)


def test_small_things(live: LiveChain) -> None:
    assert live.call("net_version") == str(live.chain_id)
    assert int(live.call("eth_chainId"), 16) == live.chain_id
    assert live.call("net_listening") is True
    assert live.call("net_peerCount") == "0x0"
    assert live.call("eth_syncing") is False
    assert live.call("eth_accounts") == []
    assert live.call("web3_clientVersion").startswith("Lyceum/v")
    assert live.call("web3_sha3", "0x") == "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert set(live.call("rpc_modules")) == {"eth", "learn", "net", "rpc", "txpool", "web3"}
    assert refusal(live, "eth_fillTransaction", {}) == (
        -32601,
        "the method eth_fillTransaction does not exist/is not available",
    )
    assert refusal(live, "eth_subscribe", "newHeads")[0] == -32601
