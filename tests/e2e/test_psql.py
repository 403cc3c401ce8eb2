"""People at psql while everything runs: what they write takes the same way as what the sync writes."""

import json
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from pipeline.local.procfile import Phase
from tests.e2e.conftest import environment
from tests.e2e.running import flagpost
from tests.patience import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

USDT = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def working(stand) -> AsyncIterator[None]:
    """All workers run on the stand."""
    await stand.start_workers()
    yield
    stand.fleet.check()
    await stand.fleet.stop(Phase.WORK)


@pytest_asyncio.fixture(loop_scope="module")
async def connection(stand) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(stand.dsn, autocommit=True) as opened:
        yield opened


async def answer(connection, sql, *values, patience=PATIENCE):
    """The first row once the statement gives one. What others commit has no other signal than the row itself."""
    for _ in range(int(patience * 50)):
        row = await (await connection.execute(sql, values)).fetchone()
        if row is not None:
            return row
        await (await connection.execute("SELECT pg_sleep(0.02)")).fetchone()
    raise AssertionError(f"no row within {patience} s: {sql} {values}")


async def deposit(stand, connection, wallet: str, raw: int) -> None:
    """Pay into a wallet, and return once the database has it."""
    await stand.client.send_token(stand.seeded.token, wallet, raw)
    await answer(
        connection, "SELECT 1 FROM user_wallets WHERE address = %s AND on_chain_balance = %s", wallet, raw // USDT
    )


async def paid_to_treasury(stand, wallet: str) -> list[int]:
    return [
        payment.amount
        for payment in await stand.client.audit()
        if payment.sender == wallet and payment.receiver == stand.seeded.treasury
    ]


async def test_a_flag_set_by_hand_fires(stand, connection):
    wallet = stand.seeded.customers[0]
    await deposit(stand, connection, wallet, 150 * USDT)  # below the 200 that raise the flag by themselves
    await connection.execute("UPDATE user_wallets SET needs_consolidation = true WHERE address = %s", [wallet])
    await answer(
        connection,
        "SELECT 1 FROM transfers WHERE from_address = %s AND kind = 'consolidation' AND state = 'final'",
        wallet,
    )
    assert await paid_to_treasury(stand, wallet) == [150 * USDT]


async def test_a_job_typed_in_runs(stand, connection):
    wallet = stand.seeded.customers[1]
    await deposit(stand, connection, wallet, 120 * USDT)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
        " VALUES ('typed-gas', 'gas-topup', 'pending', %s)",
        [wallet],
    )
    await answer(connection, "SELECT 1 FROM job_logs WHERE job_id = 'typed-gas' AND status = 'completed'")
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
        " VALUES ('typed', 'consolidation', 'pending', %s)",
        [wallet],
    )
    await answer(connection, "SELECT 1 FROM job_logs WHERE job_id = 'typed' AND status = 'completed'")
    assert await paid_to_treasury(stand, wallet) == [120 * USDT]
    shown = json.loads(flagpost(["jobs", "show", "typed", "--json"], environment(stand)).stdout)
    assert [attempt["transaction_state"] for attempt in shown["transactions"]] == ["final"]
    assert shown["triggered_by"] == "manual"


@pytest.mark.parametrize(
    ("job_type", "wallet", "complaint"),
    [("gas-top-up", "own", "gas-topup"), ("gas-topup", "T-nobody", "T-nobody"), ("consolidation", None, "wallet")],
)
async def test_a_job_that_cannot_run_is_refused_at_once(stand, connection, job_type, wallet, complaint):
    address = stand.seeded.customers[2] if wallet == "own" else wallet
    with pytest.raises(psycopg.Error) as caught:
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('bad', %s, 'pending', %s)",
            [job_type, address],
        )
    assert complaint in f"{caught.value} {caught.value.diag.message_hint}"


async def test_while_the_system_is_paused_nothing_is_taken_and_afterwards_nothing_is_lost(stand, connection):
    wallet = stand.seeded.customers[3]
    env = environment(stand)
    await deposit(stand, connection, wallet, 130 * USDT)
    assert flagpost(["config", "set", "paused", "true"], env).returncode == 0
    heard = (
        "SELECT coalesce((stats -> 'notifications' ->> 'wallet_flags')::integer, 0) FROM worker_registry"
        " WHERE type = 'consolidation' AND status = 'paused'"
    )
    (before,) = await answer(connection, heard)
    await connection.execute("UPDATE user_wallets SET needs_consolidation = true WHERE address = %s", [wallet])
    # Any change of the configuration makes every process write its counts: the listener heard, and took nothing.
    assert flagpost(["config", "set", "sweep.batch", "21"], env).returncode == 0
    await answer(connection, f"{heard} AND (stats -> 'notifications' ->> 'wallet_flags')::integer > %s", before)
    taken = await connection.execute(
        "SELECT FROM job_logs WHERE wallet_address = %s AND started_at IS NOT NULL", [wallet]
    )
    assert taken.rowcount == 0
    assert flagpost(["config", "set", "paused", "false"], env).returncode == 0
    await answer(
        connection,
        "SELECT 1 FROM transfers WHERE from_address = %s AND kind = 'consolidation' AND state = 'final'",
        wallet,
    )
    assert await paid_to_treasury(stand, wallet) == [130 * USDT]


async def test_an_address_spoilt_by_hand_is_named_and_harms_nobody_else(stand, connection):
    wallet, healthy = stand.seeded.customers[4], stand.seeded.customers[5]
    await connection.execute("UPDATE wallets SET address = 'invalid' WHERE address = %s", [wallet])
    row = await answer(
        connection,
        "SELECT b.last_error FROM wallet_balances b JOIN wallets w ON w.id = b.wallet_id"
        " WHERE w.address = 'invalid' AND b.last_error IS NOT NULL",
    )
    assert "'invalid'" in row[0]
    await deposit(stand, connection, healthy, 250 * USDT)
    await answer(
        connection,
        "SELECT 1 FROM transfers WHERE from_address = %s AND kind = 'consolidation' AND state = 'final'",
        healthy,
    )
    await connection.execute("UPDATE wallets SET address = %s WHERE address = 'invalid'", [wallet])
    await answer(
        connection,
        "SELECT 1 FROM wallet_balances b JOIN wallets w ON w.id = b.wallet_id WHERE w.address = %s"
        " HAVING bool_and(b.last_error IS NULL)",
        wallet,
    )
