"""Jobs of the type sync: typed in by hand, they make the wallet's balances due and end when those were read."""

from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.notifications import Notifications, notifications_of
from tests.db.sessions import rows, value
from tests.seed import TRX, Chain, Wallet, add_wallets, set_balance

TYPED = "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('look', 'sync', 'pending', %s)"
STATE = "SELECT status, error_message, data ->> 'outcome', started_at IS NOT NULL FROM job_logs WHERE job_id = 'look'"


@pytest.fixture
async def wallet(connection: Connection, tron: Chain) -> Wallet:
    (wallet, other) = await add_wallets(connection, tron, 2)
    for one in (wallet, other):
        await set_balance(connection, one, tron.native_id, 9 * TRX)
        await set_balance(connection, one, tron.token_id, 0)
    await connection.execute(
        "UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes', block_number = 1"
    )
    return wallet


@pytest.fixture
async def notifications(connection: Connection, database: str, wallet: Wallet) -> AsyncIterator[Notifications]:
    async with notifications_of(database, connection) as opened:
        yield opened


async def read(connection: Connection, chain: Chain, errors: dict[str, str] | None = None, batch: int = 50) -> int:
    """What the sync does, as the role it takes: claim what is due, store it. ``errors`` by symbol; returns how many."""
    lock = str(uuid4())
    await connection.execute("SET ROLE pipeline_sync")
    try:
        cursor = await connection.execute(
            statement("sync/claim"), {"chain_id": chain.id, "batch": batch, "lock": lock, "lock_seconds": 120}
        )
        claimed = [(row[0], row[5], row[2]) for row in await cursor.fetchall()]
        said = [(errors or {}).get(symbol) for _, symbol, _ in claimed]
        await connection.execute(
            statement("sync/store"),
            {
                "ids": [balance for balance, _, _ in claimed],
                "raws": [None if error else raw for (_, _, raw), error in zip(claimed, said, strict=True)],
                "blocks": [2] * len(claimed),
                "errors": said,
                "lock": lock,
            },
        )
    finally:
        await connection.execute("RESET ROLE")
    return len(claimed)


async def test_it_makes_its_wallet_due_and_ends_with_the_read(
    connection: Connection, tron: Chain, wallet: Wallet, notifications: Notifications
) -> None:
    await connection.execute(TYPED, [wallet.address])
    assert await notifications.on("balance_due") == [{"balances": 2, "wallets": [wallet.address]}]
    assert await rows(connection, STATE) == [("pending", None, None, False)]

    assert await read(connection, tron, batch=1) == 1
    assert await rows(connection, STATE) == [("pending", None, None, False)]
    assert await read(connection, tron) == 1
    assert await rows(connection, STATE) == [("completed", None, "read", True)]
    assert await value(connection, "SELECT (data ->> 'duration_ms')::numeric > 0 FROM job_logs WHERE job_id = 'look'")


async def test_what_cannot_be_read_fails_it_with_the_reason_and_it_can_be_retried(
    connection: Connection, tron: Chain, wallet: Wallet
) -> None:
    await connection.execute(TYPED, [wallet.address])
    assert await read(connection, tron, {"USDT": "no TRC20"}) == 2
    assert await rows(connection, STATE) == [("failed", "USDT: no TRC20", "not read", True)]

    assert await value(connection, "SELECT retry_failed_jobs('sync', 24)") == 1
    assert await read(connection, tron) == 2
    assert (await rows(connection, STATE))[0][0] == "completed"


async def test_a_read_under_way_when_it_comes_does_not_end_it(
    connection: Connection, database: str, tron: Chain, wallet: Wallet
) -> None:
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = %s", [wallet.id])
    cursor = await connection.execute(
        statement("sync/claim"), {"chain_id": tron.id, "batch": 50, "lock": "early", "lock_seconds": 120}
    )
    early = [(row[0], row[2]) for row in await cursor.fetchall()]
    await connection.execute(TYPED, [wallet.address])
    await connection.execute(
        statement("sync/store"),
        {
            "ids": [balance for balance, _ in early],
            "raws": [raw for _, raw in early],
            "blocks": [2] * len(early),
            "errors": [None] * len(early),
            "lock": "early",
        },
    )
    assert (await rows(connection, STATE))[0][0] == "pending"
    await read(connection, tron)
    assert (await rows(connection, STATE))[0][0] == "completed"


async def test_a_switched_off_asset_is_not_waited_for(connection: Connection, tron: Chain, wallet: Wallet) -> None:
    await connection.execute("UPDATE asset_on_chain SET is_active = false WHERE id = %s", [tron.token_id])
    await connection.execute(TYPED, [wallet.address])
    assert await read(connection, tron) == 1
    assert (await rows(connection, STATE))[0][0] == "completed"


async def test_a_cancelled_one_stays_cancelled(connection: Connection, tron: Chain, wallet: Wallet) -> None:
    await connection.execute(TYPED, [wallet.address])
    assert await value(connection, "SELECT cancel_job('look')") is True
    await read(connection, tron)
    assert (await rows(connection, STATE))[0][0] == "cancelled"


async def test_without_a_wallet_it_is_refused(connection: Connection, tron: Chain) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation, match="a sync job needs a wallet_address"):
        await connection.execute("INSERT INTO job_logs (job_type, status) VALUES ('sync', 'pending')")
