"""Home of the quick run of the fuzzer, of proof that it can see, and of mutated bytes against a node that runs.

A million inputs: `python -m tests.chain.network.fuzz --frames 1000000`.
"""

from __future__ import annotations

import asyncio
import random
import typing
from collections.abc import Callable
from typing import Any

import pytest

from chain.errors import InvalidInput
from chain.keys import new_key
from chain.network import messages
from chain.network.frames import FrameWriter
from chain.network.messages import Blocks, GetBlocks, Message
from chain.network.network import Network
from chain.network.peer import Peer
from chain.network.websocket import ConnectionEnded
from consensus.codec import decode_vote, encode_vote
from tests.chain.network import fuzz, fuzz_samples
from tests.chain.network.network_world import World, connect, over_sockets, until

FRAMES = 20_000


def test_no_decoder_does_anything_but_take_or_refuse() -> None:
    outcome = fuzz.run(FRAMES, 0, fuzz.targets())
    assert outcome.failures == []
    assert outcome.inputs == FRAMES
    assert outcome.taken > FRAMES // 50  # some of it is valid: it reaches what is behind the first check
    assert outcome.memory < 24 << 20


def test_samples_are_valid_and_cover_every_kind_of_message() -> None:
    for name, target in fuzz.targets().items():
        assert target.samples, name
        for sample in target.samples:
            assert target.try_(sample), (name, sample.hex())
    kinds = {type(messages.decode(frame)) for frame in fuzz_samples.frames()}
    assert kinds == set(typing.get_args(messages.Message))
    assert {frame[0] for frame in fuzz_samples.frames()} == set(messages.Kind)


def _forgets_to_compare(data: bytes) -> Any:
    import msgpack

    return decode_vote(msgpack.packb(msgpack.unpackb(data, raw=False), use_bin_type=True))


def _trusts_a_length(data: bytes) -> bytes:
    if len(data) < 4:
        raise InvalidInput("short")
    return bytes(data[4 + min(1, data[1] & 0x10) * 1000])


def _raises_anything(data: bytes) -> None:
    raise InvalidInput(data.decode())


@pytest.mark.parametrize(
    ("broken", "write"), [(_forgets_to_compare, encode_vote), (_trusts_a_length, None), (_raises_anything, None)]
)
def test_the_fuzzer_sees_what_is_wrong(broken: Callable[[bytes], Any], write: Callable[[Any], bytes] | None) -> None:
    good = fuzz.targets()["vote"]
    target = fuzz.Target(samples=good.samples, read=broken, write=write, errors=(InvalidInput, *good.errors))
    assert fuzz.run(3000, 1, {"broken": target}).failures


def test_a_seed_gives_the_same_inputs_again() -> None:
    target = fuzz.targets()["frame"]
    first, again, other = (
        [fuzz.mutated(random.Random(f"{seed} {number}"), target.samples) for number in range(50)] for seed in (1, 1, 2)
    )
    assert first == again != other


async def _lie(world: World, network: Network, generator: random.Random, samples: list[bytes]) -> int:
    """Say mutated things to a node until it has had enough; how many pieces that took."""
    liar = await world.stranger(network, new_key())
    pieces = 0
    try:
        async with asyncio.timeout(5):
            while True:
                await liar.send(_piece(generator, samples))
                pieces += 1
                await asyncio.sleep(0)
                if pieces > 50:
                    await liar.send(b"\0\0\0\0\2\xff\xff")
                    while True:
                        await liar.receive()
    except ConnectionEnded:
        world.forget_strangers()
        return pieces


async def _lie_and_serve(world: World, seed: int, liars: int) -> None:
    a = await world.node(1, inbound_max=100, local_arrivals_per_second=1e4)
    honest = await world.node(2, a, announce_port=0)

    async def answer(peer: Peer, question: GetBlocks) -> Message:
        return Blocks(id=question.id, first=question.first, blocks=((b"block", b"commit"),))

    a.answer(GetBlocks, answer)
    await connect((a, honest))
    (to_a,) = honest.peers()
    generator = random.Random(seed)
    samples = fuzz_samples.frames()
    memory = pieces = 0
    for number in range(liars):
        pieces += await _lie(world, a, generator, samples)
        assert isinstance(await to_a.request(GetBlocks(id=0, first=1, count=1), 5), Blocks)
        if number == liars // 4:
            memory = fuzz.resident_bytes()
    await until(lambda: [peer.id for peer in a.peers()] == [honest.id])
    assert pieces >= liars
    assert fuzz.resident_bytes() - memory < 32 << 20


@pytest.mark.parametrize("seed", range(3))
@over_sockets
async def test_a_node_drops_who_sends_mutated_bytes_and_serves_the_others(world: World, seed: int) -> None:
    await _lie_and_serve(world, seed, liars=20)


@pytest.mark.soak
@over_sockets
async def test_thousands_who_send_mutated_bytes_leave_nothing_behind(world: World) -> None:
    await _lie_and_serve(world, seed=0, liars=5000)


def _piece(generator: random.Random, samples: list[bytes]) -> bytes:
    """A mutated frame in a valid piece, or a mutated piece."""
    writer = FrameWriter()
    frame = fuzz.mutated(generator, samples) if generator.random() < 0.5 else generator.choice(samples)
    writer.add(frame or b"\x0a")
    piece = writer.next_piece()
    return piece if generator.random() < 0.5 else fuzz.mutated(generator, [piece])[:60_000]
