"""A Postgres server of our own: a child of this process that never outlives it.

It listens on a Unix socket only, which nobody but its account and root may open, so it needs no password.

States: absent → (initdb) → stopped → (start) → running → (stop, or our death) → stopped. The lock file, held by whoever
supervises, decides between two starts; a postmaster found without a supervisor is one that is just dying, or an orphan.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Self

import psycopg

from pipeline.db.errors import AlreadyRunning, EmbeddedServerError
from pipeline.db.session import session_dsn
from pipeline.db.statements import statement
from pipeline.embedded.binaries import ServerUser, server_binaries
from pipeline.embedded.cluster import (
    PORT,
    check_version,
    clear_leftovers,
    embedded_dsn,
    initialize,
    make_private,
    postmaster_lines,
    prepare_root,
    socket_directory,
)

SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "jit": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%a ",
    "cluster_name": "flagpost",
    "timezone": "UTC",
}
READY_WITHIN = 60.0
"""Seconds; recovery after a crash replays up to ``max_wal_size``."""
STOPPED_WITHIN = 10.0
LARGEST_LOG = 10 * 1024 * 1024
PR_SET_PDEATHSIG = 1


class EmbeddedServer:
    """The server of one home. ``with EmbeddedServer(home) as server: … server.dsn``."""

    def __init__(self, home: Path, *, settings: Mapping[str, str] | None = None, watchdog: bool | None = None) -> None:
        """``settings``: more of postgresql.conf. ``watchdog``: see ``_watch_by_pipe``; None where it is needed."""
        self.home = home.absolute()
        self.dsn = embedded_dsn(self.home)
        self._settings = dict(SERVER_SETTINGS) | dict(settings or {})
        self._by_pipe = sys.platform != "linux" if watchdog is None else watchdog
        self._sockets = socket_directory(self.home)
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the postmaster. Raises EmbeddedServerError when it was not started here."""
        if self._process is None:
            raise EmbeddedServerError("The embedded server was not started by this process")
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """What Postgres had to say."""
        return self.home / "postgres" / "server.log"

    def start(self) -> None:
        """Prepare the data directory if need be, start, and return once the server takes connections.

        Raises AlreadyRunning if another process serves this home, EmbeddedServerError for everything else.
        """
        if threading.current_thread() is not threading.main_thread():
            # The parent-death signal is sent when the *thread* that forked ends.
            raise EmbeddedServerError("The embedded server has to be started from the main thread")
        self._acquire()
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            account, root = prepare_root(self.home)
            data = root / "data"
            binaries = server_binaries(account)
            if not (data / "PG_VERSION").exists():
                initialize(binaries, data, account, sync=self._settings.get("fsync") != "off")
            check_version(binaries, data, account)
            make_private(self._sockets, account)
            clear_leftovers(data, self._sockets)
            self._launch(binaries, data, account)
            self._wait_until_ready(data)
            self._ensure_database()
            undo.pop_all()

    def wait(self) -> int:
        """Block until the server has ended, by whatever cause; its exit status."""
        if self._process is None:
            raise EmbeddedServerError("The embedded server was not started by this process")
        return self._process.wait()

    def stop(self) -> None:
        """Disconnect every client, write a checkpoint, end. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(how)
                try:
                    process.wait(STOPPED_WITHIN)
                except subprocess.TimeoutExpired:
                    continue
                break
            with contextlib.suppress(OSError):  # not empty: then it is not ours alone
                self._sockets.rmdir()
        if self._watchdog is not None:
            self._watchdog.communicate(b"stopped\n")
            self._watchdog = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of the server's log, for error messages."""
        try:
            return "\n".join(self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _acquire(self) -> None:
        """Become the one supervisor of this home, for as long as this process lives."""
        root = self.home / "postgres"
        self.home.mkdir(parents=True, exist_ok=True)
        if not root.is_symlink():
            root.mkdir(mode=0o755, exist_ok=True)
        lock = (self.home / "postgres.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise AlreadyRunning(
                f"The embedded server of {self.home} is already run by process {holder}; it can be used as it is "
                f"(flagpost db url), or stopped by stopping that process"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _launch(self, binaries: Path, data: Path, account: ServerUser | None) -> None:
        options = self._settings | {"unix_socket_directories": str(self._sockets), "port": str(PORT)}
        command = [str(binaries / "postgres"), "-D", str(data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        if self.log_file.exists() and self.log_file.stat().st_size > LARGEST_LOG:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary, no shell
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                umask=0o077,
                # Its own group: Ctrl-C in the terminal reaches us, and we stop it after our own work.
                process_group=0,
                preexec_fn=None if self._by_pipe else _die_with_parent(os.getpid()),  # noqa: PLW1509
            )
        if self._by_pipe:
            self._watchdog = _watch_by_pipe(self._process.pid)

    def _wait_until_ready(self, data: Path) -> None:
        """The server writes its state to line 8 of postmaster.pid."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise EmbeddedServerError(
                    f"The embedded server ended at once (status {self._process.returncode}); {self.log_file} says:\n"
                    f"{self.log_tail()}"
                )
            lines = postmaster_lines(data)
            if len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].startswith("ready"):
                return
            time.sleep(0.005)
        raise EmbeddedServerError(
            f"The embedded server took no connections within {READY_WITHIN:.0f} s; {self.log_file} says:\n"
            f"{self.log_tail()}"
        )

    def _ensure_database(self) -> None:
        with psycopg.connect(
            session_dsn(embedded_dsn(self.home, "postgres"), "db start", statement_timeout=None), autocommit=True
        ) as connection:
            if connection.execute(statement("embedded/database_exists")).fetchone() is None:
                connection.execute(statement("embedded/create_database"))


def _die_with_parent(parent: int) -> Callable[[], None]:
    """For the child, after its change of user (which would clear it): SIGQUIT once we are gone."""
    libc = ctypes.CDLL(None, use_errno=True)

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != parent:  # we died before it was in place
            os._exit(1)

    return arrange


def _watch_by_pipe(postmaster: int) -> subprocess.Popen[bytes]:
    """Where there is no parent-death signal: a shell that waits on a pipe from us. Its end means our end."""
    return subprocess.Popen(  # noqa: S603 - a constant script, one number
        ["/bin/sh", "-c", 'read stopped || kill -QUIT "$1"', "sh", str(postmaster)],
        stdin=subprocess.PIPE,
        process_group=0,
    )
