"""Home of data sources: built-in sets and files, turned into bytes and labels; shares and parts that never overlap."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_MAX = 10_000_000
CLASSES_MAX = 4096


class InvalidData(ValueError):
    """A data source that can't be read or does not fit; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The range of one input that bytes 0 to 255 stand for."""

    name: str
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """How rows of numbers become bytes, and labels class numbers; a task publishes it so that all sides agree."""

    columns: tuple[Column, ...]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        columns = [[c.name, repr(c.minimum), repr(c.maximum)] for c in self.columns]
        return {"columns": columns, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Schema:
        columns = tuple(
            Column(name=name, minimum=float(low), maximum=float(high)) for name, low, high in value["columns"]
        )
        return cls(columns=columns, labels=tuple(value["labels"]))

    def encode_inputs(self, rows: NDArray[np.float64]) -> NDArray[np.uint8]:
        """float[n, width] -> uint8[n, width]: a column's minimum becomes 0, its maximum 255, beyond is cut off."""
        if rows.shape[1] != len(self.columns):
            raise InvalidData(f"rows have {rows.shape[1]} inputs, the task's schema has {len(self.columns)}")
        low = np.array([c.minimum for c in self.columns])
        span = np.maximum(np.array([c.maximum for c in self.columns]) - low, 1e-300)
        encoded: NDArray[np.uint8] = np.floor(np.clip((rows - low) / span, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        return encoded

    def encode_labels(self, labels: Sequence[str]) -> NDArray[np.int64]:
        numbers = {label: number for number, label in enumerate(self.labels)}
        unknown = sorted({label for label in labels if label not in numbers})
        if unknown:
            raise InvalidData(f"label {unknown[0]!r} is none of the task's: {', '.join(self.labels)}")
        return np.array([numbers[label] for label in labels], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples as consensus sees them."""

    inputs: NDArray[np.uint8]  # [n, width]
    labels: NDArray[np.int64]  # [n]
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64] | slice) -> Dataset:
        return Dataset(inputs=self.inputs[indices], labels=self.labels[indices], classes=self.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """A data set that comes with scikit-learn, and how it is cut: never seen, held out by a custodian, for training."""

    loader: str
    test_samples: int
    rounds: int
    shard_samples: int
    byte_scale: bool = False  # inputs are small integers already

    @property
    def held_out_samples(self) -> int:
        return self.rounds * self.shard_samples


BUILT_IN: dict[str, BuiltIn] = {
    "digits": BuiltIn(loader="load_digits", test_samples=200, rounds=30, shard_samples=27, byte_scale=True),
    "breast-cancer": BuiltIn(loader="load_breast_cancer", test_samples=100, rounds=30, shard_samples=9),
    "wine": BuiltIn(loader="load_wine", test_samples=38, rounds=30, shard_samples=3),
}
PARTS = ("train", "heldout", "test")


def load(spec: str, schema: Schema | None = None) -> Dataset:
    """The samples that a SPEC names: `NAME[@train|@heldout|@test]`, `csv:PATH[,label=NAME]`, `idx:DIR`, `npz:PATH`.

    A trailing `#i/n` takes the i-th (from 1) of n non-IID shares. `schema` is the task's, for files of numbers;
    without it a file's own ranges are used. Raises InvalidData.
    """
    source, share = _split_share(spec)
    kind, separator, rest = source.partition(":")
    if not separator:
        data = _load_built_in(source)
    elif kind == "csv":
        data = _load_csv(rest, schema)
    elif kind == "idx":
        data = _load_idx(Path(rest))
    elif kind == "npz":
        data = _load_npz(Path(rest))
    else:
        raise InvalidData(
            f"unknown data source {spec!r}: use one of {', '.join(BUILT_IN)}, csv:PATH, idx:DIR or npz:PATH"
        )
    return data if share is None else non_iid_share(data, *share)


def _split_share(spec: str) -> tuple[str, tuple[int, int] | None]:
    source, mark, share = spec.partition("#")
    if not mark:
        return source, None
    first, _, count = share.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count) <= 4096):
        raise InvalidData(f"share #{share} of {source!r}: write #i/n with 1 <= i <= n, as in {source}#1/3")
    return source, (int(first), int(count))


def shuffled(count: int, name: str) -> NDArray[np.int64]:
    """A permutation of 0..count-1 that depends on `name` alone, on every machine and for ever."""
    keys = [hashlib.sha256(f"{name}/{index}".encode()).digest() for index in range(count)]
    return np.array(sorted(range(count), key=keys.__getitem__), np.int64)


def non_iid_share(data: Dataset, number: int, count: int, concentration: float = 0.5) -> Dataset:
    """The `number`-th (from 1) of `count` disjoint shares, each class divided by a Dirichlet draw (Hsu et al. 2019)."""
    generator = np.random.Generator(np.random.PCG64(count))
    picked: list[NDArray[np.int64]] = []
    for label in range(data.classes):
        indices = np.flatnonzero(data.labels == label)
        cuts = (np.cumsum(generator.dirichlet([concentration] * count)) * len(indices)).astype(int)
        picked.append(np.split(indices, cuts[:-1])[number - 1])
    chosen = np.sort(np.concatenate(picked))
    if not len(chosen):
        raise InvalidData(f"share {number} of {count} is empty: {len(data)} samples are too few for so many shares")
    return data.take(chosen)


# --------------------------------------------------------------------------------------------------------- built in


def _raw_built_in(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str], list[str]]:
    from sklearn import datasets

    bunch = getattr(datasets, BUILT_IN[name].loader)()
    return bunch.data, bunch.target.astype(np.int64), list(bunch.feature_names), [str(n) for n in bunch.target_names]


def built_in_schema(name: str) -> Schema:
    """The ranges of a built-in set. Small integers stay what they are: 255 stands for 255."""
    rows, _, features, labels = _raw_built_in(name)
    exact = BUILT_IN[name].byte_scale
    columns = tuple(
        Column(
            name=feature,
            minimum=0.0 if exact else float(rows[:, i].min()),
            maximum=255.0 if exact else float(rows[:, i].max()),
        )
        for i, feature in enumerate(features)
    )
    return Schema(columns=columns, labels=tuple(labels))


def _load_built_in(source: str) -> Dataset:
    name, _, part = source.partition("@")
    part = part or "train"
    if name not in BUILT_IN or part not in PARTS:
        raise InvalidData(
            f"unknown data source {source!r}: use one of {', '.join(BUILT_IN)}, with @{', @'.join(PARTS)} behind it, "
            "or csv:PATH, idx:DIR, npz:PATH"
        )
    rows, labels, _, names = _raw_built_in(name)
    cut = BUILT_IN[name]
    order = shuffled(len(labels), name)
    bounds = {
        "test": (0, cut.test_samples),
        "heldout": (cut.test_samples, cut.test_samples + cut.held_out_samples),
        "train": (cut.test_samples + cut.held_out_samples, len(labels)),
    }[part]
    inputs = built_in_schema(name).encode_inputs(rows)
    return Dataset(inputs=inputs, labels=labels, classes=len(names)).take(order[bounds[0] : bounds[1]])


# ------------------------------------------------------------------------------------------------------------ files


def read_csv(source: str) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Rows, labels and column names of `PATH[,label=NAME]`; a first row that is no number is taken for the header."""
    path, mark, label = source.partition(",label=")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidData(f"can't read {path}: {error}") from error
    if not table or len(table) > ROWS_MAX:
        raise InvalidData(f"{path} has {len(table)} rows; 1 to {ROWS_MAX} are needed")
    width = len(table[0])
    header = table.pop(0) if not all(_is_number(cell) for cell in table[0][:-1]) else [f"x{i}" for i in range(width)]
    if mark and label not in header:
        raise InvalidData(f"{path} has no column {label!r}; its columns are {', '.join(header)}")
    place = header.index(label) if mark else width - 1
    for number, row in enumerate(table, start=1):
        if len(row) != width or not all(_is_number(cell) for i, cell in enumerate(row) if i != place):
            raise InvalidData(f"{path}, row {number}: {width} cells are needed, all but the label numbers: {row}")
    rows = np.array([[float(cell) for i, cell in enumerate(row) if i != place] for row in table], np.float64)
    return rows, [row[place].strip() for row in table], [name for i, name in enumerate(header) if i != place]


def schema_of_csv(source: str) -> Schema:
    """The ranges and labels of a CSV file, for the task that is opened on it."""
    rows, labels, names = read_csv(source)
    classes = sorted(
        set(labels), key=lambda label: (not _is_number(label), float(label) if _is_number(label) else 0, label)
    )
    if not 2 <= len(classes) <= CLASSES_MAX:
        raise InvalidData(f"{source} has {len(classes)} different labels; 2 to {CLASSES_MAX} are needed")
    columns = tuple(
        Column(name=name, minimum=float(rows[:, i].min()), maximum=float(rows[:, i].max()))
        for i, name in enumerate(names)
    )
    return Schema(columns=columns, labels=tuple(classes))


def _load_csv(source: str, schema: Schema | None) -> Dataset:
    rows, labels, _ = read_csv(source)
    schema = schema or schema_of_csv(source)
    return Dataset(inputs=schema.encode_inputs(rows), labels=schema.encode_labels(labels), classes=len(schema.labels))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of the MNIST family's files (IDX, unsigned bytes), gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InvalidData(f"can't read {path}: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise InvalidData(f"{path} is no IDX file of unsigned bytes")
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(content[3])]
    if int(np.prod(shape, dtype=object)) != len(content) - 4 - 4 * content[3]:
        raise InvalidData(f"{path} is cut off: its header speaks of {shape}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def _load_idx(directory: Path) -> Dataset:
    found = {}
    for kind in ("images", "labels"):
        matches = sorted(directory.glob(f"*{kind}*idx*"))
        if not matches:
            raise InvalidData(f"{directory} has no *{kind}*idx* file")
        found[kind] = matches[0]
    images, labels = read_idx(found["images"]), read_idx(found["labels"])
    if len(images) != len(labels) or not len(labels):
        raise InvalidData(f"{directory}: {len(images)} images, {len(labels)} labels")
    return Dataset(
        inputs=images.reshape(len(images), -1).copy(), labels=labels.astype(np.int64), classes=int(labels.max()) + 1
    )


def _load_npz(path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as archive:
            inputs, labels = archive["inputs"], archive["labels"]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidData(f"can't read {path}: it must hold arrays `inputs` and `labels`: {error}") from error
    if inputs.dtype != np.uint8 or len(inputs) != len(labels) or not len(labels):
        raise InvalidData(f"{path}: inputs must be uint8[n, width] and labels n integers")
    return Dataset(
        inputs=inputs.reshape(len(inputs), -1), labels=labels.astype(np.int64), classes=int(labels.max()) + 1
    )
