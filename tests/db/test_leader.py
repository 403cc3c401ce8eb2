"""Leadership is a lease: renewed by who lives, taken from who does not, and given by nobody but the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from pipeline.db.errors import DATABASE_GONE
from pipeline.db.pool import Connection, Pool, pool_of
from pipeline.workers import leader as leaders
from pipeline.workers.leader import Leader
from tests.db.sessions import rows, value
from tests.db.worker_kit import PATIENCE, Door
from tests.seed import Chain

NAME = "confirmations tron"
LEAD = "SELECT lead(%s, %s, '30 seconds')"
LEASE = "SELECT holder, lease FROM leaderships"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """Of the confirmation worker's role."""
    async with pool_of(database, "test", role="pipeline_confirmations", max_size=4) as opened:
        yield opened


@pytest.fixture
async def leading(pool: Pool, tron: Chain) -> AsyncIterator[Leader]:
    """One that leads."""
    leader = Leader(pool, uuid4(), NAME)
    assert await leader.leads()
    yield leader
    await leader.close()


@pytest.fixture
async def standby(pool: Pool) -> AsyncIterator[Leader]:
    leader = Leader(pool, uuid4(), NAME)
    yield leader
    await leader.close()


async def add_worker(connection: Connection, worker_id: UUID, status: str, lost: timedelta | None) -> None:
    await connection.execute(
        "INSERT INTO worker_registry (id, incarnation, name, type, status, session_seen, session_lost_at)"
        " VALUES ('tron-confirmations-001', %s, 'c1', 'confirmations', %s, true, now() - %s::interval)",
        [worker_id, status, lost],
    )


async def test_one_leads_until_it_closes(connection: Connection, leading: Leader, standby: Leader) -> None:
    assert await leading.leads()
    assert leading.lease == 1
    assert not await standby.leads()
    await leading.close()
    assert await standby.leads()
    assert await rows(connection, LEASE) == [(standby._worker_id, 2)]
    await standby.close()
    assert await rows(connection, LEASE) == [(None, 2)]


async def test_a_lease_that_is_over_is_anybodys(connection: Connection, leading: Leader, standby: Leader) -> None:
    """Of a leader that was frozen, or cut off. It learns so before its next piece of work."""
    await connection.execute("UPDATE leaderships SET until = now() - interval '1 ms'")
    assert await standby.leads()
    assert not await leading.leads()
    assert leading.lease is None


async def test_who_comes_back_in_time_goes_on(connection: Connection, leading: Leader) -> None:
    await connection.execute("UPDATE leaderships SET until = now() - interval '1 ms'")
    assert await leading.leads()
    assert leading.lease == 1
    assert await value(connection, "SELECT until > now() + interval '29 s' FROM leaderships")


async def test_a_lease_given_by_a_wrong_clock_is_not_believed(
    connection: Connection, leading: Leader, standby: Leader
) -> None:
    """The server's clock was 400 days ahead when it was renewed for the last time."""
    await connection.execute("UPDATE leaderships SET until = now() + interval '400 days'")
    assert await standby.leads()
    assert await value(connection, "SELECT until < now() + interval '31 s' FROM leaderships")


@pytest.mark.parametrize(
    ("status", "lost", "taken"),
    [
        ("running", timedelta(seconds=6), True),
        ("running", timedelta(seconds=3), False),
        ("running", None, False),
        ("stopped", None, True),
        ("error", None, False),
    ],
)
async def test_a_holder_that_has_ended_is_replaced_at_once(
    connection: Connection, leading: Leader, standby: Leader, status: str, lost: timedelta | None, taken: bool
) -> None:
    """Killed (its session is gone for 5 s), or stopped in order. One that is silent keeps its lease to the end."""
    await add_worker(connection, leading._worker_id, status, lost)
    assert await standby.leads() == taken


async def test_a_third_of_the_lease_is_over_before_it_is_written_again(connection: Connection, leading: Leader) -> None:
    renewed = "SELECT renewed_at, until FROM leaderships"
    before = await rows(connection, renewed)
    assert await leading.leads()
    assert await rows(connection, renewed) == before
    await connection.execute("UPDATE leaderships SET until = until - interval '11 s'")
    assert await leading.leads()
    assert await value(connection, "SELECT until > now() + interval '29 s' FROM leaderships")


class TestRenewing:
    async def test_a_piece_of_work_may_be_longer_than_a_lease(
        self, connection: Connection, pool: Pool, tron: Chain, standby: Leader
    ) -> None:
        leader = Leader(pool, uuid4(), NAME, lease_seconds=0.3)
        assert await leader.leads()
        first = await value(connection, "SELECT until FROM leaderships")
        async with asyncio.timeout(PATIENCE):
            while await value(connection, "SELECT until FROM leaderships") < first + timedelta(seconds=0.6):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not await standby.leads()
        await leader.close()

    async def test_one_that_hangs_lets_another_one_lead(
        self, pool: Pool, tron: Chain, standby: Leader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leaders, "LONGEST_WORK_SECONDS", 0.2)
        hanging = Leader(pool, uuid4(), NAME, lease_seconds=0.3)
        assert await hanging.leads()
        async with asyncio.timeout(PATIENCE):
            while not await standby.leads():  # noqa: ASYNC110 - nothing tells a standby but asking
                await asyncio.sleep(0.02)
        assert not await hanging.leads()
        await hanging.close()
        assert standby.lease == 2

    async def test_a_database_that_is_away_leads_nobody_and_is_asked_again(
        self, database: str, connection: Connection, tron: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leaders, "ANSWER_SECONDS", 0.3)
        async with AsyncExitStack() as stack:
            door = await stack.enter_async_context(Door(database))
            pool = await stack.enter_async_context(pool_of(door.dsn, "test", role="pipeline_confirmations"))
            leader = Leader(pool, uuid4(), NAME)
            assert await leader.leads()
            door.shut()
            with pytest.raises(DATABASE_GONE):
                await leader.leads()
            door.open()
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        assert await leader.leads()
                        break
                    except DATABASE_GONE:
                        await asyncio.sleep(0.02)
            assert leader.lease == 1
            await leader.close()


class TestWhoMayLeadWhat:
    @pytest.mark.parametrize(
        ("role", "name", "may"),
        [
            ("pipeline_confirmations", "confirmations tron", True),
            ("pipeline_executor", "sweep", True),
            ("pipeline_executor", "confirmations tron", False),
            ("pipeline_confirmations", "sweep", False),
            ("pipeline_confirmations", "anything", False),
            ("pipeline_sync", "sweep", False),
            ("pipeline_readonly", "sweep", False),
        ],
    )
    async def test_a_role(self, connection: Connection, tron: Chain, role: str, name: str, may: bool) -> None:
        await connection.execute(f"SET ROLE {role}")
        if may:
            assert await value(connection, LEAD, name, uuid4()) == 1
        else:
            with pytest.raises(psycopg.Error) as refused:
                await connection.execute(LEAD, [name, uuid4()])
            assert refused.value.sqlstate in ("FP015", "42501")

    async def test_the_owner_may_lead_and_end_everything(
        self, connection: Connection, leading: Leader, standby: Leader
    ) -> None:
        assert await value(connection, "SELECT stop_leading(%s, %s)", NAME, leading._worker_id)
        assert await value(connection, LEAD, NAME, standby._worker_id) == 2

    async def test_nobody_writes_the_row(self, connection: Connection, leading: Leader) -> None:
        for role in ("pipeline_confirmations", "pipeline_executor", "pipeline_web"):
            await connection.execute(f"SET ROLE {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("UPDATE leaderships SET holder = NULL")
            await connection.execute("RESET ROLE")

    async def test_a_chain_that_is_gone_is_not_led(self, connection: Connection, leading: Leader) -> None:
        """It was renamed: who serves it under the old name ends that by itself."""
        await connection.execute("UPDATE chains SET name = 'tron-2'")
        await leading.close()
        assert not await leading.leads()

    async def test_no_lease_is_longer_than_a_minute(self, connection: Connection, tron: Chain) -> None:
        await connection.execute("SELECT lead(%s, %s, '1 year')", [NAME, uuid4()])
        assert await value(connection, "SELECT until <= now() + interval '60 s' FROM leaderships")
