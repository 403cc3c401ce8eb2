"""Jobs that ended long ago, and the moving of them, for tests of job_history."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pipeline.db.pool import Connection
from tests.db.sessions import rows, value
from tests.patience import PATIENCE
from tests.seed import Wallet

FINISHED, FAILED = timedelta(days=30), timedelta(days=90)
FIRST = UUID(int=0)

OLD_JOB = """
INSERT INTO job_logs (id, seq, job_id, job_type, status, wallet_address, lease, retry_count, error_message, data,
                      run_at, started_at, completed_at, created_at, updated_at)
SELECT (left(job_id_at(t.created)::text, 18) || substr(gen_random_uuid()::text, 19))::uuid, n.seq,
       coalesce(%(job_id)s, %(job_type)s || '-' || n.seq), %(job_type)s, %(status)s, %(address)s, 3, 1,
       CASE WHEN %(status)s = 'failed' THEN 'no gas in the station' END, '{"duration_ms": 12.5}', t.created, t.created,
       t.ended, t.created, t.ended
FROM (SELECT nextval('job_logs_seq') AS seq) n,
     (SELECT now() - %(age)s - interval '1 minute' AS created, now() - %(age)s AS ended) t
RETURNING id
"""


async def old_job(
    connection: Connection,
    wallet: Wallet,
    *,
    days: float = 40,
    status: str = "completed",
    job_type: str = "gas-topup",
    job_id: str | None = None,
) -> UUID:
    """A job that ended so many days ago, as the queue names it unless ``job_id`` says otherwise."""
    cursor = await connection.execute(
        OLD_JOB,
        {
            "job_id": job_id,
            "job_type": job_type,
            "status": status,
            "address": wallet.address,
            "age": timedelta(days=days),
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def move(
    connection: Connection,
    *,
    page: int = 1000,
    finished: timedelta = FINISHED,
    failed: timedelta = FAILED,
    now: datetime | None = None,
) -> int:
    """One round over all jobs; how many moved."""
    after: UUID | None = FIRST
    total = 0
    while after is not None:
        ((after, moved),) = await rows(
            connection,
            "SELECT up_to, moved FROM move_finished_jobs(%s, %s, %s, %s, %s)",
            after,
            page,
            finished,
            failed,
            now or datetime.now(UTC),
        )
        total += moved
    return total


async def in_history(connection: Connection) -> set[UUID]:
    return {job for (job,) in await rows(connection, "SELECT id FROM job_history")}


async def until_in_history(connection: Connection, jobs: set[UUID]) -> None:
    """Returns once the sweep has moved these."""
    async with asyncio.timeout(PATIENCE):
        while not jobs <= await in_history(connection):  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.01)


async def until_folded(connection: Connection) -> None:
    """Returns once the sweep has folded every delta."""
    async with asyncio.timeout(PATIENCE):
        while await value(connection, "SELECT count(*) FROM job_count_deltas"):  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.01)


async def counted(connection: Connection) -> dict[tuple[Any, ...], Any]:
    """What job_totals says."""
    return {
        tuple(key): figures
        for *key, figures in await rows(
            connection,
            "SELECT month, job_type, status, chain_id, ARRAY[jobs, timed, duration_ms] FROM job_totals",
        )
    }


COUNT = """
SELECT month, job_type, status, coalesce(chain_id, 0),
       ARRAY[count(*), count(duration_ms), coalesce(sum(duration_ms), 0)]
FROM (
    SELECT NULL::date AS month, job_type, status, chain_id,
           CASE WHEN status = 'completed' THEN (data ->> 'duration_ms')::numeric END AS duration_ms
    FROM job_logs WHERE status IN ('completed', 'failed', 'cancelled')
    UNION ALL
    SELECT date_trunc('month', completed_at AT TIME ZONE 'UTC')::date, job_type, status, chain_id,
           CASE WHEN status = 'completed' THEN (data ->> 'duration_ms')::numeric END
    FROM job_history
) j
GROUP BY 1, 2, 3, 4
"""


async def there(connection: Connection) -> dict[tuple[Any, ...], Any]:
    """The same, by reading every job."""
    return {tuple(key): figures for *key, figures in await rows(connection, COUNT)}


async def agree(connection: Connection) -> bool:
    """Whether the counts and the rows agree, in one snapshot."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return await counted(connection) == await there(connection)


async def fold(connection: Connection, deltas: int = 10_000) -> int:
    return await value(connection, "SELECT fold_job_counts(%s)", deltas)
