"""Alerts by real processes: whom the environment names is told, also where a sweep is killed while it sends."""

import json
import os
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest

from tests.e2e.running import Running
from tests.patience import PATIENCE

SECRET = "a secret of the webhook"


class Hook(ThreadingHTTPServer):
    """Takes what is posted, and answers once it may."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[dict[str, str], dict]] = queue.Queue()
        self.answers = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/a-path-that-is-a-key"

    def next(self) -> tuple[dict[str, str], dict]:
        """The headers and the document of what comes next."""
        return self.got.get(timeout=PATIENCE)


class _Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.put((dict(self.headers), json.loads(body)))
        self.server.answers.wait(PATIENCE)
        try:
            self.send_response(200)
            self.end_headers()
        except OSError:
            self.close_connection = True  # who asked was killed

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()


def test_a_sweep_that_is_killed_while_it_sends(database: str, home, hook: Hook) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database,
        "FLAGPOST_HOME": str(home),
        "FLAGPOST_ENV_FILE": os.devnull,
        "FLAGPOST_ALERT_WEBHOOK": hook.url,
        "FLAGPOST_ALERT_WEBHOOK_SECRET": SECRET,
    }
    with psycopg.connect(database, autocommit=True) as sql:
        sql.execute(
            "INSERT INTO worker_registry (id, name, type, last_heartbeat)"
            " VALUES ('all-sync-001', 'sync@here:1', 'sync', now() - interval '2 minutes')"
        )
        sql.execute(
            "INSERT INTO system_config (key, value)"
            " VALUES ('alerts.interval_seconds', '1'), ('alerts.worker_seconds', '0')"
        )
        with Running(["sweep"], environment) as first:
            headers, document = hook.next()
            first.process.kill()
        assert document["event"] == "raised"
        assert headers["X-Flagpost-Signature"].startswith("v1=")
        assert SECRET not in first.said
        assert "a-path-that-is-a-key" not in first.said
        hook.answers.set()
        sql.execute("UPDATE alert_deliveries SET next_attempt_at = now()")  # the lease is over
        with Running(["sweep"], environment) as second:
            deliveries = set()
            while headers["X-Flagpost-Delivery"] not in deliveries:
                deliveries.add(hook.next()[0]["X-Flagpost-Delivery"])
            second.line("alert raised sent by webhook")
            assert second.stop() == 0
        ((left,),) = sql.execute(
            "SELECT count(*) FROM alert_deliveries WHERE event = 'raised' AND state <> 'delivered' AND id::text = %s",
            [headers["X-Flagpost-Delivery"]],
        ).fetchall()
        assert left == 0
