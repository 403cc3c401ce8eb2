"""The server of a run and what can happen to it."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.embedded.server import EmbeddedServer
from pipeline.workers.confirmations import Confirmations
from pipeline.workers.executor import Executor
from pipeline.workers.sweep import Sweep
from pipeline.workers.sync import Sync
from tests.chaos.psql import Psql

SERVER = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "1h",
    "deadlock_timeout": "200ms",
}
"""A crash of the server process loses nothing that was written, with or without fsync; only a machine's would."""
LOGINS = {
    "sync": Sync.role,
    "gas-topup": Executor.role,
    "consolidation": Executor.role,
    "confirmations": Confirmations.role,
    "sweep": Sweep.role,
}
"""The role of each kind of process. Each has a login of its own, as behind a pooler it must."""
SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND usename LIKE 'chaos_%%' AND application_name LIKE 'flagpost ' || %(like)s
      AND random() < %(share)s
    ORDER BY random() LIMIT %(most)s
"""
"""Of the workers."""


def login_of(kind: str) -> str:
    return f"chaos_{kind.replace('-', '_')}"


class Database:
    """One database on a server that may be restarted. ``psql`` is the operator's, ``eyes`` the observer's session."""

    def __init__(self, server: EmbeddedServer, name: str) -> None:
        self.server = server
        self.name = name
        self.dsn = make_conninfo(server.dsn, dbname=name)
        """Of the superuser."""
        # What a person sees done must stay done, also where the workers' commits are lazy.
        durable = "-c synchronous_commit=on"
        self.psql = Psql(make_conninfo(self.dsn, application_name="operator", options=durable))
        self.eyes = Psql(make_conninfo(self.dsn, application_name="observer", options=durable))
        self._restarting = asyncio.Lock()

    def worker_dsn(self, kind: str, host: str | None = None) -> str:
        """As that kind of process logs in, by the socket or over TCP."""
        parts = conninfo_to_dict(self.dsn) | {"user": login_of(kind)}
        if host is not None:
            parts |= {"host": host}
        return make_conninfo("", **parts)

    async def restart(self, seconds: float) -> None:
        """``pg_ctl stop -m immediate``, ``seconds`` of nothing, start, recovery."""
        async with self._restarting:
            os.kill(self.server.pid, signal.SIGQUIT)
            await asyncio.to_thread(self.server.wait)
            self.server.stop()
            await asyncio.sleep(seconds)
            self.server.start()

    async def crash_backend(self) -> bool:
        """SIGKILL of one session's process: the server ends all of them and recovers by itself."""
        if self._restarting.locked():
            return False
        sessions = await self._sessions("%", 1.0, most=1)
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(sessions)

    async def terminate(self, like: str, share: float) -> int:
        """Of the workers' sessions whose application_name is ``flagpost <like>``; how many were hit."""
        sessions = await self._sessions(like, share)
        await self.eyes.ask("SELECT pg_terminate_backend(pid) FROM unnest(%s::integer[]) AS chosen (pid)", sessions)
        return len(sessions)

    async def end_leases(self) -> int:
        """Every leadership is anybody's, while whoever has it is at work; how many there were."""
        ended = await self.eyes.ask("UPDATE leaderships SET until = now() WHERE until > now() RETURNING name")
        return len(ended)

    async def cancel(self, like: str, share: float) -> int:
        """The same with statements that run."""
        sessions = await self._sessions(like, share)
        await self.eyes.ask("SELECT pg_cancel_backend(pid) FROM unnest(%s::integer[]) AS chosen (pid)", sessions)
        return len(sessions)

    async def fill_up(self, seconds: float) -> None:
        """No new connection is taken, and half of those that were there are gone."""
        await self._limit(0)
        try:
            await self.terminate("%", 0.5)
            await asyncio.sleep(seconds)
        finally:
            await self._limit(-1)

    async def lock(self, table: str, seconds: float) -> None:
        """Somebody at psql has begun, locked half of a table's rows, and gone for a coffee."""
        with contextlib.suppress(psycopg.Error):
            async with await AsyncConnection.connect(self.dsn, connect_timeout=5) as session:
                rows = sql.SQL("SELECT FROM {} WHERE random() < 0.5 FOR UPDATE").format(sql.Identifier(table))
                await session.execute(rows)
                await asyncio.sleep(seconds)

    async def _sessions(self, like: str, share: float, *, most: int = 10_000) -> list[int]:
        rows = await self.eyes.ask(SESSIONS, {"like": like, "share": share, "most": most})
        return [int(row["pid"]) for row in rows]

    async def _limit(self, connections: int) -> None:
        statement = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
        await self.psql.ask(statement.format(sql.Identifier(self.name), sql.Literal(connections)).as_string())


def allow_network(data: Path, network: str) -> None:
    """Let a network in without a password: one that ends at this machine's own namespaces."""
    with (data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
        rules.write(f"host all all {network} trust\n")


def prepare(dsn: str, *, lazy_commits: bool) -> None:
    """Logins, privileges and the history of jobs in a migrated database."""
    history = (Path(__file__).parent / "job_trail.sql").read_text(encoding="utf-8")
    with psycopg.connect(dsn, autocommit=True) as admin:
        for kind, role in LOGINS.items():
            login = login_of(kind)
            known = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone()
            if known is None:
                create = (
                    "CREATE ROLE {0} LOGIN IN ROLE {1}; ALTER ROLE {0} SET role = {2};"
                    " ALTER ROLE {0} SET search_path = pg_catalog, public, pg_temp"
                )
                admin.execute(sql.SQL(create).format(sql.Identifier(login), sql.Identifier(role), sql.Literal(role)))
        if lazy_commits:
            name = admin.info.dbname
            admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))
        admin.execute(history)


def settings_for(address: str | None) -> dict[str, Any]:
    """Of the server; ``address``: where it listens for TCP."""
    return SERVER | ({} if address is None else {"listen_addresses": address})
