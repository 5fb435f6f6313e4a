"""Home of subscriptions: what happens on the chain is written as JSON once and sent to all who asked for it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson

from chain.bloom import may_contain
from chain.transactions import Transaction
from chain.types import CONTRACT_ADDRESS
from rpc.backend import Tip
from rpc.formats import header_object, transaction_object
from rpc.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError, notification
from rpc.limits import Settings
from rpc.logs import LogFilter, log_filter, matching_logs
from rpc.parameters import InvalidParameter, boolean
from rpc.records import Record, Records


class Subscriber(Protocol):
    """A WebSocket connection, with the subscriptions that end with it."""

    subscriptions: dict[str, Subscription]

    def send(self, message: bytes) -> None: ...


class Subscription:
    """One subscription. `detail` is the log filter, or whether transactions are wanted whole."""

    __slots__ = ("detail", "id", "kind", "method", "subscriber")

    def __init__(self, kind: str, method: str, subscriber: Subscriber, detail: Any) -> None:
        self.id = hex(secrets.randbits(127) | 1 << 127)
        self.kind = kind
        self.method = method  # of its notifications
        self.subscriber = subscriber
        self.detail = detail

    def send(self, result: bytes) -> None:
        self.subscriber.send(notification(self.method, self.id, result))


LearningEvents = Callable[[Record], Sequence[dict[str, Any]]]


class Subscriptions:
    """All subscriptions of all connections, by kind."""

    def __init__(self, records: Records, settings: Settings, learning: dict[str, LearningEvents]) -> None:
        """`learning` gives, for `rounds` and `updates`, what a block brought of them."""
        self._records = records
        self._per_connection_max = settings.subscriptions_per_connection_max
        self._learning = learning
        kinds = ("newHeads", "logs", "newPendingTransactions", *learning)
        self._by_kind: dict[str, dict[str, Subscription]] = {kind: {} for kind in kinds}

    def count(self) -> int:
        return sum(len(each) for each in self._by_kind.values())

    # ------------------------------------------------------------------------------------------------ methods

    def subscribe(self, subscriber: Subscriber, kind: str, detail: Any) -> str:
        """eth_subscribe: newHeads, logs with an optional filter, newPendingTransactions with an optional `true`."""
        if kind == "logs":
            return self._add(kind, "eth_subscription", subscriber, self._log_filter(detail))
        if kind == "newPendingTransactions":
            return self._add(kind, "eth_subscription", subscriber, detail is not None and self._whole(detail))
        if kind != "newHeads":
            raise RpcError(METHOD_NOT_FOUND, f'no "{kind}" subscription in eth namespace')
        return self._add(kind, "eth_subscription", subscriber, None)

    def subscribe_learning(self, subscriber: Subscriber, kind: str, task: bytes | None) -> str:
        """learn_subscribe: rounds or updates, of one task or of all."""
        if kind not in self._learning:
            raise RpcError(METHOD_NOT_FOUND, f'no "{kind}" subscription in learn namespace')
        return self._add(kind, "learn_subscription", subscriber, task)

    def unsubscribe(self, subscriber: Subscriber, subscription_id: str) -> bool:
        found = subscriber.subscriptions.pop(subscription_id, None)
        if found is None:
            raise RpcError(METHOD_NOT_FOUND, "subscription not found")
        del self._by_kind[found.kind][found.id]
        return True

    def forget(self, subscriber: Subscriber) -> None:
        """End everything that a connection subscribed to."""
        for subscription_id in list(subscriber.subscriptions):
            self.unsubscribe(subscriber, subscription_id)

    def _add(self, kind: str, method: str, subscriber: Subscriber, detail: Any) -> str:
        if len(subscriber.subscriptions) >= self._per_connection_max:
            raise RpcError(
                INVALID_PARAMS, f"too many subscriptions: at most {self._per_connection_max} on one connection"
            )
        added = Subscription(kind, method, subscriber, detail)
        subscriber.subscriptions[added.id] = added
        self._by_kind[kind][added.id] = added
        return added.id

    @staticmethod
    def _log_filter(detail: Any) -> LogFilter:
        try:
            return LogFilter() if detail is None else log_filter(detail)
        except InvalidParameter as error:
            raise RpcError(INVALID_PARAMS, f"invalid argument 1: {error}") from None

    @staticmethod
    def _whole(detail: Any) -> bool:
        try:
            return boolean(detail)
        except InvalidParameter as error:
            raise RpcError(INVALID_PARAMS, f"invalid argument 1: {error}") from None

    # ----------------------------------------------------------------------------------------------- delivery

    def block(self, tip: Tip) -> None:
        """Tell everyone whom a new block concerns."""
        heads = self._by_kind["newHeads"]
        if heads:
            shown = orjson.dumps(header_object(tip.header, tip.hash))
            for subscription in list(heads.values()):
                subscription.send(shown)
        if self._by_kind["logs"]:
            self._deliver_logs(tip)
        if may_contain(tip.header.logs_bloom, CONTRACT_ADDRESS):
            for kind, events_of in self._learning.items():
                if self._by_kind[kind]:
                    self._deliver_learning(kind, events_of, tip)

    def _deliver_logs(self, tip: Tip) -> None:
        concerned = [each for each in self._by_kind["logs"].values() if each.detail.may_match(tip.header.logs_bloom)]
        record = self._records.at(tip.header.height) if concerned else None
        for subscription in concerned:
            assert record is not None
            for log in matching_logs(record, subscription.detail):
                subscription.send(orjson.dumps(log))

    def _deliver_learning(self, kind: str, events_of: LearningEvents, tip: Tip) -> None:
        record = self._records.at(tip.header.height)
        assert record is not None
        for event in events_of(record):
            shown = orjson.dumps(event)
            for subscription in list(self._by_kind[kind].values()):
                if subscription.detail is None or event["task"] == "0x" + subscription.detail.hex():
                    subscription.send(shown)

    def pending(self, transactions: Sequence[Transaction]) -> None:
        """Tell what entered the pool: hashes, or the transactions to those who want them whole."""
        subscribed = list(self._by_kind["newPendingTransactions"].values())
        if not subscribed:
            return
        whole = any(subscription.detail for subscription in subscribed)
        for transaction in transactions:
            hash_shown = b'"0x' + transaction.hash.hex().encode() + b'"'
            shown = orjson.dumps(transaction_object(transaction)) if whole else b""
            for subscription in subscribed:
                subscription.send(shown if subscription.detail else hash_shown)
