"""What every measure gets: the server, the contestants, and how long it may take."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from bench import children
from bench.children import Child, ChildFailed
from bench.contestants import Contestant
from bench.stand import Server
from bench.statements import parts, text

READY_WITHIN = 60.0
SETTLE_SECONDS = 1.0
"""From a worker's word to the first job: not every peer can say when it listens."""
SETUP_WITHIN = 120.0


@dataclass
class Bench:
    """One run."""

    server: Server
    contestants: Sequence[Contestant]
    rounds: int
    short: bool
    advance: Callable[[str], None]
    """Says what has been done, for the progress bar."""

    async def set_up(self, contestant: Contestant, *arguments: object) -> str:
        """A new database with the contestant's tables; its DSN."""
        dsn = self.server.new_database(contestant.database)
        argv = contestant.argv("setup", dsn, *arguments)
        await children.run(argv, f"{contestant.name} setup", "done", SETUP_WITHIN, env=contestant.environment)
        return dsn

    def reset(self, contestant: Contestant, dsn: str) -> None:
        """Empty the queue; then a checkpoint, so that none falls into the round."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            for part in parts(f"{contestant.sql}/reset"):
                connection.execute(part)
            connection.execute("CHECKPOINT")

    @asynccontextmanager
    async def worker(self, contestant: Contestant, dsn: str) -> AsyncIterator[Child]:
        """A worker that waits for work."""
        async with self.started(contestant, "work", dsn) as running:
            await running.expect("ready", READY_WITHIN)
            await asyncio.sleep(SETTLE_SECONDS)
            yield running

    def started(
        self, contestant: Contestant, action: str, dsn: str, *arguments: object
    ) -> AbstractAsyncContextManager[Child]:
        """A command that runs."""
        argv = contestant.argv(action, dsn, *arguments)
        return children.child(argv, f"{contestant.name} {action}", env=contestant.environment)

    async def ask(self, contestant: Contestant, action: str, dsn: str, within: float, *arguments: object) -> Any:
        """The report of a short-lived command."""
        argv = contestant.argv(action, dsn, *arguments)
        return await children.run(argv, f"{contestant.name} {action}", "report", within, env=contestant.environment)


async def until_empty(contestant: Contestant, dsn: str, within: float) -> int:
    """Ask the database until nothing is left to do; when that was, in ns of the monotonic clock. Raises ChildFailed."""
    deadline = time.monotonic() + within
    question = text(f"{contestant.sql}/remaining")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        while time.monotonic() < deadline:
            cursor = await connection.execute(question)
            now = time.monotonic_ns()
            row = await cursor.fetchone()
            if row is not None and not row[0]:
                return now
            await asyncio.sleep(0.005)
    raise ChildFailed(f"{contestant.name} did not finish its jobs within {within:g} s")
