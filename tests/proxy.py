"""A TCP proxy in front of Postgres that can go silent, as a stuck load balancer does: open, and dead."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """``async with Proxy(dsn) as proxy``: connect to ``proxy.dsn``."""

    def __init__(self, dsn: str) -> None:
        self._target = conninfo_to_dict(dsn)
        self._dsn = dsn
        self._silent = False
        self._forwarding = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.dsn = ""

    async def __aenter__(self) -> Self:
        self._forwarding.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(self._dsn, host="127.0.0.1", port=port, hostaddr=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def go_silent(self) -> None:
        """From now on nothing gets through in either direction, and nobody is told."""
        self._forwarding.clear()

    def recover(self) -> None:
        """New connections work; the silent ones stay silent for ever."""
        self._forwarding = asyncio.Event()
        self._forwarding.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding = self._forwarding
        host, port = str(self._target["host"]), int(self._target.get("port") or 5432)
        if host.startswith("/"):
            upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            upstream = await asyncio.open_connection(host, port)
        for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
            task = asyncio.create_task(_forward(source, sink, forwarding))
            self._tasks.add(task)


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter, forwarding: asyncio.Event) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await forwarding.wait()
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()
