"""Home of fetching a head from any node: what its public API says, checked against the weights root."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from learning.architecture import Architecture, InvalidArchitecture
from learning.commitment import InvalidWeights, weights_from_bytes, weights_root
from learning.datasets import Schema
from learning.model_file import Head

TIMEOUT_SECONDS = 30.0
ANSWER_BYTES_MAX = 64 << 20
LINEAGE_ROUNDS = 1000  # a node tells no more at once


class FetchFailed(ValueError):
    """A node that can't be reached, refuses, or answers something that does not fit; the message says which."""


def fetch_head(url: str, task: str, root: str | None = None) -> Head:
    """The newest head of a task (its id, or its name), or the one of a root. Raises FetchFailed."""
    url = url.rstrip("/")
    told = _call(url, "learn_task", _find(url, task))
    try:
        specification = told["specification"]
        architecture = Architecture.from_json(_canonical(specification["architecture"]))
        wanted = _root(root) if root else _root(told["head"])
        head = Head(
            task=told["task"],
            name=told["name"],
            round=_round_of(url, told, "0x" + wanted.hex()),
            architecture=architecture,
            schema=Schema.from_json(specification["schema"]),
            weights=weights_from_bytes(_get(f"{url}/blobs/0x{wanted.hex()}"), architecture.parameters),
            root=wanted,
        )
    except (KeyError, TypeError, InvalidArchitecture, InvalidWeights) as error:
        raise FetchFailed(f"{url} tells of {task!r} what can't be: {error!r}; ask another node") from error
    if weights_root(architecture, head.weights) != wanted:
        raise FetchFailed(f"{url} sent other weights than those of the root 0x{wanted.hex()}; ask another node")
    return head


def _find(url: str, task: str) -> str:
    """The id of a task: as given, or of the newest of this name, those that are not over first."""
    if task.startswith("0x"):
        return task
    tasks = _call(url, "learn_tasks")
    named = [each for each in tasks if each["name"] == task]
    if not named:
        raise FetchFailed(f"{url} has no task {task!r}; it has: {', '.join(each['name'] for each in tasks) or 'none'}")
    return str(([each for each in named if each["status"] == "active"] or named)[-1]["task"])


def _round_of(url: str, told: dict[str, Any], root: str) -> int | None:
    """The last round after which the head had this root; None for the initial head and roots that are no head."""
    for first in range(told["round"] // LINEAGE_ROUNDS * LINEAGE_ROUNDS, -1, -LINEAGE_ROUNDS):
        heads = _call(url, "learn_lineage", told["task"], first, first + LINEAGE_ROUNDS - 1)
        found = [head["round"] for head in heads if head["root"] == root and head["round"] is not None]
        if found:
            return int(found[-1])
    return None


def _root(text: str) -> bytes:
    try:
        root = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        root = b""
    if len(root) != 32:
        raise FetchFailed(f"{text!r} is no root: give 0x and 64 hexadecimal digits")
    return root


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _call(url: str, method: str, *parameters: object) -> Any:
    """The result of a JSON-RPC call."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    content = _get(url + "/", body)
    try:
        answer = json.loads(content)
        if "error" in answer:
            raise FetchFailed(str(answer["error"]["message"]))
        return answer["result"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise FetchFailed(f"{url} does not answer {method} as a node does") from error


def _get(url: str, body: bytes | None = None) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise FetchFailed(f"{url!r} is no node's address: one begins with http:// or https://")
    try:
        request = urllib.request.Request(url, body, {"content-type": "application/json"} if body else {})
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read(ANSWER_BYTES_MAX + 1)
    except urllib.error.HTTPError as error:
        if error.code == 404 and body is None:
            raise FetchFailed(f"the node does not hold these weights: {url}") from error
        raise FetchFailed(f"{url} answers with status {error.code}") from error
    except urllib.error.URLError as error:
        raise FetchFailed(f"no node answers at {url} ({error.reason}); is it running?") from error
    except (OSError, HTTPException) as error:
        raise FetchFailed(f"no node answers at {url} ({error or type(error).__name__}); is it running?") from error
    except ValueError as error:
        raise FetchFailed(f"{url!r} is no node's address: {error}") from error
    if len(content) > ANSWER_BYTES_MAX:
        raise FetchFailed(f"{url} sends more than {ANSWER_BYTES_MAX} bytes; it is no node of this kind")
    return content
