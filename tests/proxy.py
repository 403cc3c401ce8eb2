"""A TCP proxy in front of Postgres that can go silent, as a stuck load balancer does: open, and dead."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_APPLICATION = b"application_name\0"
"""In a session's first message, before its value."""


@dataclass(eq=False)
class Link:
    """One client's connection and what it leads to."""

    forwarding: asyncio.Event
    """While it is set, bytes get through."""
    application: str = ""
    """Of the session, once it has named itself."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        return not self.forwarding.is_set()

    def note(self, data: bytes) -> None:
        """Find the session's name in what the client says."""
        _, named, rest = data.partition(_APPLICATION)
        if named and not self.application:
            self.application = rest.partition(b"\0")[0].decode()


class Proxy:
    """``async with Proxy(dsn) as proxy``: connect to ``proxy.dsn``."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._forwarding = asyncio.Event()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.dsn = ""

    async def __aenter__(self) -> Self:
        self._forwarding.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.dsn = make_conninfo(self._dsn, host="127.0.0.1", port=self.port, hostaddr=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def lead_to(self, dsn: str) -> None:
        """New connections go to another server; those that are there stay as they are."""
        self._dsn = dsn

    def go_silent(self) -> None:
        """From now on nothing gets through in either direction, and nobody is told."""
        self._forwarding.clear()

    def recover(self) -> None:
        """New connections work; the silent ones stay silent for ever."""
        self._forwarding = asyncio.Event()
        self._forwarding.set()

    def silence(self, wanted: Callable[[str], bool]) -> int:
        """Sessions whose application_name is ``wanted`` are dead from now on, and nobody is told; new ones work.
        Returns how many."""
        chosen = [link for link in self._links if not link.silent and wanted(link.application)]
        for link in chosen:
            link.forwarding = asyncio.Event()
        return len(chosen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self._forwarding)
        try:
            upstream = await connect(self._dsn)
        except OSError:  # the server is down: say so as it would
            writer.transport.abort()
            return
        self._links.add(link)
        for source, sink, note in ((reader, upstream[1], link.note), (upstream[0], writer, None)):
            task = asyncio.create_task(_forward(source, sink, link, note))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            link.tasks.append(task)
            task.add_done_callback(lambda _, of=link: self._forget(of))

    def _forget(self, link: Link) -> None:
        if all(task.done() for task in link.tasks):
            self._links.discard(link)


async def connect(dsn: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection to the server of ``dsn``, whose host is a socket's directory or an address. Raises OSError."""
    target = conninfo_to_dict(dsn)
    host, port = str(target["host"]), int(target.get("port") or 5432)
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


async def _forward(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link, note: Callable[[bytes], None] | None
) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if note is not None and not link.application:
                    note(data)
                await link.forwarding.wait()
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()
