"""``flagpost devnet``: the simulated TRON network as a process of its own."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pipeline.devnet.network import Devnet, DevnetOptions
from pipeline.devnet.server import serve
from pipeline.settings import Settings


def devnet(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 0,
    block_time: Annotated[float, typer.Option(min=0, help="Seconds between blocks; 0: only on demand.")] = 3.0,
    solid_lag: Annotated[int, typer.Option(min=1, help="Blocks until a block is final; about 19 on mainnet.")] = 19,
    network: Annotated[str, typer.Option(help="Its name; decides the genesis block.")] = "flagpost",
    directory: Annotated[
        Path | None, typer.Option(help="Where the chain is kept; default: devnet under FLAGPOST_HOME.")
    ] = None,
) -> None:
    """Run the simulated TRON network until Ctrl-C; the next start goes on with the same chain.

    It speaks java-tron's HTTP API (wallet/…, walletsolidity/…), checks signatures, fees and expirations strictly,
    and takes faults and time travel under devnet/….

    Example: [bold]flagpost devnet --port 9090 --block-time 1 --solid-lag 2[/]
    """
    options = DevnetOptions(
        port=port,
        home=directory or Settings.load().home / "devnet",
        block_time=block_time,
        solid_lag=solid_lag,
        network=network,
    )

    def ready(network: Devnet) -> None:
        pace = f"a block every {block_time:g} s" if block_time else "blocks on demand"
        typer.echo(f"simulated TRON network at {network.main.url}: {pace}, final after {solid_lag} more")

    asyncio.run(serve(options, ready))
