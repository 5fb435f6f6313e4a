"""Home of the tests that results have the shapes of the Ethereum execution API specification, on a live chain."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chain.types import GWEI
from tests.rpc.live import ADDRESSES, LiveChain

CONTRACT = "0x00000000000000000000000000004c796365756d"
ME = "0x" + ADDRESSES[0].hex()
TRANSFER = {"from": ME, "to": CONTRACT.replace("4c", "4d"), "value": "0x1"}
RECENT = "a height that is kept"
WORD = "0x" + "00" * 32


VECTORS = Path(__file__).parent.parent / "vectors"


@lru_cache
def specification() -> Any:
    return json.loads((VECTORS / "execution-apis" / "results.json").read_text())


def ours() -> set[str]:
    """The methods that both the specification and Lyceum have."""
    return {method["name"] for method in specification()["methods"]}


@lru_cache
def validator_of(method: str) -> Any:
    (schema,) = (each["result"]["schema"] for each in specification()["methods"] if each["name"] == method)
    return jsonschema.Draft202012Validator({**schema, "components": specification()["components"]})


def check(live: LiveChain, method: str, *params: Any) -> Any:
    """The result of a call, after it was held against the method's schema."""
    result = live.call(method, *params)
    problems = [error.message for error in validator_of(method).iter_errors(result)]
    assert not problems, (method, problems, result)
    return result


@pytest.fixture(scope="module")
def history(live: LiveChain) -> list[str]:
    """Hashes of a transfer of each kind, of a call that logs and of one that fails, in one block."""
    access = ((ADDRESSES[1], (bytes(32),)),)
    commit = live.commit_update(sealed_root=b"\x51" * 32)
    hashes = [
        live.send(live.transfer(kind=0, max_fee_per_gas=9 * GWEI, max_priority_fee_per_gas=9 * GWEI)),
        live.send(
            live.transfer(
                kind=1, max_fee_per_gas=8 * GWEI, max_priority_fee_per_gas=8 * GWEI, access_list=access,
                gas_limit=30_000,
            )
        ),
        live.send(live.transfer(data=b"ignored", gas_limit=30_000)),
        commit,
        live.send(live.transfer(to=bytes.fromhex(CONTRACT[2:]), data=b"\1\2\3\4", gas_limit=90_000, value=0)),
    ]  # fmt: skip
    live.block()
    assert [int(live.call("eth_getTransactionReceipt", each)["status"], 16) for each in hashes] == [1, 1, 1, 1, 0]
    return hashes


def test_blocks_have_the_shape_of_the_specification(live: LiveChain, history: list[str]) -> None:
    for full in (False, True):
        for reference in ("latest", "safe", "finalized", "earliest", "0x1"):
            block = check(live, "eth_getBlockByNumber", reference, full)
            assert check(live, "eth_getBlockByHash", block["hash"], full) == block
    assert check(live, "eth_getBlockByNumber", "0xffffff", True) is None
    assert check(live, "eth_getBlockByHash", WORD, False) is None
    latest = live.call("eth_getBlockByNumber", "latest", True)
    assert [each["hash"] for each in latest["transactions"]] == live.call("eth_getBlockByNumber", "latest", False)[
        "transactions"
    ]


def test_transactions_and_receipts_have_the_shape_of_the_specification(live: LiveChain, history: list[str]) -> None:
    for transaction_hash in history:
        transaction = check(live, "eth_getTransactionByHash", transaction_hash)
        receipt = check(live, "eth_getTransactionReceipt", transaction_hash)
        assert receipt["effectiveGasPrice"] == transaction["gasPrice"]
        place = (transaction["blockHash"], transaction["transactionIndex"])
        assert check(live, "eth_getTransactionByBlockHashAndIndex", *place) == transaction
        place = (transaction["blockNumber"], transaction["transactionIndex"])
        assert check(live, "eth_getTransactionByBlockNumberAndIndex", *place) == transaction
    number = receipt["blockNumber"]
    assert check(live, "eth_getBlockReceipts", number) == check(live, "eth_getBlockReceipts", receipt["blockHash"])
    assert check(live, "eth_getBlockTransactionCountByNumber", number) == "0x5"
    assert check(live, "eth_getBlockTransactionCountByHash", receipt["blockHash"]) == "0x5"
    for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
        assert check(live, method, WORD) is None
    assert check(live, "eth_getTransactionByBlockNumberAndIndex", number, "0x63") is None
    assert check(live, "eth_getBlockReceipts", "0xffffff") is None
    assert check(live, "eth_getBlockTransactionCountByHash", WORD) is None


def test_logs_and_filters_have_the_shape_of_the_specification(live: LiveChain, history: list[str]) -> None:
    logs = check(live, "eth_getLogs", {"address": CONTRACT, "fromBlock": "earliest"})
    assert history[3] in [log["transactionHash"] for log in logs]
    by_hash = check(live, "eth_getLogs", {"blockHash": logs[-1]["blockHash"], "topics": [logs[-1]["topics"][0]]})
    assert by_hash == logs[-1:]
    filters = [live.call("eth_newFilter", {"address": CONTRACT})]
    filters += [live.call("eth_newBlockFilter"), live.call("eth_newPendingTransactionFilter")]
    sent = live.commit_update(sealed_root=b"\x52" * 32)
    live.block()
    found = [check(live, "eth_getFilterChanges", each) for each in filters]
    assert [log["transactionHash"] for log in found[0]] == [sent]
    assert found[1][-1] == live.call("eth_getBlockByNumber", "latest", False)["hash"]
    assert found[2] == [sent]
    check(live, "eth_getFilterLogs", live.call("eth_newFilter", {"address": CONTRACT, "fromBlock": "0x0"}))
    for each in filters:
        assert check(live, "eth_uninstallFilter", each) is True
        assert check(live, "eth_uninstallFilter", each) is False


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_accounts", []),
        ("eth_blockNumber", []),
        ("eth_call", [TRANSFER]),
        ("eth_call", [TRANSFER, "latest"]),
        ("eth_chainId", []),
        ("eth_estimateGas", [TRANSFER]),
        ("eth_estimateGas", [TRANSFER, "pending"]),
        ("eth_feeHistory", ["0x5", "latest", []]),
        ("eth_feeHistory", ["0x400", "latest", [0, 50, 99.9]]),
        ("eth_gasPrice", []),
        ("eth_getBalance", [ME]),
        ("eth_getBalance", [ME, RECENT]),
        ("eth_getBalance", [WORD[:42], "latest"]),
        ("eth_getCode", [CONTRACT, "latest"]),
        ("eth_getCode", [ME]),
        ("eth_getStorageAt", [CONTRACT, "0x0", "latest"]),
        ("eth_getTransactionCount", [ME, "pending"]),
        ("eth_maxPriorityFeePerGas", []),
        ("eth_syncing", []),
        ("net_version", []),
        ("txpool_status", []),
    ],
)
def test_results_have_the_shape_of_the_specification(
    live: LiveChain, history: list[str], method: str, params: list[Any]
) -> None:
    check(live, method, *(hex(live.height - 1) if each == RECENT else each for each in params))


def test_the_described_methods_are_those_that_answer(live: LiveChain) -> None:
    document = live.call("rpc.discover")
    names = [method["name"] for method in document["methods"]]
    assert len(names) == len(set(names))
    assert set(names) >= ours()
    for name in names:
        answer = live.post({"jsonrpc": "2.0", "id": 1, "method": name})
        assert "result" in answer or answer["error"]["code"] == -32602, (name, answer)


def test_the_described_document_is_openrpc(live: LiveChain) -> None:
    schema = json.loads((VECTORS / "open-rpc" / "schema.json").read_text())
    # In this copy the version is a placeholder, and what a JSON schema may be stands on a web site: it is draft 7.
    schema["properties"]["openrpc"] = {"type": "string", "pattern": r"^1\.\d+\.\d+$"}
    schema["definitions"]["JSONSchema"] = {"$ref": "http://json-schema.org/draft-07/schema#"}
    schema["definitions"]["referenceObject"]["properties"]["$ref"] = {"type": "string"}
    del schema["$schema"]
    problems = list(jsonschema.Draft7Validator(schema).iter_errors(live.call("rpc.discover")))
    assert not problems, problems[:3]


def test_transcripts_of_other_nodes_name_methods_that_we_answer_in_kind(live: LiveChain) -> None:
    """Every request of the specification's transcripts is answered: by a result of the right shape, or in words."""
    folder = os.environ.get("LYCEUM_VECTORS")
    if not folder:
        pytest.skip("LYCEUM_VECTORS does not name the folder of external vectors")
    seen = 0
    for path in sorted((Path(folder) / "execution-apis" / "tests").glob("*/*.io")):
        for line in path.read_text().splitlines():
            if not line.startswith(">> "):
                continue
            request = json.loads(line[3:])
            answer = live.post(request)
            assert answer["id"] == request["id"]
            code = answer.get("error", {}).get("code", 0)
            if request["method"] not in ours():
                assert code == -32601, (path.name, answer)
                continue
            seen += 1
            assert code not in (-32603, -32005, -32600, -32601), (path.name, answer)
            if (
                answer.get("result", []) != []
            ):  # an empty array has both shapes of FilterResults, of which one is allowed
                problems = [error.message for error in validator_of(request["method"]).iter_errors(answer["result"])]
                assert not problems, (path.name, problems)
    assert seen > 40
