"""Home of tests of what `init` writes: private keys, and nothing in place of anything else."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest

from chain.cli.main import main
from chain.crypto import address_of
from chain.keys import load_plain_key
from tests.system.processes import run_command

pytestmark = pytest.mark.system


def test_init_overwrites_nothing_and_leaves_nothing_behind_when_it_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / "network"
    network.mkdir()
    (network / "precious").write_text("x")
    assert main(["init", "--out", str(network), "--task", "wine"]) == 1
    assert "nothing is ever overwritten" in capsys.readouterr().err
    assert [path.name for path in network.iterdir()] == ["precious"]
    assert main(["init", "--out", str(tmp_path / "other"), "--task", "wine", "--custodians", "4"]) == 1
    assert "wine has 3 samples a round for 4 custodians" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["network"]


def test_keys_are_readable_by_their_owner_alone_and_locked_by_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, locked = tmp_path / "plain", tmp_path / "locked"
    assert main(["init", "--out", str(plain), "--task", "wine", "--custodians", "2", "--validators", "2"]) == 0
    keys = sorted(path for pattern in ("*/*.key", "*/secrets/*") for path in plain.glob(pattern))
    keys += sorted(plain.glob("*/data/node.key"))
    assert [path.parts[-2] for path in keys if path.suffix == ".key"] == [
        "custodian-1", "custodian-2", "miner-1", "validator-1", "validator-2", "data", "data",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    monkeypatch.setenv("LYCEUM_PASSWORD", "correct horse")
    assert main(["init", "--out", str(locked), "--task", "wine", "--miners", "0"]) == 0
    start = ["run", "--genesis", locked / "genesis.json", "--validator", locked / "validator-1" / "validator.json"]
    refused = run_command(*start, "--data-dir", tmp_path / "data", environment={"LYCEUM_PASSWORD": "wrong"})
    assert refused.status == 1
    assert "wrong password" in refused.errors
    assert not (tmp_path / "data").exists()


def test_a_network_across_machines_names_every_node_and_where_it_is(tmp_path: Path) -> None:
    network = tmp_path / "network"
    places = ["one.example:30333", "[2001:db8::1]:30334", "192.0.2.7:30333"]
    listen = [word for place in places for word in ("--listen", place)]
    start = ["init", "--out", str(network), "--task", "wine", "--validators", "3", "--private"]
    assert main([*start, *listen]) == 0
    readme = (network / "README.txt").read_text()
    lines = [line for line in readme.splitlines() if line.startswith("python -m chain run")]
    names = []
    for number, place in enumerate(places, start=1):
        node = address_of(load_plain_key(network / f"validator-{number}" / "data" / "node.key"))
        names.append(f"0x{node.hex()}")
        assert f"node of validator {number}: {names[-1]}@{place}" in readme
    for number, line in enumerate(lines):
        words = shlex.split(line)
        peers = {words[i + 1] for i, word in enumerate(words) if word == "--peer"}
        allowed = {words[i + 1] for i, word in enumerate(words) if word == "--allow-peer"}
        others = [other for other in range(3) if other != number]
        assert peers == {f"{names[other]}@{places[other]}" for other in others}
        assert allowed == {names[other] for other in others}
        assert words[words.index("--p2p-port") + 1] == places[number].rpartition(":")[2]


def test_places_that_cannot_be_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["init", "--out", str(tmp_path / "network"), "--task", "wine", "--validators", "2"]
    for given, reason in [
        (["--listen", "a:1"], "1 --listen for 2 validators"),
        (["--listen", "a:1", "--listen", "a:1"], "can't both listen at a:1"),
        (["--listen", "a:x"], "must be HOST:PORT"),
        (["--listen", "2001:db8::1"], "must be HOST:PORT"),
        (["--parameter", "no_such=1"], "'no_such', which is no parameter"),
        (["--parameter", "epoch_blocks"], "must be NAME=NUMBER"),
    ]:
        assert main([*start, *given]) != 0
        assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
