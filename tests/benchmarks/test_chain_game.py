"""Games of miners through the whole protocol: what is learnt, what records say, and that money and bits add up."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chain_attacks import HONEST, seats_beside
from benchmarks.chain_game import Outcome, play
from benchmarks.chain_setup import Seat, Setting
from chain.development import GENESIS_NAME
from chain.genesis import parse_genesis
from chain.node_directory import open_blobs
from chain.parameters import Parameters
from chain.storage.store import Store
from chain.types import COIN
from chain.verification.history import Verifier
from rpc.learn_formats import FATE_REASONS, name_of
from tests.benchmarks.games import alone, beside

PARAMETERS = Parameters()
ROUNDS = 15


def amount(quantity: str) -> int:
    return int(quantity, 16)


def test_three_honest_miners_teach_the_head_90_percent_by_the_fifteenth_settled_round() -> None:
    outcomes = [alone(seed) for seed in range(3)]
    assert [len(outcome.accuracies) for outcome in outcomes] == [ROUNDS] * 3
    assert statistics.fmean(outcome.accuracies[-1] for outcome in outcomes) >= 0.9


def test_every_round_of_three_honest_miners_is_settled_and_nobody_is_cut() -> None:
    outcome = alone(0)
    assert outcome.height == 1 + ROUNDS * PARAMETERS.cycle_blocks + PARAMETERS.reveal_blocks + PARAMETERS.open_blocks
    assert [round_["status"] for round_ in outcome.rounds] == ["settled"] * ROUNDS
    assert all(len(round_["updates"]) == len(HONEST) for round_ in outcome.rounds)
    assert not any(statement.cut for statement in outcome.statements)


@pytest.mark.parametrize("played", [alone, beside], ids=["alone", "beside"])
def test_each_rounds_record_says_who_was_paid_what_and_why_others_were_not(played: Any) -> None:
    rounds = json.loads(json.dumps(played(0).rounds))  # what learn_round answers
    assert [round_["round"] for round_ in rounds] == list(range(ROUNDS))
    for round_ in rounds:
        record = round_["record"]
        assert (record["void"], record["samples"]) == (False, 27)
        assert {"lossBeforeNats", "lossAfterNats", "parent", "head", "valueNats", "encoded"} <= record.keys()
        for update in round_["updates"]:
            assert_explained(update, record["accepted"])
        pay = sum(amount(update["reward"]) for update in round_["updates"])
        assert 0 < pay <= PARAMETERS.round_cap if record["accepted"] else pay == 0
        (custodian,) = record["custodians"]
        assert custodian["fate"] == "used"
        assert amount(custodian["reward"]) == pay * PARAMETERS.custodian_share_milli // 1000


def assert_explained(update: dict[str, Any], accepted: bool) -> None:
    """Fate, reason and amounts of one update agree with each other and with whether its round was accepted."""
    reasons = {name_of(fate): reason for fate, reason in FATE_REASONS.items()}
    assert update["reason"] == reasons[update["fate"]]
    reward, charge = amount(update["reward"]), amount(update["charge"])
    match update["fate"]:
        case "accepted":
            assert accepted
            assert update["contribution"] > 0
            assert 0 < charge <= amount(update["bond"])
            assert reward > 0
        case "no_gain":
            assert update["contribution"] <= 0
            assert reward == 0
            assert (charge > 0) == accepted
        case "not_significant":
            assert not accepted
            assert update["contribution"] > 0
            assert (reward, charge) == (0, 0)
        case fate:
            assert fate == "copy"
            assert (update["contribution"], reward, charge) == (0, 0, 0)


def test_balances_move_by_what_records_say_and_by_fees() -> None:
    outcome = beside(0)
    for statement in outcome.statements:
        own = [
            update
            for round_ in outcome.rounds
            for update in round_["updates"]
            if update["miner"] == "0x" + statement.address.hex()
        ]
        told = sum(amount(u["reward"]) - amount(u["charge"]) - amount(u["cut"]) - amount(u["fee"]) for u in own)
        gas = told - (statement.ended - statement.began)
        assert gas == statement.gas
        # A commit and a reveal of an update: between 200,000 and 300,000 gas at a price of two gwei
        assert 200_000 * 2 * len(own) < gas / 10**9 < 300_000 * 2 * len(own)
        assert sum(statement.fates.values()) == len(own)


def test_equal_settings_play_the_same_game() -> None:
    setting = Setting(seed=5, seats=seats_beside(["noise", "lottery"]), rounds=2, custodians=3)
    assert play(setting) == play(setting)


def test_another_seed_plays_another_game() -> None:
    first, second = (play(Setting(seed=seed, seats=HONEST, rounds=1)) for seed in (5, 6))
    assert first.rounds[0]["record"]["head"] != second.rounds[0]["record"]["head"]
    assert {s.address for s in first.statements}.isdisjoint(s.address for s in second.statements)


def test_the_chain_of_a_game_is_one_that_verify_accepts(tmp_path: Path) -> None:
    outcome = play(Setting(seed=7, seats=seats_beside(["exact copier"]), rounds=3), tmp_path)
    genesis = parse_genesis((tmp_path / GENESIS_NAME).read_bytes())
    with Store.open(tmp_path, create=False, genesis=genesis.hash) as store:
        verified = Verifier(store, open_blobs(tmp_path), genesis, backend="float64").run()
    assert (verified.height, verified.settlements) == (outcome.height, 3)


def test_three_custodians_divide_the_samples_and_their_share() -> None:
    (round_,) = play(Setting(seed=1, seats=HONEST, rounds=1, custodians=3)).rounds
    assert (len(round_["openings"]), round_["record"]["samples"]) == (3, 27)
    assert [custodian["fate"] for custodian in round_["record"]["custodians"]] == ["used"] * 3
    assert len({custodian["reward"] for custodian in round_["record"]["custodians"]}) == 1


def test_a_bond_is_in_least_bonds_and_comes_back_less_the_charge() -> None:
    seats = (Seat(strategy="honest", share=0, bond=3), Seat(strategy="noise", share=3))
    outcome: Outcome = play(Setting(seed=2, seats=seats, rounds=1, parameters={"bond_minimum": 2 * COIN}))
    bonds = {update["miner"]: amount(update["bond"]) for update in outcome.rounds[0]["updates"]}
    assert [bonds["0x" + each.address.hex()] for each in outcome.statements] == [6 * COIN, 2 * COIN]
    honest, noisy = outcome.statements
    assert honest.reward > 0
    assert noisy.net == noisy.reward - noisy.charge - noisy.fee - noisy.gas
