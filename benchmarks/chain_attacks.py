"""Home of the question what hostile miners earn on a chain: tables over seeds, and whether the promises hold.

    python -m benchmarks chain-attacks [--seeds 5] [--disguises] [--json FILE] [--set NAME=VALUE ...]

Each seed's game is played twice, by three honest miners alone and with hostile ones beside them. `--disguises` also
asks what a miner gains by doubling its update, or by splitting its bond over four accounts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.chain_game import Outcome, Statement, play
from benchmarks.chain_setup import SHARES, Seat, Setting
from benchmarks.disguises import IDENTITIES, SLICES
from benchmarks.strategies import HOSTILE
from chain.parameters import PARAMETER_NAMES
from chain.types import COIN

HONEST = tuple(Seat(strategy="honest", share=share) for share in range(SHARES - 1))
LOSERS = ("noise", "exact copier", "lottery")  # must end poorer than they began
NET_SHARE_MAX = 1 / 3  # of the honest mean, for every other hostile one
ACCURACY_LOSS_MAX = 0.02
ACCURACY_MIN = 0.9  # of honest miners alone, after the last round
SPLIT_GAIN_MAX = 1.1
DOUBLED_GAIN_MAX = 1.05
SETTINGS_SHOWN = ("price", "round_cap", "loss_floor", "charge_milli", "bond_minimum", "evaluation_fee_minimum")


def seats_beside(hostile: Iterable[str]) -> tuple[Seat, ...]:
    """Three honest miners, and hostile ones who share the data of a fourth: adding some takes none from the honest."""
    return (*HONEST, *(Seat(strategy=strategy, share=SHARES - 1) for strategy in hostile))


def disguised_seats() -> dict[str, tuple[Seat, ...]]:
    """Three miners with equal bonds of which the third is honest, doubles its update, or is four accounts."""
    whole = tuple(Seat(strategy="honest", share=share, bond=IDENTITIES) for share in range(SHARES - 1))
    others, share = whole[:-1], whole[-1].share
    return {
        "honest": whole,
        "doubled": (*others, Seat(strategy="doubled", share=share, bond=IDENTITIES)),
        "clones": (*others, *(Seat(strategy="clone", share=share),) * IDENTITIES),
        "slices": (*others, *(Seat(strategy=name, share=share) for name in SLICES)),
    }


# ------------------------------------------------------------------------------------------------------- summaries


def summarise(alone: Sequence[Outcome], beside: Sequence[Outcome]) -> dict[str, Any]:
    """Means over seeds in coins an account, what each net was, and each promise with whether it held."""
    names = list(dict.fromkeys(statement.strategy for statement in beside[0].statements))
    roles = {name: _role([s for outcome in beside for s in outcome.statements if s.strategy == name]) for name in names}
    accuracies = {
        name: [outcome.accuracies[-1] for outcome in played] for name, played in (("alone", alone), ("beside", beside))
    }
    honest = [s for outcome in (*alone, *beside) for s in outcome.statements if s.strategy == "honest"]
    return {
        "roles": roles,
        "honest_alone": _role([s for outcome in alone for s in outcome.statements]),
        "accuracy_by_round": {
            name: [round(statistics.fmean(row), 4) for row in zip(*(o.accuracies for o in played), strict=True)]
            for name, played in (("alone", alone), ("beside", beside))
        },
        "accuracies": accuracies,
        "accepted_rounds": {
            name: [outcome.accepted for outcome in played] for name, played in (("alone", alone), ("beside", beside))
        },
        "promises": _promises(roles, accuracies, honest),
    }


def _role(statements: Sequence[Statement]) -> dict[str, Any]:
    nets = [statement.net / COIN for statement in statements]
    fates: Counter[str] = Counter()
    for statement in statements:
        fates.update(statement.fates)
    return {
        **{
            name: round(statistics.fmean(getattr(s, name) for s in statements) / COIN, 6)
            for name in ("began", "ended", "reward", "charge", "cut", "fee", "gas")
        },
        "net": statistics.fmean(nets),
        "net_deviation": statistics.stdev(nets) if len(nets) > 1 else 0.0,
        "nets": [round(net, 6) for net in nets],
        "fates": dict(sorted(fates.items())),
    }


def _promises(
    roles: dict[str, Any], accuracies: dict[str, list[float]], honest: Sequence[Statement]
) -> dict[str, bool]:
    share = roles["honest"]["net"] * NET_SHARE_MAX
    promises = {f"{name} ends poorer than it began": roles[name]["net"] < 0 for name in LOSERS if name in roles}
    for name in roles:
        if name not in ("honest", *LOSERS):
            promises[f"{name} nets at most a third of an honest miner"] = roles[name]["net"] <= share
    promises["no honest miner is penalised"] = not any(statement.cut for statement in honest)
    alone, beside = (statistics.fmean(accuracies[name]) for name in ("alone", "beside"))
    promises["accuracy within 2 points of the same seeds without them"] = alone - beside <= ACCURACY_LOSS_MAX
    promises["honest miners alone reach 90 %"] = alone >= ACCURACY_MIN
    return promises


def summarise_disguises(played: dict[str, Sequence[Outcome]]) -> dict[str, Any]:
    """What the third miner's accounts earned together in coins a game, and relative to the honest one's mean."""
    others = len(HONEST) - 1
    nets = {
        name: [sum(statement.net for statement in outcome.statements[others:]) / COIN for outcome in outcomes]
        for name, outcomes in played.items()
    }
    honest = statistics.fmean(nets["honest"])
    found: dict[str, Any] = {}
    for name, values in nets.items():
        differences = [value - whole for value, whole in zip(values, nets["honest"], strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
        found[name] = {
            "net": statistics.fmean(values),
            "nets": [round(value, 6) for value in values],
            "relative": statistics.fmean(values) / honest,
            "relative_error": error / honest,
        }
    bounds = {"doubled": DOUBLED_GAIN_MAX, "clones": SPLIT_GAIN_MAX, "slices": SPLIT_GAIN_MAX}
    found["promises"] = {
        f"{name} earn at most {bound:g} of the honest": found[name]["relative"] <= bound
        for name, bound in bounds.items()
    }
    return found


# ---------------------------------------------------------------------------------------------------------- tables


def table(summary: dict[str, Any]) -> str:
    columns = ("reward", "charge", "cut", "fee", "gas", "net")
    honest = summary["roles"]["honest"]["net"]
    lines = [
        f"{'coins a game':<15}" + "".join(f"{name:>9}" for name in columns) + "      +-  of honest  lowest  highest"
    ]
    for name, row in summary["roles"].items():
        amounts = "".join(f"{row[column]:>9.3f}" for column in columns)
        spread = f"{row['net_deviation']:>8.2f}{row['net'] / honest:>11.2f}"
        ends = f"{min(row['nets']):>8.2f}{max(row['nets']):>9.2f}"
        fates = ", ".join(f"{fate.lower()} {count}" for fate, count in row["fates"].items())
        lines.append(f"{name:<15}{amounts}{spread}{ends}  {fates}")
    alone, beside = (statistics.fmean(summary["accuracies"][name]) for name in ("alone", "beside"))
    lines.append(f"accuracy on samples that nobody saw: {alone:.4f} without the hostile, {beside:.4f} with them")
    return "\n".join([*lines, *_kept(summary["promises"])])


def disguises_table(found: dict[str, Any]) -> str:
    lines = [f"{'third miner':<15}{'net':>9}{'relative':>11}{'+-':>7}"]
    for name, row in found.items():
        if name != "promises":
            lines.append(f"{name:<15}{row['net']:>9.3f}{row['relative']:>11.3f}{row['relative_error']:>7.3f}")
    return "\n".join([*lines, *_kept(found["promises"])])


def _kept(promises: dict[str, bool]) -> list[str]:
    return [f"  {'yes' if held else 'NO '}  {promise}" for promise, held in promises.items()]


# ---------------------------------------------------------------------------------------------------- command line


def main(argv: list[str]) -> int:
    options = _options(argv)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    games = {"alone": HONEST, "beside": seats_beside(options.hostile)}
    if options.disguises:
        games |= {f"disguise {name}": seats for name, seats in disguised_seats().items()}
    settings = [_setting(options, seed, seats) for seats in games.values() for seed in seeds]
    outcomes = _play_all(settings, options.jobs)
    played = {name: outcomes[i * len(seeds) : (i + 1) * len(seeds)] for i, name in enumerate(games)}
    report = _about(options, settings[0], seeds) | summarise(played["alone"], played["beside"])
    print(f"{len(seeds)} seeds, {options.rounds} rounds, {options.custodians} x {settings[0].samples} held-out samples")
    print(table(report))
    if options.disguises:
        report["disguises"] = summarise_disguises({name: played[f"disguise {name}"] for name in disguised_seats()})
        print(disguises_table(report["disguises"]))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _play_all(settings: Sequence[Setting], jobs: int) -> list[Outcome]:
    if jobs == 1:
        return [play(setting) for setting in settings]
    # Started anew instead of forked, as torch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(play, settings))


def _about(options: argparse.Namespace, setting: Setting, seeds: range) -> dict[str, Any]:
    """What was played, so that it can be played again."""
    return {
        "seeds": list(seeds),
        "rounds": setting.rounds,
        "custodians": setting.custodians,
        "samples": setting.samples,
        "hostile": list(options.hostile),
        "parameters": {name: str(getattr(setting.table, name)) for name in SETTINGS_SHOWN},
        "overrides": dict(setting.parameters),
    }


def _setting(options: argparse.Namespace, seed: int, seats: tuple[Seat, ...]) -> Setting:
    return Setting(
        seed=seed,
        seats=seats,
        rounds=options.rounds,
        custodians=options.custodians,
        samples=options.samples,
        parameters=dict(options.set),
    )


def _override(text: str) -> tuple[str, int]:
    name, mark, value = text.partition("=")
    if name not in PARAMETER_NAMES or not mark or not value.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=VALUE with a name of chain/parameters.py")
    return name, int(value)


def _options(argv: list[str]) -> argparse.Namespace:
    played = Setting(seed=0, seats=HONEST)
    parser = argparse.ArgumentParser(prog="python -m benchmarks chain-attacks", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=played.rounds)
    parser.add_argument("--custodians", type=int, default=played.custodians)
    parser.add_argument("--samples", type=int, default=played.samples, help="held-out samples a round in all")
    parser.add_argument("--hostile", nargs="*", default=list(HOSTILE))
    parser.add_argument("--set", nargs="*", type=_override, default=[], help="NAME=VALUE of chain/parameters.py")
    parser.add_argument("--disguises", action="store_true", help="also what doubling and splitting gain")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="games played at a time")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
