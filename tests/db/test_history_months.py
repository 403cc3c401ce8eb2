"""The months of job_history: made ahead, exported, dropped when they are to go, and not before."""

import asyncio
import csv
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from pipeline.workers.sweep import Sweep
from tests.db.cli_kit import Shell
from tests.db.history_kit import agree, counted, in_history, move, old_job, until_in_history
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.db.test_history import paid_job
from tests.db.worker_kit import configure, running
from tests.patience import PATIENCE
from tests.seed import Chain, Wallet, add_wallets, seed_tron

PARTITIONS = (
    "SELECT relname FROM pg_class WHERE relnamespace = 'flagpost_history'::regnamespace AND relkind = 'r' ORDER BY 1"
)
LATER = timedelta(days=400)


@pytest.fixture
async def wallet(connection: Connection, tron: Chain) -> Wallet:
    (one,) = await add_wallets(connection, tron, 1)
    return one


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it is true of what the sweep has written."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.02)


async def has_partitions(connection: Connection, names: set[str]) -> bool:
    return names <= {name for (name,) in await rows(connection, PARTITIONS)}


async def lost_month(connection: Connection, month: date) -> bool:
    return not await rows(connection, "SELECT FROM job_history_months WHERE month = %s", month)


def month_of(moment: datetime) -> date:
    return moment.date().replace(day=1)


async def drop(connection: Connection, month: date, *, now: datetime | None = None) -> bool:
    return await value(connection, "SELECT drop_history_month(%s, %s)", month, now or datetime.now(UTC) + LATER)


async def export(connection: Connection, month: date) -> bool:
    """As the command notes it; whether the month is now as it was written."""
    version = await value(connection, "SELECT version FROM job_history_months WHERE month = %s", month)
    return await value(connection, "SELECT note_history_export(%s, %s, 1, '/file')", month, version)


async def moved(connection: Connection, wallet: Wallet, days: float = 400, **options: Any) -> date:
    """The month of a job that has moved."""
    await old_job(connection, wallet, days=days, **options)
    await move(connection)
    return month_of(datetime.now(UTC) - timedelta(days=days))


async def test_the_sweep_makes_this_month_and_the_next(connection: Connection, database: str, wallet: Wallet) -> None:
    job = await old_job(connection, wallet)
    async with running(Sweep(), database):
        await until_in_history(connection, {job})
        now = datetime.now(UTC)
        wanted = {f"jobs_{month:%Y_%m}" for month in (now, now.replace(day=1) + timedelta(days=32))}
        await until(lambda: has_partitions(connection, wanted))
    assert await value(connection, "SELECT add_history_month(now()::date)") is False


async def test_two_make_one_month_at_once(connection: Connection, database: str) -> None:
    async with second_session(database) as other:
        async with connection.transaction():
            assert await value(connection, "SELECT add_history_month('2024-02-29')") is True
            making = asyncio.create_task(value(other, "SELECT add_history_month('2024-02-01')"))
            await until_blocked(connection, other)
        assert await making is False
    assert await rows(connection, PARTITIONS) == [("jobs_2024_02",)]


async def test_no_month_is_made_of_whatever_is_asked_for(connection: Connection) -> None:
    for day in ("1999-12-31", str((datetime.now(UTC) + timedelta(days=70)).date())):
        with pytest.raises(errors.InvalidParameterValue, match="has no month of"):
            await connection.execute("SELECT add_history_month(%s::date)", [day])


async def test_a_restore_of_the_schema_public_alone(connection: Connection, database: str, wallet: Wallet) -> None:
    """The partitions are gone, and with them their jobs; what moves from then on has its months."""
    lost = await moved(connection, wallet, days=400)
    await connection.execute("DROP SCHEMA flagpost_history CASCADE")
    await migrate(database)
    assert await value(connection, "SELECT count(*) FROM add_history_month(%s) made WHERE made", lost) == 1
    await connection.execute("SELECT recount_jobs()")
    assert await agree(connection)
    assert await moved(connection, wallet, days=40) != lost
    assert await agree(connection)
    assert len(await in_history(connection)) == 1


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
async def test_a_month_is_one_of_utc(connection: Connection, wallet: Wallet, zone: str) -> None:
    await old_job(connection, wallet, status="failed", days=100)
    await old_job(connection, wallet, status="failed", days=100)
    ends = ("2024-02-29 23:59:59.999999+00", "2024-03-01 00:00:00+00")
    for end in ends:
        await connection.execute(
            "UPDATE job_logs SET completed_at = %s WHERE id = ("
            "SELECT id FROM job_logs WHERE completed_at > '2024-06-01' AND status = 'failed' LIMIT 1)",
            [end],
        )
    await connection.execute(f"SET TimeZone = '{zone}'".encode())
    assert await move(connection) == 2
    assert await rows(connection, "SELECT tableoid::regclass::text, completed_at FROM job_history ORDER BY 2") == [
        (f"flagpost_history.jobs_2024_{month}", datetime.fromisoformat(end))
        for month, end in zip(("02", "03"), ends, strict=True)
    ]
    assert await agree(connection)


async def test_nothing_is_dropped_unless_somebody_says_so(connection: Connection, wallet: Wallet) -> None:
    month = await moved(connection, wallet)
    await export(connection, month)
    assert await drop(connection, month) is False
    assert await value(connection, "SELECT leaves_on FROM history_months()") is None


@pytest.mark.parametrize("section", [True, False])
async def test_a_month_is_dropped_once_it_was_exported(connection: Connection, wallet: Wallet, section: bool) -> None:
    """Its rows, its counts, its job_ids; not one that another month has."""
    await moved(connection, wallet, days=40, job_id="kept")
    month = await moved(connection, wallet, days=700, job_id="free")
    if section:
        await configure(connection, history={"keep_months": 12})
    else:
        await configure(connection, history__keep_months=12)
    assert await drop(connection, month) is False, "it waits for its export"
    assert await value(connection, "SELECT waits_for_export FROM history_months() WHERE month = %s", month)
    assert await export(connection, month) is True
    early = datetime(month.year + 1, month.month, 1, tzinfo=UTC)
    assert await drop(connection, month, now=early) is False, "by the clock of the process it is not time"
    assert await drop(connection, month) is True
    assert await rows(connection, "SELECT job_id FROM all_jobs") == [("kept",)]
    assert len(await rows(connection, PARTITIONS)) == 1
    assert await rows(connection, "SELECT job_id FROM job_history_names") == [("kept",)]
    assert await agree(connection)
    assert len(await counted(connection)) == 1
    (action,) = await rows(connection, "SELECT target_id FROM admin_actions WHERE action_type = 'history.drop_month'")
    assert action == (str(month),)


async def test_a_month_that_changed_since_its_export_stays(connection: Connection, wallet: Wallet) -> None:
    month = await moved(connection, wallet, days=400)
    await configure(connection, history__keep_months=1)
    await export(connection, month)
    await moved(connection, wallet, days=400, status="failed")
    assert await drop(connection, month) is False
    assert await export(connection, month) is True
    assert await drop(connection, month) is True


async def test_exports_need_not_be(connection: Connection, wallet: Wallet) -> None:
    month = await moved(connection, wallet)
    await configure(connection, history__keep_months=1, history__drop_unexported=True)
    assert await drop(connection, month) is True


async def test_who_moves_a_job_at_this_moment_is_waited_for(
    connection: Connection, database: str, wallet: Wallet
) -> None:
    """The drop begins once the month's version is final, and finds that the export is not of it."""
    month = await moved(connection, wallet)
    await configure(connection, history__keep_months=1)
    await export(connection, month)
    await old_job(connection, wallet, days=400)
    async with second_session(database) as other:
        async with connection.transaction():
            assert await move(connection) == 1
            dropping = asyncio.create_task(drop(other, month))
            await until_blocked(connection, other)
        assert await dropping is False
    assert len(await in_history(connection)) == 2


async def test_a_month_that_is_read_is_not_waited_for_long(
    connection: Connection, database: str, wallet: Wallet
) -> None:
    """Whoever waits for an exclusive lock keeps everybody else waiting."""
    month = await moved(connection, wallet)
    await configure(connection, history__keep_months=1, history__drop_unexported=True)
    await connection.execute("ALTER FUNCTION drop_history_month(date, timestamptz, uuid) SET lock_timeout = '100ms'")
    async with second_session(database) as reader, reader.transaction():
        await reader.execute("SELECT count(*) FROM all_jobs")
        with pytest.raises(errors.LockNotAvailable):
            await drop(connection, month)
    assert await drop(connection, month) is True


async def test_the_job_id_of_a_job_that_paid_stays_taken(connection: Connection, tron: Chain, wallet: Wallet) -> None:
    job = await paid_job(connection, tron, wallet, state="final", days=400)
    await move(connection)
    name = await value(connection, "SELECT job_id FROM job_history WHERE id = %s", job)
    await configure(connection, history__keep_months=1, history__drop_unexported=True)
    assert await drop(connection, month_of(datetime.now(UTC) - timedelta(days=400))) is True
    with pytest.raises(errors.UniqueViolation, match="stands in job_history"):
        await connection.execute("INSERT INTO job_logs (job_id, job_type) VALUES (%s, 'deposit-detection')", [name])


async def test_the_sweep_drops_them(connection: Connection, database: str, wallet: Wallet) -> None:
    old = await moved(connection, wallet, days=800)
    kept = await old_job(connection, wallet)
    await configure(connection, history__keep_months=12, history__drop_unexported=True)
    async with running(Sweep(), database):
        await until(lambda: lost_month(connection, old))
    assert await in_history(connection) == {kept}


class TestCommands:
    """``flagpost history``, and ``flagpost jobs`` over both tables."""

    @pytest.fixture
    def sql(self, database: str) -> Any:
        with psycopg.connect(database, autocommit=True) as connection:
            yield connection

    @pytest.fixture
    def jobs(self, database: str, shell: Shell) -> list[str]:
        """job_ids of a wallet, oldest first; all but the last have moved."""

        async def seed() -> list[str]:
            async with second_session(database) as connection:
                chain = await seed_tron(connection, wallets=1)
                (wallet,) = chain.wallets
                for days in (75, 74, 44, 43):
                    await old_job(connection, wallet, days=days, job_id=f"job-{days}")
                await move(connection)
                await old_job(connection, wallet, days=3, job_id="job-3")
            return ["job-75", "job-74", "job-44", "job-43", "job-3"]

        return asyncio.run(seed())

    @staticmethod
    def month(days: float) -> str:
        return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m}"

    def test_list(self, shell: Shell, jobs: list[str]) -> None:
        found = shell("history", "list", "--json").json
        assert sum(month["jobs"] for month in found) == 4
        assert {month["leaves_on"] for month in found} == {None}
        assert "never" in shell("history", "list").out

    def test_nothing_has_moved(self, shell: Shell) -> None:
        answer = shell("history", "list")
        assert (answer.out, "no job has moved" in answer.err) == ("", True)

    def test_export_as_csv(self, shell: Shell, jobs: list[str], tmp_path: Path) -> None:
        file = tmp_path / "jobs.csv"
        answer = shell("history", "export", self.month(76), str(file), "--through", self.month(43), "--json").json
        assert (answer["rows"], answer["changed"]) == (4, [])
        with file.open(encoding="utf-8", newline="") as opened:
            written = list(csv.DictReader(opened))
        assert [row["job_id"] for row in written] == jobs[:4]
        assert json.loads(written[0]["data"]) == {"duration_ms": 12.5}
        assert list(tmp_path.iterdir()) == [file]
        found = shell("history", "list", "--json").json
        assert all(month["is_exported"] for month in found if month["jobs"])
        assert {month["exported_to"] for month in found if month["jobs"]} == {str(file)}

    def test_export_as_json_lines(self, shell: Shell, sql: Any, jobs: list[str], tmp_path: Path) -> None:
        odd = 'a "quoted" \\ line\nand another, 余額\t\x02'
        sql.execute("ALTER TABLE job_history DISABLE TRIGGER history_kept")
        sql.execute("UPDATE job_history SET error_message = %s WHERE job_id = 'job-75'", [odd])
        file = tmp_path / "jobs.jsonl"
        shell("history", "export", self.month(75), str(file), "--through", self.month(43))
        written = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert [row["job_id"] for row in written] == jobs[:4]
        assert written[0]["error_message"] == odd
        assert written[0]["chain"] == "tron"

    def test_standard_output_is_no_file(self, shell: Shell, jobs: list[str]) -> None:
        answer = shell("history", "export", self.month(75), "-", "--through", self.month(43), "--format", "jsonl")
        assert len(answer.out.splitlines()) == 4
        assert not any(month["is_exported"] for month in shell("history", "list", "--json").json)

    def test_what_is_refused(self, shell: Shell, jobs: list[str], tmp_path: Path) -> None:
        file = tmp_path / "jobs.csv"
        assert "is not a month" in shell.fails("history", "export", "2026-13", str(file), code=2)
        assert "is before" in shell.fails("history", "export", "2026-08", str(file), "--through", "2026-07", code=2)
        assert "job_history has no month from 1999-01 to 1999-01" in shell.fails(
            "history", "export", "1999-01", str(file)
        )
        assert list(tmp_path.iterdir()) == []
        file.write_text("mine")
        assert "is there already" in shell.fails("history", "export", self.month(75), str(file))
        assert file.read_text() == "mine"
        assert "cannot be written" in shell.fails("history", "export", self.month(75), str(tmp_path / "no" / "file"))

    def test_jobs_of_both_tables(self, shell: Shell, sql: Any, jobs: list[str]) -> None:
        listed = shell("jobs", "list", "--json").json
        assert [(job["job_id"], job["in_history"]) for job in listed] == [
            (job, job != "job-3") for job in reversed(jobs)
        ]
        (address,) = sql.execute("SELECT address FROM wallets").fetchone()
        of_wallet = shell("jobs", "list", "--wallet", address, "--json").json
        assert of_wallet == listed
        page = shell("jobs", "list", "--wallet", address, "--before", "job-44", "--limit", "1", "--json").json
        assert [job["job_id"] for job in page] == ["job-74"]
        page = shell("jobs", "list", "--before", "job-44", "--limit", "1", "--json").json
        assert [job["job_id"] for job in page] == ["job-74"]
        assert "job_history" in shell("jobs", "show", "job-75").out
        assert "there is no job" in shell.fails("jobs", "list", "--before", "nothing")
        sql.execute("UPDATE wallets SET address = 'TMV2Xm3y3yTAYzxNGFoGLoaLM5p1cQLHqB'")
        assert shell("jobs", "list", "--wallet", address, "--json").json == listed
