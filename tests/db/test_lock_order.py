"""Balances before wallets, each in the order of id: the sync, settlement and finished jobs meet on the same rows and
never deadlock."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.sessions import rows
from tests.seed import TRX, USDT, Chain, add_wallets, set_balance

ROUNDS = 120
Work = Callable[[Connection, random.Random, str], Awaitable[Any]]


async def test_syncs_settlements_and_finished_jobs_do_not_deadlock(
    connection: Connection, database: str, tron: Chain
) -> None:
    wallets = [wallet.id for wallet in await add_wallets(connection, tron, 100)]
    await connection.execute("UPDATE chains SET sync_interval = '1 millisecond'")
    heights = itertools.count(10)

    async def sync(session: Connection, chance: random.Random, lock: str) -> None:
        due = await session.execute(
            statement("sync/claim"), {"lock": lock, "lock_seconds": 100, "batch": 50, "chain_id": tron.id}
        )
        ids = [row[0] for row in await due.fetchall()]
        chance.shuffle(ids)  # as a plan that reads the rows in another order would
        raws = [str(chance.choice([0, 3 * TRX, 300 * USDT, 500 * USDT])) for _ in ids]
        blocks = [next(heights)] * len(ids)
        await session.execute(
            statement("sync/store"),
            {"lock": lock, "ids": ids, "raws": raws, "blocks": blocks, "errors": [None] * len(ids)},
        )

    async def settle(session: Connection, chance: random.Random, lock: str) -> None:
        some = chance.sample(wallets, 10)
        async with session.transaction():
            await session.execute("SELECT make_balances_due(%s)", [some])
            await session.execute("SELECT FROM wallets WHERE id = ANY (%s) ORDER BY id FOR NO KEY UPDATE", [some])
            await session.execute("UPDATE wallets SET needs_gas = false WHERE id = ANY (%s)", [some])

    async def finish(session: Connection, chance: random.Random, lock: str) -> None:
        some = chance.sample(wallets, 10)
        await session.execute(
            "SELECT clear_served_flags(%s, array_fill('gas-topup'::text, ARRAY[10]), array_fill(now(), ARRAY[10]))",
            [some],
        )

    async def loop(name: str, work: Work) -> None:
        chance = random.Random(name)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as session:
            for turn in range(ROUNDS):
                await work(session, chance, f"{name}:{turn}")

    async with asyncio.TaskGroup() as group:
        for name, work in {"a": sync, "b": sync, "c": sync, "d": settle, "e": settle, "f": finish, "g": finish}.items():
            group.create_task(loop(name, work))


async def test_a_job_that_served_no_flag_waits_for_nobody(connection: Connection, database: str, tron: Chain) -> None:
    """The flag was taken back, or the job was typed: nothing is locked, whoever works on the wallet."""
    (wallet,) = await add_wallets(connection, tron, 1)
    async with await psycopg.AsyncConnection.connect(database) as other:
        await other.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [wallet.id])
        await other.execute("UPDATE wallet_balances SET last_checked = now() WHERE wallet_id = %s", [wallet.id])
        await connection.execute("SET lock_timeout = '5 s'")
        asked = "SELECT cleared FROM clear_served_flags(ARRAY[%s]::uuid[], '{gas-topup}', ARRAY[now()])"
        assert await rows(connection, asked, wallet.id) == [(False,)]
        await other.commit()
    # It was raised before the job started and seen by nobody: it stays, and is followed by a job.
    assert await rows(connection, "SELECT needs_gas FROM wallets") == [(True,)]


async def test_a_flag_lowered_against_the_balances_we_know_is_decided_afresh(
    connection: Connection, tron: Chain
) -> None:
    """The executor's node was a block behind and saw no tokens; the sync had read them, and reads nothing new."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.native_id, 10 * TRX)
    await set_balance(connection, wallet, tron.token_id, 250 * USDT)
    cleared = await rows(
        connection,
        "SELECT cleared FROM clear_served_flags(ARRAY[%s]::uuid[], '{consolidation}', ARRAY[now()])",
        wallet.id,
    )
    assert cleared == [(True,)]
    (state,) = await rows(
        connection,
        "SELECT w.needs_consolidation, bool_and(b.recheck AND b.next_check_at <= now()) AS due"
        " FROM wallets w JOIN wallet_balances b ON b.wallet_id = w.id GROUP BY w.id",
    )
    assert state == (False, True)
    await set_balance(connection, wallet, tron.token_id, 250 * USDT)  # the very same amount, read again
    (state,) = await rows(connection, "SELECT needs_consolidation FROM wallets")
    assert state == (True,)


async def test_a_wallet_between_the_gas_thresholds_is_not_read_again_and_again(
    connection: Connection, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.native_id, 3 * TRX)
    await set_balance(connection, wallet, tron.token_id, 0)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '1 hour'")
    await connection.execute("SELECT clear_served_flags(ARRAY[%s]::uuid[], '{gas-topup}', ARRAY[now()])", [wallet.id])
    (state,) = await rows(
        connection,
        "SELECT w.needs_gas, bool_or(b.recheck) AS recheck"
        " FROM wallets w JOIN wallet_balances b ON b.wallet_id = w.id GROUP BY w.id",
    )
    assert state == (False, False)


async def test_gas_that_is_enough_on_demand_is_not_asked_for_again_and_again(
    connection: Connection, tron: Chain
) -> None:
    """What a transfer needs may be less than gas_execute_below, which is a rule of the other policy."""
    await connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.token_id, 250 * USDT)
    await set_balance(connection, wallet, tron.native_id, TRX // 2)
    await connection.execute("SELECT clear_served_flags(ARRAY[%s]::uuid[], '{gas-topup}', ARRAY[now()])", [wallet.id])
    (state,) = await rows(
        connection,
        "SELECT w.needs_gas, w.needs_consolidation, bool_or(b.recheck) AS recheck"
        " FROM wallets w JOIN wallet_balances b ON b.wallet_id = w.id GROUP BY w.id",
    )
    assert state == (False, True, False)


async def test_our_own_wallets_get_no_flags(connection: Connection, tron: Chain) -> None:
    """The treasury may be entered to be seen; it is neither filled with gas nor emptied."""
    await connection.execute(
        "INSERT INTO wallets (chain_id, address, derivation_index) VALUES (%s, 'TTreasury', 1)", [tron.id]
    )
    await connection.execute(
        "UPDATE wallet_balances SET on_chain_balance_raw = '900000000', recheck = false WHERE asset_on_chain_id = %s",
        [tron.token_id],
    )
    await connection.execute(
        "UPDATE wallet_balances SET recheck = false WHERE asset_on_chain_id = %s", [tron.native_id]
    )
    (state,) = await rows(connection, "SELECT needs_gas, needs_consolidation FROM wallets")
    assert state == (False, False)
