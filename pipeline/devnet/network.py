"""A running network: the chain, its nodes' listeners, and the task that makes blocks."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from pipeline.devnet.blocks import Block
from pipeline.devnet.chain import Chain, ChainOptions
from pipeline.devnet.encoding import address_of
from pipeline.devnet.journal import Journal
from pipeline.devnet.node_http import node_app
from pipeline.devnet.nodes import DevnetNode
from pipeline.devnet.params import Params
from pipeline.devnet.tokens import ENDOWMENT, Faucet, faucet_key

MAIN = "main"
"""The first node; the control API lives on its port."""


@dataclass(frozen=True, slots=True)
class DevnetOptions:
    """How to run a devnet."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    home: Path | None = None
    """Where the chain is kept; None: in memory."""
    block_time: float = 3.0
    """Seconds between blocks; 0: blocks only on demand (``mine``)."""
    instant: bool = False
    """Every accepted transaction gets a block at once."""
    solid_lag: int = 19
    """A block is solid when this many follow it."""
    network: str = "flagpost"
    """Decides the genesis id and the faucet."""
    params: Params = field(default_factory=Params)
    extra_nodes: int = 0
    """Further nodes ``node1``, ``node2``, … on free ports."""


class Devnet:
    def __init__(self, options: DevnetOptions) -> None:
        self.options = options
        self._journal = Journal(options.home / "chain.jsonl") if options.home else None
        endowments = {address_of(faucet_key(options.network)): ENDOWMENT}
        chain_options = ChainOptions(options.network, options.solid_lag, options.params, endowments)
        self.chain = Chain(chain_options, self._journal)
        self.chain.instant = options.instant
        self.faucet = Faucet(self.chain)
        self.nodes: dict[str, DevnetNode] = {}
        self.paused = False
        self._runners: dict[str, web.AppRunner] = {}
        self._clock: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._rings: set[asyncio.Task[None]] = set()
        self.chain.on_block.append(self._ring)

    @property
    def main(self) -> DevnetNode:
        return self.nodes[MAIN]

    async def start_node(
        self, name: str, lag: int = 0, port: int = 0, control: web.Application | None = None
    ) -> DevnetNode:
        """Open a listener. Raises ValueError for a name that is taken."""
        if name in self.nodes:
            raise ValueError(f"there is a node {name} already")
        node = DevnetNode(name, self.chain, lag)
        app = node_app(node)
        if control is not None:
            app.add_subapp("/devnet", control)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self.options.host, port)
        await site.start()
        bound = runner.addresses[0][1]
        node.url = f"http://{self.options.host}:{bound}"
        self.nodes[name], self._runners[name] = node, runner
        return node

    async def stop_node(self, name: str) -> None:
        """Close a listener, as if the machine had gone. Raises ValueError for the main node or an unknown one."""
        if name == MAIN or name not in self.nodes:
            raise ValueError(f"node {name} cannot be stopped: it is the main one or unknown")
        del self.nodes[name]
        await self._runners.pop(name).cleanup()

    def start_clock(self) -> None:
        if self.options.block_time > 0:
            self._clock = asyncio.create_task(self._make_blocks(), name="devnet-clock")

    async def wait_for(self, number: int, *, solid: bool = False) -> Block:
        """The block of that height, once it is there (or solid)."""
        chain = self.chain
        async with self._changed:
            await self._changed.wait_for(lambda: (chain.solid if solid else chain.head).number >= number)
        return chain.blocks[number]

    async def wait_for_transaction(self, txid: bytes, *, solid: bool = False) -> Block:
        """The block that holds the transaction, once it does (and is solid)."""
        chain = self.chain

        def there() -> bool:
            place = chain.find(txid)
            return place is not None and (not solid or place.block.number <= chain.solid.number)

        async with self._changed:
            await self._changed.wait_for(there)
        return chain.blocks[chain.index[txid][0]]

    async def close(self) -> None:
        if self._clock:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        for runner in self._runners.values():
            await runner.cleanup()
        if self._journal:
            self._journal.close()

    async def _make_blocks(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.options.block_time
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due, loop.time() - self.options.block_time) + self.options.block_time
            if not self.paused:
                self.chain.produce()

    def _ring(self, block: Block) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._rings.add(task)
        task.add_done_callback(self._rings.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
