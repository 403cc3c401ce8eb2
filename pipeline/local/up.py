"""``flagpost up``: the Procfile, and the lines that only local mode adds, under Honcho and in order."""

import contextlib
import fcntl
import random
import shlex
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import psycopg
import typer

from pipeline.db.dsn import database_dsn
from pipeline.db.migrate import migrate
from pipeline.embedded.cluster import with_database
from pipeline.local.anvil import BNB
from pipeline.local.customers import live
from pipeline.local.home import LocalHome
from pipeline.local.networks import NO_ANVIL, place, playable, reached
from pipeline.local.procfile import Line, Phase, agent_line, child_environment
from pipeline.local.seed import Seed, Seeded, seed
from pipeline.local.stand import NO_NODE, until_answered
from pipeline.local.story import StoryPrinter
from pipeline.local.supervisor import Supervisor
from pipeline.local.tron import TRX
from pipeline.settings import Settings

BLOCK_SECONDS = 1.0
SOLID_LAG = 2
"""Faster than mainnet's 3 s and 19 blocks, so that a person sees a deposit arrive; the rules are the same."""
GAS_FUNDS = {"tron": 10_000 * TRX, "bsc": 100 * BNB}


class AlreadyUp(Exception):
    """Another `flagpost up` runs in this home."""


def terms(wallets: int) -> Seed:
    """What the first start of the local mode writes."""
    return Seed(
        wallets=wallets,
        # With `threshold`, the default elsewhere, all wallets would ask for gas at the first reading, and the screen
        # would show twenty top-ups before the first deposit. On demand it reads in the order in which it happens:
        # deposit, flags, gas, consolidation, treasury.
        gas_policy="on_demand",
        sync_interval=timedelta(seconds=2),
        block_time=timedelta(seconds=BLOCK_SECONDS),
        # Ten minutes in production. Here the next deposit of the same wallet comes within one.
        gas_cooldown=timedelta(seconds=5),
        gas_funds=GAS_FUNDS,
        config={"sweep.interval_seconds": 60},
    )


def run(settings: Settings, *, wallets: int, every: float, dice_seed: int | None, chains: Sequence[str]) -> int:
    """Run everything until Ctrl-C; the exit code. ``chains`` empty: all that this machine can play.

    Raises AlreadyUp, NetworkUnavailable."""
    home = LocalHome(settings.home)
    with _only_one(home.path):
        if not chains:
            chains = playable()
            if "bsc" not in chains:
                typer.echo(NO_ANVIL)
        places = place(home, chains, BLOCK_SECONDS, SOLID_LAG, kept=True)
        options = f"--wallets {wallets} --every {every}"
        options += "".join(f" --node {one.network.chain}={one.network.url}" for one in places)
        if dice_seed is not None:
            options += f" --seed {dice_seed}"
        lines = [
            *(one.line for one in places),
            Line("setup", f"flagpost up --part setup {options}", Phase.SETUP),
            agent_line(),
            Line("customers", f"flagpost up --part customers {options}", Phase.WORK),
        ]
        if settings.database_url is None:
            lines.insert(0, Line("db", "flagpost db start", Phase.DATABASE))
        listen = {"FLAGPOST_LISTEN_URL": settings.listen_url} if settings.listen_url else {}
        env = child_environment(home.path, settings.database_url, **listen)
        supervisor = Supervisor(lines, env, StoryPrinter(sys.stdout))
        supervisor.loop()
        return supervisor.returncode or 0


async def set_up(settings: Settings, nodes: Sequence[str], wallets: int) -> None:
    """The line ``setup``: schema and first wallets; ends when the workers may start.

    Raises NotReady, AnotherNetwork."""
    async with _prepared(settings, nodes, wallets, say=True) as chains:
        for chain in chains:
            how = "new here" if chain.first_time else "from the last start"
            typer.echo(f"{chain.network.chain}: {len(chain.customers)} customers' wallets, {how}")
            typer.echo(f"{chain.network.chain}: gas wallet {chain.gas}, treasury {chain.treasury}")
        typer.echo(
            f"gas policy {chains[0].gas_policy}; inspect it: flagpost doctor, flagpost jobs list, flagpost db psql"
        )


async def customers(
    settings: Settings, nodes: Sequence[str], wallets: int, every: float, dice_seed: int | None
) -> None:
    """The line ``customers``: deposits, until cancelled."""
    async with _prepared(settings, nodes, wallets, say=False) as chains:
        # Without --seed the chain's height decides: another day pays other deposits.
        number = await chains[0].network.height() if dice_seed is None else dice_seed
        dice = random.Random(number)  # noqa: S311 - customers, not keys
        await live(database_dsn(with_database(settings)), chains, every=every, dice=dice)


@contextlib.asynccontextmanager
async def _prepared(
    settings: Settings, nodes: Sequence[str], wallets: int, *, say: bool
) -> AsyncIterator[list[Seeded]]:
    dsn, home = database_dsn(with_database(settings)), LocalHome(settings.home)
    done = await until_answered(lambda: migrate(dsn), psycopg.OperationalError)
    if say:
        news = f": {', '.join(done.applied)}" if done.applied else " already"
        typer.echo(f"schema version {done.version} in place{news}")
    networks = [reached(node) for node in nodes]
    try:
        for network in networks:
            await until_answered(network.network_id, NO_NODE)
        yield await seed(dsn, networks, home, terms(wallets))
    finally:
        for network in networks:
            await network.close()


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
