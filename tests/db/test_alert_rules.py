"""Each rule finds the fault that it is for, says what to do, and finds nothing where all is well."""

import asyncio
from dataclasses import dataclass

import pytest
from psycopg import AsyncConnection

from pipeline.alerts.rules import RULES
from pipeline.config import RuntimeConfig
from pipeline.db.pool import Connection
from tests.db.alert_kit import alerts_of, evaluate, lasts, open_alerts
from tests.db.doctor_faults import AWAITING, OLD_JOB, WORKER, attempt, job, payment
from tests.db.test_repairs import without_triggers
from tests.db.worker_kit import until_count
from tests.seed import TRX, Chain, add_wallets

BUDGET = (
    "INSERT INTO gas_spending (chain_id, hour, topups, amount, fees)"
    " SELECT id, date_trunc('hour', now(), 'UTC'), 1, {amount}, 0 FROM chains"
)
NODE = (
    "INSERT INTO worker_registry (id, name, type, stats) VALUES ('tron-sync-001', 'sync@here:1', 'sync',"
    """ '{"nodes": {"tron": {"https://one.example": "12 failures, the last: no answer"}}}')"""
)
GAS_WALLET = (
    "INSERT INTO worker_registry (id, name, type, stats) SELECT 'tron-gas-topup-001', 'g', 'gas-topup',"
    " jsonb_build_object('gas_wallets', jsonb_build_object('tron', jsonb_build_object("
    "'address', 'T-gas', 'raw', '{held}', 'read_at', now() - interval '{age}')))",
    BUDGET.format(amount=100 * TRX),
)


def worker(kind: str = "sync", **columns: str) -> str:
    """A row of the registry."""
    values = {"id": f"'all-{kind}-001'", "name": f"'{kind}@here:1'", "type": f"'{kind}'", "host": "'here'", **columns}
    return f"INSERT INTO worker_registry ({', '.join(values)}) VALUES ({', '.join(values.values())})"  # noqa: S608


SILENT = worker(last_heartbeat="now() - interval '2 minutes'")
STALE = (
    "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'gone',"
    " locked_until = now() - interval '{age}'"
)


@dataclass(frozen=True)
class AlertFault:
    """One way in which something goes wrong."""

    rule: str
    subject: str
    sql: tuple[str, ...]
    """Statements, run while triggers do not fire."""
    said: str
    """Part of the summary."""
    severity: str = "critical"
    todo: str = ""
    """Part of the action."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.said}"


FAULTS = (
    AlertFault(
        "jobs.failed",
        "tron gas-topup",
        (job("dead", "failed", error_message="'no gas in the station'"),),
        "tron: 1 gas-topup jobs failed within the hour; the newest says: no gas in the station",
        "warning",
        todo="flagpost jobs retry-failed --type gas-topup",
    ),
    AlertFault(
        "jobs.failed",
        "tron gas-topup",
        tuple(job(f"dead-{number}", "failed") for number in range(10)),
        "tron: 10 gas-topup jobs failed",
    ),
    AlertFault(
        "jobs.retried",
        "tron gas-topup",
        (
            *(job(f"done-{number}", "completed") for number in range(40)),
            "UPDATE job_logs SET retry_count = 1, error_message = 'no answer' WHERE job_id LIKE 'done-1%'",
        ),
        "tron: 28 % of 40 gas-topup jobs that began within 15 minutes had failed before; the newest says: no answer",
        "warning",
        todo="flagpost jobs list --status retrying",
    ),
    AlertFault("queue.due", "tron gas-topup", (OLD_JOB, WORKER), "gas-topup runs and takes none of them"),
    AlertFault(
        "queue.flags",
        "tron gas-topup",
        ("UPDATE wallets SET needs_gas = true, needs_gas_since = now() - interval '1 hour'",),
        "tron: 2 wallets have wanted gas-topup for 60 min and have no job",
    ),
    AlertFault(
        "queue.leases",
        "are past their deadline and are not rescued",
        (job("held", "active", lease_deadline="now() - interval '1 hour'"),),
        "1 attempts are past their deadline",
    ),
    AlertFault(
        "workers.stuck",
        "all-sync-001",
        (SILENT,),
        "all-sync-001 (sync@here:1) is to run and does not: no heartbeat",
        todo="on host here: flagpost sync",
    ),
    AlertFault(
        "workers.stuck",
        "all-sync-001",
        (worker(status="'error'", last_error="'died'"),),
        "is to run and does not: died",
    ),
    AlertFault(
        "workers.missing",
        "sync",
        (SILENT,),
        "no sync is alive; one was alive within a day; the last one was seen",
        "warning",
        todo="start one: flagpost sync",
    ),
    AlertFault("workers.missing", "gas-topup", (OLD_JOB,), "no gas-topup is alive; work is due; none ever ran"),
    AlertFault(
        "workers.missing",
        "gas-topup",
        (OLD_JOB, worker("gas-topup", status="'stopped'", desired="'stopped'")),
        "no gas-topup is alive; work is due",
        todo="it was told to stop: flagpost workers start all-gas-topup-001; see",
    ),
    AlertFault(
        "workers.missing",
        "confirmations",
        (AWAITING, payment("broadcasting"), attempt("broadcasting")),
        "no confirmations is alive; work is due",
    ),
    AlertFault(
        "workers.missing",
        "sync",
        ("UPDATE wallet_balances SET next_check_at = now() - interval '1 hour'",),
        "no sync is alive; work is due",
    ),
    AlertFault(
        "processes.troubles",
        "all-sync-001",
        (worker(last_error="'no node answers'"),),
        "all-sync-001: no node answers",
        "warning",
        todo="do what it says",
    ),
    AlertFault(
        "processes.troubles",
        "tron-confirmations-001, tron-confirmations-002, tron-confirmations-003",
        (
            "INSERT INTO worker_registry (id, name, type, last_error) SELECT 'tron-confirmations-00' || n, 'c',"
            " 'confirmations', 'every node is behind' FROM generate_series(1, 5) AS n",
        ),
        "and 2 more: every node is behind",
        todo="flagpost workers restart tron-confirmations-001 tron-confirmations-002 tron-confirmations-003",
    ),
    AlertFault(
        "leaders",
        "confirmations tron",
        (
            WORKER,
            "INSERT INTO leaderships (name, lease, until, renewed_at) VALUES"
            " ('confirmations tron', 1, now() - interval '1 hour', now() - interval '1 hour')",
        ),
        "nobody has led confirmations tron since",
        todo="start one: flagpost confirmations",
    ),
    AlertFault(
        "gas.low",
        "tron",
        (job("waits", error_message="'gas wallet T-gas has 1 TRX to give, this top-up needs 6 TRX: send TRX to it'"),),
        "1 top-ups wait; one says: gas wallet T-gas has 1 TRX to give",
        todo="send TRX to",
    ),
    AlertFault(
        "gas.low",
        "tron",
        tuple(one.replace("{held}", str(99 * TRX)).replace("{age}", "1 hour") for one in GAS_WALLET),
        "and top-ups and their fees took 100 TRX in 24 hours",
        "warning",
        todo="send TRX to T-gas",
    ),
    AlertFault(
        "money.budgets",
        "tron gas_max_per_day",
        (BUDGET.format(amount=8_000 * TRX),),
        "tron: gas_max_per_day is nearly spent (8000 of 10000 TRX are spent); 0 wallets want gas",
        "warning",
        todo="flagpost config set tron.gas_max_per_day",
    ),
    AlertFault(
        "money.budgets",
        "tron gas_max_per_day",
        (BUDGET.format(amount=9_999 * TRX), "UPDATE wallets SET needs_gas = true, needs_gas_since = now()"),
        "tron: gas_max_per_day leaves no top-up (9999 of 10000 TRX are spent); 2 wallets want gas",
    ),
    AlertFault(
        "money.out",
        "tron: have expired, and nothing proves that they are dead",
        (AWAITING, payment("broadcasting"), attempt("broadcasting", expires="-1 hour")),
        "tron: 1 payments have expired",
    ),
    AlertFault(
        "money.cursors",
        "tron",
        (
            AWAITING,
            payment("broadcasting"),
            attempt("broadcasting"),
            "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time, updated_at)"
            " SELECT id, 'confirmations', 7, 'seven', now() - interval '1 hour', now() - interval '1 hour' FROM chains",
        ),
        "tron: payments are out, and final blocks are read up to 7, no further for 60 min",
        todo="flagpost confirmations",
    ),
    AlertFault(
        "money.cursors_ahead",
        "tron",
        (
            "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time)"
            " SELECT id, 'confirmations', 7, 'seven', now() + interval '1 day' FROM chains",
        ),
        "which is in the future",
        todo="flagpost config set paused true",
    ),
    AlertFault(
        "senders.frozen",
        "tron 0xabc",
        (
            "INSERT INTO senders (chain_id, sender, frozen, frozen_since)"
            " SELECT id, '0xabc', 'nonce 7 was used by tx 0x1', '2026-01-02 03:04:05+00' FROM chains",
        ),
        "tron: 0xabc has been frozen since 2026-01-02 03:04:05 UTC and pays nothing: nonce 7 was used by tx 0x1",
        todo="flagpost senders release tron 0xabc",
    ),
    AlertFault(
        "senders.stuck",
        "tron 0xabc",
        (
            "INSERT INTO senders (chain_id, sender, stuck, stuck_since)"
            " SELECT id, '0xabc', 'no block takes it', now() FROM chains",
        ),
        "no block takes it",
    ),
    AlertFault(
        "senders.unknown",
        "tron 0xabc",
        (
            "INSERT INTO senders (chain_id, sender, unknown_below, unknown_since)"
            " SELECT id, '0xabc', 7, now() - interval '2 hours' FROM chains",
        ),
        "has made transactions that are missing from the database",
    ),
    AlertFault(
        "nodes.failing",
        "tron https://one.example",
        (NODE,),
        "tron: node https://one.example fails, by 1 processes: 12 failures, the last: no answer",
        "warning",
        todo="FLAGPOST_NODES_<CHAIN>",
    ),
    AlertFault(
        "wallets.unread",
        "tron TRX",
        ("UPDATE wallet_balances SET next_check_at = now() - interval '1 hour'",),
        "TRX balances have been due for 60 min; no sync reads them",
        todo="flagpost sync",
    ),
    AlertFault(
        "wallets.failing",
        "tron USDT",
        (
            "UPDATE wallet_balances b SET error_count = 11, last_error = 'reverted', last_error_at = now()"
            " FROM asset_on_chain a WHERE a.id = b.asset_on_chain_id AND a.symbol = 'USDT'",
        ),
        "tron: 2 USDT balances could not be read, again and again",
        "warning",
        todo="flagpost assets disable tron USDT",
    ),
    AlertFault(
        "wallets.locks",
        "",
        ("UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'x', locked_until = '2090-01-01'",),
        "4 balances are locked until 2090-01-01",
    ),
    AlertFault(
        "locks.stale",
        "tron TRX",
        (STALE.format(age="1 hour"),),
        "tron: 2 locks of TRX balances ended 60 min ago and are still there, of gone",
        "warning",
    ),
)
WELL = {
    "jobs.failed": (job("dead", "failed", completed_at="now() - interval '2 hours'"),),
    "jobs.retried": (
        *(job(f"done-{number}", "completed") for number in range(40)),
        "UPDATE job_logs SET retry_count = 1 WHERE job_id LIKE 'done-1_' AND job_id <> 'done-19'",
    ),
    "queue.due": (OLD_JOB, WORKER, "UPDATE chains SET is_active = false"),
    "queue.leases": (job("held", "active", lease_deadline="now() + interval '1 minute'"),),
    "workers.stuck": (
        worker(last_heartbeat="now() - interval '2 minutes'", desired="'stopped'"),
        worker("sweep", last_heartbeat="now() - interval '2 minutes'", ended_at="now()", status="'stopped'"),
        worker("confirmations", last_heartbeat="now() - interval '2 days'", status="'error'"),
    ),
    "workers.missing": (
        worker(last_heartbeat="now() - interval '2 minutes'", desired="'stopped'"),
        worker("sweep", last_heartbeat="now() - interval '2 minutes'"),
        "INSERT INTO worker_targets (type, workers) VALUES ('sweep', 0)",
    ),
    "processes.troubles": (
        worker("sweep", last_error="'tron: gas wallet is low'"),
        worker(last_error="'no node answers'", last_heartbeat="now() - interval '2 minutes'"),
    ),
    "gas.low": (
        job("waits", error_message="'gas wallet of tron: its permission was changed'"),
        *(one.replace("{held}", str(101 * TRX)).replace("{age}", "1 hour") for one in GAS_WALLET),
    ),
    "gas.low of long ago": tuple(
        one.replace("{held}", str(99 * TRX)).replace("{age}", "25 hours") for one in GAS_WALLET
    ),
    "money.budgets": (BUDGET.format(amount=7_999 * TRX),),
    "nodes.failing": (
        NODE,
        "UPDATE worker_registry SET last_heartbeat = now() - interval '2 minutes'",
        """INSERT INTO worker_registry (id, name, type, stats) VALUES ('tron-sync-002', 's', 'sync', '{"nodes": 7}')""",
    ),
    "wallets.failing": (
        "UPDATE wallet_balances SET error_count = 10, last_error = 'reverted', last_error_at = now()",
        "UPDATE wallet_balances SET error_count = 400, last_error = NULL"
        " WHERE id = (SELECT id FROM wallet_balances ORDER BY id LIMIT 1)",
    ),
    "locks.stale": (STALE.format(age="5 minutes"),),
}
"""Much the same, and no alert of that rule."""
BY_SESSION = {"locks.blocked", "database.transactions", "database.notifications"}
"""Tried by tests of their own."""


def test_each_rule_is_tried() -> None:
    assert {fault.rule for fault in FAULTS} | BY_SESSION == {rule.id for rule in RULES}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_fault_is_found_and_is_over_once_it_is_mended(
    connection: Connection, database: str, tron: Chain, fault: AlertFault
) -> None:
    await add_wallets(connection, tron, 2)
    async with alerts_of(database) as (alerts, desk):
        await evaluate(alerts)
        assert await open_alerts(connection) == {}
        async with without_triggers(connection):
            await connection.execute("BEGIN")
            for statement in fault.sql:
                await connection.execute(statement.encode())
            await evaluate(alerts)
            assert await open_alerts(connection) == {}, "nobody but this session sees it yet"
            await connection.execute("COMMIT")
        await evaluate(alerts)
        await lasts(connection)
        await evaluate(alerts)
        found = (await open_alerts(connection))[fault.rule, fault.subject]
        assert fault.said in found["summary"]
        assert fault.todo in found["action"]
        assert found["severity"] == fault.severity
        assert "None" not in found["summary"] + found["action"]
        assert not desk.last_error.count("alerts,"), desk.last_error


def test_what_is_well_names_rules() -> None:
    assert {name.split()[0] for name in WELL} <= {rule.id for rule in RULES}


@pytest.mark.parametrize("rule", WELL)
async def test_what_is_well_is_no_alert(connection: Connection, database: str, tron: Chain, rule: str) -> None:
    await add_wallets(connection, tron, 2)
    async with without_triggers(connection):
        for statement in WELL[rule]:
            await connection.execute(statement.encode())
    async with alerts_of(database) as (alerts, _):
        await evaluate(alerts)
        await lasts(connection)
        await evaluate(alerts)
    assert rule.split()[0] not in {name for name, _ in await open_alerts(connection)}


async def test_a_paused_system_has_no_overdue_work(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    async with without_triggers(connection):
        await connection.execute(OLD_JOB.encode())
        await connection.execute("UPDATE wallet_balances SET next_check_at = now() - interval '1 hour'")
        await connection.execute("UPDATE wallets SET needs_gas = true, needs_gas_since = now() - interval '1 hour'")
    async with alerts_of(database) as (alerts, desk):
        desk.config = desk.config.model_copy(update={"paused": True})
        await evaluate(alerts)
        await lasts(connection)
        await evaluate(alerts)
    assert await open_alerts(connection) == {}


async def test_a_session_that_waits_for_a_lock_and_one_that_stays_open(
    connection: Connection, database: str, tron: Chain
) -> None:
    async with (
        alerts_of(database) as (alerts, desk),
        await AsyncConnection.connect(database) as holder,
        await AsyncConnection.connect(database) as waiter,
    ):
        await evaluate(alerts)
        await holder.execute("UPDATE chains SET name = name")
        blocked = asyncio.create_task(waiter.execute("UPDATE chains SET name = name"))
        await until_count(connection, "SELECT count(*) FROM pg_locks WHERE NOT granted", 1)
        await evaluate(alerts)
        assert await open_alerts(connection) == {}, "neither has lasted"
        desk.configure(blocked_seconds=0, transaction_seconds=0)
        await evaluate(alerts)
        found = await open_alerts(connection)
        pid = holder.info.backend_pid
        lock, transaction = found["locks.blocked", f"session {pid}"], found["database.transactions", f"session {pid}"]
        assert f"for a lock of session {pid}" in lock["summary"]
        assert lock["action"].endswith(f"SELECT pg_terminate_backend({pid})")
        assert "idle in transaction: vacuum takes no dead row away" in transaction["summary"]
        await holder.rollback()
        await blocked
        await waiter.rollback()
        for _ in range(2):
            await evaluate(alerts)
        assert await open_alerts(connection) == {}


def test_a_notification_queue_that_fills() -> None:
    rule, config = next(rule for rule in RULES if rule.id == "database.notifications"), RuntimeConfig()
    row = {"pid": 7, "usename": "u", "datname": "d", "application_name": None, "since": None}
    assert rule.found([{**row, "share": 0.05, "suppressed": False}], config) == []
    (warning,) = rule.found([{**row, "share": 0.2, "suppressed": False}], config)
    (critical,) = rule.found([{**row, "share": 0.6, "suppressed": True}], config)
    assert (warning.severity, warning.value) == ("warning", "20")
    assert "20.0 % full" in warning.summary
    assert critical.severity == "critical"
    assert "SELECT pg_terminate_backend(7)" in critical.action
