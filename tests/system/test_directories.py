"""Home of tests of data directories that a node can't use: it says why in one line, ends with status 1, and harms nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.cli.main import main
from tests.system.disks import fill
from tests.system.processes import FAST, RunningNode, run_command, running_node

pytestmark = pytest.mark.system


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `run` on a directory says, in one line, before it ends with status 1.

    It is told to listen where it can't, so that a directory that is not refused does not run for ever.
    """
    monkeypatch.setattr("chain.cli.run.set_up_logging", lambda form: None)

    def refused(directory: Path, *arguments: object) -> str:
        line = ["run", "--data-dir", directory, "--rpc-host", "192.0.2.1", "--quiet", "--no-mine", *arguments]
        assert main([str(word) for word in line]) == 1
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("python -m chain run: ")
        assert "192.0.2.1" not in said
        return str(said)

    return refused


def log_lines(node: RunningNode) -> list[str]:
    """What a node said beside its blocks."""
    return [line for line in node.log().splitlines() if "INFO lyceum" not in line]


def test_node_on_a_full_disk_says_so_and_goes_on_once_there_is_space(small_disk: Path) -> None:
    directory = small_disk / "node"
    with running_node(directory, *FAST, "--no-mine") as node:
        node.wait_for_height(3)
        ballast = fill(small_disk)
        assert node.process.wait(60) == 1
        (line,) = log_lines(node)
        assert line.startswith("python -m chain run: ")
        assert "the disk is full; free some space and start again, nothing is lost" in line
        last = max(
            int(entry.split("block ")[1].split(":")[0]) for entry in node.log().splitlines() if " block " in entry
        )
    ballast.unlink()
    with running_node(directory, "--no-mine") as node:
        assert node.height() >= last
        node.wait_for_height(node.height() + 3)
        assert node.stop() == 0
    assert run_command("verify", "--data-dir", directory).status == 0


def test_new_chain_on_a_full_disk_leaves_nothing_half_made(small_disk: Path, refusal: Callable[..., str]) -> None:
    directory = small_disk / "node"
    ballast = fill(small_disk)
    assert "the disk is full" in refusal(directory)
    assert not (directory / "genesis.json").exists()
    ballast.unlink()
    with running_node(directory, *FAST, "--no-mine") as node:
        node.wait_for_height(2)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which some blocks were made; to be copied."""
    directory = tmp_path_factory.mktemp("used") / "node"
    with running_node(directory, *FAST, "--no-mine", "--task", "wine") as node:
        node.wait_for_height(3)
        assert node.stop() == 0
    return directory


def test_directory_in_use_is_refused_and_its_node_goes_on(tmp_path: Path, used: Path) -> None:
    directory = shutil.copytree(used, tmp_path / "node")
    with running_node(directory, "--no-mine") as node:
        done = run_command("run", "--data-dir", directory, "--rpc-port", "0", "--quiet")
        assert (done.status, len(done.errors.splitlines())) == (1, 1)
        assert "is in use by another node" in done.errors
        node.wait_for_height(node.height() + 2)
        port = node.url.rpartition(":")[2]
        other = shutil.copytree(used, tmp_path / "other")
        done = run_command("run", "--data-dir", other, "--rpc-port", port, "--quiet", "--no-mine")
        assert (done.status, len(done.errors.splitlines())) == (1, 1)
        assert f"port {port} on 127.0.0.1 is in use" in done.errors
        node.wait_for_height(node.height() + 2)


def test_foreign_directories_are_refused_and_left_as_they_are(
    tmp_path: Path, used: Path, refusal: Callable[..., str]
) -> None:
    foreign = tmp_path / "documents"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    assert "holds other things (letter.txt)" in refusal(foreign)
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    assert main(["init", "--out", str(tmp_path / "network"), "--task", "wine"]) == 0
    directory = shutil.copytree(used, tmp_path / "node")
    said = refusal(directory, "--genesis", tmp_path / "network" / "genesis.json")
    assert "belongs to another network" in said
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in refusal(file)


def test_damaged_directories_are_named_and_nothing_is_begun_anew(
    tmp_path: Path, used: Path, refusal: Callable[..., str]
) -> None:
    def damaged(name: str) -> Path:
        return shutil.copytree(used, tmp_path / name)

    directory = damaged("no-genesis")
    (directory / "genesis.json").unlink()
    assert "genesis.json is missing" in refusal(directory)

    directory = damaged("no-current")
    (directory / "ledger" / "CURRENT").unlink()
    assert "CURRENT is missing" in refusal(directory)

    directory = damaged("no-ledger")
    shutil.rmtree(directory / "ledger")
    assert "ledger" in refusal(directory)

    directory = damaged("bad-genesis")
    (directory / "genesis.json").write_text("{")
    assert f"{directory / 'genesis.json'}: the genesis file is no JSON" in refusal(directory)

    directory = damaged("cut-log")
    (log,) = (directory / "ledger").glob("*.log")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    assert str(directory) in refusal(directory)

    directory = damaged("no-votes")
    (directory / "votes.log").unlink()
    assert "votes.log" in refusal(directory)

    directory = damaged("bad-votes")
    (directory / "votes.log").write_bytes(bytes(100))
    assert f"{directory / 'votes.log'}: this is no vote log" in refusal(directory)

    directory = damaged("bad-key")
    (directory / "keys" / "validator.key").write_text("12")
    assert "validator.key" in refusal(directory)
