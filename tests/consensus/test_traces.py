"""The core against traces of another project's model: the same inputs give the same outputs and the same locks."""

import os
from pathlib import Path

import pytest

from consensus.events import Step
from consensus.types import Round
from consensus.votes import VoteBook, add
from tests.consensus import itf

OWN = Path(__file__).parent.parent / "vectors" / "tendermint-itf"
STEPS = {
    "ProposeStep": Step.PROPOSE,
    "PrevoteStep": Step.PREVOTE,
    "PrecommitStep": Step.PRECOMMIT,
    "CommitStep": Step.DECIDED,
}


def traces(folder: Path, variable: str) -> list[Path]:
    return [path for path in sorted(folder.glob("*.gz")) if variable in itf.states(path)[0]]


def external() -> Path:
    if "LYCEUM_VECTORS" not in os.environ:
        pytest.skip("set LYCEUM_VECTORS to the folder of external vectors to run all traces")
    return Path(os.environ["LYCEUM_VECTORS"]) / "tendermint-itf"


def follow(path: Path) -> int:
    """Run every validator of a trace; the number of outputs compared."""
    trace = itf.states(path)
    replays: dict[str, itf.Replay] = {}
    last = {}
    for step in itf.happened(trace):
        validators = itf.validators_of(trace[0]["system"][step.name]["es"]["valset"])
        replays.setdefault(step.name, itf.Replay(step.name, validators)).take(step)
        last[step.name] = step.after
    for name, replay in replays.items():
        ours, theirs = itf.without_idle_timers(replay.ours), itf.without_idle_timers(replay.theirs)
        assert ours == theirs, f"{path.name}, {name}"
        assert_same_place(replay, last[name], f"{path.name}, {name}")
    return sum(len(replay.theirs) for replay in replays.values())


def assert_same_place(replay: itf.Replay, model: dict[str, object], where: str) -> None:
    state = replay.state
    assert state is not None
    assert state.step == STEPS[model["step"][0]], where
    if state.step != Step.DECIDED:  # the model forgets round and lock of a decided height
        lock = (state.round, state.locked_round, state.locked_id, state.valid_round, state.valid_id)
        values = [itf.block_id(v[1]) if v[0] == "Val" else None for v in (model["lockedValue"], model["validValue"])]
        assert lock == (model["round"], model["lockedRound"], values[0], model["validRound"], values[1]), where


def count_votes(path: Path) -> int:
    """Run a trace of weighted vote counting; the number of thresholds that the model saw."""
    seen = 0
    first, *rest = itf.states(path)
    book = VoteBook(validators=itf.validators_of(first["bookkeeper"]["validatorSet"]))
    for state in rest:
        _, (fields, _, current) = state["weightedVote"]
        vote = itf.vote_of(fields)
        book, _ = add(book, vote, Round(current))
        match state["lastEmitted"]:
            case ("PolkaValueVKOutput", (round_, value)):
                assert book.has_polka(round_, itf.block_id(value))
            case ("PolkaNilVKOutput", round_):
                assert book.has_polka(round_, None)
            case ("PolkaAnyVKOutput", round_):
                assert book.validators.is_quorum(book.prevotes(round_).total)
            case ("PrecommitValueVKOutput", (round_, value)):
                assert book.validators.is_quorum(book.precommits(round_).power_for(itf.block_id(value)))
            case ("SkipVKOutput", round_):
                assert round_ > current
                assert book.validators.is_one_third(book.power_in(round_))
            case ("NoVKOutput", _):
                assert vote.round <= current or not book.validators.is_one_third(book.power_in(vote.round))
                continue
            case other:
                raise AssertionError(f"unknown output {other}")
        seen += 1
    return seen


def test_core_follows_the_models_traces() -> None:
    paths = traces(OWN, "_hist")
    assert len(paths) >= 4
    assert sum(follow(path) for path in paths) > 40


def test_core_follows_all_external_traces() -> None:
    paths = traces(external(), "_hist")
    assert len(paths) >= 15
    assert sum(follow(path) for path in paths) > 250


def test_votes_reach_the_models_thresholds() -> None:
    paths = traces(OWN, "bookkeeper")
    assert len(paths) >= 3
    assert sum(count_votes(path) for path in paths) >= 2


def test_votes_reach_all_external_thresholds() -> None:
    paths = traces(external(), "bookkeeper")
    assert len(paths) >= 10
    assert sum(count_votes(path) for path in paths) >= 8
