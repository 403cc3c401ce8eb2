"""A real Postgres whose sessions belong to simulated processes.

The workers' own psycopg runs on real sockets. What is ours is the waiting: every round trip passes ``Connection.wait``,
where the process may die or lose the connection before it is asked and after it has answered. The reply is then waited
for in earnest, so that nothing depends on how fast the server is; only a statement that waits for somebody's lock lets
others go on meanwhile. A process that dies leaves its sessions to the server, which ends their transactions.

Sessions are used again by later processes: connecting costs more than a whole round of a worker.
"""

import asyncio
import select
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from tests.simulation.clock import EPOCH, Clock

CHANNELS = ("wallet_flags", "jobs", "balance_due", "transfers", "signatures", "config")
SEARCH_PATH = "sim,pg_catalog,public,pg_temp"
OPTIONS = f"-c search_path={SEARCH_PATH} -c jit=off"
STATEMENT_SECONDS = 30.0
"""By the run's clock: after so long the server cancels a statement that waits for a lock, and ends the session of a
process that stands still in a transaction (``db.pool``)."""
SERVER = {"autovacuum": "off", "max_connections": "200"}
"""Settings of a server that serves nothing else."""
_UNHURRIED = 0.004
"""Real seconds until it is asked whether a statement waits for a lock."""
_VACUUM_EVERY = 100
"""Runs."""
_READABLE, _WRITABLE = 1, 2
"""As psycopg's generators have them."""
_IDLE = pq.TransactionStatus.IDLE

RoundTrip = Generator[Any, Any, Any]
"""psycopg's side of one."""


class Backend:
    """A session of the server."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.pgconn = pq.PGconn.connect(dsn.encode())
        if self.pgconn.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(self.pgconn.get_error_message())
        self.pgconn.nonblocking = 1
        self.pid = self.pgconn.backend_pid
        self.prepared: Any = None
        """What psycopg knows of the statements prepared here."""

    @property
    def can_be_cleaned(self) -> bool:
        return (
            self.pgconn.status == pq.ConnStatus.OK
            and self.pgconn.transaction_status != pq.TransactionStatus.ACTIVE
            and self.pgconn.pipeline_status == pq.PipelineStatus.OFF
        )

    def clean(self) -> bool:
        """Do what the server does when the client has gone; False where the session is gone, too."""
        if self.pgconn.transaction_status != _IDLE:
            self.pgconn.exec_(b"ROLLBACK")
        self.pgconn.exec_(b"SELECT pg_advisory_unlock_all()")
        return self.pgconn.status == pq.ConnStatus.OK

    def advance(self, gen: RoundTrip, state: Any) -> tuple[bool, Any]:
        """Go on with psycopg's side of a round trip; whether it is over, and its result, or else where it stands
        because the server takes its time."""
        socket = self.pgconn.socket
        try:
            while True:
                readers = [socket] if state & _READABLE else []
                writers = [socket] if state & _WRITABLE else []
                readable, writable, _ = select.select(readers, writers, [], _UNHURRIED)
                if not readable and not writable:
                    return False, state
                state = gen.send((_READABLE if readable else 0) | (_WRITABLE if writable else 0))
        except StopIteration as over:
            return True, over.value


@dataclass(eq=False, slots=True)
class Blocked:
    """A statement that waits for a lock."""

    backend: Backend
    gen: RoundTrip
    state: Any
    since: float
    looked_at: int
    """How many transactions had ended then."""
    answer: asyncio.Future[Any] | None
    """None: whoever asked is dead. The statement goes on all the same."""


class Database:
    """The server of a series of runs, emptied between them."""

    def __init__(self, dsn: str) -> None:
        """``dsn`` is a superuser's, of a database that ``prepare`` was called for."""
        self.dsn = make_conninfo(dsn, options=OPTIONS)
        """For the workers."""
        self.home = Path(tempfile.mkdtemp(prefix="flagpost-simulation-"))
        """FLAGPOST_HOME of the workers."""
        self.plain = psycopg.connect(self.dsn, autocommit=True)
        """For the test: what it asks and does here, no process does. It waits for no lock: nobody would give
        it up."""
        self.plain.execute("SET lock_timeout = '20ms'")
        self.blocked: list[Blocked] = []
        self.deadlocks = 0
        self._monitor = psycopg.connect(dsn, autocommit=True)
        for channel in CHANNELS:
            self._monitor.execute(f"LISTEN {channel}")  # type: ignore[arg-type]
        self._clock = Clock()
        self._idle: dict[str, list[Backend]] = defaultdict(list)
        self._closing: dict[int, int] = {}
        """Sessions that were closed in the middle of something, by process id, and when they were looked at."""
        self._ended = 0
        """Ends of transactions: only these set anybody free who waits."""
        self._heard = -1
        self._told = -1.0
        self._runs = 0
        self._tables, self._emptying = self._how_to_empty()

    @staticmethod
    def prepare(dsn: str) -> None:
        """Give a freshly migrated database the simulation's time and chance."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(Path(__file__).with_name("schema.sql").read_text())  # type: ignore[arg-type]
            name = connection.info.dbname
            connection.execute(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '30ms'")  # type: ignore[arg-type]

    def close(self) -> None:
        for backends in self._idle.values():
            for backend in backends:
                backend.pgconn.finish()
        self._monitor.close()
        self.plain.close()
        shutil.rmtree(self.home)

    def begin(self, clock: Clock) -> None:
        """Empty everything; a run's own time begins."""
        assert not self.blocked
        self._clock, self._told, self.deadlocks = clock, -1.0, 0
        self._runs += 1
        (self.home / "signed.jsonl").unlink(missing_ok=True)
        self.plain.execute(self._emptying)  # type: ignore[arg-type]
        if self._runs % _VACUUM_EVERY == 0:
            self.plain.execute(f"VACUUM {self._tables}")  # type: ignore[arg-type]
        self.transaction_ended()
        self.tell_time()
        self.notifications()

    def tell_time(self) -> None:
        """Set the server's clock by the run's. It never goes back, and each look at it moves it on a little."""
        if self._told == self._clock.now:
            return
        self._told = self._clock.now
        micros = round((EPOCH.timestamp() + self._clock.now) * 1_000_000)
        self._monitor.pgconn.exec_(
            f"SELECT setval('sim.clock', greatest({micros}, last_value + 1)) FROM sim.clock".encode()  # noqa: S608
        )

    def notifications(self) -> list[tuple[str, str]]:
        """Channel and payload of every NOTIFY that was committed since the last call."""
        if self._heard == self._ended:
            return []
        self._heard = self._ended
        # Their senders signalled this session before they were answered: they are there once it has answered itself.
        self._monitor.pgconn.exec_(b"SELECT 1")
        received = []
        while notification := self._monitor.pgconn.notifies():
            received.append((notification.relname.decode(), notification.extra.decode()))
        return received

    # -- sessions

    def take(self, dsn: str) -> Backend:
        idle = self._idle[dsn]
        return idle.pop() if idle else Backend(dsn)

    def give_back(self, backend: Backend, prepared: Any = None) -> None:
        """A session whose client has gone. One in the middle of a statement finishes that first."""
        waiting = next((one for one in self.blocked if one.backend is backend), None)
        if waiting is not None:
            waiting.answer = None
        elif backend.can_be_cleaned and backend.clean():
            backend.prepared = prepared or backend.prepared
            self._idle[backend.dsn].append(backend)
            self._ended += 1
        else:
            backend.pgconn.finish()
            self._closing[backend.pid] = -1

    def let_go(self) -> None:
        """Every process of the run is dead: wait until the server has done with all of them."""
        for one in self.blocked:
            one.answer = None
        while self.has_waiters:
            self.settle()

    def transaction_ended(self) -> None:
        """Somebody who waits may be free now."""
        self._ended += 1

    # -- locks

    @property
    def has_waiters(self) -> bool:
        return bool(self.blocked or self._closing)

    def settle(self) -> None:
        """Wait until every session has done what it can do by itself: is answered, gone, or waits for a lock."""
        while True:
            late = [one for one in self.blocked if one.looked_at != self._ended]
            closing = [pid for pid, looked_at in self._closing.items() if looked_at != self._ended]
            if not late and not closing:
                return
            for pid in closing:
                if self._is_gone(pid):
                    del self._closing[pid]
                    self._ended += 1
                elif self.is_blocked(pid):
                    self._closing[pid] = self._ended
            for one in late:
                seen = self._ended
                if not self._go_on(one) and self.is_blocked(one.backend.pid):
                    one.looked_at = seen

    def is_blocked(self, pid: int) -> bool:
        return bool(self._blockers(pid))

    def overdue_at(self) -> float | None:
        """When the server cancels the next statement that waits for a lock."""
        return min((one.since + STATEMENT_SECONDS for one in self.blocked), default=None)

    def cancel_overdue(self) -> None:
        for one in list(self.blocked):
            if self._clock.now >= one.since + STATEMENT_SECONDS:
                self.cancel(one)

    def cancel(self, one: Blocked) -> None:
        """Have the server cancel a statement, and wait for it."""
        self.plain.execute("SELECT pg_cancel_backend(%s)", [one.backend.pid])
        while not self._go_on(one):
            pass

    def resolve_deadlock(self) -> bool:
        """Where some wait for one another, wait for the server to choose a victim; whether there was such a ring."""
        waiting = {one.backend.pid for one in self.blocked}
        ring = waiting
        while ring:
            inside = {pid for pid in ring if set(self._blockers(pid)) & ring}
            if inside == ring:
                break
            ring = inside
        if not ring:
            return False
        self.deadlocks += 1
        members = [one for one in self.blocked if one.backend.pid in ring]
        while not any([self._go_on(one) for one in members if one in self.blocked]):  # noqa: C419 - all of them
            pass
        return True

    def _blockers(self, pid: int) -> list[int]:
        (blockers,) = self.plain.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone() or ([],)
        return list(blockers)

    def _go_on(self, one: Blocked) -> bool:
        """Whether it is answered now."""
        try:
            over, result = one.backend.advance(one.gen, one.state)
        except psycopg.Error as error:
            over, result = True, error
        if not over:
            one.state = result
            return False
        self.blocked.remove(one)
        self._ended += 1
        if one.answer is None:
            self.give_back(one.backend)
        elif isinstance(result, Exception):
            one.answer.set_exception(result)
        else:
            one.answer.set_result(result)
        return True

    def _is_gone(self, pid: int) -> bool:
        return self.plain.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None

    def _how_to_empty(self) -> tuple[str, str]:
        """Names of the tables, and statements that leave nothing in them."""
        relations = self.plain.execute(
            "SELECT relkind::text, oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'S') "
            "AND relnamespace IN ('public'::regnamespace, 'sim'::regnamespace) "
            "AND relname NOT IN ('state_transitions', 'schema_migrations', 'worker_types')"
        ).fetchall()
        tables = [name for kind, name in relations if kind == "r"]
        statements = [
            "SET session_replication_role = replica",
            *(f"DELETE FROM {name}" for name in tables),  # noqa: S608
            "RESET session_replication_role",
            *(f"SELECT setval('{name}', 1, false)" for kind, name in relations if kind == "S"),
        ]
        return ", ".join(tables), "; ".join(statements)
