"""The slots of a host in worker_registry, which its agent takes and gives back (sql/functions/host_agents.sql)."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Error
from psycopg.types.json import Jsonb

from pipeline.db.pool import Pool
from pipeline.db.rows import fetch
from pipeline.scaling.lines import WorkerLine
from pipeline.workers.registry import Desired, Registration

ANOTHER_AGENT = "FP003"
"""SQLSTATE."""


class AgentIsThere(Exception):
    """The host has an agent already; the message says which."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot that this host has."""

    slot: str
    type: str
    blockchain: str
    """Names of the chains, with commas; empty: all."""
    desired: Desired
    generation: int
    pid: int | None
    """Of the last process that registered in it."""
    kept: bool
    """False: its process is to end, and the slot is given back then."""
    free: bool
    """Whether a process may be started: the last one is gone and holds nothing any more."""
    restart_generation: int = 0
    """The last generation that was a restart."""
    incarnation: UUID | None = None
    """Of the last process that registered in it."""
    heartbeat: datetime | None = None
    """The last one of that process, by the clock of the database."""
    observed: int | None = None
    """The generation up to which that process has obeyed; None: one that does not say so."""
    locked: bool = False
    """Whether somebody's transaction keeps that process from sending a heartbeat."""

    @property
    def is_to_run(self) -> bool:
        """Whether there is to be a process in it."""
        return self.kept and self.desired is not Desired.STOPPED


def strays(slots: Iterable[Slot]) -> Set[tuple[str, str, int]]:
    """Type, chains and pid of the processes that are to end because they are in a slot that is not kept. A process of
    this host may be one of them: it registers in another slot than it was started for where that is not free in time.
    The type belongs to it: with the pid alone, whose login may register workers of one type could have those of all
    types ended."""
    return {(slot.type, slot.blockchain, slot.pid) for slot in slots if not slot.kept and slot.pid is not None}


class Slots:
    """What one agent has."""

    def __init__(self, pool: Pool, registration: Registration, lines: Sequence[WorkerLine]) -> None:
        self._pool = pool
        self._registration = registration
        self._lines = Jsonb([{"type": line.type, "blockchain": line.blockchain} for line in lines])

    async def take(self, running: Collection[str]) -> Mapping[str, Slot]:
        """Take and give back as it is wanted now; what this agent has then, by slot. ``running``: where it has a
        process. Raises AgentIsThere, psycopg errors."""
        rows = await self._ask("hosts/take_slots", lines=self._lines, running=sorted(running))
        return {row["slot"]: Slot(**{**row, "desired": Desired(row["desired"])}) for row in rows}

    async def ended(self, slot: str, pid: int, error: str | None) -> None:
        """Say that the process has ended; ``error``: why none is started there any more. Raises AgentIsThere, psycopg
        errors."""
        await self._ask("hosts/end_slot", slot=slot, pid=pid, error=error)

    async def _ask(self, name: str, **parameters: Any) -> Sequence[Mapping[str, Any]]:
        try:
            async with self._pool.connection() as connection:
                return await fetch(connection, name, **parameters, **self._registration.proof)
        except Error as error:
            if error.sqlstate == ANOTHER_AGENT:
                raise AgentIsThere(f"{error.diag.message_primary}. {error.diag.message_hint}") from None
            raise
