"""Rows that replication or a restore brings while all runs: no trigger fired for them, and no sequence knows them."""

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from pipeline.local.procfile import Phase
from tests.e2e.conftest import environment
from tests.e2e.running import flagpost
from tests.e2e.test_psql import USDT, answer, deposit, paid_to_treasury

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEQUENCES = (
    "job_logs_seq",
    "bundles_id_seq",
    "transfers_id_seq",
    "chain_transactions_id_seq",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def working(stand):
    """All workers run on the stand, and none of them ends."""
    await stand.start_workers()
    yield
    stand.fleet.check()
    await stand.fleet.stop(Phase.WORK)


@pytest_asyncio.fixture(loop_scope="module")
async def connection(stand):
    async with await AsyncConnection.connect(stand.dsn, autocommit=True) as opened:
        yield opened


async def test_tokens_of_a_wallet_without_balances_reach_the_treasury(stand, connection):
    """Before, such a wallet was never read: 3,539 USDT stayed for ever, and doctor said that all is well."""
    wallet = stand.seeded.customers[0]
    async with await AsyncConnection.connect(stand.dsn, autocommit=True) as loading:
        await loading.execute("SET session_replication_role = replica")
        await loading.execute(
            "DELETE FROM wallet_balances WHERE wallet_id = (SELECT id FROM wallets WHERE address = %s)", [wallet]
        )
    await stand.client.send_token(stand.seeded.token, wallet, 3_539 * USDT)
    doctor = flagpost(["doctor"], environment(stand))
    assert doctor.returncode == 1
    assert f"1 wallets have no USDT balance and are never read: {wallet}" in doctor.stdout
    assert flagpost(["config", "set", "sweep.interval_seconds", "1"], environment(stand)).returncode == 0
    await answer(
        connection,
        "SELECT 1 FROM transfers WHERE from_address = %s AND kind = 'consolidation' AND state = 'final'",
        wallet,
    )
    assert await paid_to_treasury(stand, wallet) == [3_539 * USDT]
    await answer(connection, "SELECT 1 FROM job_logs WHERE data -> 'healed' ->> 'balances_created' = '2'")


async def test_payments_go_on_while_sequences_are_behind(stand, connection):
    """As after a failover to a logical replica: nobody ends, nothing is lost, nothing is paid twice."""
    for wallet in stand.seeded.customers[1:4]:
        with psycopg.connect(stand.dsn, autocommit=True) as restored:
            for name in SEQUENCES:
                restored.execute("SELECT setval(%s, 1, false)", [name])
        await deposit(stand, connection, wallet, 300 * USDT)
        await answer(
            connection,
            "SELECT 1 FROM transfers WHERE from_address = %s AND kind = 'consolidation' AND state = 'final'",
            wallet,
        )
        assert await paid_to_treasury(stand, wallet) == [300 * USDT]
    await answer(
        connection, "SELECT 1 WHERE NOT EXISTS (SELECT FROM job_logs WHERE status IN ('pending', 'retrying', 'active'))"
    )
    tried = await connection.execute("SELECT job_id, status, error_message FROM job_logs WHERE retry_count > 0")
    assert await tried.fetchall() == [], "no attempt was used up"
    await answer(connection, "SELECT 1 WHERE NOT EXISTS (SELECT FROM sequences_behind())")
