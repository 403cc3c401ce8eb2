"""Everything a run needs, brought up and taken down again: server, chains, pooler or hosts, and the crew."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from pipeline.db.migrate import migrate
from pipeline.embedded.server import EmbeddedServer
from tests.chaos.blows import LEASE_SECONDS
from tests.chaos.crew import Crew
from tests.chaos.database import LOGINS, Database, allow_network, login_of, prepare, settings_for
from tests.chaos.evm_ground import EvmGround, evm_ground
from tests.chaos.fleet import Zygote
from tests.chaos.ground import Ground
from tests.chaos.hosts import GROUND, WORKERS, Hosts
from tests.chaos.operators import Operator
from tests.chaos.pooler import Pooler
from tests.chaos.schedule import Layout, Schedule
from tests.chaos.tron_ground import TronGround, tron_ground
from tests.chaos.watch import Watch
from tests.chaos.world import MNEMONIC
from tests.conftest import temporary_home
from tests.policy import write_policy
from tests.proxy import Proxy

CONFIGURATION: dict[str, Any] = {
    "heartbeat_seconds": 1,
    "sweep__interval_seconds": 2,
    "sweep__grace_seconds": 0.5,
    "cleanup__interval_seconds": 5,
    "cleanup__stuck_minutes": 1,
    "sync__lock_seconds": 3,
    "sync__idle_seconds": 1,
    "queue__concurrency": 8,
    "queue__backoff_base_seconds": 0.2,
    "queue__backoff_cap_seconds": 1,
    "queue__quiet_seconds": 2,
    "queue__deadline_seconds": LEASE_SECONDS,
}
"""Clocks faster than an operator would set them, so that a run of seconds sees what takes a night elsewhere."""
CREW_UP_WITHIN = 60.0
LOOK_SECONDS = 0.1
HERE = "here"
"""The only host, where there are not three."""


@dataclass(eq=False)
class Stage:
    """A run's world, ready for the first blow."""

    schedule: Schedule
    database: Database
    grounds: Mapping[str, Ground]
    crew: Crew
    operator: Operator
    watch: Watch
    log: Path
    proxy: Proxy | None = None
    pooler: Pooler | None = None
    hosts: Hosts | None = None

    async def man(self, kinds: Mapping[str, int]) -> None:
        """So many processes of each kind, spread over the hosts; returns once everybody is there."""
        self.crew.start(kinds, [HERE] if self.hosts is None else list(WORKERS))
        try:
            async with asyncio.timeout(CREW_UP_WITHIN):
                query = "SELECT count(*) AS up FROM worker_registry WHERE status = 'running'"
                while (await self.database.eyes.one(query))["up"] < len(self.crew.posts):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not everybody was there after {CREW_UP_WITHIN:g} s\n{self.crew.said()}") from None

    @property
    def tron(self) -> TronGround:
        ground = self.grounds["tron"]
        assert isinstance(ground, TronGround)
        return ground

    @property
    def evm(self) -> EvmGround:
        ground = self.grounds["bsc"]
        assert isinstance(ground, EvmGround)
        return ground


@contextlib.asynccontextmanager
async def stage(
    schedule: Schedule,
    log: Path,
    configuration: Mapping[str, Any] = MappingProxyType(CONFIGURATION),
    surroundings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Stage]:
    """Open it; ``log`` is where the processes write, ``configuration`` as ``Operator.configure`` takes it, and
    ``surroundings`` are more of the processes' environment. Raises HostsUnavailable and what servers raise."""
    async with contextlib.AsyncExitStack() as stack:
        hosts = stack.enter_context(Hosts()) if schedule.layout is Layout.HOSTS else None
        if hosts is not None:
            stack.enter_context(hosts.entered(GROUND))
        address = None if hosts is None else hosts.address(GROUND)
        home = stack.enter_context(temporary_home())
        server = EmbeddedServer(home, settings=settings_for(address))
        stack.callback(server.stop)
        server.start()
        if hosts is not None:
            await _let_hosts_in(server, home, hosts)
        database = await _new_database(server, schedule)
        await stack.enter_async_context(database.psql)
        await stack.enter_async_context(database.eyes)
        connection = await stack.enter_async_context(await AsyncConnection.connect(database.dsn, autocommit=True))
        await connection.execute("SET synchronous_commit = on")
        grounds: dict[str, Ground] = {
            "tron": await stack.enter_async_context(tron_ground(connection, address or "127.0.0.1"))
        }
        if schedule.evm:
            grounds["bsc"] = await stack.enter_async_context(evm_ground(connection, address or "127.0.0.1"))
        write_policy(home, *(ground.policy for ground in grounds.values()))
        await connection.close()
        operator = Operator(database, grounds)
        await operator.configure(**configuration)
        proxy = pooler = None
        if "proxy" in schedule.layout.parts:
            proxy = await stack.enter_async_context(Proxy(database.dsn))
        if "pooler" in schedule.layout.parts:
            directory = stack.enter_context(temporary_home())
            pooler = await stack.enter_async_context(Pooler(database.dsn, map(login_of, LOGINS), directory))

        def environment(kind: str, host: str) -> Mapping[str, str]:
            direct = database.worker_dsn(kind, address)
            if proxy is not None:
                direct = make_conninfo(direct, host="127.0.0.1", port=proxy.port)
            reached = {"DATABASE_URL": direct}
            if pooler is not None:
                reached = {"DATABASE_URL": pooler.dsn(login_of(kind)), "FLAGPOST_LISTEN_URL": direct}
            signs = {"FLAGPOST_MNEMONIC": MNEMONIC} if kind in ("gas-topup", "consolidation") else {}
            return {**reached, **signs, "FLAGPOST_LOG_LEVEL": "DEBUG", "FLAGPOST_HOME": str(home), **surroundings}

        names = list(WORKERS) if hosts is not None else [HERE]
        zygotes = {
            name: await stack.enter_async_context(Zygote(None if hosts is None else hosts.namespace(name)))
            for name in names
        }
        crew = Crew(zygotes, environment, log)
        stack.push_async_callback(crew.close)
        watch = await stack.enter_async_context(Watch(database, crew))
        yield Stage(schedule, database, grounds, crew, operator, watch, log, proxy, pooler, hosts)


async def _new_database(server: EmbeddedServer, schedule: Schedule) -> Database:
    database = Database(server, f"chaos_{schedule.seed}")
    async with await AsyncConnection.connect(server.dsn, autocommit=True) as admin:
        await admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database.name)))
    await migrate(database.dsn)
    async with await AsyncConnection.connect(database.dsn, autocommit=True) as admin:
        await admin.execute("DELETE FROM asset_on_chain")
        await admin.execute("DELETE FROM chains")
    prepare(database.dsn, lazy_commits=schedule.lazy_commits)
    return database


async def _let_hosts_in(server: EmbeddedServer, home: Path, hosts: Hosts) -> None:
    allow_network((home / "postgres" / "data").resolve(), f"{hosts.address(GROUND)}/24")
    async with await AsyncConnection.connect(server.dsn, autocommit=True) as admin:
        await admin.execute("SELECT pg_reload_conf()")
