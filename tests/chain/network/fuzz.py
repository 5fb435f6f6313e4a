"""Home of the fuzzer: random and mutated bytes against the handshake, frames, and every decoder of what peers send.

    python -m tests.chain.network.fuzz --frames 1000000 [--seed N] [--only NAME]

For each input a decoder must either raise one of its own errors or give a value whose encoding is the input; anything
else is printed with the seed and the bytes, and the command exits with 1. It also prints how the memory grew after the
first tenth and the CPU time of the slowest inputs.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from chain import abi, codec, crypto, genesis, light_blocks, merkle, rlp, transactions
from chain.errors import InvalidInput
from chain.network import frames, handshake, messages
from chain.operations import tasks
from chain.parameters import Parameters
from chain.state import decode_account, encode_account
from chain.sync import snapshot
from consensus import codec as consensus_codec
from consensus import votelog
from consensus.types import InvalidConsensus
from learning.architecture import Architecture, InvalidArchitecture
from learning.record import InvalidRecord, Record
from learning.shards import InvalidShard, decode_manifest, decode_shard, encode_manifest, encode_shard
from learning.updates import InvalidUpdate, decode_update, encode_update
from tests.chain.network import fuzz_samples as valid
from tests.chain.operations.learning_world import ARCHITECTURE

Errors = tuple[type[Exception], ...]


class Wrong(AssertionError):
    """A decoder took bytes that are not the one encoding of a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A decoder: valid inputs, what reads them, what it may raise, and (where there is one) what writes them again."""

    samples: Sequence[bytes]
    read: Callable[[bytes], Any]
    errors: Errors = (InvalidInput,)
    write: Callable[[Any], bytes] | None = None

    def try_(self, data: bytes) -> bool:
        """Whether the bytes were taken. Raises whatever is wrong with the decoder."""
        try:
            value = self.read(data)
        except self.errors:
            return False
        if self.write is not None and self.write(value) != data:
            raise Wrong(f"{value!r:.500} is encoded otherwise")
        return True


def read_pieces(data: bytes) -> list[Any]:
    """What a peer does with pieces, here as long as the first byte says."""
    reader, found = frames.FrameReader(), []
    size = 1 + (data[0] if data else 0)
    for start in range(1, len(data), size):
        found += [messages.decode(frame) for frame in reader.feed(data[start : start + size])]
    return found


def read_call(data: bytes) -> Any:
    function = abi.function_of(data)
    if function is None:
        raise abi.InvalidCalldata("no function")
    return function, abi.decode_arguments(function, data)


def _pieces() -> list[bytes]:
    """A stream of small frames in one piece, and in many."""
    writer = frames.FrameWriter()
    for frame in valid.frames():
        if len(frame) < 500:
            writer.add(frame)
    found = []
    while piece := writer.next_piece():
        found.append(b"\xff" + piece[:256])
        found.append(b"\x07" + b"".join(piece[:1] + piece[i : i + 7] for i in range(1, min(len(piece), 400), 7)))
    return found


def targets() -> dict[str, Target]:
    """Everything that reads bytes of strangers."""
    return {**_network(), **_chain(), **_consensus(), **_learning()}


def _network() -> dict[str, Target]:
    return {
        "frame": Target(samples=valid.frames(), read=messages.decode, write=messages.encode),
        "pieces": Target(samples=_pieces(), read=read_pieces),
        "handshake": Target(samples=valid.handshakes(), read=handshake.decode, write=handshake.encode),
    }


def _chain() -> dict[str, Target]:
    raws = valid.transactions()
    return {
        "transaction": Target(
            samples=raws, read=lambda raw: transactions.decode(raw, valid.CHAIN_ID), write=lambda found: found.raw
        ),
        "transaction and sender": Target(
            samples=raws, read=lambda raw: transactions.decode_with_sender(raw, valid.CHAIN_ID)
        ),
        "rlp": Target(samples=[raws[0], raws[1][1:]], read=rlp.decode),
        "signature": Target(samples=[bytes(range(65))], read=crypto.decode_signature),
        "header": Target(
            samples=[codec.encode_header(valid.HEADER)], read=codec.decode_header, write=codec.encode_header
        ),
        "block": Target(samples=[valid.block()], read=codec.decode_block, write=codec.encode_block),
        "receipt": Target(
            samples=[codec.encode_receipt(valid.RECEIPT)], read=codec.decode_receipt, write=codec.encode_receipt
        ),
        "account": Target(
            samples=[encode_account(3, 10**20)], read=decode_account, write=lambda found: encode_account(*found)
        ),
        "state proof": Target(samples=valid.proofs(), read=merkle.decode_proof, write=merkle.encode_proof),
        "item proof": Target(
            samples=valid.item_proofs(), read=merkle.decode_item_proof, write=merkle.encode_item_proof
        ),
        "light block": Target(
            samples=valid.light_blocks(), read=light_blocks.decode_light_block, write=light_blocks.encode_light_block
        ),
        "members": Target(samples=valid.members(), read=light_blocks.decode_members, write=light_blocks.encode_members),
        "snapshot items": Target(
            samples=valid.snapshot_items(), read=snapshot.decode_items, write=snapshot.encode_items
        ),
        "snapshot siblings": Target(
            samples=valid.snapshot_siblings(), read=snapshot.decode_siblings, write=snapshot.encode_siblings
        ),
        "call": Target(samples=valid.calls(), read=read_call),
        "genesis": Target(samples=[valid.genesis_file()], read=genesis.parse_genesis),
        "specification": Target(
            samples=valid.learning()["specification"],
            read=lambda data: tasks.parse_spec(data, Parameters()),
            write=lambda found: found.to_json(),
        ),
    }


def _consensus() -> dict[str, Target]:
    samples = valid.votes_and_the_like()
    functions = {
        "vote": (consensus_codec.decode_vote, consensus_codec.encode_vote),
        "proposal": (consensus_codec.decode_proposal, consensus_codec.encode_proposal),
        "commit": (consensus_codec.decode_commit, consensus_codec.encode_commit),
        "validators": (consensus_codec.decode_validators, consensus_codec.encode_validators),
        "evidence": (consensus_codec.decode_equivocation, consensus_codec.encode_equivocation),
        "vote log record": (votelog.decode_record, votelog.encode_record),
    }
    return {
        name: Target(samples=samples[name], read=read, write=write, errors=(InvalidConsensus,))
        for name, (read, write) in functions.items()
    }


def _learning() -> dict[str, Target]:
    samples = valid.learning()
    shape = {"samples": 8, "width": 4}
    return {
        "update": Target(
            samples=samples["update"],
            read=lambda data: decode_update(data, ARCHITECTURE.parameters),
            write=encode_update,
            errors=(InvalidUpdate,),
        ),
        "shard": Target(
            samples=samples["shard"],
            read=lambda data: decode_shard(data, classes=2, **shape),
            write=encode_shard,
            errors=(InvalidShard,),
        ),
        "manifest": Target(
            samples=samples["manifest"],
            read=lambda data: decode_manifest(data, shards=3, **shape),
            write=encode_manifest,
            errors=(InvalidShard,),
        ),
        "record": Target(
            samples=samples["record"], read=Record.decode, write=lambda found: found.encode(), errors=(InvalidRecord,)
        ),
        "architecture": Target(
            samples=samples["architecture"],
            read=Architecture.from_json,
            write=lambda found: found.to_json(),
            errors=(InvalidArchitecture,),
        ),
    }


# --------------------------------------------------------------------------------------------------------- mutation

_NUMBERS = (0, 1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**63))
_BYTES = (b"", b"\0", b"\xff", b"\x80", b"\xc0", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xf8\xff")


def mutated(generator: random.Random, samples: Sequence[bytes]) -> bytes:
    """Bytes near a valid input, or far from any."""
    if generator.random() < 0.05:
        return generator.randbytes(generator.choice((0, 1, 2, 8, 40, 300)))
    data = generator.choice(samples)
    if generator.random() < 0.4 and (packed := _structured(generator, data)) is not None:
        return packed
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 4, 16))):
        _change(generator, changed, samples)
    return bytes(changed)


def _change(generator: random.Random, data: bytearray, samples: Sequence[bytes]) -> None:
    place = generator.randrange(len(data) + 1)
    end = min(len(data), place + generator.choice((1, 1, 2, 4, 8, 32, 200)))
    match generator.randrange(8):
        case 0:
            for at in range(place, end):
                data[at] ^= 1 << generator.randrange(8)
        case 1:
            data[place:end] = generator.randbytes(end - place)
        case 2:
            del data[place:end]
        case 3:
            data[place:place] = data[place:end] * generator.choice((1, 2, 50))
        case 4:
            data[place:place] = generator.choice(_BYTES)
        case 5:
            data[place:end] = generator.choice(_BYTES)
        case 6:
            other = generator.choice(samples)
            data[place:] = other[generator.randrange(len(other) + 1) :]
        case _:
            size = generator.choice((1, 2, 4, 8))
            number = generator.choice(_NUMBERS) % 256**size
            data[place : place + size] = number.to_bytes(size, generator.choice(("big", "little")))


def _structured(generator: random.Random, data: bytes) -> bytes | None:
    """The value with one part of it changed, encoded canonically; None if it is not msgpack (after a byte, or none)."""
    for start in (0, 1):
        try:
            value = msgpack.unpackb(data[start:], use_list=True, raw=False)
        except (ValueError, msgpack.exceptions.UnpackException):
            continue
        if isinstance(value, list):
            _change_value(generator, value)
            packed: bytes = data[:start] + msgpack.packb(value, use_bin_type=True)
            return packed
    return None


def _change_value(generator: random.Random, value: list[Any]) -> None:
    while value:
        place = generator.randrange(len(value))
        if isinstance(value[place], list) and value[place] and generator.random() < 0.8:
            value = value[place]
            continue
        match generator.randrange(5):
            case 0:
                value[place] = generator.choice(_NUMBERS)
            case 1:
                value[place] = generator.randbytes(generator.choice((0, 1, 19, 20, 21, 31, 32, 33, 65, 300)))
            case 2:
                value[place] = generator.choice((None, True, 0.5, "text", [], [[]], [value[place]] * 300))
            case 3:
                del value[place]
            case _:
                value.insert(place, value[place])
        return


# ------------------------------------------------------------------------------------------------------------- run


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a run. Memory is the growth, in bytes, of the process from a tenth of the run on."""

    inputs: int = 0
    taken: int = 0
    memory: int = 0
    slowest: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


FAILURES_MAX = 20


def run(
    count: int, seed: int, chosen: Mapping[str, Target], tell: Callable[[str], None] = lambda text: None
) -> Outcome:
    """So many inputs, the targets in turn. The same seed gives the same inputs."""
    outcome = Outcome()
    names = list(chosen)
    memory = 0
    for number in range(count):
        name = names[number % len(names)]
        data = mutated(random.Random(f"{seed} {number}"), chosen[name].samples)
        start = time.thread_time()
        try:
            outcome.taken += chosen[name].try_(data)
        except Exception as error:
            outcome.failures.append(
                f"{name}, input {number} of seed {seed}: {type(error).__name__}: {error!s:.300}\n  {data.hex()}"
            )
        outcome.slowest[name] = max(outcome.slowest.get(name, 0.0), time.thread_time() - start)
        outcome.inputs += 1
        if number == count // 10:
            memory = resident_bytes()
        if number and number % 100_000 == 0:
            tell(f"{number} inputs, {outcome.taken} taken, {resident_bytes() >> 20} MiB")
        if len(outcome.failures) >= FAILURES_MAX:
            break
    outcome.memory = resident_bytes() - memory
    return outcome


def resident_bytes() -> int:
    """The process' memory now, after a collection."""
    gc.collect()
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # elsewhere the peak must do
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chain.network.fuzz", description="Fuzz every decoder.")
    parser.add_argument("--frames", type=int, default=100_000, help="how many inputs (100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one target")
    options = parser.parse_args(arguments)
    chosen = targets()
    if options.only:
        chosen = {options.only: chosen[options.only]}
    start = time.perf_counter()
    outcome = run(options.frames, options.seed, chosen, print)
    print(f"{outcome.inputs} inputs for {len(chosen)} decoders in {time.perf_counter() - start:.0f} s,")
    print(f"{outcome.taken} were valid, memory grew by {outcome.memory / 2**20:.1f} MiB")
    for name, seconds in sorted(outcome.slowest.items(), key=lambda item: -item[1])[:5]:
        print(f"slowest {name}: {1000 * seconds:.1f} ms")
    for failure in outcome.failures:
        print(failure)
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
