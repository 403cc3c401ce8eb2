"""Every command that changes anything leaves one row in admin_actions, with the command that did it."""

import asyncio

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.db.cli_kit import Shell
from tests.seed import seed_tron

SOMEBODY = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
FAILS = (
    "UPDATE job_logs SET status = 'active', lease = lease + 1, started_at = now() WHERE job_id = %s",
    "UPDATE job_logs SET status = 'failed', completed_at = now() WHERE job_id = %s",
)


@pytest.fixture
def sql(shell: Shell, database: str):
    """Statements as the owner on a database with TRON and two failed jobs; the rows they give."""

    async def seed() -> None:
        async with await AsyncConnection.connect(database, autocommit=True) as connection:
            await seed_tron(connection, wallets=2)

    asyncio.run(seed())
    with psycopg.connect(database, autocommit=True) as connection:

        def run(statement, *values):
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

        for number, name in enumerate(("one", "two")):
            run(
                "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
                " SELECT %s, 'gas-topup', 'pending', address FROM wallets ORDER BY derivation_index OFFSET %s LIMIT 1",
                name,
                number,
            )
            for statement in FAILS:
                run(statement, name)
        run("DELETE FROM admin_actions")
        yield run


TYPED = [
    (("jobs", "retry", "one"), "job.retry", "one"),
    (("jobs", "cancel", "one"), "job.cancel", "one"),
    (("jobs", "retry-failed", "--type", "gas-topup"), "jobs.retry_failed", "gas-topup"),
    (("wallets", "add", SOMEBODY), "wallets.add", f"tron/{SOMEBODY}"),
    (("wallets", "flag", SOMEBODY, "--consolidation"), "wallet.set_flags", f"tron/{SOMEBODY}"),
    (("wallets", "derive", "--start", "50", "--count", "3"), "wallets.add", "tron"),
    (("config", "set", "paused", "true"), "config.add", "paused"),
    (("config", "set", "tron.gas_amount", "7 TRX"), "chain.set", "tron"),
    (("config", "set", "tron.USDT.transfer_tolerance", "1"), "asset.set", "tron/USDT"),
    (("assets", "thresholds", "tron", "USDT", "--flag-above", "300 USDT"), "asset.set", "tron/USDT"),
    (("assets", "disable", "tron", "USDT"), "asset.disable", "tron/USDT"),
    (("assets", "enable", "tron", "USDT", "--unchecked"), "asset.enable", "tron/USDT"),
    (("chains", "disable", "tron"), "chain.disable", "tron"),
    (("chains", "enable", "tron", "--unchecked"), "chain.enable", "tron"),
]


def test_each_command_writes_what_it_did(shell: Shell, sql) -> None:
    for typed, action, target in TYPED:
        assert shell(*typed).code == 0, typed
        ((done, of, details),) = sql("DELETE FROM admin_actions RETURNING action_type, target_id, details")
        assert (done, of) == (action, target), typed
        assert details["program"] == f"flagpost {' '.join(typed[:2])}", typed


def test_what_is_refused_or_changes_nothing_leaves_no_row(shell: Shell, sql) -> None:
    for typed in (
        ("jobs", "cancel", "one"),
        ("jobs", "retry", "nobody"),
        ("jobs", "cleanup-stuck"),
        ("wallets", "add", "T1"),
        ("wallets", "flag", SOMEBODY, "--gas"),
        ("config", "set", "tron.gas_amount", "5 TRX"),
        ("config", "set", "tron.gas_amount", "0.1 TRX"),
        ("assets", "thresholds", "tron", "USDT"),
        ("chains", "enable", "tron", "--unchecked"),
        ("senders", "release", "tron", SOMEBODY),
    ):
        shell(*typed)
        assert sql("SELECT action_type FROM admin_actions") == [], typed


def test_a_sender_is_listed_and_released(shell: Shell, sql) -> None:
    assert "every sender may pay" in shell("senders", "list").err
    sql("INSERT INTO senders (chain_id, sender) SELECT id, %s FROM chains", SOMEBODY)
    sql("UPDATE senders SET frozen = 'a payment that is none of ours', frozen_since = now()")
    (listed,) = shell("senders", "list", "--json").json
    assert (listed["chain"], listed["sender"], listed["reason"]) == ("tron", SOMEBODY, "a payment that is none of ours")
    assert "may pay again" in shell("senders", "release", "tron", SOMEBODY).out
    assert "is not frozen" in shell.fails("senders", "release", "tron", SOMEBODY)
    assert "no chain is called" in shell.fails("senders", "release", "tronn", SOMEBODY)
    ((action, target, details),) = sql("SELECT action_type, target_id, details FROM admin_actions")
    assert (action, target) == ("sender.release", f"tron/{SOMEBODY}")
    assert details["before"]["frozen"] == "a payment that is none of ours"
