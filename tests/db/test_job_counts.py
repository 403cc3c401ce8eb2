"""The counts of ended jobs equal the rows, whatever is done to them, by whom, and whoever folds meanwhile."""

import asyncio
import random
from uuid import uuid4

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.queue.jobs import Done, Failed, JobType
from tests.db.history_kit import agree, counted, fold, move, old_job, there
from tests.db.sessions import rows, second_session, value
from tests.db.worker_kit import flag, queue_of
from tests.seed import Chain, Wallet, add_wallets

INSERT = """
INSERT INTO job_logs (job_id, job_type, status, wallet_address, lease, data)
SELECT %s || n, (ARRAY['gas-topup', 'consolidation', 'withdrawal'])[1 + n %% 3],
       (ARRAY['completed', 'failed', 'cancelled'])[1 + (n / 3) %% 3], %s, 1, '{"duration_ms": 1.25}'
FROM generate_series(1, %s) AS n
"""
NAMED = "job_id IN (SELECT job_id FROM job_logs ORDER BY md5(job_id || %s) LIMIT 3)"
STEPS = {
    "retry": "UPDATE job_logs SET status = 'pending' WHERE status = 'failed' AND wallet_id IS NULL AND NAMED",
    "give up": "UPDATE job_logs SET status = 'failed' WHERE status IN ('pending', 'active') AND NAMED",
    "claim": "UPDATE job_logs SET status = 'active', lease = lease + 1 WHERE status = 'pending' AND NAMED",
    "complete": "UPDATE job_logs SET status = 'completed', data = data || '{\"duration_ms\": 3.5}'"
    " WHERE status = 'active' AND NAMED",
    "cancel": "UPDATE job_logs SET status = 'cancelled' WHERE status = 'pending' AND NAMED",
    "edit": "UPDATE job_logs SET data = '{\"duration_ms\": 9}', job_type = 'sync' WHERE status = 'failed' AND NAMED",
    "delete": "DELETE FROM job_logs WHERE NAMED",
    "touch": "UPDATE job_logs SET updated_at = updated_at WHERE NAMED",
}
LIVE = "INSERT INTO job_logs (job_id, job_type, status, data) VALUES (%s, 'deposit-detection', 'pending', '{}')"


async def step(connection: Connection, wallet: Wallet, dice: random.Random) -> None:
    """Something that people or processes do to jobs, rolled back one time in four."""
    name = dice.choice([*STEPS, "insert", "live", "old", "move", "back", "fold"])
    async with connection.transaction(force_rollback=dice.random() < 0.25):
        match name:
            case "insert":
                await connection.execute(INSERT, [f"{uuid4()}-", wallet.address, dice.randint(1, 9)])
            case "live":
                await connection.execute(LIVE, [str(uuid4())])
            case "old":
                await old_job(
                    connection, wallet, days=dice.randint(31, 200), status=dice.choice(["completed", "failed"])
                )
            case "move":
                await move(connection, page=dice.randint(1, 9))
            case "back":
                await connection.execute("SELECT move_back_jobs(ARRAY(SELECT id FROM job_history LIMIT 2))")
            case "fold":
                await fold(connection, dice.randint(1, 5))
            case _:
                await connection.execute(STEPS[name].replace("NAMED", NAMED).encode(), [str(dice.random())])


@pytest.mark.parametrize("seed", range(4))
async def test_counts_are_the_rows_after_whatever_is_done(connection: Connection, tron: Chain, seed: int) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    dice = random.Random(seed)
    for _ in range(60):
        await step(connection, wallet, dice)
        assert await agree(connection)
    assert await there(connection), "something has ended"
    while await fold(connection, 7):
        assert await agree(connection)
    assert await value(connection, "SELECT count(*) FROM job_count_deltas") == 0


async def test_nothing_is_counted_twice_while_others_fold(connection: Connection, database: str, tron: Chain) -> None:
    """Four sessions end jobs, two fold, one counts anew; a reader's snapshot is right at every moment."""
    (wallet,) = await add_wallets(connection, tron, 1)
    ending = asyncio.Event()

    async def end_jobs(number: int) -> None:
        async with second_session(database) as session:
            for batch in range(25):
                async with session.transaction(force_rollback=batch % 5 == 4):
                    await session.execute(INSERT, [f"{number}-{batch}-", wallet.address, 8])

    async def fold_all() -> None:
        async with second_session(database) as session:
            while not ending.is_set():
                await fold(session, 3)

    async def recount() -> None:
        async with second_session(database) as session:
            while not ending.is_set():
                await session.execute("SELECT recount_jobs()")

    others = [asyncio.create_task(work) for work in (fold_all(), fold_all(), recount())]
    writers = asyncio.gather(*(end_jobs(number) for number in range(4)))
    while not writers.done():
        assert await agree(connection)
    await writers
    ending.set()
    await asyncio.gather(*others)
    assert sum(figures[0] for figures in (await counted(connection)).values()) == 4 * 20 * 8
    assert await agree(connection)


async def test_where_no_job_ends_nothing_is_written(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 3)
    await flag(connection, *[wallet.id for wallet in wallets])
    async with queue_of(database) as queue:
        jobs = await queue.enqueue_and_claim(JobType.GAS_TOPUP, 10)
        assert (len(jobs), await value(connection, "SELECT count(*) FROM job_count_deltas")) == (3, 0)
        await queue.finish([(job, Done()) for job in jobs[:2]] + [(jobs[2], Failed("x"))])
    deltas = "SELECT status, jobs FROM job_count_deltas ORDER BY id"
    assert sorted(await rows(connection, deltas)) == [("completed", 2), ("failed", 1)]


async def test_an_emptied_table(connection: Connection, tron: Chain) -> None:
    """Transfers refuse it, so that only who switches their guard off gets as far."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(INSERT, ["x", wallet.address, 9])
    await old_job(connection, wallet)
    await move(connection)
    await fold(connection, 1)
    with pytest.raises(psycopg.Error):
        await connection.execute("TRUNCATE job_logs CASCADE")
    await connection.execute("ALTER TABLE transfers DISABLE TRIGGER money_kept_truncate")
    await connection.execute("TRUNCATE job_logs CASCADE")
    assert await agree(connection)
    assert len(await counted(connection)) == 1, "what has moved"


async def test_rows_that_no_trigger_saw_are_counted_by_hand(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(INSERT, ["x", wallet.address, 9])
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM job_logs WHERE status = 'failed'")
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, completed_at) VALUES ('y', 'sync', 'completed', now())"
    )
    await connection.execute("RESET session_replication_role")
    assert not await agree(connection)
    await connection.execute("SELECT recount_jobs()")
    assert await agree(connection)


STATS = """
SELECT known.job_type, count(*) FILTER (WHERE j.status = 'pending'), count(*) FILTER (WHERE j.status = 'active'),
       count(*) FILTER (WHERE j.status = 'retrying'), count(*) FILTER (WHERE j.status = 'completed'),
       count(*) FILTER (WHERE j.status = 'failed'), count(*) FILTER (WHERE j.status = 'cancelled'), count(j.id),
       count(*) FILTER (WHERE j.awaiting_chain),
       count(*) FILTER (WHERE j.status IN ('pending', 'retrying') AND j.run_at <= now()),
       min(j.run_at) FILTER (WHERE j.status IN ('pending', 'retrying') AND j.run_at <= now()),
       round(avg((j.data ->> 'duration_ms')::numeric)
                 FILTER (WHERE j.status = 'completed' AND jsonb_typeof(j.data -> 'duration_ms') = 'number'), 1)
FROM unnest(ARRAY['gas-topup', 'consolidation', 'withdrawal', 'deposit-detection', 'sync'])
     WITH ORDINALITY AS known (job_type, place)
LEFT JOIN all_jobs j ON j.job_type = known.job_type
GROUP BY known.job_type, known.place ORDER BY known.place
"""
"""What get_job_queue_stats() says, by reading every job."""


async def test_the_statistics_of_the_queue(connection: Connection, tron: Chain) -> None:
    (wallet, other) = await add_wallets(connection, tron, 2)
    await connection.execute(INSERT, ["x", wallet.address, 20])
    for days in (3, 40, 70, 120):
        await old_job(connection, wallet, days=days)
    await old_job(connection, wallet, days=100, status="failed")
    for text in ('"soon"', "null", "1e5", "[]"):
        await connection.execute(
            "INSERT INTO job_logs (job_type, status, data)"
            " VALUES ('sync', 'completed', jsonb_build_object('duration_ms', %s::jsonb))",
            [text],
        )
    await connection.execute("INSERT INTO job_logs (job_type, wallet_address) VALUES ('sync', %s)", [other.address])
    await connection.execute(
        "INSERT INTO job_logs (job_type, wallet_address, status, awaiting_chain)"
        " VALUES ('consolidation', %s, 'active', true)",
        [other.address],
    )
    await move(connection)
    await fold(connection, 2)
    assert await rows(connection, "SELECT * FROM get_job_queue_stats()") == await rows(connection, STATS)
