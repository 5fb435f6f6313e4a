"""Home of tests of a network that `init` made, and of commands that talk to a node: wallet, task, model and roles."""

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
from chain.cli.mine import check_device
from chain.crypto import checksum_address
from chain.errors import LyceumError
from tests.system.networks_by_readme import Network, running_network
from tests.system.processes import (
    ROOT,
    Finished,
    RunningNode,
    clean_environment,
    command,
    run_command,
)

pytestmark = pytest.mark.system

MNEMONIC = "test test test test test test test test test test test junk"
RICH = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"  # account 0 of the customary mnemonic
PASSWORD = {"LYCEUM_PASSWORD": "correct horse"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A running network in which a round of the task `dots`, of a CSV file, has been settled; `wine` comes later."""
    directory = tmp_path_factory.mktemp("network")
    table = directory / "dots.csv"
    rows = [f"{i % 7},{i % 5},{'even' if (i % 7 + i % 5) % 2 == 0 else 'odd'}" for i in range(400)]
    table.write_text("\n".join(["a,b,kind", *rows]))
    tasks = ("--task", table, "--task", "wine", "--fund", f"{RICH}=10000", "--block-interval", "0.2")
    with running_network(directory / "net work", *tasks) as running:
        node, dots = running.node, running.task("dots")
        node.wait_until(lambda: node.call("learn_head", dots)["height"] is not None, 60, "settled round")
        yield running


@pytest.fixture
def node(network: Network) -> RunningNode:
    return network.node


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


def test_network_of_one_validator_settles_rounds_by_the_commands_of_its_readme(network: Network) -> None:
    node, dots = network.node, network.task("dots")
    assert int(node.call("eth_chainId"), 16) in range(10**9, 2 * 10**9)
    assert node.call("learn_task", dots)["settledRounds"] >= 1
    earned = node.call("learn_contributions", network.miner)["tasks"]
    assert [each["task"] for each in earned] == [dots]
    assert earned[0]["rounds"] >= 1
    assert (network.directory / "training" / "dots.npz").exists()


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
    header, *rows = succeed(node, "task", "list").splitlines()
    assert header.split() == ["task", "status", "phase", "round", "loss", "accuracy", "id"]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        (task["name"], task["task"]) for task in node.call("learn_tasks")
    ]
    dots = rows[0].split()[-1]
    shown = json.loads(succeed(node, "task", "show", "dots", "--rounds", "1000", "--json"))
    settled = next(found for found in shown["rounds"] if found["record"])
    text = succeed(node, "task", "show", dots, "--rounds", "1000")
    for update in settled["updates"]:
        (line,) = (
            x
            for x in text.splitlines()
            if x.split()[:2] == [str(settled["round"]), checksum_address(bytes.fromhex(update["miner"][2:]))]
        )
        assert line.endswith(update["reason"])
        assert f"{int(update['reward'], 16) // 10**14 / 10**4:.4f}" in line.split()
    assert shown["task"]["head"] in text or node.call("learn_head", dots)["round"] > settled["round"]


def test_lineage_begins_with_genesis_and_each_head_is_the_next_ones_parent(node: RunningNode) -> None:
    heads = json.loads(succeed(node, "task", "lineage", "dots", "--json"))
    assert heads[0]["round"] is None
    assert [head["parent"] for head in heads[1:]] == [head["root"] for head in heads[:-1]]
    lines = succeed(node, "task", "lineage", "dots").splitlines()
    assert lines[1].split() == ["genesis", "0", "-", "-", "-", "-", heads[0]["root"]]
    for head, line in zip(heads[1:], lines[2:], strict=False):
        assert (line.split()[0], line.split()[-1]) == (str(head["round"]), head["root"])


def test_unknown_tasks_and_absent_nodes_are_told_in_a_line(node: RunningNode, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x.safetensors")
    for arguments in (("task", "show", "nope"), ("task", "lineage", "nope"), ("model", "pull", "nope", *out)):
        assert "has no task 'nope'; it has: dots, wine" in fail(*arguments, "--rpc", node.url)
        assert "no node answers at http://127.0.0.1:1" in fail(*arguments, "--rpc", "http://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- model


def test_pulled_models_score_the_same_from_file_node_and_notebook(
    network: Network, node: RunningNode, tmp_path: Path
) -> None:
    from learning import evaluate, pull
    from learning.datasets import load
    from learning.model_file import load as load_file

    file, training = tmp_path / "dots.safetensors", network.directory / "training" / "dots.npz"
    succeed(node, "model", "pull", "dots", "--out", file)
    head = load_file(file)
    assert head.is_unchanged
    scored = json.loads(succeed(node, "model", "eval", file, "--data", f"npz:{training}", "--json"))
    data = load(f"npz:{training}")
    score = evaluate(pull(node.url, "dots", head.root.hex()), data.inputs, data.labels)
    assert (scored["loss"], scored["correct"], scored["samples"]) == (score.loss, score.correct, 240)
    assert (scored["root"], scored["round"]) == ("0x" + head.root.hex(), head.round)


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


def test_roles_that_can_not_work_say_why(network: Network, tmp_path: Path) -> None:
    at = ("--rpc", network.node.url)
    mine = ("mine", *at, "--key", network.directory / "miner-1" / "miner.key", "--dir", tmp_path / "journal", "--task")
    assert "digits has 64 inputs and 10 classes; wine has 13 and 3" in fail_late(*mine, "wine", "--data", "digits")
    custody = ("custody", *at, "--secrets", tmp_path, "--key", network.directory / "custodian-1" / "custodian.key")
    assert "holds no secrets of a custodian" in fail_late(*custody)


def test_devices_that_torch_has_not_are_refused_before_anything_begins() -> None:
    check_device("cpu")
    for name in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(LyceumError, match=f"torch can't use --device {name}: "):
            check_device(name)


def fail_late(*arguments: object) -> str:
    """The one line of a command that fails after it has logged something."""
    done = run_command(*arguments)
    assert done.status == 1, done
    (line,) = done.errors.splitlines()
    return line


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_signals_end_a_miner_without_a_traceback(
    network: Network, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    node = network.node
    options = ("--key", network.directory / "miner-1" / "miner.key", "--dir", tmp_path, "--rpc", node.url)
    with (tmp_path / "log").open("wb") as log:
        line = command("mine", "--task", "wine", "--data", "wine", *options)
        miner = subprocess.Popen(line, cwd=ROOT, env=clean_environment(), stdout=log, stderr=log)
        node.wait_until(lambda: "mining wine" in (tmp_path / "log").read_text(), 30, "miner")
        miner.send_signal(number)
        assert miner.wait(60) == status  # after the training under way, which loads torch first
    assert len((tmp_path / "log").read_text().splitlines()) == 1
