"""Tests of the exchange of blobs over real sockets: what the chain names comes, proved, from whoever has it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from chain.abi import encode_call
from chain.evaluations import Evaluations
from chain.network import blob_pulls, blobs
from chain.network.messages import BlobChunk, GetBlobChunk, Kind, Message, NotHeld
from chain.signing import Fields, sign_transaction
from chain.transactions import Transaction
from chain.types import CONTRACT_ADDRESS, GWEI
from chain.validator import Validator
from learning.commitment import (
    CHUNK_BYTES,
    blob_root,
    chunk_count,
    verify_chunk,
    verify_weights_chunk,
    weights_bytes,
    weights_root,
)
from learning.initial import initial_weights
from tests.chain.ledger_world import PROPOSER_KEY
from tests.chain.network.blob_world import (
    ARCHITECTURE,
    COMMIT_HEIGHT,
    CYCLE_END,
    LIMITS,
    TASK,
    BlobLiar,
    BlobNode,
    commit,
    content,
    sealed_blobs,
)
from tests.chain.network.gossip_world import Member, running, until

UPDATE = content("update")
ROOT = blob_root(UPDATE)
CHUNKS = chunk_count(len(UPDATE))
ATTESTATION = encode_call("attestHeld", TASK, 0, b"\x01")


def blob_nodes(directory: Path, count: int) -> list[BlobNode]:
    return [BlobNode(directory, ordinal) for ordinal in range(count)]


def commit_everywhere(*nodes: BlobNode, root: bytes = ROOT, size: int = len(UPDATE), sender: int = 0) -> None:
    """The block at which updates are taken, with one."""
    for node in nodes:
        node.go(COMMIT_HEIGHT)
        node.block(commit(node, sender, 0, root, size))


class ByteLiar(BlobLiar):
    """Gives chunks with one bit wrong."""

    async def give(self, asked: GetBlobChunk, data: bytes) -> Message:
        right = await super().give(asked, data)
        assert isinstance(right, BlobChunk)
        wrong = right.data[:-1] + bytes([right.data[-1] ^ 1])
        return BlobChunk(id=right.id, length=right.length, data=wrong, proof=right.proof)


class LengthLiar(BlobLiar):
    """Says that the blob is longer than it is."""

    async def give(self, asked: GetBlobChunk, data: bytes) -> Message:
        right = await super().give(asked, data)
        assert isinstance(right, BlobChunk)
        return BlobChunk(id=right.id, length=right.length + 1, data=right.data, proof=right.proof)


class SilentLiar(BlobLiar):
    async def give(self, asked: GetBlobChunk, data: bytes) -> Message:
        await asyncio.sleep(1000)
        return await super().give(asked, data)


class SlowMember(BlobLiar):
    """Honest, but takes its time; so others have a part in it."""

    async def give(self, asked: GetBlobChunk, data: bytes) -> Message:
        await asyncio.sleep(0.03)
        return await super().give(asked, data)


class PartlyMember(BlobLiar):
    """Gives the first chunk alone, as if it lost the others."""

    async def give(self, asked: GetBlobChunk, data: bytes) -> Message:
        return await super().give(asked, data) if asked.index == 0 else NotHeld(id=asked.id)


# ------------------------------------------------------------------------------------------------------ what is wanted


@pytest.mark.asyncio
async def test_an_update_uploaded_to_one_node_comes_to_all_others_once_it_is_committed(tmp_path: Path) -> None:
    nodes = blob_nodes(tmp_path, 4)
    async with running(*nodes):
        assert await nodes[0].keeper.put(TASK, "a miner", UPDATE) == ROOT
        await asyncio.sleep(0.1)
        assert not any(node.blobs.has(ROOT) for node in nodes[1:]), "no commit names it yet"
        commit_everywhere(*nodes)
        await until(lambda: all(node.blobs.has(ROOT) for node in nodes), 3.0)
        assert all(node.blobs.get(ROOT, check=True) == UPDATE for node in nodes)
        assert not any(node.blobs.is_pinned(ROOT) for node in nodes), "validators do not hold it yet"
        frames = [node.frames(Kind.BLOB_CHUNK) for node in nodes]
        assert frames == [0, CHUNKS, CHUNKS, CHUNKS], "each chunk crosses the wire to each node once"


@pytest.mark.asyncio
async def test_an_upload_that_follows_its_commit_comes_at_once(tmp_path: Path) -> None:
    """Although everyone was asked for it in vain before."""
    nodes = blob_nodes(tmp_path, 3)
    async with running(*nodes):
        commit_everywhere(*nodes)
        await until(lambda: all(node.frames(Kind.NOT_HELD) >= 2 for node in nodes))
        await nodes[0].keeper.put(TASK, "a miner", UPDATE)
        await until(lambda: all(node.blobs.has(ROOT) for node in nodes), blob_pulls.BACKOFF_FIRST_S / 2)


@pytest.mark.asyncio
async def test_a_node_with_the_genesis_file_alone_gets_manifests_and_all_sealed_shards(tmp_path: Path) -> None:
    old, new = BlobNode(tmp_path, 0), BlobNode(tmp_path, 1, has_shards=False)
    async with running(old, new):
        await until(lambda: new.has_all(list(sealed_blobs())))
        assert all(new.blobs.get(root, check=True) == data for root, data in sealed_blobs().items())
        assert all(new.blobs.is_pinned(root) for root in sealed_blobs())
        await until(lambda: not new.keeper.lacking)
        frames = new.frames(Kind.BLOB_CHUNK)
        assert frames == sum(chunk_count(len(data)) for data in sealed_blobs().values())


@pytest.mark.asyncio
async def test_blobs_come_from_several_peers_at_once_and_each_chunk_from_one(tmp_path: Path) -> None:
    large = content("large", 16 * CHUNK_BYTES)
    node = BlobNode(tmp_path, 0)
    members = [SlowMember(tmp_path, ordinal, [large]) for ordinal in (1, 2, 3)]
    async with running(node, *members):
        node.go(COMMIT_HEIGHT)
        node.block(commit(node, 0, 0, blob_root(large), len(large)))
        await until(lambda: node.blobs.has(blob_root(large)))
        asked = Counter(question.index for member in members for question in member.asked)
        assert asked == Counter(range(16))
        assert min(len(member.asked) for member in members) >= 3


@pytest.mark.asyncio
async def test_a_head_that_a_node_cannot_make_is_fetched_under_its_weights_root(tmp_path: Path) -> None:
    nodes = blob_nodes(tmp_path, 2)
    weights = initial_weights(ARCHITECTURE, b"another seed".ljust(32))
    data, root = weights_bytes(weights), weights_root(ARCHITECTURE, weights)
    nodes[0].blobs.put(root, data)
    async with running(*nodes):
        nodes[1].keeper.want_head(TASK, root)
        await until(lambda: nodes[1].blobs.has(root))
        assert nodes[1].blobs.get(root) == data
        assert nodes[1].blobs.is_pinned(root)


@pytest.mark.asyncio
async def test_what_judging_a_round_lacks_is_sought(tmp_path: Path) -> None:
    """Also where the round is not under way any more at the tip: it is named at the height on which it is judged."""
    nodes = blob_nodes(tmp_path, 2)
    async with running(*nodes):
        commit_everywhere(*nodes)
        height = nodes[1].chain.tip.height
        for node in nodes:
            node.go(CYCLE_END + 2)  # nobody attested: the update is out
        await nodes[0].keeper.put(TASK, "a miner", UPDATE)
        await asyncio.sleep(0.1)
        assert not nodes[1].blobs.has(ROOT)
        nodes[1].keeper.need(TASK, 0, height, (ROOT,))
        await until(lambda: nodes[1].blobs.has(ROOT))
        nodes[1].keeper.need(TASK, 0, height, ())
        await until(lambda: not nodes[1].keeper.lacking)


@pytest.mark.asyncio
async def test_a_validator_attests_to_a_blob_that_was_uploaded_elsewhere_as_soon_as_it_has_come(tmp_path: Path) -> None:
    other, own = blob_nodes(tmp_path, 2)
    evaluations = Evaluations(own.chain, own.blobs, backend="reference")
    validator = Validator(own.chain, own.blobs, evaluations, own.intake, PROPOSER_KEY)
    own.keeper.followers.append(validator.do_what_is_due)
    async with running(other, own):
        await other.keeper.put(TASK, "a miner", UPDATE)
        commit_everywhere(other, own)
        await until(lambda: len(other.intake.pool) == 1, 2.0)
        (hash_,) = other.intake.pool.hashes()
        sent = other.intake.pool.get(hash_)
        assert sent is not None
        assert sent.data == ATTESTATION
    evaluations.close()


@pytest.mark.asyncio
async def test_a_held_update_is_pinned_on_the_node_that_pulled_it(tmp_path: Path) -> None:
    nodes = blob_nodes(tmp_path, 2)
    async with running(*nodes):
        await nodes[0].keeper.put(TASK, "a miner", UPDATE)
        commit_everywhere(*nodes)
        await until(lambda: nodes[1].blobs.has(ROOT))
        for node in nodes:
            node.block(attestation(node))
            node.go(CYCLE_END + 1)
        await until(lambda: all(node.blobs.is_pinned(ROOT) for node in nodes))


def attestation(node: BlobNode) -> Transaction:
    fields = Fields(
        chain_id=node.genesis.chain_id,
        nonce=0,
        max_priority_fee_per_gas=0,
        max_fee_per_gas=2 * GWEI,
        gas_limit=200_000,
        to=CONTRACT_ADDRESS,
        data=ATTESTATION,
    )
    return sign_transaction(fields, PROPOSER_KEY)


# ------------------------------------------------------------------------------------------------- limits and failures


@pytest.mark.asyncio
async def test_an_update_that_validators_do_not_hold_yet_counts_as_an_upload_of_its_miner(tmp_path: Path) -> None:
    """So that a miner cannot fill everybody's disk by way of one node that lets it."""
    node = BlobNode(tmp_path, 0)
    size = LIMITS.client_bytes // 2 - 1000
    large = [content(f"large {number}", size) for number in range(4)]
    generous = BlobLiar(tmp_path, 1, large)
    async with running(node, generous):
        node.go(COMMIT_HEIGHT)
        committed = [commit(node, 0, nonce, blob_root(data), size) for nonce, data in enumerate(large[:3])]
        node.block(*committed, commit(node, 1, 0, blob_root(large[3]), size))
        await until(lambda: sum(node.blobs.has(blob_root(data)) for data in large) == 3)
        assert node.blobs.has(blob_root(large[3])), "another miner's"
        await asyncio.sleep(0.3)
        assert sum(node.blobs.has(blob_root(data)) for data in large[:3]) == 2
        assert node.peer_of(generous) is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [ByteLiar, LengthLiar])
async def test_who_gives_a_wrong_chunk_is_banned_and_the_blob_comes_from_others(
    tmp_path: Path, kind: type[BlobLiar]
) -> None:
    liar, honest, node = kind(tmp_path, 0, [UPDATE]), BlobLiar(tmp_path, 1, [UPDATE]), BlobNode(tmp_path, 2)
    async with running(liar, honest, node):
        node.go(COMMIT_HEIGHT)
        liar.tell(node, ROOT)
        await until(lambda: node.frames(Kind.HAVE_BLOBS) == 1)
        node.block(commit(node, 0, 0, ROOT, len(UPDATE)))
        await until(lambda: node.blobs.has(ROOT))
        assert node.blobs.get(ROOT, check=True) == UPDATE
        assert liar.asked
        assert node.peer_of(liar) is None
        assert node.peer_of(honest) is not None


@pytest.mark.asyncio
async def test_what_a_silent_peer_is_asked_for_comes_from_another_long_before_its_time_is_over(tmp_path: Path) -> None:
    silent, honest, node = SilentLiar(tmp_path, 0, [UPDATE]), BlobLiar(tmp_path, 1, [UPDATE]), BlobNode(tmp_path, 2)
    async with running(silent, honest, node):
        node.go(COMMIT_HEIGHT)
        silent.tell(node, ROOT)
        honest.tell(node, ROOT)
        await until(lambda: node.frames(Kind.HAVE_BLOBS) == 2)
        node.block(commit(node, 0, 0, ROOT, len(UPDATE)))
        await until(lambda: node.blobs.has(ROOT), blobs.CHUNK_S / 2)
        assert silent.asked


@pytest.mark.asyncio
async def test_a_wrong_length_in_a_commit_is_no_lie_of_who_has_the_blob(tmp_path: Path) -> None:
    node, honest = BlobNode(tmp_path, 0), BlobLiar(tmp_path, 1, [UPDATE])
    async with running(node, honest):
        node.go(COMMIT_HEIGHT)
        node.block(commit(node, 0, 0, ROOT, len(UPDATE) + 1))
        await until(lambda: len(honest.asked) == 1)
        node.go(COMMIT_HEIGHT + 4)
        await asyncio.sleep(0.3)
        assert len(honest.asked) == 1, "it is known now that nobody can have it"
        assert not node.blobs.has(ROOT)
        assert node.peer_of(honest) is not None


@pytest.mark.asyncio
async def test_whoever_copies_a_root_with_another_length_keeps_nobody_from_the_blob(tmp_path: Path) -> None:
    node, honest = BlobNode(tmp_path, 0), BlobLiar(tmp_path, 1, [UPDATE])
    async with running(node, honest):
        node.go(COMMIT_HEIGHT)
        node.block(commit(node, 1, 0, ROOT, 1), commit(node, 0, 0, ROOT, len(UPDATE)))
        await until(lambda: node.blobs.has(ROOT))
        assert node.peer_of(honest) is not None


@pytest.mark.asyncio
async def test_a_blob_goes_on_where_it_stopped_when_its_only_giver_went(tmp_path: Path) -> None:
    partly, node = PartlyMember(tmp_path, 0, [UPDATE]), BlobNode(tmp_path, 1)
    honest = BlobLiar(tmp_path, 2, [UPDATE])
    async with running(partly, node):
        node.go(COMMIT_HEIGHT)
        node.block(commit(node, 0, 0, ROOT, len(UPDATE)))
        await until(lambda: len(partly.asked) >= 2)
        partly.peer_of(node).cut("it goes")
        honest.join([node])
        await honest.start()
        try:
            await until(lambda: node.blobs.has(ROOT))
        finally:
            await honest.close()
        assert sorted(question.index for question in honest.asked) == list(range(1, CHUNKS))


@pytest.mark.asyncio
async def test_blobs_that_nobody_has_keep_no_others_from_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_pulls, "OPEN_MAX", 2)
    nodes = blob_nodes(tmp_path, 2)
    async with running(*nodes):
        await nodes[0].keeper.put(TASK, "a miner", UPDATE)
        for node in nodes:
            node.go(COMMIT_HEIGHT)
            withheld = [commit(node, 0, nonce, blob_root(bytes([nonce])), 1) for nonce in range(6)]
            node.block(*withheld, commit(node, 1, 0, ROOT, len(UPDATE)))
        await until(lambda: nodes[1].blobs.has(ROOT), 2.0)


@pytest.mark.asyncio
async def test_a_flood_of_told_roots_is_bounded(tmp_path: Path) -> None:
    node, liar = BlobNode(tmp_path, 0), BlobLiar(tmp_path, 1)
    async with running(node, liar):
        for start in range(0, 60 * 256, 256):
            liar.tell(node, *(number.to_bytes(32, "big") for number in range(start, start + 256)))
        await until(lambda: node.frames(Kind.HAVE_BLOBS) == 60)
        (source,) = node.pulling._sources.values()
        assert len(source.has) == blob_pulls.HAS_MAX
        assert len(node.exchange._links[liar.network.id].known) <= 2 * (blobs.KNOWN_MAX + 256)


# ------------------------------------------------------------------------------------------------------------ serving


class Asker(Member):
    async def ask(self, node: Member, root: bytes, index: int, task: bytes = b"") -> Message:
        answer: Message = await self.peer_of(node).request(GetBlobChunk(id=0, root=root, task=task, index=index), 5.0)
        return answer


@pytest.mark.asyncio
async def test_chunks_are_given_with_their_proofs_and_nothing_that_could_not_be_proved(tmp_path: Path) -> None:
    node = BlobNode(tmp_path, 0)
    asker = Asker(tmp_path, 1, node.genesis)
    weights = initial_weights(ARCHITECTURE, b"a seed".ljust(32))
    head = weights_root(ARCHITECTURE, weights)
    node.blobs.put(head, weights_bytes(weights))
    node.blobs.put(ROOT, UPDATE)
    async with running(node, asker):
        for _ in range(2):
            for index in range(CHUNKS):
                told = await asker.ask(node, ROOT, index)
                assert isinstance(told, BlobChunk)
                assert told.length == len(UPDATE)
                assert verify_chunk(ROOT, told.length, index, told.data, told.proof)
            for index in range(3):
                told = await asker.ask(node, head, index, TASK)
                assert isinstance(told, BlobChunk)
                assert verify_weights_chunk(head, ARCHITECTURE, index, told.data, told.proof)
        for root, index, task in (
            (ROOT, CHUNKS, b""),
            (ROOT, 2**64 - 1, b""),
            (ROOT, 0, TASK),
            (ROOT, 0, bytes(32)),
            (head, 0, b""),
            (bytes(32), 0, b""),
            (bytes(32), 0, TASK),
        ):
            assert isinstance(await asker.ask(node, root, index, task), NotHeld)


@pytest.mark.asyncio
async def test_a_damaged_blob_is_not_given(tmp_path: Path) -> None:
    node = BlobNode(tmp_path, 0)
    asker = Asker(tmp_path, 1, node.genesis)
    node.blobs.put(ROOT, UPDATE[:-1] + b"?")
    async with running(node, asker):
        assert isinstance(await asker.ask(node, ROOT, 0), NotHeld)
        path = tmp_path / "node 0" / "blobs" / "pinned" / ROOT.hex()
        path.unlink()
        assert isinstance(await asker.ask(node, ROOT, CHUNKS - 1), NotHeld)
        assert asker.peer_of(node) is not None


@pytest.mark.asyncio
async def test_proofs_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.network.blob_serving.PROOFS_MAX", 7)
    node = BlobNode(tmp_path, 0)
    asker = Asker(tmp_path, 1, node.genesis)
    async with running(node, asker):
        for root in sealed_blobs():
            assert isinstance(await asker.ask(node, root, 0), BlobChunk)
        server = node.exchange._server
        assert server._kept == sum(len(proofs) for proofs in server._proofs.values()) <= 7
