"""Home of the command line's front door: argv -> one command, one line for every error, exit status 0, 1 or 2."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from chain.errors import LyceumError

# name -> (module in chain.cli, one line of help); modules are imported when their command is asked for
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "run a full node (the default); with no arguments, a private development chain that learns"),
    "init": ("init", "write a genesis file and node keys for a network"),
    "devnet": ("devnet", "run a network of several nodes, custodians and miners on this machine"),
    "wallet": ("wallet", "keys and coins: new, import, list, balance, send, export"),
    "task": ("task", "what is being taught: list, show, lineage"),
    "mine": ("mine", "a miner, as a client of any node"),
    "custody": ("custody", "a custodian of held-out data, as a client of any node"),
    "validator": ("validator", "vote with what was earned: register, unbond, withdraw, status"),
    "model": ("model", "a task's model: pull it, evaluate it"),
    "verify": ("verify", "re-compute a data directory's whole history from genesis"),
}


class UsageError(LyceumError):
    """Arguments that can't be meant; exit status 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def overview() -> str:
    lines = ["usage: python -m chain [COMMAND] [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<11}{sentence}" for name, (_, sentence) in COMMANDS.items()]
    return "\n".join([*lines, "", "python -m chain COMMAND --help tells a command's options.", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 the operation failed, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        print(overview(), end="")
        return 0
    if arguments[:1] == ["--version"]:
        from chain.version import CLIENT_VERSION

        print(CLIENT_VERSION)
        return 0
    name = "run" if not arguments or arguments[0].startswith("-") else arguments.pop(0)
    if name not in COMMANDS:
        print(f"python -m chain: there is no command {name!r}; one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    parser = Parser(prog=f"python -m chain {name}", description=COMMANDS[name][1])
    try:
        module = importlib.import_module(f"chain.cli.{COMMANDS[name][0]}")
        module.configure(parser)
        return int(module.run(parser.parse_args(arguments)))
    except SystemExit as stop:
        return int(stop.code or 0)
    except BrokenPipeError:
        # The reader of our output has gone; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not is_told(error):
            raise
        print(f"{parser.prog}: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine may have been made, and not have been begun yet
        return 128 + signal.SIGINT


def is_told(error: Exception) -> bool:
    """Whether an error's message is meant for a person: the operating system's are, and those of our own classes.

    `learning` and `consensus` know nothing of LyceumError; their classes are known by where they are from. Anything
    else is a mistake of ours, and keeps its traceback.
    """
    return isinstance(error, LyceumError | OSError) or type(error).__module__.startswith(("learning.", "consensus."))


def one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
