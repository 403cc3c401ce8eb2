"""What every measure gets: the server, the contestants, how large things are, and how long they may take."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg

from bench import children
from bench.children import Child, ChildFailed
from bench.contestants import OURS, Contestant
from bench.stand import Server
from bench.statements import parts, text

READY_WITHIN = 60.0
SETTLE_SECONDS = 1.0
"""From a worker's word to the first job: not every peer can say when it listens."""
SETTLE_SECONDS_SHORT = 0.3
SETUP_WITHIN = 120.0

Figure = TypeVar("Figure")


class Incomplete(Exception):
    """A contestant did not do all that it was given."""


@dataclass
class Bench:
    """One run."""

    server: Server
    contestants: Sequence[Contestant]
    rounds: int
    short: bool
    scale: float
    """Of all sizes; 1 for the figures that are published."""
    expect: Callable[[int], None]
    """Says how many steps a measure will take, for the progress bar."""
    advance: Callable[[str], None]
    """Says what has been done."""
    cases: Sequence[str] = ()
    """Of the measure payments; empty: all."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Who failed in the measure that runs, and why."""
    _dsns: dict[str, str] = field(default_factory=dict)

    def size(self, full: int, short: int) -> int:
        """How many of something: ``full`` by scale, but never fewer than the ``short`` of the smoke test."""
        return short if self.short else max(short, round(full * self.scale))

    def seconds(self, full: float, short: float) -> float:
        """How long to look at something."""
        return short if self.short else max(short, full * min(1.0, self.scale))

    @property
    def wallets(self) -> int:
        """In our database: one for each job of the largest measure that shares it."""
        return self.size(50_000, 2_000)

    async def database(self, contestant: Contestant) -> str:
        """The DSN of the contestant's database, set up at the first call."""
        if contestant.database not in self._dsns:
            self._dsns[contestant.database] = await self.set_up(contestant, contestant.database, self.wallets)
        return self._dsns[contestant.database]

    async def set_up(self, contestant: Contestant, database: str, wallets: int) -> str:
        """A new database with the contestant's tables; its DSN."""
        dsn = self.server.new_database(database)
        argv = contestant.argv("setup", dsn, "--wallets", wallets)
        await children.run(argv, f"{contestant.name} setup", "done", SETUP_WITHIN, env=contestant.environment)
        return dsn

    async def rounds_of(
        self, racers: Sequence[Contestant], one: Callable[[Contestant], Awaitable[Figure]], what: str
    ) -> dict[str, list[Figure]]:
        """Every racer once a round, in turns. A peer that fails is left out from then on."""
        found: dict[str, list[Figure]] = {racer.name: [] for racer in racers}
        for _ in range(self.rounds):
            for racer in racers:
                if racer.name in self.left_out:
                    continue
                try:
                    found[racer.name].append(await one(racer))
                except (ChildFailed, Incomplete) as error:
                    if racer.name == OURS:
                        raise
                    self.left_out[racer.name] = str(error)
                self.advance(f"{what}: {racer.name}")
        return found

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
            await asyncio.sleep(SETTLE_SECONDS_SHORT if self.short else SETTLE_SECONDS)
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
    """Ask the database until nothing is left to do; when that was, in ns of the monotonic clock. Raises Incomplete."""
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
    raise Incomplete(f"{contestant.name} did not finish its jobs within {within:g} s")
