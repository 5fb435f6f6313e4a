"""Home of what a task fixes: its specification, the numbers it chooses, and what genesis says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from chain.errors import InvalidInput
from chain.operations.clock import Clock, Phase
from chain.operations.task_settings import AMOUNT_SETTINGS, SETTING_MAXIMA, SETTINGS
from chain.parameters import InvalidParameters, Parameters, parameters_from
from learning.architecture import Architecture, InvalidArchitecture
from learning.encoding import sha256, tag, u32, u64
from learning.rules import InvalidRules, Rules
from learning.sealing import SEAL_OVERHEAD_BYTES
from learning.updates import update_bytes_max

__all__ = [
    "AMOUNT_SETTINGS",
    "SETTINGS",
    "Clock",
    "GenesisCustodian",
    "GenesisTask",
    "GenesisValidator",
    "InvalidTaskSpec",
    "Phase",
    "TaskSpec",
    "canonical_json",
    "parse_spec",
    "task_id",
]

NAME_CHARACTERS_MAX = 64
DESCRIPTION_CHARACTERS_MAX = 1024
HEIGHT_MAX = 2**40
ROUNDS_MAX = 2**20
POWER_WEIGHT_MILLI_MAX = 1_000_000
AMOUNT_DIGITS_MAX = 39

_FIELDS = {
    "name": str,
    "description": str,
    "architecture": dict,
    "initial_seed": str,
    "shard_samples": int,
    "start": int,
    "rounds": int,
    "native": bool,
    "power_weight_milli": int,
    "schema": dict,
    "settings": dict,
}


class InvalidTaskSpec(InvalidInput):
    """A specification that is not canonical JSON of the fields of a task, or with a number out of its bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task's specification. Its canonical JSON is what the task's id commits to."""

    name: str
    description: str
    architecture: Architecture
    initial_seed: bytes  # 32 bytes that every node expands to the same initial weights
    shard_samples: int  # held-out samples of every shard
    start: int  # the height at which cycle 0 begins
    rounds: int  # cycles that take commits
    native: bool  # pays by minting and earns power
    power_weight_milli: int  # thousandths of power for its pay, beside other tasks
    schema: bytes  # canonical JSON: what inputs and labels mean, so that every owner of data encodes alike
    settings: tuple[tuple[str, int], ...]  # numbers of SETTINGS that differ from the network's, by name

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII, amounts as decimal strings."""
        return canonical_json(
            {
                "name": self.name,
                "description": self.description,
                "architecture": json.loads(self.architecture.to_json()),
                "initial_seed": "0x" + self.initial_seed.hex(),
                "shard_samples": self.shard_samples,
                "start": self.start,
                "rounds": self.rounds,
                "native": self.native,
                "power_weight_milli": self.power_weight_milli,
                "schema": json.loads(self.schema),
                "settings": {name: str(value) if name in AMOUNT_SETTINGS else value for name, value in self.settings},
            }
        )

    def numbers(self, parameters: Parameters) -> Parameters:
        """The network's table with the task's settings in it. Raises InvalidTaskSpec where they can't be."""
        return _numbers(self.settings, parameters)

    def rules(self, parameters: Parameters) -> Rules:
        """The numbers by which `learning.settlement` judges this task's rounds."""
        numbers = self.numbers(parameters)
        named = asdict(numbers) | {
            "cap": numbers.round_cap,
            "minimum_openings": numbers.openings_minimum,
            "shard_samples": self.shard_samples,
        }
        return Rules.from_mapping(named, self.architecture)

    def clock(self, parameters: Parameters) -> Clock:
        numbers = self.numbers(parameters)
        return Clock(
            start=self.start,
            cycle=numbers.cycle_blocks,
            reveal=numbers.reveal_blocks,
            open=numbers.open_blocks,
            hold=numbers.hold_blocks,
            rounds=self.rounds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisCustodian:
    """A custodian that genesis gives a task. `bond` is minted in the block 0 and held by the contract."""

    address: bytes
    shards_root: bytes
    key_anchor: bytes
    shards: int
    bond: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisTask:
    """A native task that stands in genesis: the canonical JSON of its specification, and its custodians."""

    spec: bytes
    custodians: tuple[GenesisCustodian, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisValidator:
    """An account that votes from the start. `power` is bootstrap power; `bond` is minted and held by the contract."""

    address: bytes
    power: int
    bond: int


def task_id(chain_id: int, ordinal: int, spec_json: bytes) -> bytes:
    """The id of the `ordinal`-th task (from 0) of a chain."""
    return sha256(tag("task"), u64(chain_id), u32(ordinal), sha256(spec_json))


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, ASCII: one value, one encoding."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


@lru_cache(maxsize=256)
def parse_spec(data: bytes, parameters: Parameters) -> TaskSpec:
    """The task that canonical JSON specifies, checked against the network's numbers. Raises InvalidTaskSpec."""
    fields = _object(data, parameters.task_spec_bytes_max)
    if fields.keys() != _FIELDS.keys():
        odd = sorted(fields.keys() ^ _FIELDS.keys())[0]
        raise InvalidTaskSpec(f"a specification has the fields {', '.join(_FIELDS)}; look at {odd!r}")
    for name, kind in _FIELDS.items():
        if type(fields[name]) is not kind:
            raise InvalidTaskSpec(f"{name} is {fields[name]!r}: it must be of type {kind.__name__}")
    spec = TaskSpec(
        name=_text(fields, "name", NAME_CHARACTERS_MAX),
        description=_text(fields, "description", DESCRIPTION_CHARACTERS_MAX),
        architecture=_architecture(fields["architecture"]),
        initial_seed=_seed(fields["initial_seed"]),
        shard_samples=_integer(fields, "shard_samples", 1, 4096),
        start=_integer(fields, "start", 1, HEIGHT_MAX),
        rounds=_integer(fields, "rounds", 1, ROUNDS_MAX),
        native=fields["native"],
        power_weight_milli=_integer(fields, "power_weight_milli", 0, POWER_WEIGHT_MILLI_MAX),
        schema=_schema(fields["schema"]),
        settings=_settings(fields["settings"]),
    )
    if spec.to_json() != data:
        raise InvalidTaskSpec("the specification is not canonical JSON: sort keys, leave out spaces, use ASCII")
    _check_sizes(spec, parameters)
    return spec


def _object(data: bytes, bytes_max: int) -> dict[str, Any]:
    if len(data) > bytes_max:
        raise InvalidTaskSpec(f"a specification of {len(data)} bytes: at most {bytes_max} are allowed")
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidTaskSpec(f"the specification is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidTaskSpec("a specification is a JSON object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _text(fields: Mapping[str, Any], name: str, characters_max: int) -> str:
    text: str = fields[name]
    if not text or len(text) > characters_max or not text.isprintable():
        raise InvalidTaskSpec(f"{name} must be 1 to {characters_max} printable characters, not {text!r}")
    return text


def _integer(fields: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value: int = fields[name]
    if not low <= value <= high:
        raise InvalidTaskSpec(f"{name} is {value}: give an integer from {low} to {high}")
    return value


def _seed(text: str) -> bytes:
    if not re.fullmatch("0x[0-9a-f]{64}", text):
        raise InvalidTaskSpec(f"initial_seed is {text!r}: give 32 bytes as 0x and 64 lower-case digits")
    return bytes.fromhex(text[2:])


def _architecture(value: dict[str, Any]) -> Architecture:
    try:
        return Architecture.from_json(canonical_json(value))
    except InvalidArchitecture as error:
        raise InvalidTaskSpec(f"architecture: {error}") from error


def _schema(value: dict[str, Any]) -> bytes:
    """`{"columns": [[name, minimum, maximum], ...], "labels": [name, ...]}`, of strings: no float is consensus data."""
    columns, labels = value.get("columns"), value.get("labels")
    rows = columns if isinstance(columns, list) else [None]
    good = value.keys() == {"columns", "labels"} and isinstance(labels, list) and all(type(x) is str for x in labels)
    if not good or not all(type(row) is list and len(row) == 3 and all(type(x) is str for x in row) for row in rows):
        raise InvalidTaskSpec(
            'schema must be {"columns": [[name, minimum, maximum], ...], "labels": [...]}, of strings'
        )
    return canonical_json(value)


def _settings(value: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((name, _setting(name, value[name])) for name in sorted(value))


def _setting(name: str, value: Any) -> int:
    if name not in SETTINGS:
        raise InvalidTaskSpec(f"settings.{name} is not a number that a task may choose: {', '.join(SETTINGS)}")
    if name in AMOUNT_SETTINGS:
        if not isinstance(value, str) or not re.fullmatch(f"[0-9]{{1,{AMOUNT_DIGITS_MAX}}}", value):
            raise InvalidTaskSpec(f"settings.{name} is {value!r}: give an amount in decimal digits, in quotes")
        return int(value)
    if type(value) is not int or value > SETTING_MAXIMA.get(name, value):
        limit = f" up to {SETTING_MAXIMA[name]}" if name in SETTING_MAXIMA else ""
        raise InvalidTaskSpec(f"settings.{name} is {value!r}: give an integer{limit}")
    return value


@lru_cache(maxsize=256)
def _numbers(settings: tuple[tuple[str, int], ...], parameters: Parameters) -> Parameters:
    try:
        return parameters_from(asdict(parameters) | dict(settings))
    except InvalidParameters as error:
        raise InvalidTaskSpec(f"settings: {error}") from error


def _check_sizes(spec: TaskSpec, parameters: Parameters) -> None:
    """What the fields must satisfy together."""
    schema = json.loads(spec.schema)
    described = len(schema["columns"]), len(schema["labels"])
    if described != (spec.architecture.input_width, spec.architecture.classes):
        raise InvalidTaskSpec(
            f"the schema describes {described[0]} inputs and {described[1]} classes, the architecture has "
            f"{spec.architecture.input_width} and {spec.architecture.classes}"
        )
    try:
        spec.rules(parameters)
    except InvalidRules as error:
        raise InvalidTaskSpec(f"settings: {error}") from error
    needed = update_bytes_max(spec.architecture.parameters) + SEAL_OVERHEAD_BYTES
    allowed = spec.numbers(parameters).update_bytes_max
    if needed > allowed:
        raise InvalidTaskSpec(f"an update takes {needed} bytes, update_bytes_max is {allowed}: raise it in settings")
