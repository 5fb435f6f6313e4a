"""Home of a client that sends transfers without a pause, and remembers every block and receipt that a node showed it."""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Any

from chain.crypto import keccak256
from chain.development import DEVELOPMENT_ACCOUNTS
from tests.system.networks import ACCOUNT_KEYS, signed_transfers

AHEAD = 8  # transfers of an account that may wait in the pool
GONE = (OSError, http.client.HTTPException, json.JSONDecodeError)  # what a client sees of a node that is killed


class Traffic:
    """Transfers of all ten accounts, signed beforehand; what a killed node forgot of its pool is sent again."""

    def __init__(self, transfers_each: int) -> None:
        count = len(ACCOUNT_KEYS)
        self._raws = [signed_transfers(i, transfers_each, to=(i + 1) % count) for i in range(count)]
        self._hashes = [["0x" + keccak256(raw).hex() for raw in raws] for raws in self._raws]
        self._seen = [0] * count  # transfers of each account whose receipts have been seen
        self.blocks: dict[str, dict[str, Any]] = {}  # number -> block without transactions, as it was shown
        self.receipts: dict[str, dict[str, Any]] = {}  # transaction hash -> receipt, as it was shown

    def step(self, url: str) -> None:
        """Send, then ask for receipts and for the newest block. Raises one of GONE."""
        nonces = call_many(
            url, [("eth_getTransactionCount", ["0x" + each.hex(), "latest"]) for each in DEVELOPMENT_ACCOUNTS]
        )
        firsts = [int(nonce, 16) for nonce in nonces]
        call_many(
            url,
            [
                ("eth_sendRawTransaction", ["0x" + raw.hex()])
                for raws, first in zip(self._raws, firsts, strict=True)
                for raw in raws[first : first + AHEAD]
            ],
            refusals=True,  # most of them are in the pool already
        )
        block = call_many(url, [("eth_getBlockByNumber", ["latest", False])])[0]
        self.blocks[block["number"]] = block
        self._ask_for_receipts(url, firsts)

    def _ask_for_receipts(self, url: str, firsts: list[int]) -> None:
        wanted = [
            hash_
            for hashes, seen, first in zip(self._hashes, self._seen, firsts, strict=True)
            for hash_ in hashes[seen:first]
        ]
        found = call_many(url, [("eth_getTransactionReceipt", [hash_]) for hash_ in wanted])
        assert None not in found, "a transaction that its account's nonce counts has no receipt"
        self.receipts |= dict(zip(wanted, found, strict=True))
        self._seen = [max(seen, first) for seen, first in zip(self._seen, firsts, strict=True)]

    def assert_nothing_gone(self, url: str) -> None:
        """Every block and every receipt that was ever shown is there, to the letter."""
        blocks = call_many(url, [("eth_getBlockByNumber", [number, False]) for number in self.blocks])
        assert blocks == list(self.blocks.values())
        receipts = call_many(url, [("eth_getTransactionReceipt", [hash_]) for hash_ in self.receipts])
        assert receipts == list(self.receipts.values())


def call_many(url: str, calls: list[tuple[str, list[Any]]], *, refusals: bool = False, most: int = 100) -> list[Any]:
    """The results of calls, sent in batches; None for an error where `refusals` are allowed. Raises one of GONE."""
    results: list[Any] = []
    for start in range(0, len(calls), most):
        part = calls[start : start + most]
        body = [{"jsonrpc": "2.0", "id": i, "method": name, "params": given} for i, (name, given) in enumerate(part)]
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            answers = sorted(json.load(response), key=lambda answer: answer["id"])
        assert refusals or not any("error" in answer for answer in answers), answers
        results += [answer.get("result") for answer in answers]
    return results
