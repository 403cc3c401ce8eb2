"""What operators tell workers, and how workers are listed. Each command is one SQL function
(sql/functions/admin_workers.sql), which writes admin_actions."""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.errors import NotFound
from pipeline.admin.refusals import act
from pipeline.db.rows import fetch, fetch_one

OBEYED_SECONDS = 10.0
"""A command that is not obeyed so long after it was given is a finding."""
LOOK_SECONDS = 0.1


class WorkerAction(StrEnum):
    """What a worker can be told."""

    PAUSE = "pause"
    """Claim nothing, finish what it holds."""
    RESUME = "resume"
    STOP = "stop"
    """Hand back what it holds, and work no more."""
    START = "start"
    RESTART = "restart"
    """Hand back what it holds, and begin anew."""


@dataclass(frozen=True, slots=True)
class ListedWorker:
    """One row of worker_registry."""

    slot: str
    type: str
    blockchain: str | None
    """Names of the chains it serves, with commas; None: all."""
    host: str | None
    pid: int | None
    port: int | None
    """Where it serves its metrics."""
    status: str
    desired: str
    generation: int
    observed_generation: int | None
    """None: of the version before, which obeys pause and resume at its heartbeats."""
    managed_by: str | None
    last_heartbeat: datetime
    last_error: str | None
    has_process: bool
    memory_bytes: int | None
    held: int | None
    """Jobs that it works on."""
    created_at: datetime
    metrics_host: str | None
    """The address that it listens at for its metrics; None: of the version before."""

    @property
    def has_ended(self) -> bool:
        """Whether its process went by itself: pid, memory and what it held are of one that is no more."""
        return not self.has_process and self.status == "stopped"

    @property
    def obeys(self) -> bool:
        """Whether it does what it was told last."""
        if self.observed_generation is None:
            return self.status == self.desired
        if self.observed_generation < self.generation:
            return False
        # One that works may be paused by the switch of the whole system.
        if self.desired == "stopped":
            return self.status == "stopped" or not self.has_process
        return self.has_process and self.status in (self.desired, "paused")


async def listed(
    connection: AsyncConnection[Any],
    *,
    host: str | None = None,
    worker_type: str | None = None,
    slots: Sequence[str] | None = None,
    ended: bool = False,
) -> list[ListedWorker]:
    """Workers that have a process or shall have one, by type and slot; with ``ended`` all that are remembered. Raises
    psycopg.Error."""
    parameters = {"host": host, "type": worker_type, "slots": None if slots is None else list(slots), "ended": ended}
    return [ListedWorker(**row) for row in await fetch(connection, "workers/listed", **parameters)]


async def refuse_unknown(connection: AsyncConnection[Any], *, host: str | None, worker_type: str | None) -> None:
    """Raises NotFound for a host that no worker is known of, and for a type that there is none of; psycopg.Error."""
    known = await fetch_one(connection, "workers/known")
    if worker_type and worker_type not in known["types"]:
        raise NotFound(f'there is no type of worker "{worker_type}"', f"the types: {', '.join(known['types'])}")
    if host and host not in known["hosts"]:
        raise NotFound(f'no worker of host "{host}" is known', f"the hosts: {', '.join(known['hosts']) or 'none'}")


async def control(
    connection: AsyncConnection[Any],
    slots: Sequence[str],
    action: WorkerAction,
    *,
    anyway: bool = False,
    admin: UUID | None = None,
) -> None:
    """Tell all of them, or none. ``anyway``: also the last one that follows payments which are out. Raises NotFound;
    Conflict where nobody can obey, saying which command has to be typed instead; NeedsAnotherWord without
    ``anyway``."""
    async with connection.transaction():
        for slot in slots:
            try:
                await act(connection, "workers/control", worker=slot, action=action, anyway=anyway, admin=admin)
            except NotFound as error:
                raise NotFound(error.message, await _nearest(connection, slot) or error.hint) from None


async def until_obeyed(
    connection: AsyncConnection[Any], slots: Sequence[str], *, within_seconds: float = OBEYED_SECONDS
) -> list[ListedWorker]:
    """The workers once all of them have obeyed, or as they are after that time. Raises NotFound where one of them is
    gone, psycopg.Error."""
    ends = asyncio.get_running_loop().time() + within_seconds
    while True:
        found = await listed(connection, slots=slots, ended=True)
        if len(found) < len(set(slots)):
            gone = set(slots) - {worker.slot for worker in found}
            raise NotFound(f"no such worker: {', '.join(sorted(gone))}", "see: flagpost workers list")
        if all(worker.obeys for worker in found) or asyncio.get_running_loop().time() >= ends:
            return found
        await asyncio.sleep(LOOK_SECONDS)


async def _nearest(connection: AsyncConnection[Any], slot: str) -> str:
    """The slots whose names are nearest, as a question; empty where none is near."""
    near = difflib.get_close_matches(slot, [worker.slot for worker in await listed(connection, ended=True)], n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """What auto-scaling would do with the workers of one type now."""

    type: str
    blockchain: str
    """Names of the chains that these workers are limited to, with commas; empty: all others."""
    depth: int
    """Jobs that are due, counted up to 10,000."""
    workers: int
    wanted: int
    reason: str
    engine: str
    """What carries it out: agent, keda, or off."""


async def scaling_decisions(connection: AsyncConnection[Any]) -> list[ScalingDecision]:
    """Raises psycopg.Error."""
    return [ScalingDecision(**row) for row in await fetch(connection, "scaling/decisions")]
