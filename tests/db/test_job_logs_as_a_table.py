"""job_logs is a table: what operators and Supabase do with one works while the queue works on it."""

from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from pipeline.db.pool import Connection
from pipeline.queue.jobs import Done, JobType, Retry
from tests.db.worker_kit import queue_of, rows
from tests.seed import Chain, Wallet, add_wallets

GAS = JobType.GAS_TOPUP


@pytest.fixture
async def wallets(connection: Connection, tron: Chain) -> list[Wallet]:
    return await add_wallets(connection, tron, 3)


async def typed(connection: Connection, job_id: str, wallet: Wallet, end: str = "") -> int:
    """Insert a job as in psql; how many rows it made or changed."""
    insert = "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES (%s, 'gas-topup', 'pending', %s) "
    return (await connection.execute(sql.SQL(insert) + sql.SQL(end), [job_id, wallet.address])).rowcount


async def test_on_conflict_of_its_name(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    """Waiting, claimed, and ended: the name is taken throughout."""
    nothing = "ON CONFLICT (job_id) DO NOTHING"
    raised = "ON CONFLICT (job_id) DO UPDATE SET priority = 10"
    assert await typed(connection, "mine", wallets[0], nothing) == 1
    assert await typed(connection, "mine", wallets[1], nothing) == 0
    assert await typed(connection, "mine", wallets[1], raised) == 1
    async with queue_of(database) as queue:
        (job,) = await queue.claim(GAS, 5)
        assert await typed(connection, "mine", wallets[1], nothing) == 0
        await queue.finish([(job, Done())])
    assert await typed(connection, "mine", wallets[1], nothing) == 0
    with pytest.raises(psycopg.DatabaseError, match="mine is completed and does not change any more"):
        await typed(connection, "mine", wallets[1], "ON CONFLICT (job_id) DO UPDATE SET priority = 5")
    (row,) = await rows(connection, "SELECT wallet_address, priority, status FROM job_logs")
    assert row == {"wallet_address": wallets[0].address, "priority": 10, "status": "completed"}


async def test_on_conflict_of_a_live_job(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    live = "ON CONFLICT (wallet_id, job_type) WHERE completed_at IS NULL DO NOTHING"
    assert await typed(connection, "first", wallets[0]) == 1
    assert await typed(connection, "second", wallets[0], live) == 0
    async with queue_of(database) as queue:
        (job,) = await queue.claim(GAS, 5)
        assert await typed(connection, "second", wallets[0], live) == 0
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_live_job_per_wallet_and_type"):
            await typed(connection, "second", wallets[0])
        await queue.finish([(job, Retry("again"))])
        assert await typed(connection, "second", wallets[0], live) == 0
    await connection.execute("UPDATE job_logs SET status = 'cancelled'")
    assert await typed(connection, "second", wallets[0], live) == 1


async def test_copy(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY job_logs (job_id, job_type, status, wallet_address) FROM STDIN") as copy:
            for number, wallet in enumerate(wallets):
                await copy.write_row((f"copied-{number}", "gas-topup", "pending", wallet.address))
        async with queue_of(database) as queue:
            assert len(await queue.claim(GAS, 5)) == 3
        written = b""
        async with cursor.copy("COPY (SELECT job_id, status FROM job_logs ORDER BY job_id) TO STDOUT") as copy:
            async for part in copy:
                written += bytes(part)
    assert written == b"copied-0\tactive\ncopied-1\tactive\ncopied-2\tactive\n"


async def test_row_security_as_supabase_has_it(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    """Somebody signed in sees nothing until a policy of the operator's says what, and then that alone."""
    await typed(connection, "mine", wallets[0])
    await typed(connection, "other", wallets[1])
    async with connection.transaction(force_rollback=True):
        await connection.execute("CREATE ROLE signed_in_for_a_test")
        await connection.execute("GRANT SELECT ON job_logs TO signed_in_for_a_test")

        async def seen() -> list[dict[str, Any]]:
            await connection.execute("SET LOCAL ROLE signed_in_for_a_test")
            found = await rows(connection, "SELECT job_id, status FROM job_logs ORDER BY job_id")
            await connection.execute("RESET ROLE")
            return found

        assert await seen() == []
        await connection.execute(
            "CREATE POLICY own_jobs ON job_logs FOR SELECT TO signed_in_for_a_test USING (job_id = 'mine')"
        )
        assert await seen() == [{"job_id": "mine", "status": "pending"}]
        await connection.execute("UPDATE job_logs SET status = 'active', lease = lease + 1")
        assert await seen() == [{"job_id": "mine", "status": "active"}]


async def test_a_publication(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    """As of Realtime. Rows have a key by which a subscriber knows them, so that no change of one is refused."""
    await connection.execute("CREATE PUBLICATION supabase_realtime FOR TABLE job_logs")
    await typed(connection, "mine", wallets[0])
    async with queue_of(database) as queue:
        (job,) = await queue.claim(GAS, 5)
        assert await queue.finish([(job, Done())]) == {job.id}
    (published,) = await rows(connection, "SELECT tablename, attnames FROM pg_publication_tables")
    assert published["tablename"] == "job_logs"
    assert {"id", "job_id", "status", "data", "completed_at"} <= set(published["attnames"])
    (row,) = await rows(connection, "SELECT relreplident::text AS identity FROM pg_class WHERE relname = 'job_logs'")
    assert row["identity"] == "d", "the primary key"


async def test_triggers_of_the_operators_own(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    """One follows every status, one adds to a row before it is written; one that breaks a rule is refused."""
    await connection.execute(
        """
        CREATE TABLE seen (place serial, job_id text, status text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO seen (job_id, status) VALUES (NEW.job_id, NEW.status); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER INSERT OR UPDATE OF status ON job_logs FOR EACH ROW EXECUTE FUNCTION see();
        GRANT INSERT ON seen TO PUBLIC; GRANT USAGE ON SEQUENCE seen_place_seq TO PUBLIC;
        CREATE FUNCTION tag() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.data := NEW.data || '{"tagged": true}'; RETURN NEW; END $$;
        CREATE TRIGGER zz_tag BEFORE UPDATE ON job_logs FOR EACH ROW EXECUTE FUNCTION tag();
        """
    )
    await typed(connection, "mine", wallets[0])
    async with queue_of(database) as queue:
        (job,) = await queue.claim(GAS, 5)
        assert job.data["tagged"] is True
        await queue.finish([(job, Done())])
    seen = await rows(connection, "SELECT status FROM seen ORDER BY place")
    assert [row["status"] for row in seen] == ["pending", "active", "completed"]
    await connection.execute(
        """
        CREATE FUNCTION zz_finish() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.status := 'completed'; NEW.completed_at := now(); RETURN NEW; END $$;
        CREATE TRIGGER zz_finish BEFORE UPDATE ON job_logs FOR EACH ROW EXECUTE FUNCTION zz_finish()
        """
    )
    await typed(connection, "next", wallets[1])
    with pytest.raises(psycopg.DatabaseError, match="next is pending and cannot become completed"):
        await connection.execute("UPDATE job_logs SET priority = 10 WHERE job_id = 'next'")


async def test_a_row_that_somebody_holds_is_not_claimed(
    connection: Connection, database: str, wallets: list[Wallet]
) -> None:
    await typed(connection, "held", wallets[0])
    await typed(connection, "free", wallets[1])
    async with queue_of(database) as queue:
        async with await AsyncConnection.connect(database) as operator:
            await operator.execute("SELECT FROM job_logs WHERE job_id = 'held' FOR UPDATE")
            assert [job.job_id for job in await queue.claim(GAS, 5)] == ["free"]
            await operator.rollback()
        assert [job.job_id for job in await queue.claim(GAS, 5)] == ["held"]


async def test_statuses_by_hand(connection: Connection, database: str, wallets: list[Wallet]) -> None:
    """With nothing but the status, along the moves that are allowed: times follow, and claims find what waits."""
    await typed(connection, "mine", wallets[0])
    row: dict[str, Any] = {}

    async def becomes(change: str) -> None:
        nonlocal row
        await connection.execute(sql.SQL("UPDATE job_logs SET ") + sql.SQL(change))  # type: ignore[arg-type]
        (row,) = await rows(connection, "SELECT completed_at IS NULL AS live, failed_at, queued FROM job_logs")

    await becomes("status = 'failed'")
    assert (row["live"], row["failed_at"] is None, row["queued"]) == (False, False, False)
    await becomes("status = 'pending'")
    assert row == {"live": True, "failed_at": None, "queued": True}
    await becomes("status = 'active', lease = lease + 1")
    await becomes("status = 'retrying'")
    async with queue_of(database) as queue:
        assert [job.job_id for job in await queue.claim(GAS, 5)] == ["mine"]
    assert row["queued"]
    await becomes("status = 'completed', updated_at = now() + interval '1 s'")  # as the queue does, with all times
    assert (row["live"], row["queued"]) == (False, False)
    with pytest.raises(psycopg.DatabaseError, match="does not change any more"):
        await becomes("status = 'pending'")
