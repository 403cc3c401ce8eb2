"""Customers of the local mode: they deposit, and their process prints what follows from it.

It prints each deposit, the flags that it raised (received by ``LISTEN wallet_flags``, as anybody in psql may), and the
treasury's total as read from the chain. The workers log what they do in between.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import psycopg
import typer
from psycopg import AsyncConnection
from psycopg.rows import dict_row, tuple_row

from pipeline.db.session import open_session
from pipeline.db.statements import statement
from pipeline.local.network import money
from pipeline.local.seed import Seeded
from pipeline.local.stand import NO_NODE

SMALLEST, LARGEST = 201 * 100, 2_000 * 100
"""Cents. Every deposit is above the 200 USDT that raise needs_consolidation, so that each one ends in the treasury."""
TREASURY_EVERY_SECONDS = 0.5
RECONNECT_SECONDS = 1.0


def draw_amount(dice: random.Random, decimals: int) -> int:
    """A deposit of 201 to 2,000 USDT in whole cents, in raw units."""
    return dice.randint(SMALLEST, LARGEST) * int("1" + "0" * (decimals - 2))


async def live(dsn: str, chains: Sequence[Seeded], *, every: float, dice: random.Random) -> None:
    """Deposit and print, until cancelled. ``every``: seconds between two deposits on average, whatever the chain."""
    async with asyncio.TaskGroup() as tasks:
        for chain in chains:
            tasks.create_task(_deposit(chain, every * len(chains), dice))
            tasks.create_task(_print_treasury(chain, "" if len(chains) == 1 else f"{chain.network.chain} "))
        tasks.create_task(_print_flags(dsn))


async def _deposit(chain: Seeded, every: float, dice: random.Random) -> None:
    decimals = chain.network.token_decimals
    while True:
        wallet, amount = dice.choice(chain.customers), draw_amount(dice, decimals)
        try:
            await chain.network.deposit(chain.token, wallet, amount)
            typer.echo(f"deposit  {money(amount, decimals):>13} → {wallet}")
        except NO_NODE:  # the workers say that the node is away
            await asyncio.sleep(RECONNECT_SECONDS)
        await asyncio.sleep(dice.uniform(every / 2, every * 3 / 2))


async def _print_treasury(chain: Seeded, name: str) -> None:
    decimals = chain.network.token_decimals
    known = await chain.network.balance(chain.treasury, chain.token, final=True)
    typer.echo(f"treasury {name}{money(known, decimals)}")
    while True:
        await asyncio.sleep(TREASURY_EVERY_SECONDS)
        try:
            now = await chain.network.balance(chain.treasury, chain.token, final=True)
        except NO_NODE:
            await asyncio.sleep(RECONNECT_SECONDS)
            continue
        if now != known:
            sign = "+" if now > known else "−"
            typer.echo(f"treasury {name}{money(now, decimals)} ({sign}{money(abs(now - known), decimals)})")
            known = now


async def _print_flags(dsn: str) -> None:
    while True:
        try:
            async with (
                await open_session(dsn, "up", tuple_row) as notifications,
                await open_session(dsn, "up", dict_row) as connection,
            ):
                await notifications.execute("LISTEN wallet_flags")
                await notifications.execute(statement("listener/require_notify"))
                async for note in notifications.notifies():
                    await _print_wallets(connection, _wallets(note.payload))
        except psycopg.OperationalError:
            await asyncio.sleep(RECONNECT_SECONDS)  # the workers say that the database is away


async def _print_wallets(connection: AsyncConnection[dict[str, Any]], wallets: Sequence[str]) -> None:
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
        return []  # anybody may notify with any payload
    wallets = parsed.get("wallets") if isinstance(parsed, dict) else None
    return [wallet for wallet in wallets if isinstance(wallet, str)] if isinstance(wallets, list) else []
