"""The life of an alert: raised once, reminded of, acknowledged, silenced, resolved; by the sweep that leads."""

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import AsyncMock

import pytest

from pipeline.alerts.rules import RULES, FoundAlert, Severity
from pipeline.db import rows as db_rows
from pipeline.db.pool import Connection
from pipeline.workers import slow
from pipeline.workers.alerts import Alerts
from pipeline.workers.leader import Leader
from pipeline.workers.sweep import Sweep
from tests.db.alert_kit import Inbox, alerts_of, evaluate, open_alerts
from tests.db.doctor_faults import OLD_JOB, WORKER
from tests.db.test_repairs import without_triggers
from tests.db.test_sweep import break_off
from tests.db.worker_kit import configure, heartbeat, rows, running, until_count
from tests.logs import logged
from tests.patience import PATIENCE
from tests.seed import Chain, add_wallets

RULE = next(rule for rule in RULES if rule.id == "gas.low")
UNREAD = "UPDATE wallet_balances SET next_check_at = now() - interval '1 hour'"
READ = "UPDATE wallet_balances SET next_check_at = now() + interval '1 minute'"


def found(*subjects: str, severity: Severity = Severity.CRITICAL) -> list[FoundAlert]:
    return [FoundAlert(one, severity, f"{one}: gas wallet is low", "send TRX to it", "3") for one in subjects]


async def record(alerts: Alerts, what: Sequence[FoundAlert]) -> list[tuple[str, str]]:
    """One evaluation of a rule that found this; what was done, and of what."""
    return [(row["event"], row["subject"]) for row in await alerts._record(RULE, what)]


async def deliveries(connection: Connection) -> list[tuple[str, str]]:
    found = await rows(
        connection,
        "SELECT a.subject, d.event FROM alert_deliveries d JOIN alerts a ON a.id = d.alert_id ORDER BY d.id",
    )
    return [(row["subject"], row["event"]) for row in found]


async def pass_by(connection: Connection, hours: float) -> None:
    """Let the last message of every alert be so old."""
    await connection.execute("UPDATE alerts SET reminded_at = reminded_at - make_interval(secs => %s)", [3600 * hours])


async def silence(connection: Connection, rule: str, subject: str = "*") -> Any:
    (row,) = await rows(
        connection, "SELECT silence_alerts(%s, %s, now() + interval '1 hour', 'we know') AS id", rule, subject
    )
    return row["id"]


async def test_what_lasts_is_one_alert_and_one_message(connection: Connection, database: str) -> None:
    async with alerts_of(database, Inbox("webhook"), Inbox("mail")) as (alerts, _):
        assert await record(alerts, found("tron", "bsc")) == [("raised", "bsc"), ("raised", "tron")]
        for _ in range(3):
            assert await record(alerts, found("tron", "bsc")) == []
        two = await open_alerts(connection)
        assert {key: row["count"] for key, row in two.items()} == {("gas.low", "tron"): 4, ("gas.low", "bsc"): 4}
        assert two["gas.low", "tron"]["value"] == 3
    assert sorted(await deliveries(connection)) == [("bsc", "raised")] * 2 + [("tron", "raised")] * 2


async def test_at_most_one_is_open_by_the_databases_own_word(connection: Connection, database: str) -> None:
    async with alerts_of(database) as (alerts, _):
        await record(alerts, found("tron"))
    with pytest.raises(Exception, match="alerts_one_open"):
        await connection.execute(
            "INSERT INTO alerts (rule, subject, severity, summary, action)"
            " VALUES ('gas.low', 'tron', 'warning', 's', 'a')"
        )


async def test_two_evaluations_that_do_not_find_it_end_it(connection: Connection, database: str) -> None:
    async with alerts_of(database, Inbox()) as (alerts, _):
        await record(alerts, found("tron"))
        assert await record(alerts, []) == []
        assert await record(alerts, found("tron")) == [], "it was there all the time"
        assert await record(alerts, []) == []
        assert await record(alerts, []) == [("resolved", "tron")]
        assert await open_alerts(connection) == {}
        assert await record(alerts, []) == []
        assert await record(alerts, found("tron")) == [("raised", "tron")], "it is another one"
    assert await deliveries(connection) == [("tron", "raised"), ("tron", "resolved"), ("tron", "raised")]


async def test_what_has_to_last_is_raised_when_it_has(connection: Connection, database: str) -> None:
    stuck = next(rule for rule in RULES if rule.id == "workers.stuck")
    one = [FoundAlert("all-sync-001", Severity.CRITICAL, "it is silent", "start it", None)]
    async with alerts_of(database, Inbox()) as (alerts, _):
        for what in (one, [], one, [], []):
            assert await alerts._record(stuck, what) == []
        assert await rows(connection, "SELECT FROM alerts") == []
        await alerts._record(stuck, one)
        await connection.execute("UPDATE alerts SET first_seen_at = first_seen_at - interval '61 s'")
        assert [row["event"] for row in await alerts._record(stuck, one)] == ["raised"]
    assert await deliveries(connection) == [("all-sync-001", "raised")]


async def test_reminders_come_until_somebody_acknowledges(connection: Connection, database: str) -> None:
    async with alerts_of(database, Inbox()) as (alerts, _):
        await record(alerts, found("tron"))
        await connection.execute("UPDATE alert_deliveries SET state = 'delivered', ended_at = now()")
        await pass_by(connection, 3.9)
        assert await record(alerts, found("tron")) == []
        await pass_by(connection, 0.2)
        assert await record(alerts, found("tron")) == [("reminder", "tron")]
        assert await record(alerts, found("tron")) == []
        await pass_by(connection, 4)
        assert await record(alerts, found("tron")) == [("reminder", "tron")]
        assert await deliveries(connection) == [("tron", "raised"), ("tron", "reminder")], "the first was not sent yet"
        await connection.execute("SELECT acknowledge_alert(id::text) FROM alerts")
        await pass_by(connection, 40)
        assert await record(alerts, found("tron")) == []
        await record(alerts, [])
        assert await record(alerts, []) == [("resolved", "tron")], "that it is over is said"


async def test_times_that_a_wrong_clock_wrote_ahead_hold_nothing_up(connection: Connection, database: str) -> None:
    inbox = Inbox()
    stuck = next(rule for rule in RULES if rule.id == "workers.stuck")
    async with alerts_of(database, inbox) as (alerts, _):
        await record(alerts, found("tron"))
        await alerts._record(stuck, found("all-sync-001"))
        await connection.execute("UPDATE alerts SET first_seen_at = '2090-01-01', reminded_at = '2090-01-01'")
        await connection.execute("UPDATE alert_deliveries SET next_attempt_at = '2090-01-01'")
        assert [row["event"] for row in await alerts._record(stuck, found("all-sync-001"))] == ["raised"]
        assert await alerts._outbox.send_due() == 2
        assert await record(alerts, found("tron")) == [("reminder", "tron")]
        await alerts._outbox.send_due()
    assert inbox.events == [("raised", "gas.low"), ("raised", "workers.stuck"), ("reminder", "gas.low")]


async def test_what_becomes_critical_is_raised_again(connection: Connection, database: str) -> None:
    async with alerts_of(database, Inbox()) as (alerts, _):
        await record(alerts, found("tron", severity=Severity.WARNING))
        await connection.execute("SELECT acknowledge_alert(id::text) FROM alerts")
        assert await record(alerts, found("tron")) == [("raised", "tron")]
        (row,) = (await open_alerts(connection)).values()
        assert (row["severity"], row["acknowledged_at"], row["count"]) == ("critical", None, 2)
        await connection.execute("SELECT acknowledge_alert(id::text) FROM alerts")
        assert await record(alerts, found("tron", severity=Severity.WARNING)) == []
        (row,) = (await open_alerts(connection)).values()
        assert row["acknowledged_at"] is not None
    assert await deliveries(connection) == [("tron", "raised")] * 2


async def test_a_silence_holds_messages_back_and_not_the_alert(connection: Connection, database: str) -> None:
    inbox = Inbox()
    async with alerts_of(database, inbox) as (alerts, _):
        await silence(connection, "gas.*", "tr*")
        await record(alerts, found("tron", "bsc"))
        assert len(await open_alerts(connection)) == 2
        await alerts._outbox.send_due()
        assert [notice.subject for notice in inbox.got] == ["bsc"]
        await pass_by(connection, 5)
        assert await record(alerts, found("tron", "bsc")) == [("reminder", "bsc")]
        await alerts._outbox.send_due()
        await connection.execute("UPDATE alert_silences SET until = now()")
        await alerts._outbox.send_due()
        assert [(notice.subject, notice.event.value) for notice in inbox.got] == [
            ("bsc", "raised"),
            ("bsc", "reminder"),
            ("tron", "raised"),
        ]


async def test_what_came_and_went_under_a_silence_is_not_sent(connection: Connection, database: str) -> None:
    inbox = Inbox()
    async with alerts_of(database, inbox) as (alerts, _):
        made = await silence(connection, "*")
        await record(alerts, found("tron"))
        await record(alerts, [])
        assert await record(alerts, []) == [("resolved", "tron")]
        await connection.execute("SELECT end_silence(%s)", [str(made)])
        assert await alerts._outbox.send_due() == 0
    assert await deliveries(connection) == []


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("*", "", True),
        ("tron", "tron", True),
        ("tron", "tron USDT", False),
        ("tron*", "tron USDT", True),
        ("tr_n", "tron", False),
        ("100%", "100%", True),
        ("100%", "100 things", False),
        ("a\\*", "a\\b", True),
        ("*USDT", "tron USDT", True),
    ],
)
async def test_patterns(connection: Connection, pattern: str, subject: str, fits: bool) -> None:
    ((row),) = await rows(connection, "SELECT alert_pattern_fits(%s, %s) AS fits", pattern, subject)
    assert row["fits"] is fits


async def test_old_ones_are_deleted_with_their_messages(connection: Connection, database: str) -> None:
    async with alerts_of(database, Inbox()) as (alerts, _):
        await record(alerts, found("old", "new", "open"))
        await connection.execute(
            "UPDATE alerts SET resolved_at = now() - CASE subject WHEN 'old' THEN interval '91 days' ELSE '89 days' END"
            " WHERE subject <> 'open'"
        )
        await connection.execute("UPDATE alerts SET raised_at = raised_at - interval '1 year'")
        await alerts.evaluate([RULE])
        await alerts.evaluate([RULE])
    left = await rows(connection, "SELECT subject FROM alerts ORDER BY subject")
    assert [row["subject"] for row in left] == ["new", "open"]
    assert {subject for subject, _ in await deliveries(connection)} == {"new", "open"}


async def test_rules_that_are_switched_off_leave_nothing_open(connection: Connection, database: str) -> None:
    async with alerts_of(database, Inbox()) as (alerts, desk):
        await record(alerts, found("tron"))
        desk.configure(enabled=False)
        await alerts.evaluate_if_due()
        assert await open_alerts(connection) == {}
        assert await alerts._outbox.send_due() == 0
        assert desk.last_error == ""


async def test_it_is_logged_once_and_shown_until_it_is_over(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    async with alerts_of(database) as (alerts, desk):
        with logged("INFO") as lines:
            await evaluate(alerts)
            assert desk.last_error == ""
            await connection.execute(UNREAD)
            for _ in range(3):
                await evaluate(alerts)
            assert "tron: 2 TRX balances have been due for 60 min; no sync reads them" in desk.last_error
            await connection.execute(READ)
            for _ in range(2):
                await evaluate(alerts)
            assert desk.last_error == ""
        said = [line for line in lines if "wallets.unread" in line or "TRX balances have been due" in line]
        assert len(said) == 3
        assert said[0].startswith(
            "ERROR sweep: tron: 2 TRX balances have been due for 60 min; no sync reads them; to do: "
        )
        assert said[1:] == ["INFO sweep: over: wallets.unread tron TRX", "INFO sweep: over: wallets.unread tron USDT"]


async def test_what_others_say_of_the_process_stays(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    async with alerts_of(database) as (alerts, desk):
        desk.troubles.say("watchdog", "end this session")
        await evaluate(alerts)
        assert desk.last_error == "end this session"
        await connection.execute(UNREAD)
        await evaluate(alerts)
        assert desk.last_error.startswith("end this session; tron: 2 TRX balances")
        alerts.forget()
        assert desk.last_error == "end this session"


async def test_many_are_counted_in_the_registry(connection: Connection, database: str) -> None:
    async with alerts_of(database) as (alerts, desk):
        await record(alerts, found(*(f"chain-{number}" for number in range(8))))
        await alerts._show()
        assert desk.last_error.count("gas wallet is low") == 5
        assert desk.last_error.endswith("; and 3 more alerts")


async def test_a_rule_that_the_server_breaks_off_leaves_its_alerts(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_wallets(connection, tron, 2)
    await break_off(connection, "broken_off", "")
    real = db_rows.statement
    asked: list[str] = []

    def statement(name: str) -> Any:
        asked.append(name)
        return b"SELECT broken_off()" if name == "doctor/queue_due" else real(name)

    async with alerts_of(database) as (alerts, desk):
        async with without_triggers(connection):
            await connection.execute(OLD_JOB.encode())
            await connection.execute(WORKER.encode())
        await evaluate(alerts)
        assert ("queue.due", "tron gas-topup") in await open_alerts(connection)
        await connection.execute(UNREAD)
        monkeypatch.setattr(db_rows, "statement", statement)
        with logged("INFO") as lines:
            for _ in range(3):
                await evaluate(alerts)
        now = await open_alerts(connection)
        assert ("queue.due", "tron gas-topup") in now, "nobody knows that it is over"
        assert ("wallets.unread", "tron TRX") in now
        assert asked.count("doctor/queue_due") == 2, "it is left out for a while"
        assert len([line for line in lines if "doctor/queue_due" in line]) == 1
        assert "the server breaks off the statement doctor/queue_due" in desk.last_error
        monkeypatch.undo()
        later = slow.time.monotonic() + slow.LEFT_OUT_SECONDS
        monkeypatch.setattr(slow.time, "monotonic", lambda: later)
        await evaluate(alerts)
        assert "doctor/queue_due" not in desk.last_error


async def test_a_turn_that_takes_long_goes_on_in_the_next(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = db_rows.statement

    def statement(name: str) -> Any:
        asked.append(name)
        return real(name)

    async with alerts_of(database) as (alerts, _):
        monkeypatch.setattr(db_rows, "statement", statement)
        monkeypatch.setattr("pipeline.workers.alerts.WORK_SECONDS", 0.0)
        for _ in range(len(RULES) + 1):
            await evaluate(alerts)
    evaluated = [name for name in asked if name in {rule.statement for rule in RULES}]
    assert evaluated == [rule.statement for rule in (*RULES, RULES[0])]


async def test_a_rule_that_fails_is_said_and_the_others_go_on(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_wallets(connection, tron, 2)
    real = db_rows.statement
    monkeypatch.setattr(db_rows, "statement", lambda name: b"SELECT 1/0" if name == "doctor/queue_due" else real(name))
    async with alerts_of(database) as (alerts, desk):
        await connection.execute(UNREAD)
        with logged("ERROR") as lines:
            await evaluate(alerts)
            await evaluate(alerts)
        assert ("wallets.unread", "tron TRX") in await open_alerts(connection)
        assert len([line for line in lines if "alerts: queue.due" in line]) == 1
        assert "alerts, queue.due: DivisionByZero: division by zero" in desk.last_error
        alerts.forget()
        assert desk.last_error == ""
        await evaluate(alerts)
        monkeypatch.undo()
        await evaluate(alerts)
        assert "DivisionByZero" not in desk.last_error


async def until_evaluated(sweep: Sweep, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while sweep.stats().get("alert_evaluations", 0) < count:  # noqa: ASYNC110 - no signal tells of it
            await asyncio.sleep(0.01)


async def test_the_sweep_that_leads_evaluates_sends_and_shows_it(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox()
    monkeypatch.setattr("pipeline.workers.alerts.configured", lambda _: {"webhook": inbox})
    await add_wallets(connection, tron, 2)
    await connection.execute(UNREAD)
    await configure(connection, alerts__interval_seconds=1)
    sweep = Sweep()
    async with running(sweep, database) as runtime:
        await until_count(connection, "SELECT count(*) FROM alert_deliveries WHERE state = 'delivered'", 2)
        await until_evaluated(sweep, 1)
        await heartbeat(runtime)
        (row,) = await rows(connection, "SELECT last_error, stats FROM worker_registry WHERE type = 'sweep'")
        assert "TRX balances have been due for 60 min; no sync reads them" in row["last_error"]
        assert row["stats"]["alerts_sent"] >= 2
        await connection.execute(READ)
        resolved = "SELECT count(*) FROM alert_deliveries WHERE event = 'resolved' AND state = 'delivered'"
        await until_count(connection, resolved, 2)
    assert ("raised", "wallets.unread") in inbox.events
    assert ("resolved", "wallets.unread") in inbox.events


async def test_a_sweep_that_stands_by_says_and_sends_nothing(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who acts instead says it: what this one knows would be shown for as long as it lives."""
    inbox = Inbox()
    monkeypatch.setattr("pipeline.workers.alerts.configured", lambda _: {"webhook": inbox})
    await add_wallets(connection, tron, 2)
    await connection.execute(UNREAD)
    await configure(connection, alerts__interval_seconds=1)
    sweep = Sweep(standby_seconds=0.05)
    async with running(sweep, database) as runtime:
        await until_evaluated(sweep, 1)
        assert runtime.last_error is not None
        monkeypatch.setattr(Leader, "leads", AsyncMock(return_value=False))
        async with asyncio.timeout(PATIENCE):
            while runtime.last_error is not None:
                await heartbeat(runtime)
        sent = len(inbox.got)
        await connection.execute(
            "UPDATE alert_deliveries SET state = 'pending', ended_at = NULL, next_attempt_at = now()"
        )
        await heartbeat(runtime)
        assert len(inbox.got) == sent
