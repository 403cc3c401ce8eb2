"""A process in worker_registry: it enters itself, says that it lives, and learns whether an operator paused it."""

import os
import socket
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from pipeline.db.pool import Pool
from pipeline.db.rows import fetch_value


class Registration:
    """The row of one process. Its incarnation is drawn here, not in the database, so that it survives a lost row."""

    def __init__(self, pool: Pool, worker_type: str, *, blockchain: str | None = None) -> None:
        self.incarnation: UUID = uuid4()
        """Names this process in leases, locks and leaderships; no other process ever has it, whatever its slot."""
        self.slot: str | None = None
        """The row's id, such as ``tron-gas-topup-001``; another one after the row was lost. None: not registered."""
        self.type = worker_type
        self.blockchain = blockchain
        self.pid = os.getpid()
        self.host = socket.gethostname()
        self.name = f"{worker_type}@{self.host}:{self.pid}"
        self.paused_by_operator = False
        self._pool = pool
        self._token = uuid4().hex
        """Proves to the database that the row is this process's; the row has its hash."""
        self._known_status = "running"

    async def register(self) -> None:
        """Enter the row as running, in the lowest slot that is free. Raises psycopg errors; FP015 and FP016 where the
        database refuses."""
        async with self._pool.connection() as connection:
            self.slot = await fetch_value(
                connection,
                "workers/register",
                incarnation=self.incarnation,
                name=self.name,
                type=self.type,
                blockchain=self.blockchain,
                pid=self.pid,
                host=self.host,
                config=Jsonb({}),
                token=self._token,
            )
        self._known_status = "running"

    async def heartbeat(
        self, *, paused: bool, stats: Mapping[str, Any] | None = None, last_error: str | None = None
    ) -> None:
        """Say that the process lives, and whether it is paused by the system's switch. ``last_error``: what is wrong
        now; empty: nothing; None: as it said before. Raises psycopg errors.

        A status that differs from the one this process wrote last was written by an operator: it stays, and
        ``paused_by_operator`` follows it.
        """
        wanted = "paused" if paused or self.paused_by_operator else "running"
        found = await self._write(wanted, stats, last_error)
        if found is None:
            await self.register()
            found = await self._write(wanted, stats, last_error) or wanted
        self.paused_by_operator = found == "paused" and (self.paused_by_operator or wanted != "paused")
        self._known_status = found

    async def deregister(self, *, stats: Mapping[str, Any] | None = None, last_error: str | None = None) -> None:
        """Say that the process goes. Its jobs count as abandoned from now on."""
        await self._write("stopped", stats, last_error)

    async def _write(self, status: str, stats: Mapping[str, Any] | None, last_error: str | None) -> str | None:
        async with self._pool.connection() as connection:
            found: str | None = await fetch_value(
                connection,
                "workers/heartbeat",
                incarnation=self.incarnation,
                known_status=self._known_status,
                status=status,
                last_error=last_error,
                stats=None if stats is None else Jsonb(dict(stats)),
                token=self._token,
            )
            return found
