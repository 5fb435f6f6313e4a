"""What RPC is told while a block is stored already, but nobody has heard of it yet."""

from __future__ import annotations

import time
from pathlib import Path

from chain.state import KIND_ACCOUNT
from tests.rpc.live import LiveChain


def test_a_block_that_nobody_has_heard_of_is_not_told_and_changes_no_proof(tmp_path: Path) -> None:
    live = LiveChain(tmp_path / "node")
    try:
        live.blocks(2)
        chain, service = live.node.chain, live.node.service
        time_ms = time.time_ns() // 1_000_000
        commit = chain.last_commit
        prepared = chain.build([], time_ms=time_ms, proposer=live.proposer, last_commit=commit)
        chain.commit(prepared, live.commit_of(prepared))
        assert service.height_of_hash(prepared.hash) is None
        assert service.block(3) is service.header(3) is service.receipts(3) is None
        proof = service.prove(KIND_ACCOUNT + live.proposer, 2)
        assert (proof.header.height, proof.commit) == (2, commit)
    finally:
        live.close()
