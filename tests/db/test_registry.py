"""The registry as a role sees it that somebody else has taken over: its own types, its own rows, and not too many."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pipeline.db.pool import Connection, pool_of
from pipeline.db.statements import statement
from pipeline.workers.registry import Registration
from tests.db.sessions import rows, second_session, value

TYPES = {
    "pipeline_sync": {"sync"},
    "pipeline_deposits": {"deposits"},
    "pipeline_executor": {"gas-topup", "consolidation", "sweep"},
    "pipeline_confirmations": {"confirmations"},
    "pipeline_web": {"web"},
    "pipeline_agent": {"host"},
}
MOST_LIVING = 200
MOST_ENDED = 1000


@pytest.fixture
async def session(database: str) -> AsyncIterator[Connection]:
    async with second_session(database) as opened:
        yield opened


def worker(worker_type: str, **changes: Any) -> Mapping[str, Any]:
    """Parameters of workers/register."""
    made = {
        "incarnation": uuid4(),
        "name": "w",
        "type": worker_type,
        "blockchain": None,
        "pid": 1,
        "host": "h",
        "port": None,
        "config": None,
        "slot": None,
        "elsewhere": False,
        "desired": None,
        "managed_by": None,
    }
    return {**made, "token": "the secret of its own", **changes}


async def heartbeat(session: Connection, of: Mapping[str, Any], **changes: Any) -> str | None:
    """What it is told then; None: its row is gone."""
    said = {
        "incarnation": of["incarnation"],
        "status": "running",
        "observed": 0,
        "ended": False,
        "last_error": None,
        "stats": None,
    }
    row = await (
        await session.execute(statement("workers/report"), {**said, "token": of["token"], **changes})
    ).fetchone()
    return None if row is None else row[0]


async def register(session: Connection, of: Mapping[str, Any]) -> Mapping[str, Any]:
    await session.execute(statement("workers/register"), of)
    return of


async def refused(session: Connection, name: str, parameters: Mapping[str, Any]) -> str | None:
    """SQLSTATE of a refusal."""
    with pytest.raises(psycopg.Error) as error:
        await session.execute(statement(name), parameters)
    return error.value.sqlstate


class TestARole:
    @pytest.mark.parametrize("role", TYPES)
    async def test_registers_workers_of_its_own_types(self, session: Connection, role: str) -> None:
        known = {name for (name,) in await rows(session, "SELECT type FROM worker_types")}
        assert known == set().union(*TYPES.values())
        await session.execute(f"SET ROLE {role}".encode())
        for worker_type in known | {"anything"}:
            if worker_type in TYPES[role]:
                assert await heartbeat(session, await register(session, worker(worker_type))) == "running"
            else:
                assert await refused(session, "workers/register", worker(worker_type)) == "FP015", worker_type

    async def test_pauses_nobody_of_another_role(self, connection: Connection, session: Connection) -> None:
        """As the executor's paused the confirmation worker, which settles payments, by its id alone."""
        await connection.execute("SET ROLE pipeline_confirmations")
        settles = await register(connection, worker("confirmations"))
        await session.execute("SET ROLE pipeline_executor")
        for token in (None, "a guess", settles["token"]):
            with pytest.raises(psycopg.Error, match="may not write the row of worker w"):
                await heartbeat(session, settles, status="paused", token=token)
        assert await heartbeat(connection, settles) == "running"

    async def test_takes_no_row_of_its_own_role_either(self, connection: Connection, session: Connection) -> None:
        for one in (connection, session):
            await one.execute("SET ROLE pipeline_executor")
        tops_up = await register(connection, worker("gas-topup"))
        for token in (None, "a guess"):
            with pytest.raises(psycopg.Error, match="may not write"):
                await heartbeat(session, tops_up, status="paused", token=token)
            assert await refused(session, "workers/register", {**tops_up, "token": token}) == "FP015"
        assert await heartbeat(session, tops_up) == "running", "the secret is what counts, not the session"

    async def test_of_a_login_without_set_role(self, connection: Connection, session: Connection) -> None:
        """A login that is a member of the role and has taken none acts as all that it is a member of."""
        await connection.execute("SET SESSION AUTHORIZATION pipeline_sync")
        await register(connection, worker("sync"))
        assert await refused(connection, "workers/register", worker("sweep")) == "FP015"

    async def test_reads_no_secret(self, connection: Connection) -> None:
        of = await register(connection, worker("sync"))
        kept = await value(connection, "SELECT to_jsonb(w)::text FROM worker_registry w")
        assert of["token"] not in kept

    async def test_the_owner_may_write_every_row(self, connection: Connection) -> None:
        of = await register(connection, worker("sync"))
        assert await heartbeat(connection, of, token=None, status="paused") == "running"
        assert await value(connection, "SELECT status FROM worker_registry") == "paused"

    async def test_without_a_secret_writes_nothing_more(self, connection: Connection) -> None:
        await connection.execute("SET ROLE pipeline_executor")
        of = await register(connection, worker("gas-topup", token=None))
        with pytest.raises(psycopg.Error, match="may not write"):
            await heartbeat(connection, of)


class TestHowMany:
    async def fill(self, connection: Connection, worker_type: str, count: int, status: str, ago: str) -> None:
        await connection.execute(
            "INSERT INTO worker_registry (id, name, type, status, last_heartbeat)"
            " SELECT format('all-%%s-%%s', %s::text, lpad(n::text, greatest(3, length(n::text)), '0')), n::text, %s,"
            " %s, now() - %s::interval - n * interval '1 ms' FROM generate_series(1, %s) AS n",
            [worker_type, worker_type, status, ago, count],
        )

    async def test_live_at_once(self, connection: Connection, session: Connection) -> None:
        """The sync's role wrote 20,000 rows in a second."""
        await self.fill(connection, "sync", MOST_LIVING - 1, "running", "0 s")
        await session.execute("SET ROLE pipeline_sync")
        await register(session, worker("sync"))
        with pytest.raises(psycopg.Error, match="200 workers of pipeline_sync live already") as error:
            await register(session, worker("sync"))
        assert error.value.sqlstate == "FP016"
        await session.execute("SET ROLE pipeline_executor")
        await register(session, worker("sweep"))
        await connection.execute("UPDATE worker_registry SET status = 'stopped' WHERE name = '7'")
        await session.execute("SET ROLE pipeline_sync")
        await register(session, worker("sync"))

    async def test_are_remembered(self, connection: Connection, session: Connection) -> None:
        """One that registers and ends at once, again and again, does not fill the table."""
        await self.fill(connection, "sync", MOST_ENDED, "stopped", "1 hour")
        await self.fill(connection, "gas-topup", 5, "stopped", "1 hour")
        await session.execute("SET ROLE pipeline_sync")
        for _ in range(3):
            of = await register(session, worker("sync"))
            await heartbeat(session, of, status="stopped", ended=True)
        await register(session, worker("sync"))
        assert await value(connection, "SELECT count(*) FROM worker_registry WHERE type = 'sync'") <= MOST_ENDED + 1
        assert await value(connection, "SELECT count(*) FROM worker_registry WHERE type = 'gas-topup'") == 5


async def test_a_process_writes_its_row_by_its_secret(connection: Connection, database: str) -> None:
    async with pool_of(database, "test", role="pipeline_executor") as pool:
        first, second = Registration(pool, "gas-topup"), Registration(pool, "gas-topup")
        await first.register()
        await first.heartbeat("running")
        second.incarnation = UUID(str(first.incarnation))
        with pytest.raises(psycopg.Error, match="may not write"):
            await second.heartbeat("paused")
        await first.deregister()
    assert await rows(connection, "SELECT status FROM worker_registry") == [("stopped",)]
