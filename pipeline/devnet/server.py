"""Run a devnet: ``serve`` until told to stop, ``running`` around a test."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

from pipeline.devnet.control import control_app
from pipeline.devnet.network import MAIN, Devnet, DevnetOptions

__all__ = ["DevnetOptions", "running", "serve"]


@contextlib.asynccontextmanager
async def running(options: DevnetOptions) -> AsyncIterator[Devnet]:
    """A devnet in this event loop; ``network.main.url`` is its address."""
    network = Devnet(options)
    try:
        await network.start_node(MAIN, port=options.port, control=control_app(network))
        for number in range(1, options.extra_nodes + 1):
            await network.start_node(f"node{number}")
        network.start_clock()
        yield network
    finally:
        await network.close()


async def serve(options: DevnetOptions, on_ready: Callable[[Devnet], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. ``on_ready`` is told when the port is open."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with running(options) as network:
        if on_ready:
            on_ready(network)
        await stop.wait()
