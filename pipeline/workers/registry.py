"""A process in worker_registry: it enters itself, says that it lives, and learns what operators tell it.

    registered ──(told to pause)──▶ paused ──(resume)──▶ running
        └──(told to stop)──▶ parked, or ended under the agent of a host ──(start)──▶ running

What is told belongs to the slot: a process that begins in one that was stopped does not work.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from pipeline.db.pool import Pool
from pipeline.db.rows import fetch


class Desired(StrEnum):
    """What a process is told to do: ``worker_registry.desired``."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerOrders:
    """What operators told a slot, and where that stands in the order of commands."""

    desired: Desired = Desired.RUNNING
    generation: int = 0
    restart_generation: int = 0


@dataclass(frozen=True, slots=True)
class Launched:
    """How a process was started (``Settings``)."""

    host: str = ""
    """Its name for people and for the agent; empty: what the machine says."""
    slot: str | None = None
    """The slot it is to have."""
    managed_by: str | None = None
    """The host whose agent started it, and starts it again."""


class Registration:
    """The row of one process. Its incarnation is drawn here, not in the database, so that it survives a lost row."""

    def __init__(
        self, pool: Pool, worker_type: str, *, blockchain: str | None = None, launched: Launched | None = None
    ) -> None:
        launched = launched or Launched()
        self.incarnation: UUID = uuid4()
        """Names this process in leases, locks and leaderships; no other process ever has it, whatever its slot."""
        self.slot: str | None = None
        """The row's id, such as ``tron-gas-topup-001``; another one after the row was lost. None: not registered."""
        self.orders = WorkerOrders()
        """What this process is told, as it last heard."""
        self.observed = 0
        """The generation up to which it has obeyed."""
        self.type = worker_type
        # In one order, whatever the command line's: it is compared with worker_targets.blockchain.
        self.blockchain = blockchain and ",".join(sorted(set(blockchain.split(","))))
        self.pid = os.getpid()
        self.host = launched.host or socket.gethostname()
        self.port: int | None = None
        """Where it serves its metrics."""
        self.name = f"{worker_type}@{self.host}:{self.pid}"
        self.managed_by = launched.managed_by
        self.config: Mapping[str, Any] = {}
        """``worker_registry.config``: what it was started with, for people and agents."""
        self._wanted_slot = launched.slot
        self._asked = self._heard = 0
        """Questions, and the last one whose answer counts."""
        self._pool = pool
        self._token = uuid4().hex
        """Proves to the database that the row is this process's; the row has its hash."""

    @property
    def proof(self) -> Mapping[str, Any]:
        """Which process this is, and the secret that proves it: parameters of statements that act for its row."""
        return {"incarnation": self.incarnation, "token": self._token}

    @property
    def paused_by_operator(self) -> bool:
        """Whether an operator told this process to take nothing new."""
        return self.orders.desired is not Desired.RUNNING

    @property
    def restart_due(self) -> bool:
        """Whether it was told to start anew, and has not."""
        return self.observed < self.orders.restart_generation

    async def register(self, *, any_slot: bool = True) -> bool:
        """Enter the row as running: in the slot that it was started for, else in that of the process on this host that
        it replaces, else in the lowest one that is free. What was told there holds. False: the slot that it was started
        for is not free (yet), and ``any_slot`` takes no other. Raises psycopg errors; FP015 and FP016 where the
        database refuses."""
        entered = await self._enter(elsewhere=any_slot)
        if entered is None:
            return False
        self.slot, self.orders = entered
        # Commands before this process began are obeyed by beginning; a stop or a pause once it parks or pauses.
        orders = self.orders
        self.observed = (
            max(orders.restart_generation, orders.generation - 1) if self.paused_by_operator else orders.generation
        )
        return True

    async def heartbeat(
        self, status: str, *, stats: Mapping[str, Any] | None = None, last_error: str | None = None
    ) -> None:
        """Say that the process lives, and does what ``status`` says: running, paused, or stopped where it is parked;
        then ``orders`` are what it is told. ``last_error``: what is wrong now; empty: nothing; None: as it said before.
        Raises psycopg errors."""
        if not await self._report(status, stats, last_error, ended=False):
            await self.register()
            await self._report(status, stats, last_error, ended=False)

    async def read_orders(self) -> bool:
        """Ask what this process is told; whether the system is paused. Raises LookupError where it has no row any more,
        and psycopg errors."""
        asked = self._ask()
        async with self._pool.connection() as connection:
            rows = await fetch(connection, "workers/orders", incarnation=self.incarnation)
        if not rows:
            raise LookupError(f"{self.slot} is not registered any more")
        (row,) = rows
        paused = bool(row.pop("system_paused"))
        self._hear(row, asked)
        return paused

    def obeyed(self, generation: int) -> None:
        """Commands up to that one are carried out; the next heartbeat says so."""
        self.observed = max(self.observed, generation)

    async def deregister(
        self, *, ended: bool = True, stats: Mapping[str, Any] | None = None, last_error: str | None = None
    ) -> None:
        """Say that the process goes. Its jobs count as abandoned from now on. ``ended`` False: it begins anew at once,
        and can be told something meanwhile."""
        await self._report("stopped", stats, last_error, ended=ended)

    async def _enter(self, *, elsewhere: bool) -> tuple[str, WorkerOrders] | None:
        async with self._pool.connection() as connection:
            rows = await fetch(
                connection,
                "workers/register",
                incarnation=self.incarnation,
                name=self.name,
                type=self.type,
                blockchain=self.blockchain,
                pid=self.pid,
                host=self.host,
                port=self.port,
                config=Jsonb(dict(self.config)),
                token=self._token,
                slot=self.slot or self._wanted_slot,
                elsewhere=elsewhere,
                # One that had a row, and lost it, was told that itself.
                desired=None if self.slot is None else self.orders.desired,
                managed_by=self.managed_by,
            )
        if not rows:
            return None
        (row,) = rows
        return row.pop("slot"), _orders(row)

    async def _report(
        self, status: str, stats: Mapping[str, Any] | None, last_error: str | None, *, ended: bool
    ) -> bool:
        """Whether the row is there."""
        asked = self._ask()
        async with self._pool.connection() as connection:
            rows = await fetch(
                connection,
                "workers/report",
                incarnation=self.incarnation,
                status=status,
                observed=self.observed,
                ended=ended,
                last_error=last_error,
                stats=None if stats is None else Jsonb(dict(stats)),
                token=self._token,
            )
        if rows:
            self._hear(rows[0], asked)
        return bool(rows)

    def _ask(self) -> int:
        self._asked += 1
        return self._asked

    def _hear(self, row: Mapping[str, Any], asked: int) -> None:
        """The poll and the heartbeat ask at the same time: an answer that comes late says no more what is told now."""
        if asked < self._heard:
            return
        self._heard = asked
        self.orders = _orders(row)
        # A database that was restored to an earlier time counts on from there: the next command was not obeyed yet.
        self.observed = min(self.observed, self.orders.generation)


def _orders(row: Mapping[str, Any]) -> WorkerOrders:
    return WorkerOrders(Desired(row["desired"]), row["generation"], row["restart_generation"])
