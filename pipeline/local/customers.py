"""Customers of the local mode: they deposit, and the screen tells what comes of it.

Three lines of the story are printed here, because only here somebody sees all of it: the deposit, the flags it
raised (heard on the bell, like a person at ``LISTEN wallet_flags``), and the treasury's total read from the chain.
What happens in between is said by the workers that do it.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import psycopg
import typer
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from pipeline.db.statements import statement
from pipeline.devnet.client import DevnetClient
from pipeline.local.seed import Seeded
from pipeline.units import to_human

CENT = 10_000
"""Raw units of USDT; customers pay in whole cents."""
SMALLEST, LARGEST = 201 * 100, 2_000 * 100
"""Cents. Every deposit is above the 200 USDT that raise needs_consolidation, so that each one ends in the treasury."""
USDT_DECIMALS = 6
TREASURY_EVERY_SECONDS = 0.5
RECONNECT_SECONDS = 1.0


def money(raw: int) -> str:
    """USDT with thousands and at least two decimals: ``1,742.50 USDT``."""
    whole, _, fraction = to_human(raw, USDT_DECIMALS).partition(".")
    return f"{int(whole):,}.{fraction.ljust(2, '0')} USDT"


def draw_amount(dice: random.Random) -> int:
    """A deposit of 201 to 2,000 USDT, in raw units."""
    return dice.randint(SMALLEST, LARGEST) * CENT


async def live(dsn: str, client: DevnetClient, seeded: Seeded, *, every: float, dice: random.Random) -> None:
    """Deposit and tell, until cancelled. ``every``: seconds between two deposits on average."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_deposit(client, seeded, every, dice))
        tasks.create_task(_tell_flags(dsn))
        tasks.create_task(_tell_treasury(client, seeded))


async def _deposit(client: DevnetClient, seeded: Seeded, every: float, dice: random.Random) -> None:
    while True:
        wallet, amount = dice.choice(seeded.customers), draw_amount(dice)
        await client.send_token(seeded.token, wallet, amount)
        typer.echo(f"deposit  {money(amount)} → {wallet}")
        await asyncio.sleep(dice.uniform(every / 2, every * 3 / 2))


async def _tell_treasury(client: DevnetClient, seeded: Seeded) -> None:
    known = await client.balance(seeded.treasury, seeded.token, solid=True)
    typer.echo(f"treasury {money(known)}")
    while True:
        await asyncio.sleep(TREASURY_EVERY_SECONDS)
        now = await client.balance(seeded.treasury, seeded.token, solid=True)
        if now != known:
            typer.echo(f"treasury {money(now)} ({'+' if now > known else '−'}{money(abs(now - known))})")
            known = now


async def _tell_flags(dsn: str) -> None:
    while True:
        try:
            async with (
                await AsyncConnection.connect(dsn, autocommit=True) as bell,
                await AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as connection,
            ):
                await bell.execute("LISTEN wallet_flags")
                async for note in bell.notifies():
                    await _tell_wallets(connection, _wallets(note.payload))
        except psycopg.OperationalError:
            await asyncio.sleep(RECONNECT_SECONDS)  # the workers say that the database is away


async def _tell_wallets(connection: AsyncConnection[dict[str, Any]], wallets: Sequence[str]) -> None:
    rows = await connection.execute(statement("local/flags"), {"addresses": list(wallets)})
    async for row in rows:
        if row["needs_gas"]:
            what = "needs gas, then consolidation" if row["needs_consolidation"] else "needs gas"
        else:
            what = "ready to consolidate"
        typer.echo(f"flags    {row['address']} {what}")


def _wallets(payload: str) -> list[str]:
    try:
        parsed = json.loads(payload)
    except json.JSONDecodeError:
        return []  # anybody may ring with anything
    wallets = parsed.get("wallets") if isinstance(parsed, dict) else None
    return [wallet for wallet in wallets if isinstance(wallet, str)] if isinstance(wallets, list) else []
