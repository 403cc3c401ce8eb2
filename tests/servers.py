"""Postgres servers of a test's own that do what the embedded one never does: follow another, be promoted, have a wrong
clock."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg

from pipeline.embedded.binaries import run_as, server_binaries, server_user
from pipeline.embedded.cluster import initialize
from tests.patience import PATIENCE

PORT = 5432
"""Only names the socket file."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "timezone": "UTC",
}
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("/nowhere/libfaketime.so.1"))
"""Debian's package libfaketime."""


class Server:
    """``with Server(directory) as server: … server.dsn``. Started from a thread that outlives it."""

    def __init__(self, root: Path, *, settings: Mapping[str, str] | None = None, clock: bool = False) -> None:
        """``clock``: the server's can be set (``set_clock``)."""
        self._account = server_user(root)
        self._binaries = server_binaries(self._account)
        self._root = root / "server"
        self._data = self._root / "data"
        self._settings = SETTINGS | dict(settings or {})
        self._offset = self._root / "clock" if clock else None
        self._process: subprocess.Popen[bytes] | None = None
        self._root.mkdir(mode=0o700, parents=True)
        if self._account is not None:
            os.chown(self._root, self._account.uid, self._account.gid)

    def __enter__(self) -> Self:
        if not self._data.exists():
            initialize(self._binaries, self._data, self._account, sync=False)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)

    @property
    def dsn(self) -> str:
        """The superuser's."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._root), safe='')}&port={PORT}"

    def start(self) -> None:
        """Return once it takes connections."""
        options = self._settings | {"unix_socket_directories": str(self._root), "port": str(PORT)}
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        if self._offset is not None:
            self.set_clock("+0")
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._offset),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
                umask=0o077,
                process_group=0,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    said = (self._root / "log").read_text(errors="replace")[-3000:]
                    raise AssertionError(f"the server did not start: {error}\n{said}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: as ``pg_ctl stop -m fast``; SIGQUIT: at once."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
            process.wait(PATIENCE)

    @contextlib.contextmanager
    def standby(self, root: Path) -> Iterator["Server"]:
        """A server that follows this one, and takes no writes until it is promoted. From now on this one's commits wait
        for it."""
        follower = Server(root, settings=self._settings)
        result = run_as(
            follower._account,
            follower._binaries / "pg_basebackup",
            f"--host={self._root}",
            f"--port={PORT}",
            "--username=postgres",
            f"--pgdata={follower._data}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        assert result.returncode == 0, result.stderr
        with follower:
            with psycopg.connect(self.dsn, autocommit=True) as admin:
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.execute("SELECT pg_reload_conf()")
            yield follower

    def promote(self) -> None:
        """Return once it takes writes."""
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            (promoted,) = admin.execute("SELECT pg_promote()").fetchone() or (False,)
            assert promoted

    def set_clock(self, offset: str) -> None:
        """How far the server's clock is off: ``+400d``, ``-3h``, ``+0``. Its processes see it within a second."""
        assert self._offset is not None, "Server(clock=True)"
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{offset}\n", encoding="ascii")
        fresh.chmod(0o644)
        fresh.replace(self._offset)
