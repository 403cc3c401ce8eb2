"""Rows that are legal and that Python has no values for: shown as they stand, and in nobody's way.

A restored database may hold what is refused today; so the constraints are taken away before the rows are written.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from pipeline.catalog.chains import ChainRow, chain_opener
from pipeline.config import RuntimeConfig
from pipeline.db.pool import Connection, pool_of
from pipeline.db.values import LONGEST_INTEGER, TimeOutOfRange, adapters, loads
from pipeline.queue.jobs import Done, JobType, Retry
from pipeline.settings import Settings
from pipeline.workers.sync import Sync
from tests.db.cli_kit import Shell
from tests.db.sessions import rows, value
from tests.db.test_sync import Ledger, Watch
from tests.db.worker_kit import queue_of, running
from tests.seed import Chain, add_wallets, seed_tron

GAS = JobType.GAS_TOPUP
ODD_TIMES = ("infinity", "-infinity", "20000-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC")
ODD_DATA = """
    {"x": 1e5000, "tiny": 1e-5000, "exact": 0.12345678901234567890, "lone": "a\\u001b[31mb", "duration_ms": "long",
     "history": {"no": "list"}, "history_count": "many", "outcome": ["odd"], "flagged_at": 7}
"""


async def allow_everything(connection: Connection) -> None:
    for table in ("job_logs", "wallets", "wallet_balances", "worker_registry"):
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT times_are_between_1970_and_2100")  # type: ignore[arg-type]


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., Any]]:
    """Statements of an owner who lets everything in. There is a chain, with a wallet for each odd time."""
    asyncio.run(_seed(database))
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection.execute


async def _seed(database: str) -> None:
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        await seed_tron(connection, wallets=len(ODD_TIMES))
        await allow_everything(connection)


def test_jobs_are_shown_whatever_stands_in_them(sql: Callable[..., Any], shell: Shell) -> None:
    for number, moment in enumerate(ODD_TIMES):
        sql(
            "INSERT INTO job_logs (job_id, job_type, wallet_id, status, data, run_at, created_at, started_at,"
            " completed_at) SELECT %s, 'gas-topup', id, 'pending', %s, %s, %s, %s, NULL FROM wallets ORDER BY id"
            " OFFSET %s LIMIT 1",
            [f"odd-{number}", ODD_DATA, moment, moment, moment, number],
        )
    listed = shell("jobs", "list")
    assert listed.code == 0, listed.err
    assert all(f"odd-{number}" in listed.out for number in range(len(ODD_TIMES)))
    for number, moment in enumerate(ODD_TIMES):
        shown = shell("jobs", "show", f"odd-{number}")
        assert shown.code == 0, shown.err
        assert moment in shown.out
        assert "1" + "0" * 5000 in shown.out
        assert "0.12345678901234567890" in shown.out
        document = shell("jobs", "show", f"odd-{number}", "--json").json
        assert document["run_at"] == moment
        assert document["data"]["x"] == "1" + "0" * 5000
        cancelled = shell("jobs", "cancel", f"odd-{number}")
        assert cancelled.code == 0, cancelled.err
    assert json.loads(shell("jobs", "list", "--json").out)


def test_every_other_list_shows_them_too(sql: Callable[..., Any], shell: Shell) -> None:
    sql("ALTER TABLE chains DROP CONSTRAINT intervals_are_at_most_a_year")
    sql(
        "UPDATE chains SET sync_interval = '178000000 years', gas_cooldown = '-178000000 years', fees = %s",
        ['{"cap": 1e5000}'],
    )
    sql("UPDATE wallet_balances SET last_checked = 'infinity', next_check_at = '-infinity'")
    sql("INSERT INTO system_config (key, value) VALUES ('queue.concurrency', '1e5000')")
    sql(
        "INSERT INTO system_config (key, value) VALUES ('sweep.batch', (repeat('[', 3000) || repeat(']', 3000))::jsonb)"
    )
    for command in (
        ("wallets", "list"), ("wallets", "list", "--json"), ("chains", "list"), ("chains", "list", "--json"),
        ("config", "show"), ("config", "show", "--json"), ("assets", "list"),
    ):  # fmt: skip
        answer = shell(*command)
        assert answer.code == 0, (command, answer.err)
        assert "Traceback" not in answer.err
    assert "queue.concurrency" in shell("doctor").out
    address = sql("SELECT address FROM wallets ORDER BY id LIMIT 1").fetchone()[0]
    assert address in shell("wallets", "list").out


async def test_a_job_with_odd_data_runs_like_any_other(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(
        "INSERT INTO job_logs (job_type, wallet_id, data) VALUES ('gas-topup', %s, %s)", [wallet.id, ODD_DATA]
    )
    async with queue_of(database) as queue:
        (job,) = await queue.claim(GAS, 1)
        assert job.data["x"] == Decimal(10) ** 5000
        assert job.flagged_at is None
        await queue.finish([(job, Retry("again"))])
        await connection.execute("UPDATE job_logs SET run_at = now()")
        (job,) = await queue.claim(GAS, 1)
        assert await queue.finish([(job, Done({"outcome": "done"}))]) == {job.id}
    assert await value(connection, "SELECT data ->> 'outcome' FROM job_logs") == "done"
    stats = await rows(connection, "SELECT * FROM get_job_queue_stats()")
    assert len(stats) == 5, "a duration that is no number is not counted"


async def test_a_configuration_with_odd_numbers_is_a_problem_that_is_named(
    connection: Connection, database: str
) -> None:
    await connection.execute("INSERT INTO system_config (key, value) VALUES ('queue.concurrency', '1e5000')")
    async with pool_of(database, "test", role="pipeline_executor") as pool, pool.connection() as session:
        config = await RuntimeConfig.load(session)
    (problem,) = config.problems
    assert problem.startswith("system_config queue.concurrency")
    assert config.queue.concurrency == 256


async def test_a_chain_whose_row_has_odd_numbers_keeps_no_other_waiting(
    connection: Connection, database: str, tron: Chain
) -> None:
    await add_wallets(connection, tron, 1)
    await connection.execute(
        "INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,"
        " gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, fees, nodes)"
        " VALUES ('odd', 'evm', '97', 1, 1, 1, 1, 1, 1, 1, '{\"cap\": 1e5000, \"floor\": -1e-5000}',"
        ' \'[{"url": "http://127.0.0.1:1", "requests_per_second": 1e5000}]\')'
    )
    watch = Watch()

    def open_chain(row: ChainRow) -> Any:
        if row.name == "odd":
            return chain_opener(Settings())(row)
        return Ledger()

    async with running(Sync(open_chain, observer=watch), database) as runtime:
        await watch.until(lambda: watch.read == 2)
        assert runtime.last_error is not None
        assert runtime.last_error.startswith("odd: ")


@pytest.mark.parametrize("moment", ODD_TIMES)
async def test_a_time_beyond_the_calendar_compares_as_its_end_and_prints_as_it_stands(
    empty_database: str, moment: str
) -> None:
    async with await AsyncConnection.connect(
        empty_database, context=adapters(), options="-c timezone=UTC", row_factory=scalar_row
    ) as connection:
        read = await (await connection.execute("SELECT %s::timestamptz", [moment])).fetchone()
        several = await (await connection.execute("SELECT ARRAY[%s::timestamptz, now()]", [moment])).fetchone()
    assert isinstance(read, TimeOutOfRange)
    assert str(read) == f"{read:%Y}" == read.isoformat() == read.astimezone(UTC).isoformat() == moment
    assert (read < datetime.now(UTC)) is moment.startswith(("-", "0044"))
    assert several[0] == read


async def test_lengths_of_time_beyond_pythons(empty_database: str) -> None:
    async with await AsyncConnection.connect(empty_database, context=adapters(), row_factory=scalar_row) as connection:
        for text, expected in (
            ("178000000 years", timedelta.max), ("-178000000 years", timedelta.min), ("5 min", timedelta(minutes=5)),
        ):  # fmt: skip
            read = await (await connection.execute("SELECT %s::interval", [text])).fetchone()
            assert read == expected or abs(read) > timedelta(days=365 * 10**6), text
        if connection.info.server_version >= 170000:
            read = await (await connection.execute("SELECT 'infinity'::interval")).fetchone()
            assert read == timedelta.max, "and not no time at all, as the driver reads it"


def test_json_numbers() -> None:
    assert loads('{"a": 1, "b": 1.5, "c": 0.0, "d": -2e3}') == {"a": 1, "b": 1.5, "c": 0.0, "d": -2000.0}
    assert isinstance(loads("1.5"), float)
    assert loads("9" * LONGEST_INTEGER) == int("9" * LONGEST_INTEGER)
    assert loads("9" * (LONGEST_INTEGER + 1)) == Decimal("9" * (LONGEST_INTEGER + 1))
    assert loads("1e400") == Decimal("1e400")
    assert loads("1e-400") == Decimal("1e-400")
    assert loads('["[[[", "]]]"]') == ["[[[", "]]]"]
    assert loads(f"[{','.join(['[]'] * 1000)}]") == [[]] * 1000
    assert loads("[" * 100_000 + "]" * 100_000) == {"unreadable": "nested deeper than this program reads"}
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")
