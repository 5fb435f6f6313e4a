"""Home of valid values to mutate: one of every kind of message, and of everything else that peers may send encoded."""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator
from typing import Any

import eth_abi
import numpy as np

from chain import abi, codec, genesis, merkle
from chain.light_blocks import LightBlock, encode_light_block, encode_members
from chain.network import handshake, messages
from chain.signing import Fields, sign_transaction
from chain.sync.snapshot import encode_items, encode_siblings
from chain.types import Block, Header, Log, Receipt
from consensus import codec as consensus_codec
from consensus import votelog
from consensus.types import BlockId, Commit, Equivocation, Height, Proposal, Round, ValidatorSet, Vote, VoteKind, Voter
from learning.record import CustodianFate, CustodianOutcome, Record, UpdateFate, UpdateOutcome
from learning.shards import ManifestEntry, encode_manifest, encode_shard
from learning.updates import encode_update
from tests.chain.network.network_world import key, side
from tests.chain.operations.learning_world import ARCHITECTURE, samples, spec_json

CHAIN_ID = 77
HASH, ADDRESS = bytes(range(32)), bytes(range(100, 120))


def examples_of(kind: Any) -> Iterator[Any]:
    """Some values of a type, simple ones."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__supertype__"):
        yield from examples_of(kind.__supertype__)
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from examples_of(argument)
    elif origin is tuple and arguments[-1:] == (Ellipsis,):
        for example in itertools.islice(examples_of(arguments[0]), 4):
            yield (example,)
        yield ()
    elif origin is tuple:
        yield from itertools.islice(itertools.product(*(list(examples_of(item)) for item in arguments)), 64)
    elif kind is int:
        yield from (3, 0, 300)
    elif kind is bytes:
        yield from (HASH, ADDRESS, b"127.0.0.1", b"")
    elif kind is bool:
        yield True
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield from dataclasses_of(kind)


def dataclasses_of(cls: type) -> Iterator[Any]:
    """Values of a dataclass: every mix of examples of its fields, up to a number."""
    hints = typing.get_type_hints(cls)
    fields = [list(examples_of(hints[item.name])) for item in dataclasses.fields(cls)]
    names = [item.name for item in dataclasses.fields(cls)]
    for values in itertools.islice(itertools.product(*fields), 4096):
        yield cls(**dict(zip(names, values, strict=True)))


def frames() -> list[bytes]:
    """Frames of every kind of message, the longest of the examples that are valid, and the shortest."""
    found = []
    for cls in typing.get_args(messages.Message):
        valid = []
        for example in dataclasses_of(cls):
            frame = messages.encode(example)
            try:
                messages.decode(frame)
            except messages.InvalidFrame:
                continue
            valid.append(frame)
        assert valid, f"no example of {cls.__name__} is valid: help `examples_of`"
        found += [max(valid, key=len), min(valid, key=len)]
    return found


HEADER = Header(
    chain_id=CHAIN_ID,
    height=5,
    time_ms=1_700_000_000_000,
    parent=HASH,
    proposer=ADDRESS,
    transactions_root=HASH,
    receipts_root=HASH,
    state_root=HASH,
    weights_root=HASH,
    last_commit_root=HASH,
    validators_hash=HASH,
    next_validators_hash=HASH,
    gas_used=21_000,
    gas_limit=30_000_000,
    base_fee=10**9,
    logs_bloom=bytes(256),
)
RECEIPT = Receipt(
    status=1, gas_used=21_000, effective_gas_price=10**9, logs=(Log(address=ADDRESS, topics=(HASH,), data=b"data"),)
)
VOTERS = [Voter(bytes([number]) * 20) for number in (1, 2, 3)]
BLOCK_ID = BlockId(HASH)


def vote(block_id: BlockId | None = BLOCK_ID, kind: VoteKind = VoteKind.PRECOMMIT) -> Vote:
    return Vote(
        height=Height(5), round=Round(1), kind=kind, block_id=block_id, voter=VOTERS[0], signature=bytes(range(65))
    )


PROPOSAL = Proposal(
    height=Height(5), round=Round(1), block_id=BLOCK_ID, valid_round=0, proposer=VOTERS[1], signature=bytes(65)
)
COMMIT = Commit(
    height=Height(5), round=Round(1), block_id=BLOCK_ID, signatures=tuple((voter, bytes(65)) for voter in VOTERS)
)


def transactions() -> list[bytes]:
    """Signed transactions of all kinds."""
    found = []
    for kind, access_list in ((0, ()), (1, ((ADDRESS, (HASH,)),)), (2, ()), (2, ((ADDRESS, (HASH, HASH)),))):
        fields = Fields(
            kind=kind,
            chain_id=CHAIN_ID,
            nonce=3,
            max_priority_fee_per_gas=10**9,
            max_fee_per_gas=10**9,
            gas_limit=50_000,
            to=ADDRESS,
            value=10**18,
            data=b"some data",
            access_list=access_list,
        )
        found.append(sign_transaction(fields, key(1)).raw)
    return found


def block() -> bytes:
    return codec.encode_block(
        Block(header=HEADER, transactions=tuple(transactions()), last_commit=consensus_codec.encode_commit(COMMIT))
    )


def votes_and_the_like() -> dict[str, list[bytes]]:
    """What consensus encodes."""
    members = tuple((voter, 10**20 + place) for place, voter in enumerate(VOTERS))
    return {
        "vote": [consensus_codec.encode_vote(vote()), consensus_codec.encode_vote(vote(None, VoteKind.PREVOTE))],
        "proposal": [consensus_codec.encode_proposal(PROPOSAL)],
        "commit": [consensus_codec.encode_commit(COMMIT)],
        "validators": [consensus_codec.encode_validators(ValidatorSet(members=members))],
        "evidence": [consensus_codec.encode_equivocation(Equivocation(first=vote(), second=vote(BlockId(bytes(32)))))],
        "vote log record": [
            votelog.encode_record(votelog.VoteRecord(vote=vote())),
            votelog.encode_record(votelog.ProposalRecord(proposal=PROPOSAL, block=b"block")),
            votelog.encode_record(votelog.KeptRecord(proposal=PROPOSAL, polka=(vote(),), block=b"")),
            votelog.encode_record(votelog.ClosedRecord(height=Height(9))),
        ],
    }


def light_blocks() -> list[bytes]:
    members = tuple((bytes(voter), 10**20) for voter in VOTERS)
    same = LightBlock(header=HEADER, commit=COMMIT, validators=members, next_validators=members)
    other = LightBlock(header=HEADER, commit=None, validators=members, next_validators=members[:2])
    return [encode_light_block(same), encode_light_block(other)]


def members() -> list[bytes]:
    return [encode_members(tuple((bytes(voter), 10**20) for voter in VOTERS))]


def proofs() -> list[bytes]:
    """Proofs of the state: of a key that is there, and of one that is not."""
    other = merkle.OtherLeaf(tree_key=HASH, value_hash=HASH)
    return [
        merkle.encode_proof(merkle.Proof(siblings=(HASH, HASH[::-1]))),
        merkle.encode_proof(merkle.Proof(siblings=(HASH,), other=other)),
    ]


def item_proofs() -> list[bytes]:
    return [merkle.encode_item_proof(merkle.ItemProof(index=3, count=9, siblings=(HASH, HASH)))]


def snapshot_items() -> list[bytes]:
    return [encode_items(((b"a" + ADDRESS, b"value"), (b"b", b"")))]


def snapshot_siblings() -> list[bytes]:
    return [encode_siblings((HASH, HASH[::-1]))]


def handshakes() -> list[bytes]:
    hello = side(key(1)).hello()
    return [
        handshake.encode(message)
        for message in (
            hello,
            handshake.SignedHello(hello=hello, signature=bytes(65)),
            handshake.Proof(signature=bytes(range(65))),
            handshake.Verdict(reason=b"no"),
        )
    ]


_ABI_EXAMPLES = {"bytes": b"some bytes", "string": "text", "address": "0x" + ADDRESS.hex(), "bytes32": HASH}


def calls() -> list[bytes]:
    """A call of each function of the contract."""
    found = []
    for name in abi.FUNCTIONS:
        function = abi.FUNCTIONS[name]
        kinds = [item.type for item in function.inputs]
        found.append(function.selector + eth_abi.encode(kinds, [_ABI_EXAMPLES.get(kind, 7) for kind in kinds]))
    return found


def record() -> bytes:
    """A settlement record."""
    update = UpdateOutcome(
        id=HASH, fate=next(iter(UpdateFate)), contribution=-5, reward=10**18, charge=3, cut=0, streak=1
    )
    custodian = CustodianOutcome(custodian=ADDRESS, fate=next(iter(CustodianFate)), reward=7)
    return Record(
        task=HASH,
        round=2,
        parent=HASH,
        head=HASH,
        void=False,
        accepted=True,
        samples=128,
        loss_before=10**6,
        loss_momentum=10**6,
        loss_after=10**5,
        correct_before=10,
        correct_after=20,
        momentum=4,
        value=10**5,
        radius=10**4,
        updates=(update,),
        custodians=(custodian,),
    ).encode()


def learning() -> dict[str, list[bytes]]:
    """What blobs hold, and what calls of the contract carry."""
    delta = np.arange(ARCHITECTURE.parameters, dtype=np.int64) * 1000
    return {
        "update": [encode_update(delta, 0)],
        "shard": [encode_shard(samples(1, 8))],
        "manifest": [encode_manifest([ManifestEntry(root=HASH, length=8 * 6 + 8 + 16)] * 3)],
        "record": [record()],
        "specification": [spec_json()],
        "architecture": [ARCHITECTURE.to_json()],
    }


def genesis_file() -> bytes:
    return genesis.genesis_json(
        chain_id=CHAIN_ID,
        time_ms=1_700_000_000_000,
        balances={ADDRESS: 10**20},
        validators=[(ADDRESS, 10**20, 10**20)],
        tasks=[],
        parameters={},
    )
