"""What tests share: a Postgres server for the session, a fresh migrated database for each test, and a home.

The server is the embedded one. FLAGPOST_TEST_DATABASE=container takes one in Docker instead, and
FLAGPOST_TEST_DATABASE=<dsn of a superuser> any other server; databases are created there and dropped again.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from pipeline.embedded.cluster import socket_directory
from pipeline.embedded.server import EmbeddedServer
from tests.databases import fresh_database
from tests.seed import Chain, seed_tron

CHOICE = "FLAGPOST_TEST_DATABASE"
WALKS = "FLAGPOST_WALKS"
"""How many random walks the models of the queue and of the payments take."""
IMAGE = "postgres:17-alpine"
TEST_SERVER = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "checkpoint_timeout": "1h",
}
"""A crash of this server loses nothing that anybody wants."""

FIRST = ("e2e", "chaos")
"""Directories whose tests start real processes."""

MEMORY = Path("/dev/shm")  # noqa: S108 - only a parent of directories that mkdtemp makes
ENOUGH_MEMORY = 2 * 1024**3
"""Bytes free in ``MEMORY``; containers are often given 64 MB there."""


def pytest_configure() -> None:
    """No variable of the developer's own set-up reaches a test."""
    os.environ["FLAGPOST_ENV_FILE"] = os.devnull
    for name in list(os.environ):
        meant_for_tests = name in (CHOICE, WALKS, "FLAGPOST_ENV_FILE") or name.startswith("FLAGPOST_CHAOS")
        if name == "DATABASE_URL" or (name.startswith("FLAGPOST_") and not meant_for_tests):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs long and mostly waits comes first: in parallel, nothing long is then begun when the rest is done."""
    items.sort(key=lambda item: FIRST.index(room) if (room := item.path.parent.name) in FIRST else len(FIRST))


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """A FLAGPOST_HOME that the account of the embedded server can reach, unlike pytest's own directories.

    In memory where there is room: a database a test is 500 files to create and to delete each time, and on a disk
    that takes longer than the tests.
    """
    path = Path(tempfile.mkdtemp(prefix="flagpost-test-", dir=_fast_directory()))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(socket_directory(path), ignore_errors=True)
        shutil.rmtree(path)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home of the test's own."""
    with temporary_home() as path:
        yield path


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A superuser's DSN of the server under test."""
    choice = os.environ.get(CHOICE, "embedded")
    if choice == "embedded":
        with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER) as server:
            yield server.dsn
    elif choice == "container":
        with _container() as dsn:
            yield dsn
    else:
        yield choice


@pytest.fixture(scope="session")
def template(server_dsn: str) -> Iterator[str]:
    """The name of a migrated database that the tests' databases are copied from; each test brings its own chain."""
    with fresh_database(server_dsn, label="template") as dsn:
        asyncio.run(migrate(dsn))
        with psycopg.connect(dsn) as connection:
            connection.execute("DELETE FROM asset_on_chain")
            connection.execute("DELETE FROM chains")
            name = connection.info.dbname
        yield name


@pytest.fixture
def empty_database(server_dsn: str) -> Iterator[str]:
    """The DSN of a database that was never migrated."""
    with fresh_database(server_dsn) as dsn:
        yield dsn


@pytest.fixture
def database(server_dsn: str, template: str) -> Iterator[str]:
    """The DSN of a fresh, migrated database."""
    with fresh_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    """A connection to ``database`` as the superuser, in autocommit."""
    async with await AsyncConnection.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def tron(connection: Connection) -> Chain:
    """The chain with TRX and USDT, without wallets (``add_wallets``)."""
    return await seed_tron(connection)


def _fast_directory() -> Path | None:
    """None: where temporary files go anyway."""
    if not os.access(MEMORY, os.W_OK | os.X_OK) or shutil.disk_usage(MEMORY).free < ENOUGH_MEMORY:
        return None
    return MEMORY


@contextlib.contextmanager
def _container() -> Iterator[str]:
    import docker
    from testcontainers.community.postgres import PostgresContainer

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"{CHOICE}=container, but no Docker engine answers: {error}")
    with PostgresContainer(IMAGE, username="postgres", driver=None) as container:
        yield container.get_connection_url()
