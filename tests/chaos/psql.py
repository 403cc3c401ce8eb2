"""A person's session at psql: it connects again when it is cut, and takes a refusal for an answer."""

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from pipeline.db.pool import Connection

PATIENCE_SECONDS = 40.0
"""How long the server may be away for somebody who has to have an answer."""
PAUSE_SECONDS = 0.1

GONE = (psycopg.OperationalError, psycopg.InterfaceError)


class Psql:
    """``async with Psql(dsn) as psql``. One question at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._hang_up()

    async def ask(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """All rows, however often it takes. ``parameters`` in order, or one dictionary of them.

        Raises TimeoutError when the server stays away, psycopg.Error for what it refuses."""
        async with self._asking, asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await self._ask(query, parameters)
                except GONE:
                    await self._hang_up()
                    await asyncio.sleep(PAUSE_SECONDS)

    async def one(self, query: str, *parameters: Any) -> dict[str, Any]:
        """The only row."""
        rows = await self.ask(query, *parameters)
        assert len(rows) == 1, f"{len(rows)} rows for {query}"
        return rows[0]

    async def try_(self, query: str, *parameters: Any) -> bool:
        """Once; False when the server is away, or refuses."""
        async with self._asking:
            try:
                await self._ask(query, parameters)
            except GONE:
                await self._hang_up()
                return False
            except psycopg.Error:
                return False
            return True

    async def _ask(self, query: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
        if self._connection is None:
            self._connection = await AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5)
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            named = parameters[0] if parameters and isinstance(parameters[0], dict) else parameters or None
            await cursor.execute(query, named)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()
