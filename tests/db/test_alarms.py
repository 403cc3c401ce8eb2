"""What stands still is said by the sweep without being asked: once, and when it is over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest

from pipeline.db import rows as db_rows
from pipeline.db.pool import Connection, Pool
from pipeline.workers import slow
from pipeline.workers.alarms import Alarms
from pipeline.workers.leader import Leader
from pipeline.workers.sweep import Sweep
from tests.db.doctor_faults import FAULTS
from tests.db.test_repairs import Alone, without_triggers
from tests.db.test_sweep import Cycles, break_off, often
from tests.db.worker_kit import executor_pool, heartbeat, rows, running
from tests.logs import logged
from tests.patience import PATIENCE
from tests.seed import Chain, add_wallets

STANDSTILLS = {fault.check: fault for fault in reversed(FAULTS) if fault.level.value == "fail"}
"""The first fault of each check."""


class Desk(Alone):
    """As much of a runtime as alarms need."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        from pipeline.config import RuntimeConfig

        self.config = RuntimeConfig()

    @property
    def last_error(self) -> str:
        return str(self.troubles)


@contextlib.asynccontextmanager
async def alarms_of(dsn: str) -> AsyncIterator[tuple[Alarms, Any]]:
    async with executor_pool(dsn) as pool:
        desk = Desk(pool)
        yield Alarms(desk), desk  # type: ignore[arg-type]


async def make(connection: Connection, check: str) -> None:
    statements = STANDSTILLS[check].sql
    async with without_triggers(connection):
        for statement in (statements,) if isinstance(statements, str) else statements:
            await connection.execute(statement)  # type: ignore[call-overload]


@pytest.mark.parametrize("check", ["queue.due", "queue.flags", "wallets.unread", "money.out"])
async def test_a_standstill_is_said_once_and_shown(
    connection: Connection, database: str, tron: Chain, check: str
) -> None:
    await add_wallets(connection, tron, 2)
    async with alarms_of(database) as (alarms, desk):
        with logged("ERROR") as lines:
            assert await alarms.check() == []
            assert desk.beats == 0
            await make(connection, check)
            found = await alarms.check()
            assert STANDSTILLS[check].said.split(";")[0] in found[0]
            assert desk.last_error == "; ".join(found)
            await alarms.check()
        assert [line for line in lines if found[0] in line] == [f"ERROR sweep: {found[0]}; see: flagpost doctor"]
        assert len(lines) == len(found)


async def test_what_is_over_is_taken_back_and_said_anew_if_it_returns(
    connection: Connection, database: str, tron: Chain
) -> None:
    await add_wallets(connection, tron, 2)
    async with alarms_of(database) as (alarms, desk):
        with logged("INFO") as lines:
            await make(connection, "wallets.unread")
            assert len(await alarms.check()) == 2
            await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '1 minute'")
            assert await alarms.check() == []
            assert desk.last_error == ""
            await make(connection, "wallets.unread")
            assert len(await alarms.check()) == 2
    assert [line.split(":")[0].split(" ")[0] for line in lines] == ["ERROR", "ERROR", "INFO", "INFO", "ERROR", "ERROR"]


async def test_a_paused_system_raises_no_alarm(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    async with alarms_of(database) as (alarms, desk):
        desk.config = desk.config.model_copy(update={"paused": True})
        for check in ("queue.due", "queue.flags", "wallets.unread"):
            await make(connection, check)
        assert await alarms.check() == []


async def test_the_sweep_shows_it_in_the_registry(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    await make(connection, "wallets.unread")
    await often(connection)
    cycles = Cycles()
    async with running(Sweep(observer=cycles), database) as runtime:
        for _ in range(2):
            await cycles.until(lambda _: True)
        await heartbeat(runtime)
        (row,) = await rows(connection, "SELECT last_error FROM worker_registry WHERE type = 'sweep'")
    assert "TRX balances have been due for 60 min; no sync reads them" in row["last_error"]


async def test_a_sweep_that_stands_by_says_nothing(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who acts instead says it: what this one knows would be shown for as long as it lives."""
    await add_wallets(connection, tron, 2)
    await make(connection, "wallets.unread")
    await often(connection)
    cycles = Cycles()
    async with running(Sweep(observer=cycles, standby_seconds=0.05), database) as runtime:
        for _ in range(2):
            await cycles.until(lambda _: True)
        assert runtime.last_error is not None
        monkeypatch.setattr(Leader, "leads", AsyncMock(return_value=False))
        async with asyncio.timeout(PATIENCE):
            while runtime.last_error is not None:
                await heartbeat(runtime)


async def test_what_others_say_of_the_process_stays(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    async with alarms_of(database) as (alarms, desk):
        desk.troubles.say("watchdog", "end this session")
        await alarms.check()
        assert desk.last_error == "end this session"
        await make(connection, "wallets.unread")
        found = await alarms.check()
        assert desk.last_error == "; ".join(["end this session", *found])
        desk.troubles.say("watchdog", "")
        assert desk.last_error == "; ".join(found)


async def test_a_question_that_the_server_breaks_off_keeps_no_other_from_being_asked(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_wallets(connection, tron, 2)
    await break_off(connection, "broken_off", "")
    real = db_rows.statement
    asked: list[str] = []

    def statement(name: str) -> Any:
        asked.append(name)
        return b"SELECT broken_off()" if name == "doctor/queue_due" else real(name)

    async with alarms_of(database) as (alarms, desk):
        await make(connection, "queue.due")
        (due,) = await alarms.check()
        await make(connection, "wallets.unread")
        monkeypatch.setattr(db_rows, "statement", statement)
        with logged("INFO") as lines:
            found = await alarms.check()
            assert due in found, "nobody knows that it is over"
            assert [one for one in found if "balances have been due" in one]
            await alarms.check()
        assert asked.count("doctor/queue_due") == 2, "it is left out for a while"
        assert len([line for line in lines if "doctor/queue_due" in line]) == 1
        assert "the server breaks off the statement doctor/queue_due" in desk.last_error
        monkeypatch.undo()
        later = slow.time.monotonic() + slow.LEFT_OUT_SECONDS
        monkeypatch.setattr(slow.time, "monotonic", lambda: later)
        await alarms.check()
        assert "doctor/queue_due" not in desk.last_error
