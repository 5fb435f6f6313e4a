"""Home of tests that `verify` finds every kind of damage: exit status 1, and one line that names height and field."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from chain.cli.main import main
from chain.codec import block_hash, decode_block, encode_block, encode_header
from chain.crypto import address_of, keccak256, sign
from chain.development import GENESIS_NAME
from chain.genesis import parse_genesis
from chain.operations.founding import initial_head
from chain.operations.learning_state import RoundStatus
from chain.operations.learning_store import (
    custodian_key,
    read_custodian,
    read_round,
    read_spec,
    read_task,
    read_tasks,
    round_key,
    task_key,
)
from chain.operations.tasks import parse_spec
from chain.parameters import Parameters
from chain.state import KIND_ACCOUNT
from chain.storage.leveldb import Kind
from chain.storage.store import Store
from chain.storage.votelog_file import VOTES_NAME
from consensus.codec import decode_commit, encode_commit
from consensus.types import BlockId, Commit, Vote
from learning.shards import decode_manifest
from tests.system.damage import (
    at_height,
    blob_path,
    flip,
    flip_in_file,
    flipped,
    opened_records,
    remove,
    rewrite_record,
)
from tests.system.learned import LearnedChains
from tests.system.networks import ACCOUNT_KEYS, DEVELOPMENT_ACCOUNTS
from tests.system.processes import run_command

pytestmark = pytest.mark.system

COMMIT_KEY = bytes(Kind.META) + b"commit"
TIP_KEY = bytes(Kind.OWN) + b"tip"
GENESIS_KEY = bytes(Kind.OWN) + b"genesis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the tests know of the short chain, read from it before any damage."""

    parameters: Parameters
    genesis_hash: bytes
    tip: int
    task: bytes
    settled_round: int
    settled_at: int
    transfer_at: tuple[int, bytes]  # height and hash of a transaction
    log_at: int  # the height of a block with logs
    manifest: bytes
    shard: bytes
    initial_head: bytes
    settled_head: bytes
    update: tuple[int, bytes]  # height of its commit, and sealed root


@pytest.fixture(scope="session")
def facts(learned_chains: LearnedChains, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    copy = Path(shutil.copytree(learned_chains.short, tmp_path_factory.mktemp("facts") / "chain"))
    genesis = parse_genesis((copy / GENESIS_NAME).read_bytes())
    with Store.open(copy, create=False) as store:
        tip = store.tip()
        assert tip is not None
        (entry,) = read_tasks(store)
        spec = parse_spec(read_spec(store, entry.task) or b"", genesis.parameters)
        state = read_task(store, entry.task)
        assert state is not None
        rounds = {number: read_round(store, entry.task, number) for number in range(entry.clock.cycle_of(tip) + 1)}
        number, settled = next((n, r) for n, r in rounds.items() if r and r.status is RoundStatus.SETTLED)
        assert len(state.heads) > 1, "no round was accepted"
        custodian = read_custodian(store, entry.task, state.custodians[0])
        assert custodian is not None
        manifest = blob_path(copy, custodian.shards_root).read_bytes()
        width = spec.architecture.input_width
        entries = decode_manifest(manifest, shards=custodian.shards, samples=spec.shard_samples, width=width)
        blocks = {height: decode_block(store.block(height) or b"") for height in range(1, tip + 1)}
        with_transfers = next(height for height, block in blocks.items() if block.transactions)
        revealed = next(update for update in settled.updates if update.key)
        return Facts(
            parameters=genesis.parameters,
            genesis_hash=genesis.hash,
            tip=tip,
            task=entry.task,
            settled_round=number,
            settled_at=settled.ended_at,
            transfer_at=(with_transfers, keccak256(blocks[with_transfers].transactions[0])),
            log_at=settled.ended_at,
            manifest=custodian.shards_root,
            shard=entries[-1].root,
            initial_head=initial_head(spec.architecture, spec.initial_seed)[0],
            settled_head=state.heads[-1].root,
            update=(revealed.committed_at, revealed.sealed_root),
        )


def verify(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run `verify` in this process, which saves what a new one takes to start: status, output, errors."""
    capsys.readouterr()
    status = main(["verify", "--data-dir", str(directory)])
    told = capsys.readouterr()
    return status, told.out, told.err


def assert_found(directory: Path, capsys: pytest.CaptureFixture[str], height: int | None, what: str) -> None:
    """`verify` fails with one line, which names the height (where one is given) and what `what` matches."""
    status, output, errors = verify(directory, capsys)
    assert (status, output) == (1, ""), errors
    assert errors.count("\n") == 1, errors
    assert re.match(rf"python -m chain verify: .*({what})", errors), errors
    assert height is None or re.search(rf"\bheight {height}: ", errors), errors


# ------------------------------------------------------------------------------------------------------- no damage


def test_an_undamaged_copy_passes(short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts) -> None:
    status, output, errors = verify(short_chain, capsys)
    assert (status, errors) == (0, "")
    assert output.startswith(f"verified {facts.tip} blocks, ")


def test_spaces_in_the_genesis_file_change_nothing(short_chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = short_chain / GENESIS_NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=4))
    assert verify(short_chain, capsys)[0] == 0


# ----------------------------------------------------------------------------------- a bit in a record of the ledger


def height_of(name: str, facts: Facts) -> int:
    heights = {
        "first": 1,
        "last": facts.tip,
        "of a settlement": facts.settled_at,
        "of a transfer": facts.transfer_at[0],
    }
    return heights[name]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("where", ["first", "of a settlement", "last"])
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Kind.BLOCK, "block|header|last_commit|transactions|[a-z_]+_root"),
        (Kind.HEADER, "header"),
        (Kind.RECEIPTS, "receipts"),
        (Kind.UNDO, "earlier"),
    ],
)
def test_a_flipped_bit_in_a_record_kept_by_height_is_found(
    short_chain: Path,
    capsys: pytest.CaptureFixture[str],
    facts: Facts,
    kind: Kind,
    what: str,
    where: str,
    seed: int,
) -> None:
    height = height_of(where, facts)
    if kind is Kind.UNDO:
        height = max(height, facts.tip - facts.parameters.history_heights + 1)  # older ones are not kept
    rewrite_record(short_chain, at_height(kind, height), flip(Random(seed)))
    assert_found(short_chain, capsys, height, what)


@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.HEADER])
def test_a_flipped_bit_in_genesis_records_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], kind: Kind
) -> None:
    rewrite_record(short_chain, at_height(kind, 0), flip(Random(1)))
    assert_found(short_chain, capsys, 0, kind.name.lower())


def state_keys(facts: Facts) -> dict[str, bytes]:
    return {
        "account": KIND_ACCOUNT + DEVELOPMENT_ACCOUNTS[0],
        "task": task_key(facts.task),
        "round": round_key(facts.task, facts.settled_round),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["account", "task", "round"])
def test_a_flipped_bit_in_a_state_value_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, name: str, seed: int
) -> None:
    key = state_keys(facts)[name]
    rewrite_record(short_chain, bytes(Kind.STATE) + key, flip(Random(seed)))
    assert_found(short_chain, capsys, facts.tip, f"state value of .*{name}.* 0x{key[1:].hex()}")


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_in_a_transaction_index_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, seed: int
) -> None:
    height, hash_ = facts.transfer_at
    rewrite_record(short_chain, bytes(Kind.TRANSACTION) + hash_, flip(Random(seed)))
    assert_found(short_chain, capsys, height, r"transactions\[0\]\.hash")


def test_a_flipped_bit_in_the_index_of_block_hashes_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts
) -> None:
    with opened_records(short_chain) as database:
        hash_ = block_hash(decode_block(database.get(at_height(Kind.BLOCK, facts.settled_at))).header)
    rewrite_record(short_chain, bytes(Kind.HEIGHT_OF_HASH) + hash_, flip(Random(1)))
    assert_found(short_chain, capsys, facts.settled_at, "block hash")


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_in_the_last_commit_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, seed: int
) -> None:
    rewrite_record(short_chain, COMMIT_KEY, flip(Random(seed)))
    assert_found(short_chain, capsys, facts.tip, "last_commit")


def test_any_flipped_bit_in_the_record_of_the_tip_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts
) -> None:
    with opened_records(short_chain) as database:
        record = database.get(TIP_KEY)
    lower, higher = (next(bit for bit in range(56, 64) if (record[7] >> bit % 8 & 1) == one) for one in (1, 0))
    for bit, height, what in (
        (lower, facts.tip, "was committed, but the ledger ends at"),
        (higher, facts.tip + 1, "block: it is missing"),
        (8 * 20, facts.tip, "block hash"),
    ):
        with opened_records(short_chain) as database:
            database.put(TIP_KEY, flipped(record, bit))
        named = None if bit == lower else height
        assert_found(short_chain, capsys, named, what)


def test_a_flipped_bit_in_the_ledgers_genesis_is_found(short_chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite_record(short_chain, GENESIS_KEY, flip(Random(1)))
    assert_found(short_chain, capsys, 0, "genesis")


# ------------------------------------------------------------------------------------------- a bit in LevelDB's files


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_in_the_database_log_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    (log,) = (short_chain / "ledger").glob("*.log")
    flip_in_file(log, Random(seed))
    assert_found(short_chain, capsys, None, r"ledger: the ledger can't be opened|block \d+ was committed")


def test_a_flipped_bit_in_the_end_of_the_database_log_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts
) -> None:
    """Where LevelDB takes it for a write that a crash has torn, the height that was noted beside it tells."""
    (log,) = (short_chain / "ledger").glob("*.log")
    flip_in_file(log, Random(1), start=0.999)
    assert_found(short_chain, capsys, None, f"ledger: the ledger can't be opened|block {facts.tip} was committed")


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_in_a_database_table_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    assert verify(short_chain, capsys)[0] == 0  # opening it has turned the log into a table
    table = max((short_chain / "ledger").glob("*.ldb"), key=lambda path: path.stat().st_size)
    flip_in_file(table, Random(seed), end=0.9)  # what follows are filters, without which reading goes on
    assert_found(short_chain, capsys, None, "ledger: .*can't be (read|opened)")


# ------------------------------------------------------------------------------------------------------------- blobs


def blob_named(name: str, facts: Facts) -> tuple[bytes, int, str]:
    """A blob's root, and the height and field that name it."""
    committed_at, update = facts.update
    named = {
        "sealed update": (
            update,
            committed_at,
            f"update . of round {facts.settled_round} of task 0x{facts.task.hex()}",
        ),
        "manifest": (facts.manifest, 0, "manifest of custodian 0x[0-9a-f]{40} of digits"),
        "shard": (facts.shard, 0, "shard [0-9]+ of custodian 0x[0-9a-f]{40} of digits"),
        "initial head": (facts.initial_head, 0, f"head 0x{facts.initial_head.hex()}"),
    }
    return named[name]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["sealed update", "manifest", "shard", "initial head"])
def test_a_flipped_bit_in_a_blob_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, name: str, seed: int
) -> None:
    root, height, field = blob_named(name, facts)
    flip_in_file(blob_path(short_chain, root), Random(seed))
    assert_found(short_chain, capsys, height, field)


@pytest.mark.parametrize("name", ["sealed update", "manifest", "shard", "initial head"])
def test_a_removed_blob_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, name: str
) -> None:
    root, height, field = blob_named(name, facts)
    blob_path(short_chain, root).unlink()
    assert_found(short_chain, capsys, height, f"{field}.* (is|are) missing")


def test_damage_to_any_blob_at_all_is_found(
    learned_chains: LearnedChains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heads, and updates of rounds that were never settled, too: one bit in every pinned blob, one after the other."""
    directory = Path(shutil.copytree(learned_chains.short, tmp_path / "chain"))
    for path in sorted((directory / "blobs" / "pinned").iterdir()):
        whole = path.read_bytes()
        flip_in_file(path, Random(path.name))
        status, output, errors = verify(directory, capsys)
        assert (status, output) == (1, ""), path.name
        assert re.match(rf"python -m chain verify: height \d+: .*{path.name}", errors), errors
        path.write_bytes(whole)
    assert verify(directory, capsys)[0] == 0


def test_a_head_that_settlement_did_not_give_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts
) -> None:
    path = blob_path(short_chain, facts.settled_head)
    path.write_bytes(blob_path(short_chain, facts.initial_head).read_bytes())
    assert_found(short_chain, capsys, None, r"height \d+: head 0x" + facts.settled_head.hex())


# ------------------------------------------------------------------------------------------------ removed and forged


@pytest.mark.parametrize("where", ["first", "of a settlement", "last"])
@pytest.mark.parametrize(
    ("kind", "field"), [(Kind.BLOCK, "block"), (Kind.HEADER, "header"), (Kind.RECEIPTS, "receipts")]
)
def test_a_removed_record_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, kind: Kind, field: str, where: str
) -> None:
    height = height_of(where, facts)
    rewrite_record(short_chain, at_height(kind, height), remove)
    assert_found(short_chain, capsys, height, f"{field}: it is missing")


def test_removed_earlier_values_are_found(short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts) -> None:
    rewrite_record(short_chain, at_height(Kind.UNDO, facts.tip - 2), remove)
    assert_found(short_chain, capsys, facts.tip - 2, "earlier state values: they are missing")


def test_a_removed_state_value_is_found(short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts) -> None:
    rewrite_record(short_chain, bytes(Kind.STATE) + custodian_key_of(facts, short_chain), remove)
    assert_found(short_chain, capsys, facts.tip, "state value of custodian .*: it is missing")


def custodian_key_of(facts: Facts, directory: Path) -> bytes:
    with Store.open(directory, create=False) as store:
        state = read_task(store, facts.task)
        assert state is not None
        return custodian_key(facts.task, state.custodians[0])


def test_an_added_state_value_is_found(short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts) -> None:
    stranger = KIND_ACCOUNT + bytes(20)
    with opened_records(short_chain) as database:
        database.put(bytes(Kind.STATE) + stranger, b"\x92\x00\xc4\x01\x01")
    assert_found(short_chain, capsys, facts.tip, f"state value of account 0x{bytes(20).hex()}")


Forge = Callable[[Commit, bytes], Commit]


def signed_by_stranger(commit: Commit, genesis_hash: bytes) -> Commit:
    """The same voter, but another account's signature."""
    (voter, _), *_ = commit.signatures
    return replace(commit, signatures=((voter, signature_of(commit.votes()[0], ACCOUNT_KEYS[0], genesis_hash)),))


def voted_by_stranger(commit: Commit, genesis_hash: bytes) -> Commit:
    """A right signature of an account that has no vote."""
    stranger = address_of(ACCOUNT_KEYS[0])
    vote = replace(commit.votes()[0], voter=type(commit.signatures[0][0])(stranger))
    return replace(commit, signatures=((vote.voter, signature_of(vote, ACCOUNT_KEYS[0], genesis_hash)),))


def unsigned(commit: Commit, genesis_hash: bytes) -> Commit:
    return replace(commit, signatures=())


def signature_of(vote: Vote, key: bytes, genesis_hash: bytes) -> bytes:
    r, s, parity = sign(keccak256(vote.sign_bytes(genesis_hash)), key)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])


@pytest.mark.parametrize("forge", [signed_by_stranger, voted_by_stranger, unsigned])
def test_a_forged_commit_of_the_last_block_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, forge: Forge
) -> None:
    rewrite_record(short_chain, COMMIT_KEY, lambda data: encode_commit(forge(decode_commit(data), facts.genesis_hash)))
    assert_found(short_chain, capsys, facts.tip, "last_commit: ")


@pytest.mark.parametrize("forge", [signed_by_stranger, voted_by_stranger, unsigned])
def test_a_forged_last_block_whose_records_all_agree_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, forge: Forge
) -> None:
    """Another time in the header changes no state: only the signatures tell that nobody agreed to this block."""
    with opened_records(short_chain) as database:
        block = decode_block(database.get(at_height(Kind.BLOCK, facts.tip)))
        header = replace(block.header, time_ms=block.header.time_ms + 1)
        commit = replace(decode_commit(database.get(COMMIT_KEY)), block_id=BlockId(block_hash(header)))
        number = facts.tip.to_bytes(8, "big")
        database.put(at_height(Kind.BLOCK, facts.tip), encode_block(replace(block, header=header)))
        database.put(at_height(Kind.HEADER, facts.tip), encode_header(header))
        database.put(bytes(Kind.HEIGHT_OF_HASH) + block_hash(header), number)
        database.put(TIP_KEY, number + block_hash(header))
        database.put(COMMIT_KEY, encode_commit(forge(commit, facts.genesis_hash)))
    assert_found(short_chain, capsys, facts.tip, "last_commit: ")


# -------------------------------------------------------------------------------------- the files beside the ledger


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9999])
def test_a_truncated_vote_log_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts, share: float
) -> None:
    path = short_chain / VOTES_NAME
    whole = path.read_bytes()
    # A stop can leave a vote of a height that was never decided: whether that one is whole is nobody's loss.
    path.write_bytes(whole[: max(24, int(len(whole) * share) - 4096)])
    assert_found(
        short_chain, capsys, facts.tip, "vote log: it ends before the precommit that 0x[0-9a-f]{40} has signed"
    )


def test_a_flipped_bit_within_the_vote_log_is_found(
    short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts
) -> None:
    flip_in_file(short_chain / VOTES_NAME, Random(1), end=0.9)
    assert_found(short_chain, capsys, facts.tip, r"vote log: .*damaged at byte \d+")


def test_a_removed_vote_log_is_found(short_chain: Path, capsys: pytest.CaptureFixture[str], facts: Facts) -> None:
    (short_chain / VOTES_NAME).unlink()
    assert_found(short_chain, capsys, facts.tip, "vote log: .* is missing")


@pytest.mark.parametrize("what", ["balance", "parameter", "no JSON", "missing"])
def test_a_tampered_genesis_file_is_found(short_chain: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    path = short_chain / GENESIS_NAME
    genesis = json.loads(path.read_bytes())
    if what == "balance":
        richest = "0x" + DEVELOPMENT_ACCOUNTS[0].hex()
        genesis["balances"][richest] = str(int(genesis["balances"][richest]) + 1)
    elif what == "parameter":
        genesis["parameters"]["price"] = "1"
    path.write_text(json.dumps(genesis)[: -1 if what == "no JSON" else None])
    if what == "missing":
        path.unlink()
        assert_found(short_chain, capsys, None, "can't read .*genesis.json")
    else:
        assert_found(short_chain, capsys, 0, "genesis: ")


# ------------------------------------------------------------------------------------------------ as a user sees it


def test_a_process_tells_the_first_difference_in_one_line(short_chain: Path, facts: Facts) -> None:
    rewrite_record(short_chain, at_height(Kind.RECEIPTS, facts.settled_at), flip(Random(0)))
    found = run_command("verify", "--data-dir", short_chain)
    assert (found.status, found.output) == (1, "")
    assert found.errors == (
        f"python -m chain verify: height {facts.settled_at}: receipts: it is not what its history gives\n"
    )
