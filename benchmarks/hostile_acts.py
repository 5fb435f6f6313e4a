"""Home of what hostile peers do to a node, each for ever: flood, forge, withhold, stay silent, send nonsense.

Whoever is cut off comes back at once under another node key. Every act is paced, and counts what it did.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.hostile_connection import (
    Connection,
    Frames,
    Refusal,
    masked,
    on_the_wire,
)
from benchmarks.hostile_floods import Flow, answers, consensus, forged_votes, gossip, questions
from benchmarks.hostile_victim import Act, Victim, again_and_again, height_of, watch
from chain.network.messages import (
    HAVE_BLOBS_MAX,
    GetBlocks,
    GetTransactions,
    HaveBlobs,
    HaveProposal,
    InvalidFrame,
    Message,
    NotHeld,
    Status,
    TransactionHashes,
    decode,
)

CUT_OFF_SECONDS = 1.0  # for which a node may take to cut off who has said what is wrong
TICK_SECONDS = 0.02
SILENT_SOCKETS = 100  # to each node, of each of three kinds
OPENS_PER_SECOND = 100.0  # of silent sockets, to each node
NONSENSE_PER_SECOND = 50.0  # connections to each node
LANES = 8  # connections under way at once, of acts that come back again and again
FORGED_PER_SECOND = 10.0  # connections to each node, each with as many forged votes as are looked at
FORGED_VOTES = 250
ANNOUNCED_PER_SECOND = 2_000  # transactions
CLAIM_SECONDS = 0.5
BACK_SECONDS = 0.2  # until whoever was cut off for withholding is back
CLAIMED_BEYOND = 1_000  # heights


# ----------------------------------------------------------------------------------------------------------- flooding


def flood(make: Callable[[int], Sequence[Flow]]) -> Act:
    """One peer that says these flows at ten times their rates, whatever it takes."""

    async def act(victim: Victim) -> None:
        flows = make(await height_of(victim))

        async def once() -> None:
            connection = await victim.peer()
            reading = asyncio.create_task(connection.discard())
            try:
                await _pour(victim, connection, flows, reading)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                connection.close()

        await again_and_again(1.0, once)

    return act


async def _pour(victim: Victim, connection: Connection, flows: Sequence[Flow], reading: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    due = [loop.time()] * len(flows)
    while not reading.done():
        now = loop.time()
        for place, each in enumerate(flows):
            while due[place] <= now:
                due[place] += 1 / each.writes_per_second
                victim.done["frames due"] += each.frames
                if connection.has_room:  # else the node does not read: what was due is not said
                    data = next(each.writes)
                    connection.write(data)
                    victim.done["frames sent"] += each.frames
                    victim.done["bytes sent"] += len(data)
        await asyncio.sleep(TICK_SECONDS)


async def forge(victim: Victim) -> None:
    """Votes in the names of validators, as many as a peer may have checked, and again as somebody else."""
    watching = asyncio.create_task(watch(victim))

    async def once() -> None:
        if victim.voters:
            forged = forged_votes(victim.height, victim.voters, FORGED_VOTES)
            victim.done["votes forged"] += FORGED_VOTES
            await _say(await victim.peer(), on_the_wire([forged]))

    try:
        await asyncio.gather(*(again_and_again(FORGED_PER_SECOND / LANES, once) for _ in range(LANES)))
    finally:
        watching.cancel()


# -------------------------------------------------------------------------------------------------------- withholding


async def withhold(victim: Victim) -> None:
    """Announce transactions, blobs, heights and proposals: questions stay open, or are answered with `not held`."""
    for replies in itertools.cycle((False, True)):

        async def once(replies: bool = replies) -> None:
            connection = await victim.peer()
            announcing = asyncio.create_task(_announce(victim, connection))
            try:
                await _hear(victim, connection, replies)
            finally:
                announcing.cancel()
                await asyncio.gather(announcing, return_exceptions=True)
                connection.close()

        try:
            await once()
        except (*Refusal, InvalidFrame):
            await asyncio.sleep(BACK_SECONDS)


async def _announce(victim: Victim, connection: Connection) -> None:
    while True:
        hashes = tuple(secrets.token_bytes(32) for _ in range(int(ANNOUNCED_PER_SECOND * CLAIM_SECONDS)))
        height = victim.height
        claim = Status(height=height + CLAIMED_BEYOND, round=0, oldest_block=1, votes=(), proposals=())
        proposals = [HaveProposal(height=height, round=0, block_id=secrets.token_bytes(32)) for _ in range(8)]
        told: list[Message] = [
            claim,
            TransactionHashes(hashes=hashes),
            HaveBlobs(roots=hashes[:HAVE_BLOBS_MAX]),
            *proposals,
        ]
        await connection.send_raw(on_the_wire(told))
        victim.done["announcements"] += len(told)
        await asyncio.sleep(CLAIM_SECONDS)


async def _hear(victim: Victim, connection: Connection, replies: bool) -> None:
    frames = Frames(connection)
    while True:
        for frame in await frames.next():
            victim.look(frame)
            message = decode(frame)
            if isinstance(message, GetTransactions | GetBlocks):
                victim.done["questions"] += 1
                if replies:
                    await connection.send_raw(on_the_wire([NotHeld(id=message.id)]))


# ------------------------------------------------------------------------------------------------------------ silence


async def stay_silent(victim: Victim) -> None:
    """Hundreds of sockets that say nothing, bare, in TLS and after the upgrade; each anew when it is closed."""
    gate = _Gate(OPENS_PER_SECOND)

    async def hold(open_: Callable[[], Awaitable[Connection]]) -> None:
        while True:
            await gate.wait()
            try:
                connection = await open_()
            except Refusal:
                continue
            try:
                await connection.discard()
            except Refusal:
                pass
            finally:
                connection.close()

    kinds = (victim.tcp, victim.tls, victim.websocket)
    await asyncio.gather(*(hold(open_) for open_ in kinds for _ in range(SILENT_SOCKETS)))


class _Gate:
    """Lets through at a steady rate, whoever waits."""

    def __init__(self, per_second: float) -> None:
        self._step, self._next = 1 / per_second, 0.0

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        self._next = max(self._next + self._step, now)
        await asyncio.sleep(self._next - now)


# ----------------------------------------------------------------------------------------------------------- nonsense


async def talk_nonsense(victim: Victim) -> None:
    """Malformed frames of a welcome peer, and malformed handshakes, over a new connection each, one after another."""
    turns = itertools.cycle([*(_in_a_frame(piece) for piece in _PIECES), _in_a_handshake, _in_tls])

    async def once() -> None:
        await next(turns)(victim)

    await asyncio.gather(*(again_and_again(NONSENSE_PER_SECOND / LANES, once) for _ in range(LANES)))


_PIECES = (
    masked(b"\1" + b"\0\0\0\x05\xff" + b"junk"),  # a kind that there is not
    masked(b"\1" + b"\0\0\0\x05\x14" + b"\xc1\xc1\xc1\xc1"),  # no msgpack
    masked(b"\1" + b"\xff\xff\xff\xff\x14"),  # a length beyond all bounds
    masked(b"\0" + b"\0\0\0\x03\x20\x91\x90"),  # votes that are none
    masked(b"\7" + b"\0\0\0\x03\x20\x91\x90"),  # a lane that there is not
    masked(secrets.token_bytes(4000)),
    b"\x81\x84\0\0\0\0text",  # a WebSocket message that is not binary
    b"\xff" * 64,  # no WebSocket message
)


def _in_a_frame(data: bytes) -> Act:
    async def act(victim: Victim) -> None:
        await _say(await victim.peer(), data)

    return act


async def _in_a_handshake(victim: Victim) -> None:
    await _say(await victim.websocket(), masked(b"\1" + secrets.token_bytes(200)))


async def _in_tls(victim: Victim) -> None:
    await _say(await victim.tcp(), secrets.token_bytes(500))


async def _say(connection: Connection, data: bytes) -> None:
    """Say it, and wait to be cut off."""
    try:
        await connection.send_raw(data)
        async with asyncio.timeout(CUT_OFF_SECONDS):
            while True:
                await connection.receive()
    finally:
        connection.close()


ACTS: dict[str, tuple[str, Act]] = {
    "flood-gossip": (
        "ten times the allowed rate of hashes of transactions and blobs that are not",
        flood(lambda _: gossip()),
    ),
    "flood-answers": ("ten times the allowed rate of answers that nobody asked for", flood(lambda _: answers())),
    "flood-votes": ("ten times the allowed rate of votes, Status, proposals", flood(consensus)),
    "flood-questions": ("ten times the allowed rate of questions", flood(questions)),
    "forge": ("unsigned votes of validators, then again under a new key", forge),
    "withhold": ("announces transactions, blobs, heights, proposals; gives none", withhold),
    "silent": ("hundreds of sockets that say nothing", stay_silent),
    "nonsense": ("malformed frames, then again under a new key", talk_nonsense),
}
"""Each act by its name, with what it is in words."""
