"""A database that logical replication filled goes into service: what it lacks is found by doctor, done by the sweep."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from pipeline.embedded.server import EmbeddedServer
from pipeline.workers.sweep import Sweep
from tests.conftest import TEST_SERVER, temporary_home
from tests.databases import fresh_database
from tests.db.doctor_kit import found
from tests.db.test_sweep import Cycles, often
from tests.db.worker_kit import Script, executor, flag, running
from tests.patience import PATIENCE
from tests.seed import add_wallets, seed_tron

PUBLISHED = ("chains", "asset_on_chain", "wallets", "job_logs")
"""Without balances: who replicates customers' wallets has them elsewhere."""


@pytest.fixture(scope="module")
def template_of_own() -> Iterator[tuple[str, str]]:
    """A server with logical replication, and a migrated database of it without chains."""
    settings = TEST_SERVER | {"wal_level": "logical", "max_wal_senders": "4"}
    with (
        temporary_home() as home,
        EmbeddedServer(home, settings=settings) as server,
        fresh_database(server.dsn, label="template") as dsn,
    ):
        asyncio.run(migrate(dsn))
        with psycopg.connect(dsn) as connection:
            connection.execute("DELETE FROM asset_on_chain")
            connection.execute("DELETE FROM chains")
            name = connection.info.dbname
        yield server.dsn, name


@pytest.fixture
def publisher(template_of_own: tuple[str, str]) -> Iterator[str]:
    with fresh_database(*template_of_own) as dsn:
        yield dsn


@pytest.fixture
def subscriber(template_of_own: tuple[str, str]) -> Iterator[str]:
    with fresh_database(*template_of_own) as dsn:
        yield dsn


@pytest.fixture
async def primary(publisher: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(publisher, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def replica(subscriber: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(subscriber, autocommit=True) as connection:
        yield connection


async def replicate(primary: Connection, replica: Connection, publisher: str) -> None:
    """Copy what is published, and end the replication: the replica is the database from now on."""
    tables = sql.SQL(", ").join(map(sql.Identifier, PUBLISHED))
    await primary.execute(sql.SQL("CREATE PUBLICATION all_of_it FOR TABLE {}").format(tables))
    # On one and the same server a subscription cannot make its slot itself: it would wait for its own transaction.
    await primary.execute("SELECT pg_create_logical_replication_slot('to_replica', 'pgoutput')")
    where = conninfo_to_dict(publisher)
    source = " ".join(f"{name}={where[name]}" for name in ("host", "port", "dbname", "user") if name in where)
    subscribe = "CREATE SUBSCRIPTION here CONNECTION {} PUBLICATION all_of_it"
    subscribe += " WITH (create_slot = false, slot_name = to_replica)"
    await replica.execute(sql.SQL(subscribe).format(sql.Literal(source)))
    async with asyncio.timeout(PATIENCE):
        while True:
            copying = await replica.execute("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'")
            if (await copying.fetchone()) == (0,):
                break
            await replica.execute("SELECT pg_sleep(0.02)")
    await replica.execute("DROP SUBSCRIPTION here")


async def test_a_logical_replica_goes_into_service(
    primary: Connection, replica: Connection, publisher: str, subscriber: str
) -> None:
    tron = await seed_tron(primary)
    wallets = await add_wallets(primary, tron, 5)
    for number, wallet in enumerate(wallets):
        await primary.execute(
            "WITH drawn AS (SELECT nextval('job_logs_seq') AS seq)"
            " INSERT INTO job_logs (seq, job_id, job_type, status, wallet_address)"
            " SELECT seq, 'gas-topup-' || seq, 'gas-topup', %s, %s FROM drawn",
            ["completed" if number else "pending", wallet.address],
        )
    await replicate(primary, replica, publisher)

    before = {finding.check: finding.message for finding in found(subscriber)}
    assert {"wallets.balances", "sequences"} <= before.keys()
    assert "5 wallets have no" in before["wallets.balances"]

    await often(replica)
    cycles, script = Cycles(), Script()
    async with running(Sweep(observer=cycles), subscriber), running(executor(script), subscriber):
        await flag(replica, *[wallet.id for wallet in wallets])
        cycle = await cycles.until(lambda cycle: bool(cycle.healed))
        await script.until_written(5)
    assert cycle.healed == {"balances_created": 10}
    assert {job.wallet_id for job in script.started} == {wallet.id for wallet in wallets}
    assert len({job.job_id for job in script.started}) == len(script.started)
    assert found(subscriber, "wallets.balances", "wallets.flags", "sequences", "queue.wallets", "queue.flags") == []
    (more,) = await add_wallets(replica, tron, 1)
    assert more.id > max(wallet.id for wallet in wallets)
