"""The statements of the operators' runbooks, as they stand there, typed in order of a working day; and sql/inspect."""

import os
import subprocess
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.db.pool import Connection
from pipeline.db.sources import sql_directory
from pipeline.db.statements import statement
from pipeline.embedded.binaries import bundled_binaries
from tests.db.money import new_attempt, new_job, new_transfer
from tests.db.notifications import Notifications, notifications_of
from tests.db.sessions import rows, value
from tests.seed import TRX, USDT, Chain, Wallet, add_wallets, set_balance


@pytest.fixture
async def wallet(connection: Connection, tron: Chain) -> Wallet:
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.native_id, 9 * TRX)
    await set_balance(connection, wallet, tron.token_id, 150 * USDT)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
    return wallet


@pytest.fixture
async def notifications(connection: Connection, database: str, wallet: Wallet) -> AsyncIterator[Notifications]:
    async with notifications_of(database, connection) as opened:
        yield opened


async def test_selecting_flags_and_balances(connection: Connection, wallet: Wallet) -> None:
    assert await rows(
        connection,
        "SELECT address, network, balance, on_chain_balance, trx_balance, needs_gas, needs_consolidation, last_sync_at"
        " IS NOT NULL FROM user_wallets WHERE needs_gas = false ORDER BY on_chain_balance DESC",
    ) == [(wallet.address, "tron", 150, 150, 9, False, False, True)]
    assert await rows(connection, "SELECT COUNT(*) FROM user_wallets WHERE needs_gas = true") == [(0,)]
    assert (
        await rows(connection, "SELECT * FROM user_wallets WHERE needs_consolidation = true AND on_chain_balance > 200")
        == []
    )


async def test_joining_balances_with_wallets_assets_and_chains(connection: Connection, wallet: Wallet) -> None:
    found = await rows(
        connection,
        """
        SELECT wb.id, w.address, c.name, wb.on_chain_balance_raw, wb.on_chain_balance_human, wb.processing_status,
               wb.locked_until, wb.locked_by, wb.last_checked, wb.last_processed_at, wb.last_error, wb.last_error_at,
               wb.sync_count, wb.error_count, wb.created_at, wb.updated_at
        FROM wallet_balances wb
        JOIN wallets w ON w.id = wb.wallet_id
        JOIN asset_on_chain aoc ON aoc.id = wb.asset_on_chain_id
        JOIN chains c ON c.id = aoc.chain_id
        WHERE c.name = 'tron' AND c.is_active = true
        ORDER BY aoc.id
        """,
    )
    assert [(row[1], row[2], row[3], row[4], row[5]) for row in found] == [
        (wallet.address, "tron", "9000000", Decimal(9), "idle"),
        (wallet.address, "tron", "150000000", Decimal(150), "idle"),
    ]


async def test_counting_and_unlocking_by_hand(
    connection: Connection, tron: Chain, wallet: Wallet, notifications: Notifications
) -> None:
    await connection.execute("UPDATE wallet_balances SET next_check_at = now()")
    await connection.execute(
        statement("sync/claim"), {"batch": 50, "lock": "sync-1", "lock_seconds": 120.0, "chain_id": tron.id}
    )
    assert await rows(
        connection, "SELECT processing_status, COUNT(*) FROM wallet_balances GROUP BY processing_status"
    ) == [("processing", 2)]
    stale = "SELECT COUNT(*) FROM wallet_balances WHERE processing_status = 'processing' AND locked_until < NOW()"
    assert await value(connection, stale) == 0
    await connection.execute("UPDATE wallet_balances SET locked_until = now() - interval '1 minute'")
    assert await value(connection, stale) == 2
    await notifications.received()
    await connection.execute(
        "UPDATE wallet_balances SET processing_status='idle', locked_until=NULL, locked_by=NULL"
        " WHERE processing_status = 'processing' AND locked_until < NOW()"
    )
    assert await rows(
        connection, "SELECT processing_status, COUNT(*) FROM wallet_balances WHERE next_check_at <= now() GROUP BY 1"
    ) == [("idle", 2)]


async def test_breaking_a_wallet_on_purpose(
    connection: Connection, wallet: Wallet, notifications: Notifications
) -> None:
    await connection.execute(
        "UPDATE wallets SET address='invalid' WHERE id = (SELECT id FROM wallets ORDER BY id LIMIT 1)"
    )
    assert await notifications.received() == [("balance_due", {"balances": 2, "wallets": ["invalid"]})]
    await connection.execute("UPDATE wallets SET address = 'invalid'")
    assert await notifications.received() == []
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
    await connection.execute("UPDATE wallets SET address = %s", [wallet.address])
    assert await notifications.received() == [("balance_due", {"balances": 2, "wallets": [wallet.address]})]


async def test_setting_a_flag_by_hand(connection: Connection, wallet: Wallet, notifications: Notifications) -> None:
    await connection.execute(f"UPDATE user_wallets SET needs_gas = true WHERE address = '{wallet.address}'")  # noqa: S608
    await connection.execute(f"UPDATE user_wallets SET needs_consolidation = true WHERE address = '{wallet.address}'")  # noqa: S608
    await connection.execute(f"UPDATE user_wallets SET needs_gas = false WHERE address = '{wallet.address}'")  # noqa: S608
    named = [wallet.address]
    assert await notifications.received() == [
        ("wallet_flags", {"needs_gas": 1, "ready_to_consolidate": 0, "wallets": named}),
        ("wallet_flags", {"needs_gas": 0, "ready_to_consolidate": 1, "wallets": named}),
    ]


async def test_inserting_a_wallet(connection: Connection, wallet: Wallet, notifications: Notifications) -> None:
    await connection.execute(
        "INSERT INTO user_wallets (address, network) VALUES ('TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK', 'tron')"
    )
    assert await notifications.received() == [
        ("balance_due", {"balances": 2, "wallets": ["TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK"]})
    ]
    await connection.execute(
        "INSERT INTO user_wallets (address, needs_gas) VALUES ('TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH', true)"
    )
    assert len(await notifications.on("wallet_flags")) == 1


async def test_a_job_by_hand(connection: Connection, wallet: Wallet, notifications: Notifications) -> None:
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES"  # noqa: S608
        f" ('manual-1', 'gas-topup', 'pending', '{wallet.address}')"
    )
    assert await notifications.received() == [("jobs", {"gas-topup": 1})]
    assert await rows(connection, "SELECT triggered_by, retry_count, max_retries, data FROM job_logs") == [
        ("manual", 0, 3, {})
    ]


async def test_queue_functions(connection: Connection, wallet: Wallet) -> None:
    job = await new_job(connection, wallet)
    stats = await rows(connection, "SELECT * FROM get_job_queue_stats()")
    assert len(stats) == 5
    assert await rows(connection, "SELECT cleanup_stuck_jobs(10)") == [(0,)]
    await connection.execute("UPDATE job_logs SET updated_at = now() - interval '11 minutes'")
    assert await rows(connection, "SELECT cleanup_stuck_jobs(10)") == [(1,)]
    await connection.execute("UPDATE job_logs SET status = 'failed' WHERE id = %s", [job])
    assert await rows(connection, "SELECT retry_failed_jobs('gas-topup', 24)") == [(1,)]
    assert await rows(connection, "SELECT status, COUNT(*) FROM job_logs GROUP BY status") == [("pending", 1)]
    assert await rows(connection, "SELECT * FROM job_logs WHERE data->>'queue_summary' = 'true'") == []


async def test_operations(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO admin_actions (admin_user_id, action_type, target_id, target_type, details)"
        """ VALUES (NULL, 'pause', 'system', 'system', '{"reason": "maintenance"}')"""
    )
    await connection.execute(
        "INSERT INTO system_config (key, value, description) VALUES ('paused', 'true', 'the whole system')"
    )
    assert await rows(connection, "SELECT id, key, value, description, created_at, updated_at FROM system_config") != []
    assert (
        await rows(
            connection,
            "SELECT id, name, type, blockchain, status, pid, host, port, last_heartbeat, last_error, config,"
            " created_at, updated_at FROM worker_registry"
            " WHERE status = 'running' AND last_heartbeat > NOW() - INTERVAL '60 seconds'",
        )
        == []
    )


INSPECT = sorted(path.name for path in (sql_directory() / "inspect").glob("*.sql"))


def psql(dsn: str, path: Path) -> str:
    """The output of a script run by somebody who may only read. Stops at the first error."""
    done = subprocess.run(
        [
            bundled_binaries() / "psql",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            f"--dbname={dsn}",
            "--command=SET ROLE pipeline_readonly",
            f"--file={path}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PAGER": "cat"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_there_is_a_script_for_each_question() -> None:
    assert INSPECT == [
        "flags.sql",
        "gas_spending.sql",
        "missed_events.sql",
        "money_in_flight.sql",
        "nonces.sql",
        "queue.sql",
        "slow_jobs.sql",
        "stuck.sql",
        "workers.sql",
    ]


@pytest.mark.parametrize("script", INSPECT)
async def test_scripts_run_on_an_empty_database(database: str, script: str) -> None:
    psql(database, sql_directory() / "inspect" / script)


@pytest.fixture
async def busy_day(connection: Connection, tron: Chain, wallet: Wallet) -> Wallet:
    """A bit of everything, all of it old enough to be shown."""
    wallets = await add_wallets(connection, tron, 4)
    gas = await new_transfer(connection, tron, wallets[0])
    attempt = await new_attempt(connection, gas)
    await connection.execute(
        "UPDATE chain_transactions SET state = 'broadcasting', broadcast_count = 2, last_result = 'SERVER_BUSY'"
        " WHERE id = %s",
        [attempt],
    )
    await connection.execute("UPDATE job_logs SET awaiting_chain = true, started_at = now() - interval '4 minutes'")
    await new_job(connection, wallets[1], "consolidation")
    dead = await new_job(connection, wallets[2])
    await connection.execute(
        "UPDATE job_logs SET status = 'failed', error_message = 'OUT_OF_ENERGY', started_at = now(),"
        """ data = '{"wait_ms": 12.5, "duration_ms": 99999}' WHERE id = %s""",
        [dead],
    )
    await connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [wallets[3].id])
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE wallets SET needs_gas_since = now() - interval '1 minute' WHERE needs_gas")
    await connection.execute("RESET session_replication_role")
    await connection.execute(
        "INSERT INTO job_logs (job_type, wallet_address, run_at)"
        " VALUES ('withdrawal', %s, now() - interval '1 minute')",
        [wallets[3].address],
    )
    await connection.execute(
        "UPDATE wallet_balances SET last_error = 'checksum of TBroken is wrong', error_count = 3 WHERE wallet_id = %s",
        [wallets[1].id],
    )
    await connection.execute(
        "UPDATE wallet_balances SET next_check_at = now() - interval '1 minute' WHERE wallet_id = %s", [wallets[2].id]
    )
    await connection.execute(
        "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'sync-dead',"
        " locked_until = now() - interval '1 minute' WHERE wallet_id = %s",
        [wallets[0].id],
    )
    await connection.execute(
        "INSERT INTO worker_registry (id, name, type, blockchain, last_heartbeat)"
        " VALUES ('tron-gas-topup-001', 'gas-topup@here:1', 'gas-topup', 'tron', now() - interval '2 minutes')"
    )
    await connection.execute(
        "INSERT INTO job_logs (job_type, status, data)"
        """ VALUES ('sync', 'completed', '{"queue_summary": "true", "swept": 7}')"""
    )
    await connection.execute("INSERT INTO chain_cursors VALUES (%s, 'confirmations', 4711, 'id', now())", [tron.id])
    return wallets[3]


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("flags.sql", ["gas-topup", "{address}", "Flags that differ"]),
        ("gas_spending.sql", ["threshold", "10000", "5"]),
        ("missed_events.sql", ["gas-topup", "withdrawal", "USDT"]),
        ("money_in_flight.sql", ["broadcasting", "5 TRX", "SERVER_BUSY", "4711"]),
        ("queue.sql", ["consolidation", "withdrawal", "swept"]),
        ("slow_jobs.sql", ["OUT_OF_ENERGY", "99999"]),
        ("stuck.sql", ["sync-dead", "checksum of TBroken is wrong", "OUT_OF_ENERGY", "consolidation"]),
        ("workers.sql", ["tron-gas-topup-001", "silent since"]),
    ],
)
async def test_scripts_show_what_there_is(database: str, busy_day: Wallet, script: str, shown: list[str]) -> None:
    output = psql(database, sql_directory() / "inspect" / script)
    for piece in shown:
        assert piece.format(address=busy_day.address) in output, output
