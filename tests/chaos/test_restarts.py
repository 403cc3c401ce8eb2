"""The ground gives way: Postgres restarts in the middle, the network stands still past every expiration."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipeline.db.migrate import migrate
from pipeline.embedded.server import EmbeddedServer
from tests.chaos.fleet import Zygote
from tests.chaos.trial import Plan, Trial, run_trial
from tests.chaos.world import LIFETIME_SECONDS
from tests.conftest import TEST_SERVER, temporary_home

WAY = ["requested", "signed", "broadcasting", "included", "final"]


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server of the test's own, to be restarted."""
    with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER) as started:
        yield started


@pytest.mark.parametrize("when", WAY)
async def test_postgres_restarts_in_the_middle(server: EmbeddedServer, zygote: Zygote, home: Path, when: str) -> None:
    """At once, as ``pg_ctl restart -m immediate`` does it, as soon as the first payment has got so far."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE template_for_restarts")
    dsn = make_conninfo(server.dsn, dbname="template_for_restarts")
    await migrate(dsn)
    with psycopg.connect(dsn) as template:
        template.execute("DELETE FROM asset_on_chain")
        template.execute("DELETE FROM chains")
    reached = ", ".join(f"'{state}'" for state in WAY[WAY.index(when) :])

    async def restart(trial: Trial) -> None:
        await trial.until(f"SELECT FROM transfers WHERE state IN ({reached})")
        os.kill(server.pid, signal.SIGQUIT)
        server.wait()
        server.stop()
        server.start()

    plan = Plan(f"restart at {when}", scenario=restart)
    await run_trial(plan, server.dsn, "template_for_restarts", zygote, home)


async def test_the_clock_stops_past_the_expiration(server_dsn: str, template: str, zygote: Zygote, home: Path) -> None:
    """No block is made until everything has expired. Then it is proved dead and signed anew, once."""

    async def stand_still(trial: Trial) -> None:
        await trial.world.devnet.pause()
        await trial.until("SELECT FROM chain_transactions WHERE last_result IS NOT NULL")
        await trial.world.devnet.advance(LIFETIME_SECONDS + 20)
        await trial.world.devnet.resume()
        await trial.until("SELECT FROM chain_transactions WHERE attempt = 2")
        attempts = await trial.world.rows("SELECT attempt FROM chain_transactions ORDER BY id")
        assert [row["attempt"] for row in attempts] == [1, 2]

    await run_trial(Plan("clock stopped", scenario=stand_still), server_dsn, template, zygote, home)
