"""The server that everything runs against: the embedded one, as durable as in production."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pipeline.db.dsn import as_url
from pipeline.embedded.cluster import socket_directory
from pipeline.embedded.server import EmbeddedServer

SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "maintenance_work_mem": "512MB",
    "track_io_timing": "off",
}
"""Durable; checkpoints come between the rounds, when they hit nobody."""


class Server:
    """A running server with databases for the contestants."""

    def __init__(self, embedded: EmbeddedServer) -> None:
        self._embedded = embedded
        self.dsn = embedded.dsn

    def new_database(self, name: str) -> str:
        """The DSN, as a URL that every driver reads, of a new and empty database."""
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return as_url(make_conninfo(self.dsn, dbname=name))

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is connected."""
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def cpu_seconds(self) -> float:
        """User and system time of the server so far: of its live processes, and of those it has outlived."""
        postmaster = psutil.Process(self._embedded.pid)
        times = postmaster.cpu_times()
        spent = float(sum(times[:4]))  # user, system, and both of the children that have ended
        for child in postmaster.children():
            try:
                spent += sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue  # counted by the postmaster from now on
        return spent

    def version(self) -> str:
        """Of Postgres."""
        with psycopg.connect(self.dsn) as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
        return str(version)


@contextmanager
def server(settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """A server in a directory that its account can reach; gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="flagpost-bench-"))
    home.chmod(0o755)
    try:
        with EmbeddedServer(home, settings=settings) as embedded:
            yield Server(embedded)
    finally:
        shutil.rmtree(socket_directory(home), ignore_errors=True)
        shutil.rmtree(home)
