"""An application's login on the same database, without a right of ours, that holds all it can get: real processes pay,
settle and sweep all the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from tests.chaos.fleet import Zygote
from tests.chaos.world import MNEMONIC, World
from tests.db.logins import login
from tests.patience import PATIENCE
from tests.policy import write_policy
from tests.seed import USDT

KEYS = """
    SELECT pg_advisory_lock(hashtextextended('flagpost: ' || name, 0)) FROM unnest(ARRAY[
        'thresholds', 'sweep', 'confirmations tron',
        'wallet_flags waiting', 'wallet_flags polling', 'wallet_flags suppressed'
    ]) AS name
"""
GAS_KEYS = "SELECT pg_advisory_lock(hashtext('flagpost: gas budgets'), n) FROM generate_series(1, 100) AS n"
"""All that was ever serialised, or told, by an advisory lock."""
LINES = ("gas-topup", "confirmations", "sweep")


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


@pytest.fixture
def foreign_dsn(database: str) -> Iterator[str]:
    with login(database, "application") as dsn:
        yield dsn


async def until(world: World, question: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await world.row(f"SELECT ({question}) AS yes"))["yes"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_whatever_it_holds_payments_go_on(
    world: World, zygote: Zygote, database: str, foreign_dsn: str, home: Path
) -> None:
    await world.connection.execute("UPDATE chains SET block_time = '0.1 seconds'")
    wallet = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    write_policy(home, world.policy())
    env = {"DATABASE_URL": database, "FLAGPOST_HOME": str(home), "FLAGPOST_MNEMONIC": MNEMONIC}
    async with await AsyncConnection.connect(foreign_dsn, autocommit=True) as foreign:
        await foreign.execute(KEYS)
        await foreign.execute(GAS_KEYS)
        for line in LINES:
            await zygote.start(line, env, home / f"{line}.log")
        await until(world, "SELECT count(*) = 2 FROM leaderships WHERE until > now()")
        await world.flag(wallet, gas=True)
        await until(world, "SELECT count(*) = 1 FROM transfers WHERE state = 'broadcasting'")
        await world.devnet.solidify()
        await until(world, "SELECT bool_and(state = 'final') FROM transfers")
        assert (await world.row("SELECT needs_gas FROM wallets"))["needs_gas"] is False
        alive = "SELECT count(*) AS alive FROM worker_registry WHERE status = 'running'"
        assert (await world.row(alive))["alive"] == len(LINES)
    await world.assert_database_equals_chain()
