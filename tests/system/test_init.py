"""Home of tests of what `init` writes: private keys, and nothing in place of anything else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from chain.cli.main import main
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
    assert [path.parts[-2] for path in keys if path.suffix == ".key"] == [
        "custodian-1", "custodian-2", "miner-1", "validator-1", "validator-2",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    monkeypatch.setenv("LYCEUM_PASSWORD", "correct horse")
    assert main(["init", "--out", str(locked), "--task", "wine", "--miners", "0"]) == 0
    start = ["run", "--genesis", locked / "genesis.json", "--validator", locked / "validator-1" / "validator.json"]
    refused = run_command(*start, "--data-dir", tmp_path / "data", environment={"LYCEUM_PASSWORD": "wrong"})
    assert refused.status == 1
    assert "wrong password" in refused.errors
    assert not (tmp_path / "data").exists()
