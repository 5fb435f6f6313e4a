"""Home of the numbers by which a task judges and pays its rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from learning.architecture import Architecture

AMOUNT_MAX = 2**128 - 1
_BOUNDS = {  # lowest and highest value of each number
    "price": (0, AMOUNT_MAX),
    "cap": (0, AMOUNT_MAX),
    "loss_floor": (1, 2**25),
    "significance_milli": (0, 1_000_000),
    "charge_milli": (0, 1_000_000),
    "custodian_share_milli": (0, 1_000_000),
    "bond_minimum": (1, AMOUNT_MAX),
    "minimum_openings": (1, 64),
    "shard_samples": (1, 4_096),
    "harm_sigma": (0, 1_000_000),
    "harm_rounds": (1, 1_000_000),
    "malformed_cut_milli": (0, 1_000),
    "harm_cut_milli": (0, 1_000),
}


class InvalidRules(ValueError):
    """A mapping from outside that lacks a number of the rules, or has one that is out of its bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers of one task. Amounts are in 10^-18 coin, losses in 2^-20 nat, milli in thousandths."""

    price: int  # for removing the whole loss, were it that of the head
    cap: int  # the most that a round pays to miners
    loss_floor: int  # a loss below it counts as this, so that pay stays finite
    significance_milli: int  # standard errors by which a round must improve
    charge_milli: int  # share of the pay that is charged, over all updates by weight
    custodian_share_milli: int  # of the pay, on top of it, to the custodians that opened
    bond_minimum: int
    minimum_openings: int  # shards below which a round is void
    shard_samples: int
    harm_sigma: int  # standard errors of harm that count a round as harmful
    harm_rounds: int  # harmful rounds running that cost bond
    malformed_cut_milli: int  # of the bond
    harm_cut_milli: int  # of the bond
    architecture: Architecture

    @classmethod
    def from_mapping(cls, numbers: Mapping[str, object], architecture: Architecture) -> Rules:
        """Rules from a mapping that has (among others) every number; raises InvalidRules naming the first bad one."""
        chosen = {name: _bounded(name, numbers.get(name)) for name in _BOUNDS}
        return cls(**chosen, architecture=architecture)

    def __post_init__(self) -> None:
        assert all(field.name in _BOUNDS or field.name == "architecture" for field in fields(self))
        for name in _BOUNDS:
            _bounded(name, getattr(self, name))


def _bounded(name: str, value: object) -> int:
    low, high = _BOUNDS[name]
    if type(value) is not int or not low <= value <= high:
        raise InvalidRules(f"{name} is {value!r}: give an integer from {low} to {high}")
    return value
