"""The HTTP endpoint of a worker: ``/metrics`` for Prometheus, ``/health`` for container runtimes. In the event loop of
the process, so that one that hangs does not answer."""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web
from loguru import logger
from prometheus_client import REGISTRY, Gauge
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from pipeline.metrics.process import MeasuredProcess, ProcessCollector

LAST_PORT = 65_535
PORTS = 100
"""A process that finds its port taken tries so many in all: there are several on a host."""
LAG_SECONDS = 1.0
"""Between two measurements of the event loop."""

_lag = Gauge("flagpost_event_loop_lag_seconds", "How late the event loop was at its last measurement")

Measured = Callable[[], Awaitable[Iterable[Metric]]]


class Endpoint:
    """``start`` once the process can be measured, then ``close``."""

    def __init__(self, host: str, port: int) -> None:
        """``port`` 0: any that is free."""
        self.host = host
        """The address it listens at."""
        self._first_port = port
        self._runner: web.AppRunner | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._registry = CollectorRegistry()
        self._more: Measured | None = None
        self._unhealthy: Callable[[], str | None] = lambda: None

    async def start(
        self, process: MeasuredProcess, unhealthy: Callable[[], str | None], more: Measured | None = None
    ) -> int | None:
        """Serve; the port that was taken, None where there is none: a worker works without, too. ``unhealthy``: why
        ``/health`` answers 503; ``more``: what the worker measures beside."""
        self._registry.register(ProcessCollector(process))
        self._unhealthy, self._more = unhealthy, more
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics), web.get("/health", self._health)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        last = min(self._first_port + PORTS, LAST_PORT + 1) if self._first_port else 1
        for port in range(self._first_port, last):
            try:
                await web.TCPSite(self._runner, self.host, port).start()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                logger.warning("{}: no metrics are served", self._refused(error, port))
                return None
            self._measuring = asyncio.create_task(_measure_lag(), name="event loop lag")
            return _port_of(self._runner)
        logger.warning(
            "FLAGPOST_METRICS_PORT: every port from {} to {} of {} is taken: no metrics are served",
            self._first_port, last - 1, self.host,
        )  # fmt: skip
        return None

    async def close(self) -> None:
        """Serve no more. Safe to call twice."""
        measuring, self._measuring = self._measuring, None
        if measuring is not None:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)
        runner, self._runner = self._runner, None
        if runner is not None:
            with contextlib.suppress(OSError):
                await runner.cleanup()

    def _refused(self, error: OSError, port: int) -> str:
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            return f"FLAGPOST_METRICS_HOST: {self.host} is no address of this host"
        return f"FLAGPOST_METRICS_PORT: port {port} of {self.host} cannot be opened ({error.strerror})"

    async def _metrics(self, _: web.Request) -> web.Response:
        families = [] if self._more is None else list(await self._more())
        text = generate_latest(REGISTRY) + generate_latest(self._registry) + generate_latest(_once(families))
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        wrong = self._unhealthy()
        return web.json_response(
            {"healthy": wrong is None, "reason": wrong}, status=200 if wrong is None else 503, dumps=_line_of_json
        )


class _Once(Collector):
    """Families that were made already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _once(families: Iterable[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    return registry


def _line_of_json(value: Any) -> str:
    return json.dumps(value) + "\n"


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        wanted = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        _lag.set(max(0.0, loop.time() - wanted))


def _port_of(runner: web.AppRunner) -> int:
    address: Any = runner.addresses[0]
    return int(address[1])
