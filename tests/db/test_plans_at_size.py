"""With 300,000 wallets, 600,000 balances and 300,000 finished jobs no statement of queue and sync looks at a
whole table: prepared and repeated as the processes do it, and under a generic plan from the start. What functions,
triggers and foreign keys plan by themselves counts, too."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.crowd import fill
from bench.statements import parts
from pipeline.admin.checks import check as checks
from pipeline.db.pool import Pool, pool_of
from pipeline.db.statements import statement
from pipeline.queue.jobs import Done, JobType, TriggeredBy
from pipeline.queue.queue import JobQueue
from pipeline.queue.schedule import Scan
from tests.databases import fresh_database
from tests.db.doctor_kit import ASKED, examination
from tests.db.nested_plans import SETTINGS, Plans
from tests.db.test_registry import register, worker

WALLETS = 300_000
FINISHED = 300_000
BATCH = 20
"""Jobs, wallets or balances in one statement."""
REPEATED = 7
"""A prepared statement may take its generic plan from the sixth time on."""
FEW = 5_000
"""Rows. Each statement looks at some of what waits or is flagged now, which is about as much."""
LARGE = ("wallets", "wallet_balances", "job_logs")
GAS = JobType.GAS_TOPUP
untouched = itertools.count(10_000, 1_000)
"""Wallets from here on, a thousand for each test that wants some, are at rest."""
blocks = itertools.count(1_000)
"""Each read sees a newer one."""

NOW = """
-- Flags, a third with a job that waits; jobs of workers that are gone; balances that are due.
UPDATE wallets SET needs_gas = true, needs_gas_since = now() - interval '1 minute'
WHERE derivation_index BETWEEN 1001 AND 2500;
INSERT INTO job_logs (job_id, job_type, wallet_address, wallet_id, chain_id)
SELECT 'waiting-' || w.id, 'gas-topup', w.address, w.id, w.chain_id FROM wallets w
WHERE w.derivation_index BETWEEN 2001 AND 2500;
UPDATE job_logs j SET run_at = now() + interval '1 hour' FROM wallets w
WHERE j.wallet_id = w.id AND j.completed_at IS NULL AND w.derivation_index BETWEEN 2451 AND 2500;
INSERT INTO job_logs (job_id, job_type, status, wallet_address, wallet_id, chain_id,
                      lease, leased_by, lease_deadline, started_at, updated_at)
SELECT 'lost-' || w.id, 'gas-topup', 'active', w.address, w.id, w.chain_id,
       1, gen_random_uuid(), now() + interval '1 hour', now() - interval '1 hour', now() - interval '1 hour'
FROM wallets w WHERE w.derivation_index BETWEEN 3001 AND 3200;
UPDATE wallet_balances SET next_check_at = now() - interval '1 minute'
WHERE wallet_id IN (SELECT w.id FROM wallets w WHERE w.derivation_index BETWEEN 4001 AND 4500);
ANALYZE wallets;
ANALYZE wallet_balances;
ANALYZE job_logs
"""


PAGE = 200
AT_REST = """
UPDATE wallet_balances SET next_check_at = NULL WHERE wallet_id BETWEEN %(first)s AND %(last)s
"""


def numbered(wallet: int) -> UUID:
    """The id that bench/flagpost/wallets.sql gives the wallet of that number."""
    return UUID(f"00000000-0000-7000-8000-{wallet:012x}")


@pytest.fixture(scope="module")
def large(server_dsn: str, template: str) -> Iterator[str]:
    """The DSN of a database that has been in use for years; its sessions tell their plans."""
    with fresh_database(server_dsn, template, "large") as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for part in parts("flagpost/chain"):
                connection.execute(part)
        fill(dsn, WALLETS, FINISHED, lambda _: None)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(NOW)
            connection.execute("LOAD 'auto_explain'")  # its settings are not known before
            for name, value in SETTINGS.items():
                database = sql.Identifier(connection.info.dbname)
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        database, sql.SQL(".").join(map(sql.Identifier, name.split("."))), sql.Literal(value)
                    )
                )
        yield dsn


@pytest.fixture(params=["auto", "force_generic_plan"])
def planned(request: pytest.FixtureRequest, large: str) -> str:
    """Its DSN, for sessions that plan in this way."""
    options = f"{conninfo_to_dict(large).get('options') or ''} -c plan_cache_mode={request.param}"
    return make_conninfo(large, options=options.strip())


@pytest.fixture
async def executor(planned: str) -> AsyncIterator[Pool]:
    """The one connection of an executor."""
    async with pool_of(planned, "plans", role="pipeline_executor", max_size=1, index_plans=True) as pool:
        yield pool


@pytest.fixture
async def queue(executor: Pool) -> JobQueue:
    return JobQueue(executor, uuid4())


@asynccontextmanager
async def few_rows_read(pool: Pool) -> AsyncIterator[None]:
    """What happens inside looks at few rows, however large the tables are."""
    async with pool.connection() as session:
        plans = Plans(session)
    yield
    assert_few(plans)


def assert_few(plans: Plans) -> None:
    reads = plans.reads()
    assert reads, "the session has told its plans"
    assert [read for read in reads if read.table in LARGE and ("Seq Scan" in read.how or read.rows > FEW)] == []


async def test_claim(executor: Pool, queue: JobQueue) -> None:
    async with few_rows_read(executor):
        for _ in range(REPEATED):
            assert len(await queue.claim(GAS, BATCH)) == BATCH


async def test_flags_enqueued_and_claimed_at_once(executor: Pool, queue: JobQueue) -> None:
    async with few_rows_read(executor):
        for _ in range(REPEATED):
            assert len(await queue.enqueue_and_claim(GAS, BATCH)) == BATCH


async def test_an_incremental_scan(executor: Pool, queue: JobQueue) -> None:
    """As a listener makes it, and the full one with its marks."""
    marks = await queue.flag_marks(GAS)
    async with few_rows_read(executor):
        for _ in range(REPEATED):
            marks = await queue.flag_marks(GAS, marks.standing)
            await queue.exchange((), GAS, BATCH, Scan(flags_since=marks.unseen, due_within_seconds=2.0))
            await queue.exchange((), GAS, BATCH, Scan(flags_since=marks.standing, due_within_seconds=2.0))


async def test_sweep(executor: Pool, queue: JobQueue, large: str) -> None:
    first = next(untouched)
    async with await psycopg.AsyncConnection.connect(large, autocommit=True) as admin:
        await admin.execute(
            "UPDATE wallets SET needs_gas = true WHERE derivation_index BETWEEN %s AND %s", [first, first + 199]
        )
    async with few_rows_read(executor):
        assert (await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=BATCH)).jobs >= 200


async def test_finish(executor: Pool, queue: JobQueue) -> None:
    held = await queue.enqueue_and_claim(GAS, REPEATED * BATCH)
    assert len(held) == REPEATED * BATCH
    async with few_rows_read(executor):
        for start in range(0, len(held), BATCH):
            batch = held[start : start + BATCH]
            assert len(await queue.finish([(job, Done(clear_flag=True)) for job in batch])) == BATCH


async def test_hand_back(executor: Pool, queue: JobQueue) -> None:
    async with few_rows_read(executor):
        for _ in range(REPEATED):
            held = await queue.claim(GAS, BATCH)
            assert len(await queue.hand_back(held)) == BATCH
            await queue.release_unheld([])


async def test_next_due(executor: Pool, queue: JobQueue) -> None:
    async with few_rows_read(executor):
        for _ in range(REPEATED):
            assert await queue.next_due(GAS) is not None


async def test_comparing_wallets_with_their_balances(executor: Pool) -> None:
    """Pages of a thousand: each table is read by a range of an index."""
    async with few_rows_read(executor), executor.connection() as session:
        after = numbered(150_000)
        for _ in range(REPEATED):
            parameters = {"after": after, "wallets": 1_000}
            compared = await session.execute(statement("sweep/repair_wallets"), parameters, prepare=True)
            ((after, *found),) = await compared.fetchall()
            assert ((after.int & 0xFFFFFFFFFFFF) % 1_000, found) == (0, [0] * 5)
            await session.execute(statement("sweep/repair_jobs"), {"jobs": 1_000}, prepare=True)


async def test_sequences(executor: Pool) -> None:
    async with few_rows_read(executor), executor.connection() as session:
        for _ in range(REPEATED):
            await session.execute(statement("sequences/advance"), prepare=True)


async def test_figures_and_lists_of_people(executor: Pool) -> None:
    """Those that are asked again and again: none of them reads what has ended."""
    page = dict.fromkeys(("status", "job_type", "triggered_by", "wallet", "since", "before_created", "before_seq"))
    async with few_rows_read(executor), executor.connection() as session:
        (address,) = await (
            await session.execute("SELECT address FROM wallets WHERE id = %s", [numbered(7)])
        ).fetchone()  # type: ignore[misc]
        for _ in range(REPEATED):
            await session.execute("SELECT * FROM get_job_queue_stats()", prepare=True)
            await session.execute("SELECT * FROM jobs_of_wallet(%s)", [address], prepare=True)
            await session.execute("SELECT * FROM history_months()", prepare=True)
            for name, wallet in (("jobs/of_wallet", address), ("jobs/list", None)):
                asked = {**page, "wallet": wallet, "summaries": False, "limit": BATCH}
                rows = await (await session.execute(statement(name), asked)).fetchall()
                assert rows


async def test_moving_finished_jobs(executor: Pool) -> None:
    """A page reads its own jobs alone."""
    async with few_rows_read(executor), executor.connection() as session:
        after = UUID(int=0)
        for _ in range(REPEATED):
            row = await (
                await session.execute(
                    statement("history/move"),
                    {
                        "after": after,
                        "jobs": 100,
                        "finished": timedelta(days=30),
                        "failed": timedelta(days=90),
                        "now": datetime.now(UTC),
                    },
                    prepare=True,
                )
            ).fetchone()
            assert row is not None
            after, moved = row
            assert moved >= 99


def test_doctor(planned: str) -> None:
    """No question reads a table as a whole: of wallets and balances the newest, of jobs the live and the newest."""
    most = 3 * checks.NEWEST  # of an asset's two balances, and of what has just been read
    with examination(planned) as shared:
        plans = Plans(shared.connection)  # type: ignore[arg-type]
        for check in ASKED.values():
            list(check.troubles(shared))
        (chain,) = shared.connection.execute("SELECT id FROM chains").fetchall()
        shared.rows("wallets", chain_id=chain["id"])
        shared.rows("own_wallets", chain_id=chain["id"], below=2**31, limit=100)
    reads = plans.reads()
    assert len(reads) > 50, "the session has told its plans"
    assert [read for read in reads if read.table in LARGE and ("Seq Scan" in read.how or read.rows > most)] == []


async def test_rescue(executor: Pool) -> None:
    async with few_rows_read(executor), executor.connection() as session:
        for _ in range(REPEATED):
            await session.execute(statement("rescue/mark_workers"), {"stale_seconds": 60}, prepare=True)
            oldest = await session.execute(statement("rescue/oldest_entered"), {"entered_since": "0"}, prepare=True)
            ((since,),) = await oldest.fetchall()
            parameters = {"stale_seconds": 60, "older_seconds": 60, "entered_since": since, "at_most": 10_000}
            await session.execute(statement("rescue/take_jobs"), parameters, prepare=True)


async def test_due_balances(planned: str) -> None:
    async with (
        pool_of(planned, "plans", role="pipeline_sync", max_size=1, index_plans=True) as pool,
        few_rows_read(pool),
        pool.connection() as session,
    ):
        (chain,) = await (await session.execute("SELECT id FROM chains")).fetchall()
        for number in range(REPEATED):
            await session.execute(statement("sync/next_due"), {"chain_id": chain[0]}, prepare=True)
            lock = {"lock": f"{uuid4()}:{number}", "lock_seconds": 120, "batch": BATCH, "chain_id": chain[0]}
            claimed = await session.execute(statement("sync/claim"), lock, prepare=True)
            assert claimed.rowcount == BATCH
            read = {
                "ids": [row[0] for row in await claimed.fetchall()],
                "raws": ["900000"] * BATCH,  # below every threshold: the triggers decide, flags rise
                "blocks": [number + 2] * BATCH,
                "errors": [None] * BATCH,
                "lock": lock["lock"],
            }
            stored = await session.execute(statement("sync/store"), read, prepare=True)
            assert stored.rowcount == BATCH


async def test_pages_of_balances(planned: str, large: str) -> None:
    with psycopg.connect(large, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(AT_REST, {"first": numbered(100_001), "last": numbered(100_000 + REPEATED * PAGE)})
        connection.execute("UPDATE sync_pages SET next_check_at = now(), balances = NULL")
    async with (
        pool_of(planned, "plans", role="pipeline_sync", max_size=1, index_plans=True) as pool,
        few_rows_read(pool),
        pool.connection() as session,
    ):
        (chain,) = await (await session.execute("SELECT id FROM chains")).fetchall()
        claim = {"chain_id": chain[0], "lock_seconds": 120, "balances": PAGE, "record_seconds": 0}
        for number in range(REPEATED):
            lock = f"{uuid4()}:{number}"
            cursor = await session.execute(statement("sync/claim_page"), claim | {"lock": lock}, prepare=True)
            row = await cursor.fetchone()
            if row is None:  # none was there before this claim
                with psycopg.connect(large, autocommit=True) as connection:
                    connection.execute("UPDATE sync_pages SET next_check_at = now()")
                continue
            keys = {"asset_id": row[0], "after_id": row[1], "last_id": row[2]}
            selected = await session.execute(statement("sync/page"), keys | {"limit": 2 * PAGE}, prepare=True)
            found = await selected.fetchall()
            assert 0 < len(found) <= PAGE
            changed = found[:BATCH]
            read = {
                **keys,
                "lock": lock,
                "up_to": row[2],
                "balances": len(found),
                "first_block": (block := next(blocks)),
                "last_block": block,
                "record": True,
                "ids": [one[0] for one in changed],
                "known": [one[2] for one in changed],
                "raws": ["900000"] * len(changed),
                "blocks": [block] * len(changed),
                "errors": [None] * len(changed),
            }
            stored = await (await session.execute(statement("sync/store_page"), read, prepare=True)).fetchone()
            assert stored is not None
            assert (stored[0], len(stored[2])) == ("read", len(changed))


async def test_flags_raised_by_hand(planned: str) -> None:
    """A person at psql, with nothing set: the doorbell's own statements."""
    async with await psycopg.AsyncConnection.connect(planned, autocommit=True) as session:
        plans = Plans(session)
        for first in range(start := next(untouched), start + REPEATED * BATCH, BATCH):
            wallets = [numbered(number) for number in range(first, first + BATCH)]
            await session.execute("UPDATE wallets SET needs_gas = true WHERE id = ANY (%s)", [wallets], prepare=True)
            await session.execute(
                "UPDATE wallets SET needs_consolidation = NOT needs_consolidation WHERE id = %s",
                [wallets[0]],
                prepare=True,
            )
        assert_few(plans)


async def test_how_the_whole_is(executor: Pool) -> None:
    """What `flagpost status` asks for, and the checks of a worker that lives."""
    async with executor.connection() as session:
        await register(session, worker("gas-topup"))
    async with few_rows_read(executor), executor.connection() as session:
        for _ in range(REPEATED):
            for name in ("status/system", "status/workers", "status/jobs", "status/chains"):
                await session.execute(statement(name), prepare=True)
