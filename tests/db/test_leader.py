"""Leadership is a session's: it ends with the session, and a session that nobody answers is none."""

import asyncio
import contextlib

import psycopg
import pytest

from pipeline.workers.leader import Leader
from tests.db.worker_kit import PATIENCE
from tests.proxy import Proxy

ROLE = "pipeline_executor"


async def test_one_leads_until_it_closes(database: str) -> None:
    first, second = Leader(database, "confirmations tron", ROLE), Leader(database, "confirmations tron", ROLE)
    assert await first.leads()
    assert await first.leads()
    assert not await second.leads()
    await first.close()
    assert await second.leads()
    await second.close()


async def test_a_silent_connection_ends_the_leadership_on_both_sides(database: str) -> None:
    """A stuck proxy swallows both directions: the leader must learn that it leads no more, and the server that nobody
    is there, or no standby could ever take over."""
    other = Leader(database, "confirmations tron", ROLE)
    async with Proxy(database) as proxy:
        leader = Leader(proxy.dsn, "confirmations tron", ROLE, answer_seconds=0.5, silent_seconds=1.0)
        assert await leader.leads()
        proxy.go_silent()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(leader.leads(), PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while not await other.leads():  # noqa: ASYNC110 - nothing tells a standby but asking
                await asyncio.sleep(0.05)
        proxy.recover()
        assert not await leader.leads()
        await other.close()
        assert await leader.leads()
        with contextlib.suppress(psycopg.Error):
            await leader.close()
