"""Times that a wrong clock of the server wrote are not believed: set back by the sweep, bounded by who reads them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from loguru import logger

from pipeline.db.pool import Connection
from pipeline.queue.jobs import Defer, Failed, JobType, TriggeredBy
from pipeline.queue.schedule import Scan
from pipeline.workers.sweep import Sweep
from pipeline.workers.sync import Sync
from tests.db.money import new_attempt, new_job, new_transfer
from tests.db.sessions import rows, value
from tests.db.test_sync import Ledger, Watch
from tests.db.worker_kit import PATIENCE, configure, flag, queue_of, running, statuses
from tests.seed import TRX, Chain, add_wallets, set_balance

AHEAD = "400 days"
MOMENT = timedelta(minutes=5)
"""Longer than a test, shorter than any rule."""
GAS = JobType.GAS_TOPUP


@asynccontextmanager
async def clock_ahead(connection: Connection, by: str = AHEAD) -> AsyncIterator[None]:
    """What is written inside has the times that a server's clock so far ahead would have given it."""
    begun = await value(connection, "SELECT clock_timestamp()")
    yield
    columns = await rows(
        connection,
        """
        SELECT c.table_name, c.column_name FROM information_schema.columns c
        JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE c.table_schema = 'public' AND c.data_type = 'timestamp with time zone' AND c.is_generated = 'NEVER'
          AND t.table_type = 'BASE TABLE' AND c.table_name <> 'schema_migrations'
        ORDER BY 1, 2
        """,
    )
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table in {table for table, _ in columns}:
            of_table = [column for name, column in columns if name == table]
            since = "date_trunc('hour', %(begun)s::timestamptz)" if table == "gas_spending" else "%(begun)s"
            shifted = ", ".join(
                f"{column} = CASE WHEN {column} >= {since} THEN {column} + %(by)s::interval ELSE {column} END"
                for column in of_table
            )
            changed = " OR ".join(f"{column} >= {since}" for column in of_table)
            await connection.execute(
                f"UPDATE {table} SET {shifted} WHERE {changed}",  # type: ignore[arg-type]  # noqa: S608
                {"begun": begun, "by": by},
            )


@asynccontextmanager
async def told() -> AsyncIterator[list[str]]:
    """What is logged meanwhile."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).rstrip()), format="{level} {message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the log has no signal
            await asyncio.sleep(0.01)


async def test_a_lock_that_a_clock_ahead_has_ended_leaves_the_balance_due(connection: Connection, tron: Chain) -> None:
    """Locked while the clock was right, rescued while it was ahead, and right again before anybody reads it."""
    await add_wallets(connection, tron, 1)
    await connection.execute(
        "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'sync:tron:1', updated_at = right_at,"
        " next_check_at = right_at + interval '2 minutes', locked_until = right_at + interval '2 minutes'"
        " FROM (SELECT now() - %s::interval AS right_at) AS clock",
        [AHEAD],
    )
    await connection.execute("SELECT rescue_jobs('60 seconds', '10 minutes')")
    # Not later than now, as the clock says that is right again.
    left = "SELECT DISTINCT processing_status, next_check_at <= now() - %s::interval FROM wallet_balances"
    assert await rows(connection, left, AHEAD) == [("idle", True)]


async def test_balances_that_are_due_next_year_are_read_now(connection: Connection, database: str, tron: Chain) -> None:
    """Half of the deposits never arrived: their wallets were to be read in 400 days."""
    wallets = await add_wallets(connection, tron, 6)
    ledger, watch = Ledger(), Watch()
    async with clock_ahead(connection):
        await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
    for wallet in wallets:
        ledger.amounts[wallet.address, None] = 10 * TRX
    async with told() as lines, running(Sync(lambda row: ledger, observer=watch), database):
        await watch.until(lambda: watch.read == 12)
        await until(lambda: any("12 balances were scheduled for later" in line for line in lines))
    latest = await value(connection, "SELECT max(next_check_at) FROM balance_state")
    assert latest < datetime.now(UTC) + MOMENT + timedelta(minutes=1)


async def test_a_balance_read_next_year_shows_when_it_was_read_since(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Nothing happens in the wallet afterwards, so that its row is not written again."""
    (wallet,) = await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.amounts[wallet.address, None] = 10 * TRX
    shown = "SELECT bool_and(last_checked <= now() AND last_processed_at <= now()) FROM balance_state"
    async with clock_ahead(connection), running(Sync(lambda row: ledger, observer=watch), database):
        await watch.until(lambda: watch.read == 2)
    assert await value(connection, shown) is False
    async with running(Sync(lambda row: ledger, observer=watch), database):
        await watch.until(lambda: watch.read == 4)
    assert await value(connection, shown) is True


async def test_a_lock_until_next_year_is_none(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    async with clock_ahead(connection):
        await connection.execute(
            "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'a sync that is gone',"
            " locked_until = now() + interval '2 minutes'"
        )
    watch = Watch()
    async with running(Sync(lambda row: Ledger(), observer=watch), database):
        await watch.until(lambda: watch.read == 2)


async def test_an_interval_that_was_shortened_holds_at_once(connection: Connection, database: str, tron: Chain) -> None:
    """Not in ten days, when the old one has passed."""
    await add_wallets(connection, tron, 1)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '10 days'")
    watch = Watch()
    async with running(Sync(lambda row: Ledger(), observer=watch), database):
        await watch.until(lambda: watch.read == 2)


async def test_waits_within_the_rules_are_left_alone(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '1 hour'")
    async with running(Sync(lambda row: Ledger()), database) as runtime:
        await heartbeats(runtime)
    soonest = await value(connection, "SELECT min(next_check_at) FROM wallet_balances")
    assert soonest > datetime.now(UTC) + timedelta(minutes=55)


async def heartbeats(runtime) -> None:
    async with asyncio.timeout(PATIENCE), runtime.beaten:
        for _ in range(3):
            runtime.beat()
            await runtime.beaten.wait()


@asynccontextmanager
async def repairing(database: str) -> AsyncIterator[tuple[Sweep, list[str]]]:
    """A sweep that has looked for wrong times once."""
    sweep = Sweep()
    async with told() as lines, running(sweep, database) as runtime:
        async with asyncio.timeout(PATIENCE):
            await sweep.acting.wait()
            while not any("set back" in line for line in lines):  # noqa: ASYNC110 - the log has no signal
                await asyncio.sleep(0.01)
        yield sweep, lines
        assert runtime.last_error is None


async def test_the_sweep_sets_back_what_lies_ahead_and_says_how_many(
    connection: Connection, database: str, tron: Chain
) -> None:
    first, second, third, fourth = await add_wallets(connection, tron, 4)
    async with queue_of(database) as queue:
        async with clock_ahead(connection):
            await flag(connection, first.id, second.id, third.id)
            (job,) = await queue.enqueue_and_claim(GAS, 1)
            await queue.finish([(job, Defer(60, "wait"))])
            (held, _) = await queue.enqueue_and_claim(GAS, 2)
            await flag(connection, fourth.id, gas=False, tokens=True)
            await connection.execute(
                "INSERT INTO worker_registry (id, name, type, session_lost_at)"
                " VALUES ('all-sync-001', 'gone', 'sync', now())"
            )
        before = await rows(connection, "SELECT status, run_at FROM job_logs WHERE run_at > now() + interval '1 year'")
        assert len(before) == 3
        async with repairing(database) as (sweep, lines):
            (said,) = [line for line in lines if "set back" in line]
            assert said.startswith("ERROR sweep: the clock of the database was wrong")
            assert "4 flags, 1 jobs, 2 leases, 1 workers" in said
            assert sweep.stats()["times_flags"] == 4
    now = datetime.now(UTC)
    ((run_at, status),) = await rows(connection, "SELECT run_at, status FROM job_logs WHERE id = %s", job.id)
    assert status == "pending"
    assert timedelta(seconds=20) < run_at - now < timedelta(seconds=61), "as long after now as after it was written"
    ((started, deadline),) = await rows(
        connection, "SELECT started_at, lease_deadline FROM job_logs WHERE id = %s", held.id
    )
    assert started <= now
    assert deadline - started == timedelta(seconds=120)
    assert await value(connection, "SELECT max(wanted_since) FROM wallets") < now
    ((heartbeat, lost),) = await rows(
        connection, "SELECT last_heartbeat, session_lost_at FROM worker_registry WHERE name = 'gone'"
    )
    assert max(heartbeat, lost) <= now


async def test_a_flag_that_rose_next_year_is_served_now(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    async with clock_ahead(connection):
        await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        assert await queue.enqueue_and_claim(GAS, 1) == []
        async with repairing(database):
            pass
        (job,) = await queue.enqueue_and_claim(GAS, 1)
        assert job.wallet_id == wallet.id


@pytest.mark.parametrize(
    ("planned", "written"),
    [("now() + interval '90 days'", "now()"), ("now() + interval '490 days'", f"now() + interval '{AHEAD}'")],
)
async def test_what_a_person_planned_stays(
    connection: Connection, database: str, tron: Chain, planned: str, written: str
) -> None:
    """Typed for a day that is far ahead, whatever the clock said at that moment."""
    first, second = await add_wallets(connection, tron, 2)
    async with clock_ahead(connection):
        await flag(connection, second.id)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, wallet_address, run_at, updated_at)"  # type: ignore[arg-type]  # noqa: S608
        f" VALUES ('mine', 'gas-topup', %s, {planned}, {written})",
        [first.address],
    )
    run_at = await value(connection, "SELECT run_at FROM job_logs")
    async with repairing(database):
        pass
    assert await value(connection, "SELECT run_at FROM job_logs WHERE job_id = 'mine'") == run_at


async def test_a_dead_letter_of_next_year_keeps_no_wallet_resting(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(GAS, 1)
        async with clock_ahead(connection):
            await queue.finish([(job, Failed("broken"))])
        (again,) = await queue.enqueue_and_claim(GAS, 1)
        await queue.finish([(again, Failed("broken"))])
        assert await queue.enqueue_and_claim(GAS, 1) == [], "the one that ended now makes it rest"


async def test_a_balance_that_changed_next_year_keeps_no_flag_up(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Else its job ends and begins again without a pause, until then."""
    (wallet,) = await add_wallets(connection, tron, 1)
    async with clock_ahead(connection):
        await set_balance(connection, wallet, tron.native_id, 8 * TRX)
    await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(GAS, 1)
        cleared = await rows(
            connection,
            "SELECT cleared FROM clear_served_flags(%s, '{gas-topup}', %s)",
            [wallet.id],
            [datetime.now(UTC)],
        )
        assert cleared == [(True,)]
        assert job.wallet_id == wallet.id


async def test_gas_that_was_sent_next_year_bars_no_top_up(connection: Connection, tron: Chain) -> None:
    """Neither by the cooldown nor by what a day may cost; of all that was ever spent it stays a part."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(
        "UPDATE chains SET gas_max_per_topup = gas_amount, gas_max_per_wallet_day = gas_amount,"
        " gas_max_per_day = gas_amount, gas_max_total = 2 * gas_amount"
    )
    async with clock_ahead(connection):
        transfer = await new_transfer(connection, tron, wallet)
        await connection.execute("UPDATE transfers SET state = 'broadcasting' WHERE id = %s", [transfer])
        await connection.execute("UPDATE transfers SET state = 'included' WHERE id = %s", [transfer])
        await connection.execute("UPDATE transfers SET state = 'final' WHERE id = %s", [transfer])
    await connection.execute("UPDATE job_logs SET status = 'completed' WHERE status = 'active'")
    again = await new_transfer(connection, tron, wallet, state="final")
    assert again > transfer
    await connection.execute("UPDATE job_logs SET status = 'completed' WHERE status = 'active'")
    await connection.execute(
        "UPDATE chains SET gas_cooldown = '0', gas_max_per_wallet_day = gas_max_per_day * 9,"
        " gas_max_per_day = gas_max_per_day * 9"
    )
    with pytest.raises(psycopg.DatabaseError, match="gas_max_total"):
        await new_transfer(connection, tron, wallet)


async def test_bytes_that_were_sent_next_year_are_sent_again_and_can_be_proved_dead(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    attempt = await new_attempt(connection, transfer)
    async with clock_ahead(connection):
        await connection.execute(
            "UPDATE chain_transactions SET state = 'broadcasting', first_broadcast_at = clock_timestamp(),"
            " last_broadcast_at = clock_timestamp()"
        )
    async with repairing(database) as (_, lines):
        assert any("1 attempts" in line for line in lines)
    now = datetime.now(UTC)
    ((first, last),) = await rows(
        connection, "SELECT first_broadcast_at, last_broadcast_at FROM chain_transactions WHERE id = %s", attempt
    )
    assert max(first, last) <= now
    assert min(first, last) > now - MOMENT, "not before it can have been: the proof of death begins there"


async def test_a_clock_that_went_back_leaves_nothing_waiting(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Set back for good: all that was written before lies ahead of it now."""
    (wallet,) = await add_wallets(connection, tron, 1)
    async with queue_of(database) as queue:
        async with clock_ahead(connection, by="40 minutes"):
            await flag(connection, wallet.id)
            await queue.enqueue_flagged(GAS, Scan(TriggeredBy.SWEEP), batch=5)
        assert await queue.claim(GAS, 1) == []
        async with repairing(database):
            pass
        (job,) = await queue.claim(GAS, 1)
        assert job.wallet_id == wallet.id
    assert await statuses(connection) == {"active": 1}


async def test_where_all_is_well_the_sweep_says_nothing(connection: Connection, database: str, tron: Chain) -> None:
    (wallet, other) = await add_wallets(connection, tron, 2)
    await flag(connection, wallet.id)
    job = await new_job(connection, other, status="pending")
    await connection.execute("UPDATE job_logs SET run_at = now() + interval '1 hour' WHERE id = %s", [job])
    before = await rows(
        connection,
        "SELECT id, run_at, updated_at FROM job_logs UNION ALL SELECT NULL, wanted_since, updated_at FROM wallets",
    )
    sweep = Sweep()
    async with told() as lines, running(sweep, database) as runtime:
        await configure(connection, sweep__interval_seconds=0.2, paused=True)
        await heartbeats(runtime)
    assert not any("set back" in line for line in lines)
    after = await rows(
        connection,
        "SELECT id, run_at, updated_at FROM job_logs UNION ALL SELECT NULL, wanted_since, updated_at FROM wallets",
    )
    assert [row for row in after if row in before] == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO job_logs (job_id, job_type, wallet_id, run_at) VALUES ('mine', 'gas-topup', %s, {})",
        "UPDATE wallet_balances SET next_check_at = {} WHERE wallet_id = %s",
        "UPDATE wallet_balances SET last_error_at = {} WHERE wallet_id = %s",
        "INSERT INTO wallets (chain_id, address, created_at) SELECT chain_id, 'another', {} FROM wallets WHERE id = %s",
        "UPDATE wallets SET needs_consolidation_since = {} WHERE id = %s",
    ],
)
async def test_a_time_that_no_one_can_wait_for_is_refused_by_name(
    connection: Connection, tron: Chain, statement: str
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    for moment in (
        "infinity", "-infinity", "20000-01-01 00:00+00", "0044-03-15 00:00+00 BC", "2100-01-01 00:00+00",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.CheckViolation, match="times_are_between_1970_and_2100"):
            await connection.execute(statement.format(f"'{moment}'"), [wallet.id])  # type: ignore[arg-type]


async def test_an_interval_that_ends_beyond_all_times_is_refused(connection: Connection, tron: Chain) -> None:
    """now() + 200,000 years ends every statement that adds them: no balance of the chain was stored any more."""
    for column, length in (
        ("sync_interval", "200000 years"), ("gas_cooldown", "200000 years"), ("gas_cooldown", "-1 second"),
        ("block_time", "2 days"), ("transaction_lifetime", "2 days"),
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.CheckViolation, match="intervals_are_at_most_a_year"):
            await connection.execute(f"UPDATE chains SET {column} = %s", [length])  # type: ignore[arg-type]  # noqa: S608
