"""Home of tests of the commands that talk to a node: wallet, task and model, against one that learns."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.cli.amounts import in_coins
from chain.crypto import checksum_address
from tests.system.processes import (
    FAST,
    ROOT,
    Finished,
    RunningNode,
    clean_environment,
    command,
    run_command,
    running_node,
)

pytestmark = pytest.mark.system

MNEMONIC = "test test test test test test test test test test test junk"
RICH = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"  # its account 0
PASSWORD = {"LYCEUM_PASSWORD": "correct horse"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A development chain on `wine` in which a round has been settled."""
    directory = tmp_path_factory.mktemp("clients") / "node"
    with running_node(directory, *FAST, "--task", "wine") as node:
        (task,) = node.call("learn_tasks")
        node.wait_until(lambda: node.call("learn_head", task["task"])["height"] is not None, 60, "settled round")
        yield node


def succeed(node: RunningNode, *arguments: object, stdin: str = "") -> str:
    done = run_command(*arguments, "--rpc", node.url, stdin=stdin, environment=PASSWORD)
    assert done.status == 0, done
    return done.output


def fail(*arguments: object, environment: dict[str, str] | None = None) -> str:
    """The one line of a command that fails."""
    done = run_command(*arguments, environment=PASSWORD if environment is None else environment)
    assert (done.status, done.output) == (1, ""), done
    (line,) = done.errors.splitlines()
    return line


# ------------------------------------------------------------------------------------------------------------ wallet


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keystore with the first account of the customary mnemonic, and a fresh one."""
    directory = tmp_path_factory.mktemp("keystore") / "keys"
    options = ("--keystore", directory, "--name")
    made = run_command("wallet", "import", *options, "rich", "--mnemonic", stdin=MNEMONIC, environment=PASSWORD)
    assert made == Finished(status=0, output=f"rich  {RICH}\n", errors="")
    assert run_command("wallet", "new", *options, "poor", environment=PASSWORD).status == 0
    return directory


def test_sent_coins_arrive_and_cost_what_was_said(node: RunningNode, keystore: Path) -> None:
    place = ("--keystore", keystore)
    before = int(node.call("eth_getBalance", RICH, "latest"), 16)
    sent = succeed(node, "wallet", "send", *place, "--from", "rich", "--to", "poor", "--amount", "2.5")
    found = re.fullmatch(r"(0x\w{64})\nblock (\d+): 2.5 coins to (0x\w{40}), fee (0\.\d+) coins\n", sent)
    assert found, sent
    receipt = node.call("eth_getTransactionReceipt", found[1])
    assert int(receipt["blockNumber"], 16) == int(found[2])
    assert receipt["to"] == found[3].lower()
    fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert fee == round(float(found[4]) * 10**18)
    assert int(node.call("eth_getBalance", RICH, "latest"), 16) == before - fee - 25 * 10**17
    assert succeed(node, "wallet", "balance", *place, "poor") == "2.5 coins\n"
    assert succeed(node, "wallet", "balance", *place, found[3]) == "2.5 coins\n"


def test_transfers_that_can_not_be_made_say_why(node: RunningNode, keystore: Path) -> None:
    send = ("wallet", "send", "--keystore", keystore, "--from", "rich", "--amount")
    to, at = ("--to", "poor"), ("--rpc", node.url)
    all_of_it = in_coins(int(node.call("eth_getBalance", RICH, "latest"), 16))
    assert "nothing was sent: insufficient funds for gas * price + value" in fail(*send, all_of_it, *to, *at)
    assert "and a fee are needed" in fail(*send, "1000000", *to, *at)
    assert "wrong password for" in fail(*send, "1", *to, *at, environment={"LYCEUM_PASSWORD": "wrong"})
    assert "is locked: give its password" in fail(*send, "1", *to, *at, environment={})
    assert "has a wrong checksum" in fail(*send, "1", "--to", RICH[:-1] + "7", *at)
    assert "holds no account 'nobody'" in fail(*send, "1", "--to", "nobody", *at)
    assert "no node answers at" in fail(*send, "1", *to, "--rpc", "http://127.0.0.1:1")
    assert "empty calldata" in fail(*send, "1", "--to", "0x00000000000000000000000000004c796365756d", *at)


# -------------------------------------------------------------------------------------------------------------- task


def test_tasks_are_listed_and_shown_with_who_was_paid_what_and_why(node: RunningNode) -> None:
    (told,) = node.call("learn_tasks")
    header, row = succeed(node, "task", "list").splitlines()
    assert header.split() == ["task", "status", "phase", "round", "loss", "accuracy", "id"]
    assert row.split()[0] == "wine"
    assert row.split()[-1] == told["task"]

    shown = json.loads(succeed(node, "task", "show", "wine", "--rounds", "1000", "--json"))
    settled = next(found for found in shown["rounds"] if found["record"])
    text = succeed(node, "task", "show", told["task"], "--rounds", "1000")
    for update in settled["updates"]:
        (line,) = (
            x
            for x in text.splitlines()
            if x.split()[:2] == [str(settled["round"]), checksum_address(bytes.fromhex(update["miner"][2:]))]
        )
        assert line.endswith(update["reason"])
        assert f"{int(update['reward'], 16) // 10**14 / 10**4:.4f}" in line.split()
    assert shown["task"]["head"] in text or node.call("learn_head", told["task"])["round"] > settled["round"]


def test_lineage_begins_with_genesis_and_each_head_is_the_next_ones_parent(node: RunningNode) -> None:
    heads = json.loads(succeed(node, "task", "lineage", "wine", "--json"))
    assert heads[0]["round"] is None
    assert [head["parent"] for head in heads[1:]] == [head["root"] for head in heads[:-1]]
    lines = succeed(node, "task", "lineage", "wine").splitlines()
    assert lines[1].split() == ["genesis", "0", "-", "-", "-", "-", heads[0]["root"]]
    for head, line in zip(heads[1:], lines[2:], strict=False):
        assert (line.split()[0], line.split()[-1]) == (str(head["round"]), head["root"])


def test_unknown_tasks_and_absent_nodes_are_told_in_a_line(node: RunningNode, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x.safetensors")
    for arguments in (("task", "show", "nope"), ("task", "lineage", "nope"), ("model", "pull", "nope", *out)):
        assert "has no task 'nope'; it has: wine" in fail(*arguments, "--rpc", node.url)
        assert "no node answers at http://127.0.0.1:1" in fail(*arguments, "--rpc", "http://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- model


def test_pulled_models_score_the_same_from_file_node_and_notebook(node: RunningNode, tmp_path: Path) -> None:
    from learning import evaluate, pull
    from learning.datasets import load
    from learning.model_file import load as load_file

    file = tmp_path / "wine.safetensors"
    succeed(node, "model", "pull", "wine", "--out", file)
    head = load_file(file)
    assert head.is_unchanged
    scored = json.loads(succeed(node, "model", "eval", file, "--data", "wine@test", "--json"))
    data = load("wine@test")
    score = evaluate(pull(node.url, "wine", head.root.hex()), data.inputs, data.labels)
    assert (scored["loss"], scored["correct"], scored["samples"]) == (score.loss, score.correct, 38)
    assert scored["root"] == "0x" + head.root.hex()


def test_models_are_evaluated_on_csv_files_under_the_tasks_schema(node: RunningNode, tmp_path: Path) -> None:
    from sklearn.datasets import load_wine

    from learning.datasets import BUILT_IN, shuffled

    wine, table = load_wine(), tmp_path / "mine.csv"
    order = shuffled(len(wine.target), "wine")[: BUILT_IN["wine"].test_samples]
    with table.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["kind", *wine.feature_names])
        writer.writerows([wine.target_names[wine.target[i]], *wine.data[i]] for i in order)
    file = tmp_path / "wine.safetensors"
    succeed(node, "model", "pull", "wine", "--out", file)
    scores = [
        json.loads(succeed(node, "model", "eval", file, "--data", data, "--json"))
        for data in (f"csv:{table},label=kind", "wine@test")
    ]
    assert scores[0] == scores[1]
    assert "samples of 64 bytes" in fail("model", "eval", file, "--data", "digits@test")
    assert "unknown data source 'nope'" in fail("model", "eval", file, "--data", "nope")
    assert "can't read" in fail("model", "eval", tmp_path / "none.safetensors", "--data", "wine@test")


# ------------------------------------------------------------------------------------------------------------- roles


def test_roles_that_can_not_work_say_why(node: RunningNode, tmp_path: Path) -> None:
    keys, at = node.directory / "keys", ("--rpc", node.url)
    mine = ("mine", *at, "--key", keys / "miner-1.key", "--dir", tmp_path / "journal", "--task")
    assert "digits has 64 inputs and 10 classes; wine has 13 and 3" in fail_late(*mine, "wine", "--data", "digits")
    assert "has no task 'nope'; it has: wine" in fail_late(*mine, "nope", "--data", "wine")
    assert "torch can't use --device nonsense" in fail_late(*mine, "wine", "--data", "wine", "--device", "nonsense")
    custody = ("custody", *at, "--secrets", tmp_path)
    assert "holds no secrets of a custodian" in fail_late(*custody, "--key", keys / "custodian.key")
    assert "can't read the key file" in fail_late(*custody, "--key", tmp_path / "none")


def fail_late(*arguments: object) -> str:
    """The one line of a command that fails after it has logged something."""
    done = run_command(*arguments)
    assert done.status == 1, done
    (line,) = done.errors.splitlines()
    return line


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_signals_end_a_miner_without_a_traceback(
    node: RunningNode, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    options = ("--key", node.directory / "keys" / "miner-1.key", "--dir", tmp_path, "--rpc", node.url)
    with (tmp_path / "log").open("wb") as log:
        line = command("mine", "--task", "wine", "--data", "wine", *options)
        miner = subprocess.Popen(line, cwd=ROOT, env=clean_environment(), stdout=log, stderr=log)
        node.wait_until(lambda: "mining wine" in (tmp_path / "log").read_text(), 30, "miner")
        miner.send_signal(number)
        assert miner.wait(15) == status
    assert len((tmp_path / "log").read_text().splitlines()) == 1
