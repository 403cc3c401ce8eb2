"""Each check of doctor that the database answers: a fault is made, and found. Most are made as replication makes them,
while triggers do not fire."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import AsyncConnection

from pipeline.admin.checks.examine import known_checks
from pipeline.admin.checks.findings import Level
from tests.db.doctor_faults import FAULTS, Fault
from tests.db.doctor_kit import ASKED, found
from tests.seed import Chain, seed_tron

ELSEWHERE = {
    "database": "test_cli_operate.test_doctor_without_a_database",
    "database.read_only": "test_doctor_server",
    "database.notifications": "test_notification_queue, test_doctor_server",
    "database.encoding": "test_doctor_sessions",
    "sessions": "test_doctor_sessions",
    "shadows": "test_doctor_sessions",
    "database.rights": "test_grants",
    "database.connect": "test_connect",
    "locks.foreign": "test_watchdog",
    "locks.blocked": "test_watchdog",
    "leaders": "test_watchdog",
    "policy": "test_doctor_policy",
    "policy.ledger": "test_doctor_policy",
    "database.transactions": "test_doctor_server",
    "database.prepared": "test_doctor_server",
    "database.slots": "test_doctor_server",
    "database.vacuum": "test_doctor_server",
    "database.dead_rows": "test_doctor_server",
    "database.connections": "test_doctor_server",
    "database.durability": "test_doctor_server",
    "database.clock": "test_doctor_server",
    "database.disk": "test_doctor_server",
    "schema": "test_doctor_server",
    "notify": "test_doctor_server",
    "config": "test_cli_operate.test_doctor_finds_a_bad_row_of_the_configuration",
    "paused": "test_cli_operate.test_doctor_says_that_the_system_is_paused_and_how_to_go_on",
    "processes": "test_cli_operate.test_doctor_reports_silent_processes",
    "chains": "test_doctor_server",
}
"""Checks that are tried in other files. What needs a node is in test_doctor_chain."""


@pytest.fixture
def seeded(database: str) -> Iterator[psycopg.Connection]:
    """A chain with two wallets, as a session that fires no triggers."""
    asyncio.run(_seed(database))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def make(session: psycopg.Connection, fault: Fault) -> None:
    """Make it come true."""
    for statement in (fault.sql,) if isinstance(fault.sql, str) else fault.sql:
        session.execute(statement)  # type: ignore[call-overload]


async def _seed(dsn: str) -> Chain:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        return await seed_tron(connection, wallets=2)


def test_a_sound_database_is_well(seeded: psycopg.Connection, database: str) -> None:
    checks = [check for check in ASKED if check != "database.durability"]  # the server of the tests forgets on purpose
    assert found(database, *checks) == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_is_found(fault: Fault, seeded: psycopg.Connection, database: str) -> None:
    assert found(database, fault.check) == []
    make(seeded, fault)
    findings = [finding for finding in found(database, fault.check) if fault.said in finding.message]
    assert [finding.level for finding in findings] == [fault.level], found(database, fault.check)
    if fault.level in (Level.FAIL, Level.WARN):
        assert fault.cure in findings[0].todo
        assert findings[0].todo


def test_every_check_has_a_fault_that_it_finds() -> None:
    tried = {fault.check for fault in FAULTS} | ELSEWHERE.keys()
    assert [check.id for check in known_checks() if not check.id.startswith("CHAIN.") and check.id not in tried] == []


@pytest.mark.parametrize("check", ["queue.due", "queue.flags", "wallets.unread"])
def test_a_paused_system_is_not_at_fault_for_standing_still(
    check: str, seeded: psycopg.Connection, database: str
) -> None:
    for fault in FAULTS:
        if fault.check == check:
            make(seeded, fault)
            break
    assert {finding.level for finding in found(database, check, paused=True)} == {Level.NOTE}


def test_migrate_cures_what_it_says_it_does(seeded: psycopg.Connection, database: str) -> None:
    from pipeline.db.migrate import migrate

    for statement in (
        "DROP TRIGGER balances_exist ON wallets",
        "ALTER TABLE wallets DISABLE TRIGGER wallet_flags_update",
        "ALTER TABLE job_logs ENABLE REPLICA TRIGGER job_transitions",
        "DROP FUNCTION cancel_job(text, uuid)",
        "ALTER FUNCTION schema_version() SECURITY INVOKER",
        "ALTER TABLE job_logs DISABLE ROW LEVEL SECURITY",
        "ALTER POLICY flagpost_pipeline_executor_update ON transfers USING (true)",
        "SELECT setval('chains_id_seq', 1)",
    ):
        seeded.execute(statement)  # type: ignore[call-overload]
    asyncio.run(migrate(database))
    assert found(database, "triggers", "schema.functions", "schema.row_security", "sequences") == []


def test_only_the_newest_wallets_are_compared_unless_all_are_wanted(
    seeded: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.admin.checks.check.NEWEST", 1)
    seeded.execute("DELETE FROM wallet_balances WHERE wallet_id = (SELECT id FROM wallets ORDER BY id LIMIT 1)")
    assert found(database, "wallets.balances") == []
    assert len(found(database, "wallets.balances", full=True)) == 2
