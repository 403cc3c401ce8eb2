"""PgBouncer in transaction mode: start-up settings do not get through it, a session is another's a moment later."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pipeline.db.errors import WrongSession
from pipeline.db.pool import pool_of
from tests.chaos.pooler import Pooler, unavailable
from tests.e2e.running import FLAGPOST

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


@pytest.fixture
async def pooled(database: str, home: Path) -> AsyncIterator[str]:
    """The database's owner by way of the pooler, which drops what a session says of itself."""
    if conninfo_to_dict(database).get("password"):
        pytest.skip("the pooler of the tests asks for no password")
    user = str(conninfo_to_dict(database)["user"])
    async with Pooler(database, [user], home / "pooler") as pooler:
        yield pooler.dsn(user)


async def flagpost(dsn: str, *arguments: str) -> tuple[int, str]:
    """Exit code, and what a command said, of somebody who does not say that there is a pooler."""
    process = await asyncio.create_subprocess_exec(
        FLAGPOST,
        *arguments,
        env={**os.environ, "DATABASE_URL": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_pooler_that_nobody_spoke_of_is_noticed_and_what_the_login_lacks_is_named(
    pooled: str, database: str
) -> None:
    code, said = await flagpost(pooled, "jobs", "list")
    assert code == 1
    assert "search_path is" in said
    cure = said[said.index("ALTER ROLE") :].split(";")[0]
    assert cure.endswith("SET search_path = public, pg_temp")
    async with pool_of(pooled, "sync", min_size=0, max_size=1) as pool:
        with pytest.raises(WrongSession, match="search_path is"):
            await pool._connect()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(cure.replace("\n", " "))  # type: ignore[arg-type]
        # What has begun keeps what it began with.
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            assert await flagpost(pooled, "jobs", "list") == (0, "no job matches\n")
        finally:
            owner.execute(f'ALTER ROLE CURRENT_USER IN DATABASE "{owner.info.dbname}" RESET ALL')  # type: ignore[arg-type]


async def test_a_migration_through_a_pooler_needs_nothing_of_the_login(pooled: str) -> None:
    """All of it is one transaction, which has its settings for itself."""
    code, said = await flagpost(pooled, "migrate")
    assert code == 0, said
    assert "schema version" in said
