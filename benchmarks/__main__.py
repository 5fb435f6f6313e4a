"""`python -m benchmarks NAME [OPTIONS]`: one benchmark; without a name, every one with its defaults."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "transfers": "included transfers per second, and CPU time a transfer",
    "consensus": "what networks of validators carry: transfers a second, time to finality, cost of each",
    "simulated": "what consensus costs the network for 4 to 200 validators, in virtual time",
    "hostile-peers": "what an honest network keeps of its throughput while somebody attacks it",
    "sync": "how fast a newcomer catches up: every block executed and judged again, or by snapshot",
    "evaluation": "exact evaluation beside torch fp32, and coalitions a second",
    "attacks": "what hostile miners earn beside honest ones, without a chain",
    "chain-attacks": "the same through the whole protocol, and what splitting a bond or doubling an update gains",
}


def main(argv: list[str]) -> int:
    if argv[:1] and argv[0] in ("-h", "--help"):
        print("usage: python -m benchmarks [NAME [OPTIONS]]\n")
        print("\n".join(f"  {name:<15}{sentence}" for name, sentence in BENCHMARKS.items()))
        return 0
    if argv and argv[0] not in BENCHMARKS:
        print(f"there is no benchmark {argv[0]!r}; one of: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    names = argv[:1] or list(BENCHMARKS)
    for name in names:
        print(f"== {name}: {BENCHMARKS[name]}", flush=True)
        status = importlib.import_module("benchmarks." + name.replace("-", "_")).main(argv[1:])
        if status:
            return int(status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
