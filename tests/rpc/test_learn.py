"""Home of the tests of `learn_*` on a chain on which two miners and a custodian, real clients, play two rounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from chain.abi import decode_event
from chain.codec import block_hash, decode_header
from chain.crypto import address_of
from chain.keys import load_or_make_plain_key
from chain.merkle import decode_proof, verify
from chain.types import CONTRACT_ADDRESS, Log
from learning.commitment import blob_root, weights_from_bytes, weights_root
from learning.record import Record
from learning.shards import decode_manifest
from tests.rpc.live import ADDRESSES, AnsweredError, LiveChain
from tests.rpc.rounds import CONTRACT, ROUNDS, PlayedChain, Reward
from tests.rpc.test_light_client import ask

MINERS = ["0x" + address.hex() for address in ADDRESSES]
NAT = 1 << 20


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedChain]:
    chain = PlayedChain(tmp_path_factory.mktemp("played"))
    yield chain
    chain.live.close()


@pytest.fixture(scope="module")
def taught(played: PlayedChain) -> LiveChain:
    return played.live


@pytest.fixture(scope="module")
def task(taught: LiveChain) -> str:
    return str(taught.call("learn_tasks")[0]["task"])


def events(live: LiveChain, name: str) -> list[dict[str, Any]]:
    """All events of a kind since genesis."""
    found = []
    for log in live.call("eth_getLogs", {"address": CONTRACT, "fromBlock": "earliest"}):
        topics = tuple(bytes.fromhex(topic[2:]) for topic in log["topics"])
        event, values = decode_event(Log(address=CONTRACT_ADDRESS, topics=topics, data=bytes.fromhex(log["data"][2:])))
        if event == name:
            found.append(values | {"log": log})
    return found


def test_a_round_tells_who_was_paid_what_and_why(taught: LiveChain, task: str) -> None:
    rewarded = {(event["round"], "0x" + event["miner"].hex()): event for event in events(taught, "Rewarded")}
    paid = 0
    for number in range(ROUNDS):
        shown = taught.call("learn_round", task, number)
        assert (shown["task"], shown["round"], shown["status"]) == (task, number, "settled")
        assert sorted(update["miner"] for update in shown["updates"]) == sorted(MINERS)
        record = Record.decode(bytes.fromhex(shown["record"]["encoded"][2:]))
        assert (record.task, record.round) == (bytes.fromhex(task[2:]), number)
        for update, line in zip(shown["updates"], record.updates, strict=True):
            assert update["id"] == "0x" + line.id.hex()
            assert update["fate"] == line.fate.name.lower()
            assert update["reason"]
            assert int(update["reward"], 16) == line.reward
            assert update["contributionNats"] * NAT == update["contribution"] == line.contribution
            if line.reward:
                paid += 1
                assert rewarded[number, update["miner"]]["amount"] == line.reward
        assert [opening["index"] for opening in shown["openings"]] == [number]
        assert shown["record"]["lossBeforeNats"] == record.loss_before / NAT
    assert paid, "no update was worth anything: the rounds show nothing"
    assert taught.call("learn_round", task, 29) is None


def rewards(live: LiveChain) -> list[Reward]:
    """Every reward since genesis, as the logs tell."""
    return [
        Reward(
            task="0x" + event["task"].hex(),
            miner="0x" + event["miner"].hex(),
            round=event["round"],
            amount=event["amount"],
            transaction=event["log"]["transactionHash"],
        )
        for event in events(live, "Rewarded")
    ]


def test_web3_and_ethers_follow_the_rewards(played: PlayedChain) -> None:
    paid = rewards(played.live)
    assert paid
    assert played.heard_by_web3 == paid
    if played.ethers_skipped:
        pytest.skip(played.ethers_skipped)
    assert played.heard_by_ethers == paid


def test_subscribers_are_told_of_rounds_and_updates(played: PlayedChain, task: str) -> None:
    settled = events(played.live, "RoundSettled")
    rounds = played.heard_by_subscription["rounds"]
    assert [(told["round"], told["transaction"]) for told in rounds] == [
        (event["round"], event["log"]["transactionHash"]) for event in settled
    ]
    for told, event in zip(rounds, settled, strict=True):
        assert (told["event"], told["task"], told["head"]) == ("RoundSettled", task, "0x" + event["head"].hex())
        assert told["lossAfterNats"] * NAT == told["lossAfter"] == event["lossAfter"]
        assert told["height"] == event["log"]["blockNumber"]
    updates = played.heard_by_subscription["updates"]
    for kind in ("UpdateCommitted", "UpdateRevealed", "Rewarded", "Penalised"):
        told_of = [told["transaction"] for told in updates if told["event"] == kind]
        assert told_of == [log["transactionHash"] for log in logs_of(played.live, kind)]


def test_the_head_is_a_blob_whose_root_is_the_task_s(taught: LiveChain, task: str) -> None:
    head = taught.call("learn_head", task)
    summary = taught.call("learn_tasks")[0]
    assert (head["task"], head["root"]) == (task, summary["head"])
    assert head["samples"] == taught.call("learn_round", task, ROUNDS - 1)["record"]["samples"]
    content = taught.get(f"/blobs/{head['root']}")[1]
    assert len(content) == int(head["bytes"], 16)
    spec = taught.call("learn_task", task)["specification"]
    from chain.operations.tasks import canonical_json, parse_spec

    architecture = parse_spec(canonical_json(spec), taught.node.chain.parameters).architecture
    weights = weights_from_bytes(content, architecture.parameters)
    assert "0x" + weights_root(architecture, weights).hex() == head["root"]


def test_the_lineage_leads_from_the_initial_head_to_the_present_one(taught: LiveChain, task: str) -> None:
    lineage = taught.call("learn_lineage", task)
    assert [entry["round"] for entry in lineage] == [None, *range(ROUNDS)]
    for before, after in itertools.pairwise(lineage):
        assert after["parent"] == before["root"]
        assert (after["root"] != after["parent"]) or not after["record"]["accepted"]
    assert lineage[-1]["root"] == taught.call("learn_head", task)["root"]
    assert lineage[0]["root"] != lineage[-1]["root"]
    assert taught.call("learn_lineage", task, 1, 1) == lineage[2:]
    with pytest.raises(AnsweredError, match="at most 1000 rounds"):
        taught.call("learn_lineage", task, 0, 1000)


def test_an_update_has_a_life_with_heights_and_transactions(taught: LiveChain, task: str) -> None:
    for committed in events(taught, "UpdateCommitted"):
        if committed["round"] >= ROUNDS:
            continue
        shown = taught.call("learn_update", "0x" + committed["sealedRoot"].hex())
        assert (shown["task"], shown["round"]) == (task, committed["round"])
        assert shown["miner"] == "0x" + committed["miner"].hex()
        assert shown["committed"] == {
            "height": committed["log"]["blockNumber"],
            "transaction": committed["log"]["transactionHash"],
        }
        moments = [int(shown[moment]["height"], 16) for moment in ("committed", "revealed", "judged", "ended")]
        assert moments == sorted(moments)
        for moment, words in (("revealed", "UpdateRevealed"), ("ended", "RoundSettled")):
            receipt = taught.call("eth_getTransactionReceipt", shown[moment]["transaction"])
            assert receipt["blockNumber"] == shown[moment]["height"]
            assert any(log["transactionHash"] == receipt["transactionHash"] for log in logs_of(taught, words))
    assert taught.call("learn_update", "0x" + "00" * 32) is None


def logs_of(live: LiveChain, name: str) -> list[dict[str, Any]]:
    return [event["log"] for event in events(live, name)]


def test_contributions_add_up_to_what_rounds_say(taught: LiveChain, task: str) -> None:
    for miner in MINERS:
        (shown,) = taught.call("learn_contributions", miner)["tasks"]
        ended = [update for update in shown["updates"] if update["round"] < ROUNDS]
        assert shown["task"] == task
        assert [update["round"] for update in ended] == list(range(ROUNDS))
        assert int(shown["rewarded"], 16) == sum(int(update["reward"], 16) for update in ended)
        assert shown["contribution"] == sum(update["contribution"] for update in ended)
    custodian = "0x" + address_of(load_or_make_plain_key(taught.keys.custodian)).hex()
    (kept,) = taught.call("learn_contributions", custodian)["tasks"]
    assert [opening["index"] for opening in kept["openings"]] == list(range(ROUNDS))
    assert taught.call("learn_contributions", "0x" + "99" * 20)["tasks"] == []


def test_validators_have_the_power_that_the_contract_tells(taught: LiveChain) -> None:
    (shown,) = taught.call("learn_validators")
    assert shown["address"] == "0x" + taught.proposer.hex()
    assert int(shown["power"], 16) == int(shown["earnedPower"], 16) + int(shown["bootstrapPower"], 16)
    assert (shown["voteKey"], shown["registered"], shown["barred"]) == (shown["address"], True, False)
    assert shown["absences"] == 0
    assert taught.call("learn_validators", "latest") == [shown]
    with pytest.raises(AnsweredError, match="header not found"):
        taught.call("learn_validators", "0xffffff")


def test_an_account_is_told_whether_it_votes_and_how(taught: LiveChain) -> None:
    (member,) = taught.call("learn_validators")
    shown = taught.call("learn_validator", member["address"])
    assert {shown[name] for name in ("votingPower", "totalVotingPower")} == {member["votingPower"]}
    for name in ("power", "earnedPower", "bootstrapPower", "bond"):
        assert shown[name] == member[name]
    assert (shown["registered"], shown["barred"], shown["voteKey"]) == (True, False, member["address"])
    stranger = taught.call("learn_validator", "0x" + "99" * 20)
    assert (stranger["registered"], stranger["voteKey"], stranger["withdrawAt"]) == (False, None, None)
    assert (stranger["power"], stranger["votingPower"]) == ("0x0", "0x0")


def test_a_proof_needs_nothing_but_the_header(taught: LiveChain) -> None:
    for key in (MINERS[0], "0x" + b"gtasks".hex(), "0x" + "99" * 20, "0x" + b"gnothing".hex()):
        shown = taught.call("learn_proof", key)
        header = decode_header(bytes.fromhex(shown["header"][2:]))
        block = taught.call("eth_getBlockByNumber", shown["height"], False)
        assert "0x" + block_hash(header).hex() == block["hash"]
        value = bytes.fromhex(shown["value"][2:]) if shown["value"] else None
        proof = decode_proof(bytes.fromhex(shown["proof"][2:]))
        assert verify(header.state_root, bytes.fromhex(shown["key"][2:]), value, proof)
        assert not verify(header.state_root, bytes.fromhex(shown["key"][2:]), b"other", proof)
    assert taught.call("learn_proof", MINERS[0])["balance"] == taught.call("eth_getBalance", MINERS[0])
    with pytest.raises(AnsweredError, match="a key has 1 to 64 bytes, not 65"):
        taught.call("learn_proof", "0x" + "67" * 65)


def test_a_light_client_verifies_heads_and_rewards(taught: LiveChain, task: str) -> None:
    task_id, shown = bytes.fromhex(task[2:]), taught.call("learn_round", task, 0)
    assert "0x" + ask(taught, lambda client: client.head(task_id)).hex() == taught.call("learn_head", task)["root"]
    found = ask(taught, lambda client: client.round(task_id, 0))
    assert found is not None
    assert [hex(update.reward) for update in found.updates] == [update["reward"] for update in shown["updates"]]
    assert Record.decode(found.record).head.hex() == shown["record"]["head"][2:]
    for miner in MINERS:
        total = taught.call("learn_contributions", miner)["tasks"][0]["rewarded"]
        assert hex(ask(taught, lambda client, of=miner: client.miner(task_id, bytes.fromhex(of[2:]))).rewarded) == total
    assert ask(taught, lambda client: client.round(task_id, 9999)) is None


def test_a_head_is_evaluated_on_an_opened_shard_as_the_record_says(taught: LiveChain, task: str) -> None:
    shown = taught.call("learn_task", task)
    custodian = shown["custodians"][0]
    spec = shown["specification"]
    manifest = taught.get(f"/blobs/{custodian['shardsRoot']}")[1]
    assert "0x" + blob_root(manifest).hex() == custodian["shardsRoot"]
    entries = decode_manifest(
        manifest, shards=custodian["shards"], samples=spec["shard_samples"], width=spec["architecture"]["layers"][0]
    )
    for number in range(ROUNDS):
        record = taught.call("learn_round", task, number)["record"]
        shard = "0x" + entries[number].root.hex()
        found = taught.call("learn_evaluate", task, shard, record["parent"])
        assert (found["meanLoss"], found["correct"]) == (record["lossBefore"], record["correctBefore"])
        found = taught.call("learn_evaluate", task, shard, record["head"])
        assert (found["meanLoss"], found["correct"]) == (record["lossAfter"], record["correctAfter"])
    with pytest.raises(AnsweredError) as refusal:
        taught.call("learn_evaluate", task, "0x" + entries[ROUNDS + 3].root.hex())
    assert refusal.value.code == -32000
    sealed = "0x" + entries[0].root.hex()
    with pytest.raises(AnsweredError, match="is no head of this task") as refusal:
        taught.call("learn_evaluate", task, sealed, sealed)
    assert refusal.value.code == -32000


def test_the_node_tells_how_it_stands(taught: LiveChain) -> None:
    status = taught.call("learn_status")
    assert (status["height"], status["chainId"]) == (hex(taught.height), hex(taught.chain_id))
    assert (status["syncing"], status["peers"], status["evaluationBacklog"]) == (False, 0, 0)
    assert status["mempool"] == {"pending": 0, "queued": 0}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("learn_task", []),
        ("learn_head", []),
        ("learn_round", [0]),
        ("learn_lineage", []),
        ("learn_evaluate", ["0x" + "00" * 32]),
    ],
)
def test_unknown_tasks_are_said_to_be_so(taught: LiveChain, method: str, params: list[Any]) -> None:
    with pytest.raises(AnsweredError, match="unknown task 0x0000") as refusal:
        taught.call(method, "0x" + "00" * 32, *params)
    assert refusal.value.code == -32000


def test_the_abi_is_what_solc_would_write(taught: LiveChain) -> None:
    abi = taught.call("learn_abi")
    names = {(entry["type"], entry["name"]) for entry in abi}
    assert {("function", "commitUpdate"), ("function", "validators"), ("event", "Rewarded")} <= names
    for entry in abi:
        if entry["type"] == "function":
            assert entry["stateMutability"] in ("payable", "nonpayable", "view")
