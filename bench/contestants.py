"""Who takes part: each is a command that answers the same questions, and two files of SQL.

    <command> setup DSN …              tables, whatever it needs
    <command> work DSN …               a worker with a handler that does nothing, until SIGTERM; says ``ready`` when it
                                       waits for work, ``handled`` every thousand jobs, and at the end ``report``: the
                                       event number and the time of the start of each job
    <command> pace DSN --count --rate  events one by one, each its own commit; the times around each
    <command> fill DSN --count         many jobs in one commit, through its own interface for many
    <command> bulk DSN --count --chunk the same as fast as it can, nobody working

``remaining.sql`` says whether anything is left to do, ``reset.sql`` empties the queue.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
BENCH = Path(__file__).parent

OURS = "flagpost"


@dataclass(frozen=True)
class Contestant:
    """One system under test."""

    name: str
    command: Sequence[str]
    sql: str
    """The folder of remaining.sql and reset.sql, under bench/."""
    work: Sequence[str] = ()
    """More arguments of ``work``: its best settings."""
    setup: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    fill: Sequence[str] = ()
    chunk: int = 1000
    """Jobs in one call of ``bulk``."""
    drained_share: float = 1.0
    """Of the jobs of a drain: less for who would take minutes."""
    missing: str | None = None
    """Why it cannot take part here."""

    @property
    def database(self) -> str:
        return "bench_" + "".join(letter if letter.isalnum() else "_" for letter in self.name)

    def argv(self, action: str, dsn: str, *arguments: object) -> list[str]:
        """The command line for one question."""
        own = {"work": self.work, "setup": self.setup, "fill": self.fill}.get(action, ())
        return [*self.command, action, dsn, *map(str, arguments), *own]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's set-up, and our own modules."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name != "DATABASE_URL" and not name.startswith(("FLAGPOST_", "PG"))
        }
        return (
            kept
            | {"PYTHONPATH": str(ROOT), "FLAGPOST_ENV_FILE": os.devnull, "FLAGPOST_LOG_LEVEL": "WARNING"}
            | dict(self.env)
        )


def ours() -> Contestant:
    """The project itself."""
    return Contestant(
        OURS, (sys.executable, "-m", "bench.flagpost"), "flagpost", setup=("--set", "queue.concurrency=500")
    )
