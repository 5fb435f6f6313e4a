"""Home of options that several commands have: data directories, node addresses, keys and their passwords."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from pathlib import Path

import orjson

from chain.cli.log_limit import LineLimit
from chain.errors import LyceumError
from chain.keys import load_key

DATA_DIR = Path("lyceum-data")
RPC_URL = "http://127.0.0.1:8545"


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, default=DATA_DIR, metavar="DIR", help=f"where the node keeps everything ({DATA_DIR})"
    )


def add_rpc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rpc", default=RPC_URL, metavar="URL", help=f"a node's RPC ({RPC_URL})")


def add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", type=Path, required=True, metavar="KEYSTORE", help="keystore V3 file, or a file with a hex key"
    )
    add_password(parser)


def add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="the keystore's password; else LYCEUM_PASSWORD, else asked"
    )


def read_password(arguments: argparse.Namespace, prompt: str = "Password: ", *, confirm: bool = False) -> str | None:
    """The password from --password-file, LYCEUM_PASSWORD or the terminal; None where there is none of them."""
    if arguments.password_file:
        try:
            return str(arguments.password_file.read_text().rstrip("\n"))
        except OSError as error:
            raise LyceumError(f"can't read the password file {arguments.password_file}: {error.strerror}") from error
    if "LYCEUM_PASSWORD" in os.environ:
        return os.environ["LYCEUM_PASSWORD"]
    if not sys.stdin.isatty():
        return None
    password = getpass.getpass(prompt)
    if confirm and getpass.getpass("Again: ") != password:
        raise LyceumError("the two passwords differ; nothing was written")
    return password


def read_key(arguments: argparse.Namespace, path: Path) -> bytes:
    """The private key in a file; a plain key file needs no password, and nobody is asked for one."""
    try:
        locked = path.read_bytes()[:1] == b"{"
    except OSError as error:
        raise LyceumError(f"can't read the key file {path}: {error.strerror}") from error
    return load_key(path, read_password(arguments, f"Password of {path}: ") if locked else None)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


def set_up_logging(form: str = "text", level: int = logging.INFO, path: Path | None = None) -> None:
    """Log to standard output, or to a file; there, a full disk costs log lines and nothing else."""
    logging.raiseExceptions = path is None
    handler: logging.Handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stdout)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonLines() if form == "json" else text)
    if level >= logging.INFO:  # who asks for more wants it all
        handler.addFilter(LineLimit("lyceum.network"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("numba").setLevel(logging.WARNING)
