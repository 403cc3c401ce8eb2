"""user_wallets under the runbooks' names, and wallet_state for operators."""

from decimal import Decimal

import psycopg
import pytest

from pipeline.db.pool import Connection
from tests.db.money import new_job, new_transfer
from tests.db.notifications import notifications_of
from tests.db.sessions import rows, value
from tests.seed import TRX, USDT, Chain, add_wallets, set_balance

CONTRACT = (
    "id, user_id, address, network, balance, on_chain_balance, trx_balance, needs_gas, needs_consolidation, last_sync,"
    " last_sync_at, created_at, updated_at"
)


async def test_amounts_are_in_human_units(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.native_id, 1_500_001)
    await set_balance(connection, wallet, tron.token_id, 250 * USDT)
    ((*_, network, balance, on_chain, trx, gas, consolidation, synced, synced_at, _, _),) = await rows(
        connection,
        f"SELECT {CONTRACT} FROM user_wallets",  # noqa: S608
    )
    assert (network, balance, on_chain, trx) == ("tron", 250, 250, Decimal("1.500001"))
    assert (gas, consolidation) == (True, True)
    assert synced == synced_at == await value(connection, "SELECT max(last_checked) FROM wallet_balances")


async def test_the_token_is_the_oldest_active_one(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    other = await value(
        connection,
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
        " consolidate_execute_min) VALUES (%s, 'USDC', 'Tusdc', 6, 10, 5) RETURNING id",
        tron.id,
    )
    await set_balance(connection, wallet, tron.token_id, 1 * USDT)
    await set_balance(connection, wallet, other, 2 * USDT)
    assert await value(connection, "SELECT on_chain_balance FROM user_wallets") == 1
    await connection.execute("UPDATE asset_on_chain SET is_active = false WHERE id = %s", [tron.token_id])
    assert await value(connection, "SELECT on_chain_balance FROM user_wallets") == 2


class TestInsert:
    async def test_with_no_more_than_an_address(self, connection: Connection, tron: Chain) -> None:
        inserted = await rows(
            connection,
            "INSERT INTO user_wallets (address) VALUES ('Tnew') RETURNING id, network, needs_gas, created_at",
        )
        ((wallet_id, network, gas, created_at),) = inserted
        assert (network, gas) == ("tron", False)
        assert await rows(connection, "SELECT id, chain_id, derivation_index, created_at FROM wallets") == [
            (wallet_id, tron.id, None, created_at)
        ]
        assert await value(connection, "SELECT count(*) FROM wallet_balances WHERE wallet_id = %s", wallet_id) == 2

    async def test_with_everything(self, connection: Connection, tron: Chain, database: str) -> None:
        user = await value(connection, "INSERT INTO auth.users (email) VALUES ('a@b') RETURNING id")
        async with notifications_of(database, connection) as notifications:
            await connection.execute(
                "INSERT INTO user_wallets (user_id, address, network, on_chain_balance, trx_balance, needs_gas,"
                " needs_consolidation, derivation_index) VALUES (%s, 'Tnew', 'tron', 12.5, 0.000001, true, true, 10)",
                [user],
            )
            assert await notifications.on("wallet_flags") == [
                {"needs_gas": 1, "ready_to_consolidate": 0, "wallets": ["Tnew"]}
            ]
        assert await rows(
            connection, "SELECT user_id, balance, trx_balance, needs_gas, derivation_index FROM user_wallets"
        ) == [(user, Decimal("12.5"), Decimal("0.000001"), True, 10)]

    async def test_an_unknown_network(self, connection: Connection, tron: Chain) -> None:
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match='no network "TRON"') as refused:
            await connection.execute("INSERT INTO user_wallets (address, network) VALUES ('Tnew', 'TRON')")
        assert refused.value.diag.message_hint == "Known networks: tron."

    async def test_an_address_that_is_there(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.execute("INSERT INTO user_wallets (address) VALUES (%s)", [wallet.address])


async def test_update_and_delete_reach_the_wallet(connection: Connection, tron: Chain) -> None:
    first, second = await add_wallets(connection, tron, 2)
    await connection.execute(
        "UPDATE user_wallets SET address = 'Tother', needs_gas = true WHERE address = %s", [first.address]
    )
    assert await rows(connection, "SELECT address, needs_gas FROM wallets WHERE id = %s", first.id) == [
        ("Tother", True)
    ]
    await connection.execute("DELETE FROM user_wallets WHERE id = %s", [second.id])
    assert await value(connection, "SELECT count(*) FROM wallets") == 1


async def test_balances_are_not_written_through_the_view(connection: Connection, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match='cannot update column "trx_balance"'):
        await connection.execute("UPDATE user_wallets SET trx_balance = 5")


async def test_wallet_state(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute("INSERT INTO user_wallets (address) VALUES ('Tforeign')")
    await set_balance(connection, wallet, tron.native_id, TRX // 2)
    await set_balance(connection, wallet, tron.token_id, 250 * USDT)
    await new_transfer(connection, tron, wallet, state="broadcasting")
    await connection.execute("UPDATE job_logs SET awaiting_chain = true")
    await new_job(connection, wallet, "consolidation", "pending")
    state = "SELECT owner, wanted_job, balances, live_jobs, in_flight FROM wallet_state ORDER BY id"
    assert await rows(connection, state) == [
        (
            "ours",
            "gas-topup",
            "0.5 TRX, 250 USDT",
            "gas-topup active (awaiting chain), consolidation pending",
            "gas 5 TRX broadcasting",
        ),
        ("foreign", None, "0 TRX, 0 USDT", None, None),
    ]


async def test_the_rule_is_readable(connection: Connection, tron: Chain) -> None:
    first, second = await add_wallets(connection, tron, 2)
    await set_balance(connection, first, tron.native_id, 0)
    await set_balance(connection, second, tron.token_id, 250 * USDT)
    assert await rows(
        connection, "SELECT wallet_id, needs_gas, needs_consolidation FROM wallet_flag_rule ORDER BY wallet_id"
    ) == [(first.id, True, None), (second.id, None, True)]
