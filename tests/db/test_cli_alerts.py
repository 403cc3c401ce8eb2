"""``flagpost alerts``: what is open, who looks after it, what is held back, and whether messages arrive."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.db.cli_kit import Shell

NO_ID = "0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10"


@pytest.fixture
def sql(shell: Shell, database: str):
    """Statements as the owner; the rows they give."""
    with psycopg.connect(database, autocommit=True) as connection:

        def run(statement, *values):
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

        yield run


def raise_alerts(sql, *subjects: str, severity: str = "critical") -> dict[str, str]:
    """Ids by subject."""
    found = [
        {"subject": one, "severity": severity, "summary": f"{one}: gas wallet is low", "action": "send TRX to it"}
        for one in subjects
    ]
    sql("SELECT record_alerts('gas.low', %s, '{webhook}', '0', '4 hours')", Jsonb(found))
    return {subject: str(alert) for subject, alert in sql("SELECT subject, id FROM alerts WHERE resolved_at IS NULL")}


def test_nothing_is_open(shell, sql):
    assert shell("alerts", "list").err == "no alert is open\n"
    assert shell("alerts", "list", "--json").json == []
    assert shell("alerts", "silences").err == "nothing is silenced\n"


def test_what_is_open_is_listed_with_what_to_do(shell, sql):
    raise_alerts(sql, "bsc", severity="warning")
    ids = raise_alerts(sql, "tron", "bsc")
    sql("UPDATE alerts SET severity = 'warning' WHERE subject = 'bsc'")
    listed = shell("alerts", "list").out
    assert listed.index("tron: gas wallet is low") < listed.index("bsc: gas wallet is low")
    assert "→ send TRX to it" in listed
    assert ids["tron"] in listed
    assert [one["subject"] for one in shell("alerts", "list", "--json").json] == ["tron", "bsc"]
    for _ in range(2):
        raise_alerts(sql, "tron")
    assert [one["subject"] for one in shell("alerts", "list", "--json").json] == ["tron"]
    assert "over since" in shell("alerts", "list", "--all").out
    assert len(shell("alerts", "list", "--all", "--limit", "1", "--json").json) == 1


def test_what_has_not_lasted_is_not_listed(shell, sql):
    found = Jsonb([{"subject": "s", "severity": "critical", "summary": "silent", "action": "start it"}])
    sql("SELECT record_alerts('workers.stuck', %s, '{}', '1 min', '4 hours')", found)
    assert shell("alerts", "list", "--all", "--json").json == []
    ((alert,),) = sql("SELECT id FROM alerts")
    assert "there is no alert" in shell.fails("alerts", "show", str(alert))
    assert "there is no alert" in shell.fails("alerts", "ack", str(alert))


def test_one_is_shown_with_what_was_sent(shell, sql):
    alert = raise_alerts(sql, "tron")["tron"]
    sql("UPDATE alert_deliveries SET last_error = 'answered 503: [no]', attempts = 3")
    shown = shell("alerts", "show", alert).out
    for part in ("gas.low, of tron", "send TRX to it", "webhook", "raised", "pending", "answered 503: [no]"):
        assert part in shown
    (delivery,) = shell("alerts", "show", alert, "--json").json["deliveries"]
    assert (delivery["channel"], delivery["attempts"]) == ("webhook", 3)
    assert "there is no alert" in shell.fails("alerts", "show", NO_ID)
    assert "there is no alert" in shell.fails("alerts", "show", "gas.low")


def test_an_acknowledgement(shell, sql):
    alert = raise_alerts(sql, "tron")["tron"]
    assert shell("alerts", "ack", alert).out == "gas.low tron is acknowledged: no more reminders\n"
    assert ", acknowledged" in shell("alerts", "list").out
    assert "was acknowledged by" in shell.fails("alerts", "ack", alert)
    for _ in range(2):
        sql("SELECT record_alerts('gas.low', '[]', '{}', '0', '4 hours')")
    assert "has been resolved since" in shell.fails("alerts", "ack", alert)
    trail = "SELECT action_type, target_id, details ->> 'subject' FROM admin_actions WHERE action_type LIKE 'alert%'"
    assert sql(trail) == [("alert.acknowledge", alert, "tron")]


def test_a_silence_and_its_end(shell, sql):
    raise_alerts(sql, "tron")
    made = shell(
        "alerts", "silence", "gas.*", "--subject", "tron", "--for", "2h", "--reason", "we fill it", "--json"
    ).json
    assert ", silenced" in shell("alerts", "list").out
    (listed,) = shell("alerts", "silences", "--json").json
    assert (listed["id"], listed["rule"], listed["subject"], listed["reason"]) == (
        made["id"],
        "gas.*",
        "tron",
        "we fill it",
    )
    assert "we fill it" in shell("alerts", "silences").out
    assert "are sent again" in shell("alerts", "unsilence", made["id"]).out
    assert "silenced" not in shell("alerts", "list").out
    assert "ended at" in shell.fails("alerts", "unsilence", made["id"])
    assert "there is no silence" in shell.fails("alerts", "unsilence", NO_ID)
    trail = "SELECT action_type FROM admin_actions WHERE action_type LIKE 'alerts%' ORDER BY id"
    assert sql(trail) == [("alerts.silence",), ("alerts.end_silence",)]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("*", "--for", "2 weeks", "--reason", "r"), 2, "--for '2 weeks' is not a length of time"),
        (("*", "--for", "0h", "--reason", "r"), 1, "a silence cannot last until"),
        (("workers.stuk", "--for", "2h", "--reason", "r"), 1, "did you mean workers.stuck"),
        (("nosuch.rule", "--for", "2h", "--reason", "r"), 1, '"nosuch.rule" fits no rule'),
        (("workrs.*", "--for", "2h", "--reason", "r"), 1, '"workrs.*" fits no rule'),
        (("gas?low", "--for", "2h", "--reason", "r"), 1, '"gas?low" fits no rule'),
        (("*", "--for", "400d", "--reason", "r"), 1, "a silence cannot last until"),
        (("*", "--for", "2h", "--reason", " "), 1, "a silence needs a reason"),
        (("Gas", "--for", "2h", "--reason", "r"), 1, '"Gas" fits no rule'),
        (("*", "--for", "2h"), 2, "--reason"),
    ],
)
def test_a_silence_that_cannot_be(shell, sql, typed, code, said):
    assert said in shell.fails("alerts", "silence", *typed, code=code)
    assert sql("SELECT FROM alert_silences") == []


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP server that takes everything but what is posted to /refuse; what it got."""
    got: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500 if self.path == "/refuse" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", got
        finally:
            server.shutdown()
            thread.join()


def test_a_test_message_by_each_channel(shell, sql, server):
    url, got = server
    assert "no channel is configured here" in shell.fails("alerts", "test")
    shell.env.setenv("FLAGPOST_ALERT_WEBHOOK", f"{url}/hook")
    shell.env.setenv("FLAGPOST_ALERT_SLACK", f"{url}/slack")
    assert shell("alerts", "test").out == "✓ webhook: sent\n✓ slack: sent\n"
    assert b'"event": "test"' in got[0]
    assert b"alerts of Flagpost arrive here" in got[1]
    shell.env.setenv("FLAGPOST_ALERT_SLACK", f"{url}/refuse")
    answer = shell("alerts", "test")
    assert (answer.code, answer.out) == (1, "✓ webhook: sent\n✗ slack: answered 500: no text\n")
    answer = shell("alerts", "test", "--json")
    assert answer.code == 1
    assert answer.json[1] == {"channel": "slack", "arrived": False, "error": "answered 500: no text"}
    shell.env.setenv("FLAGPOST_ALERT_MAIL_TO", "ops@example.com")
    assert "FLAGPOST_SMTP_URL is not: no mail is sent" in shell("alerts", "test").err


def test_the_database_takes_no_pattern_that_cannot_be_one(shell, sql):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is no pattern of rules"):
        sql("SELECT silence_alerts('Gas', '*', now() + interval '2 h', 'r')")
