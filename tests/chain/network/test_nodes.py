"""Real nodes in one process, over memory and over real sockets: they agree, lose one, let others in, and stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chain.codec import decode_block
from chain.network.messages import GetProposalTransactions, Message, ProposalTransactions
from chain.node import Outvoted
from chain.transition import InvalidBlock
from consensus.types import VoteKind
from consensus.votelog import ClosedRecord, VoteRecord, decode_record, scan
from tests.chain.ledger_world import transaction
from tests.chain.network.node_world import cluster, genesis

pytestmark = pytest.mark.asyncio
OVER = pytest.mark.parametrize("sockets", [False, True], ids=["memory", "sockets"])


@OVER
async def test_four_nodes_agree_on_every_block(tmp_path: Path, sockets: bool) -> None:
    async with cluster(tmp_path, sockets=sockets) as net:
        await net.reach(6)
        assert net.agree() >= 6
        assert all(committed.live for running in net.nodes.values() for committed in running.commits[1:])


@OVER
async def test_one_of_four_may_be_killed_and_catches_up_when_it_is_back(tmp_path: Path, sockets: bool) -> None:
    async with cluster(tmp_path, sockets=sockets) as net:
        await net.reach(4)
        await net.stop(1)
        stopped_at = max(running.height for running in net.nodes.values())
        await net.reach(stopped_at + 6)
        back = await net.start(1)
        there = max(running.height for running in net.nodes.values())
        await net.reach(there + 5)
        async with asyncio.timeout(60):
            while not back.commits[-1].live:  # noqa: ASYNC110  # it fetches until it is in step with the others
                await asyncio.sleep(0.05)
        net.agree()
        assert any(not committed.live for committed in back.commits)


@OVER
async def test_a_node_without_a_key_that_joins_late_follows(tmp_path: Path, sockets: bool) -> None:
    async with cluster(tmp_path, sockets=sockets) as net:
        await net.reach(5)
        await net.start(4)
        await net.reach(9)
        net.agree()


async def test_transactions_that_only_the_proposer_has_are_asked_of_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as net:
        asked: list[Message] = []
        assert net.memory is not None

        def listen(_: bytes, __: bytes, message: Message) -> bool:
            if isinstance(message, (GetProposalTransactions, ProposalTransactions)):
                asked.append(message)
            return False

        net.memory.drop = listen
        await net.reach(1)
        sent = [transaction(0, nonce) for nonce in range(3)]
        assert await net.nodes[0].intake.submit([each.raw for each in sent]) == [each.hash for each in sent]
        await net.reach(6)
        net.agree()
        found = [raw for at in range(1, 7) for raw in decode_block(net.nodes[3].store.block(at) or b"").transactions]
        assert found == [each.raw for each in sent]
        assert {type(message) for message in asked} == {GetProposalTransactions, ProposalTransactions}
        assert all(len(running.intake.pool) == 0 for running in net.nodes.values())


async def test_a_stopped_node_has_written_the_height_that_it_was_deciding(tmp_path: Path) -> None:
    async with cluster(tmp_path) as net:
        await net.reach(3)
        for number in (0, 1, 2, 3):
            await net.stop(number)
        for number in (0, 1, 2, 3):
            await net.start(number)
        await net.reach(max(running.height for running in net.nodes.values()) + 2)
        net.agree()


async def test_a_key_without_its_log_abstains_at_first(tmp_path: Path) -> None:
    async with cluster(tmp_path) as net:
        await net.reach(3)
        await net.stop(2)
        (tmp_path / "node2-votes.log").unlink()
        back = await net.start(2)
        first = back.height + 1
        await net.reach(first + 4)
        net.agree()
        await net.stop(2)
        records = [decode_record(record) for record in scan((tmp_path / "node2-votes.log").read_bytes()).records]
        assert isinstance(records[0], ClosedRecord)
        voted = [record.vote for record in records if isinstance(record, VoteRecord)]
        assert min(vote.height for vote in voted) >= first + 2
        assert VoteKind.PRECOMMIT in {vote.kind for vote in voted}


async def test_a_node_that_computes_something_else_than_two_thirds_stops_and_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path) as net:
        await net.reach(2)
        wrong = net.nodes[3]
        chain = wrong.node.chain

        def disagree(*_: object, **__: object) -> None:
            raise InvalidBlock(f"height {chain.tip.height + 1}: state_root: header says aa, it is bb")

        monkeypatch.setattr(chain, "check", disagree)
        assert wrong.task is not None
        with pytest.raises(Outvoted, match="state_root: header says aa, it is bb"):
            await asyncio.wait_for(asyncio.shield(wrong.task), 20)
        del net.nodes[3]
        assert net.memory is not None
        net.memory.leave(bytes([4]) * 20)
        wrong.intake.close()
        wrong.store.close()
        await net.reach(max(running.height for running in net.nodes.values()) + 2)


async def test_a_sole_validator_needs_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path, (0,), genesis_=genesis(1, 50)) as net:
        await net.reach(5)
        await net.start(4)
        await net.reach(8)
        net.agree()


async def test_a_late_node_fetches_much_faster_than_blocks_are_made_each_second(tmp_path: Path) -> None:
    async with cluster(tmp_path, (0,), genesis_=genesis(1, 10)) as net:
        await net.reach(120)
        started = asyncio.get_running_loop().time()
        late = await net.start(4)
        await net.reach(120, 4)
        assert 120 / (asyncio.get_running_loop().time() - started) > 10
        assert sum(not committed.live for committed in late.commits) > 60
