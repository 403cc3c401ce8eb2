"""A person at psql, at the worst moments. Everything here is in docs/operating.md, or what somebody does without it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.chaos.database import Database
from tests.chaos.ground import Ground


class Operator:
    """Moves return whether they were taken; a refusal is the database's good right."""

    def __init__(self, database: Database, grounds: Mapping[str, Ground]) -> None:
        self._psql = database.psql
        self._grounds = grounds
        self._by_hand = 0
        self._pauses = 0

    async def flip(self, wallets: list[int], flag: str, to: bool) -> bool:
        """A flag up that nothing calls for, or down while its job runs."""
        chosen = [ground.wallets[number].id for ground in self._grounds.values() for number in wallets]
        update = sql.SQL("UPDATE wallets SET {} = %s WHERE id = ANY (%s)").format(sql.Identifier(flag))
        return await self._psql.try_(update.as_string(), to, chosen)

    async def retry(self) -> bool:
        return await self._psql.try_("SELECT retry_failed_jobs(NULL, 1)")

    async def cancel(self) -> bool:
        """Some job that waits, or one that waits no longer."""
        return await self._psql.try_(
            "SELECT cancel_job(job_id) FROM job_logs WHERE status IN ('pending', 'retrying', 'active') "
            "ORDER BY status = 'active', random() LIMIT 1"
        )

    async def clean_up(self, minutes: int) -> bool:
        return await self._psql.try_("SELECT cleanup_stuck_jobs(%s)", minutes)

    async def insert(self, job_type: str, wallet: int) -> bool:
        """A job with nothing but what the runbook names."""
        taken = False
        for ground in self._grounds.values():
            self._by_hand += 1
            taken |= await self._psql.try_(
                "INSERT INTO job_logs (job_id, job_type, status, wallet_address, data) "
                "VALUES (%s, %s, 'pending', %s, %s)",
                *(f"by-hand-{self._by_hand}", job_type, ground.wallets[wallet].address, Jsonb({"chain": ground.name})),
            )
        return taken

    async def pause(self, seconds: float) -> None:
        """The whole system; overlapping pauses end with the last."""
        self._pauses += 1
        await self._set_paused(True)
        await asyncio.sleep(seconds)
        self._pauses -= 1
        if not self._pauses:
            await self._set_paused(False)

    async def pause_worker(self, pid: int, seconds: float) -> None:
        """In worker_registry, by its row."""
        update = "UPDATE worker_registry SET status = %s WHERE pid = %s AND status = %s"
        await self._psql.try_(update, "paused", pid, "running")
        await asyncio.sleep(seconds)
        await self._psql.ask(update, "running", pid, "paused")

    async def forget_workers(self, share: float) -> bool:
        """Tidies worker_registry up a little too much."""
        return await self._psql.try_("DELETE FROM worker_registry WHERE random() < %s", share)

    async def unlock(self) -> bool:
        """Not only what has expired."""
        return await self._psql.try_(
            "UPDATE wallet_balances SET processing_status = 'idle', locked_until = NULL, locked_by = NULL "
            "WHERE processing_status = 'processing'"
        )

    async def switch_chain(self, name: str, seconds: float) -> None:
        await self._psql.try_("UPDATE chains SET is_active = false WHERE name = %s", name)
        await asyncio.sleep(seconds)
        await self._psql.ask("UPDATE chains SET is_active = true WHERE name = %s", name)

    async def calm(self) -> None:
        """Nothing is paused or switched off."""
        self._pauses = 0
        await self._set_paused(False)
        await self._psql.ask("UPDATE worker_registry SET status = 'running' WHERE status = 'paused'")
        await self._psql.ask("UPDATE chains SET is_active = true WHERE NOT is_active AND id = ANY (%s)", self._chains())

    async def run_now(self) -> None:
        """What waits for a time of its own need not."""
        await self._psql.ask(
            "UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying') AND run_at > now()"
        )

    async def configure(self, **values: Any) -> None:
        """Rows of system_config; ``__`` stands for the dot."""
        for name, value in values.items():
            await self._psql.ask(
                "INSERT INTO system_config (key, value) VALUES (%s, %s) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                *(name.replace("__", "."), Jsonb(value)),
            )

    def _chains(self) -> list[int]:
        return [ground.chain_id for ground in self._grounds.values()]

    async def _set_paused(self, paused: bool) -> None:
        await self.configure(paused=paused)
