"""Claims touch no index, and scans that begin at a transaction miss nothing."""

from uuid import uuid4

import pytest
from psycopg import AsyncConnection

from pipeline.db.pool import Connection
from pipeline.db.rows import fetch_value
from pipeline.queue.jobs import Done, JobType, Retry, TriggeredBy
from pipeline.queue.queue import JobQueue
from pipeline.queue.schedule import FIRST_XID, Scan
from tests.db.sessions import until_nobody_is_older
from tests.db.worker_kit import executor_pool, flag, queue_of, rows
from tests.seed import Chain, add_wallets

GAS = JobType.GAS_TOPUP
UPDATES = """
SELECT pg_stat_get_xact_tuples_updated('job_logs'::regclass) AS updated,
       pg_stat_get_xact_tuples_hot_updated('job_logs'::regclass) AS hot
"""


async def read_since(queue: JobQueue, since: str) -> list[str]:
    """Addresses of the flagged wallets that a scan from there on brings."""
    exchange = await queue.exchange((), GAS, 10, Scan(flags_since=since))
    return [job.wallet_address for job in exchange.claimed]


async def test_a_claim_of_waiting_jobs_touches_no_index(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 200)
    await connection.execute("INSERT INTO job_logs (job_type, wallet_address) SELECT 'gas-topup', address FROM wallets")
    async with executor_pool(database) as pool:
        parameters = JobQueue(pool, uuid4())._claim_parameters(GAS, 500, Scan(flags=False))
    async with connection.transaction():
        claimed = await fetch_value(connection, "queue/enqueue_and_claim", **parameters)
        (counts,) = await rows(connection, UPDATES)
    assert claimed is not None
    assert counts == {"updated": 200, "hot": 200}


async def test_nothing_that_a_claim_writes_is_indexed(connection: Connection) -> None:
    """By the catalogue: columns of indexes, of their expressions and of their conditions."""
    found = await rows(
        connection,
        """
        SELECT a.attname
        FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND (a.attnum = ANY (i.indkey) OR EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
              AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
        WHERE i.indrelid = 'job_logs'::regclass
        """,
    )
    indexed = {row["attname"] for row in found}
    written = {"status", "lease", "leased_by", "lease_deadline", "started_at", "updated_at", "data"}
    assert indexed >= {"wallet_id", "job_type", "completed_at", "job_id"}
    assert indexed & written == set()


async def test_a_flag_of_a_transaction_that_began_before_the_scan_and_ended_after_it(
    connection: Connection, database: str, tron: Chain
) -> None:
    slow, quick = await add_wallets(connection, tron, 2)
    async with queue_of(database) as queue, await AsyncConnection.connect(database) as operator:
        await operator.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [slow.id])
        await flag(connection, quick.id)  # a later transaction, which commits first
        marks = await queue.flag_marks(GAS)
        assert await read_since(queue, marks.standing) == [quick.address]
        await operator.commit()
        assert await read_since(queue, marks.unseen) == [slow.address]


async def test_a_full_scan_reads_the_oldest_flag_that_stands(
    connection: Connection, database: str, tron: Chain
) -> None:
    standing, passing = await add_wallets(connection, tron, 2)
    async with queue_of(database) as queue:
        await flag(connection, standing.id)
        (job,) = await queue.enqueue_and_claim(GAS, 10)
        await until_nobody_is_older(connection)
        first = await queue.flag_marks(GAS)
        await flag(connection, passing.id)
        (other,) = (await queue.exchange((), GAS, 10, Scan(flags_since=first.unseen))).claimed
        await queue.finish([(other, Done(clear_flag=True))])
        await until_nobody_is_older(connection)
        later = await queue.flag_marks(GAS, first.standing)
        assert (later.standing, later.unseen > first.unseen) == (first.standing, True), "its flag is still up"
        await queue.finish([(job, Done())])
        assert await read_since(queue, later.unseen) == [], "it rose before"
        assert await read_since(queue, later.standing) == [standing.address]


@pytest.mark.parametrize("number", ["NULL", "'3'", "'9000000000000000000'"])
async def test_flags_that_another_server_numbered(
    connection: Connection, database: str, tron: Chain, number: str
) -> None:
    """Restored from a dump, or replicated: unnoted and later ones are read by every scan, earlier ones from the
    beginning."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(f"UPDATE wallets SET needs_gas = true, needs_gas_since = now(), flag_xid = {number}")  # noqa: S608
    await connection.execute("RESET session_replication_role")
    async with queue_of(database) as queue:
        unseen = (await queue.flag_marks(GAS)).unseen
        assert await read_since(queue, unseen) == ([] if number == "'3'" else [wallet.address])
        if number == "'3'":
            assert (await queue.flag_marks(GAS)).standing == "3"
            assert await read_since(queue, FIRST_XID) == [wallet.address]


async def test_marks_of_another_server_count_for_nothing(connection: Connection, database: str, tron: Chain) -> None:
    """After a failover numbers may go back: what lies ahead of this server's is read from the beginning."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    ahead = "9000000000000000000"
    async with queue_of(database) as queue:
        assert int((await queue.flag_marks(GAS, ahead)).standing) < int(ahead)
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP, flags_since=ahead), batch=10)).jobs == 1
        await queue.finish([(job, Done()) for job in await queue.claim(GAS, 10)])
        assert await read_since(queue, ahead) == [wallet.address]
    since = await fetch_value(connection, "rescue/oldest_entered", entered_since=ahead)
    assert int(since) < int(ahead)


async def test_what_waits_again_enters_again(connection: Connection, database: str, tron: Chain) -> None:
    """A job that was claimed as it was inserted is among those that wait once its attempt has failed."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    entered = "SELECT queued, entered_xid::text AS entered FROM job_logs"
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(GAS, 1)
        (first,) = await rows(connection, entered)
        await until_nobody_is_older(connection)
        since = await fetch_value(connection, "rescue/oldest_entered", entered_since=FIRST_XID)
        assert (first["queued"], first["entered"]) == (False, since)
        await queue.finish([(job, Retry("again"))])
        (second,) = await rows(connection, entered)
        assert second["queued"]
        assert int(second["entered"]) > int(first["entered"])
        await connection.execute("UPDATE job_logs SET run_at = now()")
        assert [again.id for again in await queue.claim(GAS, 1)] == [job.id]
        (third,) = await rows(connection, entered)
        assert int(third["entered"]) > int(second["entered"]), "it became due by an update"
