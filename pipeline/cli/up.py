"""``flagpost up``: everything on this machine, for a person to watch."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from enum import StrEnum
from typing import Annotated, Any

import typer

from pipeline.cli.output import usage
from pipeline.local import up as local_up
from pipeline.local.networks import CHAINS
from pipeline.settings import Settings


class Part(StrEnum):
    """Lines of the local mode that are this command again."""

    SETUP = "setup"
    CUSTOMERS = "customers"


def up(
    wallets: Annotated[int, typer.Option(min=1, help="Customers' wallets to have.")] = 20,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two deposits, on average.")] = 6.0,
    seed: Annotated[int | None, typer.Option(help="Pay the same deposits each time.")] = None,
    chains: Annotated[
        str, typer.Option(help="Chains to run, e.g. tron,bsc; default: TRON, and BSC where anvil can be had.")
    ] = "",
    part: Annotated[Part | None, typer.Option(hidden=True)] = None,
    node: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start everything: database, a simulated TRON network, BSC on anvil, all workers, and customers who deposit.

    State is kept under FLAGPOST_HOME; the next start goes on with it. With DATABASE_URL set that server is used. Ctrl-C
    stops all of it in order. Meanwhile, in another terminal: flagpost doctor, flagpost jobs list, flagpost db psql.

    Example: [bold]flagpost up --wallets 50 --every 2[/]
    """
    settings = Settings.load()
    match part:
        case None:
            raise typer.Exit(
                local_up.run(settings, wallets=wallets, every=every, dice_seed=seed, chains=chosen_chains(chains))
            )
        case Part.SETUP:
            _until_stopped(local_up.set_up(settings, node or [], wallets))
        case Part.CUSTOMERS:
            _until_stopped(local_up.customers(settings, node or [], wallets, every, seed))


def chosen_chains(text: str) -> list[str]:
    """``tron,bsc`` as a list. Raises CommandError for a name that cannot be played."""
    chosen = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in chosen if name not in CHAINS]
    if unknown:
        raise usage(f"--chains: {', '.join(unknown)} cannot run here; there are {', '.join(CHAINS)}")
    return chosen


def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        task = asyncio.ensure_future(work)
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
