"""A complete set-up of its own: database, local networks, keys, wallets. Demo and end-to-end tests run on it.

Nothing of it is shared: its home is given, its server is the embedded one under that home, or a database of its own
in the server that is given.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row

from pipeline.db.dsn import as_url
from pipeline.db.migrate import migrate
from pipeline.db.session import open_session
from pipeline.db.statements import statement
from pipeline.devnet.client import DevnetClient
from pipeline.embedded.cluster import embedded_dsn
from pipeline.local.faults import FaultInjector, fault_injector
from pipeline.local.fleet import Fleet
from pipeline.local.home import LocalHome
from pipeline.local.networks import place
from pipeline.local.procfile import Line, Phase, child_environment, production_lines
from pipeline.local.seed import Seed, Seeded, seed
from pipeline.local.tron import TronNetwork

READY_WITHIN_SECONDS = 60.0
"""For the database (initdb included) and the network to answer."""
POLL_SECONDS = 0.05
NO_NODE = (aiohttp.ClientError, ConnectionError, TimeoutError)
"""What a network that is not up yet gives."""

Result = TypeVar("Result")


class NotReady(Exception):
    """The database or the network did not answer in time; the message holds the last reason."""


@dataclass(slots=True)
class Stand:
    """A running set-up without workers (``start_workers``)."""

    home: LocalHome
    dsn: str
    fleet: Fleet
    chains: tuple[Seeded, ...]
    workers_env: dict[str, str]
    injectors: tuple[FaultInjector, ...] = ()
    """One for each network of a stand with faults."""

    @property
    def seeded(self) -> Seeded:
        """The first chain, most often the only one."""
        return self.chains[0]

    @property
    def client(self) -> DevnetClient:
        """The simulated TRON network's control. Raises ValueError without one."""
        for chain in self.chains:
            if isinstance(chain.network, TronNetwork):
                return chain.network.client
        raise ValueError("TRON is not played on this stand")

    async def start_workers(self, instances: int = 1, only: Sequence[str] | None = None) -> None:
        """Start the lines of the Procfile, each ``instances`` times; ``only`` names some of them."""
        wanted = [line for line in production_lines() if only is None or line.name in only]
        lines = [
            Line(f"{line.name}.{number}", line.command, Phase.WORK, self.workers_env)
            for line in wanted
            for number in range(1, instances + 1)
        ]
        await self.fleet.start(lines)


@asynccontextmanager
async def open_stand(
    path: Path,
    terms: Seed,
    *,
    chains: Sequence[str] = ("tron",),
    server: str | None = None,
    block_time: float = 1.0,
    solid_lag: int = 2,
    workers_env: dict[str, str] | None = None,
    faulty: bool = False,
) -> AsyncIterator[Stand]:
    """Start database and networks, migrate and seed; afterwards stop all processes in order.

    ``path`` is the home, which must exist. ``server``: DSN of a server on which a fresh database is created, and
    dropped at the end; None for the embedded one. ``faulty``: faults can be injected into its nodes. Raises NotReady,
    ProcessEnded, NetworkUnavailable.
    """
    home = LocalHome(path)
    places = place(home, chains, block_time, solid_lag, kept=False)
    async with _database_of_our_own(server) as database, AsyncExitStack() as stack:
        dsn = database or embedded_dsn(path)
        with_faults = places if faulty else []
        injectors = [await stack.enter_async_context(fault_injector(one.network)) for one in with_faults]
        async with Fleet(child_environment(path, database), path / "logs") as fleet:
            nodes = [one.line for one in places]
            await fleet.start(nodes if database else [Line("db", "flagpost db start", Phase.DATABASE), *nodes])
            try:
                await until_answered(lambda: migrate(dsn), psycopg.OperationalError, fleet.check)
                for one in places:
                    await until_answered(one.network.network_id, NO_NODE, fleet.check)
                seeded = await seed(dsn, [one.network for one in places], home, terms)
                yield Stand(home, dsn, fleet, tuple(seeded), dict(workers_env or {}), tuple(injectors))
            finally:
                for one in places:
                    await one.network.close()


async def until_answered(
    ask: Callable[[], Awaitable[Result]],
    error: type[Exception] | tuple[type[Exception], ...],
    check: Callable[[], None] = lambda: None,
) -> Result:
    """``ask`` again until it no longer raises ``error``; ``check`` may raise in between. Raises NotReady."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while True:
        try:
            return await ask()
        except error as reason:
            check()
            if time.monotonic() > deadline:
                raise NotReady(f"no answer within {READY_WITHIN_SECONDS:.0f} s: {reason}") from reason
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _database_of_our_own(server: str | None) -> AsyncIterator[str | None]:
    """A URL of a fresh database on ``server``; None without a server."""
    if server is None:
        yield None
        return
    name = f"flagpost_demo_{secrets.token_hex(4)}"
    async with await open_session(server, "demo", tuple_row) as admin:
        await admin.execute(sql.SQL(statement("demo/create_database")).format(name=sql.Identifier(name)))
    try:
        yield as_url(make_conninfo(server, dbname=name))
    finally:
        async with await open_session(server, "demo", tuple_row) as admin:
            await admin.execute(sql.SQL(statement("demo/drop_database")).format(name=sql.Identifier(name)))
