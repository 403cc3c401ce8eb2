"""Balances: two forms of one amount, locks and due times that belong together, one for every wallet and asset."""

import asyncio
from decimal import Decimal
from fractions import Fraction

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.seed import TRX, Chain, add_wallets, set_balance

BOTH = "SELECT on_chain_balance_raw, on_chain_balance_human FROM wallet_balances WHERE id = %s"


async def new_balance(connection: Connection, tron: Chain, decimals: int = 6) -> int:
    """The balance of a fresh wallet in a token with so many decimals."""
    asset = await value(
        connection,
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
        " consolidate_execute_min) VALUES (%s, 'T', 'T' || %s, %s, 10, 5) RETURNING id",
        tron.id,
        str(decimals),
        decimals,
    )
    (wallet,) = await add_wallets(connection, tron, 1)
    return await value(
        connection, "SELECT id FROM wallet_balances WHERE wallet_id = %s AND asset_on_chain_id = %s", wallet.id, asset
    )


@pytest.mark.parametrize("decimals", [0, 1, 6, 8, 18, 19, 36])
async def test_raw_and_human_are_exactly_the_same(connection: Connection, tron: Chain, decimals: int) -> None:
    balance = await new_balance(connection, tron, decimals)
    for raw in (0, 1, 10**decimals, 123456789012345678901234567890, 10**78 - 1):
        await connection.execute(
            "UPDATE wallet_balances SET on_chain_balance_raw = %s WHERE id = %s", [str(raw), balance]
        )
        ((stored, human),) = await rows(connection, BOTH, balance)
        assert (stored, Fraction(human) * 10**decimals) == (str(raw), raw)


async def test_who_writes_human_alone_moves_raw(connection: Connection, tron: Chain) -> None:
    balance = await new_balance(connection, tron)
    await connection.execute("UPDATE wallet_balances SET on_chain_balance_human = 12.5 WHERE id = %s", [balance])
    assert await rows(connection, BOTH, balance) == [("12500000", Decimal("12.5"))]
    await connection.execute(
        "UPDATE wallet_balances SET on_chain_balance_raw = '3', on_chain_balance_human = 99 WHERE id = %s", [balance]
    )
    assert await rows(connection, BOTH, balance) == [("3", Decimal("0.000003"))]


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("on_chain_balance_raw", "-1"),
        ("on_chain_balance_raw", "1.5"),
        ("on_chain_balance_raw", "007"),
        ("on_chain_balance_raw", "1e3"),
        ("on_chain_balance_raw", " 1"),
        ("on_chain_balance_raw", "NaN"),
        ("on_chain_balance_raw", "Infinity"),
        ("on_chain_balance_raw", "1" + "0" * 78),
        ("on_chain_balance_human", "-0.5"),
        ("on_chain_balance_human", "0.0000001"),
    ],
)
async def test_what_is_no_amount_is_refused_by_name(connection: Connection, tron: Chain, column: str, bad: str) -> None:
    balance = await new_balance(connection, tron)
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        await connection.execute(f"UPDATE wallet_balances SET {column} = %s WHERE id = %s", [bad, balance])  # noqa: S608
    assert refused.value.diag.constraint_name == "balance_is_a_whole_number_of_raw_units"


async def test_changed_at_moves_with_the_amount_only(connection: Connection, tron: Chain) -> None:
    balance = await new_balance(connection, tron)
    query = "SELECT changed_at FROM wallet_balances WHERE id = %s"
    before = await value(connection, query, balance)
    await connection.execute(
        "UPDATE wallet_balances SET last_checked = now(), on_chain_balance_raw = '0' WHERE id = %s", [balance]
    )
    assert await value(connection, query, balance) == before
    await connection.execute("UPDATE wallet_balances SET on_chain_balance_raw = '1' WHERE id = %s", [balance])
    assert await value(connection, query, balance) > before


async def test_updated_at_is_kept_on_every_table_that_has_it(connection: Connection, tron: Chain) -> None:
    tables = await rows(
        connection,
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'updated_at'"
        " AND table_name IN (SELECT relname FROM pg_class WHERE relkind = 'r')",
    )
    triggers = await rows(
        connection,
        "SELECT tgrelid::regclass::text FROM pg_trigger"
        " WHERE tgname = 'updated_at' AND NOT tgisinternal AND tgenabled = 'O'",
    )
    by_others = [("wallets",), ("signing_requests",), ("job_logs",)]  # triggers/flag_times, money_immutable, job_rows
    assert sorted(tables) == sorted([*triggers, *by_others])
    before = await value(connection, "SELECT updated_at FROM chains")
    await connection.execute("UPDATE chains SET block_time = '4 seconds'")
    assert await value(connection, "SELECT updated_at FROM chains") > before

    await add_wallets(connection, tron, 1)
    for change in ("needs_gas = true", "user_id = NULL", "needs_gas = true"):
        before = await value(connection, "SELECT updated_at FROM wallets")
        await connection.execute(f"UPDATE wallets SET {change}")  # noqa: S608
        assert await value(connection, "SELECT updated_at FROM wallets") > before
    await connection.execute("UPDATE wallets SET updated_at = '2001-01-01'")
    assert (await value(connection, "SELECT updated_at FROM wallets")).year == 2001


async def test_every_wallet_has_every_active_asset(connection: Connection, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    count = (
        "SELECT count(*) FROM wallet_balances WHERE recheck AND next_check_at <= now() AND on_chain_balance_raw = '0'"
    )
    assert await value(connection, count) == 4
    asset = await value(
        connection,
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
        " consolidate_execute_min, is_active) VALUES (%s, 'USDC', 'Tusdc', 6, 10, 5, false) RETURNING id",
        tron.id,
    )
    await add_wallets(connection, tron, 1)
    assert await value(connection, count) == 6
    await connection.execute("UPDATE asset_on_chain SET is_active = true WHERE id = %s", [asset])
    assert await value(connection, count) == 9
    await connection.execute("UPDATE asset_on_chain SET symbol = 'USDC.e' WHERE id = %s", [asset])
    assert await value(connection, count) == 9


async def test_a_lock_set_by_hand_ends_when_it_says(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '1 hour'")
    await connection.execute(
        "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'me',"
        " locked_until = now() - interval '1 minute'"
        " WHERE wallet_id = %s",
        [wallet.id],
    )
    due = "SELECT count(*) FROM wallet_balances WHERE next_check_at <= now()"
    assert await value(connection, due) == 2
    assert await value(connection, "SELECT cleanup_stuck_jobs(10)") == 0  # jobs; the balances come free all the same
    assert await value(connection, "SELECT count(*) FROM wallet_balances WHERE processing_status = 'idle'") == 2


async def test_a_live_lock_is_left_alone(connection: Connection, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    await connection.execute(
        statement("sync/claim"), {"batch": 100, "lock": "sync:1", "lock_seconds": 120.0, "chain_id": tron.id}
    )
    await connection.execute("SELECT cleanup_stuck_jobs(0)")
    assert await value(connection, "SELECT count(*) FROM wallet_balances WHERE locked_by = 'sync:1'") == 2


@pytest.mark.parametrize("change", ["address = 'TZ4UXDV5ZhNW7fb2AMSbgfAEZ7hWsnYS2g'", "derivation_index = 77"])
async def test_a_read_of_the_wallet_as_it_was_cannot_be_stored(
    connection: Connection, tron: Chain, change: str
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    claim = {"batch": 100, "lock": "sync:1", "lock_seconds": 120.0, "chain_id": tron.id}
    cursor = await connection.execute(statement("sync/claim"), claim)
    claimed = [row[0] for row in await cursor.fetchall()]
    await connection.execute(f"UPDATE wallets SET {change} WHERE id = %s", [wallet.id])  # noqa: S608
    stored = await connection.execute(
        statement("sync/store"),
        {"ids": claimed, "raws": ["5", "5"], "blocks": [1, 1], "errors": [None, None], "lock": "sync:1"},
    )
    assert await stored.fetchall() == []
    cursor = await connection.execute(statement("sync/claim"), claim | {"lock": "sync:2"})
    assert sorted(row[0] for row in await cursor.fetchall()) == sorted(claimed)


async def test_make_balances_due_waits_for_the_writer(connection: Connection, tron: Chain, database: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    async with second_session(database) as other:
        async with connection.transaction():
            await set_balance(connection, wallet, tron.native_id, TRX)
            asking = asyncio.create_task(other.execute("SELECT make_balances_due(ARRAY[%s]::uuid[])", [wallet.id]))
            await until_blocked(connection, other)
        assert await (await asking).fetchall() == [(2,)]
    assert await rows(connection, "SELECT DISTINCT recheck, next_check_at <= now() FROM wallet_balances") == [
        (True, True)
    ]


class TestAssetIdentity:
    async def test_a_mistake_can_be_corrected_before_money_was_counted(
        self, connection: Connection, tron: Chain
    ) -> None:
        balance = await new_balance(connection, tron, 18)
        await connection.execute(
            "UPDATE asset_on_chain SET decimals = 6, contract_address = 'Tright' WHERE decimals = 18"
        )
        await connection.execute("UPDATE wallet_balances SET on_chain_balance_raw = '1500000' WHERE id = %s", [balance])
        assert await rows(connection, BOTH, balance) == [("1500000", Decimal("1.5"))]

    @pytest.mark.parametrize("change", ["decimals = 5", "contract_address = 'Tother'"])
    async def test_but_not_afterwards(self, connection: Connection, tron: Chain, change: str) -> None:
        balance = await new_balance(connection, tron, 18)
        await connection.execute("UPDATE wallet_balances SET on_chain_balance_raw = '1' WHERE id = %s", [balance])
        with pytest.raises(psycopg.DatabaseError, match="cannot change any more") as refused:
            await connection.execute(f"UPDATE asset_on_chain SET {change} WHERE decimals = 18")  # noqa: S608
        assert refused.value.sqlstate == "FP004"
        await connection.execute(
            "UPDATE asset_on_chain SET symbol = 'X', consolidate_flag_above = 20 WHERE decimals = 18"
        )


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("gas_flag_below = gas_execute_below - 1", "gas_is_executed_only_where_it_is_flagged"),
        ("gas_execute_below = 2, gas_amount = 1, fee_reserve = 1", "a_topup_lifts_the_wallet_over_execute_below"),
        ("gas_max_per_topup = gas_amount - 1", "a_topup_fits_its_own_limit"),
        ("gas_max_per_wallet_day = gas_max_per_day + 1", "gas_limits_grow"),
        ("gas_amount = 5000000.5", "raw_amount_is_whole"),
        ("gas_flag_below = -1", "raw_amount_is_not_negative"),
    ],
)
async def test_thresholds_that_contradict_are_refused_by_name(
    connection: Connection, tron: Chain, change: str, constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        await connection.execute(f"UPDATE chains SET {change}")  # noqa: S608
    assert refused.value.diag.constraint_name == constraint
