"""Whether the embedded database can be used yet: its server may be starting, the database be made a moment later."""

import os
import time
from pathlib import Path

import psycopg

from pipeline.db.session import CONNECT_TIMEOUT
from pipeline.embedded.cluster import embedded_dsn

PATIENCE = 60.0
"""Seconds: as long as a start may take, which replays what a crash left."""
POLL_SECONDS = 0.05


def wait_until_ready(home: Path, patience: float = PATIENCE) -> bool:
    """Whether the database of ``home`` answers. One that somebody is just starting is waited for."""
    deadline = time.monotonic() + patience
    while True:
        try:
            psycopg.connect(embedded_dsn(home), connect_timeout=CONNECT_TIMEOUT).close()
        except psycopg.OperationalError:
            if time.monotonic() >= deadline or not _is_supervised(home):
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True


def _is_supervised(home: Path) -> bool:
    """Whether the process lives that starts or runs the server; the lock it holds is not tried, as a start would be
    refused meanwhile."""
    try:
        pid = int((home / "postgres.lock").read_text(encoding="utf-8"))
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return pid != os.getpid()
