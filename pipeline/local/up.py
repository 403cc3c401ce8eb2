"""``flagpost up``: the Procfile, and the lines that only local mode adds, under Honcho and in order."""

import contextlib
import fcntl
import random
import shlex
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import typer

from pipeline.db.dsn import database_dsn
from pipeline.db.migrate import migrate
from pipeline.devnet.client import DevnetClient
from pipeline.local.customers import live
from pipeline.local.home import LocalHome
from pipeline.local.procfile import Line, Phase, child_environment, production_lines
from pipeline.local.seed import ON_DEMAND_FLAG_BELOW, TRX, Seeded, Terms, seed
from pipeline.local.stand import NO_NODE, devnet_command, until_answered
from pipeline.local.story import StoryPrinter
from pipeline.local.supervisor import Supervisor
from pipeline.settings import Settings

BLOCK_SECONDS = 1.0
SOLID_LAG = 2
"""Faster than mainnet's 3 s and 19 blocks, so that a person sees a deposit arrive; the rules are the same."""
GAS_FUNDS = 10_000 * TRX


class AlreadyUp(Exception):
    """Another `flagpost up` runs in this home."""


def terms(wallets: int) -> Terms:
    """What the first start of the local mode writes."""
    return Terms(
        wallets=wallets,
        # With `threshold`, the default elsewhere, all wallets would ask for gas at the first reading, and the screen
        # would show twenty top-ups before the first deposit. On demand it reads in the order in which it happens:
        # deposit, flags, gas, consolidation, treasury.
        gas_policy="on_demand",
        gas_flag_below=ON_DEMAND_FLAG_BELOW,
        sync_interval=timedelta(seconds=2),
        block_time=timedelta(seconds=BLOCK_SECONDS),
        # Ten minutes in production. Here the next deposit of the same wallet comes within one.
        gas_cooldown=timedelta(seconds=5),
        gas_funds=GAS_FUNDS,
        config={"sweep.interval_seconds": 60},
    )


def run(settings: Settings, *, wallets: int, every: float, dice_seed: int | None) -> int:
    """Run everything until Ctrl-C; the exit code. Raises AlreadyUp."""
    home = LocalHome(settings.home)
    with _only_one(home.path):
        port = home.node_port()
        options = f"--wallets {wallets} --every {every} --node http://127.0.0.1:{port}"
        if dice_seed is not None:
            options += f" --seed {dice_seed}"
        lines = [
            Line("tron", devnet_command(port, BLOCK_SECONDS, SOLID_LAG), Phase.NODE),
            Line("setup", f"flagpost up --part setup {options}", Phase.SETUP),
            *production_lines(),
            Line("customers", f"flagpost up --part customers {options}", Phase.WORK),
        ]
        if settings.database_url is None:
            lines.insert(0, Line("db", "flagpost db start", Phase.DATABASE))
        listen = {"FLAGPOST_LISTEN_URL": settings.listen_url} if settings.listen_url else {}
        env = child_environment(home.path, settings.database_url, **listen)
        supervisor = Supervisor(lines, env, StoryPrinter(sys.stdout))
        supervisor.loop()
        return supervisor.returncode or 0


async def set_up(settings: Settings, node: str, wallets: int) -> None:
    """The line ``setup``: schema and first wallets; ends when the workers may start.

    Raises NotReady, AnotherNetwork."""
    seeded = await _prepare(settings, node, wallets, say=True)
    how = "new here" if seeded.first_time else "from the last start"
    typer.echo(f"{len(seeded.customers)} customers' wallets, {how}")
    typer.echo(f"gas wallet {seeded.gas}, treasury {seeded.treasury}")
    typer.echo(
        f"gas policy {seeded.gas_policy}; look inside with: flagpost doctor, flagpost jobs list, flagpost db psql"
    )


async def customers(settings: Settings, node: str, wallets: int, every: float, dice_seed: int | None) -> None:
    """The line ``customers``: deposits, until cancelled."""
    seeded = await _prepare(settings, node, wallets, say=False)
    async with DevnetClient(node) as client:
        # Without --seed the chain's height decides: another day pays other deposits.
        number = (await client.status()).head.number if dice_seed is None else dice_seed
        dice = random.Random(number)  # noqa: S311 - customers, not keys
        await live(database_dsn(settings), client, seeded, every=every, dice=dice)


async def _prepare(settings: Settings, node: str, wallets: int, *, say: bool) -> Seeded:
    dsn, home = database_dsn(settings), LocalHome(settings.home)
    done = await until_answered(lambda: migrate(dsn), psycopg.OperationalError)
    if say:
        news = f": {', '.join(done.applied)}" if done.applied else " already"
        typer.echo(f"schema version {done.version} in place{news}")
    async with DevnetClient(node) as client:
        await until_answered(client.status, NO_NODE)
        return await seed(dsn, client, home, terms(wallets))


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(
                f"flagpost up runs already in {shlex.quote(str(home))}: stop it with Ctrl-C there, "
                "or give this one another FLAGPOST_HOME"
            ) from None
        yield
