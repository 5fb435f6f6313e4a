"""Home of GET /metrics: what the node and its RPC server count, read when Prometheus asks and never on the hot path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rpc.backend import Backend
from rpc.dispatch import Dispatcher

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class NodeCollector(Collector):
    """Reads the backend and the dispatcher's counters."""

    def __init__(
        self, backend: Backend, dispatcher: Dispatcher, connections: Callable[[], int], subscriptions: Callable[[], int]
    ) -> None:
        self._backend = backend
        self._dispatcher = dispatcher
        self._connections = connections
        self._subscriptions = subscriptions

    def collect(self) -> Iterator[Metric]:
        tip = self._backend.tip().header
        pending, queued = self._backend.pool.counts()
        gauges = (
            ("lyceum_height", "Height of the last committed block", tip.height),
            ("lyceum_block_time_seconds", "Its time since 1970", tip.time_ms / 1000),
            ("lyceum_block_gas_used", "Gas that it used", tip.gas_used),
            ("lyceum_base_fee", "Its base fee, 10^-18 coin a gas", tip.base_fee),
            ("lyceum_peers", "Connected peers", self._backend.peer_count()),
            ("lyceum_pool_pending", "Transactions that the next block may take", pending),
            ("lyceum_pool_queued", "Transactions behind a nonce gap", queued),
            ("lyceum_rpc_websockets", "Open WebSocket connections", self._connections()),
            ("lyceum_rpc_subscriptions", "Their subscriptions", self._subscriptions()),
        )
        for name, sentence, value in gauges:
            yield GaugeMetricFamily(name, sentence, value)
        calls = CounterMetricFamily("lyceum_rpc_calls", "Calls by method", labels=["method"])
        for method, count in self._dispatcher.calls.items():
            if count:
                calls.add_metric([method], count)
        yield calls
        sent = CounterMetricFamily("lyceum_network_sent_bytes", "Sent to peers, by kind", labels=["kind"])
        received = CounterMetricFamily("lyceum_network_received_bytes", "Received from peers", labels=["kind"])
        for kind, (_, bytes_in, _, bytes_out) in self._backend.network_traffic().items():
            received.add_metric([kind], bytes_in)
            sent.add_metric([kind], bytes_out)
        yield sent
        yield received
        errors = CounterMetricFamily("lyceum_rpc_errors", "Error answers by code", labels=["code"])
        for code, count in self._dispatcher.errors.items():
            errors.add_metric([str(code)], count)
        yield errors


class Metrics:
    """The page of one server. `registry` takes further collectors of the node."""

    def __init__(self, collector: NodeCollector) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(collector)

    def page(self) -> bytes:
        return generate_latest(self.registry)
