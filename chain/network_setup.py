"""Home of making a network: tasks on data sets, their sealed held-out shards, and the genesis file that names them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chain.errors import InvalidInput
from chain.keys import write_private
from chain.operations.tasks import GenesisCustodian, GenesisTask, canonical_json, task_id
from learning.architecture import Architecture
from learning.commitment import blob_root
from learning.datasets import BUILT_IN, Dataset, InvalidData, Schema, built_in_schema, load, schema_of_csv, shuffled
from learning.shards import Shard, prepare_shards

HIDDEN = {"digits": 32, "breast-cancer": 16, "wine": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One task to be opened: what is taught, on what, from which height."""

    name: str
    schema: Schema
    layers: tuple[int, ...]
    input_exponent: int
    held_out: Dataset
    shard_samples: int
    rounds: int
    start: int
    training: Dataset | None = None  # what a file leaves for training; built-in sets know their own parts

    def spec(self, settings: Mapping[str, Any], shard_samples: int) -> bytes:
        """Canonical JSON of the task's specification."""
        architecture = Architecture(layers=self.layers, input_exponent=self.input_exponent)
        return canonical_json(
            {
                "architecture": json.loads(architecture.to_json()),
                "description": f"{self.name}: {len(self.schema.columns)} inputs, {len(self.schema.labels)} classes",
                "initial_seed": "0x" + blob_root(self.name.encode()).hex(),
                "name": self.name,
                "native": True,
                "power_weight_milli": 1000,
                "rounds": self.rounds,
                "schema": self.schema.to_json(),
                "settings": dict(settings),
                "shard_samples": shard_samples,
                "start": self.start,
            }
        )


def built_in_course(name: str, start: int) -> Course:
    cut = BUILT_IN[name]
    schema = built_in_schema(name)
    return Course(
        name=name,
        schema=schema,
        layers=(len(schema.columns), HIDDEN[name], len(schema.labels)),
        input_exponent=4 if cut.byte_scale else 8,
        held_out=load(f"{name}@heldout"),
        shard_samples=cut.shard_samples,
        rounds=cut.rounds,
        start=start,
    )


def csv_course(source: str, start: int, rounds: int = 30) -> Course:
    """A task on a CSV file: four tenths of its rows are held out, in up to `rounds` shards of at least 4 samples."""
    schema = schema_of_csv(source)
    data = load(f"csv:{source}", schema)
    order, cut = shuffled(len(data), "csv"), len(data) * 4 // 10
    held_out = data.take(order[:cut])
    rounds = min(rounds, len(held_out) // 4)
    if rounds < 1:
        raise InvalidData(f"{source} has {len(data)} rows; at least 10 are needed for a task")
    return Course(
        name=Path(source.partition(",label=")[0]).stem[:64],
        schema=schema,
        layers=(len(schema.columns), 32, len(schema.labels)),
        input_exponent=8,
        held_out=held_out,
        shard_samples=len(held_out) // rounds,
        rounds=rounds,
        start=start,
        training=data.take(order[cut:]),
    )


def courses(names: Sequence[str], cycle_blocks: int) -> list[Course]:
    """The tasks of a new network, one after the other: each starts when the one before has had all its rounds."""
    made: list[Course] = []
    start = 1
    for name in names:
        if name in BUILT_IN:
            made.append(built_in_course(name, start))
        elif Path(name.partition(",label=")[0]).exists():
            made.append(csv_course(name, start))
        else:
            raise InvalidInput(f"there is no task {name!r}: use one of {', '.join(BUILT_IN)}, or a CSV file's path")
        start += made[-1].rounds * cycle_blocks
    return made


def shards_of(course: Course, part: int, parts: int) -> list[Shard]:
    """The shards of one of several custodians: each round's samples are divided between them."""
    size = course.shard_samples // parts
    starts = [i * course.shard_samples + part * size for i in range(course.rounds)]
    return [
        Shard(
            inputs=np.ascontiguousarray(course.held_out.inputs[start : start + size]),
            labels=np.ascontiguousarray(course.held_out.labels[start : start + size]),
        )
        for start in starts
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedTask:
    """A task as it goes into genesis, and the blobs that every node must hold for it."""

    task: GenesisTask
    id: bytes
    blobs: tuple[bytes, ...]  # manifests and sealed shards


def open_task(
    course: Course,
    *,
    ordinal: int,
    chain_id: int,
    custodians: Sequence[tuple[bytes, Path]],
    bond: int,
    settings: Mapping[str, Any],
) -> OpenedTask:
    """Seal the held-out shards for every custodian (address, directory): they share the samples between them.

    The seed of each custodian's keys is written to `DIRECTORY/TASK.json`; nobody else ever has it.
    """
    if len(custodians) > course.shard_samples:
        raise InvalidInput(f"{course.name} has {course.shard_samples} samples a round for {len(custodians)} custodians")
    spec = course.spec(settings, course.shard_samples // len(custodians))
    task = task_id(chain_id, ordinal, spec)
    blobs: list[bytes] = []
    members: list[GenesisCustodian] = []
    for part, (address, directory) in enumerate(custodians):
        shards = shards_of(course, part, len(custodians))
        seed = secrets.token_bytes(32)
        prepared = prepare_shards(shards, seed=seed, task=task, custodian=address)
        secret = {"task": "0x" + task.hex(), "name": course.name, "seed": seed.hex(), "shards": len(shards)}
        write_private(directory / f"{task.hex()}.json", json.dumps(secret, indent=1).encode() + b"\n")
        blobs += [prepared.manifest, *prepared.sealed]
        members.append(
            GenesisCustodian(
                address=address,
                shards_root=prepared.root,
                key_anchor=prepared.anchor,
                shards=len(shards),
                bond=bond,
            )
        )
    members.sort(key=lambda member: member.address)
    return OpenedTask(task=GenesisTask(spec=spec, custodians=tuple(members)), id=task, blobs=tuple(blobs))
