"""What every process can say of itself, whatever its worker does: read from the runtime at the moment of a scrape."""

import importlib.metadata
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.chains.rpc.calls import CALLS
from pipeline.db.listener import Listener
from pipeline.db.pool import Pool

POOL_GAUGES: Mapping[str, str] = {
    "pool_size": "Connections of the pool",
    "pool_available": "Connections of the pool that are idle",
    "requests_waiting": "Requests that wait for a connection",
}
POOL_COUNTERS: Mapping[str, tuple[str, str, float]] = {
    "requests_num": ("requests", "Requests for a connection", 1.0),
    "requests_queued": ("requests_queued", "Requests that had to wait for a connection", 1.0),
    "requests_wait_ms": ("wait_seconds", "Time that requests waited for a connection", 1e-3),
    "usage_ms": ("usage_seconds", "Time that connections were in use", 1e-3),
    "connections_num": ("connections", "Connections that were opened", 1.0),
    "connections_errors": ("connection_errors", "Connections that could not be opened", 1.0),
    "connections_lost": ("connections_lost", "Connections that were lost", 1.0),
}


class Registered(Protocol):
    """The process in worker_registry."""

    slot: str | None
    type: str
    blockchain: str | None


class MeasuredProcess(Protocol):
    """What is read of a process (``runtime.Runtime``)."""

    pool: Pool
    listener: Listener
    heartbeats: int

    @property
    def registration(self) -> Registered:
        """Which worker it is."""

    @property
    def paused(self) -> bool:
        """Whether nothing new is taken."""

    def stats(self) -> Mapping[str, Any]:
        """As in worker_registry.stats."""


class ProcessCollector(Collector):
    """Of one process."""

    def __init__(self, process: MeasuredProcess) -> None:
        self._process = process

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the worker."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Every family; called in the event loop's thread."""
        process = self._process
        registration = process.registration
        info = InfoMetricFamily("flagpost_worker", "Which worker this process is")
        info.add_metric(
            [],
            {
                "slot": registration.slot or "",
                "type": registration.type,
                "chains": registration.blockchain or "",
                "version": importlib.metadata.version("flagpost"),
            },
        )
        yield info
        yield GaugeMetricFamily("flagpost_worker_paused", "1: takes nothing new", float(process.paused))
        yield CounterMetricFamily("flagpost_heartbeats", "Heartbeats that were sent", process.heartbeats)
        yield from self._stats()
        yield from self._pool()
        yield from self._listener()
        yield from _nodes()

    def _stats(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "flagpost_worker_stat",
            "Numbers of worker_registry.stats, most of them counts",
            labels=["name"],
        )
        for name, value in self._process.stats().items():
            if isinstance(value, Real) and math.isfinite(float(value)):
                family.add_metric([name], float(value))
        yield family

    def _pool(self) -> Iterable[Metric]:
        stats = self._process.pool.get_stats()
        for name, text in POOL_GAUGES.items():
            short = name.removeprefix("pool_")
            yield GaugeMetricFamily(f"flagpost_pool_{short}", text, stats.get(name, 0))
        for name, (short, text, factor) in POOL_COUNTERS.items():
            yield CounterMetricFamily(f"flagpost_pool_{short}", text, stats.get(name, 0) * factor)

    def _listener(self) -> Iterable[Metric]:
        listener = self._process.listener
        received = CounterMetricFamily("flagpost_notifications", "NOTIFYs received", labels=["channel"])
        for channel, count in listener.received.items():
            received.add_metric([channel], count)
        yield received
        yield GaugeMetricFamily("flagpost_listening", "1: it listens", float(listener.listening.is_set()))
        yield CounterMetricFamily("flagpost_listen_reconnects", "LISTEN sessions after the first", listener.reconnects)
        yield GaugeMetricFamily(
            "flagpost_notification_queue_ratio",
            "Share of the server's queue that is used",
            listener.queue.share,
        )


def _nodes() -> Iterable[Metric]:
    calls = CounterMetricFamily(
        "flagpost_node_calls", "Calls to nodes, by how they ended", labels=["node", "method", "result"]
    )
    for (node, method, result), count in CALLS.calls.items():
        calls.add_metric([node, method, result], count)
    yield calls
    requests = CounterMetricFamily("flagpost_node_requests", "Requests to nodes", labels=["node"])
    seconds = CounterMetricFamily("flagpost_node_seconds", "Time that these requests took", labels=["node"])
    for node, count in CALLS.requests.items():
        requests.add_metric([node], count)
        seconds.add_metric([node], CALLS.seconds[node])
    yield requests
    yield seconds
