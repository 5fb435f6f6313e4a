"""How long uploads are kept: until they expire, or for good once a validator's quorum holds what was committed."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from chain.blob_keeping import UPLOAD_CYCLES
from chain.operations.clock import Phase
from tests.rpc.live import LiveChain

COMMITTED_BYTES = 1000  # what `LiveChain.commit_update` says
SECONDS_MAX = 10


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveChain]:
    chain = LiveChain(tmp_path / "node")
    try:
        yield chain
    finally:
        chain.close()


def upload(live: LiveChain, content: bytes) -> bytes:
    task = live.call("learn_tasks")[0]["task"]
    request = urllib.request.Request(f"{live.url}/blobs?task={task}", content, method="PUT")
    with urllib.request.urlopen(request) as response:
        return bytes.fromhex(orjson.loads(response.read())["root"][2:])


def go_to_next_cycle(live: LiveChain) -> None:
    """Block after block, each once the validator's transactions of the one before are in the pool."""
    cycle = live.clock.cycle_of(live.height)
    while live.clock.cycle_of(live.height) == cycle:
        live.block()
        live.wait(0.02)
    settle_down(live)


def settle_down(live: LiveChain) -> None:
    """Wait until the worker has done what the last block asked of it."""
    live.run(_idle(live))


async def _idle(live: LiveChain) -> None:
    while live.node.keeper.is_looking:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def wait_for_attestation(live: LiveChain) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not len(live.node.intake.pool) and time.monotonic() < end:
        live.wait(0.01)


def test_an_upload_that_follows_its_commit_is_kept_for_good_once_it_is_held(live: LiveChain) -> None:
    content = bytes(COMMITTED_BYTES)
    root = live.node.blobs._root_of(content)
    live.commit_update(sealed_root=root)
    live.block()
    assert upload(live, content) == root
    live.block()
    wait_for_attestation(live)
    go_to_next_cycle(live)
    assert live.node.blobs.is_pinned(root)


def test_an_upload_is_kept_while_the_update_that_names_it_may_still_be_held(live: LiveChain) -> None:
    live.blocks(5)
    root = upload(live, bytes(COMMITTED_BYTES))
    expires = live.height + UPLOAD_CYCLES * live.clock.cycle
    live.blocks(expires - live.height - 2)
    live.commit_update(sealed_root=root)
    live.block()
    assert live.clock.phase_of(expires) is Phase.COMMIT
    go_to_next_cycle(live)
    assert live.node.blobs.is_pinned(root)


def test_a_commit_that_tells_another_size_keeps_no_upload(live: LiveChain) -> None:
    root = upload(live, bytes(COMMITTED_BYTES + 1))
    live.commit_update(sealed_root=root)
    for _ in range(UPLOAD_CYCLES + 1):
        go_to_next_cycle(live)
    assert live.call("learn_update", "0x" + root.hex())["fate"] == "not_held"
    assert live.node.blobs.size(root) is None


def test_a_blob_that_was_lost_after_it_was_attested_is_not_attested_again(live: LiveChain) -> None:
    root = upload(live, bytes(COMMITTED_BYTES))
    live.commit_update(sealed_root=root)
    live.block()
    wait_for_attestation(live)
    live.block()
    live.node.blobs.delete(root)
    attested = live.node.intake.account(live.proposer)[0]
    go_to_next_cycle(live)
    assert live.node.intake.account(live.proposer)[0] == attested > 0
