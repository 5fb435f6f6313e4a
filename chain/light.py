"""Home of light verification: headers, commits, validator sets and proofs alone show what a chain's state holds.

A block is trusted because a person named its hash, because it is genesis, or because it was reached from a trusted one:
by its parent's hash and the next validators that the parent names, or over any distance, within the trust period, if
more than a third of the trusted power has signed it beside more than two thirds of its own.

    rules = rules_of(genesis, VoteSignatures(genesis.hash).signers_of)
    walk = reach(trust_genesis(genesis), height, rules, now_ms)     # or trust_block(block, hash)
    wanted = next(walk)
    while True:
        try:
            wanted = walk.send(fetch(wanted))                       # a LightBlock from anyone
        except StopIteration as done:
            trusted = done.value
            break
    nonce, balance = account_of(verified_value(trusted, proved))    # see chain/light_answers.py
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from chain import contract
from chain.codec import block_hash
from chain.errors import InvalidInput
from chain.genesis import Genesis, genesis_block
from chain.last_commit import InvalidCommit, SignersOf, check_signatures
from chain.light_blocks import LightBlock, Members
from chain.transition import validators_hash
from chain.types import Header
from chain.verification.replay import ReplayedState
from consensus.types import Commit, InvalidConsensus, ValidatorSet, Voter

CLOCK_DRIFT_MS = 10_000  # a header may be this far ahead of the verifier's clock
WALK_BLOCKS_MAX = 100_000  # of one `reach`; whoever is farther behind needs a newer trusted block


class InvalidLight(InvalidInput):
    """What was given does not show what it should: a forgery, or another chain's."""


class TooFar(InvalidLight):
    """A third of the trusted power has not signed this block: one in between is needed first."""


class AheadOfClock(InvalidLight):
    """The block is of a later time than the verifier's clock allows: that clock may be the wrong one."""


class TooLong(InvalidLight):
    """The walk takes too many blocks: a newer trusted block must be named."""


class TrustExpired(InvalidLight):
    """The trusted block is older than the trust period: a newer one must be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A block that is taken for the chain's, with the sets that voted on it and vote on the next one."""

    header: Header
    hash: bytes
    validators: Members
    next_validators: ValidatorSet

    @property
    def height(self) -> int:
        return self.header.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Whose blocks they are, and for how long who signed them can be held to it.

    `trust_period_ms` is None where the trusted block's age does not matter: whoever starts at genesis then trusts that
    no retired validators' keys were stolen.
    """

    chain_id: int
    trust_period_ms: int | None
    signers_of: SignersOf


def rules_of(genesis: Genesis, signers_of: SignersOf, *, aging: bool = True) -> Rules:
    """A network's rules; without `aging` for who starts at its genesis, however old that is.

    The trust period is half of the block time within which validators are punished for contradicting themselves.
    """
    parameters = genesis.parameters
    period = parameters.evidence_blocks_max * parameters.block_interval_ms // 2
    return Rules(chain_id=genesis.chain_id, trust_period_ms=period if aging else None, signers_of=signers_of)


# -------------------------------------------------------------------------------------------------- first trust


def trust_genesis(genesis: Genesis) -> Trusted:
    """Genesis itself: whoever has its file needs nobody's word for it."""
    block, changes = genesis_block(genesis)
    voters = contract.voters_of(ReplayedState({key: value for key, value in changes.items() if value is not None}))
    return _trusted(LightBlock(header=block.header, commit=None, validators=voters, next_validators=voters))


def trust_block(block: LightBlock, height: int, hash_: bytes) -> Trusted:
    """The block that a person named by height and hash. Raises InvalidLight where it is another."""
    found = block_hash(block.header)
    if (block.header.height, found) != (height, hash_):
        raise InvalidLight(
            f"the block of height {block.header.height} is 0x{found.hex()}, trusted is 0x{hash_.hex()} at {height}"
        )
    return _trusted(block)


def _trusted(block: LightBlock) -> Trusted:
    header = block.header
    _require(header, "validators_hash", header.validators_hash, validators_hash(block.validators))
    _require(header, "next_validators_hash", header.next_validators_hash, validators_hash(block.next_validators))
    return Trusted(
        header=header,
        hash=block_hash(header),
        validators=block.validators,
        next_validators=_set_of(block.next_validators, header),
    )


# ------------------------------------------------------------------------------------------------------ forward


def step(trusted: Trusted, block: LightBlock, rules: Rules, now_ms: int) -> Trusted:
    """The later `block`, trusted now. Raises TooFar, TrustExpired or InvalidLight."""
    header = block.header
    if header.height <= trusted.height:
        raise InvalidLight(f"height {header.height} does not come after {trusted.height}")
    if header.chain_id != rules.chain_id:
        raise InvalidLight(f"height {header.height}: chain id {header.chain_id}, not {rules.chain_id}")
    if header.time_ms <= trusted.header.time_ms:
        raise InvalidLight(f"height {header.height}: time {header.time_ms} ms must come after {trusted.header.time_ms}")
    if header.time_ms > now_ms + CLOCK_DRIFT_MS:
        raise AheadOfClock(
            f"height {header.height}: time {header.time_ms} ms must be at most {CLOCK_DRIFT_MS} ahead of the clock, "
            f"{now_ms}"
        )
    if rules.trust_period_ms is not None and trusted.header.time_ms + rules.trust_period_ms < now_ms:
        raise TrustExpired(
            f"height {trusted.height} is {(now_ms - trusted.header.time_ms) // 1000} s old, its validators can be held "
            f"to it for {rules.trust_period_ms // 1000} s: name the hash of a newer block"
        )
    adjacent = header.height == trusted.height + 1
    if adjacent:
        _require(header, "parent", header.parent, trusted.hash)
        _require(header, "validators_hash", header.validators_hash, trusted.header.next_validators_hash)
    found = _trusted(block)
    verify_commit(header, block.commit, block.validators, rules.signers_of)
    if not adjacent:
        _require_overlap(trusted, block)
    return found


def verify_commit(header: Header, commit: Commit | None, members: Members, signers_of: SignersOf) -> None:
    """More than two thirds of `members`, the set that the header names, have signed its block. Raises InvalidLight."""
    if commit is None:
        raise InvalidLight(f"height {header.height} has no commit")
    if (commit.height, commit.block_id) != (header.height, block_hash(header)):
        raise InvalidLight(f"height {header.height}: the commit is for another block")
    validators = _set_of(members, header)
    try:
        power = commit.power(validators)
    except InvalidConsensus as error:
        raise InvalidLight(str(error)) from error
    if not validators.is_quorum(power):
        raise InvalidLight(f"height {header.height}: {power} of {validators.total} signed: over two thirds are needed")
    try:
        check_signatures(commit, signers_of)
    except InvalidCommit as error:
        raise InvalidLight(f"height {header.height}: {error}") from error


def _require_overlap(trusted: Trusted, block: LightBlock) -> None:
    assert block.commit is not None
    power = sum(trusted.next_validators.power(voter) for voter, _ in block.commit.signatures)
    if not trusted.next_validators.is_one_third(power):
        raise TooFar(
            f"height {block.header.height}: {power} of the {trusted.next_validators.total} trusted at height "
            f"{trusted.height} signed it, over a third are needed"
        )


def _set_of(members: Members, header: Header) -> ValidatorSet:
    try:
        return ValidatorSet(members=tuple((Voter(address), power) for address, power in members))
    except InvalidConsensus as error:
        raise InvalidLight(f"height {header.height}: {error}") from error


def _require(header: Header, field: str, found: bytes, expected: bytes) -> None:
    if found != expected:
        raise InvalidLight(f"height {header.height}: {field} is {found.hex()}, it must be {expected.hex()}")


def reach(trusted: Trusted, height: int, rules: Rules, now_ms: int) -> Generator[int, LightBlock, Trusted]:
    """Walk to a later height: yields the heights whose light blocks it wants sent, returns the block there.

    It tries the farthest first and halves the way where too few have signed. Raises what `step` does.
    """
    ahead: list[LightBlock] = []  # fetched, but too far yet; the nearest last
    wanted, asked = height, 0
    while trusted.height < height:
        if not ahead or ahead[-1].header.height != wanted:
            asked += 1
            if asked > WALK_BLOCKS_MAX:
                raise TooLong(f"height {height} is too far from {trusted.height}: name a newer trusted block")
            block = yield wanted
            if block.header.height != wanted:
                raise InvalidLight(f"height {block.header.height} was given where {wanted} was asked for")
            ahead.append(block)
        try:
            trusted = step(trusted, ahead[-1], rules, now_ms)
        except TooFar:
            wanted = (trusted.height + wanted + 1) // 2
        else:
            ahead.pop()
            wanted = ahead[-1].header.height if ahead else height
    return trusted


# ----------------------------------------------------------------------------------------------------- backward


def descend(trusted: Trusted, height: int) -> Generator[int, LightBlock, Trusted]:
    """Walk to an earlier height by the parents' hashes, which needs no signatures; yields and returns as `reach`."""
    while trusted.height > height:
        block = yield trusted.height - 1
        if block_hash(block.header) != trusted.header.parent:
            raise InvalidLight(f"height {block.header.height}: not the parent of height {trusted.height}")
        trusted = trust_block(block, trusted.height - 1, trusted.header.parent)
    return trusted
