"""Two hosts, each with a real ``flagpost host`` in a namespace of its own, on one database and one network."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from tests.chaos.invariants import judge_chain, judge_queue
from tests.chaos.rest import at_rest
from tests.chaos.schedule import Layout, Schedule
from tests.chaos.stage import Stage, stage
from tests.e2e.running import FLAGPOST, Running
from tests.patience import PATIENCE
from tests.servers import FAKETIME

KINDS = ("sync", "gas-topup", "consolidation", "confirmations", "sweep")
DEPOSIT = 250
WALL_CLOCK_ALONE = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
HERE = """
SELECT id, pid FROM worker_registry w
WHERE w.host = %s AND w.type <> 'host' AND w.status = 'running' AND has_process(w)
"""
LEFT = """
SELECT id FROM worker_registry w WHERE w.host = %(host)s AND w.type <> 'host' AND has_process(w)
UNION ALL SELECT j.job_id FROM job_logs j JOIN worker_registry w ON w.incarnation = j.leased_by
WHERE w.host = %(host)s AND j.status = 'active' AND NOT j.awaiting_chain
"""
"""Processes of a host, and what they hold."""


@dataclass(eq=False)
class TwoHosts:
    on: Stage
    directory: Path
    clocks: Mapping[str, str]
    """By host: how much its wall clock is ahead or behind."""
    agents: dict[str, Running] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        """Of the database, from the hosts."""
        assert self.on.hosts is not None
        return make_conninfo(self.on.database.dsn, host=self.on.hosts.address())

    async def start(self, host: str) -> None:
        """The agent of that host, in its namespace."""
        assert self.on.hosts is not None
        lines = self.directory / "Procfile"
        lines.write_text("".join(f"{kind}: flagpost {kind}\n" for kind in KINDS), encoding="utf-8")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FLAGPOST_")}
        env = {
            **clean,
            **self.on.crew.environment("gas-topup", host),
            "DATABASE_URL": self.dsn,
            "FLAGPOST_ENV_FILE": os.devnull,
            "FLAGPOST_SIGNING_LEDGER": str(self.directory / f"signed-{host}.jsonl"),
            **self._clock(host),
        }
        inside = [f"--net={self.on.hosts.namespace(host)}", FLAGPOST, "host", "--procfile", str(lines), "--name", host]
        self.agents[host] = Running(inside, env, program="nsenter")

    async def working(self, host: str) -> dict[str, int]:
        """Slots that have a process, with its pid."""
        return {row["id"]: row["pid"] for row in await self.on.database.eyes.ask(HERE, host)}

    async def until_working(self, host: str, *, but: int = 0) -> float:
        """Seconds until one of each kind works there, none of them the process ``but``."""
        begun = time.monotonic()
        while len(found := await self.working(host)) != len(KINDS) or but in found.values():
            await self.look(begun, f"all workers on {host}: {found}")
        return time.monotonic() - begun

    async def until_empty(self, host: str) -> float:
        """Seconds until no worker is there, and none of its jobs is held."""
        begun = time.monotonic()
        pids = (await self.working(host)).values()
        while left := [
            *await self.on.database.eyes.ask(LEFT, {"host": host}),
            *filter(alive, pids),
        ]:
            await self.look(begun, f"nothing left on {host}: {left}")
        return time.monotonic() - begun

    async def until_heard(self, host: str, since: Any) -> float:
        """Seconds until each worker there has sent a heartbeat."""
        begun = time.monotonic()
        query = f"{HERE} AND w.last_heartbeat > %s"
        while len(await self.on.database.eyes.ask(query, host, since)) < len(KINDS):
            await self.look(begun, f"heartbeats of {host}")
        return time.monotonic() - begun

    async def deposit(self) -> None:
        """To all wallets."""
        for number in range(len(self.on.tron.wallets)):
            await self.on.tron.deposit(number, DEPOSIT)

    async def until_taken(self, host: str, since: Any) -> float:
        """Seconds until a worker of that host has taken a job that pays."""
        begun = time.monotonic()
        query = """
            SELECT j.id FROM job_logs j JOIN worker_registry w ON w.incarnation = j.leased_by
            WHERE w.host = %s AND j.job_type = 'consolidation' AND j.started_at > %s LIMIT 1
        """
        while not await self.on.database.eyes.ask(query, host, since):
            await self.look(begun, f"a job that {host} took")
        return time.monotonic() - begun

    async def held(self, host: str, *kinds: str) -> list[str]:
        """Jobs of these types, held by workers of that host."""
        query = """
            SELECT j.job_id FROM job_logs j JOIN worker_registry w ON w.incarnation = j.leased_by
            WHERE w.host = %s AND j.job_type = ANY (%s) AND j.status = 'active'
        """
        return [str(row["job_id"]) for row in await self.on.database.eyes.ask(query, host, list(kinds))]

    async def until_held(self, host: str, *kinds: str) -> list[str]:
        """As soon as it holds some; until then there are deposits again and again."""
        begun = time.monotonic()
        while not (found := await self.held(host, *kinds)):
            if (time.monotonic() - begun) % 5 < 0.1:
                await self.deposit()
            await self.look(begun, f"jobs of {kinds} that {host} holds")
        return found

    async def until_at_rest(self) -> float:
        begun = time.monotonic()
        while not await at_rest(self.on.database.eyes, self.on.grounds):
            await self.look(begun, "at rest")
        return time.monotonic() - begun

    async def judge(self) -> None:
        """Nothing is paid twice, and all is paid."""
        await self.on.tron.finalize()
        assert (await judge_chain(self.on.tron, self.on.database.psql)).problems == []
        assert (await judge_queue(self.on.database.psql)).problems == []
        for agent in self.agents.values():
            assert await asyncio.to_thread(agent.stop) == 0, agent.said[-3000:]

    async def tell(self, slot: str, action: str) -> None:
        await self.on.database.psql.ask("SELECT control_worker(%s, %s)", slot, action)

    async def tell_agent(self, host: str, action: str) -> None:
        query = "SELECT control_worker(id, %s) FROM worker_registry WHERE type = 'host' AND host = %s"
        await self.on.database.psql.ask(query, action, host)

    async def now(self) -> Any:
        return (await self.on.database.eyes.one("SELECT clock_timestamp() AS now"))["now"]

    def _clock(self, host: str) -> Mapping[str, str]:
        offset = self.clocks.get(host)
        return {**WALL_CLOCK_ALONE, "FAKETIME": offset} if offset and FAKETIME.exists() else {}

    async def look(self, begun: float, what: str) -> None:
        """A moment until the next look. Raises AssertionError where it takes too long."""
        if time.monotonic() > begun + PATIENCE:
            said = "\n".join(agent.said[-3000:] for agent in self.agents.values())
            raise AssertionError(f"never: {what}\n{said}")
        await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@contextlib.asynccontextmanager
async def two_hosts(directory: Path, clocks: Mapping[str, str]) -> AsyncIterator[TwoHosts]:
    nothing = Schedule(77, Layout.HOSTS, evm=False, lazy_commits=False, seconds=0, blows=())
    async with stage(nothing, directory / "processes.log") as on:
        made = TwoHosts(on, directory, clocks)
        try:
            yield made
        finally:
            for agent in made.agents.values():
                agent.process.kill()
            for agent in made.agents.values():
                await asyncio.to_thread(agent.__exit__)
