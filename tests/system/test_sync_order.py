"""Home of tests, by a trace of system calls, that nothing leaves a node before what it follows from is on the disk.

A vote of a lone validator goes to no other node. What leaves is what follows from it: the block that the vote decided
is written to the ledger, and then shown to clients. So a vote may not be forgotten once either has happened: the block
would be there, and after a crash its validator could vote for another one at the same height. Hence the order that
must hold at every height: each record of the vote log is written and synced before the next thing of any of these kinds
begins; when the ledger's batch begins, the proposal, the prevote, the block with its polka and the precommit are synced;
the batch itself is synced before any client hears of the block.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from chain.storage.leveldb import Kind
from chain.storage.votelog_file import VOTES_NAME
from consensus.types import VoteKind
from consensus.votelog import (
    BATCH_MAGIC,
    FRAME_BYTES,
    FRAME_MAGIC,
    KeptRecord,
    ProposalRecord,
    VoteRecord,
    decode_record,
)
from tests.system.processes import FAST, RunningNode, running_node
from tests.system.syscalls import Call, read_trace, traced

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        shutil.which("strace") is None, reason="strace is not installed (Debian: apt-get install strace)"
    ),
]

BLOCKS = 10
WRITES = ("write", "writev", "pwrite64", "pwritev")
SYNCS = ("fdatasync", "fsync")
SENDS = ("write", "writev", "sendto", "sendmsg")
_NUMBER = re.compile(rb'"number":"0x([0-9a-f]+)"')


@dataclass
class Trace:
    """The calls that matter, told apart."""

    votes: list[Call] = field(default_factory=list)  # writes to the vote log
    vote_syncs: list[Call] = field(default_factory=list)
    batches: list[Call] = field(default_factory=list)  # writes to the ledger's log that hold a block
    batch_syncs: list[Call] = field(default_factory=list)
    heads: list[tuple[int, Call]] = field(default_factory=list)  # what tells a client of a block: height, call


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    folder = tmp_path_factory.mktemp("traced")
    with running_node(folder / "node", *FAST, "--no-mine") as node:
        with traced(node.process.pid, folder / "trace"):
            asyncio.run(hear_of_blocks(node, BLOCKS))
        assert node.stop() == 0
    return sort_out(read_trace(folder / "trace"), folder / "node")


async def hear_of_blocks(node: RunningNode, count: int) -> None:
    """Be a client that is told of every block."""
    async with aiohttp.ClientSession() as session, session.ws_connect(node.url) as socket:
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
        for _ in range(1 + count):
            await socket.receive_json()


def sort_out(calls: list[Call], directory: Path) -> Trace:
    found = Trace()
    for call in calls:
        if call.path == str(directory / VOTES_NAME):
            assert call.name in (*WRITES, *SYNCS), call
            (found.vote_syncs if call.name in SYNCS else found.votes).append(call)
        elif call.path.startswith(str(directory / "ledger")) and call.path.endswith(".log"):
            (found.batch_syncs if call.name in SYNCS else found.batches).append(call)
        elif call.name in SENDS and "socket:" in call.path and (number := _NUMBER.search(call.data)):
            found.heads.append((int(number[1], 16), call))
    # What was under way when tracing began or ended has lost one of its ends.
    last = max((sync.ended for sync in found.batch_syncs), default=0)
    found.batches = [call for call in found.batches if call.ended < last]
    found.votes = [call for call in found.votes if call.ended < last]
    return found


def height_of_batch(call: Call) -> int | None:
    """The height whose block a LevelDB batch holds, found by the key of its header."""
    put = b"\x01\x09" + bytes(Kind.HEADER)  # a value is put under a key of nine bytes
    match = re.search(re.escape(put) + rb"(\0{4}.{4})", call.data, re.DOTALL)
    return int.from_bytes(match[1], "big") if match else None


def slots_of(call: Call) -> list[tuple[int, str]]:
    """What a write to the vote log says: for each of its records the height, and which of the four of a round it is."""
    body = call.data[FRAME_BYTES:]
    if call.data.startswith(FRAME_MAGIC):
        return [slot_of(body)]
    assert call.data.startswith(BATCH_MAGIC)
    slots = []
    while body:
        end = 4 + int.from_bytes(body[:4], "big")
        slots.append(slot_of(body[4:end]))
        body = body[end:]
    return slots


def slot_of(record: bytes) -> tuple[int, str]:
    match decode_record(record):
        case VoteRecord(vote=vote):
            return vote.height, "precommit" if vote.kind is VoteKind.PRECOMMIT else "prevote"
        case ProposalRecord(proposal=proposal):
            return proposal.height, "proposal"
        case KeptRecord(proposal=proposal):
            return proposal.height, "kept"
        case other:
            raise AssertionError(f"an unexpected record {other}")


def sync_after(call: Call, syncs: list[Call]) -> Call:
    """The first sync of the same file that began after a write had ended."""
    return next(sync for sync in syncs if sync.started > call.ended)


def test_enough_was_traced(trace: Trace) -> None:
    assert len(trace.heads) >= BLOCKS
    assert len(trace.batches) >= BLOCKS - 2
    assert sum(len(slots_of(write)) for write in trace.votes) >= 4 * (BLOCKS - 2)


def test_every_vote_is_synced_before_anything_else_is_written_or_sent(trace: Trace) -> None:
    others = [*trace.votes, *trace.batches, *(call for _, call in trace.heads)]
    for write in trace.votes:
        assert write.result == len(write.data)
        sync = sync_after(write, trace.vote_syncs)
        assert sync.result == 0
        between = [call for call in others if write.started < call.started < sync.ended]
        assert between == [], f"{slots_of(write)} was not synced when {between[0].name} of {between[0].path} began"


def test_all_that_was_signed_for_a_block_is_synced_before_the_block_is_written(trace: Trace) -> None:
    synced: dict[tuple[int, str], int] = {}
    for write in trace.votes:
        for slot in slots_of(write):
            synced.setdefault(slot, sync_after(write, trace.vote_syncs).ended)
    first = min(height for height, _ in synced)
    checked = 0
    for batch in trace.batches:
        height = height_of_batch(batch)
        if height is None or height <= first:
            continue  # some of its votes came before the trace
        for name in ("proposal", "prevote", "kept", "precommit"):
            assert synced[height, name] < batch.started, f"{name} of height {height}"
        checked += 1
    assert checked >= BLOCKS - 3


def test_a_block_is_synced_before_clients_hear_of_it(trace: Trace) -> None:
    synced = {height_of_batch(call): sync_after(call, trace.batch_syncs) for call in trace.batches}
    told = [(height, call) for height, call in trace.heads if height in synced]
    assert len(told) >= BLOCKS - 2
    for height, call in told:
        assert synced[height].result == 0
        assert synced[height].ended < call.started, f"clients heard of height {height} before it was synced"
