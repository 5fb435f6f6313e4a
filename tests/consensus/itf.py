"""Home of reading model traces (ITF JSON, gzip) and of running the core along them."""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from consensus import proposer, tendermint
from consensus.events import (
    BuildValue,
    Decided,
    Effect,
    HeightStarted,
    Input,
    KeepBlockAndPolka,
    Proposed,
    ReportEquivocation,
    ScheduleTimeout,
    SendProposal,
    SendVote,
    Step,
    TimedOut,
    TimeoutKind,
    ValueBuilt,
    Voted,
)
from consensus.rules import State
from consensus.types import BlockId, Height, Proposal, Round, ValidatorSet, Vote, VoteKind, Voter

TIMEOUTS = {f"{kind.name.capitalize()}Timeout": kind for kind in TimeoutKind}
KINDS = {("Prevote", ()): VoteKind.PREVOTE, ("Precommit", ()): VoteKind.PRECOMMIT}


def plain(value: Any) -> Any:
    """ITF's tagged JSON as Python values; a set becomes a tuple, a variant (tag, value)."""
    if isinstance(value, list):
        return tuple(plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "#bigint" in value:
        return int(value["#bigint"])
    for name in ("#tup", "#set"):
        if name in value:
            return tuple(plain(item) for item in value[name])
    if "#map" in value:
        return {plain(key): plain(item) for key, item in value["#map"]}
    if "tag" in value:
        return value["tag"], plain(value["value"])
    return {key: plain(item) for key, item in value.items()}


def states(path: Path) -> list[Mapping[str, Any]]:
    """The states of a trace, without the module names before the variables' names."""
    with gzip.open(path) as file:
        trace = json.load(file)
    return [{name.split("::")[-1]: plain(value) for name, value in state.items()} for state in trace["states"]]


def voter(name: str) -> Voter:
    return Voter(name.encode().rjust(20, b"\0"))


def block_id(value: str) -> BlockId:
    return BlockId(hashlib.sha256(value.encode()).digest())


def vote_of(fields: Mapping[str, Any]) -> Vote:
    tag, value = fields["valueId"]
    return Vote(
        height=Height(fields["height"]),
        round=Round(fields["round"]),
        kind=KINDS[fields["voteType"]],
        block_id=block_id(value) if tag == "Val" else None,
        voter=voter(fields["srcAddress"]),
    )


def proposal_of(fields: Mapping[str, Any]) -> Proposal:
    return Proposal(
        height=Height(fields["height"]),
        round=Round(fields["round"]),
        block_id=block_id(fields["proposal"]),
        valid_round=fields["validRound"],
        proposer=voter(fields["srcAddress"]),
    )


def without_idle_timers(outputs: list[Any]) -> list[Any]:
    """Outputs less the prevote timers that a precommit follows at once: the paper leaves open which rule is first."""
    kept = []
    for output, following in pairwise([*outputs, None]):
        idle = isinstance(following, Vote) and following.kind == VoteKind.PRECOMMIT
        if not (idle and output == ("timeout", following.round, TimeoutKind.PREVOTE)):
            kept.append(output)
    return kept


def without_late_nil(before: State, after: State, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """Effects less the nil precommit of who starts a round without one in the round before, which the paper lacks."""
    last = after.round - 1
    if after.round == before.round or (before.round == last and before.step >= Step.PRECOMMIT):
        return effects
    late = SendVote(
        vote=Vote(height=after.height, round=Round(last), kind=VoteKind.PRECOMMIT, block_id=None, voter=after.me)
    )
    assert effects.count(late) == 1
    return tuple(effect for effect in effects if effect != late)


def validators_of(powers: Mapping[str, int]) -> ValidatorSet:
    return ValidatorSet(members=tuple(sorted((voter(name), power) for name, power in powers.items())))


@dataclass(frozen=True)
class Happened:
    """One step of a trace: an input and output of one validator, and what reached it unseen before its start."""

    name: str
    given: Any
    output: Any
    preloaded: tuple[Any, ...]
    after: Mapping[str, Any]


def happened(trace: list[Mapping[str, Any]]) -> Iterator[Happened]:
    """The states that changed what their validator knows, in order.

    A trace shows the last input and output again in states where only messages moved between buffers. A validator
    that starts takes all votes that wait for it at once, without an input for each.
    """
    for before, after in pairwise(trace):
        history = after["_hist"]
        if isinstance(history, tuple):
            history = dict(zip(("validator", "input", "output"), history, strict=True))
        name = history["validator"]
        if name not in after["system"] or before["system"][name]["es"] == after["system"][name]["es"]:
            continue
        starts = not before["system"][name]["es"]["started"]
        waiting = before["system"][name]["incomingVotes"] if starts else ()
        yield Happened(name, history["input"], history["output"], waiting, after["system"][name]["es"]["cs"])


@dataclass
class Replay:
    """One validator's core along a trace: what it put out, and what the model's did."""

    name: str
    validators: ValidatorSet
    state: State | None = None
    ours: list[Any] = field(default_factory=list)
    theirs: list[Any] = field(default_factory=list)

    def take(self, step: Happened) -> None:
        """Give the core an input of the model's driver, and note what both put out."""
        if self.state is None:
            self._start(Height(0))
            for fields in step.preloaded:
                self._step(Voted(vote=vote_of(fields)))
            if step.given[0] != "StartDInput":  # the model looks at the waiting votes first and never begins round 0
                self.ours = [output for output in self.ours if output[:2] != ("timeout", 0)]
        self._feed(step.given)
        self._expect(step.output)

    def _feed(self, given: Any) -> None:
        match given:
            case ("ProposeValueDInput", value):
                assert self.state is not None
                built = ValueBuilt(height=self.state.height, round=self.state.round, block_id=block_id(value))
                self._step(built)
            case ("ProposalDInput", fields):
                self._step(Proposed(proposal=proposal_of(fields), valid=fields["proposal"] != "invalid"))
            case ("VoteDInput", fields):
                self._step(Voted(vote=vote_of(fields)))
            case ("CertificateDInput", votes):
                for fields in votes:
                    self._step(Voted(vote=vote_of(fields)))
            case ("TimeoutDInput", (kind, _)):
                assert self.state is not None
                self._step(TimedOut(kind=TIMEOUTS[kind], height=self.state.height, round=self.state.round))
            case ("StartDInput" | "NoDInput" | "StepChangeDInput" | "PendingDInput", _):
                pass  # they only make the model do what our rules have done
            case other:
                raise AssertionError(f"unknown input {other}")

    def _expect(self, output: Any) -> None:
        if any(isinstance(known, tuple) and known[0] == "decided" for known in self.theirs):
            return  # the model goes on with what it had pending; we have left the height
        match output:
            case ("TimeoutOutput", (round_, (kind, _))):
                self.theirs.append(("timeout", round_, TIMEOUTS[kind]))
            case ("GetValueAndScheduleTimeoutOutput", (height, round_, (kind, _))):
                self.theirs.append(("build", height, round_))
                self.theirs.append(("timeout", round_, TIMEOUTS[kind]))
            case ("ProposalOutput", fields):
                self.theirs.append(proposal_of(fields))
            case ("VoteOutput", fields):
                self.theirs.append(vote_of(fields))
            case ("DecidedOutput", (round_, value)):
                self.theirs.append(("decided", round_, block_id(value)))
            case ("NoConsensusOutput" | "ErrorOutput", _):
                pass
            case other:
                raise AssertionError(f"unknown output {other}")

    def _start(self, height: Height) -> None:
        # The model's rotation begins with its second validator.
        given = HeightStarted(
            height=height, validators=self.validators, priorities=proposer.after(self.validators, height + 1)
        )
        self.state, effects = tendermint.start(voter(self.name), given)
        self._note(effects)

    def _step(self, given: Input) -> None:
        assert self.state is not None
        before = self.state
        self.state, effects = tendermint.step(before, given)
        self._note(without_late_nil(before, self.state, effects))

    def _note(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case ScheduleTimeout(kind=kind, round=round_):
                    self.ours.append(("timeout", round_, kind))
                case BuildValue(height=height, round=round_):
                    self.ours.append(("build", height, round_))
                case SendProposal(proposal=proposal):
                    self.ours.append(proposal)
                case SendVote(vote=vote):
                    self.ours.append(vote)
                case Decided(commit=commit):
                    self.ours.append(("decided", commit.round, commit.block_id))
                case KeepBlockAndPolka() | ReportEquivocation():
                    pass  # the model has no disk and no evidence
