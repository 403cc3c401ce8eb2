"""The sync's claim reads what it claims, whatever the statistics say. Counted in pages and rows, not in time."""

from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection

from pipeline.db.pool import Connection
from pipeline.db.session import session_dsn
from tests.db.plans import explained, looked_at_in_vain
from tests.seed import Chain, add_wallets

WALLETS = 4_000
BATCH = 100


@pytest.fixture(params=["auto", "force_generic_plan", "force_custom_plan"])
async def session(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Connection]:
    """A session as the sync has, under each way of planning."""
    dsn = session_dsn(database, "plans", "pipeline_sync", index_plans=True)
    async with await AsyncConnection.connect(dsn, autocommit=True) as opened:
        await opened.execute(f"SET plan_cache_mode = {request.param}")
        yield opened


@pytest.mark.parametrize("analyzed", ["while nothing was due", "now"])
async def test_claiming_costs_by_the_batch(
    session: Connection, connection: Connection, tron: Chain, analyzed: str
) -> None:
    """After an outage everything is due, and nobody has told the planner."""
    await connection.execute("ALTER TABLE wallet_balances SET (autovacuum_enabled = off)")
    await add_wallets(connection, tron, WALLETS)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
    await connection.execute("VACUUM ANALYZE wallet_balances")
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() - interval '1 second'")
    if analyzed == "now":
        await connection.execute("VACUUM ANALYZE wallet_balances")
    for number in range(7):
        parameters = {"lock": f"test:{number}", "lock_seconds": 120, "batch": BATCH, "chain_id": tron.id}
        plan = await explained(session, "sync/claim", parameters)
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < BATCH * 40, "some 25 pages a balance"
        assert looked_at_in_vain(plan) < BATCH, "of the 8,000 that are due"


async def test_bounding_schedules_costs_a_probe_where_all_is_well(
    session: Connection, connection: Connection, tron: Chain
) -> None:
    """The sync asks every ten seconds whether something is scheduled too far ahead."""
    await add_wallets(connection, tron, WALLETS)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
    await connection.execute("VACUUM ANALYZE wallet_balances")
    for _ in range(7):
        plan = await explained(session, "sync/bound_schedules", {"chain_id": tron.id, "rows": 5_000})
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40
        assert looked_at_in_vain(plan) < 10
