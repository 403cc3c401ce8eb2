"""`flagpost jobs`, `config` and `doctor` against a database without processes."""

import asyncio
import json

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.db.cli_kit import Shell
from tests.seed import seed_tron


@pytest.fixture
def shell(shell, database) -> Shell:
    asyncio.run(_seed(database))
    return shell


async def _seed(dsn: str) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await seed_tron(connection, wallets=2)


@pytest.fixture
def sql(database):
    """Statements as the owner; the rows they give."""
    with psycopg.connect(database, autocommit=True) as connection:

        def run(statement, *values):
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def job(sql):
    """Inserts a job for the n-th wallet and takes it along the states."""

    def make(name, *states, wallet=1, job_type="gas-topup"):
        sql(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
            " SELECT %s, %s, 'pending', address FROM wallets ORDER BY id OFFSET %s LIMIT 1",
            name,
            job_type,
            wallet - 1,
        )
        for state in states:
            sql(
                "UPDATE job_logs SET status = %s, lease = lease + (%s = 'active')::integer,"
                " started_at = coalesce(started_at, now()),"
                " error_message = CASE WHEN %s = 'failed' THEN 'no gas in the station' END,"
                " completed_at = CASE WHEN %s IN ('failed', 'completed') THEN now() END WHERE job_id = %s",
                *[state] * 4,
                name,
            )
        return name

    return make


def test_jobs_are_listed_with_filters(shell, job):
    job("waits")
    job("failed", "active", "failed", wallet=2)
    everything = shell("jobs", "list", "--json").json
    assert [entry["job_id"] for entry in everything] == ["failed", "waits"]
    assert [e["job_id"] for e in shell("jobs", "list", "--status", "failed", "--json").json] == ["failed"]
    assert [e["job_id"] for e in shell("jobs", "list", "--type", "consolidation", "--json").json] == []
    assert [e["job_id"] for e in shell("jobs", "list", "--since", "1h", "--json").json] == ["failed", "waits"]
    assert "no gas in the station" in shell("jobs", "list").out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--status", "done"], "--status"), (["--since", "yesterday"], "--since"), (["--type", "gas"], "--type")],
)
def test_a_filter_that_cannot_be_is_a_usage_error(shell, arguments, named):
    assert named in shell.fails("jobs", "list", *arguments, code=2)


def test_one_job_is_shown_by_either_name(shell, job, sql):
    job("typed", "active", "failed")
    ((uuid,),) = sql("SELECT id FROM job_logs")
    shown = shell("jobs", "show", "typed", "--json").json
    assert shown["id"] == str(uuid)
    assert shown["transactions"] == []
    text = shell("jobs", "show", str(uuid)).out
    assert "typed" in text
    assert "no gas in the station" in text
    assert "there is no job 'nothing'" in shell.fails("jobs", "show", "nothing")


def test_a_failed_job_runs_again_once(shell, job, sql):
    job("dead", "active", "failed")
    sql("UPDATE system_config SET value = value")
    assert shell("jobs", "retry", "dead", "--json").json["retry_count"] == 0
    assert sql("SELECT status, completed_at FROM job_logs") == [("pending", None)]
    assert "dead is pending: only failed jobs are retried" in shell.fails("jobs", "retry", "dead")


def test_a_retry_beside_a_live_job_is_refused_by_the_database_in_plain_words(shell, job):
    job("dead", "active", "failed")
    job("live")
    assert "has a live gas-topup job already" in shell.fails("jobs", "retry", "dead")


def test_a_waiting_job_is_cancelled_and_a_running_one_is_not(shell, job, sql):
    job("waits")
    job("runs", "active", wallet=2)
    assert "is cancelled" in shell("jobs", "cancel", "waits").out
    assert sql("SELECT status FROM job_logs WHERE job_id = 'waits'") == [("cancelled",)]
    assert "was cancelled before" in shell.fails("jobs", "cancel", "waits")
    assert "cannot be cancelled" in shell.fails("jobs", "cancel", "runs")


def test_configuration_is_shown_and_set(shell):
    shown = {entry["key"]: entry for entry in shell("config", "show", "--json").json}
    assert shown["sweep.interval_seconds"]["value"] == 300
    assert shown["tron.gas_amount"]["value"] == "5 TRX"
    changed = shell("config", "set", "sweep.interval_seconds", "60", "--json").json
    assert changed == {"key": "sweep.interval_seconds", "before": 300, "value": 60}
    assert "5 TRX → 7.5 TRX" in shell("config", "set", "tron.gas_amount", "7.5 TRX").out
    assert "flagpost doctor" in shell("config", "set", "tron.gas_policy", "threshold").err
    assert {e["key"].split(".")[0] for e in shell("config", "show", "sweep", "--json").json} == {"sweep"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sweep.interval", "60", "did you mean sweep.interval_seconds"),
        ("sweep.interval_seconds", "-1", "sweep.interval_seconds cannot be -1"),
        ("tron.gas_amount", "0.5 TRX", "gas_amount must be at least"),
        ("tron.gas_amount", "1.0000001 TRX", "7 decimals"),
        ("tron.gas_policy", "always", "threshold or on_demand"),
        ("tron.USDT.consolidate_execute_min", "500 USDT", "not above consolidate_flag_above"),
    ],
)
def test_a_setting_that_cannot_be_changes_nothing_and_says_why(shell, sql, key, value, message):
    before = sql("SELECT * FROM chains"), sql("SELECT * FROM asset_on_chain"), sql("SELECT * FROM system_config")
    assert message in shell.fails("config", "set", "--", key, value)
    assert before == (
        sql("SELECT * FROM chains"),
        sql("SELECT * FROM asset_on_chain"),
        sql("SELECT * FROM system_config"),
    )


def checks(shell) -> dict[str, dict]:
    answer = shell("doctor", "--json")
    report = answer.json
    assert answer.code == (0 if report["ok"] else 1)
    return {check["check"]: check for check in report["checks"]}


def test_doctor_counts_the_triggers_and_names_what_is_missing(shell, sql):
    assert checks(shell)["triggers"]["level"] == "ok"
    sql("ALTER TABLE wallets DISABLE TRIGGER wallet_flags_update")
    assert "wallet_flags_update" in checks(shell)["triggers"]["message"]
    sql("DROP TRIGGER wallet_flags_update ON wallets")
    found = checks(shell)["triggers"]
    assert found["level"] == "fail"
    assert found["todo"].startswith("run: flagpost migrate")
    assert "trigger wallet_flags_update on wallets" in found["message"]


def test_doctor_without_a_node_says_which_variable_to_set(shell):
    found = checks(shell)["tron.node"]
    assert (found["level"], "FLAGPOST_NODES_TRON" in found["todo"]) == ("fail", True)


def test_doctor_finds_a_bad_row_of_the_configuration(shell, sql):
    sql("INSERT INTO system_config (key, value) VALUES ('sweep.interval_seconds', %s)", json.dumps("soon"))
    assert "sweep.interval_seconds" in checks(shell)["config"]["message"]


def test_doctor_finds_wallets_that_our_mnemonic_does_not_derive(shell):
    assert "not derived by our mnemonic" in checks(shell)["tron.derivation"]["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [(None, "No mnemonic"), ("legal winner thank year wave sausage worth useful legal winner thank thank", "checksum")],
)
def test_doctor_finds_a_missing_or_bad_mnemonic(shell, words, message):
    shell.env.delenv("FLAGPOST_MNEMONIC") if words is None else shell.env.setenv("FLAGPOST_MNEMONIC", words)
    found = checks(shell)["tron.mnemonic"]
    assert found["level"] == "fail"
    assert message in found["message"]
    assert "sausage" not in str(found)


def test_doctor_reports_silent_processes(shell, sql):
    sql(
        "INSERT INTO worker_registry (id, name, type, last_heartbeat) VALUES"
        " ('all-sync-001', 'a', 'sync', now()), ('all-gas-topup-001', 'b', 'gas-topup', now() - interval '5 minutes')"
    )
    answer = shell("doctor")
    assert "gas-topup: 1 without a heartbeat" in answer.out
    assert "not running: confirmations, consolidation, gas-topup, sweep" in answer.out


def test_doctor_says_that_the_system_is_paused_and_how_to_go_on(shell, sql):
    shell("config", "set", "paused", "true")
    sql(
        "INSERT INTO worker_registry (id, name, type, status, last_heartbeat)"
        " VALUES ('all-sync-001', 'sync@here:1', 'sync', 'paused', now())"
    )
    out = shell("doctor").out
    assert "! the whole system is paused" in out
    assert "→ go on: flagpost config set paused false" in out
    assert "sync: 1 paused" not in out
    shell("config", "set", "paused", "false")
    out = shell("doctor").out
    assert "the whole system" not in out
    assert "! sync: 1 paused by an operator" in out


def test_doctor_names_jobs_that_nothing_runs(shell, sql):
    sql("INSERT INTO job_logs (job_type, status) VALUES ('deposit-detection', 'pending')")
    answer = shell("doctor")
    assert "! deposit-detection: 1 wait; no process of this version runs such jobs" in answer.out


def test_a_negative_amount_is_no_option(shell):
    assert "amount -1 TRX is negative" in shell.fails("config", "set", "tron.gas_amount", "-1 TRX")


def test_an_unknown_setting_points_once_to_the_known_ones(shell):
    assert shell.fails("config", "set", "zzz", "1").count("flagpost config show") == 1


def test_psql_without_a_server_says_what_to_do(shell):
    shell.env.delenv("DATABASE_URL")
    said = shell.fails("db", "psql", "-c", "SELECT 1")
    assert "is not running" in said
    assert "flagpost up" in said


def test_doctor_without_a_database(shell):
    shell.env.delenv("DATABASE_URL")
    answer = shell("doctor")
    assert answer.code == 1
    assert "✗ the embedded database" in answer.out
    assert "→ start it with `flagpost up`" in answer.out
