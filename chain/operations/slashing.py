"""Home of what a validator loses that voted twice: evidence of it is checked, and its power and bond are cut."""

from __future__ import annotations

from dataclasses import replace

from chain.abi import encode_event
from chain.crypto import InvalidSignature, decode_signature, keccak256, recover_sender
from chain.operations.call import CallContext, CallOutcome, Revert, require
from chain.operations.learning_store import read_epoch, read_validator, write_epoch, write_validator
from chain.operations.power import withdrawal_height
from chain.operations.registration import account_behind, has_registered
from chain.operations.treasury import burn
from chain.operations.voter_store import read_genesis_hash
from chain.state import View, WorkingState
from chain.types import Log
from consensus.codec import decode_equivocation
from consensus.types import Equivocation, InvalidConsensus, Vote


def submit_evidence(state: WorkingState, context: CallContext, evidence: bytes) -> CallOutcome:
    """`submitEvidence`: two votes of one key, height, round and kind for different blocks cost its account its power, a
    part of its bond, and the right to be a validator, once. Anybody may say so."""
    try:
        equivocation = decode_equivocation(evidence)
    except InvalidConsensus as error:
        raise Revert(f"this is no evidence: {error}") from error
    _require_timely(context, equivocation.first.height)
    genesis_hash = read_genesis_hash(state)
    for vote in (equivocation.first, equivocation.second):
        _require_signed(vote, genesis_hash)
    account = accused(state, equivocation)
    validator = read_validator(state, account)
    require(has_registered(validator), f"0x{equivocation.first.voter.hex()} is no validator's vote key")
    require(not validator.barred, f"the validator 0x{account.hex()} is barred already")
    return CallOutcome(logs=(_slash(state, context, account),))


def accused(view: View, evidence: Equivocation) -> bytes:
    """The account whose vote key signed both votes, if both signatures are right."""
    return account_behind(view, evidence.first.voter, evidence.first.height)


def _require_timely(context: CallContext, height: int) -> None:
    oldest = context.height - context.parameters.evidence_blocks_max
    require(height <= context.height, f"the votes are of height {height}, which is yet to come")
    require(height >= oldest, f"the votes are of height {height}: those before {oldest} are not punished any more")


def _require_signed(vote: Vote, genesis_hash: bytes) -> None:
    wrong = f"the signature for block {vote.block_id.hex() if vote.block_id else 'nil'} is not of 0x{vote.voter.hex()}"
    try:
        r, s, parity = decode_signature(vote.signature)
        signer = recover_sender(keccak256(vote.sign_bytes(genesis_hash)), parity, r, s)
    except InvalidSignature as error:
        raise Revert(wrong) from error
    require(bytes(signer) == bytes(vote.voter), wrong)


def _slash(state: WorkingState, context: CallContext, account: bytes) -> Log:
    """What remains of the bond may be withdrawn after the delay, as if the account had unbonded now."""
    validator = read_validator(state, account)
    cut = validator.bond * context.parameters.slash_milli // 1000
    left = validator.bond - cut
    burn(state, cut)
    epoch = read_epoch(state)
    write_epoch(state, replace(epoch, granted=epoch.granted - validator.granted))
    punished = replace(
        validator,
        earned=0,
        bootstrap=0,
        granted=0,
        bond=left,
        registered=0,
        barred=1,
        withdraw_at=withdrawal_height(context.height, context.parameters) if left else 0,
    )
    write_validator(state, account, punished)
    return encode_event("Slashed", account, cut)
