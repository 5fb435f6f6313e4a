"""Home of the question what hostile miners earn: the table over seeds, and whether the rules' promises hold."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.game import HONEST, Outcome, Setting, play
from benchmarks.strategies import HOSTILE
from chain.parameters import Parameters
from chain.types import COIN

LOSERS = ("noise", "exact copier", "lottery")  # must end poorer than they began
NET_SHARE_MAX = 1 / 3  # of the honest mean, for every other hostile one
ACCURACY_LOSS_MAX = 0.02
HONEST_ACCURACY_MIN = 0.9


def main(argv: list[str]) -> int:
    options = _options(argv)
    settings = [_setting(options, seed) for seed in range(options.first_seed, options.first_seed + options.seeds)]
    alone = [play(setting, ()) for setting in settings]
    beside = [play(setting, tuple(options.hostile)) for setting in settings]
    summary = summarise(alone, beside)
    print(_table(summary, settings[0], len(settings)))
    if options.json:
        plays = {"alone": [vars_of(outcome) for outcome in alone], "beside": [vars_of(outcome) for outcome in beside]}
        options.json.write_text(json.dumps({"summary": summary, **plays}, indent=1) + "\n")
    return 0


def summarise(alone: Sequence[Outcome], beside: Sequence[Outcome]) -> dict[str, Any]:
    """Means over seeds, in coins, and each promise with whether it held."""
    roles: dict[str, dict[str, Any]] = {}
    for strategy in dict.fromkeys(account.strategy for account in beside[0].accounts):
        chosen = [account for outcome in beside for account in outcome.accounts if account.strategy == strategy]
        nets = [account.net / COIN for account in chosen]
        roles[strategy] = {
            "reward": _mean(account.reward for account in chosen),
            "charge": _mean(account.charge for account in chosen),
            "cut": _mean(account.cut for account in chosen),
            "fee_and_gas": _mean(account.fee + account.gas for account in chosen),
            "net": statistics.fmean(nets),
            "net_lowest": min(nets),
            "net_highest": max(nets),
            "fates": _added([account.fates for account in chosen]),
        }
    honest_net = roles["honest"]["net"]
    accuracy_alone = statistics.fmean(outcome.accuracies[-1] for outcome in alone)
    accuracy_beside = statistics.fmean(outcome.accuracies[-1] for outcome in beside)
    others = [role for role in roles if role not in ("honest", *LOSERS)]
    honest = [a for outcome in (*alone, *beside) for a in outcome.accounts if a.strategy == "honest"]
    promises = {f"{role} ends poorer": roles[role]["net"] < 0 for role in LOSERS if role in roles}
    promises |= {f"{role} nets at most a third": roles[role]["net"] <= honest_net * NET_SHARE_MAX for role in others}
    promises["no honest miner is penalised"] = not any(account.cut for account in honest)
    promises["accuracy within 2 points"] = accuracy_alone - accuracy_beside <= ACCURACY_LOSS_MAX
    promises["honest alone reach 90 %"] = accuracy_alone >= HONEST_ACCURACY_MIN
    return {
        "roles": roles,
        "accuracy_alone": accuracy_alone,
        "accuracy_beside": accuracy_beside,
        "accepted_alone": statistics.fmean(outcome.accepted for outcome in alone),
        "accepted_beside": statistics.fmean(outcome.accepted for outcome in beside),
        "honest_lowest_to_mean": statistics.fmean(_lowest_to_mean(outcome) for outcome in beside),
        "promises": promises,
    }


def vars_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON holds it, amounts in coins."""
    accounts = [
        {
            "strategy": account.strategy,
            "reward": account.reward / COIN,
            "charge": account.charge / COIN,
            "cut": account.cut / COIN,
            "fee": account.fee / COIN,
            "gas": account.gas / COIN,
            "net": account.net / COIN,
            "fates": account.fates,
        }
        for account in outcome.accounts
    ]
    return {"accuracies": outcome.accuracies, "accepted": outcome.accepted, "accounts": accounts}


def _table(summary: dict[str, Any], setting: Setting, seeds: int) -> str:
    lines = [
        f"{seeds} seeds, {setting.rounds} rounds, {setting.custodians} x {setting.rules.shard_samples} held-out "
        f"samples a round, bond {setting.bond / COIN:g}, fee {setting.fee / COIN:g}, "
        f"charge {setting.rules.charge_milli} milli",
        f"{'coins a game':<18}"
        + "".join(f"{name:>9}" for name in ("reward", "charge", "cut", "fee+gas"))
        + "".join(f"{name:>9}" for name in ("net", "lowest", "highest")),
    ]
    for role, row in summary["roles"].items():
        amounts = [row[name] for name in ("net", "net_lowest", "net_highest")]
        lines.append(
            f"{role:<18}{row['reward']:>9.3f}{row['charge']:>9.3f}{row['cut']:>9.3f}{row['fee_and_gas']:>9.3f}"
            + "".join(f"{amount:>9.3f}" for amount in amounts)
            + "  "
            + ", ".join(f"{name} {count}" for name, count in sorted(row["fates"].items()))
        )
    lines.append(
        f"accuracy {summary['accuracy_alone']:.4f} without the hostile, {summary['accuracy_beside']:.4f} with them; "
        f"accepted rounds {summary['accepted_alone']:.1f} and {summary['accepted_beside']:.1f}; "
        f"lowest honest net {summary['honest_lowest_to_mean']:.2f} of the mean"
    )
    lines += [f"  {'yes' if held else 'NO '}  {promise}" for promise, held in summary["promises"].items()]
    return "\n".join(lines)


def _mean(amounts: Any) -> float:
    return statistics.fmean(amounts) / COIN


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    names = sorted({name for count in counts for name in count})
    return {name: sum(count.get(name, 0) for count in counts) for name in names}


def _lowest_to_mean(outcome: Outcome) -> float:
    nets = [account.net for account in outcome.accounts[:HONEST]]
    return min(nets) / max(1.0, statistics.fmean(nets))


def _setting(options: argparse.Namespace, seed: int) -> Setting:
    return Setting(
        seed=seed,
        rounds=options.rounds,
        custodians=options.custodians,
        samples=options.samples,
        parameters=replace(Parameters(), charge_milli=options.charge_milli),
        bond=round(options.bond * COIN),
        fee=round(options.fee * COIN),
    )


def _options(argv: list[str]) -> argparse.Namespace:
    defaults = Parameters()
    parser = argparse.ArgumentParser(prog="python -m benchmarks attacks", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--custodians", type=int, default=1)
    parser.add_argument("--samples", type=int, default=27, help="held-out samples a round in all")
    parser.add_argument("--bond", type=float, default=defaults.bond_minimum / COIN, help="coins each update bonds")
    parser.add_argument("--fee", type=float, default=defaults.evaluation_fee_minimum / COIN, help="coins a commit")
    parser.add_argument("--charge-milli", type=int, default=defaults.charge_milli, help="thousandths of the pay")
    parser.add_argument("--hostile", nargs="*", default=list(HOSTILE))
    parser.add_argument("--json", type=Path, help="write every account of every game there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
