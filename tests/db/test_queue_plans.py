"""The queue's statements read what they need, whatever the statistics say. Counted in buffers, not in time."""

from collections.abc import AsyncIterator
from uuid import RFC_4122, UUID, uuid4

import pytest
from psycopg import AsyncConnection

from bench.crowd import fill
from pipeline.db.pool import Connection
from pipeline.db.rows import fetch_value
from pipeline.db.session import session_dsn
from pipeline.queue.jobs import Done, Job, JobType, TriggeredBy
from pipeline.queue.queue import JobQueue
from pipeline.queue.schedule import FIRST_XID, Scan
from tests.db.plans import buffers, explained, rows_of, thrown_away
from tests.db.sessions import until_nobody_is_older
from tests.db.worker_kit import executor_pool, flag, queue_of
from tests.seed import Chain, add_wallets

WALLETS = 3_000
FINISHED = 20_000


@pytest.fixture
async def crowded(connection: Connection, tron: Chain) -> Chain:
    """Many flagged wallets and much history, and statistics from when there was nothing."""
    await connection.execute("ALTER TABLE job_logs SET (autovacuum_enabled = off)")
    await connection.execute("ALTER TABLE wallets SET (autovacuum_enabled = off)")
    await connection.execute("ANALYZE")
    wallets = await add_wallets(connection, tron, WALLETS)
    await connection.execute(
        """
        INSERT INTO job_logs (job_id, job_type, status, wallet_address, wallet_id, chain_id, completed_at)
        SELECT 'old-' || i, 'gas-topup', 'completed', 'T', %s, %s, now() FROM generate_series(1, %s) AS i
        """,
        [wallets[0].id, tron.id, FINISHED],
    )
    await flag(connection, *[wallet.id for wallet in wallets])
    return tron


@pytest.fixture(params=["auto", "force_generic_plan", "force_custom_plan"])
async def session(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Connection]:
    """A session as the workers have, under each way of planning."""
    dsn = session_dsn(database, "plans", "pipeline_executor", index_plans=True)
    async with await AsyncConnection.connect(dsn, autocommit=True) as opened:
        await opened.execute(f"SET plan_cache_mode = {request.param}")
        yield opened


async def test_enqueue_costs_by_the_batch(session: Connection, database: str, crowded: Chain) -> None:
    async with queue_of(database) as queue:
        parameters = queue._claim_parameters(JobType.GAS_TOPUP, 50, Scan()) | {"batch": 500}
        first = await buffers(session, "queue/enqueue_and_claim", parameters)
        await queue.enqueue_flagged(JobType.GAS_TOPUP, Scan(TriggeredBy.SWEEP), batch=500)
    assert first < 500 * 60, "some 25 pages a job: five indexes, three keys, the table itself"


async def test_a_burst_on_an_empty_queue(
    session: Connection, connection: Connection, database: str, tron: Chain
) -> None:
    """The first jobs of a new system: nothing is known of the table yet, and every page costs the same."""
    await connection.execute("ALTER TABLE job_logs SET (autovacuum_enabled = off)")
    wallets = await add_wallets(connection, tron, WALLETS)
    await flag(connection, *[wallet.id for wallet in wallets])
    await connection.execute("VACUUM ANALYZE")
    pages = []
    async with queue_of(database) as queue:
        parameters = queue._claim_parameters(JobType.GAS_TOPUP, 1, Scan(TriggeredBy.SWEEP)) | {"batch": 300}
    cursor = await connection.execute("SELECT wanted_xid::text, id FROM wallets ORDER BY wanted_xid, id")
    flags = await cursor.fetchall()
    for after_xid, after_wallet in flags[::300]:
        place = {"after_xid": after_xid, "after_wallet_id": after_wallet}
        pages.append(await buffers(session, "queue/enqueue_flagged", parameters | place))
    assert max(pages) < 300 * 60, pages


async def test_a_page_of_flags_is_read_and_not_sorted_out_of_all(
    session: Connection, connection: Connection, database: str, tron: Chain
) -> None:
    fill(database, 50_000, 0, lambda _: None)
    await connection.execute("UPDATE wallets SET needs_gas = true WHERE derivation_index <= 20010")
    await connection.execute("VACUUM ANALYZE wallets")
    async with queue_of(database) as queue:
        parameters = queue._claim_parameters(JobType.GAS_TOPUP, 1, Scan(TriggeredBy.SWEEP)) | {"batch": 1000}
    for _ in range(3):
        place = {"after_xid": FIRST_XID, "after_wallet_id": UUID(int=0)}
        plan = await explained(session, "queue/enqueue_flagged", parameters | place)
        assert rows_of(plan, "wallets") <= 1000


async def test_claiming_costs_by_the_job(session: Connection, database: str, crowded: Chain) -> None:
    async with queue_of(database) as queue:
        await queue.enqueue_flagged(JobType.GAS_TOPUP, Scan(TriggeredBy.SWEEP), batch=1000)
        parameters = queue._claim_parameters(JobType.GAS_TOPUP, 50, Scan()) | {"batch": 500}
        for _ in range(7):
            assert await buffers(session, "queue/enqueue_and_claim", parameters) < 50 * 60


async def test_finishing_costs_by_the_job(
    session: Connection, connection: Connection, database: str, crowded: Chain
) -> None:
    async with executor_pool(database) as pool:
        queue = JobQueue(pool, uuid4())
        await queue.enqueue_flagged(JobType.GAS_TOPUP, Scan(TriggeredBy.SWEEP), batch=1000)
        await connection.execute("VACUUM ANALYZE job_logs")  # when no job was active
        held: list[Job] = await queue.claim(JobType.GAS_TOPUP, 1_400)
        for start in range(0, 1_400, 200):
            parameters = queue._finish_parameters([(job, Done()) for job in held[start : start + 200]])
            plan = await explained(session, "queue/finish", parameters)
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 200 * 60
            assert thrown_away(plan) < 200, "every outcome finds its job by the primary key"


async def test_clearing_flags_costs_by_the_job(
    session: Connection, connection: Connection, database: str, crowded: Chain
) -> None:
    """Wallets that are not in the batch are not looked at, however many there are."""
    await connection.execute("VACUUM ANALYZE wallets, wallet_balances")
    async with executor_pool(database) as pool:
        queue = JobQueue(pool, uuid4())
        held = await queue.enqueue_and_claim(JobType.GAS_TOPUP, 140)
        for start in range(0, 140, 20):
            parameters = queue._finish_parameters([(job, Done(clear_flag=True)) for job in held[start : start + 20]])
            async with session.transaction():
                await explained(session, "queue/finish", parameters)
                assert await _rows_read(session) < 20 * 100


@pytest.fixture
async def wallets(connection: Connection, database: str, tron: Chain) -> AsyncIterator[list[UUID]]:
    """Ids of wallets, while another session is in the middle of a long report."""
    added = [wallet.id for wallet in await add_wallets(connection, tron, WALLETS)]
    await connection.execute("VACUUM ANALYZE wallets, job_logs")
    async with await AsyncConnection.connect(database) as report:
        await report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await report.execute("SELECT count(*) FROM chains")
        yield added


async def test_no_flag_scan_costs_more_while_a_transaction_is_held(
    session: Connection, connection: Connection, database: str, wallets: list[UUID]
) -> None:
    """Flags that rose and fell are not walked over by scans as listeners make them."""
    async with queue_of(database) as queue:
        for start in range(0, WALLETS, 500):
            await flag(connection, *wallets[start : start + 500])
            held = await queue.enqueue_and_claim(JobType.GAS_TOPUP, 500)
            await queue.finish([(job, Done(clear_flag=True)) for job in held])
        everything = queue._claim_parameters(JobType.GAS_TOPUP, 50, Scan()) | {"batch": 500}
        assert await buffers(session, "queue/enqueue_and_claim", everything) > 100, "the dead are there"
        await until_nobody_is_older(connection)
        marks = await queue.flag_marks(JobType.GAS_TOPUP)
        again = {"job_type": JobType.GAS_TOPUP, "flags_since": marks.standing}
        assert await buffers(session, "queue/flag_marks", again) < 10
        for since in (marks.standing, marks.unseen):
            bounded = queue._claim_parameters(JobType.GAS_TOPUP, 50, Scan(flags_since=since)) | {"batch": 500}
            assert await buffers(session, "queue/enqueue_and_claim", bounded) < 50
            page = {"after_xid": None, "after_wallet_id": UUID(int=0)}
            assert await buffers(session, "queue/enqueue_flagged", bounded | page) < 15


async def test_nor_does_the_search_for_jobs_of_the_dead(
    session: Connection, connection: Connection, database: str, wallets: list[UUID]
) -> None:
    async with queue_of(database) as queue:
        await flag(connection, *wallets)
        while held := await queue.enqueue_and_claim(JobType.GAS_TOPUP, 500):
            await queue.finish([(job, Done(clear_flag=True)) for job in held])
    await until_nobody_is_older(connection)
    oldest = {"entered_since": FIRST_XID}
    assert await buffers(session, "rescue/oldest_entered", oldest) > 20, "the dead are there"
    oldest["entered_since"] = await fetch_value(session, "rescue/oldest_entered", **oldest)
    assert await buffers(session, "rescue/oldest_entered", oldest) < 10


async def test_nor_are_jobs_that_waited_and_are_gone(
    session: Connection, connection: Connection, database: str, wallets: list[UUID]
) -> None:
    async with queue_of(database) as queue:
        await flag(connection, *wallets)
        await queue.enqueue_flagged(JobType.GAS_TOPUP, Scan(TriggeredBy.SWEEP), batch=1000)
        while held := await queue.claim(JobType.GAS_TOPUP, 500):
            await queue.finish([(job, Done(clear_flag=True)) for job in held])
        await until_nobody_is_older(connection)
        since = (await queue.flag_marks(JobType.GAS_TOPUP)).unseen
        everything = queue._claim_parameters(JobType.GAS_TOPUP, 50, Scan(flags_since=since)) | {"batch": 500}
        assert await buffers(session, "queue/enqueue_and_claim", everything) > 100, "the dead are there"
        lately = Scan(flags_since=since, due_within_seconds=0.001)
        recent = queue._claim_parameters(JobType.GAS_TOPUP, 50, lately) | {"batch": 500}
        assert await buffers(session, "queue/enqueue_and_claim", recent) < 50
        await connection.execute("ANALYZE wallets, job_logs")  # as autovacuum does: no job waits or runs, it says
        assert await buffers(session, "queue/enqueue_and_claim", recent) < 50


async def test_new_ids_share_the_end_of_the_primary_key(connection: Connection, database: str, tron: Chain) -> None:
    """UUIDs of version 7 (RFC 9562): later jobs have higher ones, from one millisecond to the next."""
    wallets = await add_wallets(connection, tron, 3)
    ids = []
    async with queue_of(database) as queue:
        for wallet in wallets:
            await flag(connection, wallet.id)
            (job,) = await queue.enqueue_and_claim(JobType.GAS_TOPUP, 1)
            ids.append(job.id)
            await connection.execute("SELECT pg_sleep(0.002)")
    assert ids == sorted(ids)
    assert {(made.version, made.variant) for made in ids} == {(7, RFC_4122)}
    cursor = await connection.execute("SELECT extract(epoch FROM min(created_at)) * 1000 FROM job_logs")
    ((first_ms,),) = await cursor.fetchall()
    assert abs((min(ids).int >> 80) - first_ms) < 5_000


async def _rows_read(session: Connection) -> int:
    """Rows of wallets and their balances that this transaction has read."""
    cursor = await session.execute(
        "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname LIKE 'wallet%'"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
