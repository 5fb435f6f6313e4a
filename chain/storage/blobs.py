"""Home of the blob store: files named by the root of their content, pinned ones and uploads that expire."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chain.errors import InvalidInput, LyceumError
from chain.storage.datadir import DataDirectoryDamaged, storage_error

_PINNED, _UPLOADS, _WRITING = "pinned", "uploads", "writing"
_FILE_NAME = re.compile(r"([0-9a-f]{64})(?:\.([0-9a-f]{16})\.([0-9a-f]{16})\.([0-9]{1,20}))?")


class InvalidUpload(InvalidInput):
    """An upload that is too large, or for which its client, its task or the store has no room left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """Bounds of what strangers may leave here, in bytes."""

    blob_bytes: int
    client_bytes: int
    task_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    """Where a blob lies; `client`, `task` (digests) and `expires` (a height) are those of an upload."""

    path: Path
    size: int
    pinned: bool
    client: str = ""
    task: str = ""
    expires: int = 0


class BlobStore:
    """Blobs in a directory, each written whole and synced before its name appears. Any thread may call any method.

    Pinned blobs stay until deleted. Uploads share a bounded area and expire; what a file's name says about an upload
    (root, task, client, height) is all that there is to know, so that a restart finds everything as it was.
    """

    def __init__(self, directory: Path, *, root_of: Callable[[bytes], bytes], limits: UploadLimits) -> None:
        """`root_of` computes the root (32 bytes) that names a blob. Raises StorageFailed."""
        self._directory = directory
        self._root_of = root_of
        self._limits = limits
        self._changing = threading.RLock()
        self._blobs: dict[bytes, _Blob] = {}
        self._is_by_content: dict[bytes, bool] = {}  # of blobs that were looked at
        self._used: Counter[tuple[str, str]] = Counter()  # bytes of uploads, by ("client" | "task" | "total", whose)
        with _storage_errors(f"can't open the blobs in {directory}"):
            for area in (_PINNED, _UPLOADS, _WRITING):
                (directory / area).mkdir(parents=True, exist_ok=True)
            for path in (directory / _WRITING).iterdir():
                path.unlink()  # a crash came before it was whole
            for path in sorted((directory / _UPLOADS).iterdir()) + sorted((directory / _PINNED).iterdir()):
                self._find(path)

    # ------------------------------------------------------------------------------------------------- writing

    def put(self, root: bytes, data: bytes) -> None:
        """Keep a blob for good under the root that the caller has computed: heads have their own kind of root.

        Raises DiskFull, StorageFailed; nothing was written then.
        """
        with self._changing:
            if not self.pin(root):
                path = self._directory / _PINNED / root.hex()
                self._write(root, data, _Blob(path=path, size=len(data), pinned=True))

    def upload(self, data: bytes, *, client: str, task: bytes, expires: int) -> bytes:
        """Keep a stranger's blob until `expire(height)` with `height >= expires`, and return its root.

        The same blob again extends the time. Raises InvalidUpload, DiskFull, StorageFailed; nothing was written then.
        """
        root = self._root_of(data)
        whose_client, whose_task = _digest(client.encode()), _digest(task)
        with self._changing:
            known = self._blobs.get(root)
            if known is None:
                self._admit(len(data), whose_client, whose_task)
                self._write(root, data, self._upload_blob(root, len(data), whose_client, whose_task, expires))
            elif not known.pinned and known.expires < expires:
                self._move(root, self._upload_blob(root, known.size, known.client, known.task, expires))
        return root

    def pin(self, root: bytes) -> bool:
        """Keep an upload for good; False if there is no such blob. Raises StorageFailed."""
        with self._changing:
            known = self._blobs.get(root)
            if known is not None and not known.pinned:
                path = self._directory / _PINNED / root.hex()
                self._move(root, _Blob(path=path, size=known.size, pinned=True))
            return known is not None

    def expire(self, height: int, spared: Collection[bytes] = ()) -> int:
        """Drop uploads whose time has come, but for those with the roots in `spared`; returns how many."""
        with self._changing:
            due = [
                root
                for root, blob in self._blobs.items()
                if not blob.pinned and blob.expires <= height and root not in spared
            ]
            for root in due:
                self.delete(root)
            return len(due)

    def delete(self, root: bytes) -> None:
        """Forget a blob, pinned or not, if it is here."""
        with self._changing:
            blob = self._blobs.get(root)
            if blob is None:
                return
            with _storage_errors(f"can't remove {blob.path}"):
                blob.path.unlink(missing_ok=True)
            self._account(blob, -1)
            del self._blobs[root]
            self._is_by_content.pop(root, None)

    # ------------------------------------------------------------------------------------------------- reading

    def get(self, root: bytes, check: bool = False) -> bytes | None:
        """The blob, None if it isn't here. With `check` its root is computed anew.

        Raises DataDirectoryDamaged if it is not what its name says; StorageFailed.
        """
        found = self._opened(root)
        if found is None:
            return None
        file, size = found
        with file, _storage_errors(f"can't read {file.name}"):
            data = file.read()
        if len(data) != size or (check and self._root_of(data) != root):
            raise DataDirectoryDamaged(f"{file.name} is not the blob that its name says: remove it")
        return data

    def read(self, root: bytes, start: int, length: int) -> bytes | None:
        """At most `length` bytes from `start`, fewer at the blob's end; None if the blob isn't here."""
        assert start >= 0
        assert length >= 0
        found = self._opened(root)
        if found is None:
            return None
        with found[0] as file, _storage_errors(f"can't read {file.name}"):
            file.seek(start)
            return file.read(length)

    def _opened(self, root: bytes) -> tuple[BinaryIO, int] | None:
        """The blob's file and size, both as of one moment: it may come or go at any other."""
        with self._changing:
            blob = self._blobs.get(root)
            try:
                return None if blob is None else (open(blob.path, "rb"), blob.size)
            except FileNotFoundError as error:
                raise DataDirectoryDamaged(f"{error.filename} is gone: fetch the blob again") from error
            except OSError as error:
                raise storage_error(f"can't read {error.filename}", error) from error

    def has(self, root: bytes) -> bool:
        return root in self._blobs

    def size(self, root: bytes) -> int | None:
        """Bytes of the blob, None if it isn't here."""
        blob = self._blobs.get(root)
        return None if blob is None else blob.size

    def size_of_content(self, root: bytes) -> int | None:
        """Bytes of the blob whose content has this root; None for a head, whose weights have it, or if it isn't here.

        Who commits to a head's root as that of an update has no such update, though there are bytes of this name.
        """
        size = self.size(root)
        if size is not None and root not in self._is_by_content:
            try:
                data = self.get(root)
            except LyceumError:  # who judges by it says what is wrong with the disk
                return None
            if data is None:
                return None
            self._is_by_content[root] = self._root_of(data) == root
        return size if self._is_by_content.get(root) else None

    def is_pinned(self, root: bytes) -> bool:
        blob = self._blobs.get(root)
        return blob is not None and blob.pinned

    def roots(self) -> tuple[bytes, ...]:
        """The roots of all blobs, in order."""
        return tuple(sorted(self._blobs))

    # --------------------------------------------------------------------------------------------------- files

    def _find(self, path: Path) -> None:
        """Take up a file that an earlier run left; one whose name says nothing to us is left alone."""
        named = _FILE_NAME.fullmatch(path.name)
        if named is None:
            return
        root, task, client, expires = named.groups()
        size = path.stat().st_size
        if task is None:
            blob = _Blob(path=path, size=size, pinned=True)
        else:
            blob = _Blob(path=path, size=size, pinned=False, client=client, task=task, expires=int(expires))
        self._blobs[bytes.fromhex(root)] = blob
        self._account(blob, 1)

    def _upload_blob(self, root: bytes, size: int, client: str, task: str, expires: int) -> _Blob:
        path = self._directory / _UPLOADS / f"{root.hex()}.{task}.{client}.{expires}"
        return _Blob(path=path, size=size, pinned=False, client=client, task=task, expires=expires)

    def _admit(self, size: int, client: str, task: str) -> None:
        limits, used = self._limits, self._used
        if size > limits.blob_bytes:
            raise InvalidUpload(f"{size} bytes are too many: at most {limits.blob_bytes} a blob")
        for whose, taken, room in (
            ("you", used["client", client], limits.client_bytes),
            ("this task", used["task", task], limits.task_bytes),
            ("uploads", used["total", ""], limits.total_bytes),
        ):
            if taken + size > room:
                raise InvalidUpload(f"no room for {size} bytes: {taken} of {room} for {whose} are taken; try later")

    def _account(self, blob: _Blob, sign: int) -> None:
        if not blob.pinned:
            for key in (("client", blob.client), ("task", blob.task), ("total", "")):
                self._used[key] += sign * blob.size
                if not self._used[key]:
                    del self._used[key]

    def _write(self, root: bytes, data: bytes, blob: _Blob) -> None:
        """The name appears after the content is on disk: a crash leaves all of it or nothing."""
        writing = self._directory / _WRITING / root.hex()
        with _storage_errors(f"can't write {blob.path}"):
            try:
                with open(writing, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                writing.replace(blob.path)
            except OSError:
                with contextlib.suppress(OSError):
                    writing.unlink(missing_ok=True)
                raise
            _sync_directory(blob.path.parent)
        self._blobs[root] = blob
        self._account(blob, 1)

    def _move(self, root: bytes, blob: _Blob) -> None:
        known = self._blobs[root]
        with _storage_errors(f"can't rename {known.path}"):
            known.path.replace(blob.path)
            _sync_directory(blob.path.parent)
            _sync_directory(known.path.parent)
        self._account(known, -1)
        self._blobs[root] = blob
        self._account(blob, 1)


def _digest(whose: bytes) -> str:
    """Short, and fit for a file name, whatever a client calls itself."""
    return hashlib.sha256(whose).hexdigest()[:16]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(what, error) from error
