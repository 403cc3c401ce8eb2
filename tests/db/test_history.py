"""The way of finished jobs to job_history and back: who moves, who stays, and what stays guaranteed."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from pipeline.config import RuntimeConfig
from pipeline.db.pool import Connection
from pipeline.workers import history, sweep
from pipeline.workers.sweep import Sweep
from tests.db.history_kit import FAILED, FINISHED, agree, in_history, move, old_job, until_folded, until_in_history
from tests.db.money import new_transfer
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.db.worker_kit import configure, flag, running
from tests.seed import Chain, Wallet, add_wallets

ALL_JOBS = "SELECT * FROM all_jobs ORDER BY id"


@pytest.fixture
async def wallet(connection: Connection, tron: Chain) -> Wallet:
    (one,) = await add_wallets(connection, tron, 1)
    return one


async def paid_job(connection: Connection, tron: Chain, wallet: Wallet, *, state: str, days: float = 40) -> UUID:
    """A job that ended long ago, with a payment in that state."""
    job = await value(
        connection,
        "INSERT INTO job_logs (id, job_type, wallet_address, status, lease)"
        " VALUES (job_id_at(now() - %s), 'gas-topup', %s, 'active', 1) RETURNING id",
        timedelta(days=days + 1),
        wallet.address,
    )
    await new_transfer(connection, tron, wallet, job=job, state=state)
    await connection.execute("ALTER TABLE job_logs DISABLE TRIGGER jobs_updated")
    await connection.execute(
        "UPDATE job_logs SET status = 'completed', completed_at = now() - %s WHERE id = %s", [timedelta(days=days), job]
    )
    await connection.execute("ALTER TABLE job_logs ENABLE TRIGGER jobs_updated")
    return job


@pytest.mark.parametrize(
    ("days", "status", "moves"),
    [
        (29, "completed", False),
        (31, "completed", True),
        (31, "cancelled", True),
        (89, "failed", False),
        (91, "failed", True),
        (-400, "completed", False),  # the clock was wrong as it ended
        (800 * 365.25, "completed", False),  # so was somebody's own
    ],
)
async def test_who_moves(connection: Connection, wallet: Wallet, days: float, status: str, moves: bool) -> None:
    job = await old_job(connection, wallet, status=status)
    if status == "failed":
        await connection.execute("UPDATE job_logs SET completed_at = now() - %s", [timedelta(days=days)])
    else:
        await connection.execute("ALTER TABLE job_logs DISABLE TRIGGER job_rows_update")
        await connection.execute("UPDATE job_logs SET completed_at = now() - %s", [timedelta(days=days)])
    await connection.execute("UPDATE job_logs SET id = id")
    assert await move(connection) == int(moves)
    assert await in_history(connection) == ({job} if moves else set())


async def test_live_jobs_stay(connection: Connection, wallet: Wallet) -> None:
    for job_type, status in (("gas-topup", "pending"), ("consolidation", "active"), ("withdrawal", "retrying")):
        await connection.execute(
            "INSERT INTO job_logs (id, job_type, status, wallet_address, created_at) VALUES"
            " ((left(job_id_at(now() - interval '1 year')::text, 18) || substr(gen_random_uuid()::text, 19))::uuid,"
            " %s, %s, %s, now() - interval '1 year')",
            [job_type, status, wallet.address],
        )
    assert await move(connection) == 0


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_no_setting_moves_what_others_look_back_on(connection: Connection, wallet: Wallet, status: str) -> None:
    """Whoever may call the function, whatever is asked for."""
    await old_job(connection, wallet, days=1.9 if status == "completed" else 30.9, status=status)
    assert await move(connection, finished=timedelta(0), failed=timedelta(0)) == 0


async def test_a_wrong_clock_of_the_server_moves_nothing(connection: Connection, wallet: Wallet) -> None:
    await old_job(connection, wallet, days=40)
    assert await move(connection, now=datetime.now(UTC) - timedelta(days=20)) == 0
    assert await move(connection, now=datetime.now(UTC) + timedelta(days=400)) == 1
    await old_job(connection, wallet, days=20)
    assert await move(connection, now=datetime.now(UTC) + timedelta(days=400)) == 0


async def test_a_dead_letter_that_its_flag_rests_after_stays(connection: Connection, wallet: Wallet) -> None:
    await old_job(connection, wallet, days=100, status="failed")
    await flag(connection, wallet.id)
    await connection.execute("UPDATE wallets SET needs_gas_since = now() - interval '101 days'")
    assert await move(connection) == 0
    await connection.execute("UPDATE wallets SET needs_gas_since = now() - interval '99 days'")
    assert await move(connection) == 1


async def test_a_job_that_froze_a_wallet_as_it_was_adopted_stays(connection: Connection, wallet: Wallet) -> None:
    await old_job(connection, wallet, status="failed", days=300)
    await connection.execute("""UPDATE job_logs SET data = '{"adopted": {"frozen": {"x": 1}}}'""")
    assert await move(connection) == 0


@pytest.mark.parametrize("state", ["requested", "broadcasting", "included", "expired"])
async def test_a_job_whose_payment_is_not_settled_stays(
    connection: Connection, tron: Chain, wallet: Wallet, state: str
) -> None:
    """The move leaves it; were it not to, the foreign key would refuse it, at every isolation level."""
    job = await paid_job(connection, tron, wallet, state=state)
    assert await move(connection) == 0
    for level in ("read committed", "repeatable read", "serializable"):
        await connection.execute(f"SET default_transaction_isolation = '{level}'".encode())
        with pytest.raises((errors.ForeignKeyViolation, errors.FeatureNotSupported)):
            await connection.execute("DELETE FROM job_logs WHERE id = %s", [job])
    await connection.execute("RESET default_transaction_isolation")
    await connection.execute("ALTER TABLE job_logs DISABLE TRIGGER jobs_kept")
    with pytest.raises(errors.ForeignKeyViolation, match="transfers_open_job_id_fkey"):
        await connection.execute("DELETE FROM job_logs WHERE id = %s", [job])


@pytest.mark.parametrize("state", ["final", "reverted", "rejected"])
async def test_a_job_that_paid_is_never_lost(connection: Connection, tron: Chain, wallet: Wallet, state: str) -> None:
    job = await paid_job(connection, tron, wallet, state=state)
    with pytest.raises(errors.ForeignKeyViolation, match="has payments and is never deleted"):
        await connection.execute("DELETE FROM job_logs")
    assert await move(connection) == 1
    assert await rows(connection, "SELECT h.id FROM transfers t JOIN job_history h ON h.id = t.job_id") == [(job,)]
    with pytest.raises(errors.ForeignKeyViolation, match="has payments and is never deleted"):
        await connection.execute("DELETE FROM job_history")
    for change in ("UPDATE job_history SET status = 'failed'", "TRUNCATE job_history"):
        with pytest.raises(psycopg.Error, match="does not change"):
            await connection.execute(change.encode())
    with pytest.raises(errors.ForeignKeyViolation):
        await new_transfer(connection, tron, wallet, job=job)


async def test_who_pays_at_this_moment_is_waited_for(
    connection: Connection, database: str, tron: Chain, wallet: Wallet
) -> None:
    """A payment of a job that is about to move: whichever comes first, the other one is refused or leaves it."""
    job = await old_job(connection, wallet)
    async with second_session(database) as payer, payer.transaction():
        await new_transfer(payer, tron, wallet, job=job)
        assert await move(connection) == 0, "its row is locked"
    assert await move(connection) == 0, "its payment is not settled"

    other = await old_job(connection, wallet, job_type="consolidation")
    async with second_session(database) as payer:
        async with connection.transaction():
            assert await move(connection) == 1
            paying = asyncio.create_task(new_transfer(payer, tron, wallet, "consolidation", job=other))
            await until_blocked(connection, payer)
        with pytest.raises(errors.ForeignKeyViolation):
            await paying


async def test_the_view_shows_the_same_before_and_after(connection: Connection, tron: Chain, wallet: Wallet) -> None:
    await paid_job(connection, tron, wallet, state="final")
    for days in (0, 40, 70, 300):
        await old_job(connection, wallet, days=days, job_id=f"by-hand-{days}")
    await old_job(connection, wallet, days=200, status="failed")
    before = await rows(connection, ALL_JOBS)
    assert await move(connection, page=2) == 5
    after = await rows(connection, ALL_JOBS)
    assert [row[:-1] for row in after] == [row[:-1] for row in before]
    assert sum(row[-1] for row in after) == 5


async def test_a_job_id_is_not_taken_again(connection: Connection, tron: Chain, wallet: Wallet) -> None:
    await old_job(connection, wallet, job_type="withdrawal", job_id="customer-17")
    await move(connection)
    again = (
        "INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES ('customer-17', 'withdrawal', %s)"
        " ON CONFLICT (job_id) DO NOTHING"
    )
    with pytest.raises(errors.UniqueViolation, match="stands in job_history"):
        await connection.execute(again, [wallet.address])
    await connection.execute("INSERT INTO job_logs (job_id, job_type) VALUES ('another', 'deposit-detection')")
    with pytest.raises(errors.UniqueViolation, match="stands in job_history"):
        await connection.execute("UPDATE job_logs SET job_id = 'customer-17'")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_nor_by_who_does_not_see_that_it_moved(
    connection: Connection, database: str, wallet: Wallet, level: str
) -> None:
    await old_job(connection, wallet, job_type="withdrawal", job_id="customer-17")
    insert = "INSERT INTO job_logs (job_id, job_type) VALUES (%s, 'deposit-detection')"
    async with second_session(database) as session:
        await session.execute(f"SET default_transaction_isolation = '{level}'".encode())
        await session.execute("BEGIN")
        await session.execute("SELECT count(*) FROM job_logs")
        await move(connection)
        with pytest.raises(errors.SerializationFailure):
            await session.execute(insert, ["customer-17"])
        await session.execute("ROLLBACK")
        await session.execute(insert, ["customer-18"])
    assert await rows(connection, "SELECT job_id FROM job_history_names") == [("customer-17",)]


async def test_who_waits_for_a_job_that_moves_is_refused(connection: Connection, database: str, wallet: Wallet) -> None:
    await old_job(connection, wallet, job_id="customer-17")
    async with second_session(database) as session:
        async with connection.transaction():
            await move(connection)
            taking = asyncio.create_task(
                session.execute("INSERT INTO job_logs (job_id, job_type) VALUES ('customer-17', 'deposit-detection')")
            )
            await until_blocked(connection, session)
        with pytest.raises(errors.UniqueViolation, match="stands in job_history"):
            await taking


async def test_a_dead_letter_that_moved_runs_again(connection: Connection, wallet: Wallet) -> None:
    job = await old_job(connection, wallet, days=100, status="failed", job_id="mine")
    await move(connection)
    assert await rows(connection, "SELECT retry_job('mine')") == [(("mine", "0", "3"),)]
    found = "SELECT id, status, lease, retry_count, completed_at, run_at <= now() FROM job_logs"
    assert await rows(connection, found) == [(job, "pending", 3, 0, None, True)]
    assert await in_history(connection) == set()
    assert await value(connection, "SELECT count(*) FROM job_history_names") == 0
    assert await agree(connection)


async def test_one_that_was_completed_does_not(connection: Connection, wallet: Wallet) -> None:
    job = await old_job(connection, wallet)
    await move(connection)
    with pytest.raises(psycopg.Error, match="only failed jobs are retried"):
        await connection.execute("SELECT retry_job(%s)", [str(job).upper()])
    with pytest.raises(psycopg.Error, match="has finished: it is completed"):
        await connection.execute("SELECT cancel_job(%s)", [str(job)])
    assert await in_history(connection) == {job}
    with pytest.raises(errors.NoDataFound, match="there is no job"):
        await connection.execute("SELECT retry_job('nothing')")


async def test_those_that_failed_within_so_many_hours(connection: Connection, tron: Chain, wallet: Wallet) -> None:
    (other, third) = await add_wallets(connection, tron, 2)
    newer = await old_job(connection, wallet, days=95, status="failed")
    await old_job(connection, wallet, days=99, status="failed")
    await old_job(connection, other, days=200, status="failed")
    await old_job(connection, third, days=95, status="failed", job_type="consolidation")
    await move(connection)
    assert await value(connection, "SELECT retry_failed_jobs('gas-topup', 24 * 100)") == 1
    assert await rows(connection, "SELECT id FROM job_logs WHERE status = 'pending'") == [(newer,)]
    assert await move(connection) == 1, "the one that did not run is moved again"


async def test_retried_while_it_moves(connection: Connection, database: str, wallet: Wallet) -> None:
    """Whichever comes first: it runs once, and stands in one table."""
    job = await old_job(connection, wallet, days=100, status="failed", job_id="mine")
    async with second_session(database) as operator:
        async with connection.transaction():
            assert await move(connection) == 1
            retrying = asyncio.create_task(operator.execute("SELECT retry_job('mine')"))
            await until_blocked(connection, operator)
        await retrying
        assert await rows(connection, "SELECT id, status, in_history FROM all_jobs") == [(job, "pending", False)]
        await connection.execute("UPDATE job_logs SET status = 'failed', completed_at = now() - interval '100 days'")
        async with operator.transaction():
            await operator.execute("SELECT retry_job('mine')")
            assert await move(connection) == 0, "who retries it holds it"
    assert await rows(connection, "SELECT id, status, in_history FROM all_jobs") == [(job, "pending", False)]


async def test_a_job_that_a_table_of_the_operators_refers_to_stays(connection: Connection, wallet: Wallet) -> None:
    """And keeps none of the others."""
    referred = await old_job(connection, wallet)
    others = {await old_job(connection, wallet) for _ in range(5)}
    await connection.execute("CREATE TABLE tickets (job uuid REFERENCES job_logs (id))")
    await connection.execute("INSERT INTO tickets VALUES (%s)", [referred])
    assert await move(connection) == 5
    assert await in_history(connection) == others
    assert await agree(connection)


async def test_a_wallet_with_jobs_there_is_not_deleted(connection: Connection, wallet: Wallet) -> None:
    await old_job(connection, wallet)
    await move(connection)
    with pytest.raises(errors.ForeignKeyViolation, match="has jobs in job_history"):
        await connection.execute("DELETE FROM wallets WHERE id = %s", [wallet.id])


async def test_sequences_are_not_behind_what_moved(connection: Connection, wallet: Wallet) -> None:
    await old_job(connection, wallet)
    await move(connection)
    highest = await value(connection, "SELECT seq FROM job_history")
    await connection.execute("ALTER SEQUENCE job_logs_seq RESTART WITH 1")
    assert (await rows(connection, "SELECT last_drawn, highest FROM sequences_behind()")) == [(0, highest)]


async def test_ids_that_others_gave_move_as_well(connection: Connection, wallet: Wallet) -> None:
    """Adopted jobs, and those of people's own programs, have random ids."""
    for place in ("00000000-0000-4000-8000-000000000001", "f0000000-0000-4000-8000-000000000001"):
        job = await old_job(connection, wallet, status="failed", days=100)
        await connection.execute("ALTER TABLE job_logs DISABLE TRIGGER USER")
        await connection.execute("UPDATE job_logs SET id = %s WHERE id = %s", [place, job])
        await connection.execute("ALTER TABLE job_logs ENABLE TRIGGER USER")
    assert await move(connection, page=1) == 2


KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%history/move%'
"""


async def test_a_move_that_is_killed_goes_on(
    connection: Connection, database: str, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep moves a page a transaction; sessions that are killed between two, or in one, lose and double none."""
    jobs = {await old_job(connection, wallet, days=40 + n) for n in range(30)}
    monkeypatch.setattr(sweep, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(history, "PAGE", 4)

    async def kill() -> None:
        async with second_session(database) as session:
            for _ in range(40):
                await session.execute(KILL)
                assert await agree(session)

    async with running(Sweep(), database):
        await asyncio.gather(kill(), until_in_history(connection, jobs))
    assert await rows(connection, "SELECT id FROM job_logs WHERE id = ANY (%s)", list(jobs)) == []
    assert await agree(connection)


async def test_the_sweep_goes_on_while_somebody_holds_the_counts(
    connection: Connection, database: str, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As recount_jobs() does for as long as it takes."""
    job = await old_job(connection, wallet)
    monkeypatch.setattr(sweep, "TURN_SECONDS", 0.05)
    await connection.execute("ALTER FUNCTION lock_row(text) SET lock_timeout = '50ms'")
    async with second_session(database) as holder:
        await holder.execute("BEGIN")
        await holder.execute("SELECT lock_row('job counts')")
        async with running(Sweep(), database):
            await until_in_history(connection, {job})
            await holder.execute("ROLLBACK")
            await until_folded(connection)


async def test_the_sweep_moves_as_it_is_configured(connection: Connection, database: str, wallet: Wallet) -> None:
    young = await old_job(connection, wallet, days=20)
    old = await old_job(connection, wallet, days=70)
    await configure(connection, history__move_after_days=60)
    async with running(Sweep(), database):
        await until_in_history(connection, {old})
    assert await in_history(connection) == {old}
    assert await rows(connection, "SELECT id FROM job_logs WHERE id = %s", young) == [(young,)]


def test_the_defaults_are_those_of_the_kit() -> None:
    config = RuntimeConfig().history
    assert (FINISHED.days, FAILED.days) == (config.move_after_days, config.move_failed_after_days)
